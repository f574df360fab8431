"""The audit log: a chain of events (AUD-3).

The hash of an event is HMAC-SHA-256, under the key of :mod:`pikachu.storage.audit_key`, over the previous hash and a
JSON array (no spaces, ASCII) of the row's other columns, in their order; events of earlier versions have plain SHA-256.
``audit_head`` has the number of events and the last hash, so that a truncated end is detected like a gap or a changed
row, unless the head was changed as well.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, false, func, or_, select, union_all, update

from pikachu.core.audit_interfaces import CHAIN_START, ChainPosition
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, NotFound, SecretKeyChanged
from pikachu.core.model.events import ACCOUNT_EVENT_TYPES, OBJECT_EVENT_TYPES, RESOURCE_TYPES, Event, EventRecord
from pikachu.core.model.list_queries import ListQuery, Page, Visible
from pikachu.core.model.time_ranges import parse_end, parse_start
from pikachu.storage.database import AuditKey, Row, Transaction
from pikachu.storage.pagination import (
    COUNTED,
    ListSource,
    begins_with,
    checked,
    decode_cursor,
    matching,
    next_of_values,
    one_of,
    page,
    table_columns,
)
from pikachu.storage.pruning import read_pruning
from pikachu.storage.schema import audit_events, audit_head
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    moment,
    point_read,
    read_transaction,
    row_id,
    storable,
    to_json,
    write_transaction,
)
from pikachu.x509.search_text import object_text

_CHUNK: Final = 2000
#: Seconds by which a clock may have been set back, after which times do not grow with ids.
CLOCK_STEP: Final = 3600
# Free text matches anywhere in this many of the newest events, and at the beginning of all resource names.
_RECENT: Final = 5000

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
# Sort fields whose order the index of kinds has for each kind, with their positions in a kind.
_SORTS_BY_KIND: Final = {"resource_type": 0, "type": 1}
_SORTS: Final = {
    "id": audit_events.c.id,
    "at": audit_events.c.id,
    **{name: audit_events.c[name] for name in _SORTS_BY_KIND},
}
_head: Final = select(audit_head.c.count, audit_head.c.hash).where(audit_head.c.id == 1)
_set_head: Final = update(audit_head).where(audit_head.c.id == 1).values(count=bindparam("n"), hash=bindparam("h"))
_insert: Final = insert_into(audit_events, *_FIELDS, "previous", "hash", returning_id=False)
_after: Final = (
    select(*audit_events.columns)
    .where(audit_events.c.id > bindparam("after"))
    .order_by(audit_events.c.id)
    .limit(_CHUNK)
)
_at: Final = (
    select(audit_events.c.at).where(audit_events.c.id >= bindparam("b_id")).order_by(audit_events.c.id).limit(1)
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


def event_hash(key: bytes | None, previous: bytes, fields: Sequence[object]) -> bytes:
    """Return the hash of an event.

    :param key: ``None`` for an event of an earlier version.
    """
    # An array, since the order of its fields is fixed.
    content = previous + _encode(fields).encode()
    return hashlib.sha256(content).digest() if key is None else hmac.digest(key, content, "sha256")


def require_audit_key(tx: Transaction) -> AuditKey:
    """Return the key of the audit log.

    :raises SecretKeyChanged: when it was sealed under another SECRET_KEY.
    """
    if tx.audit_key is None:
        raise SecretKeyChanged("The key of the audit log does not open with this SECRET_KEY. Put the former one back.")
    return tx.audit_key


def write_event(tx: Transaction, event: Event, now: datetime) -> None:
    """Append *event* to the chain; it is stored in the transaction that it records.

    :raises SecretKeyChanged: when the key of the audit log was sealed under another SECRET_KEY.
    """
    key = require_audit_key(tx).key
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
    digest = event_hash(key, previous, fields)
    tx.head = (count + 1, digest)
    tx.events.append({**dict(zip(_FIELDS, fields, strict=True)), "previous": previous, "hash": digest})
    tx.has_written = True


def store_events(tx: Transaction) -> None:
    """Store the events of :func:`write_event` at the end of their transaction.

    :raises Conflict: when there are events after the head, which somebody has set back.
    """
    if tx.events and tx.head is not None:
        try:
            tx.write_many(_insert, tx.events)
        except tx.constraint_error as error:
            raise Conflict(
                "the audit log was changed: it has events after its recorded end, so nothing can be recorded; run "
                "pikachu audit verify, and restore the database from a backup"
            ) from error
        tx.write(_set_head, {"n": tx.head[0], "h": tx.head[1]})


def first_since(tx: Transaction, moment: int) -> int:
    """Return the lowest id from which on events are not older than *moment*, found by halving.

    Times grow with ids, since an event gets both when it is written; no index on times is needed.
    """
    head = tx.row(_head)
    low, high = 1, 1 if head is None else head[0] + 1
    while low < high:
        middle = (low + high) // 2
        row = tx.row(_at, {"b_id": middle})
        if row is not None and row[0] < moment:
            low = middle + 1
        else:
            high = middle
    return low


def _in_period(tx: Transaction, query: ListQuery) -> list[ColumnElement[bool]]:
    """Return the conditions of the filters ``at_from`` and ``at_to``."""
    conditions: list[ColumnElement[bool]] = []
    columns = audit_events.c
    if begin := query.filters.get("at_from"):
        first = int(parse_start(begin, "at_from").timestamp())
        conditions += [columns.id >= first_since(tx, first - CLOCK_STEP), columns.at >= first]
    if end := query.filters.get("at_to"):
        last = int(parse_end(end, "at_to").timestamp())
        conditions += [columns.id < first_since(tx, last + CLOCK_STEP), columns.at < last]
    return conditions


def event_record(row: Row) -> EventRecord:
    """Return the record of a row of the audit log."""
    identity, at, kind, resource_type, resource_name, actor, details, owner_id, actor_id, about, previous, digest = row
    event = Event(
        kind, resource_type, resource_name, actor, json.loads(details), owner_id, actor_id, about_account=bool(about)
    )
    return EventRecord(identity, moment(at), event, bytes(previous), bytes(digest))


def _by_kind(query: ListQuery) -> bool:
    """Return whether a query restricts nothing but the kinds of events."""
    filters = query.filters.keys()
    return (
        (bool(filters) or query.visible is not None)
        and filters <= {"resource_type", "type"}
        and query.owner_id is None
        and not (query.q or "").strip()
    )


def _only_by_kind(query: ListQuery) -> bool:
    """Return whether a query restricts at most the kinds of events, and shows those of all owners."""
    return query.visible is None and (not (query.filters or query.owner_id or query.q) or _by_kind(query))


def _sorted_by_kind(tx: Transaction, query: ListQuery, source: ListSource[EventRecord]) -> Page[EventRecord]:
    """Return a page of the events of some kinds, sorted by their types: the next few of each kind that is next."""
    field = _SORTS_BY_KIND[query.sort.removeprefix("-")]
    values: dict[str, list[Select[Any]]] = {}
    for kind in _kinds(tx):
        if _is_selected(kind, query.filters.get("resource_type"), query.filters.get("type"), None):
            values.setdefault(kind[field], []).append(_of(kind))
    ids = next_of_values(tx, query, audit_events.c.id, values)
    everything = [select(one.limit(COUNTED + 1).subquery().c.id) for group in values.values() for one in group]
    counted: ColumnElement[bool] = audit_events.c.id.in_(union_all(*everything)) if everything else false()
    return page(tx, query, source, [audit_events.c.id.in_(ids)], counted=[counted])


def _few_to_sort(tx: Transaction, query: ListQuery, conditions: Sequence[ColumnElement[bool]]) -> list[int]:
    """Return the ids of the events that a query selects by more than their kinds.

    :raises MalformedRequest: there are too many to sort them.
    """
    ids = select(audit_events.c.id).where(*conditions)
    if query.visible is not None:
        seen = query.visible
        ids = ids.where(or_(audit_events.c.owner_id == seen.owner_id, audit_events.c.resource_type.in_(seen.kinds)))
    few = tx.settings.few_events
    found = [row[0] for row in tx.query(ids.limit(few + 1))]
    if len(found) > few:
        raise MalformedRequest(
            f"More than {few:,} events match: too many to sort by type. Choose a type or a resource instead."
        )
    return found


def _kinds(tx: Transaction) -> list[tuple[str, str]]:
    """Return all (resource type, type) in use, some dozens, each by one seek in their index."""
    kinds = []
    row = tx.row(_next_resource, {"b_resource": ""})
    while row is not None:
        kinds.append((row[0], row[1]))
        last = {"b_resource": row[0], "b_type": row[1]}
        row = tx.row(_next_type, last) or tx.row(_next_resource, {"b_resource": row[0]})
    return kinds


def _check_kinds(tx: Transaction, query: ListQuery) -> None:
    """Check that the filters name types that this program writes, or that were ever recorded."""
    for name, known, position in (
        ("resource_type", RESOURCE_TYPES, 0),
        ("type", (*OBJECT_EVENT_TYPES, *ACCOUNT_EVENT_TYPES), 1),
    ):
        value = query.filters.get(name)
        if value is None or value.startswith("!") or value in known:
            continue
        if value not in {kind[position] for kind in _kinds(tx)}:
            raise MalformedRequest(f"unknown {name} “{value[:40]}”; use one of {', '.join(dict.fromkeys(known))}")


def _few(tx: Transaction, resource_types: str | None, type_: str | None) -> list[int] | None:
    """Return the ids of all events of the filtered kinds, of all owners, or None if there are too many."""
    if resource_types is None and type_ is None:
        return None
    limit = tx.settings.few_events
    ids: list[int] = []
    for kind in _kinds(tx):
        if _is_selected(kind, resource_types, type_, None):
            ids += [row[0] for row in tx.query(_of(kind).limit(limit + 1 - len(ids)))]
            if len(ids) > limit:
                return None
    return ids


def _is_selected(kind: tuple[str, str], resource_types: str | None, type_: str | None, visible: Visible | None) -> bool:
    resource, name = kind
    if (type_ is not None and name != type_) or (visible is not None and resource not in visible.kinds):
        return False
    if resource_types is not None and resource_types.startswith("!"):
        return resource not in resource_types[1:].split(",")
    return resource_types is None or resource == resource_types


def _of(kind: tuple[str, str]) -> Select[Any]:
    return select(audit_events.c.id).where(audit_events.c.resource_type == kind[0], audit_events.c.type == kind[1])


def _next_of(ids: Select[Any], query: ListQuery) -> Select[Any]:
    """Return a query for those of *ids* that can be on the page."""
    identity = audit_events.c.id
    descending = query.sort.startswith("-")
    if query.cursor is not None:
        _, position, back = decode_cursor(query.cursor, query.sort, int)
        descending ^= back
        ids = ids.where(identity < position if descending else identity > position)
    return ids.order_by(identity.desc() if descending else identity.asc()).limit(query.limit + 1)


def verify_next(tx: Transaction, position: ChainPosition, key: AuditKey | None) -> tuple[ChainPosition, bool]:
    """Verify the next events and, if they are the last of this transaction's snapshot, the chain's head.

    :param key: ``None`` for the events of earlier versions.
    :return: the verified position, and whether it is the end of the chain.
    :raises Conflict: naming the first changed or removed event.
    """
    unkeyed = CHAIN_START if key is None else key.unkeyed
    if key is not None and key.finding and position.count < unkeyed.count:
        # What is wrong before is known; the events from there on are proved by the key.
        position = unkeyed
    pruned = None if key is None else read_pruning(tx, key)
    if pruned is not None and position.count < pruned.count:
        position = ChainPosition(pruned.count, pruned.hash)
    expected, previous = position.count + 1, position.hash
    rows = tx.rows(_after, {"after": position.count})
    for row in rows:
        fields, stored_previous, digest = tuple(row[:10]), bytes(row[10]), bytes(row[11])
        if fields[0] != expected:
            raise Conflict(f"the audit log was changed: event {expected} is missing")
        secret = key.key if key is not None and expected > unkeyed.count else None
        # The last event without a key is authenticated by its hash, which is sealed with the key.
        is_wrong_end = expected == unkeyed.count and digest != unkeyed.hash
        if stored_previous != previous or digest != event_hash(secret, previous, fields) or is_wrong_end:
            raise Conflict(f"the audit log was changed: event {expected} is not what was recorded")
        expected, previous = expected + 1, digest
    verified = ChainPosition(expected - 1, previous)
    if len(rows) == _CHUNK:
        return verified, False
    head = tx.row(_head)
    is_cut = unkeyed.count > 0 and verified.count <= unkeyed.count
    if head is None or head[0] != verified.count or bytes(head[1]) != previous or is_cut:
        raise Conflict(f"the audit log was changed: event {expected} is missing, and any after it")
    return verified, True


def _event_text(row: Row) -> str:
    """Return the folded text of an event; its details, the last column, are stored as ASCII."""
    *values, details = row
    return object_text((*values, json.dumps(json.loads(details), ensure_ascii=False) if "\\u" in details else details))


class AuditStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IAuditStore`."""

    @write_transaction
    def add_event(self, tx: Transaction, event: Event, now: datetime) -> None:
        """Record *event* without any other change."""
        write_event(tx, event, now)

    @read_transaction
    def events(self, tx: Transaction, query: ListQuery) -> Page[EventRecord]:
        """List events; sort fields ``id``, ``at``, ``type``, ``resource_type``; filters ``type``, ``resource_type``,
        ``resource_name``, ``actor``, ``about_account`` (``true`` or ``false``), ``at_from``, ``at_to``.  A
        ``resource_type`` of ``!a,b`` excludes a and b.
        """
        checked(query, ("resource_type", "type", "resource_name", "actor", "about_account", "at_from", "at_to"))
        table, visible = audit_events.c, query.visible
        conditions = _in_period(tx, query)
        if query.owner_id is not None:
            conditions.append(table.owner_id == query.owner_id)
        exact = [name for name in ("type", "resource_name", "actor") if name in query.filters]
        conditions.extend(table[name] == query.filters[name] for name in exact)
        kinds = query.filters.get("resource_type")
        if kinds is not None and kinds.startswith("!"):
            conditions.append(table.resource_type.not_in(kinds[1:].split(",")))
        elif kinds is not None:
            conditions.append(table.resource_type == kinds)
        _check_kinds(tx, query)
        about = one_of(query, "about_account", ("true", "false"))
        if about is not None:
            conditions.append(table.about_account == int(about == "true"))
        text = (query.q or "").strip()
        if text:
            newest = table.id > select(func.max(audit_events.alias("newest").c.id) - _RECENT).scalar_subquery()
            searched = (table.id, table.resource_name, table.actor, table.type, table.resource_type, table.details)
            near = matching(
                tx, query, searched, [*conditions, newest], newest=_RECENT, text=_event_text, times=(table.at,)
            )
            by_name = begins_with(table.resource_name, text)
            named = [row[0] for row in tx.query(select(table.id).where(by_name).limit(_RECENT + 1))]
            # A rare name is matched by ids; for a common one, the next page is found after a few rows.
            conditions.append(or_(*near, table.id.in_(named) if len(named) <= _RECENT else by_name))
        source = ListSource(table_columns(audit_events), _SORTS, event_record)
        sort = query.sort.removeprefix("-")
        if sort in _SORTS_BY_KIND and not _only_by_kind(query):
            return page(tx, query, source, [table.id.in_(_few_to_sort(tx, query, conditions))])
        if sort in _SORTS_BY_KIND:
            return _sorted_by_kind(tx, query, source)
        if _by_kind(query):
            # A page consists of the next few events of each selected kind, in the order of the index of kinds.
            selected = [
                _of(kind) for kind in _kinds(tx) if _is_selected(kind, kinds, query.filters.get("type"), visible)
            ]
            if visible is not None:
                selected.append(select(table.id).where(table.owner_id == visible.owner_id, *conditions))
            following = [row[0] for ids in selected for row in tx.query(_next_of(ids, query))]
            selects: list[Select[Any]] = [select(ids.limit(COUNTED + 1).subquery().c.id) for ids in selected]
            counted: ColumnElement[bool] = table.id.in_(union_all(*selects)) if selects else false()
            return page(tx, query, source, [table.id.in_(following)], counted=[counted])
        if visible is not None:
            conditions.append(or_(table.owner_id == visible.owner_id, table.resource_type.in_(visible.kinds)))
        hint = ""
        if text:
            # SQLite would otherwise fetch and sort all events with a common name.
            hint = "NOT INDEXED"
        elif query.owner_id is not None:
            # SQLite would otherwise read all events of the owner, up to millions.
            if "resource_name" in query.filters:
                hint = "INDEXED BY audit_events_name"
            elif (few := _few(tx, kinds, query.filters.get("type"))) is not None:
                conditions.append(table.id.in_(few))
                hint = "NOT INDEXED"
        narrow = (lambda statement: statement.with_hint(audit_events, hint, "sqlite")) if hint else None
        return page(tx, query, source, conditions, narrow=narrow, count_narrow=None if text else narrow)

    @point_read
    def event(self, tx: Transaction, event_id: int) -> EventRecord:
        """Return the event with that id; NotFound."""
        row = tx.row(_by_id, {"b_id": row_id(event_id)})
        if row is None:
            raise NotFound("there is no such event")
        return event_record(row)

    @uncancelled
    async def verify_events(
        self, progress: Callable[[ChainPosition], None] | None = None, after: ChainPosition = CHAIN_START
    ) -> int:
        """Verify the chain in short transactions, up to its end in the last one; Conflict.

        A single transaction would take minutes, during which SQLite can't truncate its log and PostgreSQL can't remove
        replaced rows.
        """

        def work(tx: Transaction) -> tuple[ChainPosition, bool]:
            return verify_next(tx, position, require_audit_key(tx))

        position, is_end = after, False
        while not is_end:
            position, is_end = await self._read("verify_events", work)
            if progress is not None:
                progress(position)
        return position.count
