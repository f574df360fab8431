"""Counts of certificates, requests and accounts.

The status of a million certificates is counted in a fraction of a second along the covering index
``certificates_end``.  Key type, method and day are in the rows only; they never change, so each row is read once, in
batches.  The CA's own certificates are left out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, case, func, literal_column, select, text

from pikachu.core.model.counts import DAYS_AHEAD, Batch, Counts, Issued
from pikachu.storage.database import Transaction
from pikachu.storage.schema import accounts, audit_events, audit_head, certificates, csrs, requests
from pikachu.storage.transactions import StoreSection, read_transaction

_DAY: Final = 86400
_EVER: Final = 2**62

_c: Final = certificates.c
_r: Final = requests.c
_e: Final = audit_events.c

_mine: Final = _c.owner_id == bindparam("b_owner")
_ending: Final = (
    select(func.count(), func.count(_c.revoked_at))
    .where(_c.not_after >= bindparam("b_from"), _c.not_after < bindparam("b_to"), _c.deleted_at.is_(None))
    .with_hint(certificates, "INDEXED BY certificates_end", "sqlite")
)
_my_ending: Final = _ending.where(_mine)
_some: Final = select(_c.id).where(_mine).limit(bindparam("b_limit", type_=Integer)).subquery()
_are_few: Final = select(func.count()).select_from(_some)
# An Integer, so that the quotient is an integer, too.
_day_length: Final[ColumnElement[int]] = literal_column(str(_DAY), Integer)
_REVOKED: Final = -2
_EXPIRED: Final = -1
_status: Final = case(
    (_c.revoked_at.is_not(None), literal_column(str(_REVOKED))),
    (_c.not_after < bindparam("b_now"), literal_column(str(_EXPIRED))),
    (_c.not_after >= bindparam("b_end"), literal_column(str(DAYS_AHEAD))),
    else_=(_c.not_after - bindparam("b_now")) // _day_length,
).label("status")
# The CA's own certificates have no owner, and are few.
_own: Final = _c.infrastructure.is_not(None)
_own_by_status: Final = select(_status, func.count()).where(_own, _c.deleted_at.is_(None)).group_by(text("status"))
_by_status: Final = select(_status, func.count()).where(_mine, _c.deleted_at.is_(None)).group_by(text("status"))

# Written like the condition of the partial index of open requests.
_open: Final = and_(_r.state == literal_column("'pending'"), text("state <> 'issued'"))
_waiting: Final = select(func.count()).select_from(requests).where(_open)
_my_waiting: Final = _waiting.where(_r.owner_id == bindparam("b_owner"))
_to_sign: Final = select(func.count()).select_from(csrs).where(csrs.c.state == literal_column("'pending'"))
_mine_to_sign: Final = _to_sign.where(csrs.c.owner_id == bindparam("b_owner"))
_pending_accounts: Final = (
    select(func.count()).select_from(accounts).where(accounts.c.state == literal_column("'pending'"))
)


def _batch(*conditions: ColumnElement[bool], newest_first: bool) -> Select[Any]:
    """Return the statement that counts the next rows by key type, method and day, in the order of their ids."""
    order = _c.id.desc() if newest_first else _c.id.asc()
    day = (_c.created_at // _day_length).label("day")
    rows = (
        select(_c.id, _c.key_type, _c.method, day)
        .where(*conditions, _c.infrastructure.is_(None))
        .order_by(order)
        .limit(bindparam("b_rows", type_=Integer))
        .subquery()
    )
    kind = (rows.c.key_type, rows.c.method, rows.c.day)
    return select(*kind, func.count(), func.min(rows.c.id), func.max(rows.c.id)).group_by(*kind)


_before: Final = _c.id < bindparam("b_id")
_after: Final = _c.id > bindparam("b_id")
_issued_before: Final = _batch(_before, newest_first=True)
_issued_after: Final = _batch(_after, newest_first=False)
_my_issued_before: Final = _batch(_before, _mine, newest_first=True)
_my_issued_after: Final = _batch(_after, _mine, newest_first=False)

_newest_event: Final = select(audit_head.c.count).where(audit_head.c.id == literal_column("1"))
_event_owners: Final = (
    select(_e.owner_id, func.max(_e.id))
    .where(_e.id > bindparam("b_id"), _e.id <= bindparam("b_to"))
    .group_by(_e.owner_id)
)


_deleted_day: Final = (_c.created_at // _day_length).label("day")
_deleted: Final = (
    select(_c.key_type, _c.method, _deleted_day, func.count())
    .where(text("deleted_at IS NOT NULL"), _c.infrastructure.is_(None))
    .group_by(_c.key_type, _c.method, _deleted_day)
)
_my_deleted: Final = _deleted.where(_mine)


def _is_few(tx: Transaction, owner_id: int) -> bool:
    limit = tx.settings.few_owned
    return _one(tx, _are_few, {"b_owner": owner_id, "b_limit": limit + 1}) <= limit


def _one(tx: Transaction, statement: Select[Any], parameters: dict[str, int]) -> int:
    row = tx.row(statement, parameters)
    return 0 if row is None else int(row[0])


def _issued(tx: Transaction, owner_id: int | None, position: int, rows: int, *, newer: bool) -> Batch:
    if owner_id is None:
        groups = tx.rows(_issued_after if newer else _issued_before, {"b_id": position, "b_rows": rows})
    else:
        parameters = {"b_id": position, "b_rows": rows, "b_owner": owner_id}
        groups = tx.rows(_my_issued_after if newer else _my_issued_before, parameters)
    if not groups:
        return Batch((), 0, 0, full=False)
    return Batch(
        tuple(Issued(row[0], row[1], int(row[2]), row[3]) for row in groups),
        min(row[4] for row in groups),
        max(row[5] for row in groups),
        full=sum(row[3] for row in groups) == rows,
    )


class StatisticsStore(StoreSection):
    """See :class:`pikachu.core.statistics_interfaces.IStatisticsStore`."""

    @read_transaction
    def count(self, tx: Transaction, owner_id: int | None, now: datetime) -> Counts:
        """Count the objects of an owner, or all."""
        at = int(now.timestamp())
        end = at + DAYS_AHEAD * _DAY
        counts: dict[int, int] = {}
        if owner_id is not None and _is_few(tx, owner_id):
            counts = {
                int(row[0]): row[1] for row in tx.rows(_by_status, {"b_owner": owner_id, "b_now": at, "b_end": end})
            }
        else:
            statement, mine = (_ending, {}) if owner_id is None else (_my_ending, {"b_owner": owner_id})
            days = [at + day * _DAY for day in range(DAYS_AHEAD + 1)]
            counts[_REVOKED] = 0
            spans = zip(range(_EXPIRED, DAYS_AHEAD + 1), (-_EVER, *days), (*days, _EVER), strict=True)
            for status, begin, until in spans:
                row = tx.row(statement, {**mine, "b_from": begin, "b_to": until}) or (0, 0)
                counts[status] = row[0] - row[1]
                counts[_REVOKED] += row[1]
            if owner_id is None:
                for status, count in tx.rows(_own_by_status, {"b_now": at, "b_end": end}):
                    counts[int(status)] -= count
        deleted = tx.rows(_deleted, {}) if owner_id is None else tx.rows(_my_deleted, {"b_owner": owner_id})
        ending = tuple(counts.get(day, 0) for day in range(DAYS_AHEAD))
        return Counts(
            now,
            sum(ending) + counts.get(DAYS_AHEAD, 0),
            counts.get(_REVOKED, 0),
            counts.get(_EXPIRED, 0),
            ending,
            _one(tx, _waiting, {}) if owner_id is None else _one(tx, _my_waiting, {"b_owner": owner_id}),
            _one(tx, _to_sign, {}) if owner_id is None else _one(tx, _mine_to_sign, {"b_owner": owner_id}),
            _one(tx, _pending_accounts, {}) if owner_id is None else None,
            tuple(Issued(row[0], row[1], int(row[2]), row[3]) for row in deleted),
        )

    @read_transaction
    def issued_before(self, tx: Transaction, owner_id: int | None, certificate_id: int, rows: int) -> Batch:
        """Count the next *rows* certificates with smaller ids."""
        return _issued(tx, owner_id, certificate_id, rows, newer=False)

    @read_transaction
    def issued_after(self, tx: Transaction, owner_id: int | None, certificate_id: int, rows: int) -> Batch:
        """Count the next *rows* certificates with greater ids."""
        return _issued(tx, owner_id, certificate_id, rows, newer=True)

    @read_transaction
    def newest_event(self, tx: Transaction) -> int:
        """Return the id of the newest event of all processes, or 0 without one."""
        return _one(tx, _newest_event, {})

    @read_transaction
    def event_owners(self, tx: Transaction, after: int, until: int) -> dict[int | None, int]:
        """Return the owners of the objects of the events after *after* up to *until*, with the newest event of each."""
        return {row[0]: row[1] for row in tx.rows(_event_owners, {"b_id": after, "b_to": until})}
