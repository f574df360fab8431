"""Calls of several threads that are carried out together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from pikachu.core.concurrency import new_lock

A = TypeVar("A")
R = TypeVar("R")


class _Call(Generic[A, R]):
    """A call of one thread.

    :ivar gate: held while the thread waits.
    :ivar outcome: the result or the error, when *is_done*.
    """

    __slots__ = ("argument", "gate", "is_done", "outcome")

    def __init__(self, argument: A) -> None:
        self.argument = argument
        self.gate = new_lock()
        self.gate.acquire()
        self.is_done = False
        self.outcome: R | Exception | None = None


class CombinedCalls(Generic[A, R]):
    """Carries out the calls that meet together: those that threads make while others are under way.

    A call blocks its thread.  While fewer than *at_once* are under way it is carried out immediately and alone.

    :param work: called with the arguments of several calls, in the thread of one of them; returns the result or the
        error of each.
    :param most: maximum number of calls that are carried out together.
    """

    def __init__(self, work: Callable[[Sequence[A]], Sequence[R | Exception]], *, at_once: int, most: int) -> None:
        self._work = work
        self._at_once = at_once
        self._most = most
        self._lock = new_lock()
        self._waiting: deque[_Call[A, R]] = deque()
        self._under_way = 0

    @property
    def waiting(self) -> int:
        """The number of calls that wait for those under way."""
        return len(self._waiting)

    def call(self, argument: A) -> R:
        """Return the result for *argument*, or raise its error."""
        call: _Call[A, R] = _Call(argument)
        with self._lock:
            waits = self._under_way >= self._at_once
            if waits:
                self._waiting.append(call)
            else:
                self._under_way += 1
        if waits:
            call.gate.acquire()
        if not call.is_done:
            self._lead(call)
        if isinstance(call.outcome, Exception):
            raise call.outcome
        return cast(R, call.outcome)

    def _lead(self, first: _Call[A, R]) -> None:
        """Carry out a call with those that wait, and let the next one lead."""
        with self._lock:
            others = [self._waiting.popleft() for _ in range(min(self._most - 1, len(self._waiting)))]
        calls = [first, *others]
        outcomes: Sequence[R | Exception]
        try:
            outcomes = self._work([call.argument for call in calls])
            if len(outcomes) != len(calls):
                # Whose outcomes they are is unknown, and a thread without one would wait for ever.
                raise RuntimeError(f"{len(outcomes)} outcomes of {len(calls)} calls")
        except Exception as error:  # noqa: BLE001 - each caller gets it
            outcomes = [error] * len(calls)
        for call, outcome in zip(calls, outcomes, strict=True):
            call.outcome, call.is_done = outcome, True
        with self._lock:
            following = self._waiting.popleft() if self._waiting else None
            if following is None:
                self._under_way -= 1
        if following is not None:
            following.gate.release()
        for call in others:
            call.gate.release()
