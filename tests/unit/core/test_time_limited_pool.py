"""A pool for calls that may hang."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from pikachu.core.concurrency import ImmediatePool, TimeLimitedPool
from pikachu.core.errors import SignerUnavailable
from tests.support.deferreds import failure_of, result_of

P = ParamSpec("P")
T = TypeVar("T")


class StuckPool:
    """Begins nothing until it is told."""

    def __init__(self) -> None:
        self.begin: list[Callable[[], object]] = []

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Keep the call."""
        result: Deferred[T] = Deferred()

        def begin() -> None:
            try:
                value = work(*args, **kwargs)
            except SignerUnavailable as error:
                result.errback(error)
            else:
                result.callback(value)

        self.begin.append(begin)
        return result


def test_in_time() -> None:
    """The result, or the failure, of the call."""
    clock = Clock()
    pool = TimeLimitedPool(ImmediatePool(), clock, 10, "The token")
    assert result_of(pool.run(int, "7")) == 7
    failure_of(pool.run(int, "seven"), ValueError)
    assert not clock.getDelayedCalls()


def test_too_late() -> None:
    """The caller waits for the limit and no longer; a call that was not begun is not made any more."""
    clock, stuck, calls = Clock(), StuckPool(), list[int]()
    waiting = TimeLimitedPool(stuck, clock, 10, "The token").run(calls.append, 1)
    clock.advance(9.9)
    assert not waiting.called
    clock.advance(0.1)
    error = failure_of(waiting, SignerUnavailable)
    assert (error.public, error.retry_after > 0) == ("The token did not answer within 10 seconds", True)
    stuck.begin[0]()
    assert not calls


def test_a_caller_that_gives_up_first() -> None:
    """It gets its own error; a call that was not begun is not made any more, and nothing is left."""
    clock, stuck, calls = Clock(), StuckPool(), list[int]()
    waiting = TimeLimitedPool(stuck, clock, 10, "The token").run(calls.append, 1)
    waiting.cancel()
    failure_of(waiting, CancelledError)
    clock.advance(10)
    stuck.begin[0]()
    assert not calls
    assert not clock.getDelayedCalls()
