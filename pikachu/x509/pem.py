"""PEM encoder (RFC 7468)."""

from __future__ import annotations

import base64
from collections.abc import Iterable


def pem(label: str, der: bytes) -> str:
    """Return a PEM block with lines of 64 characters and a final newline."""
    text = base64.b64encode(der).decode("ascii")
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


def certificates_pem(certificates: Iterable[bytes]) -> str:
    """Return DER certificates as one PEM text, in the same order."""
    return "".join(pem("CERTIFICATE", der) for der in certificates)
