"""Bodies of forms, read within bounds: the work grows with their length only, and there are not many fields.

Python's parser for e-mail, which twisted.web asks, follows whatever a body claims to be: a megabyte takes it seconds.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from pikachu.core.errors import MalformedRequest

#: No page's form has as many.
MAXIMUM_FIELDS: Final = 500
# A megabyte in base64 has fewer; each costs a third of a microsecond.
_MAXIMUM_ESCAPES: Final = 80_000
_MAXIMUM_HEADER: Final = 2048
# Browsers write some 150 bytes for each part; parameters are costly to read.
_MAXIMUM_HEADERS: Final = 128 * 1024
_BOUNDARY: Final = re.compile(rb"""(?i);\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))""")
_DISPOSITION: Final = re.compile(rb"(?im)^content-disposition:[ \t]*form-data[ \t]*(;[^\r\n]*)")
_PARAMETER: Final = re.compile(rb""";[ \t]*([!#-'*+.\w^`|~-]+)=("[^"]*"|[^;"]*)""")
_TOO_MANY: Final = f"a form has at most {MAXIMUM_FIELDS} fields"


def form_fields(kind: bytes, body: bytes) -> dict[bytes, list[bytes]]:
    """Name → values of each field; of an uploaded file its octets.  None where *kind* is no form's.

    :param kind: Content-Type.
    :raises MalformedRequest: it is none, or has too many fields.
    """
    name = kind.partition(b";")[0].strip().lower()
    if name == b"application/x-www-form-urlencoded":
        return _pairs(body)
    return _parts(kind, body) if name == b"multipart/form-data" else {}


def _pairs(body: bytes) -> dict[bytes, list[bytes]]:
    if body.count(b"&") >= MAXIMUM_FIELDS:
        raise MalformedRequest(_TOO_MANY)
    if body.count(b"%") > _MAXIMUM_ESCAPES:
        raise MalformedRequest("the form has too many escaped characters; upload a file instead of pasting its text")
    found: dict[bytes, list[bytes]] = {}
    for pair in body.split(b"&"):
        name, _, value = (unquote_to_bytes(part) for part in pair.replace(b"+", b" ").partition(b"="))
        if name:
            found.setdefault(name, []).append(value)
    return found


def _parts(kind: bytes, body: bytes) -> dict[bytes, list[bytes]]:
    """RFC 7578, as browsers write it: parts in parts are only octets, and nothing is encoded."""
    boundary = _BOUNDARY.search(kind)
    if boundary is None:
        raise MalformedRequest("the form names no boundary of its parts")
    mark = b"\r\n--" + (boundary[1] or boundary[2])
    body = b"\r\n" + body
    if body.count(mark) > MAXIMUM_FIELDS + 1:
        raise MalformedRequest(_TOO_MANY)
    _, *parts = body.split(mark)
    if not parts or not parts.pop().startswith(b"--"):
        raise MalformedRequest("the form has no end")
    found: dict[bytes, list[bytes]] = {}
    header_size = 0
    for part in parts:
        end = part.find(b"\r\n\r\n", 0, _MAXIMUM_HEADER)
        header_size += max(end, 0)
        if header_size > _MAXIMUM_HEADERS:
            raise MalformedRequest("the headers of the form's parts are too long")
        disposition = _DISPOSITION.search(part, 0, max(end, 0))
        if disposition is None:
            raise MalformedRequest("a part of the form does not say which field it is")
        name = dict(reversed(_PARAMETER.findall(disposition[1]))).get(b"name", b"").strip(b'"')
        found.setdefault(name, []).append(part[end + 4 :])
    return found
