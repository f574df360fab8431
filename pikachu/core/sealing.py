"""Secrets in the database: encryption and lookup digests with keys derived from SECRET_KEY.

AES-256-GCM with a random 96-bit nonce; keys by HKDF-SHA256, one for each purpose, so that data sealed for one purpose
can't be opened for another.
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
    """Encrypts and decrypts secrets with one SECRET_KEY."""

    def __init__(self, secret_key: bytes) -> None:
        self._secret_key = secret_key
        self._key = functools.cache(self._derive)

    def _derive(self, purpose: str) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=b"pikachu/" + purpose.encode()).derive(self._secret_key)

    def seal(self, purpose: str, plaintext: bytes) -> bytes:
        """Encrypt *plaintext*; the result differs each time."""
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(self._key(purpose)).encrypt(nonce, plaintext, purpose.encode())

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """Decrypt sealed data.

        :raises SecretKeyChanged: when it was sealed with another SECRET_KEY or was modified.
        """
        try:
            return AESGCM(self._key(purpose)).decrypt(sealed[:12], sealed[12:], purpose.encode())
        except (InvalidTag, ValueError) as error:
            raise SecretKeyChanged(
                "a stored secret does not open with this SECRET_KEY; put the former one back", purpose=purpose
            ) from error

    def digest(self, purpose: str, text: bytes) -> bytes:
        """Return a keyed lookup digest of a secret: equal for equal texts, and useless without the key."""
        return hmac.new(self._key("digest/" + purpose), text, hashlib.sha256).digest()
