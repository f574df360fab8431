"""Jobs and their rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, func, select, update

from pikachu.core.errors import Conflict, NotFound, QuotaExceeded
from pikachu.core.model.jobs import (
    Job,
    JobAction,
    JobArguments,
    JobEvent,
    JobResource,
    JobRow,
    JobState,
    NewJob,
    RowOutcome,
    RowState,
)
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Scope
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.job_schema import job_rows, jobs
from pikachu.storage.pagination import ListSource, checked, matching, one_of, page, table_columns
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    maybe_moment,
    moment,
    read_transaction,
    row_id,
    storable,
    to_json,
    write_transaction,
)
from pikachu.x509.search_text import object_text

#: Jobs of one account that have not ended.
MAX_UNFINISHED: Final = 20

_j: Final = jobs.c
_r: Final = job_rows.c

_by_id: Final = select(*jobs.columns).where(_j.id == bindparam("b_id"))
_running: Final = select(*jobs.columns).where(_j.ended_at.is_(None), _j.id > bindparam("b_after"))
_next: Final = _running.order_by(_j.id).limit(1)
_unfinished: Final = select(func.count()).where(_j.ended_at.is_(None), _j.owner_id == bindparam("b_owner"))
_insert: Final = insert_into(
    jobs,
    "action",
    "resource",
    "arguments",
    "state",
    "actor",
    "owner_id",
    "scopes",
    "address",
    "created_at",
    "total",
    "done",
    "failed",
    "message",
)
_insert_row: Final = insert_into(job_rows, "job_id", "object_id", "name", "state", "message", returning_id=False)
_next_rows: Final = (
    select(_r.id, _r.object_id, _r.name, _r.state, _r.message, _r.ended_at)
    .where(_r.job_id == bindparam("b_job"), _r.ended_at.is_(None))
    .order_by(_r.id)
    .limit(bindparam("b_limit"))
)
_begin: Final = update(job_rows).where(_r.id == bindparam("b_id")).values(state=RowState.RUNNING.value)
_end_row: Final = (
    update(job_rows)
    .where(_r.id == bindparam("b_id"), _r.job_id == bindparam("b_job"), _r.ended_at.is_(None))
    .values(
        state=bindparam("v_state"),
        name=bindparam("v_name"),
        message=bindparam("v_message"),
        ended_at=bindparam("v_ended"),
    )
)
_count: Final = (
    update(jobs)
    .where(_j.id == bindparam("b_id"))
    .values(done=_j.done + bindparam("v_done"), failed=_j.failed + bindparam("v_failed"))
)
_end: Final = (
    update(jobs)
    .where(_j.id == bindparam("b_id"), _j.ended_at.is_(None))
    .values(state=bindparam("v_state"), message=bindparam("v_message"), ended_at=bindparam("v_ended"))
)
_old: Final = select(_j.id).where(_j.ended_at < bindparam("b_before")).order_by(_j.id).limit(bindparam("b_limit"))
_delete: Final = delete(jobs).where(_j.id == bindparam("b_id"))
_delete_rows: Final = delete(job_rows).where(_r.job_id == bindparam("b_id"))


def _job(row: Row) -> Job:
    (
        identity,
        action,
        resource,
        arguments,
        state,
        actor,
        owner_id,
        scopes,
        address,
        created_at,
        ended_at,
        total,
        done,
        failed,
        message,
    ) = row
    return Job(
        identity,
        JobAction(action),
        JobResource(resource),
        JobArguments(**json.loads(arguments)),
        JobState(state),
        actor,
        owner_id,
        frozenset(Scope(name) for name in scopes.split()),
        address,
        moment(created_at),
        maybe_moment(ended_at),
        total,
        done,
        failed,
        message,
    )


def _row(row: Row) -> JobRow:
    identity, object_id, name, state, message, ended_at = row
    return JobRow(identity, object_id, name, RowState(state), message, maybe_moment(ended_at))


def _search_text(row: Row) -> str:
    return object_text([str(value) for value in row])


def _find(tx: Transaction, job_id: int) -> Job:
    row = tx.row(_by_id, {"b_id": row_id(job_id)})
    if row is None:
        raise NotFound("there is no such job")
    return _job(row)


class JobStore(StoreSection):
    """See :class:`pikachu.core.job_interfaces.IJobStore`."""

    @write_transaction
    def add_job(self, tx: Transaction, job: NewJob, event: JobEvent, now: datetime) -> Job:
        """Store a job with its rows; QuotaExceeded."""
        if (tx.row(_unfinished, {"b_owner": job.owner_id}) or (0,))[0] >= MAX_UNFINISHED:
            raise QuotaExceeded(f"You have {MAX_UNFINISHED} unfinished jobs. Wait until one has ended, or cancel one.")
        arguments = {"reason": job.arguments.reason, "revoke": job.arguments.revoke}
        values = {
            "action": job.action.value,
            "resource": job.resource.value,
            "arguments": to_json(arguments),
            "state": JobState.RUNNING.value,
            "actor": storable(job.actor),
            "owner_id": job.owner_id,
            "scopes": " ".join(sorted(job.scopes)),
            "address": storable(job.address),
            "created_at": int(now.timestamp()),
            "total": len(job.ids),
            "done": 0,
            "failed": 0,
            "message": "",
        }
        identity = tx.insert(_insert, values)
        row = {"job_id": identity, "name": "", "state": RowState.WAITING.value, "message": ""}
        tx.write_many(_insert_row, [{**row, "object_id": object_id} for object_id in job.ids])
        stored = _find(tx, identity)
        write_event(tx, event(stored), now)
        return stored

    @read_transaction
    def job(self, tx: Transaction, job_id: int) -> Job:
        """Return a job; NotFound."""
        return _find(tx, job_id)

    @read_transaction
    def jobs(self, tx: Transaction, query: ListQuery) -> Page[Job]:
        """List jobs; filters ``state``, ``action`` and ``resource``."""
        checked(query, ("state", "action", "resource"))
        conditions: list[ColumnElement[bool]] = []
        if query.owner_id is not None:
            conditions.append(_j.owner_id == query.owner_id)
        for name, values in (("state", JobState), ("action", JobAction), ("resource", JobResource)):
            chosen = one_of(query, name, list(values))
            if chosen is not None:
                conditions.append(_j[name] == chosen)
        conditions += matching(
            tx, query, (_j.id, _j.id, _j.action, _j.resource, _j.actor), conditions, text=_search_text
        )
        sorts = {"id": _j.id, "created_at": _j.id, "total": _j.total}
        return page(tx, query, ListSource(table_columns(jobs), sorts, _job), conditions)

    @read_transaction
    def job_rows(self, tx: Transaction, job_id: int, query: ListQuery) -> Page[JobRow]:
        """List the rows of a job; filter ``state``."""
        checked(query, ("state",))
        conditions: list[ColumnElement[bool]] = [_r.job_id == row_id(job_id)]
        state = one_of(query, "state", list(RowState))
        if state is not None:
            conditions.append(_r.state == state)
        conditions += matching(tx, query, (_r.id, _r.object_id, _r.name, _r.message), conditions, text=_search_text)
        columns = (_r.id, _r.object_id, _r.name, _r.state, _r.message, _r.ended_at)
        return page(tx, query, ListSource(columns, {"id": _r.id, "object_id": _r.object_id}, _row), conditions)

    @read_transaction
    def next_job(self, tx: Transaction, after: int) -> Job | None:
        """Return the running job after *after*, or the first one, or None."""
        row = tx.row(_next, {"b_after": after}) or tx.row(_next, {"b_after": 0})
        return None if row is None else _job(row)

    @write_transaction
    def begin_rows(self, tx: Transaction, job_id: int, limit: int) -> list[JobRow] | None:
        """Mark the next rows as running and return them as they were; None when the job does not run any more."""
        if _find(tx, job_id).state is not JobState.RUNNING:
            return None
        rows = [_row(row) for row in tx.rows(_next_rows, {"b_job": job_id, "b_limit": limit})]
        if waiting := [{"b_id": row.id} for row in rows if row.state is RowState.WAITING]:
            tx.write_many(_begin, waiting)
        return rows

    @write_transaction
    def record_rows(self, tx: Transaction, job_id: int, outcomes: Sequence[RowOutcome], now: datetime) -> None:
        """Record outcomes; those of rows that have one already change nothing."""
        counts = {RowState.DONE: 0, RowState.FAILED: 0}
        for one in outcomes:
            values = {
                "b_id": one.row_id,
                "b_job": job_id,
                "v_state": one.state.value,
                "v_name": storable(one.name),
                "v_message": storable(one.message),
                "v_ended": int(now.timestamp()),
            }
            # Another node may have recorded it, if it has taken over meanwhile.
            counts[one.state] += tx.write(_end_row, values)
        tx.write(_count, {"b_id": job_id, "v_done": counts[RowState.DONE], "v_failed": counts[RowState.FAILED]})

    @write_transaction
    def end_job(
        self, tx: Transaction, job_id: int, state: JobState, message: str, event: JobEvent, now: datetime
    ) -> Job:
        """End a running job; NotFound, Conflict."""
        job = _find(tx, job_id)
        values = {
            "b_id": job.id,
            "v_state": state.value,
            "v_message": storable(message),
            "v_ended": int(now.timestamp()),
        }
        if not tx.write(_end, values):
            raise Conflict(f"This job has ended already: {job.state}.")
        ended = _find(tx, job_id)
        write_event(tx, event(ended), now)
        return ended

    @write_transaction
    def forget_jobs(self, tx: Transaction, ended_before: datetime, limit: int) -> int:
        """Delete jobs that ended before that time, with their rows; return their number."""
        old = tx.rows(_old, {"b_before": int(ended_before.timestamp()), "b_limit": limit})
        for (identity,) in old:
            tx.write(_delete_rows, {"b_id": identity})
            tx.write(_delete, {"b_id": identity})
        return len(old)
