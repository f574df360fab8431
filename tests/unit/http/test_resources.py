# mypy: allow-untyped-calls
"""Coroutine resources: every outcome gives one answer, and nothing leaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

import pytest

from pikachu.core.errors import Overloaded, PikachuError, PolicyViolation
from pikachu.http.request import BoundedRequest, Site
from pikachu.http.resources import ProtocolResource
from pikachu.http.responses import send, text_error
from pikachu.http.tree import Tree
from tests.support.connections import Plain


class Outlet(ProtocolResource):
    """Does what *what* says."""

    methods: ClassVar[Mapping[bytes, str]] = {b"GET": "answer_get", b"POST": "answer_post"}
    time_limit = 60.0

    def __init__(self) -> None:
        super().__init__()
        self.waiting: Deferred[None] = Deferred()
        self.ended: list[str] = []

    def refuse(self, request: BoundedRequest, error: PikachuError) -> None:
        if request.uri.endswith(b"fault"):
            raise KeyError("no entry in the secret table")
        text_error(request, 503 if isinstance(error, Overloaded) else 422, error.public)

    async def answer_get(self, request: BoundedRequest) -> None:
        what = request.path.rsplit(b"/", 1)[1]
        if what == b"refused":
            raise PolicyViolation("not by this policy", secret="x")
        if what == b"broken":
            raise RuntimeError("a secret")
        if what == b"silent":
            return
        if what.startswith(b"wait"):
            try:
                await self.waiting
            except CancelledError:
                self.ended.append("cancelled")
                raise
            self.ended.append("done")
            if what == b"waitbroken":
                raise RuntimeError("a secret")
        send(request, 200, b"text/plain", b"x" * (300_000 if what == b"large" else 5))

    async def answer_post(self, request: BoundedRequest) -> None:
        send(request, 200, b"text/plain", request.content.read())


class Stage:
    def __init__(self) -> None:
        self.clock = Clock()
        self.outlet = Outlet()
        root = Tree()
        root.putChild(b"out", self.outlet)
        self.site = Site(root, self.clock)

    def get(self, what: bytes, method: bytes = b"GET") -> tuple[Plain, bytes]:
        client = Plain(self.site, self.clock)
        return client, client.send(method + b" /out/" + what + b" HTTP/1.1\r\n\r\n")


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_answers(stage: Stage) -> None:
    """GET, HEAD and POST; HEAD has GET's headers and no body."""
    _, answer = stage.get(b"x")
    _, head = stage.get(b"x", b"HEAD")
    assert answer.endswith(b"\r\n\r\nxxxxx")
    assert head == answer[:-5]


@pytest.mark.parametrize("method", [b"DELETE", b"OPTIONS", b"BREW", b"get"])
def test_wrong_method(stage: Stage, method: bytes) -> None:
    """405 and Allow."""
    _, answer = stage.get(b"x", method)
    assert answer.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert b"Allow: GET, HEAD, POST\r\n" in answer


def test_refusal(stage: Stage) -> None:
    """The outlet's table answers, with the public message only."""
    _, answer = stage.get(b"refused")
    assert answer.startswith(b"HTTP/1.1 422 ")
    assert answer.endswith(b"not by this policy\n")


@pytest.mark.parametrize("what", [b"broken", b"silent", b"refused?fault"])
def test_faults(stage: Stage, what: bytes) -> None:
    """A fault of ours is a 500 with an id."""
    client, answer = stage.get(what)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"internal error " in answer
    assert b"secret" not in answer
    assert client.open


def test_waiting(stage: Stage) -> None:
    """An answer that comes later."""
    client, answer = stage.get(b"wait")
    assert answer == b""
    stage.outlet.waiting.callback(None)
    assert client.received().endswith(b"xxxxx")
    assert stage.clock.getDelayedCalls() != []
    client.transport.loseConnection()
    assert stage.clock.getDelayedCalls() == []


@pytest.mark.parametrize("what", [b"wait", b"waitbroken"])
def test_client_leaves(stage: Stage, what: bytes) -> None:
    """The coroutine is cancelled, and nobody complains."""
    client, _ = stage.get(what)
    client.transport.loseConnection()
    assert stage.outlet.ended == ["cancelled"]
    assert stage.site.in_flight == 0
    assert stage.clock.getDelayedCalls() == []


def test_time_limit(stage: Stage) -> None:
    """A request over the time limit ends as an overload, in the protocol's own form."""
    client, _ = stage.get(b"wait")
    stage.clock.advance(61)
    assert client.received().startswith(b"HTTP/1.1 503 ")
    assert stage.outlet.ended == ["cancelled"]
