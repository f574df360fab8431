"""What the parts of the store share: how they read and write, and how values stand in the tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

from twisted.internet.defer import Deferred

from sqlalchemy import Insert, Table, bindparam, insert

from pikachu.storage.database import Transaction

P = ParamSpec("P")
T = TypeVar("T")

#: Requires that an account may own one more object of a kind; raises QuotaExceeded.
RequireQuota: TypeAlias = Callable[[Transaction, str, int | None], None]

_GREATEST_ID: Final = 2**63 - 1


class StoreSection:
    """A part of the store; :class:`pikachu.storage.store.Store` says how it reads and writes."""

    def _read(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        raise NotImplementedError

    def _write(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        raise NotImplementedError

    def _require_quota(self, tx: Transaction, kind: str, owner_id: int | None) -> None:
        """Require that an account may own one more object; see :func:`pikachu.storage.quotas.require_quota`."""
        raise NotImplementedError

    def _add_within_quota(
        self,
        kind: str,
        owner_id: int | None,
        work: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Deferred[T]:
        """Do *work*, which adds an object of *owner_id*, where its quota allows one more; QuotaExceeded."""

        def add(tx: Transaction) -> T:
            self._require_quota(tx, kind, owner_id)
            return work(tx, *args, **kwargs)

        return self._write(add)


def insert_into(table: Table, *names: str, returning_id: bool = True) -> Insert:
    """A constant INSERT of those columns, whose parameters have their names."""
    statement = insert(table).values({name: bindparam(name) for name in names})
    return statement.returning(table.c.id) if returning_id else statement


def seconds(moment: datetime | None) -> int | None:
    """Whole seconds since 1970."""
    return None if moment is None else int(moment.timestamp())


def moment(value: int) -> datetime:
    """The time that a column holds."""
    return datetime.fromtimestamp(value, UTC)


def maybe_moment(value: int | None) -> datetime | None:
    """The time that a column holds, where it holds one."""
    return None if value is None else datetime.fromtimestamp(value, UTC)


def row_id(value: int) -> int:
    """*value*, or 0, which no row has, where no id can be so great."""
    return value if 0 < value <= _GREATEST_ID else 0


def storable(text: str) -> str:
    """*text* without what a database can't hold: NUL and lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def to_json(value: Mapping[str, Any]) -> str:
    """One text for one value: sorted keys, no spaces, ASCII."""
    return json.dumps(dict(value), sort_keys=True, separators=(",", ":"))
