"""The columns of values sealed under SECRET_KEY."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, select, text, update

from pikachu.core.errors import Conflict, SecretKeyChanged
from pikachu.core.interfaces import Reseal, Resealing, Sealed
from pikachu.core.model.events import Event
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.schema import challenges, keys, service_credentials
from pikachu.storage.transactions import StoreSection, write_transaction

_CHUNK: Final = 500
# The number of other connections to this database, such as servers on other hosts.
_others: Final = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND coalesce(backend_type, 'client backend') = 'client backend'"
)


class _Place:
    """A column of sealed values."""

    def __init__(self, kind: str, table: Table, name: str, sealed: str, lookup: str | None = None) -> None:
        self.kind = kind
        self.newest = select(table.c[name], table.c[sealed]).order_by(table.c.id.desc()).limit(1)
        self.following = (
            select(table.c.id, table.c[name], table.c[sealed])
            .where(table.c.id > bindparam("b_after"))
            .order_by(table.c.id)
            .limit(_CHUNK)
        )
        values: dict[str, Any] = {sealed: bindparam("v_sealed")}
        if lookup is not None:
            values[lookup] = bindparam("v_lookup")
        self.change = update(table).where(table.c.id == bindparam("b_id")).values(values)
        self.remove = delete(table).where(table.c.id == bindparam("b_id"))


_PLACES: Final = (
    _Place("key", keys, "name", "sealed"),
    _Place("challenge password", challenges, "prefix", "sealed", "lookup"),
    _Place("service key", service_credentials, "purpose", "sealed_key"),
)


def _sealed(kind: str, row: Row) -> Sealed:
    return Sealed(kind, row[-2], bytes(row[-1]))


def newest_sealed(tx: Transaction) -> list[Sealed]:
    """Return the newest sealed value of each kind."""
    rows = ((place.kind, tx.row(place.newest)) for place in _PLACES)
    return [_sealed(kind, row) for kind, row in rows if row is not None]


def _reseal_one(tx: Transaction, place: _Place, row: Row, reseal: Reseal, drop: bool, result: Resealing) -> None:
    identity, kind = row[0], place.kind
    try:
        resealed = reseal(_sealed(kind, row))
    except SecretKeyChanged:
        if not drop:
            raise Conflict(
                f"the {kind} {row[1]!r} (id {identity}) does not open with the present SECRET_KEY; put the one back "
                "that it was sealed under, or remove what does not open with --drop-unreadable"
            ) from None
        tx.write(place.remove, {"b_id": identity})
        result.dropped[kind] = result.dropped.get(kind, 0) + 1
        return
    if resealed is not None:
        values: dict[str, object] = {"b_id": identity, "v_sealed": resealed.sealed}
        if resealed.lookup is not None:
            values["v_lookup"] = resealed.lookup
        tx.write(place.change, values)
        result.changed[kind] = result.changed.get(kind, 0) + 1


class SealedStore(StoreSection):
    """See :class:`pikachu.core.interfaces.ISealedStore`."""

    @write_transaction
    def reseal(
        self, tx: Transaction, reseal: Reseal, event: Event | None, now: datetime, *, drop: bool = False
    ) -> Resealing:
        """Reseal all values in one transaction.

        :param event: recorded if any value has changed.
        :param drop: delete values that open under neither key; otherwise they cause Conflict.

        Fails with Conflict while others are connected to a PostgreSQL database.
        """
        if tx.dialect == "postgresql" and (others := tx.query(_others)[0][0]):
            raise Conflict(f"{others} other connections to the database are open; stop every server that works with it")
        result = Resealing()
        for place in _PLACES:
            after = 0
            while rows := tx.rows(place.following, {"b_after": after}):
                for row in rows:
                    _reseal_one(tx, place, row, reseal, drop, result)
                after = rows[-1][0]
        if event is not None and (result.changed or result.dropped):
            write_event(tx, event, now)
        return result
