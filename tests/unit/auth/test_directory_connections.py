"""Connections to the directory that stay open between questions (USR-5); the connections are fakes here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from pikachu.auth.ldap.abort import Abort
from pikachu.auth.ldap.connection import DirectoryConnection
from pikachu.auth.ldap.connection_pool import (
    MAX_AGE_SECONDS,
    MAX_IDLE,
    MAX_IDLE_SECONDS,
    ConnectionPool,
    Purpose,
    Session,
)
from pikachu.core.errors import DirectoryUnavailable

HOST = "ldap.example.org"


@dataclass
class FakeConnection:
    """A connection without a server."""

    host: str
    purpose: Purpose
    is_quiet: bool = True
    is_usable: bool = True
    is_closed: bool = False

    def watch(self, abort: Abort) -> None:
        """Do nothing."""

    def unwatch(self, abort: Abort) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close."""
        self.is_closed = True


@dataclass
class World:
    """A pool with its connections and clock."""

    opened: list[FakeConnection] = field(default_factory=list)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.pool = ConnectionPool(self._connect, lambda: self.now)

    def _connect(self, host: str, purpose: Purpose, abort: Abort) -> DirectoryConnection:
        self.opened.append(FakeConnection(host, purpose))
        return cast(DirectoryConnection, self.opened[-1])

    def ask(self, host: str = HOST) -> FakeConnection:
        """Ask a question that succeeds; return its connection."""
        return cast(FakeConnection, self.pool.ask(host, lambda session: session.search, Abort()))


def test_a_connection_is_used_again() -> None:
    """For the same server and purpose only."""
    world = World()
    assert world.ask() is world.ask()
    assert world.ask("other.example.org") is not world.ask()
    used = world.pool.ask(HOST, lambda session: session.verification, Abort())
    assert cast(FakeConnection, used).purpose is Purpose.VERIFICATION
    assert len(world.opened) == 3


@pytest.mark.parametrize("reason", ["silence", "age", "ended", "broken"])
def test_a_connection_is_replaced(reason: str) -> None:
    """When it was idle for long, is old, was ended by the server, or has an answer that was not read."""
    world = World()
    first = world.ask()
    if reason == "silence":
        world.now += MAX_IDLE_SECONDS + 1
    elif reason == "age":
        for _ in range(int(MAX_AGE_SECONDS / MAX_IDLE_SECONDS) + 1):
            assert world.ask() is first
            world.now += MAX_IDLE_SECONDS
    elif reason == "ended":
        first.is_quiet = False
    else:
        first.is_usable = False
        assert world.ask() is first
    assert world.ask() is not first
    assert first.is_closed


def test_a_question_is_repeated_on_new_connections_once() -> None:
    """A failure may be that of a connection which was idle; the others to that server are closed, too."""
    world = World()
    first = world.ask()
    asked: list[DirectoryConnection] = []

    def fail(session: Session) -> None:
        asked.append(session.search)
        raise DirectoryUnavailable("no")

    with pytest.raises(DirectoryUnavailable):
        world.pool.ask(HOST, fail, Abort())
    assert len(asked) == 2
    assert first.is_closed
    assert world.opened[1].is_closed
    # On a new connection, it is the server's own failure.
    with pytest.raises(DirectoryUnavailable):
        world.pool.ask(HOST, fail, Abort())
    assert len(asked) == 3


def test_an_aborted_question_keeps_nothing() -> None:
    """Its sockets were closed; it is not repeated."""
    world = World()
    world.ask()
    abort = Abort()
    asked = 0

    def fail(session: Session) -> None:
        nonlocal asked
        asked += 1
        assert session.search
        abort.set()
        raise DirectoryUnavailable("no")

    with pytest.raises(DirectoryUnavailable):
        world.pool.ask(HOST, fail, abort)
    assert asked == 1
    assert all(one.is_closed for one in world.opened)


def test_few_connections_are_idle() -> None:
    """Connections that were used longest ago are closed."""
    world = World()

    def deep(session: Session, depth: int) -> None:
        assert session.search
        if depth:
            world.pool.ask(HOST, lambda inner: deep(inner, depth - 1), Abort())

    world.pool.ask(HOST, lambda session: deep(session, MAX_IDLE + 2), Abort())
    assert len(world.opened) == MAX_IDLE + 3
    assert sum(not one.is_closed for one in world.opened) == MAX_IDLE
    world.pool.close()
    assert all(one.is_closed for one in world.opened)
    assert world.ask().is_closed
