"""The questions to a directory and their limits (USR-5); the directory itself is a function here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

import pytest

from pikachu.auth.ldap.abort import Abort
from pikachu.auth.ldap.client import LDAPClient
from pikachu.auth.ldap.directory import Directory
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import DirectoryUnavailable, Overloaded
from pikachu.core.model.directory_people import Absent, Finding, normalised_name
from tests.support.deferreds import failure_of, result_of

P = ParamSpec("P")
T = TypeVar("T")
NOBODY = Absent("no such account")


@dataclass
class FakeClient:
    """Answers questions, or fails."""

    error: Exception | None = None
    questions: int = 0
    aborts: list[Abort] = field(default_factory=list)

    def authenticate(self, username: str, password: str, abort: Abort) -> Finding:
        """Answer that there is nobody."""
        self.questions += 1
        self.aborts.append(abort)
        if self.error is not None:
            raise self.error
        return NOBODY

    def close(self) -> None:
        """Close nothing."""

    def probe(self, abort: Abort) -> str | None:
        """Answer that all is well."""
        self.authenticate("", "", abort)
        return None


class Pool:
    """A pool whose threads are busy or full on demand."""

    def __init__(self) -> None:
        self.is_full = False
        self.waiting: list[Callable[[], object]] = []
        self.is_held = False

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run *work* at once, later, or never."""
        if self.is_full:
            return fail(Overloaded("full"))
        if not self.is_held:
            return ImmediatePool().run(work, *args, **kwargs)
        result: Deferred[Any] = Deferred()
        self.waiting.append(lambda: ImmediatePool().run(work, *args, **kwargs).chainDeferred(result))
        return result


@dataclass
class World:
    """A directory with its client, pool and clock."""

    client: FakeClient = field(default_factory=FakeClient)
    pool: Pool = field(default_factory=Pool)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.clock.advance(1_000_000)
        self.directory = Directory(
            client=cast(LDAPClient, self.client), pool=self.pool, clock=self.clock, timeout=5, servers=2
        )

    def ask(self) -> Deferred[Finding]:
        """Ask."""
        return self.directory.authenticate("dora", "password")

    def fail(self, times: int) -> None:
        """Ask a directory that does not answer."""
        self.client.error = DirectoryUnavailable("down")
        for _ in range(times):
            failure_of(self.ask(), DirectoryUnavailable)
        self.client.error = None


def test_after_two_failures_nobody_asks_for_a_while() -> None:
    """Then one question is; its failure doubles the pause, up to a minute, and an answer ends it."""
    world = World()
    world.fail(1)
    assert result_of(world.ask()) is NOBODY
    world.fail(2)
    for pause in (5, 10, 20, 40, 60, 60):
        asked = world.client.questions
        error = failure_of(world.ask(), DirectoryUnavailable)
        assert error.retry_after == pause
        world.clock.advance(pause - 0.5)
        failure_of(world.ask(), DirectoryUnavailable)
        assert world.client.questions == asked
        world.clock.advance(0.5)
        world.fail(1)
        assert world.client.questions == asked + 1
    world.clock.advance(60)
    assert result_of(world.ask()) is NOBODY
    world.fail(1)
    assert result_of(world.ask()) is NOBODY


def test_the_readiness_check_ends_a_pause() -> None:
    world = World()
    world.fail(2)
    failure_of(world.ask(), DirectoryUnavailable)
    assert result_of(world.directory.probe()) is None
    assert result_of(world.ask()) is NOBODY


def test_a_clock_that_is_set_back_prolongs_no_pause() -> None:
    world = World()
    world.fail(2)
    world.clock.rightNow -= 100_000
    assert result_of(world.ask()) is NOBODY


@pytest.mark.parametrize("error", [Overloaded("full"), ValueError("a defect")])
def test_a_question_that_is_not_answered_otherwise_blocks_no_further_ones(error: Exception) -> None:
    """The one question after a pause may find the pool full."""
    world = World()
    world.fail(2)
    world.clock.advance(6)
    if isinstance(error, Overloaded):
        world.pool.is_full = True
    world.client.error = error
    failure_of(world.ask(), type(error))
    world.client.error, world.pool.is_full = None, False
    assert result_of(world.ask()) is NOBODY


def test_a_question_ends_in_time() -> None:
    """After three times the time of an answer with two servers; whoever has its thread is stopped."""
    world = World()
    world.pool.is_held = True
    answer = world.ask()
    world.clock.advance(14.9)
    assert not answer.called
    world.clock.advance(0.2)
    failure_of(answer, DirectoryUnavailable)
    # Its turn comes too late, and nothing is asked any more.
    world.pool.waiting.pop()()
    assert world.client.questions == 0


def test_questions_that_wait_fail_with_those_before_them() -> None:
    """Of ten that wait for threads, two find out."""
    world = World()
    world.pool.is_held = True
    answers = [world.ask() for _ in range(10)]
    world.client.error = DirectoryUnavailable("down")
    for turn in world.pool.waiting:
        turn()
    for answer in answers:
        failure_of(answer, DirectoryUnavailable)
    assert world.client.questions == 2
    # Those that were not asked count as no failures.
    world.client.error, world.pool.is_held = None, False
    world.clock.advance(5)
    assert result_of(world.ask()) is NOBODY


def test_a_stop_ends_questions() -> None:
    """Questions under way are aborted, and no more are asked."""
    world = World()
    assert result_of(world.ask()) is NOBODY
    world.pool.is_held = True
    waiting = world.ask()
    world.directory.stop()
    world.pool.waiting.pop()()
    failure_of(waiting, DirectoryUnavailable)
    failure_of(world.ask(), DirectoryUnavailable)
    failure_of(world.directory.probe(), DirectoryUnavailable)
    assert world.client.questions == 1
    # What has ended before is left alone.
    assert not world.client.aborts[0].is_set


NAMES = {
    "dora": "dora",
    "Do.Ra_1@x-y": "Do.Ra_1@x-y",
    "jo\u0308rg": "j\u00f6rg",
    "\u0905\u093f": "\u0905\u093f",
    "x" * 64: "x" * 64,
    "": None,
    "x" * 65: None,
    "do ra": None,
    "do*": None,
    "a(b": None,
    "a\\b": None,
    "a,b": None,
    "a=b": None,
    "a\0b": None,
    "a\u200bb": None,
    "a\u202eb": None,
    "\ud800": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    """Letters and digits of any script, composed, and four characters."""
    assert normalised_name(name) == NAMES[name]
