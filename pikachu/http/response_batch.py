"""Responses of one turn of the reactor, written together.

A process that sleeps until a response arrives is woken by each system call that sends to it, which takes the sender
longer than computing most responses.  Written together, many responses wake it once.  Twisted alone would write each in
a further turn, with two calls of epoll_ctl.
"""

from __future__ import annotations

from typing import Protocol

from twisted.logger import Logger

from pikachu.core.interfaces import IClock

_log = Logger(namespace="pikachu.http")


class IResponseWriter(Protocol):
    """A connection whose responses are written later in the same turn."""

    def write_response(self, response: bytes, close: bool) -> None:
        """Write a response at once; then close, if that was the last one."""

    def abort(self) -> None:
        """Close immediately."""


class ResponseBatch:
    """The responses that are yet to be written, at most one of each connection.

    :param clock: calls before the reactor waits for the next events.
    """

    def __init__(self, clock: IClock) -> None:
        self._clock = clock
        self._waiting: list[tuple[IResponseWriter, bytes, bool]] = []

    def add(self, writer: IResponseWriter, response: bytes, close: bool) -> None:
        """Write *response* when all events of this turn have been handled."""
        if not self._waiting:
            self._clock.callLater(0, self.write)
        self._waiting.append((writer, response, close))

    def write(self) -> None:
        """Write them now."""
        waiting, self._waiting = self._waiting, []
        for writer, response, close in waiting:
            try:
                writer.write_response(response, close)
            except Exception:  # noqa: BLE001 - a fault in one connection must not lose the others' responses
                _log.failure("A connection failed")
                writer.abort()
