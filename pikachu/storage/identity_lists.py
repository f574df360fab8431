"""Lists of identities (DEV-3).

Entries are uploaded in parts, under a version of their own, which the list then takes in one transaction; the entries
of its former version are deleted in parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, literal_column, select, update

from pikachu.core.errors import Conflict, EditConflict, NotFound
from pikachu.core.model.events import Event
from pikachu.core.model.identity_lists import IdentityList
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.device_schema import identities, identity_lists
from pikachu.storage.pagination import ListSource, checked, matching, page
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    moment,
    point_read,
    read_transaction,
    row_id,
    storable,
    write_transaction,
)

_l: Final = identity_lists.c
_i: Final = identities.c
_COLUMNS: Final = list(identity_lists.columns)
_DELETED: Final = 1000
_by_id: Final = select(*_COLUMNS).where(_l.id == bindparam("b_id"))
_by_name: Final = select(*_COLUMNS).where(_l.name == bindparam("b_name"))
_insert: Final = insert_into(identity_lists, "name", "entries", "updated_at", "updated_by", "version")
_insert_identity: Final = insert_into(identities, "version", "identity_key", returning_id=False)
_replace: Final = (
    update(identity_lists)
    .where(_l.id == bindparam("b_id"), _l.version == bindparam("b_former"))
    .values({name: bindparam(f"v_{name}") for name in ("entries", "updated_at", "updated_by", "version")})
)
_delete: Final = delete(identity_lists).where(_l.id == bindparam("b_id"), _l.version == bindparam("b_former"))
_some: Final = select(_i.identity_key).where(_i.version == bindparam("b_version")).limit(literal_column(str(_DELETED)))
_delete_identity: Final = delete(identities).where(
    _i.version == bindparam("b_version"), _i.identity_key == bindparam("b_key")
)
_has: Final = select(_i.identity_key).where(
    _i.version == select(_l.version).where(_l.name == bindparam("b_name")).scalar_subquery(),
    _i.identity_key == bindparam("b_key"),
)


def _record(row: Row) -> IdentityList:
    identity, name, entries, updated_at, updated_by, version = row
    return IdentityList(identity, name, entries, moment(updated_at), updated_by, version)


class IdentityListStore(StoreSection):
    """See :class:`pikachu.core.device_interfaces.IIdentityListStore`."""

    @point_read
    def is_listed(self, tx: Transaction, name: str, key: str) -> bool:
        """Return whether the list of that name has an identity."""
        return tx.row(_has, {"b_name": name, "b_key": key}) is not None

    @point_read
    def identity_list(self, tx: Transaction, list_id: int) -> IdentityList:
        """Return the list with that id; NotFound."""
        row = tx.row(_by_id, {"b_id": row_id(list_id)})
        if row is None:
            raise NotFound("There is no such list of identities.")
        return _record(row)

    @point_read
    def identity_list_by_name(self, tx: Transaction, name: str) -> IdentityList | None:
        """Return the list with that name, or None."""
        row = tx.row(_by_name, {"b_name": storable(name)})
        return None if row is None else _record(row)

    @read_transaction
    def identity_lists(self, tx: Transaction, query: ListQuery) -> Page[IdentityList]:
        """List the lists."""
        conditions = matching(tx, checked(query, ()), (_l.id, _l.name))
        sorts = {
            "id": _l.id,
            "name": _l.name,
            "entries": _l.entries,
            "updated_at": _l.updated_at,
            "updated_by": _l.updated_by,
        }
        return page(tx, query, ListSource(_COLUMNS, sorts, _record), conditions)

    @write_transaction
    def add_identities(self, tx: Transaction, version: int, keys: Sequence[str]) -> None:
        """Add entries of a version that no list has yet."""
        tx.write_many(_insert_identity, [{"version": version, "identity_key": key} for key in keys])

    @write_transaction
    def put_identity_list(
        self, tx: Transaction, former: IdentityList | None, new: IdentityList, event: Event, now: datetime
    ) -> int:
        """Create a list (without *former*), or give it the entries of another version; return its id.  Conflict."""
        values = {
            "entries": new.entries,
            "updated_at": int(now.timestamp()),
            "updated_by": storable(new.updated_by),
            "version": new.version,
        }
        if former is None:
            if tx.row(_by_name, {"b_name": new.name}) is not None:
                raise Conflict(
                    "There is a list of this name. Choose another name, or upload new entries to that list.",
                    field="name",
                )
            identity = tx.insert(_insert, {"name": new.name, **values})
        else:
            identity = former.id
            changed = {f"v_{name}": value for name, value in values.items()}
            if not tx.write(_replace, {"b_id": identity, "b_former": former.version, **changed}):
                raise Conflict("Somebody changed this list at the same time. Load it again, and repeat the upload.")
        write_event(tx, event, now)
        return identity

    @write_transaction
    def delete_identity_list(self, tx: Transaction, former: IdentityList, event: Event, now: datetime) -> None:
        """Delete a list; its entries are deleted by :meth:`delete_identities`.  NotFound, EditConflict."""
        if not tx.write(_delete, {"b_id": row_id(former.id), "b_former": former.version}):
            row = tx.row(_by_id, {"b_id": row_id(former.id)})
            if row is None:
                raise NotFound("There is no such list of identities.")
            current = _record(row)
            raise EditConflict.of("list", current.updated_by, current.updated_at)
        write_event(tx, event, now)

    @write_transaction
    def delete_identities(self, tx: Transaction, version: int) -> bool:
        """Delete some entries of a version that no list has; return whether others are left."""
        keys = [row[0] for row in tx.rows(_some, {"b_version": version})]
        if keys:
            tx.write_many(_delete_identity, [{"b_version": version, "b_key": key} for key in keys])
        return len(keys) == _DELETED
