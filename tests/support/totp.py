"""Codes as an authenticator app shows them, by the other implementation of RFC 6238 at hand."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP


def code_at(secret: bytes, seconds: float) -> str:
    """Return the code of the time *seconds* since 1970."""
    return TOTP(secret, 6, SHA1(), 30).generate(int(seconds)).decode()
