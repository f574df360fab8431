"""Decoding of form bodies within bounds: linear time and a limited number of fields.

Python's e-mail parser, which twisted.web uses, follows any structure in a body: a megabyte can take seconds.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from pikachu.core.errors import MalformedRequest

#: Maximum number of fields; no page's form has as many.
MAXIMUM_FIELDS: Final = 500
# A megabyte in base64 has fewer; decoding each takes a third of a microsecond.
_MAXIMUM_ESCAPES: Final = 80_000
_MAXIMUM_HEADER: Final = 2048
# Browsers send some 150 bytes for each part; parameters are costly to parse.
_MAXIMUM_HEADERS: Final = 128 * 1024
_BOUNDARY: Final = re.compile(rb"""(?i);\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))""")
_DISPOSITION: Final = re.compile(rb"(?im)^content-disposition:[ \t]*form-data[ \t]*(;[^\r\n]*)")
_PARAMETER: Final = re.compile(rb""";[ \t]*([!#-'*+.\w^`|~-]+)=("[^"]*"|[^;"]*)""")
_TOO_MANY: Final = f"a form has at most {MAXIMUM_FIELDS} fields"


def form_fields(content_type: bytes, body: bytes) -> dict[bytes, list[bytes]]:
    """Decode a form: field name → values, with the content of uploaded files; empty for any other content type.

    :param content_type: the Content-Type field.
    :raises MalformedRequest: when the body is not a valid form, or has too many fields.
    """
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type == b"application/x-www-form-urlencoded":
        return _decode_urlencoded(body)
    return _decode_multipart(content_type, body) if media_type == b"multipart/form-data" else {}


def _decode_urlencoded(body: bytes) -> dict[bytes, list[bytes]]:
    if body.count(b"&") >= MAXIMUM_FIELDS:
        raise MalformedRequest(_TOO_MANY)
    if body.count(b"%") > _MAXIMUM_ESCAPES:
        raise MalformedRequest("the form has too many escaped characters; upload a file instead of pasting its text")
    fields: dict[bytes, list[bytes]] = {}
    for pair in body.split(b"&"):
        name, _, value = (unquote_to_bytes(part) for part in pair.replace(b"+", b" ").partition(b"="))
        if name:
            fields.setdefault(name, []).append(value)
    return fields


def _decode_multipart(content_type: bytes, body: bytes) -> dict[bytes, list[bytes]]:
    """Decode multipart/form-data (RFC 7578) as browsers send it, without nested parts or transfer encodings."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise MalformedRequest("the form names no boundary of its parts")
    delimiter = b"\r\n--" + (boundary[1] or boundary[2])
    body = b"\r\n" + body
    if body.count(delimiter) > MAXIMUM_FIELDS + 1:
        raise MalformedRequest(_TOO_MANY)
    _, *parts = body.split(delimiter)
    if not parts or not parts.pop().startswith(b"--"):
        raise MalformedRequest("the form has no end")
    fields: dict[bytes, list[bytes]] = {}
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
        fields.setdefault(name, []).append(part[end + 4 :])
    return fields
