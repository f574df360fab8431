"""The columns of values sealed under SECRET_KEY."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Column, bindparam, delete, select, text, update

from pikachu.core.errors import Conflict, SecretKeyChanged
from pikachu.core.interfaces import Reseal, Resealing, Sealed
from pikachu.core.model.events import Event
from pikachu.core.sealing import Sealer, audit_key_row, challenge_row, credential_row, draft_row, key_row, totp_row
from pikachu.storage.audit import write_event
from pikachu.storage.database import Database, Row, Transaction
from pikachu.storage.nodes import SERVING_CLASS
from pikachu.storage.schema import audit_keys, challenges, keys, service_credentials
from pikachu.storage.sign_in_schema import drafts, totp_secrets
from pikachu.storage.transactions import StoreSection, write_transaction

_CHUNK: Final = 500
# The number of other connections to this database, such as servers on other hosts.
_others: Final = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND coalesce(backend_type, 'client backend') = 'client backend'"
    # Except for the session of this command that keeps servers from starting.
    " AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'"
    " AND granted AND objsubid = 2 AND classid = :serving)"
).bindparams(serving=SERVING_CLASS)

# PostgreSQL ends the process of a closed connection a moment later, and a transaction sees one state of the view.
_a_moment: Final = text("SELECT pg_sleep(0.1), pg_stat_clear_snapshot()")
_MOMENTS: Final = 10


def _other_connections(tx: Transaction) -> int:
    """Return the number of other connections to this PostgreSQL database, once those just closed have ended."""
    for _ in range(_MOMENTS):
        if not tx.query(_others)[0][0]:
            return 0
        tx.query(_a_moment)
    return int(tx.query(_others)[0][0])


class _Place:
    """A column of sealed values.

    :param binding: returns the binding to a row, of the row's id and the *identity* columns.
    """

    def __init__(
        self,
        kind: str,
        name: Column[Any],
        sealed: Column[Any],
        binding: Callable[..., bytes],
        identity: Sequence[Column[Any]],
        lookup: str | None = None,
    ) -> None:
        table = sealed.table
        self.kind = kind
        self.binding = binding
        columns = (table.c.id, name, sealed, *identity)
        self.newest = select(*columns).order_by(table.c.id.desc()).limit(1)
        self.following = select(*columns).where(table.c.id > bindparam("b_after")).order_by(table.c.id).limit(_CHUNK)
        values: dict[str, Any] = {sealed.name: bindparam("v_sealed")}
        if lookup is not None:
            values[lookup] = bindparam("v_lookup")
        self.change = update(table).where(table.c.id == bindparam("b_id")).values(values)
        self.bind = update(table).where(table.c.id == bindparam("b_id")).values({sealed.name: bindparam("v_sealed")})
        self.remove = delete(table).where(table.c.id == bindparam("b_id"))

    def value(self, row: Row) -> Sealed:
        """Return the value of a row."""
        row_id, name, sealed, *identity = row
        identity = [bytes(one) if isinstance(one, memoryview) else one for one in identity]
        return Sealed(self.kind, name, bytes(sealed), self.binding(row_id, *identity))


_PLACES: Final = (
    _Place("key", keys.c.name, keys.c.sealed, key_row, [keys.c.key_id]),
    _Place(
        "challenge password", challenges.c.prefix, challenges.c.sealed, challenge_row, [challenges.c.prefix], "lookup"
    ),
    _Place(
        "service key",
        service_credentials.c.purpose,
        service_credentials.c.sealed_key,
        credential_row,
        [service_credentials.c.key_identifier, service_credentials.c.certificate],
    ),
    _Place("draft", drafts.c.id, drafts.c.sealed, draft_row, [drafts.c.account_id]),
    _Place("second factor", totp_secrets.c.account_id, totp_secrets.c.sealed, totp_row, [totp_secrets.c.account_id]),
    _Place("audit key", audit_keys.c.name, audit_keys.c.sealed, audit_key_row, []),
)


def newest_sealed(tx: Transaction) -> list[Sealed]:
    """Return the newest sealed value of each kind."""
    rows = ((place, tx.row(place.newest)) for place in _PLACES)
    return [place.value(row) for place, row in rows if row is not None]


def bind_rows(database: Database, sealer: Sealer) -> None:
    """Bind the values that an earlier version has sealed to their rows, in short transactions.

    Values that don't open stay as they are.
    """
    for place in _PLACES:
        after = 0
        while after >= 0:
            after, _ = database.write(partial(_bind_chunk, place=place, after=after, sealer=sealer))


def _bind_chunk(tx: Transaction, *, place: _Place, after: int, sealer: Sealer) -> int:
    """Bind the values after a row; return the last row's id, or -1 at the end."""
    rows = tx.rows(place.following, {"b_after": after})
    for row in rows:
        value = place.value(row)
        bound = bind(sealer, value)
        if bound is not None:
            tx.write(place.bind, {"b_id": row[0], "v_sealed": bound})
    return rows[-1][0] if rows else -1


def bind(sealer: Sealer, value: Sealed) -> bytes | None:
    """Return the value bound to its row, or None when it is, or doesn't open."""
    with suppress(SecretKeyChanged):
        sealer.open(value.purpose, value.sealed, value.row)
        return None
    with suppress(SecretKeyChanged):
        return sealer.seal(value.purpose, sealer.open(value.purpose, value.sealed), value.row)
    return None


def opens(sealer: Sealer, value: Sealed) -> bool:
    """Return whether a value opens, bound to its row or not yet."""
    for row in (value.row, b""):
        with suppress(SecretKeyChanged):
            sealer.open(value.purpose, value.sealed, row)
            return True
    return False


def _reseal_one(tx: Transaction, place: _Place, row: Row, reseal: Reseal, drop: bool, result: Resealing) -> None:
    identity, kind = row[0], place.kind
    try:
        resealed = reseal(place.value(row))
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
        if tx.dialect == "postgresql" and (others := _other_connections(tx)):
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
