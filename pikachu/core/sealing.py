"""Secrets in the database: encryption and lookup digests with keys derived from SECRET_KEY.

AES-256-GCM with a random 96-bit nonce; keys by HKDF-SHA256, one for each purpose, so that data sealed for one purpose
can't be opened for another.  A stored value is bound to its row: table, id and what it belongs to are associated data.
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


def key_row(row_id: int, key_id: bytes) -> bytes:
    """Return the binding of a stored private key to its row and its public key.

    :param key_id: SHA-256 of the SubjectPublicKeyInfo.
    """
    return _row("keys", row_id, key_id)


def challenge_row(row_id: int, prefix: str) -> bytes:
    """Return the binding of a challenge password to its row and the digits that lists show."""
    return _row("challenges", row_id, prefix.encode())


def credential_row(row_id: int, key_identifier: bytes, certificate: bytes) -> bytes:
    """Return the binding of a service key to its row, its issuer's key and its certificate or CSR."""
    return _row("service_credentials", row_id, hashlib.sha256(key_identifier + certificate).digest())


def draft_row(row_id: int, account_id: int) -> bytes:
    """Return the binding of a form draft to its row and its account."""
    return _row("drafts", row_id, b"%d" % account_id)


def totp_row(row_id: int, account_id: int) -> bytes:
    """Return the binding of a secret for one-time passwords to its row and its account."""
    return _row("totp_secrets", row_id, b"%d" % account_id)


def audit_key_row(row_id: int) -> bytes:
    """Return the binding of the key of the audit log to its row."""
    return _row("audit_keys", row_id, b"")


def _row(table: str, row_id: int, identity: bytes) -> bytes:
    return b"\0%s/%d/" % (table.encode(), row_id) + identity


class Sealer:
    """Encrypts and decrypts secrets with one SECRET_KEY."""

    def __init__(self, secret_key: bytes) -> None:
        self._secret_key = secret_key
        self._key = functools.cache(self._derive)

    def _derive(self, purpose: str) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=b"pikachu/" + purpose.encode()).derive(self._secret_key)

    def seal(self, purpose: str, plaintext: bytes, row: bytes = b"") -> bytes:
        """Encrypt *plaintext*; the result differs each time.

        :param row: the binding to a row, such as :func:`key_row`; empty for what no row holds.
        """
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(self._key(purpose)).encrypt(nonce, plaintext, purpose.encode() + row)

    def open(self, purpose: str, sealed: bytes, row: bytes = b"") -> bytes:
        """Decrypt sealed data.

        :param row: as in :meth:`seal`.
        :raises SecretKeyChanged: when it was sealed with another SECRET_KEY or for another row, or was modified.
        """
        try:
            return AESGCM(self._key(purpose)).decrypt(sealed[:12], sealed[12:], purpose.encode() + row)
        except (InvalidTag, ValueError) as error:
            raise SecretKeyChanged(
                "a stored secret does not open with this SECRET_KEY; put the former one back", purpose=purpose
            ) from error

    def digest(self, purpose: str, text: bytes) -> bytes:
        """Return a keyed lookup digest of a secret: equal for equal texts, and useless without the key."""
        return hmac.new(self._key("digest/" + purpose), text, hashlib.sha256).digest()
