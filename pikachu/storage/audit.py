"""The audit log: a chain of events (AUD-3).

Each event's hash is SHA-256 over the hash of the one before and a JSON array (no spaces, ASCII) of all else that the
row holds, in the order of its columns.  ``audit_head`` keeps the number of events and the last hash, so that a missing
end is noticed like a gap or a changed row.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, false, func, or_, select, union_all, update

from pikachu.core.audit_interfaces import CHAIN_START, ChainPosition
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.events import Event, EventRecord
from pikachu.core.model.lists import ListQuery, Page
from pikachu.storage.database import Row, Transaction
from pikachu.storage.lists import (
    COUNTED,
    ListSource,
    any_contains,
    begins_with,
    checked,
    decode_cursor,
    one_of,
    page,
    table_columns,
)
from pikachu.storage.part import (
    StoreSection,
    insert_into,
    moment,
    read_transaction,
    row_id,
    storable,
    to_json,
    write_transaction,
)
from pikachu.storage.schema import audit_events, audit_head

_CHUNK: Final = 2000
# Free text is looked for anywhere in this many of the newest events, and at the beginning of all resource names.
_RECENT: Final = 2000

_FIELDS: Final = (
    "id",
    "at",
    "type",
    "resource_type",
    "resource_name",
    "actor",
    "details",
    "owner_id",
    "actor_id",
    "about_account",
)
_head: Final = select(audit_head.c.count, audit_head.c.hash).where(audit_head.c.id == 1)
_set_head: Final = update(audit_head).where(audit_head.c.id == 1).values(count=bindparam("n"), hash=bindparam("h"))
_insert: Final = insert_into(audit_events, *_FIELDS, "previous", "hash", returning_id=False)
_after: Final = (
    select(*audit_events.columns)
    .where(audit_events.c.id > bindparam("after"))
    .order_by(audit_events.c.id)
    .limit(_CHUNK)
)
_by_id: Final = select(*audit_events.columns).where(audit_events.c.id == bindparam("b_id"))
_kind: Final = select(audit_events.c.resource_type, audit_events.c.type)
_next_resource: Final = (
    _kind.where(audit_events.c.resource_type > bindparam("b_resource"))
    .order_by(audit_events.c.resource_type, audit_events.c.type)
    .limit(1)
)
_next_type: Final = (
    _kind.where(audit_events.c.resource_type == bindparam("b_resource"), audit_events.c.type > bindparam("b_type"))
    .order_by(audit_events.c.type)
    .limit(1)
)
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def _digest(previous: bytes, fields: Sequence[object]) -> bytes:
    # The fields in their fixed order: an array leaves nothing to sort.
    return hashlib.sha256(previous + _encode(fields).encode()).digest()


def write_event(tx: Transaction, event: Event, now: datetime) -> None:
    """Chain *event*; it is stored with the transaction that it tells of."""
    if tx.head is None:
        row = tx.row(_head)
        if row is None:
            raise Conflict("the audit log has lost its head; run pikachu audit verify")
        tx.head = (row[0], bytes(row[1]))
    count, previous = tx.head
    fields = (
        count + 1,
        int(now.timestamp()),
        event.type,
        event.resource_type,
        storable(event.resource_name),
        storable(event.actor),
        to_json(event.details),
        event.owner_id,
        event.actor_id,
        int(event.about_account),
    )
    digest = _digest(previous, fields)
    tx.head = (count + 1, digest)
    tx.events.append({**dict(zip(_FIELDS, fields, strict=True)), "previous": previous, "hash": digest})
    tx.dirty = True


def store_events(tx: Transaction) -> None:
    """Write what :func:`write_event` chained, at the end of a transaction."""
    if tx.events and tx.head is not None:
        tx.write_many(_insert, tx.events)
        tx.write(_set_head, {"n": tx.head[0], "h": tx.head[1]})


def _record(row: Row) -> EventRecord:
    identity, at, kind, resource_type, resource_name, actor, details, owner_id, actor_id, about, previous, digest = row
    event = Event(
        kind, resource_type, resource_name, actor, json.loads(details), owner_id, actor_id, about_account=bool(about)
    )
    return EventRecord(identity, moment(at), event, bytes(previous), bytes(digest))


def _by_kind(query: ListQuery) -> bool:
    """Whether a list asks for kinds of events and for nothing else."""
    asked = query.filters.keys()
    return bool(asked) and asked <= {"resource_type", "type"} and query.owner_id is None and not (query.q or "").strip()


def _kinds(tx: Transaction) -> list[tuple[str, str]]:
    """The (resource type, type) that there are: some dozens, found by as many jumps along their index."""
    found = []
    row = tx.row(_next_resource, {"b_resource": ""})
    while row is not None:
        found.append((row[0], row[1]))
        last = {"b_resource": row[0], "b_type": row[1]}
        row = tx.row(_next_type, last) or tx.row(_next_resource, {"b_resource": row[0]})
    return found


def _few(tx: Transaction, resource_types: str | None, type_: str | None) -> list[int] | None:
    """The ids of the kinds that are asked for, whoever's they are, where these are few."""
    if resource_types is None and type_ is None:
        return None
    limit = tx.settings.few_events
    found: list[int] = []
    for kind in _kinds(tx):
        if _asked(kind, resource_types, type_):
            found += [row[0] for row in tx.query(_of(kind).limit(limit + 1 - len(found)))]
            if len(found) > limit:
                return None
    return found


def _asked(kind: tuple[str, str], resource_types: str | None, type_: str | None) -> bool:
    resource, name = kind
    if type_ is not None and name != type_:
        return False
    if resource_types is not None and resource_types.startswith("!"):
        return resource not in resource_types[1:].split(",")
    return resource_types is None or resource == resource_types


def _of(kind: tuple[str, str]) -> Select[Any]:
    return select(audit_events.c.id).where(audit_events.c.resource_type == kind[0], audit_events.c.type == kind[1])


def _next_of(kind: tuple[str, str], query: ListQuery) -> Select[Any]:
    """The ids of that kind that can be on the page."""
    ids, identity = _of(kind), audit_events.c.id
    descending = query.sort.startswith("-")
    if query.cursor is not None:
        _, position, back = decode_cursor(query.cursor, query.sort, int)
        descending ^= back
        ids = ids.where(identity < position if descending else identity > position)
    return ids.order_by(identity.desc() if descending else identity.asc()).limit(query.limit + 1)


def _verify_next(tx: Transaction, position: ChainPosition) -> tuple[ChainPosition, bool]:
    """Verify the next events; where no more follow in this transaction's snapshot, the chain's end in it, too.

    :return: how far the chain is verified, and whether that is its end.
    :raises Conflict: naming the first event that was changed or removed.
    """
    expected, previous = position.count + 1, position.hash
    rows = tx.rows(_after, {"after": position.count})
    for row in rows:
        fields, stored_previous, digest = tuple(row[:10]), bytes(row[10]), bytes(row[11])
        if fields[0] != expected:
            raise Conflict(f"the audit log was changed: event {expected} is missing")
        if stored_previous != previous or digest != _digest(previous, fields):
            raise Conflict(f"the audit log was changed: event {expected} is not what was recorded")
        expected, previous = expected + 1, digest
    verified = ChainPosition(expected - 1, previous)
    if len(rows) == _CHUNK:
        return verified, False
    head = tx.row(_head)
    if head is None or head[0] != verified.count or bytes(head[1]) != previous:
        raise Conflict(f"the audit log was changed: event {expected} is missing, and any after it")
    return verified, True


class AuditStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IAuditStore`."""

    @write_transaction
    def add_event(self, tx: Transaction, event: Event, now: datetime) -> None:
        """Record *event* by itself."""
        write_event(tx, event, now)

    @read_transaction
    def events(self, tx: Transaction, query: ListQuery) -> Page[EventRecord]:
        """Sorted by ``id`` or ``at``; filters ``type``, ``resource_type``, ``resource_name``, ``actor``,
        ``about_account`` (``true`` or ``false``).  A ``resource_type`` of ``!a,b`` means any but a and b.
        """
        checked(query, ("resource_type", "type", "resource_name", "actor", "about_account"))
        table = audit_events.c
        conditions: list[ColumnElement[bool]] = []
        if query.owner_id is not None:
            conditions.append(table.owner_id == query.owner_id)
        exact = [name for name in ("type", "resource_name", "actor") if name in query.filters]
        conditions.extend(table[name] == query.filters[name] for name in exact)
        kinds = query.filters.get("resource_type")
        if kinds is not None and kinds.startswith("!"):
            conditions.append(table.resource_type.not_in(kinds[1:].split(",")))
        elif kinds is not None:
            conditions.append(table.resource_type == kinds)
        about = one_of(query, "about_account", ("true", "false"))
        if about is not None:
            conditions.append(table.about_account == int(about == "true"))
        text = (query.q or "").strip()
        if text:
            newest = select(func.max(table.id) - _RECENT).scalar_subquery()
            anywhere = any_contains(query, table.resource_name, table.actor, table.details, table.type)
            near = select(table.id).where(table.id > newest, *anywhere)
            by_name = begins_with(table.resource_name, text)
            named = [row[0] for row in tx.query(select(table.id).where(by_name).limit(_RECENT + 1))]
            # Where few have such a name their ids are known; where many have, a page of them is near.
            conditions.append(or_(table.id.in_(near), table.id.in_(named) if len(named) <= _RECENT else by_name))
        source = ListSource(table_columns(audit_events), {"id": table.id, "at": table.id}, _record)
        if _by_kind(query):
            # A page is among the next few of each kind that is asked for, and the index of kinds has these in order.
            asked = [kind for kind in _kinds(tx) if _asked(kind, kinds, query.filters.get("type"))]
            following = [row[0] for kind in asked for row in tx.query(_next_of(kind, query))]
            every: list[Select[Any]] = [select(_of(kind).limit(COUNTED + 1).subquery().c.id) for kind in asked]
            all_of_them: ColumnElement[bool] = table.id.in_(union_all(*every)) if every else false()
            return page(tx, query, source, [table.id.in_(following)], counted=[all_of_them])
        hint = ""
        if text:
            # SQLite would fetch and sort all events of a common name, where the newest ones are at hand.
            hint = "NOT INDEXED"
        elif query.owner_id is not None:
            # SQLite would look at each event of an owner, of which there may be a million.
            if "resource_name" in query.filters:
                hint = "INDEXED BY audit_events_name"
            elif (few := _few(tx, kinds, query.filters.get("type"))) is not None:
                conditions.append(table.id.in_(few))
                hint = "NOT INDEXED"
        walk = (lambda found: found.with_hint(audit_events, hint, "sqlite")) if hint else None
        return page(tx, query, source, conditions, narrow=walk, count_narrow=None if text else walk)

    @read_transaction
    def event(self, tx: Transaction, event_id: int) -> EventRecord:
        """The one of that id; NotFound."""
        row = tx.row(_by_id, {"b_id": row_id(event_id)})
        if row is None:
            raise NotFound("there is no such event")
        return _record(row)

    @uncancelled
    async def verify_events(
        self, progress: Callable[[ChainPosition], None] | None = None, after: ChainPosition = CHAIN_START
    ) -> int:
        """Verify the chain in short transactions, to the end that it has in the last of them; Conflict.

        A transaction for the whole chain would take minutes, in which SQLite's log only grows and PostgreSQL keeps
        every row that is replaced.
        """
        position, is_end = after, False
        while not is_end:
            position, is_end = await self._read("verify_events", functools.partial(_verify_next, position=position))
            if progress is not None:
                progress(position)
        return position.count
