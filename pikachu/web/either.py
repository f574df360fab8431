"""One address for programs and for browsers: REST for who sends a token, pages for who is signed in."""

from __future__ import annotations

from twisted.web.resource import IResource, Resource

from pikachu.http.request import BoundedRequest
from pikachu.web.browsers import SESSION, read_cookies


class ProgramOrBrowser(Resource):
    """Two leaves for the same paths.

    :param program: answers whoever sends an Authorization field, and whoever has no session.
    :param browser: answers the others.
    """

    isLeaf = True

    def __init__(self, program: IResource, browser: IResource) -> None:
        Resource.__init__(self)
        self._program = program
        self._browser = browser

    def render(self, request: BoundedRequest) -> bytes | int:
        """Let the right one answer."""
        signed_in = not request.requestHeaders.hasHeader(b"Authorization") and SESSION in read_cookies(request)
        rendered: bytes | int = (self._browser if signed_in else self._program).render(request)
        return rendered
