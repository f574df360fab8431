"""Group commit: writes that arrive during a commit are committed together.

A commit waits for the disk once, for any number of certificates.  Everything runs in the reactor's thread, except
:meth:`Database.write_batch` in the pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pikachu.core.errors import Overloaded
from pikachu.core.interfaces import IWorkerPool
from pikachu.storage.database import Batch, Database, Transaction, Work

T = TypeVar("T")

_BATCH: Final = 64


class GroupCommit:
    """The writer of a database.

    :param pool: runs one batch at a time; one thread suffices.
    :param announce: called with the result of each commit before the Deferreds of its writes fire.
    :param queue: maximum number of waiting writes; further writes fail with Overloaded.
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
        """Run *work* and return its result after the commit.  Cancelling the Deferred does not cancel the write."""
        # Without a canceller: a result after it was cancelled is ignored.
        result: Deferred[T] = Deferred()
        if len(self._waiting) >= self._limit:
            result.errback(Overloaded("this server has too much to do; try again soon", pool="writes"))
            return result
        self._waiting.append((work, result))
        if not self._busy:
            self._next()
        return result

    def idle(self) -> Deferred[None]:
        """Return a Deferred that fires when no write is waiting."""
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
        # Callbacks may write again, such as the certificate of an intent; start the next batch after them, since a
        # commit costs ten times as much as one write.
        for (_, result), (success, value) in zip(batch, written.outcomes, strict=True):
            if success:
                result.callback(value)
            else:
                result.errback(value)
        self._go_on()

    def _lost(self, batch: list[tuple[Work, Deferred[Any]]], failure: Failure) -> None:
        """Fail all writes of a batch that raised: a defect, or a stopped pool."""
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
