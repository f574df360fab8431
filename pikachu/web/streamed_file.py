# mypy: allow-untyped-calls
"""Files that are read while they are sent, such as lists in CSV, of the pages and REST."""

from __future__ import annotations

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
from pikachu.documents.csv_lines import csv_lines
from pikachu.http.request import BoundedRequest, log_failure

CSV: Final = "text/csv"
# The memory that a file is counted with until it is sent.
_BYTES: Final = 128 * 1024

#: Returns the bytes after a cursor (``None``: the first ones), and the cursor of the next ones.
Parts: TypeAlias = Callable[[str | None], Awaitable[tuple[bytes, str | None]]]
#: The same with rows.
RowPages: TypeAlias = Callable[[str | None], Awaitable[tuple[Sequence[Sequence[str]], str | None]]]


@implementer(IPushProducer)
class StreamedFile(Resource):
    """A file that is streamed with flow control."""

    isLeaf = True

    def __init__(self, filename: str, media_type: str, parts: Parts) -> None:
        Resource.__init__(self)
        self._filename = filename
        self._media_type = media_type
        self._parts = parts
        self._resumed: Deferred[None] | None = None

    def render(self, request: BoundedRequest) -> int:
        """Start streaming; a failure aborts the connection, so that no client mistakes a part for the whole."""
        if request.method != b"HEAD" and not request.hold_answer(_BYTES):
            return NOT_DONE_YET
        request.setResponseCode(HTTPStatus.OK)
        for name, value in (
            (b"Content-Type", self._media_type.encode("ascii")),
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
        cursor: str | None = None
        turns = request.channel.site.capacity.export_pages
        while True:
            # A reader may take an hour for what is buffered, so nothing but the cursor is kept for it.
            cursor = await turns.run(None, partial(self._send_part, request, cursor))
            if cursor is None:
                break
            if self._resumed is not None:
                await self._resumed
        request.unregisterProducer()
        request.finish()

    async def _send_part(self, request: BoundedRequest, cursor: str | None) -> str | None:
        """Send a part, and return the cursor of the next one."""
        data, following = await self._parts(cursor)
        if not request.gone:
            request.write(data)
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


class CSVStream(StreamedFile):
    """Rows as CSV.

    :param heading: the rows before those of *pages*.
    """

    def __init__(self, filename: str, heading: Sequence[Sequence[str]], pages: RowPages) -> None:
        async def parts(cursor: str | None) -> tuple[bytes, str | None]:
            rows, following = await pages(cursor)
            return csv_lines([*(heading if cursor is None else ()), *rows]), following

        StreamedFile.__init__(self, filename, f"{CSV}; charset=utf-8", parts)
