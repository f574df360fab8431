"""Keeping secrets in the database: encryption and look-up digests under keys derived from SECRET_KEY.

AES-256-GCM with a random 96-bit nonce; keys by HKDF-SHA256, one for each purpose, so that what was sealed
for one purpose opens for no other.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pikachu.core.errors import SecretKeyChanged


class Sealer:
    """Seals and opens with one SECRET_KEY."""

    def __init__(self, secret_key: bytes) -> None:
        self._secret_key = secret_key
        self._key = functools.cache(self._derive)

    def _derive(self, purpose: str) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=b"pikachu/" + purpose.encode()).derive(self._secret_key)

    def seal(self, purpose: str, plaintext: bytes) -> bytes:
        """*plaintext* encrypted; the result differs each time."""
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(self._key(purpose)).encrypt(nonce, plaintext, purpose.encode())

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """What was sealed.

        :raises SecretKeyChanged: when it was sealed with another SECRET_KEY or was changed.
        """
        try:
            return AESGCM(self._key(purpose)).decrypt(sealed[:12], sealed[12:], purpose.encode())
        except (InvalidTag, ValueError) as error:
            raise SecretKeyChanged(
                "a stored secret does not open with this SECRET_KEY; put the former one back", purpose=purpose
            ) from error

    def digest(self, purpose: str, text: bytes) -> bytes:
        """A keyed digest to look a secret up by: equal for equal texts, and of no use without the key."""
        return hmac.new(self._key("digest/" + purpose), text, hashlib.sha256).digest()
