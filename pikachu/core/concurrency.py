"""Named, bounded worker pools, the only users of threads; the shield around issuance; single flight."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail, maybeDeferred
from twisted.python.failure import Failure

from pikachu.core.errors import Overloaded, SignerUnavailable
from pikachu.core.interfaces import IClock, IWorkerPool

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that the end of a pool waits for calls that may not return.
STOP_SECONDS: Final = 3.0


class IThreadCaller(Protocol):
    """The only method of the reactor that a pool needs."""

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:  # noqa: N802
        """Call in the reactor's thread."""


class IReactor(IThreadCaller, Protocol):
    """The part of the reactor that the store and the pools of a server need."""

    def callLater(  # noqa: N802 - Twisted's name
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> object:
        """Call after *delay* seconds; only in the reactor's thread."""


class WorkerPool(Service):
    """A named, bounded thread pool.

    A call costs the reactor one put into a queue, and its thread one wake-up of the reactor; twisted.python.threadpool
    has several locks and lists of its own for each, which took a tenth of an enrollment.

    :param size: maximum number of threads.
    :param queue: maximum number of waiting calls; further calls fail with Overloaded immediately.
    :param max_lost: maximum number of threads that are replaced because their calls don't return; 0 for work that
        always ends.  The process ends without waiting for such threads.
    :ivar lost: how many there are.
    :ivar abandoned: threads that were still at work when the pool was stopped.
    """

    def __init__(self, name: str, reactor: IThreadCaller, size: int, queue: int = 1000, max_lost: int = 0) -> None:
        self.pool_name = name
        self.abandoned = 0
        self.max_lost = max_lost
        self.lost = 0
        self._lock = threading.Lock()
        self._reactor = reactor
        self._size = size
        self._limit = size + queue
        self._outstanding = 0
        # None ends the thread that takes it.
        self._calls: SimpleQueue[tuple[Deferred[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._stopped = False

    @property
    def size(self) -> int:
        """Maximum number of threads whose calls return."""
        return self._size

    @property
    def outstanding(self) -> int:
        """Number of calls that wait or are being done."""
        return self._outstanding

    def lose(self) -> None:
        """Count a thread as lost, because its call does not return, and replace it."""
        with self._lock:
            self.lost += 1
        if not self._stopped and len(self._threads) < self._size + self.lost:
            # Where the system refuses a thread, the others do the work.
            with contextlib.suppress(RuntimeError):
                self._add_thread()

    def recover(self) -> None:
        """Count a lost thread as working again; called in that thread."""
        with self._lock:
            self.lost -= 1

    def startService(self) -> None:
        """Accept calls; threads are created on demand."""
        Service.startService(self)
        self._stopped = False

    def stopService(self) -> None:
        """Finish the queued calls, then stop the threads; later calls fail.

        Threads of calls that may not return are waited for a few seconds at most; see :attr:`abandoned`.
        """
        Service.stopService(self)
        self._stopped = True
        threads, self._threads = self._threads, []
        for _ in threads:
            self._calls.put(None)
        if not self.max_lost:
            for thread in threads:
                thread.join()
            return
        self.abandoned = self.lost
        deadline = time.monotonic() + STOP_SECONDS
        try:
            for _ in range(len(threads) - self.lost):
                self._ended.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            self.abandoned = sum(thread.is_alive() for thread in threads)

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run *work* in a thread; see :class:`pikachu.core.interfaces.IWorkerPool`."""
        # Cancelling it makes it fail, and the result of the work, which can't be cancelled, is ignored then.
        result: Deferred[T] = Deferred()
        if self._stopped or self._outstanding >= self._limit + self.lost:
            result.errback(Failure(Overloaded("this server has too much to do; try again soon", pool=self.pool_name)))
            return result
        if len(self._threads) < min(self._outstanding + 1, self._size + self.lost):
            try:
                self._add_thread()
            except RuntimeError as error:
                # The system refuses a thread; those that there are do the work.
                if not self._threads:
                    refusal = Overloaded("this server can't start a thread; try again soon", error=str(error))
                    result.errback(Failure(refusal))
                    return result
        self._outstanding += 1
        self._calls.put((result, functools.partial(work, *args, **kwargs)))
        return result

    def _add_thread(self) -> None:
        name = f"pikachu-{self.pool_name}-{len(self._threads)}"
        thread = threading.Thread(target=self._take_calls, name=name, daemon=bool(self.max_lost))
        thread.start()
        self._threads.append(thread)

    def _take_calls(self) -> None:
        while (call := self._calls.get()) is not None:
            result, work = call
            try:
                outcome = work()
            except BaseException:  # noqa: BLE001 - the caller gets it
                self._reactor.callFromThread(self._deliver, result.errback, Failure())
            else:
                self._reactor.callFromThread(self._deliver, result.callback, outcome)
            # An idle thread keeps nothing alive.
            del call, result, work
            outcome = None
        self._ended.put(None)

    def _deliver(self, fire: Callable[[Any], None], outcome: object) -> None:
        self._outstanding -= 1
        fire(outcome)


@contextmanager
def ended_after(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Call *end*, in a thread of its own, when the block takes longer: it makes the call fail that blocks.

    The block may just have ended when *end* is called.
    """
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def new_lock() -> threading.Lock:
    """Return a lock for state that several threads of a pool share; hold it for moments only."""
    return threading.Lock()


class ImmediatePool:
    """A pool that runs work immediately in the caller's thread, for the command line and for tests."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run *work* immediately."""
        return maybeDeferred(work, *args, **kwargs)


class _LimitedCall:
    """A call with a time limit: waiting, running, finished, or given up."""

    __slots__ = ("_is_given_up", "_is_running", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_running = False
        self._is_given_up = False

    def begin(self) -> bool:
        """Begin, in the thread; return False if nobody waits any more."""
        with self._lock:
            self._is_running = not self._is_given_up
            return self._is_running

    def end(self) -> bool:
        """End, in the thread; return whether the thread was counted as lost."""
        with self._lock:
            self._is_running = False
            return self._is_given_up

    def give_up(self) -> bool:
        """Wait no longer; return whether the call is running, so that its thread is lost."""
        with self._lock:
            self._is_given_up = True
            return self._is_running


class TimeLimitedPool:
    """A pool for calls of something that may hang: nobody waits for longer than *seconds*.

    The thread of a call that hangs is lost until the call returns, and is replaced; when the pool has lost as many as
    it may, further calls fail immediately.  A call whose caller has given up before it began is not made.

    :param what: the subject of the error message, such as ``The token``.
    :param error: the error that callers get.
    """

    def __init__(
        self,
        pool: IWorkerPool,
        clock: IClock,
        seconds: float,
        what: str,
        error: Callable[[str], Exception] = SignerUnavailable,
    ) -> None:
        self._pool = pool
        self._threads = pool if isinstance(pool, WorkerPool) else None
        self._clock = clock
        self._seconds = seconds
        self._what = what
        self._error = error

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run *work* in the pool; fails when that takes too long."""
        threads = self._threads
        if threads is not None and threads.max_lost and threads.lost >= threads.max_lost:
            return fail(
                self._error(
                    f"{self._what} has not answered {threads.lost} calls, which still wait. Restart the server if they "
                    "don't end."
                )
            )
        call = _LimitedCall()

        def begin() -> T:
            if not call.begin():
                raise self._error("nobody waits for this any more")
            try:
                return work(*args, **kwargs)
            finally:
                if call.end() and threads is not None:
                    threads.recover()

        result = self._pool.run(begin)
        is_late = False

        def overdue() -> None:
            nonlocal is_late
            is_late = True
            if call.give_up() and threads is not None:
                threads.lose()
            result.cancel()

        def done(outcome: T | Failure) -> T | Failure:
            if is_late:
                return Failure(self._error(f"{self._what} did not answer within {self._seconds:g} seconds"))
            if not (isinstance(outcome, Failure) and outcome.check(CancelledError)):
                # A caller that gives up earlier leaves the limit: the call may hang all the same.
                limit.cancel()
            return outcome

        limit = self._clock.callLater(self._seconds, overdue)
        return result.addBoth(done)


#: A lock between threads of a pool.
ThreadLock = threading.Lock


def shield(work: Deferred[T]) -> Deferred[T]:
    """Return a Deferred with the result of *work*; cancelling it does not cancel *work*.

    A client that disconnects cancels its request handler.  Issuance continues nevertheless, or a certificate could be
    signed without being recorded.
    """
    # Without a canceller: cancelling makes it fail, and what comes after that is ignored.
    outer: Deferred[T] = Deferred()
    work.addCallbacks(outer.callback, outer.errback)
    return outer


class _Run(Generic[T]):
    """A coroutine that runs to its end, whatever happens to *result*.

    ``Deferred.fromCoroutine`` copies the context and can cancel what it waits for; with the shield against that, it
    takes three times as long, which an enrollment with its many coroutines feels.

    :ivar result: cancelling it makes it fail, and what comes after that is ignored.
    """

    __slots__ = ("_coroutine", "result")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self.result: Deferred[T] = Deferred()

    def resume(self, outcome: object) -> None:
        """Run until the coroutine waits for a Deferred that has no result yet, or ends."""
        fire: Callable[[Any], object]
        value: Any
        try:
            if isinstance(outcome, Failure):
                awaited = outcome.throwExceptionIntoGenerator(self._coroutine)
            else:
                awaited = self._coroutine.send(None)
        except StopIteration as end:
            fire, value = self.result.callback, end.value
        except BaseException:  # noqa: BLE001 - whoever waits for the result gets it
            fire, value = self.result.errback, Failure()
        else:
            fire, value = awaited.addBoth, self.resume
        fire(value)


def start(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run a coroutine that awaits Deferreds to completion, even if the caller cancels."""
    run = _Run(work)
    run.resume(None)
    return run.result


def uncancelled(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Deferred[T]]:
    """Decorate an ``async def`` so that a call starts it and returns its Deferred; see :func:`start`."""

    @functools.wraps(work)
    def call(*args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return start(work(*args, **kwargs))

    return call


class Turns:
    """Expensive work, of which little is done at the same time and a bounded number of requests waits.

    :param at_once: pieces of work that are done at the same time.
    :param waiting: requests that wait; further ones fail with Overloaded immediately.
    :param of_each: requests of one requester that wait or are being done, so that none takes all turns.
    :param refusal: public text of that error.
    """

    def __init__(self, at_once: int, waiting: int, of_each: int, refusal: str) -> None:
        self._free = DeferredSemaphore(at_once)
        self._waiting = waiting
        self._of_each = of_each
        self._refusal = refusal
        self._held: Counter[Hashable] = Counter()

    async def run(self, requester: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of *work* when its turn has come.

        Cancelling gives up a place among those that wait.  Work that has begun keeps its turn until it ends.
        """
        if len(self._free.waiting) >= self._waiting or self._held[requester] >= self._of_each:
            raise Overloaded(self._refusal, retry_after=5)
        self._held[requester] += 1
        try:
            await self._free.acquire()
        except BaseException:
            self._leave(requester)
            raise
        running = start(work())
        running.addBoth(self._finished, requester)
        return await shield(running)

    def _finished(self, outcome: T | Failure, requester: Hashable) -> T | Failure:
        self._leave(requester)
        self._free.release()
        return outcome

    def _leave(self, requester: Hashable) -> None:
        self._held[requester] -= 1
        if not self._held[requester]:
            del self._held[requester]


class SingleFlight(Generic[T]):
    """Runs work once for all callers with the same key at the same time, and gives each of them its result."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[Deferred[T]]] = {}

    def __contains__(self, key: Hashable) -> bool:
        """Return whether work for *key* is in flight."""
        return key in self._waiting

    def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """Return the result of the work in flight for *key*; start *work* if there is none.

        Cancelling the Deferred stops neither the work nor other callers.
        """
        result: Deferred[T] = Deferred()
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(result)
            return result
        self._waiting[key] = [result]
        start(work()).addBoth(self._finish, key)
        return result

    def _finish(self, outcome: T | Failure, key: Hashable) -> None:
        for result in self._waiting.pop(key):
            if isinstance(outcome, Failure):
                result.errback(outcome)
            else:
                result.callback(outcome)
