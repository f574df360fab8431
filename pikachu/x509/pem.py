"""PEM (RFC 7468): writing it, and finding its blocks."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from pikachu.errors import MalformedRequest

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)


def pem(label: str, der: bytes) -> str:
    """One PEM block with lines of 64 columns and a newline at its end."""
    text = base64.b64encode(der).decode("ascii")
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


def certificates_pem(certificates: Iterable[bytes]) -> str:
    """DER certificates as one PEM text, in the order given."""
    return "".join(pem("CERTIFICATE", der) for der in certificates)


def pem_blocks(data: bytes, *labels: str) -> list[bytes]:
    """The DER of each block with one of *labels*, in order; text around blocks is ignored.

    :raises MalformedRequest: when a block is not base64.
    """
    found = []
    for match in _BLOCK.finditer(data):
        if match[1].decode("ascii") in labels:
            try:
                found.append(base64.b64decode(b"".join(match[2].split()), validate=True))
            except binascii.Error:
                raise MalformedRequest("a PEM block does not hold base64") from None
    return found
