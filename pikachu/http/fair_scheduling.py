"""Fair scheduling of connections: input is processed in small steps, one per connection and reactor turn.

A client may send thousands of requests at once.  Answering them in one turn would block all other connections, so a
connection with more input queues behind the others, and between two turns the reactor reads, writes and accepts.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger

from pikachu.core.interfaces import IClock, IDelayedCall

# Maximum seconds of one turn; the step that exceeds it is its last.
MAX_TURN_SECONDS: Final = 0.01

_log = Logger(namespace="pikachu.http")


class ITurnTaker(Protocol):
    """A connection that processes its input in steps."""

    def take_turn(self) -> None:
        """Do one bounded step; add this connection to the scheduler again when there is more to process."""

    def abort(self) -> None:
        """Close immediately."""


class TurnScheduler:
    """A round-robin queue of the connections with input to process.

    :param clock: schedules the next reactor turn.
    """

    def __init__(self, clock: IClock) -> None:
        self._clock = clock
        self._queue: OrderedDict[ITurnTaker, None] = OrderedDict()
        self._next_turn: IDelayedCall | None = None

    def add(self, channel: ITurnTaker) -> None:
        """Queue a step of *channel* for the next turn or later; each channel is queued once."""
        self._queue[channel] = None
        self._schedule()

    def discard(self, channel: ITurnTaker) -> None:
        """Remove a closed connection."""
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
        # Connections added meanwhile are behind the others and wait for the next turn.
        for _ in range(len(self._queue)):
            if not self._queue:
                break
            channel, _none = self._queue.popitem(last=False)
            try:
                channel.take_turn()
            except Exception:  # noqa: BLE001 - a fault in one connection must not stop the others
                _log.failure("A connection failed")
                channel.abort()
            # A clock that is set back must not keep the turn going.
            if not 0 <= seconds() - began < MAX_TURN_SECONDS:
                break
        self._schedule()


class WriteSide:
    """The flow control available to twisted.web: only notification that the write buffer is full.

    The channel alone decides when to read, by the amount of buffered data in either direction.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Ignore twisted.web's request to stop reading."""

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Ignore twisted.web's request to read."""

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:  # noqa: N802 - Twisted's
        """Register the producer that is paused when the transport's buffer is full, and resumed when it is empty."""
        self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:  # noqa: N802 - Twisted's name
        """Unregister the producer."""
        self._transport.unregisterProducer()
