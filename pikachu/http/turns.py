"""Fairness between connections: what has arrived is processed in small steps, one a connection and reactor turn.

A client may send thousands of requests in one piece.  Answering them in the turn in which they arrive would keep
everybody else waiting, so a connection with more to process queues behind the others, and between two turns the
reactor reads, writes and accepts.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger

from pikachu.core.interfaces import IClock, IDelayedCall

# Time that steps may take in one turn, in seconds; the step that exceeds it is the last one.
MAX_TURN_SECONDS: Final = 0.01

_log = Logger(namespace="pikachu.http")


class ITurnTaker(Protocol):
    """A connection that processes its input in steps."""

    def take_turn(self) -> None:
        """Do one bounded step; add this connection to the scheduler again when there is more to process."""

    def abort(self) -> None:
        """Close at once."""


class TurnScheduler:
    """A round robin of the connections that have something to process.

    :param clock: calls at the next turn of the reactor.
    """

    def __init__(self, clock: IClock) -> None:
        self._clock = clock
        self._queue: OrderedDict[ITurnTaker, None] = OrderedDict()
        self._next_turn: IDelayedCall | None = None

    def add(self, channel: ITurnTaker) -> None:
        """Give *channel* a step, at the next turn at the earliest; it has one place in the queue."""
        self._queue[channel] = None
        self._schedule()

    def discard(self, channel: ITurnTaker) -> None:
        """Forget a connection that is gone."""
        self._queue.pop(channel, None)
        if not self._queue and self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None

    def _schedule(self) -> None:
        if self._queue and self._next_turn is None:
            self._next_turn = self._clock.callLater(0, self._run)

    def _run(self) -> None:
        self._next_turn = None
        seconds = self._clock.seconds
        began = seconds()
        # Those that are added meanwhile stand behind, and have to wait for the next turn.
        for _ in range(len(self._queue)):
            if not self._queue:
                break
            channel, _none = self._queue.popitem(last=False)
            try:
                channel.take_turn()
            except Exception:  # noqa: BLE001 - a fault in one connection must not stop the others
                _log.failure("a connection failed")
                channel.abort()
            # A clock that is set back must not keep the turn going.
            if not 0 <= seconds() - began < MAX_TURN_SECONDS:
                break
        self._schedule()


class WriteSide:
    """The flow control that twisted.web may use: who is told that the peer does not read what is sent.

    When to read is decided by the channel alone, by what is buffered in either direction.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Ignore twisted.web's wish to stop reading."""

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Ignore twisted.web's wish to read."""

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:  # noqa: N802 - Twisted's
        """Register who is told when the transport's buffer is full, and when it is empty."""
        self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:  # noqa: N802 - Twisted's name
        """Unregister who was told."""
        self._transport.unregisterProducer()
