# mypy: allow-untyped-calls
"""Klein's pages work on these requests."""

from __future__ import annotations

from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

import pytest

from pikachu.http.request import Limits, PathRule, Site
from tests.support.connections import Plain


class Pages:
    """A small application."""

    app = Klein()

    def __init__(self) -> None:
        self.waiting: Deferred[bytes] = Deferred()
        self.ended: list[type] = []

    @app.route("/form", methods=["POST"])
    def form(self, request: Any) -> bytes:
        return bytes(request.content.read())

    @app.route("/page/<path:name>", methods=["GET"])
    def page(self, request: Any, name: str) -> bytes:
        return name.encode()

    @app.route("/wait")
    async def wait(self, request: Any) -> bytes:
        try:
            return await self.waiting
        except CancelledError as error:
            self.ended.append(type(error))
            raise


class Stage:
    def __init__(self) -> None:
        self.pages = Pages()
        self.clock = Clock()
        limits = Limits(rules=(PathRule(b"/form", 100),))
        self.client = Plain(Site(self.pages.app.resource(), self.clock, limits), self.clock)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_pages(stage: Stage) -> None:
    """Routes, parameters, forms, HEAD, 404 and 405."""
    send = stage.client.send
    assert send(b"GET /page/a%20b/c HTTP/1.1\r\n\r\n").endswith(b"\r\n5\r\na b/c\r\n0\r\n\r\n")
    head = send(b"HEAD /page/a HTTP/1.1\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"\r\n\r\n")
    form = (
        b"POST /form HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n\r\nname=a+b"
    )
    assert send(form).endswith(b"\r\n8\r\nname=a+b\r\n0\r\n\r\n")
    assert send(b"GET /none HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 404 ")
    assert send(b"PUT /page/a HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 405 ")
    assert stage.client.open


def test_later(stage: Stage) -> None:
    """A page that comes later, and a visitor who leaves before."""
    stage.client.send(b"GET /wait HTTP/1.1\r\n\r\n")
    stage.client.transport.loseConnection()
    assert stage.pages.ended == [CancelledError]
