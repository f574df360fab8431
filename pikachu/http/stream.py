# mypy: allow-untyped-calls
# ruff: noqa: N802 - the names are Twisted's
"""Server-sent events: an answer that goes on until either side ends it.

What a client does not read is not kept for it: of each kind of event only the newest waits until it reads on.
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
#: Seconds between comments that keep proxies from thinking that nobody is there, and tell us when nobody is.
KEEP_ALIVE: Final = 20.0
# Milliseconds after which a browser comes back.
_RETRY: Final = 3000


@implementer(IPushProducer)
class EventStream:
    """One client that listens.

    :param ended: called once, whoever ends it.
    """

    def __init__(self, request: BoundedRequest, clock: IClock, ended: Callable[[], None]) -> None:
        self._request = request
        self._clock = clock
        self._ended: Callable[[], None] | None = ended
        self._paused = False
        self._kept: dict[str, Mapping[str, object]] = {}
        self._alive: IDelayedCall | None = None

    def open(self, headers: Mapping[bytes, bytes]) -> None:
        """Begin the answer."""
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
        """Tell of *event*; what a slow client has not been told of that kind yet is forgotten."""
        if self._ended is None:
            return
        if self._paused:
            self._kept[event] = data
        else:
            self._write(f"event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n")

    def close(self) -> None:
        """End the answer; browsers come back by themselves."""
        if self._ended is None:
            return
        self._end()
        if not self._request.gone:
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        """The client does not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client has read what it was sent."""
        self._paused = False
        kept, self._kept = self._kept, {}
        for event, data in kept.items():
            self.send(event, data)

    def stopProducing(self) -> None:
        """The client is gone."""
        self._end()

    def _write(self, text: str) -> None:
        if not self._request.gone:
            self._request.write(text.encode())

    def _keep_alive(self) -> None:
        self._alive = self._clock.callLater(KEEP_ALIVE, self._keep_alive)
        if not self._paused:
            self._write(": still here\n\n")

    def _end(self) -> None:
        if self._alive is not None and self._alive.active():
            self._alive.cancel()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()
