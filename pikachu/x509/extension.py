"""X.509 extensions (RFC 5280 section 4.1.2.9)."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der

_TRUE = b"\x01\x01\xff"
# subjectKeyIdentifier and subjectAltName.
_OF_ONE_SUBJECT: Final = frozenset(("2.5.29.14", "2.5.29.17"))


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension.

    :param oid: dotted.
    :param value: the DER inside extnValue.
    """

    oid: str
    critical: bool
    value: bytes

    @property
    def der(self) -> bytes:
        """The DER Extension; ``critical`` is omitted when FALSE, as DER requires."""
        # Names and keys are of one certificate; the other extensions are those of its policy and its issuer.
        return (_encode if self.oid in _OF_ONE_SUBJECT else _encode_shared)(self.oid, self.critical, self.value)


def _encode(oid: str, critical: bool, value: bytes) -> bytes:
    return der.tlv(der.SEQUENCE, der.oid(oid) + (_TRUE if critical else b"") + der.octet_string(value))


_encode_shared = functools.lru_cache(maxsize=256)(_encode)


def encode_extensions(extensions: Iterable[Extension]) -> bytes:
    """Return the DER Extensions, in the order of *extensions*."""
    return der.tlv(der.SEQUENCE, b"".join(extension.der for extension in extensions))


def parse_extensions(data: bytes) -> tuple[Extension, ...]:
    """Parse DER Extensions.

    :raises MalformedRequest: *data* is malformed, or repeats an extension (RFC 5280 section 4.2).
    """
    extensions: dict[str, Extension] = {}
    for element in der.parse(data, der.SEQUENCE).children():
        parts = element.expect(der.SEQUENCE).sub()
        if len(parts) not in (2, 3):
            raise MalformedRequest("an extension has an OID, perhaps a criticality, and a value")
        oid = parts[0].oid()
        # DER omits FALSE, but many requests and certificates encode it.
        critical = len(parts) == 3 and parts[1].ber_boolean()
        if oid in extensions:
            raise MalformedRequest(f"the extension {oid} stands twice")
        extensions[oid] = Extension(oid, critical, parts[-1].expect(der.OCTET_STRING).content)
    return tuple(extensions.values())
