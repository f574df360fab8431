# mypy: allow-untyped-calls
# ruff: noqa: N802 - the names are Twisted's
"""Server-sent events: a response that lasts until either side closes it.

Events for a slow client are not queued: only the newest event of each kind waits until it reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from pikachu.core.interfaces import IClock, IDelayedCall
from pikachu.http.request import BoundedRequest
from pikachu.http.responses import phrase

EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
#: Seconds between comments that prevent proxy timeouts and detect closed connections.
KEEP_ALIVE: Final = 20.0
# Milliseconds after which a browser reconnects.
_RETRY: Final = 3000


@implementer(IPushProducer)
class EventStream:
    """The event stream of one client.

    :param ended: called once when the stream ends, from either side.
    """

    def __init__(self, request: BoundedRequest, clock: IClock, ended: Callable[[], None]) -> None:
        self._request = request
        self._clock = clock
        self._ended: Callable[[], None] | None = ended
        self._paused = False
        self._unsent: dict[str, Mapping[str, object]] = {}
        self._keep_alive_call: IDelayedCall | None = None

    def open(self, headers: Mapping[bytes, bytes]) -> None:
        """Start the response."""
        request = self._request
        if request.gone:
            self._end()
            return
        request.notifyFinish().addBoth(lambda _: self._end())
        request.ending = self.close
        request.setResponseCode(HTTPStatus.OK, phrase(HTTPStatus.OK))
        request.responseHeaders.setRawHeaders(b"Content-Type", [EVENT_STREAM])
        for name, value in headers.items():
            request.responseHeaders.setRawHeaders(name, [value])
        request.registerProducer(self, True)
        self._write(f"retry: {_RETRY}\n\n")
        if request.site.draining:
            self.close()
            return
        self._keep_alive()

    def send(self, event: str, data: Mapping[str, object]) -> None:
        """Send an event; for a slow client it replaces an unsent one of the same kind."""
        if self._ended is None:
            return
        if self._paused:
            self._unsent[event] = data
        else:
            self._write(f"event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n")

    def close(self) -> None:
        """Close the stream; browsers reconnect automatically."""
        if self._ended is None:
            return
        self._end()
        if not self._request.gone:
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        """Stop sending while the client does not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Send the waiting events when the client has read."""
        self._paused = False
        unsent, self._unsent = self._unsent, {}
        for event, data in unsent.items():
            self.send(event, data)

    def stopProducing(self) -> None:
        """End the stream when the client has disconnected."""
        self._end()

    def _write(self, text: str) -> None:
        if not self._request.gone:
            self._request.write(text.encode())

    def _keep_alive(self) -> None:
        self._keep_alive_call = self._clock.callLater(KEEP_ALIVE, self._keep_alive)
        if not self._paused:
            self._write(": still here\n\n")

    def _end(self) -> None:
        if self._keep_alive_call is not None and self._keep_alive_call.active():
            self._keep_alive_call.cancel()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()
