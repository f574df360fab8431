"""The common base of downloads: public, without content negotiation, errors as one line of text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import ClassVar, Final

from twisted.logger import Logger

from pikachu.core.errors import (
    AuthenticationFailed,
    Conflict,
    NotAuthorized,
    NotFound,
    PikachuError,
    RateLimited,
    RequestError,
    TooLarge,
    Unavailable,
    entry_of,
)
from pikachu.http.request import BoundedRequest
from pikachu.http.resources import ProtocolResource
from pikachu.http.responses import send, text_error

log = Logger()

PEM: Final = b"application/x-pem-file"
JSON: Final = b"application/json"
NO_STORE: Final = {b"Cache-Control": b"no-store"}

# The HTTP status of each error (docs/errors.md).
STATUSES: Final[dict[type[PikachuError], int]] = {
    AuthenticationFailed: 401,
    NotAuthorized: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    RateLimited: 429,
    RequestError: 400,
    Unavailable: 503,
    PikachuError: 500,
}


class Download(ProtocolResource):
    """A public resource, also for the paths below its own."""

    methods: ClassVar = {b"GET": "answer"}

    def refuse(self, request: BoundedRequest, error: PikachuError) -> None:
        """Send the error as one line of text, with the status from :data:`STATUSES`."""
        status = entry_of(error, STATUSES)
        headers = dict(NO_STORE)
        if isinstance(error, RateLimited | Unavailable):
            headers[b"Retry-After"] = b"%d" % math.ceil(error.retry_after)
        if status >= 500:
            log.error("{path}: {error} {context}", path=request.path, error=error.public, context=error.context)
        text_error(request, status, error.public, headers)


def path_segments(request: BoundedRequest) -> list[str]:
    """Return the path segments below the resource, as text.

    :raises NotFound: when a segment is not ASCII.
    """
    try:
        return [segment.decode("ascii") for segment in request.postpath or []]
    except UnicodeDecodeError:
        raise NotFound("nothing here") from None


def only_segment(request: BoundedRequest) -> str:
    """Return the only path segment below the resource.

    :raises NotFound: when there is none, or more.
    """
    segments = path_segments(request)
    if len(segments) != 1:
        raise NotFound("nothing here")
    return segments[0]


def send_json(request: BoundedRequest, value: Mapping[str, object] | list[int], status: int = 200) -> None:
    """Send JSON that must not be cached."""
    send(request, status, JSON, json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n", NO_STORE)


def attachment(name: str) -> dict[bytes, bytes]:
    """Return the Content-Disposition header that names the downloaded file."""
    return {b"Content-Disposition": f'attachment; filename="{name}"'.encode("ascii")}
