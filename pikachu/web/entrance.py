# mypy: allow-untyped-calls
"""What a browser finds where it arrives: ``/`` leads to ``/login``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pikachu.http.request import BoundedRequest
from pikachu.http.responses import not_allowed, send, text_error

_HTML: Final = b"text/html; charset=utf-8"
_HEADERS: Final = {
    b"Cache-Control": b"no-store",
    b"Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    b"Referrer-Policy": b"no-referrer",
    b"X-Content-Type-Options": b"nosniff",
}
_PAGE: Final = b"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Pikachu CA</title></head>
<body>
<h1>Pikachu CA</h1>
<p>This certificate authority is administered with its REST API and the <code>pikachu</code> command.</p>
<ul>
<li><a href="/downloads/chain">The CA chain</a></li>
<li><a href="/readyz">Is it ready?</a></li>
</ul>
</body>
</html>
"""


class _Page(Resource):
    """GET and HEAD of one address, with nothing below it."""

    def __init__(self) -> None:
        Resource.__init__(self)
        self.isLeaf = True

    def render(self, request: BoundedRequest) -> int:
        """Answer, or say what is allowed."""
        if request.postpath:
            text_error(request, HTTPStatus.NOT_FOUND, "nothing here")
        elif request.method not in (b"GET", b"HEAD"):
            not_allowed(request, {b"GET", b"HEAD"})
        else:
            self.answer(request)
        return NOT_DONE_YET

    def answer(self, request: BoundedRequest) -> None:
        """Answer a GET or HEAD."""
        raise NotImplementedError


class ToLogin(_Page):
    """``/`` for who has not signed in: never an error, since health checks ask for it."""

    def answer(self, request: BoundedRequest) -> None:
        """302."""
        headers = {b"Location": b"/login", b"Cache-Control": b"no-store"}
        send(request, HTTPStatus.FOUND, b"text/plain; charset=utf-8", b"/login\n", headers)


class Entrance(_Page):
    """``/login``: what this server is, and where to go on."""

    def answer(self, request: BoundedRequest) -> None:
        """The page."""
        send(request, HTTPStatus.OK, _HTML, _PAGE, _HEADERS)
