# mypy: allow-untyped-calls
"""The redirect from the plain HTTP listener to HTTPS."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pikachu.http.request import BoundedRequest
from pikachu.http.responses import send, text_error

# Paths to which clients send credentials: a redirect would suggest that sending them in the clear is acceptable.
_CLOSED: Final = (b"/.well-known/est", b"/api")
# A name, an IPv4 address or an IPv6 address in brackets, and a port (RFC 9110 section 7.2).
_HOST: Final = re.compile(rb"([A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{0,5})?")


class HTTPSRedirect(Resource):
    """Redirects browsers to HTTPS, and refuses requests that would send credentials in the clear.

    :param port: the port of the HTTPS listener; 0 if there is none.
    :param external_url: the address of the pages as browsers see it; ``None``: see *public_url*.
    :param public_url: the address of this listener as others see it, whose host takes the place of the Host header's,
        which a cache or an attacker may have made up; ``None`` takes the latter.
    """

    isLeaf = True

    def __init__(self, port: int, external_url: str | None = None, public_url: str | None = None) -> None:
        Resource.__init__(self)
        self._port = port
        self._external_url = external_url
        self._public_host = None if public_url is None else urlsplit(public_url).netloc

    def render(self, request: BoundedRequest) -> int:
        """Redirect or refuse a request of any method."""
        path = bytes(request.path)
        if request.method not in (b"GET", b"HEAD") or any(
            path == prefix or path.startswith(prefix + b"/") for prefix in _CLOSED
        ):
            text_error(request, HTTPStatus.FORBIDDEN, "not over plain HTTP; use HTTPS")
            return NOT_DONE_YET
        base = self._base(request)
        if base is None or not request.accepts_html:
            text_error(request, HTTPStatus.NOT_FOUND, "nothing here")
            return NOT_DONE_YET
        location = base + request.uri
        # Browsers cache permanent redirects; a day is enough.
        headers = {b"Location": location, b"Cache-Control": b"max-age=86400", b"Vary": b"Accept"}
        send(request, HTTPStatus.PERMANENT_REDIRECT, b"text/plain; charset=utf-8", b"use HTTPS\n", headers)
        return NOT_DONE_YET

    def _base(self, request: BoundedRequest) -> bytes | None:
        """Return scheme, host and port of the pages, or None when there are none or the host is unknown."""
        if self._external_url is not None:
            return self._external_url.encode("ascii")
        given = request.getHeader(b"host") or b"" if self._public_host is None else self._public_host.encode("ascii")
        host = _HOST.fullmatch(given)
        if not self._port or host is None:
            return None
        return b"https://" + host[1] + (b"" if self._port == 443 else b":%d" % self._port)
