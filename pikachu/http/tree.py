"""The resource tree of a listener."""

from __future__ import annotations

from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from pikachu.http.resources import NotFoundResource


class Tree(Resource):
    """Resources by the first path segment; a fallback resource gets all other requests with their whole path.

    :param fallback: the resource for all other paths, including that of the tree itself; by default 404.
    """

    def __init__(self, fallback: IResource | None = None) -> None:
        Resource.__init__(self)
        self._fallback: IResource = fallback or NotFoundResource()

    def getChild(self, path: bytes, request: Request) -> IResource:
        """Return the fallback, with the path as if it were the root resource."""
        if request.prepath:
            request.postpath = [request.prepath.pop(), *(request.postpath or [])]
        return self._fallback

    def render(self, request: Request) -> bytes | int:
        """Render the fallback."""
        rendered: bytes | int = self._fallback.render(request)
        return rendered


class ParentDirectory(Resource):
    """A leaf for a path and those below it, and another for files: names with a suffix."""

    isLeaf = True

    def __init__(self, itself: IResource, files: IResource) -> None:
        Resource.__init__(self)
        self._itself = itself
        self._files = files

    def render(self, request: Request) -> bytes | int:
        """Render the matching leaf; a trailing slash makes no difference."""
        names = [segment for segment in request.postpath or [] if segment]
        chosen = self._files if names and b"." in names[-1] else self._itself
        rendered: bytes | int = chosen.render(request)
        return rendered
