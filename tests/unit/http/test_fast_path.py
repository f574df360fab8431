# mypy: allow-untyped-calls
"""The fast path gives the same response as the ordinary one, or declines."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.http.fast_path import FastPath
from pikachu.http.request import BoundedRequest, Site
from pikachu.http.responses import send
from pikachu.server.log_output import LEVELS, event_level
from tests.support.connections import Plain
from tests.support.reference_work import cost_in_signatures

POST = b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Type: application/ocsp-request\r\nContent-Length: 3\r\n\r\nabc"
GET = b"GET /ocsp/MEow HTTP/1.1\r\nHost: a\r\n\r\n"


class Ordinary(Resource):
    """The ordinary path, which marks its answers."""

    isLeaf = True

    def render(self, request: BoundedRequest) -> int:
        send(request, 200, b"text/plain", b"ordinary " + request.method + request.uri + request.content.read())
        return NOT_DONE_YET


class Responder:
    """A fast path that answers unless the body says not to."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes, bytes]] = []

    def quick(self, method: bytes, target: bytes, body: bytes) -> bytes | None:
        self.asked.append((method, target, body))
        if body == b"not":
            return None
        content = b"quick " + method + target + body
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)


class Stage:
    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.responder = Responder()
        self.traced = False
        self.path = FastPath(self.responder, [b"POST /ocsp", b"GET /ocsp/"], self.clock, "http", lambda: self.traced)
        self.site = Site(Ordinary(), self.clock, quick=self.path)

    def connect(self) -> Plain:
        return Plain(self.site, self.clock)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def bodies(answer: bytes) -> list[bytes]:
    """The bodies of answers that follow each other."""
    found = []
    while answer:
        head, _, answer = answer.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
        found.append(answer[:length])
        answer = answer[length:]
    return found


def test_answers(stage: Stage) -> None:
    """POST and GET are answered whole, with Date and Server."""
    client = stage.connect()
    answer = client.send(POST)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nDate: Fri, 15 Jan 2027 08:00:00 GMT\r\nServer: Pikachu\r\n")
    assert bodies(answer + client.send(GET)) == [b"quick POST/ocspabc", b"quick GET/ocsp/MEow"]
    assert client.open
    assert stage.path.served == 2
    stage.clock.advance(1)
    assert b"Date: Fri, 15 Jan 2027 08:00:01 GMT\r\n" in client.send(POST)


def test_pipelined(stage: Stage) -> None:
    """Several in one piece are answered in order, whichever path each takes."""
    plain = b"GET /other HTTP/1.1\r\n\r\n"
    answer = stage.connect().send(GET + POST + POST + plain + GET)
    assert bodies(answer) == [
        b"quick GET/ocsp/MEow",
        b"quick POST/ocspabc",
        b"quick POST/ocspabc",
        b"ordinary GET/other",
        b"quick GET/ocsp/MEow",
    ]


@pytest.mark.parametrize("cut", [1, 4, 10, 60, len(POST) - 4, len(POST) - 1])
def test_in_pieces(stage: Stage, cut: int) -> None:
    """A request that arrives in pieces takes the ordinary path, and the next one the fast path again."""
    client = stage.connect()
    assert client.send(POST[:cut]) == b""
    assert bodies(client.send(POST[cut:])) == [b"ordinary POST/ocspabc"]
    assert bodies(client.send(POST + POST[:cut])) == [b"quick POST/ocspabc"]
    assert bodies(client.send(POST[cut:])) == [b"ordinary POST/ocspabc"]


def test_declined(stage: Stage) -> None:
    """A request that the responder declines reaches the ordinary path unchanged."""
    assert bodies(stage.connect().send(POST[:-3] + b"not")) == [b"ordinary POST/ocspnot"]


UNUSUAL = [
    b"Transfer-Encoding: chunked",
    b"transfer-encoding: identity",
    b"Expect: nothing",
    b"UPGRADE: h2c",
    b"If-None-Match: x",
    b"Range: bytes=0-1",
    b"Authorization: Basic eDp5",
    b"Connection: keep-alive, TE",
    b"Content-Length: 3",
    b"X: a\r\n folded",
    b"Bad Name: x",
    b"X:\x00",
    b"X" * 3000 + b": y",
]


@pytest.mark.parametrize("field", UNUSUAL)
@pytest.mark.parametrize("request_bytes", [POST, GET])
def test_unusual(stage: Stage, field: bytes, request_bytes: bytes) -> None:
    """Whatever changes the meaning of a request is not decided here."""
    line, rest = request_bytes.split(b"\r\n", 1)
    stage.connect().send(line + b"\r\n" + field + b"\r\n" + rest)
    assert stage.responder.asked == []


@pytest.mark.parametrize("length", [b"+3", b"3, 3", b"", b"-1", b"0x3", b"10241", b"999999", b"\xb2"])
def test_odd_lengths(stage: Stage, length: bytes) -> None:
    """A length that is not a plain number within the limit is not decided here."""
    stage.connect().send(POST.replace(b"Length: 3", b"Length: " + length))
    assert stage.responder.asked == []


@pytest.mark.parametrize(
    "line",
    [b"POST /ocsp HTTP/2.0", b"POST /ocsp", b"POST  /ocsp HTTP/1.1", b"POST /ocsp\xff HTTP/1.1", b"PUT /ocsp HTTP/1.1"],
)
def test_odd_lines(stage: Stage, line: bytes) -> None:
    """Nor is a request line of another form."""
    stage.connect().send(POST.replace(b"POST /ocsp HTTP/1.1", line))
    assert stage.responder.asked == []


@pytest.mark.parametrize(
    ("line", "field", "version"),
    [
        (b"HTTP/1.0", b"", b"HTTP/1.0"),
        (b"HTTP/1.0", b"Connection: close\r\n", b"HTTP/1.0"),
        (b"HTTP/1.1", b"connection:Close\r\n", b"HTTP/1.1"),
    ],
)
def test_closing(stage: Stage, line: bytes, field: bytes, version: bytes) -> None:
    """An old client and one that asks for it get the end of the connection."""
    client = stage.connect()
    answer = client.send(b"POST /ocsp %s\r\n%sContent-Length: 3\r\n\r\nabc" % (line, field) + GET)
    assert answer.startswith(version + b" 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nquick POST/ocspabc")
    assert not client.open


@pytest.mark.parametrize("name", ["Content-Length", "Connection", "Accept", "User-Agent"])
@pytest.mark.parametrize("unit", [b" ", b"\t", b" a", b"\t ", b",", b"1 ", b"a"])
def test_cost_of_a_long_field(stage: Stage, name: str, unit: bytes) -> None:
    """Two thousand spaces in a header took 9 ms, and longer ones more in proportion to their square."""
    numbers = itertools.count()

    def serve() -> None:
        # Others at each attempt: what a header says is remembered.
        value = (b"%d" % next(numbers) + unit * 2000)[:1900] + b"b"
        data = b"POST /ocsp HTTP/1.1\r\nHost: a\r\n%s: %s\r\n\r\n" % (name.encode(), value)
        stage.path.serve(data, plain.transport)

    plain = stage.connect()
    assert cost_in_signatures(serve) < 2


def test_idle_time(stage: Stage) -> None:
    """RUN-6: fast-path responses keep a connection alive; silence ends it."""
    client = stage.connect()
    for _ in range(5):
        stage.clock.advance(25)
        assert client.send(GET)
    stage.clock.advance(31)
    assert not client.open


def test_draining(stage: Stage) -> None:
    """RUN-5: fast-path responses do not keep a draining connection open."""
    client = stage.connect()
    client.send(GET[:5])
    stage.site.drain(10)
    assert bodies(client.send(GET[5:])) == [b"ordinary GET/ocsp/MEow"]
    assert not client.open


def lines(events: Sequence[LogEvent]) -> list[str]:
    return [event["log_format"].format(**event) for event in events if event.get("log_namespace") == "pikachu.http"]


def test_one_line_a_second(stage: Stage) -> None:
    """RUN-7: exact counts at INFO, of every second in which there was something; nothing when there was not."""
    client = stage.connect()
    numbers = [3, 0, 0, 5, 1, 0, 2]
    with capturedLogs() as events:
        for number in numbers:
            for _ in range(number):
                client.send(GET)
                stage.clock.advance(0.01)
            stage.clock.advance(1.2)
    counts = [number for number in numbers if number]
    assert lines(events) == [f"{number} OCSP requests answered from memory on http" for number in counts]
    assert [event["log_level"] for event in events] == [LogLevel.info] * len(counts)
    assert [event["count"] for event in events] == counts


def test_no_request_is_lost_between_two_lines(stage: Stage) -> None:
    """However they fall into the seconds."""
    client = stage.connect()
    with capturedLogs() as events:
        for _ in range(100):
            client.send(GET)
            stage.clock.advance(0.13)
        stage.clock.advance(1)
    assert sum(event["count"] for event in events) == 100
    assert 10 <= len(events) <= 14


def test_connections_that_end_share_a_line(stage: Stage) -> None:
    """RUN-7: most clients of OCSP open a connection for one request."""
    with capturedLogs() as events:
        for _ in range(5):
            client = stage.connect()
            client.send(GET)
            client.transport.loseConnection()
            stage.clock.advance(0.01)
        assert stage.site.channels == set()
        stage.clock.advance(1.2)
    assert lines(events) == ["5 OCSP requests answered from memory on http"]


def test_the_end_is_counted(stage: Stage) -> None:
    """RUN-5: responses sent before the server stops are logged before it ends."""
    client, silent = stage.connect(), stage.connect()
    with capturedLogs() as events:
        client.send(GET + POST)
        done: list[object] = []
        stage.site.drain(10).addCallback(done.append)
        stage.clock.advance(0)
    assert done == [None]
    assert not silent.open
    assert lines(events) == ["2 OCSP requests answered from memory on http"]
    assert stage.clock.getDelayedCalls() == []


def test_each_has_a_line_at_trace(stage: Stage) -> None:
    """RUN-7: beside the count, and as soon as the level is set."""
    client = stage.connect()
    with capturedLogs() as events:
        client.send(GET)
        stage.traced = True
        client.send(GET + POST)
        stage.traced = False
        client.send(GET)
    assert lines(events) == ["GET /ocsp/MEow 200 19 quick 192.0.2.7", "POST /ocsp 200 18 quick 192.0.2.7"]
    assert {event_level(event) for event in events} == {LEVELS["TRACE"]}


def test_memory_is_bounded(stage: Stage) -> None:
    """Remembered headers are few."""
    client = stage.connect()
    for number in range(3000):
        client.send(b"GET /ocsp/%d HTTP/1.1\r\n\r\n" % number)
    assert stage.path.served == 3000
    assert len(stage.path._heads) <= 1024


PARTS = st.lists(
    st.sampled_from(
        [
            POST,
            GET,
            b"\r\n",
            b"\r\n\r\n",
            b"abc",
            b"POST /ocsp HTTP/1.1\r\n",
            b"GET /ocsp/ HTTP/1.0\r\n",
            b"Content-Length: 0\r\n",
            b"Content-Length: 3\r\n",
            b"Connection: close\r\n",
            b"X: y\r\n",
        ]
    )
    | st.binary(max_size=8),
    max_size=8,
)


@given(PARTS, st.integers(1, 200))
def test_same_as_ordinary(parts: list[bytes], step: int) -> None:
    """Any bytes, in any pieces: with and without the fast path the responses have the same status and content."""
    data = b"".join(parts)
    both = []
    for quick in (True, False):
        stage = Stage()
        if not quick:
            stage.site.quick = None
        client = stage.connect()
        answer = b""
        for start in range(0, len(data), step):
            if client.open:
                answer += client.send(data[start : start + step])
        both.append(([body.removeprefix(b"quick ").removeprefix(b"ordinary ") for body in bodies(answer)], client.open))
    assert both[0] == both[1]
