"""Base class of the store's parts, decorators for their transactions, and conversions of column values.

Transaction functions that arrive while others run are run together after them (:class:`Batches`).  A commit waits for
the disk once, for any number of certificates; and point reads share a hop to a thread, a connection and a snapshot,
which cost more than a row.  Everything runs in the reactor's thread, except the batches in the pool.
"""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sqlalchemy import Insert, Table, bindparam, insert

from pikachu.core.errors import Overloaded
from pikachu.core.interfaces import IWorkerPool
from pikachu.storage.database import Batch, Transaction, Work

P = ParamSpec("P")
T = TypeVar("T")

_GREATEST_ID: Final = 2**63 - 1
_BATCH: Final = 64
# A batch of fewer waits for all callbacks of the one before.
_FEW: Final = 16
# A batch of fewer waits for a busy reactor.  More would keep the disk idle.
_VERY_FEW: Final = 4
# Seconds for which a batch waits for a busy reactor at most, and which a turn takes that does nothing.
_GATHER_SECONDS: Final = 0.005
_BUSY_SECONDS: Final = 0.0003
# Seconds of a turn in which results are used: each may be a signature, and handshakes and requests wait meanwhile.
_HAND_OUT_SECONDS: Final = 0.002


class StoreSection:
    """Base class of the parts of :class:`pikachu.storage.store.Store`, which runs their transactions."""

    def _read(self, name: str, work: Callable[[Transaction], T]) -> Deferred[T]:
        """Run *work* in a read transaction; *name* is for the log."""
        raise NotImplementedError

    def _read_point(self, name: str, work: Callable[[Transaction], T]) -> Deferred[T]:
        """Run *work*, which reads a few rows, in a read transaction with others; *name* is for the log."""
        raise NotImplementedError

    def _write(self, name: str, work: Callable[[Transaction], T]) -> Deferred[T]:
        """Run *work* in a write transaction, possibly repeatedly; *name* is for the log."""
        raise NotImplementedError

    def _require_quota(self, tx: Transaction, kind: str, owner_id: int | None, more: int = 1) -> None:
        """Require that an account may own *more* objects; see :func:`pikachu.storage.quotas.require_quota`."""
        raise NotImplementedError


S = TypeVar("S", bound=StoreSection)


def read_transaction(
    work: Callable[Concatenate[S, Transaction, P], T],
) -> Callable[Concatenate[S, P], Deferred[T]]:
    """Make a store method of a function that reads in a transaction.

    Callers leave out the transaction and get a Deferred.  The method's name is the transaction's in the log.
    """

    @functools.wraps(work)
    def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return self._read(work.__name__, lambda tx: work(self, tx, *args, **kwargs))

    return method


def point_read(
    work: Callable[Concatenate[S, Transaction, P], T],
) -> Callable[Concatenate[S, P], Deferred[T]]:
    """Make a store method of a function that reads a few indexed rows, as :func:`read_transaction` does.

    Reads that arrive together share a transaction, so each waits for the others: whatever may take longer than a
    millisecond is a :func:`read_transaction`.
    """

    @functools.wraps(work)
    def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return self._read_point(work.__name__, lambda tx: work(self, tx, *args, **kwargs))

    return method


def write_transaction(
    work: Callable[Concatenate[S, Transaction, P], T],
) -> Callable[Concatenate[S, P], Deferred[T]]:
    """Make a store method of a function that writes in a transaction, as :func:`read_transaction` does.

    The function may run more than once, so it must have no effects except in the database.
    """

    @functools.wraps(work)
    def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return self._write(work.__name__, lambda tx: work(self, tx, *args, **kwargs))

    return method


def insert_into(table: Table, *names: str, returning_id: bool = True) -> Insert:
    """Return a constant INSERT whose parameters are named like its columns."""
    statement = insert(table).values({name: bindparam(name) for name in names})
    return statement.returning(table.c.id) if returning_id else statement


def seconds(moment: datetime | None) -> int | None:
    """Convert a time to whole seconds since 1970."""
    return None if moment is None else int(moment.timestamp())


def moment(value: int) -> datetime:
    """Convert a column's whole seconds since 1970 to a time."""
    return datetime.fromtimestamp(value, UTC)


def maybe_moment(value: int | None) -> datetime | None:
    """Convert a nullable column's whole seconds since 1970 to a time."""
    return None if value is None else datetime.fromtimestamp(value, UTC)


def row_id(value: int) -> int:
    """Return *value*, or 0, the id of no row, if it exceeds the range of ids."""
    return value if 0 < value <= _GREATEST_ID else 0


def storable(text: str) -> str:
    """Replace the characters that a database can't store: NUL and lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def to_json(value: Mapping[str, Any]) -> str:
    """Encode an object as canonical JSON: sorted keys, no spaces, ASCII."""
    return json.dumps(dict(value), sort_keys=True, separators=(",", ":"))


@dataclass(slots=True, eq=False)
class _Results:
    """Results of a batch.

    :ivar left: how many results are not handed out.
    :ivar enough: the number of waiting functions with which the next batch begins.
    :ivar is_over: whether it has begun.
    """

    outcomes: Iterator[tuple[tuple[Work, Deferred[Any]], tuple[bool, Any]]]
    left: int
    enough: int
    is_over: bool = False


class Batches:
    """Runs transaction functions in batches.

    :param kind: ``reads`` or ``writes``, for the log.
    :param pool: runs the batches.
    :param run: runs one batch, in a thread of the pool.
    :param announce: called with the result of each batch before the Deferreds of its functions fire.
    :param queue: maximum number of functions that wait, or whose results do; further ones fail with Overloaded.
    :param at_once: number of batches that run at the same time.
    :param later: calls in the next turn of the reactor, so that a batch has all that was added in the turns of a busy
        reactor; ``None`` runs each function immediately.
    :param clock: returns seconds.
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
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._kind = kind
        self._pool = pool
        self._run = run
        self._announce = announce
        self._limit = queue
        self._at_once = at_once
        self._later = later
        self._clock = clock
        self._waiting: deque[tuple[Work, Deferred[Any]]] = deque()
        self._running = 0
        # The batches with results that are not handed out yet, the oldest first.
        self._results: deque[_Results] = deque()
        self._is_handing_out = False
        self._idle: list[Deferred[None]] = []

    def add(self, work: Callable[[Transaction], T]) -> Deferred[T]:
        """Run *work*, and return its result after the commit.  Cancelling the Deferred does not cancel the work."""
        # Without a canceller: a result that comes after it was cancelled is ignored.
        result: Deferred[T] = Deferred()
        if len(self._waiting) + sum(results.left for results in self._results) >= self._limit:
            result.errback(Overloaded("this server has too much to do; try again soon", pool=self._kind))
            return result
        self._waiting.append((work, result))
        if self._running < self._at_once:
            self._running += 1
            self._gather()
        return result

    def idle(self) -> Deferred[None]:
        """Return a Deferred that fires when nothing runs or waits, and all results are handed out."""
        result: Deferred[None] = Deferred()
        if self._running or self._results:
            self._idle.append(result)
        else:
            result.callback(None)
        return result

    def _gather(self) -> None:
        """Run a batch, which is counted already, as soon as the reactor has nothing else to do."""
        if self._later is None:
            self._next()
            return
        began = self._clock()
        self._later(partial(self._turned, began, began, len(self._waiting)))

    def _turned(self, began: float, turn_began: float, before: int) -> None:
        """Run the batch after a turn of the reactor, or gather for another one.

        What a busy turn has begun, such as handshakes and requests, adds more soon, and would wait for this batch.

        :param before: the number of waiting functions when the turn began.
        """
        now, waiting = self._clock(), len(self._waiting)
        is_busy = waiting > before or now - turn_began > _BUSY_SECONDS
        if self._later is None or not is_busy or waiting >= _VERY_FEW or now - began > _GATHER_SECONDS:
            self._next()
            return
        self._later(partial(self._turned, began, now, waiting))

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
        results = _Results(zip(batch, ended.outcomes, strict=True), len(batch), enough)
        self._results.append(results)
        if self._later is None:
            # Whoever added something from a callback has its result when that returns.
            self._hand_out(results)
            self._results.remove(results)
            self._end(results)
        elif not self._is_handing_out:
            self._is_handing_out = True
            self._hand_out_for_a_moment()

    def _hand_out_for_a_moment(self) -> None:
        """Fire Deferreds, of the oldest batch first, and the others in later turns of the reactor."""
        until = self._clock() + _HAND_OUT_SECONDS
        while self._results:
            oldest = self._results[0]
            if self._hand_out(oldest, until):
                self._results.popleft()
                self._end(oldest)
            if self._results and self._clock() > until:
                assert self._later is not None  # noqa: S101 - else there is one turn only
                self._later(self._hand_out_for_a_moment)
                return
        self._is_handing_out = False

    def _hand_out(self, results: _Results, until: float = float("inf")) -> bool:
        """Fire Deferreds of a batch until that time; return whether all have fired."""
        for (_, result), (success, value) in results.outcomes:
            results.left -= 1
            if success:
                result.callback(value)
            else:
                result.errback(value)
            newest = self._results[-1]
            if not newest.is_over and len(self._waiting) >= newest.enough:
                newest.is_over = True
                self._next()
            if self._clock() > until:
                return not results.left
        return True

    def _end(self, results: _Results) -> None:
        if results.is_over:
            self._tell_idle()
        else:
            self._go_on()

    def _lost(self, batch: list[tuple[Work, Deferred[Any]]], failure: Failure) -> None:
        """Fail everything in a batch that raised: a defect, or a stopped pool."""
        self._go_on()
        for _, result in batch:
            result.errback(failure)

    def _go_on(self) -> None:
        if self._waiting:
            self._gather()
            return
        self._running -= 1
        self._tell_idle()

    def _tell_idle(self) -> None:
        if not self._running and not self._results:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)
