"""Enrollment batches: rows, lists, and their challenge passwords (ENR-1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, case, literal, literal_column, null, select, update

from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.batches import BatchState, EnrollmentBatch, NewBatch
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import NewChallengePassword
from pikachu.storage.accounts import require_active_owner
from pikachu.storage.audit import write_event
from pikachu.storage.batch_schema import batches
from pikachu.storage.challenge_passwords import insert_challenge
from pikachu.storage.database import Row, Transaction
from pikachu.storage.pagination import ListSource, checked, matching, one_of, owner_key, owner_name, page
from pikachu.storage.schema import challenges
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    maybe_moment,
    moment,
    read_transaction,
    row_id,
    storable,
    write_transaction,
)

_b: Final = batches.c
_ch: Final = challenges.c
_COLUMNS: Final = [column for column in batches.columns if column.name not in ("names", "created_by_id")]
_SEARCHED: Final = (_b.id, _b.label, _b.policy, owner_name(_b.owner_id))
_by_id: Final = select(*_COLUMNS).where(_b.id == bindparam("b_id"))
_insert: Final = insert_into(
    batches, "label", "policy", "owner_id", "created_at", "expires_at", "total", "names", "problem", "created_by_id"
)
_is_unfinished: Final = and_(_b.names.is_not(None), _b.problem == literal_column("''"))
_unfinished: Final = select(*_COLUMNS, _b.names).where(_is_unfinished).order_by(_b.id)
_fill: Final = (
    update(batches)
    .where(_b.id == bindparam("b_id"), _b.created == bindparam("b_created"), _is_unfinished)
    .values(
        created=_b.created + bindparam("more"),
        names=case((_b.created + bindparam("more") >= _b.total, null()), else_=_b.names),
    )
)
_set_problem: Final = update(batches).where(_b.id == bindparam("b_id")).values(problem=bindparam("v_problem"))
_end: Final = update(batches).where(_b.id == bindparam("b_id")).values(ended_at=bindparam("v_now"), names=null())
# A reserved one expires too, so that nothing can be enrolled with it when its request is rejected.
_expire: Final = (
    update(challenges)
    .where(_ch.batch_id == bindparam("b_id"), _ch.consumed_at.is_(None), _ch.expires_at > bindparam("v_now"))
    .values(expires_at=bindparam("v_now"))
)


def _record(row: Row) -> EnrollmentBatch:
    identity, label, policy, owner_id, created_at, expires_at, total, created, enrolled, ended_at, problem = row
    return EnrollmentBatch(
        identity,
        label,
        policy,
        owner_id,
        moment(created_at),
        moment(expires_at),
        total,
        created,
        enrolled,
        maybe_moment(ended_at),
        problem,
    )


def _find(tx: Transaction, batch_id: int) -> EnrollmentBatch:
    row = tx.row(_by_id, {"b_id": row_id(batch_id)})
    if row is None:
        raise NotFound("There is no such batch.")
    return _record(row)


def _in_state(state: str, now: int) -> list[ColumnElement[bool]]:
    """Return the conditions of :meth:`EnrollmentBatch.state`."""
    if state == BatchState.ENDED:
        return [_b.ended_at.is_not(None)]
    conditions: list[ColumnElement[bool]] = [_b.ended_at.is_(None)]
    if state == BatchState.COMPLETE:
        return [*conditions, _b.enrolled >= _b.total]
    conditions.append(_b.enrolled < _b.total)
    if state == BatchState.EXPIRED:
        return [*conditions, _b.expires_at <= now]
    conditions.append(_b.expires_at > now)
    if state == BatchState.STOPPED:
        return [*conditions, _b.problem != ""]
    creating = _b.created < _b.total if state == BatchState.CREATING else _b.created >= _b.total
    return [*conditions, _b.problem == "", creating]


def _state_key(now: int) -> ColumnElement[str]:
    """Return the batch's state at a time, to sort by."""
    states = [(and_(*_in_state(state, now)), literal(state.value)) for state in BatchState]
    return case(*states, else_=literal(BatchState.OPEN.value))


class BatchStore(StoreSection):
    """See :class:`pikachu.core.challenge_interfaces.IBatchStore`."""

    @write_transaction
    def add_batch(self, tx: Transaction, batch: NewBatch, event: Event, now: datetime) -> EnrollmentBatch:
        """Create a batch; InactiveOwner, QuotaExceeded."""
        require_active_owner(tx, batch.owner_id)
        self._require_quota(tx, "challenge_passwords", batch.owner_id, batch.total)
        values = {
            "label": batch.label,
            "policy": batch.policy,
            "owner_id": batch.owner_id,
            "created_at": int(now.timestamp()),
            "expires_at": int(batch.expires_at.timestamp()),
            "total": batch.total,
            "names": batch.names,
            "problem": "",
            "created_by_id": event.actor_id,
        }
        identity = tx.insert(_insert, values)
        write_event(tx, event, now)
        return _find(tx, identity)

    @read_transaction
    def batch(self, tx: Transaction, batch_id: int) -> EnrollmentBatch:
        """Return the batch with that id; NotFound."""
        return _find(tx, batch_id)

    @read_transaction
    def batches(self, tx: Transaction, query: ListQuery, now: datetime) -> Page[EnrollmentBatch]:
        """List batches; filters ``state`` and ``policy``."""
        checked(query, ("state", "policy"))
        conditions: list[ColumnElement[bool]] = []
        if query.owner_id is not None:
            conditions.append(_b.owner_id == query.owner_id)
        policy = query.filters.get("policy")
        if policy is not None:
            conditions.append(_b.policy == policy)
        state = one_of(query, "state", list(BatchState))
        if state is not None:
            conditions += _in_state(state, int(now.timestamp()))
        conditions += matching(tx, query, _SEARCHED, tuple(conditions), times=(_b.created_at, _b.expires_at))
        sorts = {
            "id": _b.id,
            "created_at": _b.id,
            "expires_at": _b.expires_at,
            "label": _b.label,
            "policy": _b.policy,
            "total": _b.total,
            "enrolled": _b.enrolled,
            "state": _state_key(int(now.timestamp())),
            "user": owner_key(_b.owner_id),
        }
        return page(tx, query, ListSource(_COLUMNS, sorts, _record), conditions)

    @read_transaction
    def unfinished_batches(self, tx: Transaction) -> list[tuple[EnrollmentBatch, str]]:
        """Return the batches that lack challenge passwords, with their names."""
        return [(_record(row[:-1]), row[-1]) for row in tx.rows(_unfinished)]

    @write_transaction
    def fill_batch(
        self,
        tx: Transaction,
        batch_id: int,
        position: int,
        challenges: Sequence[NewChallengePassword],
        now: datetime,
    ) -> bool:
        """Add the next challenge passwords of a batch; InactiveOwner, QuotaExceeded."""
        batch = _find(tx, batch_id)
        if not tx.write(_fill, {"b_id": batch_id, "b_created": position, "more": len(challenges)}):
            return False
        require_active_owner(tx, batch.owner_id)
        self._require_quota(tx, "challenge_passwords", batch.owner_id, len(challenges))
        for challenge in challenges:
            insert_challenge(tx, challenge, now)
        return True

    @write_transaction
    def stop_batch(self, tx: Transaction, batch_id: int, problem: str) -> None:
        """Add no more challenge passwords to a batch."""
        tx.write(_set_problem, {"b_id": batch_id, "v_problem": storable(problem)})

    @write_transaction
    def continue_batch(self, tx: Transaction, batch_id: int, event: Event, now: datetime) -> None:
        """Let challenge passwords be added to a stopped batch again; NotFound, Conflict."""
        if _find(tx, batch_id).state(now) is not BatchState.STOPPED:
            raise Conflict("This batch was not stopped.")
        tx.write(_set_problem, {"b_id": batch_id, "v_problem": ""})
        write_event(tx, event, now)

    @write_transaction
    def end_batch(
        self, tx: Transaction, batch_id: int, decide: Callable[[EnrollmentBatch], Event], now: datetime
    ) -> EnrollmentBatch:
        """Let all unused challenge passwords of a batch expire; NotFound, Conflict, and the errors of *decide*."""
        batch = _find(tx, batch_id)
        event = decide(batch)
        if batch.ended_at is not None:
            raise Conflict("This batch was ended already.")
        values = {"b_id": batch_id, "v_now": int(now.timestamp())}
        tx.write(_expire, values)
        tx.write(_end, values)
        write_event(tx, event, now)
        return _find(tx, batch_id)
