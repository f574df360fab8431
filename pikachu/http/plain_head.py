"""Heads of HTTP/1.1 requests as almost all clients send them, read in one pass.

twisted.web reads a head line by line, with some thirty calls for each.  Whatever is unusual is left to it: only what it
would accept, and would understand in the same way, is read here.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

from twisted.web.http_headers import Headers

# Bytes of a head, its empty line included, and header fields; longer heads are left to twisted.web, within its bounds.
MAXIMUM_HEAD: Final = 4 * 1024
MAXIMUM_FIELDS: Final = 32
_REQUEST_LINE: Final = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]{1,2048}) HTTP/1\.1")
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_LENGTH: Final = re.compile(rb"[0-9]{1,9}")
# Fields that change how the rest is received.
_UNUSUAL: Final = frozenset((b"Transfer-Encoding", b"Expect", b"Upgrade"))


@dataclass(slots=True)
class PlainHead:
    """The head of a request, and where its body is.

    :ivar target: the request target as it came.
    :ivar fields: the values of header fields by name, in the capitalization of twisted.web.
    :ivar size: bytes of the head, with the empty line.
    :ivar length: bytes of the body.
    """

    method: bytes
    target: bytes
    fields: dict[bytes, list[bytes]]
    size: int
    length: int


def read_plain_head(data: bytes) -> PlainHead | None:
    """Return the head that *data* begins with, or None when it is incomplete, too long or unusual.

    Unusual are other versions than HTTP/1.1, names that are no tokens, folded fields, single CR or LF, NUL, and fields
    such as Transfer-Encoding and Expect, and more than one length.
    """
    end = data.find(b"\r\n\r\n", 0, MAXIMUM_HEAD)
    if end < 0:
        return None
    head = data[:end]
    request_line, *lines = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(request_line)
    breaks = len(lines)
    if match is None or breaks > MAXIMUM_FIELDS or b"\0" in head:
        return None
    if head.count(b"\r") != breaks or head.count(b"\n") != breaks:
        return None
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        known = _canonical(name) if colon else None
        if known is None or known in _UNUSUAL:
            return None
        fields.setdefault(known, []).append(value.strip(b" \t"))
    length = 0
    lengths = fields.get(b"Content-Length")
    if lengths is not None:
        if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
            return None
        length = int(lengths[0])
    return PlainHead(match[1], match[2], fields, end + 4, length)


@functools.lru_cache(maxsize=256)
def _canonical(name: bytes) -> bytes | None:
    """Return the name of a header field as twisted.web keeps it, or None when it is no token."""
    if not _TOKEN.fullmatch(name):
        return None
    ((canonical, _),) = Headers({name: [b""]}).getAllRawHeaders()
    return canonical
