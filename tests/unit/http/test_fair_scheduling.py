# mypy: allow-untyped-calls
"""RUN-6: one request a connection and reactor turn, whatever is buffered, and no reading ahead of the peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

import pytest

from pikachu.core.model.times import utc
from pikachu.http.fast_path import FastPath
from pikachu.http.request import BoundedRequest, Limits, Site
from pikachu.http.responses import send, send_download
from pikachu.http.tree import Tree
from tests.support.connections import Plain
from tests.unit.http.test_request import Waiting

LARGE = bytes(range(256)) * 1024
ETAG = b'"large"'


class Echo(Resource):
    """Answers with the target and the body, at once."""

    isLeaf = True

    def render(self, request: BoundedRequest) -> int:
        send(request, 200, b"text/plain", request.uri + b" " + request.content.read())
        return NOT_DONE_YET


class Download(Resource):
    """A large file."""

    isLeaf = True

    def render(self, request: BoundedRequest) -> int:
        send_download(request, b"application/pkix-crl", LARGE, etag=ETAG, now=utc(1_800_000_000.0))
        return NOT_DONE_YET


class Status:
    """Answers from memory."""

    def quick(self, method: bytes, target: bytes, body: bytes) -> bytes | None:
        content = target + b" " + body
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)


class TurnClock(Clock):
    """A clock that can also take single turns: :meth:`advance` makes calls that other calls ask for in one go."""

    def turn(self) -> None:
        """Make the calls that are due now, as one turn of the reactor does."""
        calls: list[Any] = [call for call in self.getDelayedCalls() if call.getTime() <= self.seconds()]
        for call in calls:
            if call.active():
                function = partial(call.func, *call.args, **call.kw)
                call.cancel()
                function()


class Stage:
    """A site with each kind of answer."""

    def __init__(self) -> None:
        self.clock = TurnClock()
        self.clock.advance(1_800_000_000)
        self.waiting = Waiting()
        root = Tree()
        root.putChild(b"echo", Echo())
        root.putChild(b"wait", self.waiting)
        root.putChild(b"file", Download())
        quick = FastPath(Status(), (b"POST /ocsp", b"GET /ocsp/"), self.clock, "http")
        self.site = Site(root, self.clock, Limits(), quick)

    def connect(self) -> Plain:
        return Plain(self.site, self.clock)

    def turn(self) -> None:
        """One turn of the reactor."""
        self.clock.turn()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def get(target: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


def post(target: str, body: bytes, *fields: str) -> bytes:
    return get(target, f"Content-Length: {len(body)}", *fields, method="POST") + body


def chunked(target: str, body: bytes, size: int = 1) -> bytes:
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    text = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return get(target, "Transfer-Encoding: chunked", method="POST") + text


def count(answers: bytes) -> int:
    return answers.count(b"HTTP/1.1 2") + answers.count(b"HTTP/1.1 304")


@dataclass(frozen=True)
class Kind:
    """A kind of request, with the start of its response."""

    request: bytes
    status: bytes


KINDS = {
    "GET": Kind(get("/echo/a"), b"200"),
    "HEAD": Kind(get("/echo/a", method="HEAD"), b"200"),
    "POST": Kind(post("/echo/a", b"abc"), b"200"),
    "POST without a body": Kind(post("/echo/a", b""), b"200"),
    "chunked POST": Kind(chunked("/echo/a", b"abc"), b"200"),
    "from memory, GET": Kind(get("/ocsp/MEow"), b"200"),
    "from memory, POST": Kind(post("/ocsp", b"abc"), b"200"),
    "one range": Kind(get("/file", "Range: bytes=0-99999"), b"206"),
    "several ranges": Kind(get("/file", "Range: bytes=0-1,5-6"), b"200"),
    "no such range": Kind(get("/file", "Range: bytes=999999-"), b"416"),
    "304": Kind(get("/file", 'If-None-Match: "large"'), b"304"),
    "404": Kind(get("/none"), b"404"),
    "100-continue": Kind(post("/echo/a", b"abc", "Expect: 100-continue"), b"100 Continue\r\n\r\nHTTP/1.1 200"),
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@kinds
def test_one_request_a_turn(stage: Stage, kind: Kind) -> None:
    """Of each kind one is answered in a turn; another connection's is answered in the next one, not behind them all."""
    crowd = [stage.connect() for _ in range(3)]
    answered = [0] * 3
    for client in crowd:
        client.arrive(kind.request * 30)
    other = stage.connect()
    other.arrive(get("/echo/other"))
    turns = 0
    while not (answer := other.received()):
        turns += 1
        assert turns < 4
        stage.turn()
    assert answer.endswith(b"/echo/other ")
    for _ in range(5):
        for number, client in enumerate(crowd):
            answered[number] += client.received().count(b"HTTP/1.1 " + kind.status)
        assert max(answered) <= turns + 1
        stage.turn()
        turns += 1


@kinds
def test_all_are_answered_in_order(stage: Stage, kind: Kind) -> None:
    """Pipelining works: each has its answer, in order, also between requests of other kinds, and in any pieces."""
    marked = [get(f"/echo/{number}") for number in range(10)]
    data = b"".join(mark + kind.request for mark in marked)
    for step in (len(data), 1000, 37):
        client = stage.connect()
        received = b""
        for start in range(0, len(data), step):
            received += client.send(data[start : start + step])
        assert received.count(b"HTTP/1.1 " + kind.status) >= 10
        places = [received.index(b"/echo/%d " % number) for number in range(10)]
        assert places == sorted(places)
        assert client.open
        assert client.transport.producerState == "producing"


def test_nothing_is_read_while_something_waits(stage: Stage) -> None:
    """The buffer is bounded, however much a client sends while a request waits for its response."""
    client = stage.connect()
    client.arrive(get("/wait") + get("/echo/a") * 4_000)
    sent = len(client.unread)
    for _ in range(10):
        stage.turn()
        client.arrive()
    assert client.unread
    assert sent - len(client.unread) <= 64 * 1024
    assert count(client.received()) == 0
    assert len(stage.waiting.requests) == 1
    send(stage.waiting.requests[0], 200, b"text/plain", b"done")
    client.deliver(b"")
    assert count(client.received()) == 4_001
    assert client.unread == b""


def test_reading_tells_that_the_client_has_gone(stage: Stage) -> None:
    """While a request waits, and nothing else, the connection is read."""
    client = stage.connect()
    client.deliver(get("/wait"))
    assert client.transport.producerState == "producing"
    client.deliver(get("/echo"))
    assert client.transport.producerState == "paused"


@kinds
def test_nothing_is_processed_while_the_peer_does_not_read(stage: Stage, kind: Kind) -> None:
    """Neither buffered nor new requests are processed; the rest is answered when the peer reads again."""
    client = stage.connect()
    client.arrive(kind.request * 20)
    stage.turn()
    client.server.pauseProducing()
    client.deliver(kind.request * 3_000)
    stage.clock.advance(1)
    assert client.received().count(kind.status) <= 2
    unread = len(client.unread)
    stage.clock.advance(10)
    client.arrive()
    assert len(client.unread) == unread > 0
    assert client.open
    client.unread = b""
    client.server.resumeProducing()
    client.deliver(b"")
    assert client.received().count(b"HTTP/1.1 " + kind.status) >= 18
    assert client.open


@pytest.mark.parametrize("requests", [1, 100])
def test_peer_that_never_reads_is_given_up(stage: Stage, requests: int) -> None:
    """After the time to read an answer, and not before: nothing else ends it, nor keeps it."""
    client = stage.connect()
    client.arrive(get("/echo/a") * requests)
    stage.turn()
    client.server.pauseProducing()
    for _ in range(5):
        stage.clock.advance(10)
    assert client.open
    stage.clock.advance(11)
    stage.turn()
    assert not client.open
    assert stage.site.channels == set()
    assert stage.clock.getDelayedCalls() == []


@pytest.mark.parametrize("target", ["/echo/a", "/ocsp/MEow"])
def test_closing_connection_whose_peer_never_reads_is_given_up(stage: Stage, target: str) -> None:
    """Also where the answer is too short for the transport to say so."""
    client = stage.connect()
    transport: Any = client.transport
    aborted: list[float] = []
    # The last answer is never read, so the orderly end does not come.
    transport.loseConnection = lambda: setattr(transport, "disconnecting", True)
    transport.abortConnection = lambda: aborted.append(stage.clock.seconds())
    client.deliver(get(target, "Connection: close"))
    assert not client.open
    stage.clock.advance(59)
    assert aborted == []
    stage.clock.advance(2)
    assert len(aborted) == 1


def test_slow_peer_is_not_idle(stage: Stage) -> None:
    """A client that reads now and then keeps the connection; one that has read everything and is silent does not."""
    client = stage.connect()
    client.deliver(get("/echo/a"))
    for _ in range(5):
        client.server.pauseProducing()
        stage.clock.advance(50)
        client.server.resumeProducing()
    assert client.open
    stage.clock.advance(31)
    assert not client.open


ENDS: list[tuple[str, Callable[[Plain], None]]] = [
    ("the client hangs up", lambda client: client.transport.loseConnection()),
    ("the server is told to stop", lambda client: client.server.site.drain(10)),
]


@pytest.mark.parametrize(("end"), [end for _, end in ENDS], ids=[name for name, _ in ENDS])
@pytest.mark.parametrize("first", ["/wait", "/echo/a", "/ocsp/MEow", "/file"])
def test_end_in_the_middle(stage: Stage, first: str, end: Callable[[Plain], None]) -> None:
    """Nothing is left of a connection that ends with requests buffered, and nothing is logged as a fault."""
    client, other = stage.connect(), stage.connect()
    with capturedLogs() as events:
        client.arrive(get("/echo/0") + get(first) + get("/echo/a") * 1000)
        for _ in range(3):
            stage.turn()
        end(client)
        for request in stage.waiting.requests:
            send(request, 200, b"text/plain", b"done")
        client.deliver(b"")
        if first != "/wait":
            assert client.received().count(b"HTTP/1.1 ") < 10
        stage.clock.advance(20)
    assert not client.open
    assert client.server not in stage.site.channels
    assert stage.site.in_flight == 0
    assert not [event for event in events if "log_failure" in event]
    other.transport.loseConnection()
    stage.site.quick.log_count()  # type: ignore[union-attr]
    assert stage.clock.getDelayedCalls() == []


def test_drain_answers_what_is_begun(stage: Stage) -> None:
    """RUN-5: the request in flight is answered with ``Connection: close``; buffered ones are not begun."""
    client = stage.connect()
    client.deliver(get("/wait") + get("/echo/a"))
    done: list[object] = []
    stage.site.drain(10).addCallback(done.append)
    send(stage.waiting.requests[0], 200, b"text/plain", b"done")
    answer = client.received()
    assert answer.endswith(b"done")
    assert b"Connection: close\r\n" in answer
    assert done == [None]


def one_by_one(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


FLOODS: dict[str, tuple[bytes, int]] = {
    "fields": (b"GET /echo HTTP/1.1\r\n" + b"a:b\r\n" * 10_000, 400),
    "continuations": (b"GET /echo HTTP/1.1\r\na: b\r\n" + b" \r\n" * 20_000, 400),
    "empty lines": (b"\r\n" * 20_000, 400),
    "one field": (b"GET /echo HTTP/1.1\r\na:" + b"b" * 99_000, 400),
    "a request line": (b"GET /" + b"b" * 70_000, 414),
    "chunks": (chunked("/echo", b"x" * 65_537), 413),
    "chunk extensions": (
        get("/echo", "Transfer-Encoding: chunked", method="POST") + (b"1;" + b"a" * 2000 + b"\r\nx\r\n") * 50,
        400,
    ),
    "trailers": (get("/echo", "Transfer-Encoding: chunked", method="POST") + b"0\r\n" + b"a\r\n" * 30_000, 400),
}


@pytest.mark.parametrize(("data", "status"), FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("single", [False, True], ids=["in large pieces", "byte by byte"])
def test_floods(stage: Stage, data: bytes, status: int, single: bool) -> None:
    """One refusal, and between the steps that it takes others are answered."""
    client, other = stage.connect(), stage.connect()
    received = b""
    served = turns = 0
    for piece in one_by_one(data[:3_000]) if single else [data]:
        client.arrive(piece)
        other.arrive(get("/echo/other"))
        stage.turn()
        turns += 1
        served += count(other.received())
        received += client.received()
        if not client.open:
            break
    client.unread += data[3_000:] if single else b""
    while client.open:
        client.arrive()
        other.arrive(get("/echo/other"))
        stage.turn()
        turns += 1
        served += count(other.received())
        received += client.received()
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert received.count(b"HTTP/1.1") == 1
    assert served == turns


def test_a_fault_in_one_connection_leaves_the_others(stage: Stage) -> None:
    """It is logged, and that connection is closed."""
    client, other = stage.connect(), stage.connect()
    client.arrive(get("/echo/a") * 2)
    other.arrive(get("/echo/b") * 2)

    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    client.transport.writeSequence = broken  # type: ignore[method-assign]
    client.transport.write = broken  # type: ignore[method-assign]
    with capturedLogs() as events:
        other.deliver(b"")
    assert not client.open
    assert count(other.received()) == 2
    assert any("log_failure" in event for event in events)
