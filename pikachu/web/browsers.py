# mypy: allow-untyped-calls
"""Ambient credentials of browsers: the session cookie, and the origin of a request."""

from __future__ import annotations

import re
from typing import Final

from pikachu.core.errors import NotAuthorized
from pikachu.http.request import BoundedRequest

#: Name of the cookie with the session's secret.
SESSION: Final = "__Host-pikachu"
_MAXIMUM: Final = 8192
_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")


def read_cookies(request: BoundedRequest) -> dict[str, str]:
    """Parse the ``Cookie`` header (RFC 6265 section 5.4), each pair by itself: other programs on this host may have set
    cookies that violate the grammar.  The first of duplicates counts; a header that is too long is ignored.
    """
    header = b"; ".join(request.requestHeaders.getRawHeaders(b"Cookie") or ())
    cookies: dict[str, str] = {}
    if len(header) <= _MAXIMUM:
        for pair in header.decode("latin-1").split(";"):
            name, equals, value = pair.partition("=")
            if equals:
                cookies.setdefault(name.strip(" \t"), value.strip(" \t"))
    return cookies


def named_origin(request: BoundedRequest, host: bytes | None) -> str:
    """Return the origin by which clients reach this site; empty when the Host header is invalid.

    :param host: the Host header.
    """
    external_url = request.channel.site.proxies.external_url
    if external_url is not None:
        return external_url
    text = (host or b"").decode("latin-1")
    return f"https://{text}" if _HOST.fullmatch(text) else ""


def is_same_origin(request: BoundedRequest, host: bytes | None) -> bool:
    """Return whether the browser says that a page of this server has sent the request.

    :param host: the Host header.
    """
    try:
        check_origin(request, host)
    except NotAuthorized:
        return False
    return request.getHeader(b"Origin") is not None or request.getHeader(b"Sec-Fetch-Site") == b"same-origin"


def is_navigation(request: BoundedRequest) -> bool:
    """Return whether the response is shown to a person, rather than read by a script of a page."""
    return request.getHeader(b"Sec-Fetch-Dest") in (None, b"document")


def check_origin(request: BoundedRequest, host: bytes | None) -> None:
    """Check that a page of this server has sent the request, as far as the browser reports its origin (UI-5).

    :param host: the Host header.
    :raises NotAuthorized: it is a cross-site request.
    """
    site = request.getHeader(b"Sec-Fetch-Site")
    origin = request.getHeader(b"Origin")
    external_url = request.channel.site.proxies.external_url
    # A proxy may have replaced the Host header.
    own = [b"https://" + (host or b"").lower(), *([external_url.encode().lower()] if external_url else [])]
    foreign = origin is not None and origin.lower() not in own
    if foreign or (site is not None and site not in (b"same-origin", b"none")):
        raise NotAuthorized("this was sent from another site; go to the page here and send it from there")
