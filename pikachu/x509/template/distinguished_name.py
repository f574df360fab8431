"""Distinguished names and request attributes as OpenSSL encodes them: string types, lengths, multi-valued RDNs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pikachu.x509 import der
from pikachu.x509.template.configuration import quoted
from pikachu.x509.template.object_names import LONG, SHORT
from pikachu.x509.template.values import Location, object_identifier

EMPTY: Final = b"\x30\x00"

_PRINTABLE: Final = 1 << 1
_T61: Final = 1 << 2
_IA5: Final = 1 << 4
_BMP: Final = 1 << 11
_UTF8: Final = 1 << 13
_DIRECTORY: Final = _PRINTABLE | _T61 | _BMP | _UTF8
_PKCS9: Final = _DIRECTORY | _IA5

MASKS: Final = {
    "utf8only": _UTF8,
    "default": ~0,
    "pkix": ~_T61,
    "nombstr": ~(_BMP | _UTF8),
}
"""``string_mask`` of ``[ req ]``: the allowed string types."""

# OID → (minimum and maximum characters, types, whether string_mask is ignored).  RFC 5280 appendix A.1 and
# RFC 2985; types and limits are those of OpenSSL, for identical encodings.
_RULES: Final = {
    "2.5.4.3": (1, 64, _DIRECTORY, False),
    "2.5.4.4": (1, 32768, _DIRECTORY, False),
    "2.5.4.5": (1, 64, _PRINTABLE, True),
    "2.5.4.6": (2, 2, _PRINTABLE, True),
    "2.5.4.7": (1, 128, _DIRECTORY, False),
    "2.5.4.8": (1, 128, _DIRECTORY, False),
    "2.5.4.10": (1, 64, _DIRECTORY, False),
    "2.5.4.11": (1, 64, _DIRECTORY, False),
    "2.5.4.41": (1, 32768, _DIRECTORY, False),
    "2.5.4.42": (1, 32768, _DIRECTORY, False),
    "2.5.4.43": (1, 32768, _DIRECTORY, False),
    "2.5.4.46": (1, 32768, _PRINTABLE, True),
    "0.9.2342.19200300.100.1.3": (1, 256, _IA5, True),
    "0.9.2342.19200300.100.1.25": (1, 63, _IA5, True),
    "1.2.840.113549.1.9.1": (1, 128, _IA5, True),
    "1.2.840.113549.1.9.2": (1, 255, _PKCS9, False),
    "1.2.840.113549.1.9.7": (1, 255, _PKCS9, False),
    "1.2.840.113549.1.9.8": (1, 255, _DIRECTORY, False),
    "1.2.840.113549.1.9.20": (1, 255, _BMP, True),
    "1.3.6.1.4.1.311.17.1": (1, 255, _BMP, True),
    "1.3.6.1.4.1.311.60.2.1.3": (2, 2, _PRINTABLE, True),
}
_OTHERS: Final = (1, 32768, _DIRECTORY, False)

_PRINTABLE_TEXT: Final = re.compile(r"[A-Za-z0-9 '()+,./:=?-]*")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_INDEX: Final = re.compile(r"[^.:,]*+[.:,](?=.)")


_TYPES: Final = tuple(
    name
    for name, oid in (SHORT | LONG).items()
    if oid.startswith(("2.5.4.", "0.9.2342.19200300.100.1.", "1.2.840.113549.1.9.", "1.3.6.1.4.1.311.60.2.1."))
)


@dataclass(frozen=True, slots=True)
class NameEntry:
    """An attribute of a name: its key in the text, such as ``1.OU`` or ``+CN``, and its value."""

    key: str
    value: str
    location: Location


def attribute_type(key: str) -> tuple[str, bool]:
    """Return the type in a key, and whether ``+`` joins it to the previous attribute.

    A prefix up to the first ``.``, ``:`` or ``,`` only makes keys unique (OpenSSL's rule).
    """
    index = _INDEX.match(key)
    name = key if index is None else key[index.end() :]
    return (name[1:], True) if name.startswith("+") else (name, False)


def attribute_oid(kind: str, location: Location) -> str:
    """Return the OID of an attribute type.

    :raises BadTemplate: the type is unknown.
    """
    return object_identifier(kind, location, "attribute type", _TYPES)


def encode_string(oid: str, value: str, mask: int, location: Location, *, secret: bool = False) -> bytes:
    """Encode a value of an attribute type in the first suitable string type, in OpenSSL's order.

    :param secret: keep the value out of error messages.
    """
    minimum, maximum, types, ignores_mask = _RULES.get(oid, _OTHERS)
    shown = "the value" if secret else quoted(value)
    if not minimum <= len(value) <= maximum:
        if not value:
            raise location.error("the value is empty")
        raise location.error(
            f"{shown} must have {minimum} characters"
            if minimum == maximum
            else f"the value has more than {maximum} characters"
        )
    if _CONTROL.search(value):
        raise location.error("the value has control characters")
    encoded = _choose(value, types if ignores_mask else types & mask)
    if encoded is None:
        raise location.error(f"{shown} has characters that can't stand there")
    return encoded


def _choose(value: str, types: int) -> bytes | None:
    if types & _PRINTABLE and _PRINTABLE_TEXT.fullmatch(value):
        return der.printable_string(value)
    if types & _IA5 and value.isascii():
        return der.ia5_string(value)
    if types & _T61 and all(character <= "\xff" for character in value):
        return der.tlv(der.T61_STRING, value.encode("latin-1"))
    if types & _BMP and all(character <= "\uffff" for character in value):
        return der.tlv(der.BMP_STRING, value.encode("utf-16-be"))
    if types & _UTF8:
        return der.utf8_string(value)
    return None


def encode_name(entries: Iterable[NameEntry], mask: int) -> bytes:
    """Encode a Name, with one relative distinguished name for each entry without ``+``.

    :raises BadTemplate: with the line of the invalid entry.
    """
    return der.sequence(*encode_rdns(entries, mask))


def encode_rdns(entries: Iterable[NameEntry], mask: int) -> list[bytes]:
    """Encode the relative distinguished names, each a SET OF."""
    rdns: list[list[bytes]] = []
    for entry in entries:
        kind, joins = attribute_type(entry.key)
        oid = attribute_oid(kind, entry.location)
        attribute = der.sequence(der.oid(oid), encode_string(oid, entry.value, mask, entry.location))
        if joins and rdns:
            rdns[-1].append(attribute)
        else:
            rdns.append([attribute])
    return [der.set_of(rdn) for rdn in rdns]


def email_addresses(name_der: bytes) -> list[bytes]:
    """Return the content octets of the emailAddress attributes in a DER Name, in order.

    :raises MalformedRequest: *name_der* is not a Name.
    """
    return [
        value
        for rdn in der.parse(name_der, der.SEQUENCE).children()
        for attribute in rdn.children()
        for value in _email(attribute)
    ]


def without_email_addresses(name_der: bytes) -> bytes:
    """Return the Name without its emailAddress attributes (``email:move``)."""
    rdns = []
    for rdn in der.parse(name_der, der.SEQUENCE).children():
        attributes = [attribute.whole for attribute in rdn.children() if not _email(attribute)]
        if attributes:
            rdns.append(der.set_of(attributes))
    return der.sequence(*rdns)


def _email(attribute: der.Element) -> list[bytes]:
    parts = attribute.expect(der.SEQUENCE).sub()
    if len(parts) == 2 and parts[0].oid() == "1.2.840.113549.1.9.1" and parts[1].tag == der.IA5_STRING:
        return [parts[1].content]
    return []
