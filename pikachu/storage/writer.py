"""Group commit: writes that arrive while a commit is under way are committed together.

One commit waits for the disk once, however many certificates are in it.  All here runs in the reactor's thread but
:meth:`Database.write_batch`, which the pool runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pikachu.core.concurrency import shield
from pikachu.core.errors import Overloaded
from pikachu.core.interfaces import IWorkerPool
from pikachu.storage.database import Batch, Database, Transaction, Work

T = TypeVar("T")

_BATCH: Final = 64


class GroupCommit:
    """The one writer of a database.

    :param pool: runs one batch at a time; one thread is enough.
    :param announce: called with what a commit has changed, before those who wrote are told that it is done.
    :param queue: how many writes may wait; one more fails with Overloaded.
    """

    def __init__(self, database: Database, pool: IWorkerPool, announce: Callable[[Batch], None], queue: int) -> None:
        self._database = database
        self._pool = pool
        self._announce = announce
        self._limit = queue
        self._waiting: deque[tuple[Work, Deferred[Any]]] = deque()
        self._busy = False
        self._idle: list[Deferred[None]] = []

    def write(self, work: Callable[[Transaction], T]) -> Deferred[T]:
        """The result of *work*, after its commit.  Cancelling gives up the wait, not the work."""
        result: Deferred[T] = Deferred()
        if len(self._waiting) >= self._limit:
            result.errback(Overloaded("this server has too much to do; try again soon", pool="writes"))
            return result
        self._waiting.append((work, result))
        if not self._busy:
            self._next()
        return shield(result)

    def idle(self) -> Deferred[None]:
        """Fires when nothing waits any more."""
        result: Deferred[None] = Deferred()
        if self._busy:
            self._idle.append(result)
        else:
            result.callback(None)
        return result

    def _next(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        self._busy = True
        done = self._pool.run(self._database.write_batch, [work for work, _ in batch])
        done.addCallbacks(partial(self._committed, batch), partial(self._lost, batch))

    def _committed(self, batch: list[tuple[Work, Deferred[Any]]], written: Batch) -> None:
        self._announce(written)
        # What these write next, such as the certificates of intents, is then in the next batch, with what came
        # meanwhile: a commit costs ten times as much as a work in it.
        for (_, result), (success, value) in zip(batch, written.outcomes, strict=True):
            if success:
                result.callback(value)
            else:
                result.errback(value)
        self._go_on()

    def _lost(self, batch: list[tuple[Work, Deferred[Any]]], failure: Failure) -> None:
        """The batch itself failed: a defect, or a pool that has stopped."""
        self._go_on()
        for _, result in batch:
            result.errback(failure)

    def _go_on(self) -> None:
        self._busy = False
        if self._waiting:
            self._next()
        else:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)
