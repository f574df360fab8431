"""PKCS#11 URIs (RFC 7512): the names of keys in a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from pikachu.core.errors import ConfigError
from pikachu.signers.references import KeyReference

SCHEME: Final = "pkcs11"
# RFC 7512 section 2.3: what a value of the path may contain unencoded, but for the letters and digits.
_UNENCODED: Final = "-._~:[]@!$'()*+,=&"
_TYPES: Final = {b"private"}


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

    def __str__(self) -> str:
        """Return the name for messages."""
        names = []
        if self.label is not None:
            names.append(f"label {self.label!r}")
        if self.id is not None:
            names.append(f"id {self.id.hex()}")
        return " and ".join(names)


def _percent(content: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in content)


def token_key(token: str, label: str) -> KeyReference:
    """Return the reference to the key of a label."""
    return TokenKey(token, label).reference()


def parse_token_key(reference: KeyReference) -> TokenKey:
    """Return the key that a URI names.

    :raises ConfigError: it is malformed, or has an attribute that is not supported here, such as a PIN.
    """
    values: dict[str, bytes] = {}
    if "?" in reference.rest:
        raise ConfigError(
            f"{_without_query(reference)}: what is behind the question mark is not supported here; module and PIN "
            "are set in [PKCS11]"
        )
    for attribute in reference.rest.split(";"):
        name, equals, value = attribute.partition("=")
        if not equals or name in values:
            raise ConfigError(f"{reference}: {attribute!r} is no attribute, or given twice; write name=value")
        values[name] = unquote_to_bytes(value)
    unknown = sorted(values.keys() - {"token", "object", "id", "type"})
    if unknown:
        raise ConfigError(f"{reference}: the attribute {unknown[0]} is not supported here; use token, object and id")
    if values.get("type", b"private") not in _TYPES:
        raise ConfigError(f"{reference}: type is private for a key that signs")
    if "object" not in values and "id" not in values:
        raise ConfigError(f"{reference}: names no key; add object (its label) or id")
    try:
        label = values["object"].decode("utf-8") if "object" in values else None
        return TokenKey(values.get("token", b"").decode("utf-8"), label, values.get("id"))
    except UnicodeDecodeError:
        raise ConfigError(f"{reference}: token and object are UTF-8, percent-encoded") from None


def _without_query(reference: KeyReference) -> str:
    return f"{reference.scheme}:{reference.rest.partition('?')[0]}"
