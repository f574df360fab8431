"""The syntax of ``ASN1:`` values: ASN1_generate_nconf(3) of OpenSSL 3.0."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from pikachu.x509 import der
from pikachu.x509.template.configuration import quoted
from pikachu.x509.template.values import (
    MAXIMUM_DEPTH,
    Item,
    Location,
    Source,
    boolean,
    hexadecimal,
    integer,
    object_identifier,
)

_GENERAL_STRING: Final = 0x1B
_VISIBLE_STRING: Final = 0x1A
_NUMERIC_STRING: Final = 0x12

_TYPES: Final = {
    "BOOL": der.BOOLEAN,
    "BOOLEAN": der.BOOLEAN,
    "NULL": der.NULL,
    "INT": der.INTEGER,
    "INTEGER": der.INTEGER,
    "ENUM": der.ENUMERATED,
    "ENUMERATED": der.ENUMERATED,
    "OID": der.OBJECT_IDENTIFIER,
    "OBJECT": der.OBJECT_IDENTIFIER,
    "UTC": der.UTC_TIME,
    "UTCTIME": der.UTC_TIME,
    "GENTIME": der.GENERALIZED_TIME,
    "GENERALIZEDTIME": der.GENERALIZED_TIME,
    "OCT": der.OCTET_STRING,
    "OCTETSTRING": der.OCTET_STRING,
    "BITSTR": der.BIT_STRING,
    "BITSTRING": der.BIT_STRING,
    "UNIV": der.UNIVERSAL_STRING,
    "UNIVERSALSTRING": der.UNIVERSAL_STRING,
    "IA5": der.IA5_STRING,
    "IA5STRING": der.IA5_STRING,
    "UTF8": der.UTF8_STRING,
    "UTF8String": der.UTF8_STRING,
    "BMP": der.BMP_STRING,
    "BMPSTRING": der.BMP_STRING,
    "VISIBLE": _VISIBLE_STRING,
    "VISIBLESTRING": _VISIBLE_STRING,
    "PRINTABLE": der.PRINTABLE_STRING,
    "PRINTABLESTRING": der.PRINTABLE_STRING,
    "T61": der.T61_STRING,
    "T61STRING": der.T61_STRING,
    "TELETEXSTRING": der.T61_STRING,
    "GENSTR": _GENERAL_STRING,
    "GeneralString": _GENERAL_STRING,
    "NUMERIC": _NUMERIC_STRING,
    "NUMERICSTRING": _NUMERIC_STRING,
    "SEQ": der.SEQUENCE,
    "SEQUENCE": der.SEQUENCE,
    "SET": der.SET,
}
_MODIFIERS: Final = (
    *("EXP", "EXPLICIT", "IMP", "IMPLICIT", "FORM", "FORMAT"),
    *("SEQWRAP", "SETWRAP", "OCTWRAP", "BITWRAP"),
)
_WRAPS: Final = {
    "SEQWRAP": b"\x30",
    "SETWRAP": b"\x31",
    "OCTWRAP": b"\x04",
    "BITWRAP": b"\x03",
}
_FORMATS: Final = ("ASCII", "UTF8", "HEX", "BITLIST")
_ALPHABETS: Final = {
    _NUMERIC_STRING: re.compile(r"[0-9 ]*"),
    der.PRINTABLE_STRING: re.compile(r"[A-Za-z0-9 '()+,./:=?-]*"),
    der.IA5_STRING: re.compile("[\x00-\x7f]*"),
    _VISIBLE_STRING: re.compile("[\x20-\x7e]*"),
    _GENERAL_STRING: re.compile("[\x00-\x7f]*"),
    der.T61_STRING: re.compile("[\x00-\xff]*"),
    der.BMP_STRING: re.compile("[\x00-\uffff]*"),
}
_CODECS: Final = {der.BMP_STRING: "utf-16-be", der.UNIVERSAL_STRING: "utf-32-be", der.T61_STRING: "latin-1"}
_TAGGING: Final = re.compile(r"(0|[1-9][0-9]{0,7})([UAPC]?)")
_CLASSES: Final = {"U": 0x00, "A": 0x40, "C": 0x80, "": 0x80, "P": 0xC0}
_MAXIMUM_BIT: Final = 256
_MAXIMUM_WRAPS: Final = 20
_TIMES: Final = {
    der.UTC_TIME: (re.compile(r"[0-9]{12}Z"), "%y%m%d%H%M%SZ", "YYMMDDHHMMSSZ"),
    der.GENERALIZED_TIME: (re.compile(r"[0-9]{14}Z"), "%Y%m%d%H%M%SZ", "YYYYMMDDHHMMSSZ"),
}


@dataclass(slots=True)
class _Wrap:
    """An element around another: its identifier octets, and whether a BIT STRING's byte of unused bits follows."""

    tag: bytes
    padded: bool


@dataclass(slots=True)
class _Node:
    """A type with its value and modifiers; *children* for SEQUENCE and SET."""

    tag: int
    wraps: list[_Wrap]
    implicit: bytes | None
    content: bytes = b""
    children: list[_Node] = field(default_factory=list)


def generate(text: str, source: Source, location: Location) -> bytes:
    """Return the DER of an ``ASN1:`` value, such as ``UTF8:hello`` or ``EXP:0,SEQUENCE:section``.

    :raises BadTemplate: with the line of the invalid field.
    """
    return _encode(_node(text, source, location, 0))


def _encode(node: _Node) -> bytes:
    """Encode a node; the recursion is bounded, since nodes are at most MAXIMUM_DEPTH deep."""
    if node.tag == der.SEQUENCE:
        encoded = der.sequence(*(_encode(child) for child in node.children))
    elif node.tag == der.SET:
        encoded = der.set_of(_encode(child) for child in node.children)
    else:
        encoded = der.tlv(node.tag, node.content)
    if node.implicit is not None:
        constructed = encoded[0] & 0x20
        encoded = bytes((node.implicit[0] | constructed,)) + node.implicit[1:] + encoded[1:]
    for wrap in reversed(node.wraps):
        inner = b"\x00" + encoded if wrap.padded else encoded
        encoded = wrap.tag + der.length(len(inner)) + inner
    return encoded


def _node(text: str, source: Source, location: Location, depth: int) -> _Node:
    source.spend(location, len(text))
    wraps: list[_Wrap] = []
    implicit: bytes | None = None
    form = "ASCII"
    rest = text
    while True:
        part, comma, after = rest.partition(",")
        name, colon, value = part.strip(" \t").partition(":")
        if name in _TYPES:
            break
        if name not in _MODIFIERS:
            raise location.unknown("ASN.1 type", name, (*_TYPES, *_MODIFIERS))
        if not comma:
            raise location.error(f"no ASN.1 type follows the modifier {quoted(name)}")
        rest = after
        if name in ("FORM", "FORMAT"):
            form = value
            if form not in _FORMATS:
                raise location.unknown("format", form, _FORMATS)
            continue
        if name in ("IMP", "IMPLICIT"):
            if implicit is not None:
                raise location.error("an implicit tag can't replace another one")
            implicit = _tag(value, location, 0)
            continue
        if len(wraps) == _MAXIMUM_WRAPS:
            raise location.error(f"more than {_MAXIMUM_WRAPS} explicit tags and wraps")
        if name in ("EXP", "EXPLICIT"):
            if implicit is not None:
                raise location.error("an implicit tag can't replace an explicit one")
            wraps.append(_Wrap(_tag(value, location, 0x20), False))
            continue
        if colon:
            raise location.error(f"{name} takes no value")
        tag = _WRAPS[name]
        if implicit is not None:
            tag = bytes((implicit[0] | tag[0] & 0x20,)) + implicit[1:]
            implicit = None
        wraps.append(_Wrap(tag, name == "BITWRAP"))
    # The value extends from the colon to the end, including commas and spaces.
    _, colon, value = rest.lstrip(" \t").partition(":")
    if comma and not colon:
        raise location.error(f"text follows {quoted(name)}")
    node = _Node(_TYPES[name], wraps, implicit)
    if node.tag in (der.SEQUENCE, der.SET):
        if colon:
            node.children = _children(value, source, location, depth)
        return node
    node.content = _content(node.tag, value, form, location)
    return node


def _children(name: str, source: Source, location: Location, depth: int) -> list[_Node]:
    if depth >= MAXIMUM_DEPTH:
        raise location.error(f"more than {MAXIMUM_DEPTH} sections inside each other, or a section that contains itself")
    return [
        _node(known.value, source, Location(location.what, known.line), depth + 1)
        for known in source.section(name, location).fields.values()
    ]


def _tag(text: str, location: Location, constructed: int) -> bytes:
    """Return the identifier octets for a tag such as ``1`` or ``3A`` (X.690 section 8.1.2)."""
    match = _TAGGING.fullmatch(text.strip(" \t"))
    if match is None:
        raise location.error(f"{quoted(text)} is no tag: a number, perhaps followed by U, A, P or C")
    number = int(match[1])
    first = _CLASSES[match[2]] | constructed
    if number < 0x1F:
        return bytes((first | number,))
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(0x80 | number & 0x7F)
    return bytes((first | 0x1F, *reversed(groups)))


def _content(tag: int, value: str, form: str, location: Location) -> bytes:
    if tag in (der.OCTET_STRING, der.BIT_STRING):
        return _byte_string(tag, value, form, location)
    if tag == der.NULL:
        if value:
            raise location.error("NULL has no value")
        return b""
    if tag in _ALPHABETS or tag in (der.UTF8_STRING, der.UNIVERSAL_STRING):
        return _characters(tag, value, form, location)
    if form != "ASCII":
        raise location.error(f"the format {form} does not fit that ASN.1 type")
    if tag == der.BOOLEAN:
        return b"\xff" if boolean(Item("BOOLEAN", value, location)) else b"\x00"
    if tag in (der.INTEGER, der.ENUMERATED):
        return der.integer_content(integer(value, location, negative=True))
    if tag == der.OBJECT_IDENTIFIER:
        return der.parse(der.oid(object_identifier(value, location))).content
    shape, pattern, example = _TIMES[tag]
    if not shape.fullmatch(value) or not _is_time(value, pattern):
        raise location.error(f"{quoted(value)} is no time of the form {example}")
    return value.encode("ascii")


def _is_time(value: str, pattern: str) -> bool:
    try:
        datetime.strptime(value, pattern).replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def _byte_string(tag: int, value: str, form: str, location: Location) -> bytes:
    if form == "BITLIST":
        if tag != der.BIT_STRING:
            raise location.error("the format BITLIST is for BITSTRING")
        bits = [integer(bit.strip(" \t"), location) for bit in value.split(",")]
        if max(bits) > _MAXIMUM_BIT:
            raise location.error(f"a bit's number is at most {_MAXIMUM_BIT}")
        return der.parse(der.named_bits(bits)).content
    if form == "UTF8":
        raise location.error("the format UTF8 does not fit that ASN.1 type; use HEX or ASCII")
    if form == "HEX":
        data = hexadecimal(value, location) if value else b""
    else:
        data = value.encode("utf-8")
    return b"\x00" + data if tag == der.BIT_STRING else data


def _characters(tag: int, value: str, form: str, location: Location) -> bytes:
    if form not in ("ASCII", "UTF8"):
        raise location.error(f"the format {form} does not fit that ASN.1 type")
    if form == "ASCII" and not value.isascii():
        raise location.error(f"{quoted(value)} has characters outside ASCII; write FORMAT:UTF8 before the type")
    alphabet = _ALPHABETS.get(tag)
    if alphabet is not None and not alphabet.fullmatch(value):
        raise location.error(f"{quoted(value)} has characters that the ASN.1 type does not have")
    return value.encode(_CODECS.get(tag, "utf-8"))
