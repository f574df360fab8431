"""Threads of worker pools."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

import pytest

from pikachu.core.concurrency import TimeLimitedPool, WorkerPool
from pikachu.core.errors import NotFound, Overloaded, SignerUnavailable
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


def test_calls_that_never_return(caller: Caller) -> None:
    """Their callers are answered, their threads replaced, and further calls refused when too many are lost."""
    clock, release = Clock(), threading.Event()
    pool = WorkerPool("hanging", caller, 1, max_lost=2)
    limited = TimeLimitedPool(pool, clock, 10, "The token")
    begun: Queue[None] = Queue()

    def hang() -> str:
        begun.put(None)
        release.wait(_PATIENCE)
        return "late"

    lost = []
    for count in (1, 2):
        lost.append(limited.run(hang))
        begun.get(timeout=_PATIENCE)
        waiting = limited.run(lambda: "done")
        clock.advance(5)
        assert not waiting.called
        clock.advance(5)
        assert failure_of(lost.pop(), SignerUnavailable).public == "The token did not answer within 10 seconds"
        assert pool.lost == count
        # It waited for as long as the other; the next one is done by another thread.
        failure_of(waiting, SignerUnavailable)
        if count == 1:
            caller.next()
            answered = limited.run(lambda: "done")
            caller.next()
            assert result_of(answered) == "done"
    refusal = failure_of(limited.run(lambda: "refused"), SignerUnavailable)
    assert (
        refusal.public == "The token has not answered 2 calls, which still wait. Restart the server if they don't end."
    )
    release.set()
    caller.next(3)
    assert pool.lost == 0
    again = limited.run(lambda: "again")
    caller.next()
    assert result_of(again) == "again"
    pool.stopService()
    assert pool.abandoned == 0


_HANGING = """
import atexit, os, sys, time
from twisted.internet import reactor
from pikachu.core.concurrency import TimeLimitedPool, WorkerPool
pool = WorkerPool("hanging", reactor, 1, max_lost=2)
limited = TimeLimitedPool(pool, reactor, 0.2, "The token")
def stop(_):
    pool.stopService()
    print(pool.lost, pool.abandoned)
    reactor.stop()
# The second is no loss yet when the pool stops.
limited.run(time.sleep, 3600).addErrback(lambda _: pool.run(time.sleep, 3600) and stop(_))
reactor.run()
"""


def test_the_process_ends_without_them() -> None:
    """Neither a lost thread nor one that is not lost yet delays the end."""
    ended = subprocess.run([sys.executable, "-c", _HANGING], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1 2\n", "")


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
