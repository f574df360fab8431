"""Base class of the store's parts, decorators for their transactions, and conversions of column values."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

from sqlalchemy import Insert, Table, bindparam, insert

from pikachu.storage.database import Transaction

P = ParamSpec("P")
T = TypeVar("T")

_GREATEST_ID: Final = 2**63 - 1


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
