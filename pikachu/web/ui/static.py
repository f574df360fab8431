# mypy: allow-untyped-calls
"""Style sheets, scripts and pictures: loaded once, named with a digest of their content, cached by browsers for a
year.
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Final

from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from pikachu.http.request import BoundedRequest
from pikachu.http.responses import not_allowed, send, text_error

FOLDER: Final = Path(__file__).parents[1] / "static"
_TYPES: Final = MappingProxyType(
    {
        ".css": b"text/css; charset=utf-8",
        ".js": b"text/javascript; charset=utf-8",
        ".svg": b"image/svg+xml",
        ".png": b"image/png",
    }
)
_IMMUTABLE: Final = b"public, max-age=31536000, immutable"


class StaticFiles(Resource):
    """Everything in *folder* with a known suffix; mounted at ``/static``.  A browser caches what it requests with the
    right digest.
    """

    isLeaf = True

    def __init__(self, folder: Path = FOLDER) -> None:
        Resource.__init__(self)
        self._files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in _TYPES}
        self._digests = {name: hashlib.sha256(body).hexdigest()[:16] for name, body in self._files.items()}

    def url(self, name: str) -> str:
        """Return the path of a file in its current version."""
        return f"/static/{name}?v={self._digests[name]}"

    def holds(self, request: BoundedRequest) -> bool:
        """Return whether the request is for one of the files."""
        return _name(request) in self._files

    def render(self, request: BoundedRequest) -> int:
        """Answer GET and HEAD."""
        name = _name(request)
        body = self._files.get(name)
        if body is None:
            text_error(request, HTTPStatus.NOT_FOUND, "nothing here")
        elif request.method not in (b"GET", b"HEAD"):
            not_allowed(request, {b"GET", b"HEAD"})
        else:
            current = request.uri.endswith(b"?v=" + self._digests[name].encode("ascii"))
            headers = {
                b"Cache-Control": _IMMUTABLE if current else b"no-cache",
                b"X-Content-Type-Options": b"nosniff",
            }
            send(request, HTTPStatus.OK, _TYPES[Path(name).suffix], body, headers)
        return NOT_DONE_YET


class StaticDirectory(Resource):
    """The files, and pages for people who open any other address below them.

    :param pages: answers these as every address without a page.
    """

    isLeaf = True

    def __init__(self, files: StaticFiles, pages: IResource) -> None:
        Resource.__init__(self)
        self._files = files
        self._pages = pages

    def render(self, request: BoundedRequest) -> bytes | int:
        """Render the file, or the page for an unknown address."""
        chosen: IResource = self._files if self._files.holds(request) else self._pages
        rendered: bytes | int = chosen.render(request)
        return rendered


def _name(request: BoundedRequest) -> str:
    return b"/".join(request.postpath or []).decode("ascii", "replace")
