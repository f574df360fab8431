"""A reactor in memory for the whole service: its ports listen nowhere, its time stands still, its threads are real."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from tests.support.deferreds import result_of
from tests.support.server import DEADLINE

T = TypeVar("T")


class Port:
    """A port that listens nowhere."""

    def __init__(self, stopped: Callable[[], Deferred[None] | None]) -> None:
        self._stopped = stopped
        self.calls = 0

    def getHost(self) -> IPv4Address:  # noqa: N802 - Twisted's name
        return IPv4Address("TCP", "127.0.0.1", 1)

    def stopListening(self) -> Deferred[None] | None:  # noqa: N802 - Twisted's name
        self.calls += 1
        return self._stopped()


class Reactor(Clock):
    """A reactor in memory, whose thread is the test's.

    :param stopped: returns what ``stopListening`` of the first port does, of the next, and so on.
    :ivar ports: those that were bound, in order.
    :ivar begin: does what is to be done when the reactor runs.
    """

    def __init__(self, *stopped: Callable[[], Deferred[None] | None]) -> None:
        super().__init__()
        self.advance(int(time.time()))
        self.ports: list[Port] = []
        self.begin: Callable[[], object] = lambda: None
        self._stopped = stopped or (lambda: succeed(None),)
        self._calls: queue.Queue[Callable[[], object]] = queue.Queue()

    def listenTCP(self, port: int, factory: object, **_: object) -> Port:  # noqa: N802 - Twisted's name
        made = Port(self._stopped[len(self.ports) % len(self._stopped)])
        self.ports.append(made)
        return made

    def callWhenRunning(self, call: Callable[[], object]) -> None:  # noqa: N802 - Twisted's name
        """Keep it for :attr:`begin`."""
        self.begin = call

    def callFromThread(self, call: Callable[..., object], *args: object, **how: object) -> None:  # noqa: N802
        self._calls.put(lambda: call(*args, **how))

    def run_while(self, condition: Callable[[], object]) -> None:
        """Do what is due, and what threads ask for, while the condition is true."""
        self.advance(0)
        while condition():
            self._calls.get(timeout=DEADLINE)()
            self.advance(0)

    def run_until(self, awaited: Deferred[T]) -> T:
        """Do what threads ask for until *awaited* has fired, and return its result."""
        self.run_while(lambda: not awaited.called)
        return result_of(awaited)
