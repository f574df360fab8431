"""Lists of devices (DEV-1), in any order, filtered by anything.

A list first counts the devices that each filter selects.  If a filter selects few, they are fetched and sorted;
otherwise the list scans the index of its sort order, and after a few thousand rows an index that covers all filters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, Integer, Select, and_, bindparam, func, or_, select, true

from pikachu.core.model.certificates import Method
from pikachu.core.model.devices import MAX_DUE_SECONDS, Device, DeviceState
from pikachu.core.model.events import EventRecord
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.time_ranges import Bounds, bounds
from pikachu.storage.audit import event_record
from pikachu.storage.backfills import unassigned_certificates
from pikachu.storage.certificate_filters import account_id_of
from pikachu.storage.certificate_search import CertificateSearch
from pikachu.storage.database import Transaction
from pikachu.storage.device_rows import (
    CURRENT_CERTIFICATE,
    DEVICE_COLUMNS,
    device_record,
    find_device,
    is_bound_to,
    require_in_service,
)
from pikachu.storage.device_schema import devices
from pikachu.storage.pagination import ListSource, begins_with, checked, goes_back, next_rows, one_of, page
from pikachu.storage.schema import audit_events, certificates, challenges
from pikachu.storage.transactions import StoreSection, point_read, read_transaction, storable
from pikachu.x509.search_text import number_terms, search_terms

_d: Final = devices.c
_c: Final = certificates.c
_SORTS: Final = {
    "id": _d.id,
    # Ids increase in the order of the first enrollment.
    "created_at": _d.id,
    "name": _d.name_key,
    "due_at": _d.due_at,
    "enrolled_at": _d.enrolled_at,
}
_SORT_INDEXES: Final = {
    "id": "NOT INDEXED",
    "created_at": "NOT INDEXED",
    "name": "INDEXED BY devices_name",
    "due_at": "INDEXED BY devices_due",
    "enrolled_at": "INDEXED BY devices_enrolled",
}
_COVERING: Final = "INDEXED BY devices_due"
_BY_ROW_ID: Final = "NOT INDEXED"
_IS_LISTED: Final = or_(_d.certificates > 0, _d.retired_at.is_not(None))
# Certificates and challenge passwords of a device whose events are in its timeline.
_TIMELINE_OBJECTS: Final = 50
_e: Final = audit_events.c
_serials: Final = (
    select(_c.serial)
    .where(_c.device_id == bindparam("b_device"))
    .order_by(_c.id.desc())
    .limit(bindparam("b_limit", type_=Integer))
)
_prefixes: Final = (
    select(challenges.c.prefix)
    .where(*is_bound_to(bindparam("b_device")))
    .order_by(challenges.c.id.desc())
    .limit(bindparam("b_limit", type_=Integer))
)
# The policies of devices in their order, each found by one seek of the index after the one before.
_other: Final = devices.alias("other")
_first: Final = select(func.min(_d.policy).label("policy")).cte("kinds", recursive=True)
_kinds: Final = _first.union_all(
    select(select(func.min(_other.c.policy)).where(_other.c.policy > _first.c.policy).scalar_subquery()).where(
        _first.c.policy.is_not(None)
    )
)
_policies: Final = select(_kinds.c.policy).limit(bindparam("b_limit", type_=Integer))
_MAX_SOUGHT_POLICIES: Final = 1000
_LIST: Final = ListSource(DEVICE_COLUMNS, _SORTS, device_record, (CURRENT_CERTIFICATE,))


def _hinted(hint: str) -> Callable[[Select[Any]], Select[Any]]:
    """Return a function that adds an index hint for SQLite, which has no statistics of the rows."""
    return lambda statement: statement.with_hint(devices, hint, "sqlite") if hint else statement


def _in_state(state: str, now: int) -> list[ColumnElement[bool]]:
    """Return the conditions of :meth:`Device.state`; the times of renewal are 0 without a certificate in force."""
    if state == DeviceState.RETIRED:
        return [_d.retired_at.is_not(None)]
    conditions: list[ColumnElement[bool]] = [_d.retired_at.is_(None)]
    if state == DeviceState.OK:
        return [*conditions, _d.due_at > now]
    if state == DeviceState.OVERDUE:
        return [*conditions, _d.due_at <= now, _d.overdue_at <= now]
    return [*conditions, _d.due_at > now - MAX_DUE_SECONDS, _d.due_at <= now, _d.overdue_at > now]


class DeviceStore(StoreSection):
    """See :class:`pikachu.core.device_interfaces.IDeviceStore`."""

    @point_read
    def device(self, tx: Transaction, device_id: int) -> Device:
        """Return the device with that id; NotFound."""
        return find_device(tx, device_id)

    @point_read
    def check_device(self, tx: Transaction, name: str, owner_id: int | None) -> None:
        """Require that the device of that name and owner is not retired; RetiredDevice."""
        require_in_service(tx, name, owner_id)

    @read_transaction
    def devices(self, tx: Transaction, query: ListQuery, now: datetime) -> Page[Device]:
        """List devices; filters ``state``, ``policy``, ``method``, ``owner``, and ``expires`` as of certificates."""
        checked(query, ("state", "policy", "method", "owner", "expires", "expires_from", "expires_to"))
        # For each filter its conditions on a row, and the hint for its index.
        filters: list[tuple[list[ColumnElement[bool]], str]] = []
        if query.owner_id is not None:
            filters.append(([_d.owner_id == query.owner_id], "INDEXED BY devices_owner"))
        if "owner" in query.filters:
            filters.append(([_d.owner_id == account_id_of(tx, query.filters["owner"])], "INDEXED BY devices_owner"))
        state = one_of(query, "state", list(DeviceState))
        if state is not None:
            hint = "INDEXED BY devices_retired" if state == DeviceState.RETIRED else _COVERING
            filters.append((_in_state(state, int(now.timestamp())), hint))
        policy, method = query.filters.get("policy"), one_of(query, "method", list(Method))
        if policy is not None:
            kind = [_d.policy == policy] if method is None else [_d.policy == policy, _d.method == method]
            filters.append((kind, "INDEXED BY devices_kind"))
        conditions = [_IS_LISTED, *(one for each, _ in filters for one in each)]
        if policy is None and method is not None:
            conditions.append(_d.method == method)
            filters.append(_sought_method(tx, method))
        narrowing = [_hinted(hint)(select(_d.id).where(*each)) for each, hint in filters]
        expires = bounds(query.filters, "expires", now, ahead=True)
        if expires is not None:
            conditions += [_d.not_after >= expires[0], _d.not_after < expires[1]]
            narrowing.append(_ending(expires))
        terms = number_terms(query.q) or search_terms(query.q)
        if terms:
            named = _named(tx, query, terms)
            if isinstance(named, Select):
                narrowing.append(named)
                conditions.append(_d.id.in_(named))
            else:
                conditions.append(named)
                narrowing.append(_hinted("INDEXED BY devices_name")(select(_d.id).where(named)))
        found = _page(tx, query, conditions, narrowing)
        return replace(found, unindexed=unassigned_certificates(tx))

    @read_transaction
    def device_events(self, tx: Transaction, device_id: int, limit: int) -> list[EventRecord]:
        """Return the newest events of a device, its newest certificates and challenge passwords."""
        device = find_device(tx, device_id)
        values = {"b_device": device.id, "b_limit": _TIMELINE_OBJECTS}
        serials = [row[0] for row in tx.rows(_serials, values)]
        prefixes = [row[0] for row in tx.rows(_prefixes, values)]
        # Other owners may have objects of the same names.
        own = _e.owner_id.is_not_distinct_from(device.owner_id)
        conditions = [
            and_(_e.resource_type == kind, _e.resource_name.in_(names), condition)
            for kind, names, condition in (
                ("certificate", serials, true()),
                ("challenge password", prefixes, own),
                ("device", [storable(device.name)], own),
            )
        ]
        names = [*serials, *prefixes, storable(device.name)]
        statement = (
            select(*audit_events.columns)
            .where(_e.resource_name.in_(names), or_(*conditions))
            .with_hint(audit_events, "INDEXED BY audit_events_name", "sqlite")
            .order_by(_e.id.desc())
            .limit(limit)
        )
        return [event_record(row) for row in tx.query(statement)]


def _ending(times: Bounds) -> Select[Any]:
    """Return the ids of the devices that have a certificate which ends in that time, from the index of certificates."""
    return (
        select(_c.device_id)
        .where(_c.not_after >= times[0], _c.not_after < times[1], _c.device_id.is_not(None))
        .with_hint(certificates, "INDEXED BY certificates_end", "sqlite")
    )


def _sought_method(tx: Transaction, method: str) -> tuple[list[ColumnElement[bool]], str]:
    """Return conditions that find the devices of a method, and the hint for their index.

    The index begins with the policy, so it is sought for each policy that devices have: few have a rare method, and
    reading all rows to find them takes long.
    """
    policies = [row[0] for row in tx.rows(_policies, {"b_limit": _MAX_SOUGHT_POLICIES + 1}) if row[0] is not None]
    if len(policies) > _MAX_SOUGHT_POLICIES:
        return [_d.method == method], _COVERING
    known: BindParameter[str] = bindparam("policies", policies, unique=True, expanding=True)
    return [_d.policy.in_(known), _d.method == method], "INDEXED BY devices_kind"


def _named(tx: Transaction, query: ListQuery, terms: Sequence[str]) -> Select[Any] | ColumnElement[bool]:
    """Return what selects the devices that have a certificate with all *terms*: their ids, or a condition.

    Where many certificates match, these are the devices whose names begin with the text.
    """
    search = CertificateSearch(tx, terms, by_owner=query.owner_id is None)
    few = tx.settings.few_certificates
    ids = [row[0] for row in tx.query(search.candidates().limit(few + 1))]
    if len(ids) > few:
        return begins_with(_d.name_key, " ".join(terms))
    known = _c.id.in_(bindparam("matching", ids, unique=True, expanding=True, literal_execute=True))
    rows = tx.query(select(_c.device_id).where(known, search.condition, _c.device_id.is_not(None)).distinct())
    found = [row[0] for row in rows]
    return select(_d.id).where(_d.id.in_(bindparam("found", found, unique=True, expanding=True, literal_execute=True)))


def _page(
    tx: Transaction, query: ListQuery, conditions: Sequence[ColumnElement[bool]], narrowing: Sequence[Select[Any]]
) -> Page[Device]:
    by_row_id, walk, covering = (
        _hinted(_BY_ROW_ID),
        _hinted(_SORT_INDEXES.get(query.sort.removeprefix("-"), "")),
        _hinted(_COVERING),
    )
    few = _few(tx, narrowing)
    if few is not None:
        # Literal values: binding thousands of parameters takes longer than the query.
        known = _d.id.in_(bindparam("few", few, expanding=True, literal_execute=True))
        return page(tx, query, _LIST, [*conditions, known], narrow=by_row_id, count_narrow=by_row_id)
    if not narrowing:
        return page(tx, query, _LIST, conditions, narrow=walk, count_narrow=covering)
    # First try the next few thousand rows in the sort order: nearly all rows may come before the first that matches.
    column = _SORTS.get(query.sort.removeprefix("-"), _d.id)
    following = walk(next_rows(query, _d.id, column, tx.settings.few_certificates))
    found = page(
        tx,
        query,
        _LIST,
        [*conditions, _d.id.in_(following)],
        narrow=by_row_id,
        counted=conditions,
        count_narrow=covering,
    )
    if (found.previous_cursor if goes_back(query, column) else found.next_cursor) is not None:
        return found
    rest = page(tx, replace(query, count=False), _LIST, conditions, narrow=covering)
    return replace(rest, total=found.total)


def _few(tx: Transaction, narrowing: Sequence[Select[Any]]) -> list[int] | None:
    """Return the ids that the most selective filter selects, or None if they are many."""
    fewest, best = tx.settings.few_certificates + 1, None
    for ids in narrowing:
        # Count no further than the best filter so far.
        count = int(tx.query(select(func.count()).select_from(ids.limit(fewest).subquery()))[0][0])
        if count < fewest:
            fewest, best = count, [row[0] for row in tx.query(ids)]
    return best
