"""Threads of worker pools."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue

from twisted.internet.defer import CancelledError

import pytest

from pikachu.core.concurrency import WorkerPool
from pikachu.core.errors import NotFound, Overloaded
from tests.support.deferreds import failure_of, result_of

_PATIENCE = 30.0


class Caller:
    """Stands for the reactor: the test calls what threads have handed over."""

    def __init__(self) -> None:
        self.calls: Queue[Callable[[], object]] = Queue()

    def callFromThread(  # noqa: N802 - Twisted's name
        self, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        """Keep a call for :meth:`next`."""
        self.calls.put(lambda: callable(*args, **kwargs))

    def next(self, count: int = 1) -> None:
        """Wait for so many calls, and make them."""
        for _ in range(count):
            self.calls.get(timeout=_PATIENCE)()


@pytest.fixture
def caller() -> Caller:
    return Caller()


@pytest.fixture
def pool(caller: Caller) -> Iterator[WorkerPool]:
    found = WorkerPool("tests", caller, 2, queue=1)
    yield found
    found.stopService()


def test_work_is_done_in_named_threads(pool: WorkerPool, caller: Caller) -> None:
    name = pool.run(lambda: threading.current_thread().name)
    caller.next()
    assert result_of(name) == "pikachu-tests-0"
    failed = pool.run(int, "nothing")
    refused = pool.run(_refuse)
    caller.next(2)
    failure_of(failed, ValueError)
    failure_of(refused, NotFound)


def _refuse() -> None:
    raise NotFound("nothing")


def test_threads_and_waiting_calls_are_bounded(pool: WorkerPool, caller: Caller) -> None:
    go = threading.Event()
    together = threading.Barrier(2)

    def work() -> str:
        together.wait(_PATIENCE)
        go.wait(_PATIENCE)
        return threading.current_thread().name

    busy = [pool.run(work), pool.run(work)]
    waiting = pool.run(lambda: "done")
    failure_of(pool.run(lambda: "never"), Overloaded)
    go.set()
    caller.next(3)
    assert {result_of(one) for one in busy} == {"pikachu-tests-0", "pikachu-tests-1"}
    assert result_of(waiting) == "done"
    again = pool.run(lambda: "again")
    caller.next()
    assert result_of(again) == "again"


def test_who_has_given_up_is_not_told(pool: WorkerPool, caller: Caller) -> None:
    """Cancelling does not stop the work, and its end frees its place."""
    for _ in range(10):
        given_up = pool.run(lambda: "done")
        given_up.cancel()
        failure_of(given_up, CancelledError)
        caller.next()


@contextmanager
def no_more_threads() -> Iterator[None]:
    """The system refuses further threads: no memory is large enough for their stacks."""
    before = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(before)


def test_no_more_threads(pool: WorkerPool, caller: Caller) -> None:
    """Without any thread, calls fail and take no place; otherwise those that there are do the work."""
    with no_more_threads():
        for _ in range(5):
            failure_of(pool.run(lambda: "lost"), Overloaded)
    first = pool.run(lambda: "first")
    with no_more_threads():
        second = pool.run(lambda: "second")
    caller.next(2)
    assert (result_of(first), result_of(second)) == ("first", "second")


def test_stopping_finishes_what_waits(caller: Caller) -> None:
    pool = WorkerPool("tests", caller, 1, queue=5)
    results = [pool.run(lambda: "done") for _ in range(4)]
    pool.stopService()
    caller.next(4)
    assert [result_of(one) for one in results] == ["done"] * 4
    failure_of(pool.run(lambda: "late"), Overloaded)
    pool.startService()
    again = pool.run(lambda: "again")
    caller.next()
    assert result_of(again) == "again"
    pool.stopService()
