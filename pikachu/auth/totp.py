"""Time-based one-time passwords (RFC 6238): SHA-1, six digits, 30 seconds, as every authenticator app knows them."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from typing import Final
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

_STEP_SECONDS: Final = 30
#: Steps before and after the present one whose codes are accepted, for clocks that are slow or fast.
_DRIFT: Final = 1
_CODE: Final = re.compile("[0-9]{6}")
_SECRET_BYTES: Final = 20
ISSUER: Final = "Pikachu CA"


def new_secret() -> bytes:
    """Return a random secret of the size that RFC 4226 recommends."""
    return secrets.token_bytes(_SECRET_BYTES)


def secret_text(secret: bytes) -> str:
    """Return a secret as it is typed into an app: base32, in groups of four."""
    text = base64.b32encode(secret).decode().rstrip("=")
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def provisioning_uri(secret: bytes, username: str, host: str) -> str:
    """Return the ``otpauth`` URI that apps read from a QR code."""
    issuer = f"{ISSUER} ({host})" if host else ISSUER
    text = base64.b32encode(secret).decode().rstrip("=")
    return f"otpauth://totp/{quote(f'{issuer}:{username}')}?{urlencode({'secret': text, 'issuer': issuer})}"


def matching_step(secret: bytes, code: str, seconds: float) -> int | None:
    """Return the time step that *code* belongs to, or None when it is wrong; spaces in it are ignored."""
    digits = re.sub(r"\s", "", code)
    if not _CODE.fullmatch(digits):
        return None
    present = int(seconds) // _STEP_SECONDS
    steps = range(max(0, present - _DRIFT), present + _DRIFT + 1)
    return next((step for step in steps if hmac.compare_digest(_code(secret, step), digits)), None)


def _code(secret: bytes, step: int) -> str:
    # RFC 6238 section 1.2: HMAC-SHA-1 is what apps support; its collisions don't matter here.
    return HOTP(secret, 6, SHA1()).generate(step).decode()  # noqa: S303
