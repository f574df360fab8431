# mypy: allow-untyped-calls
"""Requests within bounds (RUN-5, RUN-6, RUN-7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

import pytest

from pikachu.http.request import BoundedRequest, Limits, PathRule, Site
from pikachu.http.responses import send
from pikachu.http.tree import Tree
from tests.support.connections import Plain

GET = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"


class Echo(Resource):
    """Answers with the body of the request."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bytes, bytes, bytes, dict[bytes, list[bytes]]]] = []

    def render(self, request: Any) -> int:
        body = request.content.read()
        self.seen.append((request.method, request.uri, body, request.args))
        send(request, 200, b"application/octet-stream", body or b"empty")
        return NOT_DONE_YET


class Waiting(Resource):
    """Answers when the test says so."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[BoundedRequest] = []

    def render(self, request: Any) -> int:
        self.requests.append(request)
        return NOT_DONE_YET


class Old(Resource):
    """A resource in the plain manner of twisted.web."""

    def render_GET(self, request: Any) -> bytes:
        return b"old"


class Broken(Resource):
    isLeaf = True

    def render(self, request: Any) -> int:
        raise RuntimeError("the secret of the house")


class Stage:
    """A site with one resource of each kind."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.echo, self.waiting = Echo(), Waiting()
        root = Tree()
        for name, resource in (
            ("echo", self.echo),
            ("static", self.echo),
            ("wait", self.waiting),
            ("old", Old()),
            ("broken", Broken()),
        ):
            root.putChild(name.encode(), resource)
        limits = Limits(rules=(PathRule(b"/echo/small", 10),))
        self.site = Site(root, self.clock, limits)

    def connect(self) -> Plain:
        return Plain(self.site, self.clock)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def events() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as found:
        yield found


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def headers(answer: bytes) -> list[bytes]:
    return answer.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]


HOSTILE: list[tuple[str, bytes, int]] = [
    ("long request line", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    ("endless request line", b"GET /" + b"a" * 70_000, 414),
    ("long header field", b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 400),
    ("large header", b"GET / HTTP/1.1\r\nAuthorization: Basic " + b"a" * 40_000 + b"\r\n\r\n", 400),
    ("endless header field", b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, 400),
    ("header flood", b"GET / HTTP/1.1\r\n" + b"X-Y: z\r\n" * 200 + b"\r\n", 400),
    ("length over the limit", b"POST /echo/small HTTP/1.1\r\nContent-Length: 11\r\n\r\n12345678901", 413),
    ("length over, HTTP/1.0", b"POST /echo/small HTTP/1.0\r\nContent-Length: 11\r\n\r\n12345678901", 413),
    (
        "chunks over",
        b"POST /echo/small HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n",
        413,
    ),
    (
        "many chunks over",
        b"POST /echo/small HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 11 + b"0\r\n\r\n" + GET,
        413,
    ),
    ("default limit", b"POST /echo HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", 413),
    (
        "refused, no 100",
        b"POST /echo/small HTTP/1.1\r\nContent-Length: 999\r\nExpect: 100-continue\r\n\r\n",
        413,
    ),
    (
        "length and chunks",
        b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("two hosts", b"GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("two lengths", b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("signed length", b"POST /echo HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", 400),
    ("length list", b"POST /echo HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    ("length of 5,000 digits", b"POST /echo HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
    ("digits, more follow", b"POST /echo HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\nA: b\r\n\r\n", 400),
    ("other encoding", b"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    ("bad chunk size", b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ("negative chunk size", b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nab\r\n0\r\n\r\n", 400),
    ("endless chunk size", b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 3000, 400),
    ("HTTP/0.9", b"GET /echo\r\n", 400),
    ("HTTP/2.0", b"GET /echo HTTP/2.0\r\n\r\n", 400),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("space before colon", b"POST /echo HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc", 400),
    ("no colon", b"GET /echo HTTP/1.1\r\nnonsense\r\n\r\n", 400),
    ("NUL in a field", b"GET /echo HTTP/1.1\r\nX: a\x00b\r\n\r\n", 400),
    ("TLS on the plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("asterisk", b"OPTIONS * HTTP/1.1\r\n\r\n", 400),
]


@pytest.mark.parametrize(("data", "expected"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
@pytest.mark.parametrize("step", [1 << 20, 1461])
def test_hostile(stage: Stage, data: bytes, expected: int, step: int) -> None:
    """One answer with a length, nothing after it, and the connection is closed."""
    client = stage.connect()
    answer = b""
    for start in range(0, len(data), step):
        answer += client.send(data[start : start + step])
    assert status(answer) == expected
    assert answer.count(b"HTTP/1.") == 1
    length = next(int(line.split(b":")[1]) for line in headers(answer) if line.startswith(b"Content-Length"))
    assert len(answer.partition(b"\r\n\r\n")[2]) == length
    assert b"<html" not in answer.lower()
    assert stage.echo.seen == []
    if expected != 400 or not data.startswith(b"OPTIONS"):
        assert not client.open
        assert client.send(GET) == b""
    assert stage.site.in_flight == 0


def test_answer_has_few_plain_headers(stage: Stage) -> None:
    """A length, a type, a neutral server; never chunked."""
    answer = stage.connect().send(GET)
    assert status(answer) == 200
    names = [line.split(b":")[0] for line in headers(answer)]
    assert sorted(names) == [b"Content-Length", b"Content-Type", b"Date", b"Server"]
    assert b"Twisted" not in answer
    assert b"Date: Fri, 15 Jan 2027 08:00:00 GMT\r\n" in answer


def test_old_protocol_is_served_and_closed(stage: Stage) -> None:
    """HTTP/1.0 without Host gets a length and the end of the connection."""
    client = stage.connect()
    answer = client.send(b"POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Content-Length: 2\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhi")
    assert not client.open


@pytest.mark.parametrize("field", [b"close", b"Close", b"te, close", b"close,TE"])
def test_connection_close(stage: Stage, field: bytes) -> None:
    """Close is honoured in each of its forms."""
    client = stage.connect()
    answer = client.send(b"GET /echo HTTP/1.1\r\nConnection: " + field + b"\r\nHost: a\r\n\r\n")
    assert b"Connection: close\r\n" in answer
    assert not client.open


def test_keep_alive_and_pipelining(stage: Stage) -> None:
    """RUN-6: several requests on one connection, also all at once, are answered in order."""
    client = stage.connect()
    assert status(client.send(GET)) == 200
    posts = b"".join(b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\n\r\n%d" % number for number in range(5))
    answer = client.send(posts)
    assert [part[-1:] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"0", b"1", b"2", b"3", b"4"]
    assert client.open


def test_chunks_and_expect(stage: Stage) -> None:
    """Chunked bodies are taken, and 100-continue is answered."""
    client = stage.connect()
    head = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    assert client.send(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
    answer = client.send(b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nabcde")


def test_body_at_the_limit(stage: Stage) -> None:
    """The limit itself is allowed."""
    assert status(stage.connect().send(b"POST /echo/small HTTP/1.1\r\nContent-Length: 10\r\n\r\n1234567890")) == 200


@pytest.mark.parametrize(
    "kind", [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"multipart/form-data"]
)
def test_protocol_bodies_are_not_parsed(stage: Stage, kind: bytes) -> None:
    """The resource gets the bytes of the body, whatever its content type."""
    answer = stage.connect().send(
        b"POST /echo?q=1 HTTP/1.1\r\nContent-Type: %s\r\nContent-Length: 5\r\n\r\na=b+c" % kind
    )
    assert answer.endswith(b"\r\n\r\na=b+c")
    assert stage.echo.seen == [(b"POST", b"/echo?q=1", b"a=b+c", {b"q": [b"1"]})]


def test_raw_target_survives(stage: Stage) -> None:
    """The target is there as it was sent."""
    stage.connect().send(b"GET /echo//a+b%2F?message=a+b%2B HTTP/1.1\r\n\r\n")
    assert stage.echo.seen[0][1] == b"/echo//a+b%2F?message=a+b%2B"


@pytest.mark.parametrize(
    ("target", "seen"), [(b"http://ca.example/echo?x=1", b"/echo?x=1"), (b"HTTP://ca/echo", b"/echo")]
)
def test_absolute_target(stage: Stage, target: bytes, seen: bytes) -> None:
    """A proxy's request names the whole URL (RFC 9112 section 3.2.2)."""
    stage.connect().send(b"GET " + target + b" HTTP/1.1\r\n\r\n")
    assert stage.echo.seen[0][1] == seen


@pytest.mark.parametrize(
    "target", [b"http://ca.example", b"http:///", b"https://[", b"/nothing", b"/%2e%2e/x", b"//", b"/echo%ff/"]
)
def test_odd_targets(stage: Stage, target: bytes) -> None:
    """An unknown target gives 404 in plain text."""
    answer = stage.connect().send(b"GET " + target + b" HTTP/1.1\r\n\r\n")
    assert status(answer) == 404
    assert b"Traceback" not in answer


def test_methods(stage: Stage) -> None:
    """HEAD works on a GET resource, others get 405 with Allow."""
    client = stage.connect()
    head = client.send(b"HEAD /old HTTP/1.1\r\n\r\n")
    assert b"Content-Length: 3\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    answer = client.send(b"DELETE /old HTTP/1.1\r\n\r\n")
    assert status(answer) == 405
    assert b"Allow: GET, HEAD\r\n" in answer
    assert client.open


def test_unexpected_failure_tells_nothing(stage: Stage, events: Sequence[LogEvent]) -> None:
    """500 with an id that the log has, and nothing else."""
    answer = stage.connect().send(b"GET /broken HTTP/1.1\r\n\r\n")
    assert status(answer) == 500
    assert b"secret" not in answer
    failure_id = answer.split()[-1].decode()
    assert any(event.get("failure_id") == failure_id and "log_failure" in event for event in events)


def test_idle_connection_is_closed(stage: Stage) -> None:
    """RUN-6: thirty seconds of silence end a connection, before, between and within requests."""
    fresh, used, stalled = stage.connect(), stage.connect(), stage.connect()
    used.send(GET)
    stalled.send(b"POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
    stage.clock.advance(29)
    assert fresh.open
    stage.clock.advance(2)
    assert [client.open for client in (fresh, used, stalled)] == [False] * 3
    assert stage.site.channels == set()


@pytest.mark.parametrize(
    "start", [b"GET /echo HTTP/1.1\r\nX: ", b"POST /echo HTTP/1.1\r\nContent-Length: 1000\r\n\r\n", b""]
)
def test_slow_drip(stage: Stage, start: bytes) -> None:
    """An octet every few seconds does not keep a request alive for ever; others are served meanwhile."""
    client, other = stage.connect(), stage.connect()
    client.send(start)
    for _ in range(20):
        stage.clock.advance(5)
        answer = client.send(b"a")
        if not client.open:
            break
        assert status(other.send(GET)) == 200
    assert not client.open
    assert status(answer) == 408


def test_long_lived_connection(stage: Stage) -> None:
    """The time limit for a request's arrival starts again for each request."""
    client = stage.connect()
    for _ in range(20):
        assert status(client.send(GET)) == 200
        stage.clock.advance(10)
    for _ in range(20):
        client.send(GET[:7])
        stage.clock.advance(10)
        assert status(client.send(GET[7:])) == 200


def test_working_request_is_not_idle(stage: Stage) -> None:
    """A request that is being worked on is bounded by its resource, not by the connection's silence."""
    client = stage.connect()
    client.send(b"GET /wait HTTP/1.1\r\n\r\n")
    stage.clock.advance(100)
    assert client.open
    send(stage.waiting.requests[0], 200, b"text/plain", b"done")
    assert client.received().endswith(b"done")


def test_client_that_leaves(stage: Stage, events: Sequence[LogEvent]) -> None:
    """A client that hangs up while its answer is made: no error, and a line in the log."""
    client = stage.connect()
    client.send(b"GET /wait HTTP/1.1\r\n\r\n")
    request = stage.waiting.requests[0]
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)
    assert stage.site.in_flight == 1
    client.transport.loseConnection()
    assert len(gone) == 1
    assert request.gone
    send(request, 200, b"text/plain", b"late")
    request.write(b"late")
    request.finish()
    request.finish()
    assert stage.site.in_flight == 0
    assert [event["status"] for event in events if "milliseconds" in event] == [499]


def test_access_log(stage: Stage, events: Sequence[LogEvent]) -> None:
    """RUN-7: one line per request, with neither query nor body."""
    client = stage.connect()
    client.send(b"POST /echo?token=secret HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
    client.send(b"GET /none HTTP/1.1\r\nContent-Length: +\r\n\r\n")
    lines = [event["log_format"].format(**event) for event in events if event.get("log_namespace") == "pikachu.http"]
    assert lines == ["POST /echo 200 3 0.0 ms 192.0.2.7", "refused 400 192.0.2.7: the request is malformed"]


def test_static_files_in_the_access_log(stage: Stage, events: Sequence[LogEvent]) -> None:
    """Each page loads several, so they are below INFO; one that is not there is not."""
    client = stage.connect()
    for path in ("/static/style.css", "/echo", "/favicon.ico"):
        client.send(f"POST {path} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode())
    found = [(event["path"], event["status"], event["log_level"].name) for event in events if "milliseconds" in event]
    assert found == [
        ("/static/style.css", 200, "debug"),
        ("/echo", 200, "info"),
        ("/favicon.ico", 404, "info"),
    ]


def test_drain(stage: Stage) -> None:
    """RUN-5: idle connections end at once, working ones with their answer, and no new one comes."""
    idle, working, arriving = stage.connect(), stage.connect(), stage.connect()
    working.send(b"GET /wait HTTP/1.1\r\n\r\n")
    arriving.send(b"GET /echo HTTP/1.1\r\nHost")
    done: list[object] = []
    stage.site.drain(10).addCallback(done.append)
    assert not idle.open
    assert done == []
    assert stage.site.buildProtocol(None) is None
    answer = arriving.send(b": a\r\n\r\n")
    assert status(answer) == 200
    assert b"Connection: close\r\n" in answer
    assert not arriving.open
    send(stage.waiting.requests[0], 200, b"text/plain", b"done")
    assert working.received().endswith(b"done")
    assert not working.open
    assert done == [None]
    assert stage.clock.getDelayedCalls() == []


def test_drain_ends(stage: Stage) -> None:
    """RUN-5: requests that exceed the time set are closed."""
    client = stage.connect()
    client.send(b"GET /wait HTTP/1.1\r\n\r\n")
    done: list[object] = []
    stage.site.drain(10).addCallback(done.append)
    stage.site.drain(1).addCallback(done.append)
    stage.clock.advance(9)
    assert client.open
    stage.clock.advance(2)
    assert done == [None, None]
    stage.site.drain(1).addCallback(done.append)
    assert done == [None, None, None]
    assert not client.open


def test_reader_that_stalls(stage: Stage) -> None:
    """A client that leaves its answer unread is given up."""
    client = stage.connect()
    client.send(b"GET /wait HTTP/1.1\r\n\r\n")
    client.server.pauseProducing()
    stage.clock.advance(30)
    client.server.resumeProducing()
    client.server.pauseProducing()
    stage.clock.advance(59)
    assert client.open
    stage.clock.advance(2)
    assert not client.open
