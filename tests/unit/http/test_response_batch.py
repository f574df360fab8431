"""Responses written together, directly to their sockets."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.tcp import Port, Server
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

import pytest

from pikachu.http.fast_path import FastPath
from pikachu.http.request import Limits, Site
from pikachu.http.resources import NotFoundResource
from pikachu.http.response_batch import ResponseBatch
from pikachu.http.twisted_private import write_last, write_now, writes_directly


class Writer:
    """Notes what it is to write; fails when its response says so."""

    def __init__(self, written: list[tuple[bytes, bool]]) -> None:
        self.written = written
        self.aborted = False

    def write_response(self, response: bytes, close: bool) -> None:
        if response == b"fault":
            raise RuntimeError("a fault in one connection")
        self.written.append((response, close))

    def abort(self) -> None:
        self.aborted = True


def test_order() -> None:
    """All of a turn are written in the order that they came in, and once."""
    clock, written = Clock(), list[tuple[bytes, bool]]()
    batch = ResponseBatch(clock)
    for number in range(3):
        batch.add(Writer(written), b"%d" % number, number == 1)
    assert not written
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(0)
    assert written == [(b"0", False), (b"1", True), (b"2", False)]
    batch.add(Writer(written), b"3", False)
    clock.advance(0)
    assert written[3:] == [(b"3", False)]
    assert not clock.getDelayedCalls()


def test_fault_of_one_connection() -> None:
    """It is aborted, and the others get their responses."""
    clock, written = Clock(), list[tuple[bytes, bool]]()
    batch = ResponseBatch(clock)
    faulty = Writer(written)
    for writer, response in ((Writer(written), b"0"), (faulty, b"fault"), (Writer(written), b"1")):
        batch.add(writer, response, False)
    with capturedLogs() as logs:
        clock.advance(0)
    assert [response for response, _ in written] == [b"0", b"1"]
    assert faulty.aborted
    assert [event["log_format"] for event in logs] == ["A connection failed"]


class Peer(Protocol):
    """Notes why its connection ended."""

    reason: Failure | None = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


class Pair:
    """A connection of a server, and the socket of its client.

    :param protocol: the server's.
    """

    def __init__(self, protocol: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.client = socket.create_connection(listening.getsockname())
            here, address = listening.accept()
        # Small buffers, so that large responses don't fit.
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.client.settimeout(10)
        self.protocol = protocol
        self.reactor = MemoryReactor()
        self.connection = Server(here, protocol, address, cast(Port, None), 1, self.reactor)
        protocol.makeConnection(self.connection)

    def read_all(self) -> bytes:
        """Return what the client gets until the end, while the reactor writes."""
        received = b""
        while True:
            if self.connection in self.reactor.getWriters() and self.connection.doWrite() is not None:
                self.connection.connectionLost(connectionDone)
            if not select.select([self.client], [], [], 0.01)[0]:
                continue
            piece = self.client.recv(1 << 20)
            received += piece
            if not piece:
                return received

    def arrive(self, data: bytes) -> None:
        """Have the server read what the client sends."""
        self.client.sendall(data)
        select.select([self.connection.getHandle()], [], [], 10)
        assert self.connection.doRead() is None

    def close(self) -> None:
        """Close both ends."""
        self.client.close()
        if self.connection.connected:
            self.connection.connectionLost(connectionDone)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair(Peer())
    yield made
    made.close()


def test_small_response_is_sent_at_once(pair: Pair) -> None:
    """The reactor has nothing to do."""
    write_now(pair.connection, b"one")
    write_now(pair.connection, b"two")
    assert pair.client.recv(6, socket.MSG_WAITALL) == b"onetwo"
    assert not pair.reactor.getWriters()


def test_last_response(pair: Pair) -> None:
    """The client gets it and the end; the protocol knows."""
    assert write_last(pair.connection, b"last")
    assert pair.read_all() == b"last"
    assert pair.protocol.reason is not None
    assert not pair.connection.connected


@pytest.mark.parametrize("last", [False, True])
def test_response_that_does_not_fit(pair: Pair, last: bool) -> None:
    """The reactor writes the rest, and what comes later follows it."""
    large = bytes(range(256)) * 4096
    if last:
        assert not write_last(pair.connection, large)
    else:
        write_now(pair.connection, large)
    assert pair.reactor.getWriters()
    assert pair.protocol.reason is None
    write_now(pair.connection, b"more")
    assert not write_last(pair.connection, b"last")
    pair.connection.loseConnection()
    assert pair.read_all() == large + b"morelast"


def test_client_that_has_gone(pair: Pair) -> None:
    """The reactor finds it out when it writes."""
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.client.close()
    write_now(pair.connection, b"one")
    assert not write_last(pair.connection, b"two")
    assert pair.reactor.getWriters()
    assert pair.connection.doWrite() is not None


# --- connections to a site --------------------------------------------------------------


class Quick:
    """Answers every request with its target."""

    def quick(self, method: bytes, target: bytes, body: bytes) -> bytes | None:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), target)


@dataclass
class Connected:
    """A client of a site with a fast path."""

    clock: Clock
    site: Site
    pair: Pair

    def receive(self, *ends: bytes) -> None:
        """Read responses with these bodies."""
        received = b""
        while not received.endswith(ends[-1]):
            piece = self.pair.client.recv(65536)
            assert piece, received
            received += piece
        assert [part[-len(end) :] for part, end in zip(received.split(b"HTTP/1.1 200 OK")[1:], ends, strict=True)] == [
            *ends
        ]


@pytest.fixture
def connected() -> Iterator[Connected]:
    clock = Clock()
    site: Site = Site(NotFoundResource(), clock, Limits(), FastPath(Quick(), (b"GET /",), clock, "http"))
    pair = Pair(site.buildProtocol(None))
    yield Connected(clock, site, pair)
    pair.close()
    assert not site.channels
    # The line with the number of requests, and nothing of the connection.
    assert len(clock.getDelayedCalls()) <= 1


def get(target: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


def test_kept_connection(connected: Connected) -> None:
    """Responses are written at the end of their turn, and the reactor does nothing for them."""
    for target in ("/one", "/two"):
        connected.pair.arrive(get(target))
        connected.clock.advance(0)
        connected.receive(target.encode())
    assert not connected.pair.reactor.getWriters()


def test_closed_connection(connected: Connected) -> None:
    """It ends with its response, in the same turn."""
    connected.pair.arrive(get("/one", "Connection: close"))
    assert connected.site.channels
    connected.clock.advance(0)
    assert not connected.site.channels
    assert connected.pair.read_all().endswith(b"/one")


def test_requests_at_once(connected: Connected) -> None:
    """Their order is kept."""
    connected.pair.arrive(get("/one") + get("/two") + get("/three"))
    connected.clock.pump([0] * 5)
    for _ in range(3):
        if connected.pair.connection in connected.pair.reactor.getWriters():
            connected.pair.connection.doWrite()
    connected.receive(b"/one", b"/two", b"/three")


@pytest.mark.parametrize("further", [("/three", "/four"), ("/three",)], ids=["two", "one"])
def test_requests_that_arrive_after_a_turn(connected: Connected, further: tuple[str, ...]) -> None:
    """The order is kept, too, when the reactor reads more before the calls that a turn has scheduled."""
    connected.pair.arrive(get("/one") + get("/two"))
    # Runs the turn of "/two", but not what that schedules, as the reactor does.
    scheduled = [call for call in connected.clock.calls if call.getTime() <= connected.clock.seconds()]
    for call in scheduled:
        call.func(*call.args, **call.kw)
        call.cancel()
    connected.pair.arrive(b"".join(get(target) for target in further))
    connected.clock.pump([0] * 5)
    for _ in range(4):
        if connected.pair.connection in connected.pair.reactor.getWriters():
            connected.pair.connection.doWrite()
    connected.receive(b"/one", b"/two", *(target.encode() for target in further))


@pytest.mark.parametrize("close", [False, True])
def test_connection_that_is_lost_before_its_response_is_written(connected: Connected, close: bool) -> None:
    """Nothing is written, and nothing is logged."""
    connected.pair.arrive(get("/one", *(["Connection: close"] if close else [])))
    connected.pair.connection.connectionLost(connectionDone)
    with capturedLogs() as logs:
        connected.clock.advance(0)
    assert not logs


def test_stop_before_the_response_is_written(connected: Connected) -> None:
    """A server that stops sends it first."""
    connected.pair.arrive(get("/one"))
    done = connected.site.drain(5)
    connected.clock.advance(0)
    assert connected.pair.read_all().endswith(b"/one")
    assert done.called


def test_only_plain_connections_are_written_directly(pair: Pair) -> None:
    assert writes_directly(pair.connection)
    assert not writes_directly(object())
