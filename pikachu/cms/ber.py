"""Conversion of BER (X.690) to DER lengths and primitive strings, within fixed bounds.

Clients send indefinite lengths and constructed strings.  The result of :func:`normalise` has definite, shortest
lengths and primitive OCTET STRINGs, so that the strict reader of :mod:`pikachu.x509.der` accepts it.  Nothing else
changes: sets keep their order, since they may contain certificates and signed attributes.
"""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der

MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 10_000
MAX_BYTES: Final = 2 * 1024 * 1024

_CONSTRUCTED: Final = 0x20
_CONSTRUCTED_OCTET_STRING: Final = 0x24
# Other string types (and BIT STRING) have no reason to be constructed inside CMS.
_CONSTRUCTED_STRINGS: Final = frozenset({0x21, 0x22, 0x23, 0x25, 0x26, 0x2A, 0x2C, *range(0x32, 0x3F)})


class _Open:
    """A constructed element that has not ended yet."""

    __slots__ = ("end", "indefinite", "parts", "tag")

    def __init__(self, tag: int, end: int, indefinite: bool) -> None:
        self.tag = tag
        self.end = end
        self.indefinite = indefinite
        self.parts: list[bytes] = []

    def close(self) -> bytes:
        """Return the element in DER."""
        if self.tag == _CONSTRUCTED_OCTET_STRING:
            pieces = []
            for child in self.parts:
                if child[0] != der.OCTET_STRING:
                    raise MalformedRequest("a string in pieces holds something else")
                pieces.append(der.element_at(child, 0, len(child)).content)
            return der.octet_string(b"".join(pieces))
        return der.tlv(self.tag, b"".join(self.parts))


def _header(data: bytes, offset: int, limit: int) -> tuple[int, int, int]:
    """Return the tag, the offset of the content, and its size or -1 for an indefinite length."""
    if offset + 2 > limit:
        raise MalformedRequest("the ASN.1 data is cut short")
    tag = data[offset]
    if tag & 0x1F == 0x1F:
        raise MalformedRequest("multi-byte ASN.1 tags are not used here")
    size = data[offset + 1]
    start = offset + 2
    if size == 0x80:
        if not tag & _CONSTRUCTED:
            raise MalformedRequest("a primitive ASN.1 element has no length")
        return tag, start, -1
    if size > 0x80:
        count = size & 0x7F
        if count > 8 or start + count > limit:
            raise MalformedRequest("an ASN.1 length is too large")
        size = int.from_bytes(data[start : start + count], "big")
        start += count
    if start + size > limit:
        raise MalformedRequest("the ASN.1 data is cut short")
    return tag, start, size


def normalise(data: bytes) -> bytes:
    """Return the element with definite lengths and primitive strings; DER is returned unchanged.

    :raises MalformedRequest: *data* is not BER, bytes follow the element, or it exceeds ``MAX_DEPTH``, ``MAX_ELEMENTS``
        or ``MAX_BYTES``.
    """
    total = len(data)
    if total > MAX_BYTES:
        raise MalformedRequest("the message is too large")
    stack: list[_Open] = []
    offset = 0
    for _ in range(MAX_ELEMENTS):
        limit = stack[-1].end if stack else total
        tag, start, size = _header(data, offset, limit)
        if tag == 0 and size == 0:
            if not stack or not stack[-1].indefinite:
                raise MalformedRequest("an ASN.1 end-of-contents stands where none belongs")
            offset = start
            closed = stack.pop().close()
        elif tag & _CONSTRUCTED and size:
            if tag in _CONSTRUCTED_STRINGS:
                raise MalformedRequest("a string in pieces is of a kind that is not used here")
            if len(stack) >= MAX_DEPTH:
                raise MalformedRequest("the ASN.1 data is nested too deep")
            stack.append(_Open(tag, limit if size < 0 else start + size, size < 0))
            offset = start
            continue
        elif tag == _CONSTRUCTED_OCTET_STRING:
            offset = start
            closed = b"\x04\x00"
        else:
            offset = start + size
            closed = der.tlv(tag, data[start:offset])
        while stack:
            parent = stack[-1]
            parent.parts.append(closed)
            if parent.indefinite or offset < parent.end:
                break
            closed = stack.pop().close()
        else:
            if offset != total:
                raise MalformedRequest("bytes follow the end of the ASN.1 data")
            return closed
    raise MalformedRequest("the ASN.1 data has too many elements")


def bounded(element: der.Element, maximum: int) -> list[der.Element]:
    """Return the children of *element*.

    :raises MalformedRequest: there are more than *maximum*.
    """
    return element.sub(most=maximum)
