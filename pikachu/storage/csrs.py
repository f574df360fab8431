"""Stored certificate signing requests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, func, literal_column, select, update

from pikachu.core.errors import Conflict, MalformedRequest, NotFound
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.requests import CSR_STATES, NewCSR, StoredCSR
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.pagination import ListSource, checked, matching, one_of, owner_key, owner_name, page, table_columns
from pikachu.storage.schema import csrs
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

_by_id: Final = select(*csrs.columns).where(csrs.c.id == bindparam("b_id"))
_insert: Final = insert_into(
    csrs, "name", "der", "subject", "key_type", "owner_id", "created_at", "state", "key_id", "template"
)
_delete: Final = delete(csrs).where(csrs.c.id == bindparam("b_id"))
_update_state: Final = (
    update(csrs)
    .where(csrs.c.id == bindparam("b_id"))
    .values(state=bindparam("v_state"), certificate_id=bindparam("v_certificate_id"))
)


def _record(row: Row) -> StoredCSR:
    identity, name, der, subject, key_type, owner_id, created_at, *more = row
    return StoredCSR(identity, name, bytes(der), subject, key_type, owner_id, moment(created_at), *more)


def _find(tx: Transaction, csr_id: int) -> StoredCSR:
    row = tx.row(_by_id, {"b_id": row_id(csr_id)})
    if row is None:
        raise NotFound("there is no such certificate signing request")
    return _record(row)


def _mark(tx: Transaction, csr: StoredCSR, state: str, certificate_id: int | None) -> None:
    tx.write(_update_state, {"b_id": csr.id, "v_state": state, "v_certificate_id": certificate_id})


def describe_csr(
    tx: Transaction, csr_id: int, state: str, certificate_id: int | None, decision: Event, now: datetime
) -> None:
    """Record the decision about an enrollment request on the stored CSR that it was submitted from, with an event;
    does nothing if the CSR was deleted.
    """
    row = tx.row(_by_id, {"b_id": csr_id})
    if row is None:
        return
    csr = _record(row)
    if state == "rejected" and csr.state == "signed":
        # It was submitted twice; keep the issued certificate.
        return
    _mark(tx, csr, state, certificate_id)
    kind = "sign" if state == "signed" else "reject"
    address = {name: value for name, value in decision.details.items() if name == "ip"}
    details = {decision.resource_type: decision.resource_name, "subject": csr.subject, **address}
    event = Event(kind, "CSR", csr.name, decision.actor, details, csr.owner_id, decision.actor_id)
    write_event(tx, event, now)


class CSRStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IAccountStore`."""

    @write_transaction
    def add_csr(self, tx: Transaction, csr: NewCSR, event: Event, now: datetime) -> StoredCSR:
        """Store a CSR; QuotaExceeded."""
        self._require_quota(tx, "csrs", csr.owner_id)
        values = {
            "name": storable(csr.name),
            "der": csr.der,
            "subject": storable(csr.subject),
            "key_type": csr.key_type,
            "owner_id": csr.owner_id,
            "created_at": int(now.timestamp()),
            "state": "pending",
            "key_id": csr.key_id,
            "template": None if csr.template is None else storable(csr.template),
        }
        identity = tx.insert(_insert, values)
        write_event(tx, event, now)
        return _find(tx, identity)

    @point_read
    def csr(self, tx: Transaction, csr_id: int) -> StoredCSR:
        """Return the stored CSR with that id; NotFound."""
        return _find(tx, csr_id)

    @read_transaction
    def csrs(self, tx: Transaction, query: ListQuery) -> Page[StoredCSR]:
        """List stored CSRs; filters ``state``, ``certificate_id`` and ``key_id``."""
        checked(query, ("state", "certificate_id", "key_id"))
        columns = csrs.c
        conditions: list[ColumnElement[bool]] = []
        if query.owner_id is not None:
            conditions.append(csrs.c.owner_id == query.owner_id)
        state = one_of(query, "state", CSR_STATES)
        if state == "pending":
            # A parameter would not tell that the index of pending ones has them all.
            conditions.append(csrs.c.state == literal_column("'pending'"))
        elif state is not None:
            conditions.append(csrs.c.state == state)
        for name, kind in (("certificate_id", "certificate"), ("key_id", "key")):
            if name in query.filters:
                number = parse_number(query.filters[name], MAX_ID)
                if number is None:
                    raise MalformedRequest(f"{name} is the id of a {kind}")
                conditions.append(columns[name] == number)
        texts = (columns.name, columns.subject, columns.key_type, columns.state, columns.template)
        searched = (columns.id, *texts, owner_name(columns.owner_id))
        conditions += matching(tx, query, searched, conditions, times=(columns.created_at,))
        sorts = {
            "id": csrs.c.id,
            "created_at": csrs.c.id,
            "name": csrs.c.name,
            "key": csrs.c.key_type,
            "status": csrs.c.state,
            "profile": func.coalesce(csrs.c.template, ""),
            "user": owner_key(csrs.c.owner_id),
        }
        return page(tx, query, ListSource(table_columns(csrs), sorts, _record), conditions)

    @write_transaction
    def delete_csr(self, tx: Transaction, csr_id: int, decide: Callable[[StoredCSR], Event], now: datetime) -> None:
        """Delete one; NotFound, and the errors of *decide*."""
        event = decide(_find(tx, csr_id))
        tx.write(_delete, {"b_id": csr_id})
        write_event(tx, event, now)

    @write_transaction
    def reject_csr(self, tx: Transaction, csr_id: int, event: Event, now: datetime) -> StoredCSR:
        """Reject a pending CSR; NotFound, Conflict."""
        csr = _find(tx, csr_id)
        if csr.state != "pending":
            raise Conflict(f"this certificate signing request is {csr.state} already")
        _mark(tx, csr, "rejected", None)
        write_event(tx, event, now)
        return _find(tx, csr_id)
