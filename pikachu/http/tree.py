"""The tree of resources of one listener."""

from __future__ import annotations

from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from pikachu.http.resources import NotFoundResource


class Tree(Resource):
    """Resources by the first segment of the path; everything else goes, with its whole path, to a fallback.

    :param fallback: answers what nobody else does, the tree's own address included; by default with 404.
    """

    def __init__(self, fallback: IResource | None = None) -> None:
        Resource.__init__(self)
        self._fallback: IResource = fallback or NotFoundResource()

    def getChild(self, path: bytes, request: Request) -> IResource:
        """The fallback, with the path as if it stood at the root."""
        if request.prepath:
            request.postpath = [request.prepath.pop(), *(request.postpath or [])]
        return self._fallback

    def render(self, request: Request) -> bytes | int:
        """The tree itself is nothing to see."""
        rendered: bytes | int = self._fallback.render(request)
        return rendered


class ParentDirectory(Resource):
    """One leaf for an address and what lies below it, another for the files there: names with a suffix."""

    isLeaf = True

    def __init__(self, itself: IResource, files: IResource) -> None:
        Resource.__init__(self)
        self._itself = itself
        self._files = files

    def render(self, request: Request) -> bytes | int:
        """Let the right one answer; a slash at the end makes no difference."""
        names = [segment for segment in request.postpath or [] if segment]
        chosen = self._files if names and b"." in names[-1] else self._itself
        rendered: bytes | int = chosen.render(request)
        return rendered
