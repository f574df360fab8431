"""The only module that knows threads: named, bounded worker pools, and the shield around issuance."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from pikachu.core.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")


class IThreadCaller(Protocol):
    """The one ability of the reactor that a pool needs."""

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:  # noqa: N802
        """Call in the reactor's thread."""


class WorkerPool(Service):
    """A bounded pool of threads with a name.

    :param size: threads.
    :param queue: how many calls may wait; one more fails with Overloaded at once.
    """

    def __init__(self, name: str, reactor: IThreadCaller, size: int, queue: int = 1000) -> None:
        self.pool_name = name
        self._reactor = reactor
        self._limit = size + queue
        self._outstanding = 0
        self._pool = ThreadPool(minthreads=0, maxthreads=size, name=f"pikachu-{name}")
        self._started = False

    def startService(self) -> None:
        """Start the threads' supervision; threads are made as work comes."""
        Service.startService(self)
        self._start()

    def stopService(self) -> None:
        """Finish what is queued, then end the threads."""
        Service.stopService(self)
        if self._started:
            self._started = False
            self._pool.stop()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._pool.start()

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Do *work* in a thread; see :class:`pikachu.core.interfaces.IWorkerPool`."""
        result: Deferred[T] = Deferred()
        if self._outstanding >= self._limit:
            result.errback(Failure(Overloaded("this server has too much to do; try again soon", pool=self.pool_name)))
            return result
        self._start()
        self._outstanding += 1

        def deliver(success: bool, value: Any) -> None:
            self._outstanding -= 1
            if success:
                result.callback(value)
            else:
                result.errback(value)

        def finished(success: bool, value: object) -> None:
            self._reactor.callFromThread(deliver, success, value)

        self._pool.callInThreadWithCallback(finished, functools.partial(work, *args, **kwargs))
        # A cancelled wait must not fire twice; the work itself can't be taken back.
        return shield(result)


class ImmediatePool:
    """Runs the work at once, in the caller's thread: for the command line and for tests."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Do *work* now."""
        return maybeDeferred(work, *args, **kwargs)


def shield(work: Deferred[T]) -> Deferred[T]:
    """A Deferred that gives the result of *work*; cancelling it leaves *work* alone.

    A client that hangs up cancels the handler that serves it.  What has begun to issue a certificate goes on
    all the same, or a certificate would be signed that nobody recorded.
    """
    abandoned = False

    def cancelled(_: Deferred[T]) -> None:
        nonlocal abandoned
        abandoned = True

    outer: Deferred[T] = Deferred(cancelled)

    def pass_on(result: T | Failure) -> None:
        if abandoned:
            return
        if isinstance(result, Failure):
            outer.errback(result)
        else:
            outer.callback(result)

    work.addBoth(pass_on)
    return outer


def start(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run a coroutine that awaits Deferreds, to its end whatever becomes of the caller."""
    return shield(Deferred.fromCoroutine(work))


def uncancelled(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Deferred[T]]:
    """Decorator for ``async def``: a call starts the work and gives its Deferred; see :func:`start`."""

    @functools.wraps(work)
    def call(*args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return start(work(*args, **kwargs))

    return call
