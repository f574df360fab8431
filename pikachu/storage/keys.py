"""Stored private keys and their use."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, func, literal_column, or_, select, update

from pikachu.core.errors import NotFound
from pikachu.core.model.account_objects import KeyUse, NewKey, StoredKey
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.pagination import ListSource, checked, matching, one_of, owner_key, owner_name, page, table_columns
from pikachu.storage.request_rows import UNISSUED
from pikachu.storage.schema import certificates, csrs, keys, requests
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

_k: Final = keys.c
_FAMILIES: Final = ("RSA", "EC", "Ed25519", "PQC")

_by_id: Final = select(*keys.columns).where(_k.id == bindparam("b_id"))
_of_public: Final = select(*keys.columns).where(_k.key_id == bindparam("b_key")).order_by(_k.id).limit(100)
_insert: Final = insert_into(keys, "name", "key_type", "key_id", "spki", "sealed", "owner_id", "created_at")
_set_sealed: Final = update(keys).where(_k.id == bindparam("b_id")).values(sealed=bindparam("v_sealed"))
_delete: Final = delete(keys).where(_k.id == bindparam("b_id"))
_csr_count: Final = select(func.count()).where(csrs.c.key_id == bindparam("b_id"))
_certificate_count: Final = select(func.count()).where(
    certificates.c.key_id == bindparam("b_key"), certificates.c.deleted_at.is_(None)
)
_unissued_count: Final = select(func.count()).where(
    requests.c.key_id == bindparam("b_key"),
    UNISSUED,
    requests.c.state.in_([literal_column("'pending'"), literal_column("'issuing'")]),
)


def _record(row: Row) -> StoredKey:
    identity, name, key_type, key_id, spki, sealed, owner_id, created_at = row
    return StoredKey(identity, name, key_type, bytes(key_id), bytes(spki), bytes(sealed), owner_id, moment(created_at))


def _find(tx: Transaction, key_id: int) -> StoredKey:
    row = tx.row(_by_id, {"b_id": row_id(key_id)})
    if row is None:
        raise NotFound("there is no such key")
    return _record(row)


def _use(tx: Transaction, key_id: int) -> KeyUse:
    key = _find(tx, key_id)
    stored = tx.row(_csr_count, {"b_id": key.id}) or (0,)
    issued = tx.row(_certificate_count, {"b_key": key.key_id}) or (0,)
    unissued = tx.row(_unissued_count, {"b_key": key.key_id}) or (0,)
    return KeyUse(stored[0], issued[0], unissued[0])


class KeyStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IKeyStore`."""

    @write_transaction
    def add_key(self, tx: Transaction, key: NewKey, event: Event, now: datetime) -> StoredKey:
        """Store a key; QuotaExceeded."""
        self._require_quota(tx, "keys", key.owner_id)
        values = {
            "name": storable(key.name),
            "key_type": key.key_type,
            "key_id": key.key_id,
            "spki": key.spki,
            "sealed": b"",
            "owner_id": key.owner_id,
            "created_at": int(now.timestamp()),
        }
        identity = tx.insert(_insert, values)
        tx.write(_set_sealed, {"b_id": identity, "v_sealed": key.seal(identity)})
        write_event(tx, event, now)
        return _find(tx, identity)

    @point_read
    def key(self, tx: Transaction, key_id: int) -> StoredKey:
        """Return the key with that id; NotFound."""
        return _find(tx, key_id)

    @read_transaction
    def keys_of_public(self, tx: Transaction, public: bytes) -> list[StoredKey]:
        """Return the keys whose SubjectPublicKeyInfo has that SHA-256, oldest first."""
        return [_record(row) for row in tx.rows(_of_public, {"b_key": public})]

    @read_transaction
    def keys(self, tx: Transaction, query: ListQuery) -> Page[StoredKey]:
        """List keys; filter ``type``: RSA, EC, Ed25519 or PQC."""
        checked(query, ("type",))
        conditions: list[ColumnElement[bool]] = []
        if query.owner_id is not None:
            conditions.append(_k.owner_id == query.owner_id)
        family = one_of(query, "type", _FAMILIES)
        if family is not None:
            conditions.append(or_(_k.key_type == family, _k.key_type.like(f"{family}/%")))
        searched = (_k.id, _k.name, _k.key_type, owner_name(_k.owner_id))
        conditions += matching(tx, query, searched, conditions, times=(_k.created_at,))
        sorts = {
            "id": _k.id,
            "created_at": _k.id,
            "name": _k.name,
            "type": _k.key_type,
            "user": owner_key(_k.owner_id),
        }
        return page(tx, query, ListSource(table_columns(keys), sorts, _record), conditions)

    @read_transaction
    def key_use(self, tx: Transaction, key_id: int) -> KeyUse:
        """Return the numbers of objects that use a key; NotFound."""
        return _use(tx, key_id)

    @write_transaction
    def delete_key(
        self, tx: Transaction, key_id: int, decide: Callable[[StoredKey, KeyUse], Event], now: datetime
    ) -> None:
        """Delete a key, but not the objects that use it; NotFound, and the errors of *decide*."""
        event = decide(_find(tx, key_id), _use(tx, key_id))
        tx.write(_delete, {"b_id": key_id})
        write_event(tx, event, now)
