"""Batches: transaction functions that arrive while others run are run together after them.

A commit waits for the disk once, for any number of certificates; and point reads share a hop to a thread, a connection
and a snapshot, which cost more than a row.  Everything runs in the reactor's thread, except the batches in the pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pikachu.core.errors import Overloaded
from pikachu.core.interfaces import IWorkerPool
from pikachu.storage.database import Batch, Transaction, Work

T = TypeVar("T")

_BATCH: Final = 64
# A batch of fewer waits for all callbacks of the one before.
_FEW: Final = 16


def _now(call: Callable[[], object]) -> None:
    call()


class Batches:
    """Runs transaction functions in batches.

    :param kind: ``reads`` or ``writes``, for the log.
    :param pool: runs the batches.
    :param run: runs one batch, in a thread of the pool.
    :param announce: called with the result of each batch before the Deferreds of its functions fire.
    :param queue: maximum number of waiting functions; further ones fail with Overloaded.
    :param at_once: number of batches that run at the same time.
    :param later: calls in the next turn of the reactor, so that a batch has all that was added in one turn; ``None``
        runs each function immediately.
    """

    def __init__(
        self,
        kind: str,
        pool: IWorkerPool,
        run: Callable[[Sequence[Work]], Batch],
        *,
        queue: int,
        announce: Callable[[Batch], None] | None = None,
        at_once: int = 1,
        later: Callable[[Callable[[], object]], object] | None = None,
    ) -> None:
        self._kind = kind
        self._pool = pool
        self._run = run
        self._announce = announce
        self._limit = queue
        self._at_once = at_once
        self._later = later or _now
        self._waiting: deque[tuple[Work, Deferred[Any]]] = deque()
        self._running = 0
        self._idle: list[Deferred[None]] = []

    def add(self, work: Callable[[Transaction], T]) -> Deferred[T]:
        """Run *work*, and return its result after the commit.  Cancelling the Deferred does not cancel the work."""
        # Without a canceller: a result that comes after it was cancelled is ignored.
        result: Deferred[T] = Deferred()
        if len(self._waiting) >= self._limit:
            result.errback(Overloaded("this server has too much to do; try again soon", pool=self._kind))
            return result
        self._waiting.append((work, result))
        if self._running < self._at_once:
            self._running += 1
            self._later(self._next)
        return result

    def idle(self) -> Deferred[None]:
        """Return a Deferred that fires when nothing runs or waits."""
        result: Deferred[None] = Deferred()
        if self._running:
            self._idle.append(result)
        else:
            result.callback(None)
        return result

    def _next(self) -> None:
        """Run a batch, which is counted already."""
        batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        if not batch:
            self._go_on()
            return
        done = self._pool.run(self._run, [work for work, _ in batch])
        done.addCallbacks(partial(self._finished, batch), partial(self._lost, batch))

    def _finished(self, batch: list[tuple[Work, Deferred[Any]]], ended: Batch) -> None:
        if self._announce is not None:
            self._announce(ended)
        # Callbacks may add more, such as the certificate of an intent, and a commit costs ten times as much as one
        # write.  Therefore the next batch starts when half as many wait, and the disk works while others are signed.
        enough = max(_FEW, len(batch) // 2)
        is_over = False
        for (_, result), (success, value) in zip(batch, ended.outcomes, strict=True):
            if success:
                result.callback(value)
            else:
                result.errback(value)
            if not is_over and len(self._waiting) >= enough:
                is_over = True
                self._next()
        if not is_over:
            self._go_on()

    def _lost(self, batch: list[tuple[Work, Deferred[Any]]], failure: Failure) -> None:
        """Fail everything in a batch that raised: a defect, or a stopped pool."""
        self._go_on()
        for _, result in batch:
            result.errback(failure)

    def _go_on(self) -> None:
        if self._waiting:
            self._later(self._next)
            return
        self._running -= 1
        if not self._running:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)
