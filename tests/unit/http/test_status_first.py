"""Which connections a turn of the reactor handles, and for how long."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Port
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure

import pytest

from pikachu.http.status_first import ASKED_SECONDS, SLICE_SECONDS, StatusFirst, put_status_first
from pikachu.http.twisted_private import Events

STEP = SLICE_SECONDS / 2


class Connection:
    """A connection that a listener has accepted."""

    def __init__(self, server: Port) -> None:
        self.server = server


class Ready(Events):
    """Tells of what it is given, and takes *cost* seconds to handle each."""

    def __init__(self) -> None:
        self.owners: Mapping[int, Any] = {}
        self.now = 0.0
        self.cost: dict[int, float] = {}
        self.ready: list[int] = []
        self.handled: list[int] = []
        self.timeouts: list[float | None] = []

    def wait(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        self.timeouts.append(timeout)
        return [(descriptor, 1) for descriptor in self.ready]

    def handle(self, descriptor: int, event: int) -> None:
        assert event == 1
        self.now += self.cost.get(descriptor, STEP)
        self.handled.append(descriptor)


class Reactor:
    """A listener for status requests with connections 1 to 9, one for others with 10 to 99, and a descriptor 100."""

    def __init__(self) -> None:
        reactor = MemoryReactor()
        self.status, self.other = Port(1, Factory(), reactor=reactor), Port(2, Factory(), reactor=reactor)
        self.events = Ready()
        self.events.owners = {
            **{number: Connection(self.status) for number in range(1, 10)},
            **{number: Connection(self.other) for number in range(10, 99)},
            99: self.other,
            100: object(),
        }
        self.first = StatusFirst(
            self.events, lambda: [self.status], lambda: self.events.handled.append(0), lambda: self.events.now
        )

    def turn(self, *ready: int) -> list[int]:
        """Return what was handled, with 0 for the writing of responses."""
        self.events.ready, self.events.handled = list(ready), []
        self.first.turn(None)
        return self.events.handled


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def test_without_status_requests(reactor: Reactor) -> None:
    """All is handled in each turn, in the system's order."""
    many = [*range(10, 99), 100]
    assert sorted(reactor.turn(*many)) == many
    assert reactor.turn() == []
    assert reactor.events.timeouts == [None, None]


def test_status_requests_come_first(reactor: Reactor) -> None:
    """And their responses are written before anything else is handled."""
    assert reactor.turn(10, 1, 11, 2)[:3] == [1, 2, 0]


def test_others_get_half_of_the_time(reactor: Reactor) -> None:
    """In the long run, whatever one step of theirs takes."""
    reactor.events.cost = dict.fromkeys(range(10, 99), 7 * SLICE_SECONDS)
    reactor.events.cost[100] = 0.0
    before, status, others = reactor.events.now, 0, 0
    for _ in range(600):
        handled = reactor.turn(*range(10, 60), 1, 2)
        status += handled.count(1) + handled.count(2)
        others += sum(1 for one in handled if one >= 10)
    assert status == 1200
    assert reactor.events.now > before
    assert others * 7 * SLICE_SECONDS == pytest.approx(status * STEP / 2, rel=0.05)


def test_those_that_wait_longest_come_next(reactor: Reactor) -> None:
    """However the system orders them, and whoever is ready again at once."""
    handled = [one for _ in range(60) for one in reactor.turn(*range(10, 30), 1) if one >= 10]
    assert len(handled) >= 20
    for number, one in enumerate(handled[20:]):
        assert one == handled[number]


def test_work_between_turns_is_of_the_others(reactor: Reactor) -> None:
    """A request that was read in one turn is worked on after it."""
    assert reactor.turn(1, 10) == [1, 0, 10]
    reactor.events.now += 3 * SLICE_SECONDS
    assert reactor.turn(1, 10) == [1, 0]


def test_work_of_status_requests_between_turns(reactor: Reactor) -> None:
    """It holds others up no longer than their own would: they have a tenth of the time, whatever is asked."""
    reactor.events.cost = dict.fromkeys([1, 2], STEP / 10)
    others = 0
    for _ in range(1000):
        others += sum(1 for one in reactor.turn(*range(10, 60), 1, 2) if one >= 10)
        reactor.events.now += 2 * SLICE_SECONDS
    assert others * STEP >= 0.08 * reactor.events.now


def test_short_turns_while_status_requests_come(reactor: Reactor) -> None:
    """One that has come just now has another behind it; after a while without any, all is handled in each turn."""
    reactor.turn(1)
    assert len(reactor.turn(*range(10, 30))) == 2
    reactor.events.now += ASKED_SECONDS
    assert len(reactor.turn(*range(10, 30))) == 20


def test_few_are_accepted_at_once(reactor: Reactor) -> None:
    """While status requests come, and by the listeners of others."""
    reactor.other.numberAccepts = 50
    reactor.turn(99)
    assert reactor.other.numberAccepts == 50
    reactor.turn(1, 99)
    assert reactor.other.numberAccepts < 10


def test_what_wakes_the_reactor_never_waits(reactor: Reactor) -> None:
    """Connections to other servers neither."""
    reactor.events.cost = {10: 1.0}
    reactor.turn(1, 10)
    assert reactor.turn(1, 10, 100) == [1, 100, 0]


class _Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


@pytest.fixture
def epoll() -> Iterator[Any]:
    """A reactor on epoll, which the test runs itself."""
    reactor = pytest.importorskip("twisted.internet.epollreactor").EPollReactor()
    yield reactor
    for selectable in [*reactor.removeAll(), *reactor._internalReaders]:
        selectable.connectionLost(Failure(ConnectionDone()))
    reactor._poller.close()


def test_on_epoll(epoll: Any) -> None:
    """The system tells again of what a turn leaves, and everybody gets an answer."""
    factory = Factory.forProtocol(_Echo)
    status, other = (epoll.listenTCP(0, factory, interface="127.0.0.1") for _ in range(2))
    put_status_first(epoll, lambda: [status], lambda: None)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port.getHost().port)))
            for port in (status, *[other] * 20)
        ]
        for client in clients:
            client.sendall(b"question")
        for _ in range(1000):
            epoll.runUntilCurrent()
            epoll.doIteration(0.01)
            if len(select.select(clients, (), (), 0)[0]) == len(clients):
                break
        assert [client.recv(100) for client in clients] == [b"question"] * len(clients)


def test_other_reactors_go_on_as_they_are() -> None:
    reactor = MemoryReactor()
    before = dict(vars(reactor))
    put_status_first(reactor, list, lambda: None)
    assert vars(reactor) == before
