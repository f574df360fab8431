"""Jobs and their rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, case, delete, func, literal_column, or_, select, update

from pikachu.core.errors import Conflict, NotFound, QuotaExceeded
from pikachu.core.model.jobs import (
    FilePart,
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
from pikachu.storage.job_schema import job_files, job_rows, jobs
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
_f: Final = job_files.c

# A job of which nothing was done has failed.  That follows from its counts and is not stored: so jobs that ended before
# this version show it too, and nodes of earlier versions can read the later ones.
_has_failed: Final = and_(_j.state == JobState.COMPLETED.value, _j.done == 0, _j.failed > 0)
_state: Final = case((_has_failed, JobState.FAILED.value), else_=_j.state)
_columns: Final = tuple(_state.label("state") if column is _j.state else column for column in table_columns(jobs))

_by_id: Final = select(*_columns).where(_j.id == bindparam("b_id"))
_count_by_state: Final = select(_state.label("state"), func.count().label("count")).group_by(_state)
_running: Final = select(*_columns).where(_j.ended_at.is_(None), _j.id > bindparam("b_after"))
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
    .values(
        done=_j.done + bindparam("v_done"),
        failed=_j.failed + bindparam("v_failed"),
        size=_j.size + bindparam("v_size"),
    )
)
_end: Final = (
    update(jobs)
    .where(_j.id == bindparam("b_id"), _j.ended_at.is_(None))
    .values(state=bindparam("v_state"), message=bindparam("v_message"), ended_at=bindparam("v_ended"))
)
_oldest: Final = select(_j.id).where(_j.ended_at < bindparam("b_before")).order_by(_j.ended_at, _j.id).limit(1)
_oldest_file: Final = _oldest.where(_j.size > literal_column("0"))
_delete: Final = delete(jobs).where(_j.id == bindparam("b_id"))
_delete_rows: Final = delete(job_rows).where(
    _r.id.in_(select(_r.id).where(_r.job_id == bindparam("b_id")).order_by(_r.id).limit(bindparam("b_limit")))
)
_delete_parts: Final = delete(job_files).where(
    _f.row_id.in_(
        select(_f.row_id).where(_f.job_id == bindparam("b_id")).order_by(_f.row_id).limit(bindparam("b_limit"))
    )
)
_clear_size: Final = update(jobs).where(_j.id == bindparam("b_id")).values(size=0)
_insert_part: Final = insert_into(job_files, "row_id", "job_id", "content", returning_id=False)
_parts: Final = (
    select(_f.row_id, _r.object_id, _r.name, _f.content)
    .join(job_rows, _r.id == _f.row_id)
    .where(_f.job_id == bindparam("b_id"), _f.row_id > bindparam("b_after"))
    .order_by(_f.row_id)
    .limit(bindparam("b_limit"))
)


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
        size,
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
        size,
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
        # Without those that are absent, nodes of earlier versions can read it.
        arguments = {name: value for name, value in asdict(job.arguments).items() if value is not None}
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
        if query.visible is not None:
            seen = query.visible
            conditions.append(or_(_j.owner_id == seen.owner_id, _j.resource.in_(seen.kinds)))
        filters = (
            ("state", _state, JobState),
            ("action", _j.action, JobAction),
            ("resource", _j.resource, JobResource),
        )
        for name, column, values in filters:
            chosen = one_of(query, name, list(values))
            if chosen is not None:
                conditions.append(column == chosen)
        conditions += matching(
            tx, query, (_j.id, _j.id, _j.action, _j.resource, _j.actor), conditions, text=_search_text
        )
        sorts = {
            "id": _j.id,
            "created_at": _j.id,
            "ended_at": func.coalesce(_j.ended_at, 0),
            "state": _state,
            **{name: _j[name] for name in ("action", "total", "done", "failed")},
            "user": _j.actor,
        }
        return page(tx, query, ListSource(_columns, sorts, _job), conditions)

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
    def job_counts(self, tx: Transaction) -> dict[str, int]:
        """Return the numbers of jobs by state."""
        return {str(state): int(count) for state, count in tx.rows(_count_by_state)}

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
        counts, size = {RowState.DONE: 0, RowState.FAILED: 0}, 0
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
            if not tx.write(_end_row, values):
                continue
            counts[one.state] += 1
            if one.content is not None:
                tx.write(_insert_part, {"row_id": one.row_id, "job_id": job_id, "content": one.content})
                size += len(one.content)
        done, failed = counts[RowState.DONE], counts[RowState.FAILED]
        tx.write(_count, {"b_id": job_id, "v_done": done, "v_failed": failed, "v_size": size})

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

    @read_transaction
    def job_file(self, tx: Transaction, job_id: int, after: int, limit: int) -> list[FilePart]:
        """Return the next parts of a job's file."""
        rows = tx.rows(_parts, {"b_id": job_id, "b_after": after, "b_limit": limit})
        return [FilePart(row_id, object_id, name, bytes(content)) for row_id, object_id, name, content in rows]

    @write_transaction
    def forget_jobs(self, tx: Transaction, ended_before: datetime, limit: int) -> bool:
        """Delete rows of the oldest job that ended before that time, and the job with its last row."""
        row = tx.row(_oldest, {"b_before": int(ended_before.timestamp())})
        if row is None:
            return False
        some = {"b_id": row[0], "b_limit": limit}
        if tx.write(_delete_parts, some) < limit and tx.write(_delete_rows, some) < limit:
            tx.write(_delete, {"b_id": row[0]})
        return True

    @write_transaction
    def forget_files(self, tx: Transaction, ended_before: datetime, limit: int) -> bool:
        """Delete parts of the oldest file of a job that ended before that time."""
        row = tx.row(_oldest_file, {"b_before": int(ended_before.timestamp())})
        if row is None:
            return False
        if tx.write(_delete_parts, {"b_id": row[0], "b_limit": limit}) < limit:
            tx.write(_clear_size, {"b_id": row[0]})
        return True
