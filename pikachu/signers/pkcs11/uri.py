"""PKCS#11 URIs (RFC 7512): the names of keys in a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from pikachu.signers.references import KeyReference

SCHEME: Final = "pkcs11"
# RFC 7512 section 2.3: what a value of the path may contain unencoded, but for the letters and digits.
_UNENCODED: Final = "-._~:[]@!$'()*+,=&"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A private key in a token.

    :ivar token: the token's label; empty for the configured one.
    :ivar label: the key's label (CKA_LABEL), or None.
    :ivar id: the key's id (CKA_ID), or None.
    """

    token: str
    label: str | None
    id: bytes | None = None

    def reference(self) -> KeyReference:
        """Return the URI."""
        values = []
        if self.token:
            values.append(f"token={quote(self.token, _UNENCODED)}")
        if self.label is not None:
            values.append(f"object={quote(self.label, _UNENCODED)}")
        if self.id is not None:
            values.append(f"id={_percent(self.id)}")
        return KeyReference(SCHEME, ";".join((*values, "type=private")))


def _percent(content: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in content)


def token_key(token: str, label: str) -> KeyReference:
    """Return the reference to the key of a label."""
    return TokenKey(token, label).reference()
