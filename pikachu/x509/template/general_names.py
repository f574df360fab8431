"""GeneralName values: DNS, IP, email, URI, RID, dirName and otherName (RFC 5280 section 4.2.1.6)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from pikachu.x509 import der
from pikachu.x509.template import asn1
from pikachu.x509.template.configuration import quoted
from pikachu.x509.template.distinguished_name import MASKS, NameEntry, encode_name, encode_rdns
from pikachu.x509.template.values import Item, Location, Source, ascii_octets, base_name, object_identifier

_TEXT_TAGS: Final = {"email": 1, "DNS": 2, "URI": 6}
KINDS: Final = ("email", "DNS", "URI", "RID", "IP", "dirName", "otherName")


def general_name(item: Item, source: Source, *, constraint: bool = False) -> bytes:
    """The DER GeneralName that ``DNS:a.example.com`` or ``DNS.1 = a.example.com`` writes.

    :param constraint: a base of nameConstraints, where an IP address has a mask.
    :raises BadTemplate: it is none.
    """
    kind = base_name(item.name)
    place = item.place
    if kind not in KINDS:
        known = next((known for known in KINDS if known in item.name.split(".")), None)
        if known is not None:
            raise place.error(f"{quoted(item.name)} is written {quoted(known + '.1')}")
        raise place.unknown("kind of name", kind, KINDS)
    value = item.text()
    if not value:
        raise place.error(f"{kind} is empty")
    if kind in _TEXT_TAGS:
        octets = ascii_octets(value, place)
        if any(octet < 0x20 or octet == 0x7F for octet in octets):
            raise place.error(f"{quoted(value)} has control characters")
        return der.implicit(_TEXT_TAGS[kind], octets)
    if kind == "RID":
        return der.implicit(8, der.parse(der.oid(object_identifier(value, place))).content)
    if kind == "IP":
        return der.implicit(7, _network(value, place) if constraint else _address(value, place).packed)
    if kind == "dirName":
        return der.explicit(4, directory_name(value, source, place))
    return _other_name(value, source, place)


def _address(text: str, place: Location) -> IPv4Address | IPv6Address:
    try:
        if "%" in text:
            raise ValueError
        return ip_address(text)
    except ValueError:
        raise place.error(f"{quoted(text)} is no IP address") from None


def _network(text: str, place: Location) -> bytes:
    address, slash, mask = text.partition("/")
    if not slash or mask.isdecimal():
        raise place.error(f"{quoted(text)} needs a mask, such as 10.0.0.0/255.0.0.0")
    first, second = _address(address, place), _address(mask, place)
    if first.version != second.version:
        raise place.error(f"{quoted(text)} mixes IPv4 and IPv6")
    return first.packed + second.packed


def _other_name(value: str, source: Source, place: Location) -> bytes:
    kind, semicolon, content = value.partition(";")
    if not semicolon:
        raise place.error("an otherName is written otherName:OID;TYPE:value")
    oid = der.oid(object_identifier(kind.strip(" \t"), place))
    return der.explicit(0, oid + der.explicit(0, asn1.generate(content, source, place)))


def _entries(section: str, source: Source, place: Location) -> list[NameEntry]:
    entries = []
    for item in source.section_items(section, place):
        value = item.text()
        if not value.isascii():
            # OpenSSL takes these octets for Latin-1 and writes another name than the text says.
            raise item.place.error(f"{quoted(value)} has characters outside ASCII, which can't stand in a dirName")
        entries.append(NameEntry(item.name, value, item.place))
    return entries


def directory_name(section: str, source: Source, place: Location) -> bytes:
    """The DER Name that a section writes."""
    return encode_name(_entries(section, source, place), MASKS["utf8only"])


def name_fragment(section: str, source: Source, place: Location) -> bytes:
    """The one RelativeDistinguishedName that a section writes (a SET OF)."""
    rdns = encode_rdns(_entries(section, source, place), MASKS["utf8only"])
    if len(rdns) != 1:
        raise place.error("a relative name is one RDN: write + before each attribute after the first, such as +OU")
    return rdns[0]


def names_of(value: str, source: Source, place: Location) -> bytes:
    """The encoded GeneralNames, without the SEQUENCE around them, that a list or ``@section`` writes.

    :raises BadTemplate: one is wrong.
    """
    return b"".join(general_name(item, source) for item in source.items(value, place))
