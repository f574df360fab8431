# mypy: allow-untyped-calls
"""Server-sent events (UI-3): bounded for each client, and no hindrance to a stop (RUN-5)."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pikachu.http.request import Limits, Site
from pikachu.http.server_sent_events import EventStream
from tests.support.connections import Plain

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Streams(Resource):
    """Opens a stream for each request."""

    isLeaf = True

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.opened: list[EventStream] = []
        self.ended = 0

    def _end(self) -> None:
        self.ended += 1

    def render(self, request: Any) -> int:
        stream = EventStream(request, self.clock, self._end)
        self.opened.append(stream)
        stream.open({b"Cache-Control": b"no-store"})
        return NOT_DONE_YET


class Stage:
    """A site of streams."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.streams = Streams(self.clock)
        self.site = Site(self.streams, self.clock, Limits())

    def connect(self) -> tuple[Plain, EventStream]:
        """A client that listens, and its stream."""
        client = Plain(self.site, self.clock)
        answer = client.send(GET)
        assert b"200 OK" in answer
        assert b"Content-Type: text/event-stream" in answer
        assert b"retry: 3000\n\n" in answer
        return client, self.streams.opened[-1]


def test_events_arrive() -> None:
    """Each is a name and JSON, and a comment now and then keeps the connection past every idle limit."""
    stage = Stage()
    client, stream = stage.connect()
    stream.send("changed", {"a": 1, "text": "two\nlines"})
    assert b'event: changed\ndata: {"a":1,"text":"two\\nlines"}\n\n' in client.received()
    for _ in range(10):
        stage.clock.advance(20)
        assert b": still here\n\n" in client.received()
    assert client.open
    stream.close()
    assert client.received().endswith(b"0\r\n\r\n")
    stream.close()
    stream.send("changed", {})
    assert client.received() == b""
    assert stage.streams.ended == 1


def test_a_slow_client_gets_the_newest() -> None:
    """Unread messages are dropped, except the newest of each kind."""
    stage = Stage()
    client, stream = stage.connect()
    client.server.pauseProducing()
    for number in range(1000):
        stream.send("changed", {"n": number})
    stream.send("other", {})
    assert client.received() == b""
    client.server.resumeProducing()
    told = client.received()
    assert b'{"n":999}' in told
    assert b"event: other" in told
    assert told.count(b"event:") == 2


def test_a_client_that_stops_reading_is_given_up() -> None:
    """A connection whose other end has gone does not stay."""
    stage = Stage()
    client, _ = stage.connect()
    client.server.pauseProducing()
    stage.clock.pump([10] * 7)
    assert not client.open
    assert stage.streams.ended == 1
    assert stage.clock.getDelayedCalls() == []


def test_a_client_hangs_up() -> None:
    """Nothing is left of it."""
    stage = Stage()
    client, stream = stage.connect()
    client.transport.loseConnection()
    assert stage.streams.ended == 1
    stream.send("changed", {})
    assert stage.clock.getDelayedCalls() == []


def test_a_stop_does_not_wait() -> None:
    """RUN-5: streams end as soon as the server begins to stop."""
    stage = Stage()
    clients = [stage.connect()[0] for _ in range(3)]
    done: list[object] = []
    stage.site.drain(10).addCallback(done.append)
    assert done == [None]
    assert not any(client.open for client in clients)
    assert stage.streams.ended == 3
    assert stage.clock.getDelayedCalls() == []


def test_none_begins_while_the_server_stops() -> None:
    """A request that was arriving ends at once."""
    stage = Stage()
    client = Plain(stage.site, stage.clock)
    client.send(GET[:10])
    done: list[object] = []
    stage.site.drain(10).addCallback(done.append)
    client.send(GET[10:])
    assert done == [None]
    assert stage.streams.ended == 1
