# mypy: allow-untyped-calls
"""What browsers send by themselves: the cookie of a session, and from where a request was made."""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import NotAuthorized
from pikachu.http.request import BoundedRequest

#: The cookie that holds the secret of a session.
SESSION: Final = "__Host-pikachu"
_MAXIMUM: Final = 8192


def read_cookies(request: BoundedRequest) -> dict[str, str]:
    """Those that the browser sent (RFC 6265 section 5.4), each by itself: other programs on this host, on any port,
    may have set some that no standard allows.  Of one that is there twice the first counts; none of a header too long.
    """
    header = b"; ".join(request.requestHeaders.getRawHeaders(b"Cookie") or ())
    found: dict[str, str] = {}
    if len(header) <= _MAXIMUM:
        for pair in header.decode("latin-1").split(";"):
            name, equals, value = pair.partition("=")
            if equals:
                found.setdefault(name.strip(" \t"), value.strip(" \t"))
    return found


def check_origin(request: BoundedRequest, host: bytes | None) -> None:
    """That a page of this server has made the request, as far as the browser says from where (UI-5).

    :param host: what the client calls this server.
    :raises NotAuthorized: another site's page has.
    """
    site = request.getHeader(b"Sec-Fetch-Site")
    origin = request.getHeader(b"Origin")
    foreign = origin is not None and origin.lower() != b"https://" + (host or b"").lower()
    if foreign or (site is not None and site not in (b"same-origin", b"none")):
        raise NotAuthorized("this was sent from another site; go to the page here and send it from there")
