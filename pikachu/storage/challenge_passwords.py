"""Challenge passwords: created, reserved by a request, consumed by its certificate, or released (CHP-2).

:mod:`pikachu.storage.issuance` calls the functions of this module in the transactions of an issuance.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, case, delete, literal, null, or_, select, text, update

from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import BoundNames, ChallengePassword, NewChallengePassword
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.storage.accounts import require_active_owner
from pikachu.storage.audit import write_event
from pikachu.storage.batch_schema import batches
from pikachu.storage.database import Row, Transaction
from pikachu.storage.device_rows import is_bound_to
from pikachu.storage.pagination import ListSource, begins_with, checked, matching, one_of, owner_key, page
from pikachu.storage.schema import challenges
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    maybe_moment,
    moment,
    point_read,
    read_transaction,
    row_id,
    write_transaction,
)
from pikachu.x509.device_names import bound_device_key

_ch: Final = challenges.c
_COLUMNS: Final = [
    column for column in challenges.columns if column.name not in ("lookup", "device_key", "created_by_id")
]
_NOT_AVAILABLE: Final = "this challenge password was used or has expired"
_UNUSED: Final = text("consumed_at IS NULL")

_by_id: Final = select(*_COLUMNS).where(_ch.id == bindparam("b_id"))
_by_lookup: Final = select(*_COLUMNS).where(_ch.lookup == bindparam("b_lookup"))
_insert: Final = insert_into(
    challenges,
    "lookup",
    "prefix",
    "sealed",
    "owner_id",
    "created_at",
    "expires_at",
    "label",
    "subject",
    "sans",
    "subject_der",
    "san_der",
    "policy",
    "batch_id",
    "device_key",
    "created_by_id",
)
_SEARCHED: Final = (_ch.id, _ch.label, _ch.subject, _ch.sans)
_set_sealed: Final = update(challenges).where(_ch.id == bindparam("b_id")).values(sealed=bindparam("v_sealed"))
_delete: Final = delete(challenges).where(_ch.id == bindparam("b_id"))
# A reserved challenge password belongs to a request that may still be issued.
_delete_expired: Final = delete(challenges).where(
    _ch.consumed_at.is_(None), _ch.reserved_by.is_(None), _ch.expires_at <= bindparam("b_now")
)
_delete_expired_of: Final = _delete_expired.where(_ch.owner_id == bindparam("b_owner"))

_available: Final = select(_ch.id).where(
    _ch.id == bindparam("b_id"),
    _ch.consumed_at.is_(None),
    _ch.reserved_by.is_(None),
    _ch.expires_at > bindparam("b_now"),
)
_reserve: Final = (
    update(challenges)
    .where(
        _ch.id == bindparam("b_id"),
        _ch.consumed_at.is_(None),
        _ch.reserved_by.is_(None),
        _ch.expires_at > bindparam("b_now"),
    )
    .values(reserved_by=bindparam("request"))
)
_consume: Final = (
    update(challenges)
    .where(_ch.id == bindparam("b_id"))
    .values(consumed_at=bindparam("at"), consumed_serial=bindparam("of"))
)
_count_enrolled: Final = (
    update(batches)
    .where(batches.c.id == select(_ch.batch_id).where(_ch.id == bindparam("b_id")).scalar_subquery())
    .values(enrolled=batches.c.enrolled + 1)
)
_release: Final = (
    update(challenges)
    .where(_ch.reserved_by == bindparam("request"), _ch.id == bindparam("b_id"), _ch.consumed_at.is_(None))
    .values(reserved_by=null())
)


def _record(row: Row) -> ChallengePassword:
    identity, prefix, sealed, owner_id, created_at, expires_at, reserved_by, consumed_at, serial, *bound = row
    label, subject, sans, subject_der, san_der, policy, batch_id = bound
    names = None
    if subject_der is not None:
        names = BoundNames(subject, tuple(sans.splitlines()), bytes(subject_der), bytes(san_der))
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
        label,
        names,
        policy,
        batch_id,
    )


def _find(tx: Transaction, challenge_id: int) -> ChallengePassword:
    row = tx.row(_by_id, {"b_id": row_id(challenge_id)})
    if row is None:
        raise NotFound("there is no such challenge password")
    return _record(row)


def require_available_challenge(tx: Transaction, challenge_id: int, at: int) -> None:
    """Require a challenge password that is neither consumed, reserved nor expired; Conflict."""
    if tx.row(_available, {"b_id": row_id(challenge_id), "b_now": at}) is None:
        raise Conflict(_NOT_AVAILABLE)


def reserve_challenge(tx: Transaction, challenge_id: int, request_id: int, at: int) -> None:
    """Reserve an available challenge password for a request; Conflict."""
    if tx.write(_reserve, {"b_id": challenge_id, "b_now": at, "request": request_id}) != 1:
        raise Conflict(_NOT_AVAILABLE)


def consume_challenge(tx: Transaction, challenge_id: int, serial: str, at: int) -> None:
    """Mark a reserved challenge password as consumed by the certificate with this serial number."""
    tx.write(_consume, {"b_id": challenge_id, "at": at, "of": serial})
    tx.write(_count_enrolled, {"b_id": challenge_id})


def release_challenge(tx: Transaction, challenge_id: int | None, request_id: int) -> None:
    """Make the challenge password of a rejected or failed request available again."""
    if challenge_id is not None:
        tx.write(_release, {"b_id": challenge_id, "request": request_id})


def insert_challenge(
    tx: Transaction, challenge: NewChallengePassword, now: datetime, created_by_id: int | None = None
) -> int:
    """Insert a challenge password; return its id.

    :param created_by_id: the account that creates it; ``None``: a command, or whoever created its batch.
    """
    names = challenge.names
    values = {
        "lookup": challenge.lookup,
        "prefix": challenge.prefix,
        "sealed": b"",
        "owner_id": challenge.owner_id,
        "created_at": int(now.timestamp()),
        "expires_at": int(challenge.expires_at.timestamp()),
        "label": challenge.label,
        "subject": None if names is None else names.subject,
        "sans": None if names is None else "\n".join(names.sans),
        "subject_der": None if names is None else names.subject_der,
        "san_der": None if names is None else names.san_der,
        "policy": challenge.policy,
        "batch_id": challenge.batch_id,
        "device_key": None if names is None else bound_device_key(names.subject_der, names.sans),
        "created_by_id": created_by_id,
    }
    identity = tx.insert(_insert, values)
    tx.write(_set_sealed, {"b_id": identity, "v_sealed": challenge.seal(identity)})
    return identity


def _status(now: int) -> ColumnElement[str]:
    """Return the status that the filter ``status`` selects."""
    return case(
        (or_(_ch.consumed_at.is_not(None), _ch.reserved_by.is_not(None)), "consumed"),
        (_ch.expires_at <= now, "expired"),
        else_="available",
    )


class ChallengePasswordStore(StoreSection):
    """See :class:`pikachu.core.challenge_interfaces.IChallengeStore`."""

    @write_transaction
    def add_challenge(
        self, tx: Transaction, challenge: NewChallengePassword, event: Event, now: datetime
    ) -> ChallengePassword:
        """Create a challenge password; InactiveOwner, QuotaExceeded."""
        self._require_quota(tx, "challenge_passwords", challenge.owner_id)
        require_active_owner(tx, challenge.owner_id)
        identity = insert_challenge(tx, challenge, now, event.actor_id)
        write_event(tx, event, now)
        return _find(tx, identity)

    @point_read
    def challenge(self, tx: Transaction, challenge_id: int) -> ChallengePassword:
        """Return the challenge password with that id; NotFound."""
        return _find(tx, challenge_id)

    @point_read
    def challenge_by_lookup(self, tx: Transaction, lookup: bytes) -> ChallengePassword | None:
        """Return the challenge password with that HMAC."""
        row = tx.row(_by_lookup, {"b_lookup": lookup})
        return None if row is None else _record(row)

    @read_transaction
    def challenges(self, tx: Transaction, query: ListQuery, now: datetime) -> Page[ChallengePassword]:
        """List challenge passwords; filters ``status`` (reserved ones count as consumed), ``label``, ``batch`` and
        ``device`` (ids), ``enrolled`` (``true`` or ``false``: reserved ones are not).

        *q* is a prefix of the digits, or words of label and names.
        """
        checked(query, ("status", "label", "batch", "device", "enrolled"))
        conditions: list[ColumnElement[bool]] = []
        batch = query.filters.get("batch")
        if batch is not None:
            conditions.append(_ch.batch_id == parse_number(batch, MAX_ID))
        device = query.filters.get("device")
        if device is not None:
            conditions += is_bound_to(literal(parse_number(device, MAX_ID) or 0))
        label = query.filters.get("label")
        if label is not None:
            conditions.append(_ch.label == label)
        if query.owner_id is not None:
            conditions.append(_ch.owner_id == query.owner_id)
        enrolled = one_of(query, "enrolled", ("true", "false"))
        if enrolled is not None:
            conditions.append(_ch.consumed_at.is_not(None) if enrolled == "true" else _UNUSED)  # type: ignore[arg-type]
        status = one_of(query, "status", ("available", "consumed", "expired"))
        end = int(now.timestamp())
        if status == "consumed":
            # A reserved challenge password can't be used by another request.
            conditions.append(or_(_ch.consumed_at.is_not(None), _ch.reserved_by.is_not(None)))
        elif status is not None:
            conditions += [_UNUSED, _ch.reserved_by.is_(None)]  # type: ignore[list-item]  # as the partial index says it
            conditions.append(_ch.expires_at > end if status == "available" else _ch.expires_at <= end)
        prefix = (query.q or "").strip().upper()
        if prefix:
            times = (_ch.created_at, _ch.expires_at)
            matches = matching(tx, query, _SEARCHED, tuple(conditions), times=times)
            conditions.append(or_(begins_with(_ch.prefix, prefix[:8]), *matches))
        sorts = {
            "id": _ch.id,
            "created_at": _ch.id,
            "expires_at": _ch.expires_at,
            "label": _ch.label,
            "prefix": _ch.prefix,
            "status": _status(end),
            "user": owner_key(_ch.owner_id),
            "validity": _ch.expires_at - _ch.created_at,
        }
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
