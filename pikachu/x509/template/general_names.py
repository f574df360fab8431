"""GeneralName values: DNS, IP, email, URI, RID, dirName and otherName (RFC 5280 section 4.2.1.6)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from pikachu.x509 import der
from pikachu.x509.template import asn1
from pikachu.x509.template.configuration import quoted
from pikachu.x509.template.distinguished_name import MASKS, NameEntry, encode_name, encode_rdns
from pikachu.x509.template.values import Item, Location, Source, ascii_bytes, base_name, object_identifier

_TEXT_TAGS: Final = {"email": 1, "DNS": 2, "URI": 6}
KINDS: Final = ("email", "DNS", "URI", "RID", "IP", "dirName", "otherName")


def general_name(item: Item, source: Source, *, constraint: bool = False) -> bytes:
    """Encode the GeneralName of ``DNS:a.example.com`` or ``DNS.1 = a.example.com``.

    :param constraint: whether the name is a base of nameConstraints, in which an IP address has a mask.
    :raises BadTemplate: the name is invalid.
    """
    kind = base_name(item.name)
    location = item.location
    if kind not in KINDS:
        known = next((known for known in KINDS if known in item.name.split(".")), None)
        if known is not None:
            raise location.error(f"{quoted(item.name)} is written {quoted(known + '.1')}")
        raise location.unknown("kind of name", kind, KINDS)
    value = item.text()
    if not value:
        raise location.error(f"{kind} is empty")
    if kind in _TEXT_TAGS:
        data = ascii_bytes(value, location)
        if any(byte < 0x20 or byte == 0x7F for byte in data):
            raise location.error(f"{quoted(value)} has control characters")
        return der.implicit(_TEXT_TAGS[kind], data)
    if kind == "RID":
        return der.implicit(8, der.parse(der.oid(object_identifier(value, location))).content)
    if kind == "IP":
        return der.implicit(7, _network(value, location) if constraint else _address(value, location).packed)
    if kind == "dirName":
        return der.explicit(4, directory_name(value, source, location))
    return _other_name(value, source, location)


def _address(text: str, location: Location) -> IPv4Address | IPv6Address:
    try:
        if "%" in text:
            raise ValueError
        return ip_address(text)
    except ValueError:
        raise location.error(f"{quoted(text)} is no IP address") from None


def _network(text: str, location: Location) -> bytes:
    address, slash, mask = text.partition("/")
    if not slash or mask.isdecimal():
        raise location.error(f"{quoted(text)} needs a mask, such as 10.0.0.0/255.0.0.0")
    first, second = _address(address, location), _address(mask, location)
    if first.version != second.version:
        raise location.error(f"{quoted(text)} mixes IPv4 and IPv6")
    return first.packed + second.packed


def _other_name(value: str, source: Source, location: Location) -> bytes:
    kind, semicolon, content = value.partition(";")
    if not semicolon:
        raise location.error("an otherName is written otherName:OID;TYPE:value")
    oid = der.oid(object_identifier(kind.strip(" \t"), location))
    return der.explicit(0, oid + der.explicit(0, asn1.generate(content, source, location)))


def _entries(section: str, source: Source, location: Location) -> list[NameEntry]:
    entries = []
    for item in source.section_items(section, location):
        value = item.text()
        if not value.isascii():
            # OpenSSL interprets these bytes as Latin-1, and encodes a name that differs from the text.
            raise item.location.error(f"{quoted(value)} has characters outside ASCII, which can't stand in a dirName")
        entries.append(NameEntry(item.name, value, item.location))
    return entries


def directory_name(section: str, source: Source, location: Location) -> bytes:
    """Encode the Name in a section."""
    return encode_name(_entries(section, source, location), MASKS["utf8only"])


def name_fragment(section: str, source: Source, location: Location) -> bytes:
    """Encode the single RelativeDistinguishedName in a section (a SET OF)."""
    rdns = encode_rdns(_entries(section, source, location), MASKS["utf8only"])
    if len(rdns) != 1:
        raise location.error("a relative name is one RDN: write + before each attribute after the first, such as +OU")
    return rdns[0]


def names_of(value: str, source: Source, location: Location) -> bytes:
    """Encode the GeneralNames of a list or ``@section``, without the SEQUENCE around them.

    :raises BadTemplate: a name is invalid.
    """
    return b"".join(general_name(item, source) for item in source.items(value, location))
