# mypy: allow-untyped-calls
"""CSV (RFC 4180) that is read while it is sent, of the pages and REST."""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from pikachu.core.errors import PikachuError
from pikachu.http.request import BoundedRequest, log_failure

MEDIA_TYPE: Final = b"text/csv"
# The memory that a CSV is counted with until it is sent.
_BYTES: Final = 128 * 1024
# A spreadsheet evaluates a cell with such a prefix as a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

#: Returns the rows after a cursor (``None``: the first ones), and the cursor of the next ones.
Pages: TypeAlias = Callable[[str | None], Awaitable[tuple[Sequence[Sequence[str]], str | None]]]


@implementer(IPushProducer)
class CSVStream(Resource):
    """A CSV, streamed with flow control.

    :param heading: the rows before those of *pages*.
    """

    isLeaf = True

    def __init__(self, filename: str, heading: Sequence[Sequence[str]], pages: Pages) -> None:
        Resource.__init__(self)
        self._filename = filename
        self._heading = heading
        self._pages = pages
        self._resumed: Deferred[None] | None = None

    def render(self, request: BoundedRequest) -> int:
        """Start streaming; a failure aborts the connection, so that no client mistakes a part for the whole."""
        if request.method != b"HEAD" and not request.hold_answer(_BYTES):
            return NOT_DONE_YET
        request.setResponseCode(HTTPStatus.OK)
        for name, value in (
            (b"Content-Type", b"%s; charset=utf-8" % MEDIA_TYPE),
            (b"Content-Disposition", f'attachment; filename="{self._filename}"'.encode("ascii")),
            (b"Cache-Control", b"no-store"),
            (b"X-Content-Type-Options", b"nosniff"),
        ):
            request.responseHeaders.setRawHeaders(name, [value])
        if request.method == b"HEAD":
            request.finish()
            return NOT_DONE_YET
        request.registerProducer(self, True)
        work = Deferred.fromCoroutine(self._send(request))
        request.notifyFinish().addErrback(lambda _: self._gone(work))

        def failed(reason: Failure) -> None:
            if reason.check(CancelledError) or request.gone:
                return
            if not reason.check(PikachuError):
                log_failure(reason, request)
            request.unregisterProducer()
            request.channel.abort()

        work.addErrback(failed)
        return NOT_DONE_YET

    def _gone(self, work: Deferred[None]) -> None:
        work.cancel()

    async def _send(self, request: BoundedRequest) -> None:
        request.write(csv_lines(self._heading))
        cursor: str | None = None
        turns = request.channel.site.capacity.export_pages
        while True:
            # A reader may take an hour for what is buffered, so nothing but the cursor is kept for it.
            cursor = await turns.run(None, partial(self._send_page, request, cursor))
            if cursor is None:
                break
            if self._resumed is not None:
                await self._resumed
        request.unregisterProducer()
        request.finish()

    async def _send_page(self, request: BoundedRequest, cursor: str | None) -> str | None:
        """Send the rows of a page, and return the cursor of the next one."""
        rows, following = await self._pages(cursor)
        if not request.gone:
            request.write(csv_lines(rows))
        return following

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Pause: the send buffer is full."""
        if self._resumed is None:
            self._resumed = Deferred()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Resume: the send buffer has room."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.called:
            resumed.callback(None)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Do nothing: notifyFinish reports the lost connection."""


def csv_lines(rows: Sequence[Sequence[str]]) -> bytes:
    """Return rows as lines of CSV, in which no cell is a formula."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([[f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row] for row in rows])
    return buffer.getvalue().encode("utf-8", "replace")
