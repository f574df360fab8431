"""DER (X.690) encoder and strict decoder, for the structures that this CA builds itself.

Encoders take and return ``bytes``; the decoder raises :class:`pikachu.core.errors.MalformedRequest`
for anything that is not DER, never reads past the end, and never recurses.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from pikachu.core.errors import MalformedRequest

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
UTF8_STRING = 0x0C
NUMERIC_STRING = 0x12
PRINTABLE_STRING = 0x13
T61_STRING = 0x14
IA5_STRING = 0x16
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
VISIBLE_STRING = 0x1A
GENERAL_STRING = 0x1B
UNIVERSAL_STRING = 0x1C
BMP_STRING = 0x1E
SEQUENCE = 0x30
SET = 0x31

# Bytes of an integer that is decoded to a number: the modulus of the largest RSA key and its sign.  Python refuses
# to format numbers of some 1,800 bytes in decimal.
MAXIMUM_INTEGER = 1025


# Few sizes make up most structures, and every element needs one.
@functools.lru_cache(maxsize=4096)
def length(size: int) -> bytes:
    """Encode the length of a content of *size* bytes, in the shortest form."""
    if size < 0x80:
        return bytes((size,))
    size_bytes = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(size_bytes),)) + size_bytes


def tlv(tag: int, content: bytes) -> bytes:
    """Encode an element: single-byte *tag*, length, *content*."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    return bytes((tag,)) + length(size) + content


def sequence(*parts: bytes) -> bytes:
    """Encode a SEQUENCE (OF) from encoded elements."""
    return tlv(SEQUENCE, b"".join(parts))


def set_of(parts: Iterable[bytes]) -> bytes:
    """Encode a SET OF, in DER order (X.690 section 11.6)."""
    return tlv(SET, b"".join(sorted(parts)))


def integer(value: int) -> bytes:
    """Encode an INTEGER: two's complement, shortest form."""
    return tlv(INTEGER, integer_content(value))


def integer_content(value: int) -> bytes:
    """Encode the content octets of an INTEGER or ENUMERATED."""
    size = (value.bit_length() if value >= 0 else (value + 1).bit_length()) // 8 + 1
    return value.to_bytes(size, "big", signed=True)


def enumerated(value: int) -> bytes:
    """Encode an ENUMERATED."""
    return tlv(ENUMERATED, integer_content(value))


def boolean(value: bool) -> bytes:
    """Encode a BOOLEAN: TRUE is 0xFF."""
    return b"\x01\x01\xff" if value else b"\x01\x01\x00"


def null() -> bytes:
    """Encode NULL."""
    return b"\x05\x00"


def octet_string(content: bytes) -> bytes:
    """Encode a primitive OCTET STRING."""
    return tlv(OCTET_STRING, content)


def bit_string(content: bytes, unused: int = 0) -> bytes:
    """Encode a primitive BIT STRING with *unused* bits at the end of the last byte."""
    return tlv(BIT_STRING, bytes((unused,)) + content)


def named_bits(bits: Iterable[int]) -> bytes:
    """Encode a NamedBitList as BIT STRING without trailing zero bits (X.690 section 11.2.2)."""
    numbers = set(bits)
    if not numbers:
        return b"\x03\x01\x00"
    last = max(numbers)
    content = bytearray(last // 8 + 1)
    for number in numbers:
        content[number // 8] |= 0x80 >> (number % 8)
    return bit_string(bytes(content), 7 - last % 8)


@functools.lru_cache(maxsize=1024)
def oid(dotted: str) -> bytes:
    """Encode an OBJECT IDENTIFIER.

    :param dotted: such as ``2.5.29.15``.
    :raises ValueError: *dotted* is not an OID.
    """
    arcs = [int(arc) for arc in dotted.split(".")]
    if len(arcs) < 2 or min(arcs) < 0 or arcs[0] > 2 or (arcs[0] < 2 and arcs[1] > 39):
        raise ValueError(f"{dotted!r} is no object identifier")
    content = bytearray()
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(0x80 | (arc & 0x7F))
        content.extend(reversed(septets))
    return tlv(OBJECT_IDENTIFIER, bytes(content))


# The same few OIDs occur in every request and certificate.
@functools.lru_cache(maxsize=4096)
def oid_text(content: bytes) -> str:
    """Decode the content octets of an OBJECT IDENTIFIER to the dotted form."""
    if len(content) > 64:
        raise MalformedRequest("an object identifier is too long")
    if not content or content[-1] & 0x80:
        raise MalformedRequest("an object identifier is cut short")
    arcs: list[int] = []
    value = 0
    start = True
    for byte in content:
        if start and byte == 0x80:
            raise MalformedRequest("an object identifier has a padded arc")
        start = not byte & 0x80
        value = value << 7 | byte & 0x7F
        if value.bit_length() > 128:
            raise MalformedRequest("an object identifier has an arc that is too large")
        if start:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - first * 40, *arcs[1:]))


def generalized_time(moment: datetime) -> bytes:
    """Encode a GeneralizedTime ``YYYYMMDDHHMMSSZ`` (RFC 5280 section 4.1.2.5.2), without fractions."""
    utc = moment.astimezone(UTC)
    return tlv(GENERALIZED_TIME, f"{utc.year:04}{_within_year(utc)}".encode("ascii"))


def _within_year(utc: datetime) -> str:
    # strftime() takes ten times as long.
    return f"{utc.month:02}{utc.day:02}{utc.hour:02}{utc.minute:02}{utc.second:02}Z"


def time(moment: datetime) -> bytes:
    """Encode a Time (RFC 5280 section 4.1.2.5): UTCTime through 2049, GeneralizedTime from 2050."""
    moment = moment.astimezone(UTC)
    if 1950 <= moment.year < 2050:
        return tlv(UTC_TIME, f"{moment.year % 100:02}{_within_year(moment)}".encode("ascii"))
    return generalized_time(moment)


def explicit(number: int, content: bytes) -> bytes:
    """Encode [number] EXPLICIT, or a constructed IMPLICIT tag when *content* is the inner content."""
    return tlv(0xA0 | number, content)


def implicit(number: int, content: bytes) -> bytes:
    """Encode [number] IMPLICIT of a primitive type, from its content octets."""
    return tlv(0x80 | number, content)


def utf8_string(text: str) -> bytes:
    """Encode a UTF8String."""
    return tlv(UTF8_STRING, text.encode("utf-8"))


def printable_string(text: str) -> bytes:
    """Encode a PrintableString; the caller checks the alphabet."""
    return tlv(PRINTABLE_STRING, text.encode("ascii"))


def ia5_string(text: str) -> bytes:
    """Encode an IA5String; the caller checks the alphabet."""
    return tlv(IA5_STRING, text.encode("ascii"))


class Element:
    """An element in a buffer: its tag and the offsets of its header, content and end."""

    __slots__ = ("buffer", "end", "start", "tag", "whole_start")

    def __init__(self, buffer: bytes, tag: int, whole_start: int, start: int, end: int) -> None:
        self.buffer = buffer
        self.tag = tag
        self.whole_start = whole_start
        self.start = start
        self.end = end

    @property
    def content(self) -> bytes:
        """The content octets."""
        return self.buffer[self.start : self.end]

    @property
    def whole(self) -> bytes:
        """Tag, length and content."""
        return self.buffer[self.whole_start : self.end]

    def children(self) -> Iterator[Element]:
        """Yield the child elements, in order."""
        offset = self.start
        while offset < self.end:
            child = element_at(self.buffer, offset, self.end)
            yield child
            offset = child.end

    def sub(self, tag: int | None = None, most: int = -1) -> list[Element]:
        """Return the child elements; each must have *tag*, if it is not ``None``.

        :param most: the number of children that there may be; negative for any.
        :raises MalformedRequest: a child is malformed or has another tag, or there are more.
        """
        elements: list[Element] = []
        buffer, offset, end = self.buffer, self.start, self.end
        while offset < end:
            if most == 0:
                raise MalformedRequest("the message has too many parts")
            most -= 1
            # The header of a short element is read here: a call takes as long again.
            stop = offset + 2 + buffer[offset + 1] if offset + 1 < end else end + 1
            if stop <= end and buffer[offset + 1] < 0x80 and buffer[offset] & 0x1F != 0x1F:
                child = Element(buffer, buffer[offset], offset, offset + 2, stop)
            else:
                child = element_at(buffer, offset, end)
            elements.append(child)
            offset = child.end
        if tag is not None:
            for child in elements:
                child.expect(tag)
        return elements

    def expect(self, tag: int) -> Element:
        """Return the element itself after checking its tag.

        :raises MalformedRequest: the element has another tag.
        """
        if self.tag != tag:
            raise MalformedRequest(f"expected the ASN.1 tag 0x{tag:02x}, found 0x{self.tag:02x}")
        return self

    def integer(self) -> int:
        """Decode an INTEGER or ENUMERATED, in the shortest form and within :data:`MAXIMUM_INTEGER`."""
        if self.tag not in (INTEGER, ENUMERATED):
            raise MalformedRequest("expected an ASN.1 integer")
        return self.implicit_integer()

    def implicit_integer(self) -> int:
        """Decode an INTEGER under an IMPLICIT tag, like :meth:`integer`."""
        content = self.content
        if not content:
            raise MalformedRequest("expected an ASN.1 integer")
        if len(content) > MAXIMUM_INTEGER:
            raise MalformedRequest("an ASN.1 integer is too large")
        if len(content) > 1 and (content[0], content[1] & 0x80) in ((0x00, 0), (0xFF, 0x80)):
            raise MalformedRequest("an ASN.1 integer is padded")
        return int.from_bytes(content, "big", signed=True)

    def oid(self) -> str:
        """Decode an OBJECT IDENTIFIER to the dotted form."""
        self.expect(OBJECT_IDENTIFIER)
        return oid_text(self.content)

    def boolean(self) -> bool:
        """Decode a BOOLEAN."""
        if self.tag != BOOLEAN or self.content not in (b"\x00", b"\xff"):
            raise MalformedRequest("expected an ASN.1 boolean")
        return self.content == b"\xff"

    def ber_boolean(self) -> bool:
        """Decode a BOOLEAN in BER, where every byte but 0 is TRUE: some CAs write 1 into their certificates."""
        if self.tag != BOOLEAN or self.end - self.start != 1:
            raise MalformedRequest("expected an ASN.1 boolean")
        return self.content != b"\x00"


def element_at(buffer: bytes, offset: int, limit: int) -> Element:
    """Decode the header of the element at *offset*, which must end by *limit*.

    :raises MalformedRequest: the element is truncated, or has an indefinite or padded length, or a multi-byte tag.
    """
    if offset + 2 > limit:
        raise MalformedRequest("the ASN.1 data is cut short")
    tag = buffer[offset]
    if tag & 0x1F == 0x1F:
        raise MalformedRequest("multi-byte ASN.1 tags are not used here")
    size = buffer[offset + 1]
    start = offset + 2
    if size >= 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4 or start + count > limit:
            raise MalformedRequest("an ASN.1 length is not definite or too large")
        size = int.from_bytes(buffer[start : start + count], "big")
        start += count
        if size < 0x80 or size >> (8 * (count - 1)) == 0:
            raise MalformedRequest("an ASN.1 length is not in its shortest form")
    end = start + size
    if end > limit:
        raise MalformedRequest("the ASN.1 data is cut short")
    return Element(buffer, tag, offset, start, end)


def parse(buffer: bytes, tag: int | None = None) -> Element:
    """Decode the single element in *buffer*.

    :raises MalformedRequest: *buffer* contains no element, bytes follow it, or it has another tag.
    """
    element = element_at(buffer, 0, len(buffer))
    if element.end != len(buffer):
        raise MalformedRequest("bytes follow the end of the ASN.1 data")
    return element if tag is None else element.expect(tag)
