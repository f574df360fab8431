# mypy: allow-untyped-calls
"""The user guide (INT-4: ``/help``)."""

from __future__ import annotations

from pathlib import Path

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from markupsafe import Markup

from pikachu.auth.permissions import Audience
from pikachu.core.errors import NotFound
from pikachu.core.interfaces import IClock
from pikachu.core.model.times import utc
from pikachu.help.guide import PDF_NAME, Guide
from pikachu.help.search import GuideSearch
from pikachu.http.files import OpenFile
from pikachu.http.request import BoundedRequest
from pikachu.http.responses import send_download
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply

_MAX_QUERY_LENGTH: int = 200


class HelpPages(Pages):
    """``/help`` and ``/help/<name>``: public, since the guide contains nothing of this server."""

    def __init__(self, *, guide: Guide, search: GuideSearch, clock: IClock) -> None:
        self._guide = guide
        self._search = search
        self._clock = clock

    @page("GET", "/help", audience=Audience.ANYONE)
    async def index(self, visit: PageRequest) -> PageReply:
        """Show the table of contents; with ``?q=`` the search results."""
        query = visit.query.get("q", "").strip()[:_MAX_QUERY_LENGTH]
        await self._search.prepare()
        hits = await self._search.search(query) if query else []
        pdf_size = self._guide.pdf.stat().st_size if self._guide.pdf.is_file() else 0
        context = {"parts": self._guide.parts, "q": query, "hits": hits, "pdf_size": pdf_size}
        return HtmlPage("help/index.html", context)

    @page("GET", "/help/pdf", audience=Audience.ANYONE)
    async def pdf(self, visit: PageRequest) -> PageReply:
        """Send the guide as a PDF."""
        if not self._guide.pdf.is_file():
            raise NotFound("This installation doesn't include the guide as a PDF. `./script/docs` creates it.")
        return _PDFFile(self._guide.pdf, self._clock)

    @page("GET", "/help/<name>", audience=Audience.ANYONE)
    async def read(self, visit: PageRequest) -> PageReply:
        """Show one page."""
        # Right after the start the guide may not have been rendered yet, which takes a second.
        await self._search.prepare()
        document = self._guide.page(visit.path["name"])
        # The rendered Markdown is safe: HTML in the sources is escaped.
        html = Markup(document.html)  # noqa: S704
        return HtmlPage("help/page.html", {"parts": self._guide.parts, "shown": document, "html": html})


class _PDFFile(Resource):
    """A file of the installation, which is read while it is sent."""

    isLeaf = True

    def __init__(self, path: Path, clock: IClock) -> None:
        Resource.__init__(self)
        self._path = path
        self._clock = clock

    def render(self, request: BoundedRequest) -> int:
        """Answer GET and HEAD, also for a range."""
        file = OpenFile(self._path)
        headers = {
            b"Cache-Control": b"no-cache",
            b"Content-Disposition": f'inline; filename="{PDF_NAME}"'.encode("ascii"),
            b"X-Content-Type-Options": b"nosniff",
        }
        etag = b'"%x-%x"' % file.version[2:]
        send_download(request, b"application/pdf", file, etag=etag, now=utc(self._clock.seconds()), headers=headers)
        return NOT_DONE_YET
