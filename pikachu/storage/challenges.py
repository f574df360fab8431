"""Challenge passwords and stored CSRs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, or_, select, text, update

from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.events import Event
from pikachu.core.model.lists import ListQuery, Page
from pikachu.core.model.people import ChallengePassword, NewChallengePassword
from pikachu.core.model.requests import NewCSR, StoredCSR
from pikachu.storage.accounts import require_active_owner
from pikachu.storage.audit import write_event
from pikachu.storage.base import (
    StoreSection,
    insert_into,
    maybe_moment,
    moment,
    read_transaction,
    row_id,
    storable,
    write_transaction,
)
from pikachu.storage.database import Row, Transaction
from pikachu.storage.lists import ListSource, any_contains, begins_with, checked, one_of, page, table_columns
from pikachu.storage.schema import challenges, csrs

_ch: Final = challenges.c
_COLUMNS: Final = [column for column in challenges.columns if column is not _ch.lookup]
_UNUSED: Final = text("consumed_at IS NULL")

_by_id: Final = select(*_COLUMNS).where(_ch.id == bindparam("b_id"))
_by_lookup: Final = select(*_COLUMNS).where(_ch.lookup == bindparam("b_lookup"))
_insert: Final = insert_into(challenges, "lookup", "prefix", "sealed", "owner_id", "created_at", "expires_at")
_delete: Final = delete(challenges).where(_ch.id == bindparam("b_id"))
# A reserved challenge password belongs to a request that may still be issued.
_delete_expired: Final = delete(challenges).where(
    _ch.consumed_at.is_(None), _ch.reserved_by.is_(None), _ch.expires_at <= bindparam("b_now")
)
_delete_expired_of: Final = _delete_expired.where(_ch.owner_id == bindparam("b_owner"))

_csr: Final = select(*csrs.columns).where(csrs.c.id == bindparam("b_id"))
_insert_csr: Final = insert_into(
    csrs, "name", "der", "subject", "key_type", "owner_id", "created_at", "state", "key_id", "template"
)
_delete_csr: Final = delete(csrs).where(csrs.c.id == bindparam("b_id"))
_mark_csr: Final = (
    update(csrs)
    .where(csrs.c.id == bindparam("b_id"))
    .values(state=bindparam("v_state"), certificate_id=bindparam("v_certificate_id"))
)


def _record(row: Row) -> ChallengePassword:
    identity, prefix, sealed, owner_id, created_at, expires_at, reserved_by, consumed_at, serial = row
    return ChallengePassword(
        identity,
        prefix,
        bytes(sealed),
        owner_id,
        moment(created_at),
        moment(expires_at),
        reserved_by,
        maybe_moment(consumed_at),
        None if serial is None else int(serial, 16),
    )


def _find(tx: Transaction, challenge_id: int) -> ChallengePassword:
    row = tx.row(_by_id, {"b_id": row_id(challenge_id)})
    if row is None:
        raise NotFound("there is no such challenge password")
    return _record(row)


def _csr_record(row: Row) -> StoredCSR:
    identity, name, der, subject, key_type, owner_id, created_at, *more = row
    return StoredCSR(identity, name, bytes(der), subject, key_type, owner_id, moment(created_at), *more)


def _find_csr(tx: Transaction, csr_id: int) -> StoredCSR:
    row = tx.row(_csr, {"b_id": row_id(csr_id)})
    if row is None:
        raise NotFound("there is no such certificate signing request")
    return _csr_record(row)


def _mark(tx: Transaction, csr: StoredCSR, state: str, certificate_id: int | None) -> None:
    tx.write(_mark_csr, {"b_id": csr.id, "v_state": state, "v_certificate_id": certificate_id})


def describe_csr(
    tx: Transaction, csr_id: int, state: str, certificate_id: int | None, decision: Event, now: datetime
) -> None:
    """Record the decision about an enrollment request on the stored CSR that it was submitted from, with an event;
    does nothing if the CSR was deleted.
    """
    row = tx.row(_csr, {"b_id": csr_id})
    if row is None:
        return
    csr = _csr_record(row)
    if state == "rejected" and csr.state == "signed":
        # It was submitted twice; keep the issued certificate.
        return
    _mark(tx, csr, state, certificate_id)
    kind = "sign" if state == "signed" else "reject"
    address = {name: value for name, value in decision.details.items() if name == "ip"}
    details = {decision.resource_type: decision.resource_name, "subject": csr.subject, **address}
    event = Event(kind, "CSR", csr.name, decision.actor, details, csr.owner_id, decision.actor_id)
    write_event(tx, event, now)


class ChallengePasswordStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IAccountStore`."""

    @write_transaction
    def add_challenge(
        self, tx: Transaction, challenge: NewChallengePassword, event: Event, now: datetime
    ) -> ChallengePassword:
        """Create a challenge password; InactiveOwner, QuotaExceeded."""
        self._require_quota(tx, "challenge_passwords", challenge.owner_id)
        require_active_owner(tx, challenge.owner_id)
        values = {
            "lookup": challenge.lookup,
            "prefix": challenge.prefix,
            "sealed": challenge.sealed,
            "owner_id": challenge.owner_id,
            "created_at": int(now.timestamp()),
            "expires_at": int(challenge.expires_at.timestamp()),
        }
        identity = tx.insert(_insert, values)
        write_event(tx, event, now)
        return _find(tx, identity)

    @read_transaction
    def challenge(self, tx: Transaction, challenge_id: int) -> ChallengePassword:
        """Return the challenge password with that id; NotFound."""
        return _find(tx, challenge_id)

    @read_transaction
    def challenge_by_lookup(self, tx: Transaction, lookup: bytes) -> ChallengePassword | None:
        """Return the challenge password with that HMAC."""
        row = tx.row(_by_lookup, {"b_lookup": lookup})
        return None if row is None else _record(row)

    @read_transaction
    def challenges(self, tx: Transaction, query: ListQuery, now: datetime) -> Page[ChallengePassword]:
        """List challenge passwords; filter ``status`` (reserved ones count as consumed); *q* is a prefix."""
        checked(query, ("status",))
        conditions: list[ColumnElement[bool]] = []
        prefix = (query.q or "").strip().upper()
        if prefix:
            conditions.append(begins_with(_ch.prefix, prefix[:8]))
        if query.owner_id is not None:
            conditions.append(_ch.owner_id == query.owner_id)
        status = one_of(query, "status", ("available", "consumed", "expired"))
        end = int(now.timestamp())
        if status == "consumed":
            # A reserved challenge password can't be used by another request.
            conditions.append(or_(_ch.consumed_at.is_not(None), _ch.reserved_by.is_not(None)))
        elif status is not None:
            conditions += [_UNUSED, _ch.reserved_by.is_(None)]  # type: ignore[list-item]  # as the partial index says it
            conditions.append(_ch.expires_at > end if status == "available" else _ch.expires_at <= end)
        sorts = {"id": _ch.id, "created_at": _ch.id, "expires_at": _ch.expires_at}
        return page(tx, query, ListSource(_COLUMNS, sorts, _record), conditions)

    @write_transaction
    def delete_challenge(
        self, tx: Transaction, challenge_id: int, decide: Callable[[ChallengePassword], Event], now: datetime
    ) -> None:
        """Delete one; NotFound, and the errors of *decide*."""
        event = decide(_find(tx, challenge_id))
        tx.write(_delete, {"b_id": challenge_id})
        write_event(tx, event, now)

    @write_transaction
    def delete_expired_challenges(self, tx: Transaction, owner_id: int | None, event: Event, now: datetime) -> int:
        """Delete the expired challenge passwords of an owner, or all; return their number."""
        end = {"b_now": int(now.timestamp())}
        if owner_id is None:
            removed = tx.write(_delete_expired, end)
        else:
            removed = tx.write(_delete_expired_of, {**end, "b_owner": owner_id})
        if removed:
            write_event(tx, event, now)
        return removed

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
        identity = tx.insert(_insert_csr, values)
        write_event(tx, event, now)
        return _find_csr(tx, identity)

    @read_transaction
    def csr(self, tx: Transaction, csr_id: int) -> StoredCSR:
        """Return the stored CSR with that id; NotFound."""
        return _find_csr(tx, csr_id)

    @read_transaction
    def csrs(self, tx: Transaction, query: ListQuery) -> Page[StoredCSR]:
        """List stored CSRs; filter ``state``."""
        checked(query, ("state",))
        conditions = any_contains(query, csrs.c.name, csrs.c.subject)
        if query.owner_id is not None:
            conditions.append(csrs.c.owner_id == query.owner_id)
        if "state" in query.filters:
            conditions.append(csrs.c.state == query.filters["state"])
        sorts = {"id": csrs.c.id, "created_at": csrs.c.id, "name": csrs.c.name}
        return page(tx, query, ListSource(table_columns(csrs), sorts, _csr_record), conditions)

    @write_transaction
    def delete_csr(self, tx: Transaction, csr_id: int, decide: Callable[[StoredCSR], Event], now: datetime) -> None:
        """Delete one; NotFound, and the errors of *decide*."""
        event = decide(_find_csr(tx, csr_id))
        tx.write(_delete_csr, {"b_id": csr_id})
        write_event(tx, event, now)

    @write_transaction
    def reject_csr(self, tx: Transaction, csr_id: int, event: Event, now: datetime) -> StoredCSR:
        """Reject a pending CSR; NotFound, Conflict."""
        csr = _find_csr(tx, csr_id)
        if csr.state != "pending":
            raise Conflict(f"this certificate signing request is {csr.state} already")
        _mark(tx, csr, "rejected", None)
        write_event(tx, event, now)
        return _find_csr(tx, csr_id)
