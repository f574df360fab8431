"""Jobs in each database (JOB-1): rows begin and end once, whichever node carries them out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pikachu.core.errors import Conflict, NotFound, QuotaExceeded
from pikachu.core.model.events import Event
from pikachu.core.model.jobs import (
    FILE_LIFETIME,
    Job,
    JobAction,
    JobArguments,
    JobResource,
    JobState,
    NewJob,
    RowOutcome,
    RowState,
)
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Scope
from pikachu.storage.jobs import MAX_UNFINISHED
from tests.support.databases import NOW, Opened


def event(job: Job) -> Event:
    return Event("create", "job", str(job.id), job.actor, owner_id=job.owner_id)


def add(db: Opened, *ids: int, owner_id: int = 7) -> Job:
    """A new job."""
    arguments = JobArguments(reason="superseded")
    new = NewJob(
        JobAction.REVOKE, JobResource.CERTIFICATES, arguments, ids, "alice", owner_id, frozenset(Scope), "192.0.2.1"
    )
    return db.get(db.store.add_job(new, event, NOW))


def test_rows(db: Opened) -> None:
    """Rows are begun in their order, and those without an outcome again, as they are."""
    other = add(db, 1)
    job = add(db, 30, 10, 20)
    assert (job.total, job.state, job.scopes) == (3, JobState.RUNNING, frozenset(Scope))
    assert job.arguments == JobArguments(reason="superseded")
    begun = db.get(db.store.begin_rows(job.id, 2))
    assert begun is not None
    assert [(row.object_id, row.state) for row in begun] == [(30, RowState.WAITING), (10, RowState.WAITING)]
    again = db.get(db.store.begin_rows(job.id, 3))
    assert again is not None
    assert [row.state for row in again] == [RowState.RUNNING, RowState.RUNNING, RowState.WAITING]
    outcomes = [RowOutcome(again[0].id, "x\0", RowState.DONE), RowOutcome(again[1].id, "", RowState.FAILED, "why")]
    db.get(db.store.record_rows(job.id, outcomes, NOW))
    # Another node has recorded them, too.
    db.get(db.store.record_rows(job.id, [*outcomes, RowOutcome(again[2].id, "", RowState.DONE)], NOW))
    ended = db.get(db.store.job(job.id))
    assert (ended.done, ended.failed, ended.left) == (2, 1, 0)
    assert db.get(db.store.begin_rows(job.id, 2)) == []
    rows = db.get(db.store.job_rows(job.id, ListQuery(sort="id"))).items
    assert [(row.object_id, row.state, row.message) for row in rows] == [
        (30, RowState.DONE, ""),
        (10, RowState.FAILED, "why"),
        (20, RowState.DONE, ""),
    ]
    failed = db.get(db.store.job_rows(job.id, ListQuery(q="10", filters={"state": "failed"})))
    assert [row.object_id for row in failed.items] == [10]
    assert db.get(db.store.job(other.id)).done == 0


def test_end(db: Opened) -> None:
    """A job ends once, and begins no row afterwards."""
    job, other = add(db, 1), add(db, 2)
    assert db.get(db.store.next_job(0)) == job
    assert db.get(db.store.next_job(job.id)) == other
    assert db.get(db.store.next_job(other.id)) == job
    ended = db.get(db.store.end_job(job.id, JobState.STOPPED, "why", event, NOW))
    assert (ended.state, ended.message, ended.ended_at) == (JobState.STOPPED, "why", NOW)
    with pytest.raises(Conflict):
        db.get(db.store.end_job(job.id, JobState.COMPLETED, "", event, NOW))
    assert db.get(db.store.begin_rows(job.id, 1)) is None
    assert db.get(db.store.next_job(0)) == other
    db.get(db.store.end_job(other.id, JobState.COMPLETED, "", event, NOW))
    assert db.get(db.store.next_job(0)) is None
    assert len(db.get(db.store.events(ListQuery(filters={"resource_type": "job"}))).items) == 4


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ((RowState.FAILED, RowState.FAILED), JobState.FAILED),
        ((RowState.FAILED, RowState.DONE), JobState.COMPLETED),
        ((RowState.DONE, RowState.DONE), JobState.COMPLETED),
        ((RowState.FAILED,), JobState.RUNNING),
        ((), JobState.CANCELLED),
    ],
)
def test_state(db: Opened, outcomes: tuple[RowState, ...], state: JobState) -> None:
    """A job whose objects all failed has failed: where it is read, listed, filtered, sorted and counted."""
    add(db, 3)
    job = add(db, 1, 2)
    rows = db.get(db.store.begin_rows(job.id, 2)) or []
    ended = [RowOutcome(row.id, "x", outcome) for row, outcome in zip(rows, outcomes, strict=False)]
    db.get(db.store.record_rows(job.id, ended, NOW))
    if state is not JobState.RUNNING:
        end = JobState.CANCELLED if state is JobState.CANCELLED else JobState.COMPLETED
        assert db.get(db.store.end_job(job.id, end, "", event, NOW)).state is state
    assert db.get(db.store.job(job.id)).state is state
    listed = db.get(db.store.jobs(ListQuery(sort="state"))).items
    assert [one.state.value for one in listed] == sorted((state.value, JobState.RUNNING.value))
    for wanted in JobState:
        found = db.get(db.store.jobs(ListQuery(filters={"state": wanted.value}, q="revoke"))).items
        assert (job.id in [one.id for one in found]) == (wanted is state)
    expected = {"running": 2} if state is JobState.RUNNING else {"running": 1, state.value: 1}
    assert db.get(db.store.job_counts()) == expected


def test_forgotten(db: Opened) -> None:
    """Old jobs are deleted with their rows, but none that has not ended."""
    old, running = add(db, 1, 2), add(db, 3)
    db.get(db.store.end_job(old.id, JobState.COMPLETED, "", event, NOW))
    assert not db.get(db.store.forget_jobs(NOW, 5))
    assert db.get(db.store.forget_jobs(NOW + timedelta(seconds=1), 5))
    assert not db.get(db.store.forget_jobs(NOW + timedelta(seconds=1), 5))
    with pytest.raises(NotFound):
        db.get(db.store.job(old.id))
    assert not db.get(db.store.job_rows(old.id, ListQuery())).items
    assert [job.id for job in db.get(db.store.jobs(ListQuery())).items] == [running.id]


def test_files(db: Opened) -> None:
    """The parts of a file are stored once, read in the order of the rows, and deleted apart from the job."""
    other, job = add(db, 9), add(db, 30, 10, 20)
    assert not job.has_file(NOW)
    rows = db.get(db.store.begin_rows(job.id, 3)) or []
    outcomes = [RowOutcome(row.id, f"n{row.object_id}", RowState.DONE, content=b"x" * row.object_id) for row in rows]
    outcomes[2] = RowOutcome(rows[2].id, "", RowState.FAILED, "why")
    for _ in range(2):
        db.get(db.store.record_rows(job.id, outcomes, NOW))
    assert db.get(db.store.job(job.id)).size == 40
    first = db.get(db.store.job_file(job.id, 0, 1))
    assert [(one.object_id, one.name, len(one.content)) for one in first] == [(30, "n30", 30)]
    assert [one.object_id for one in db.get(db.store.job_file(job.id, first[0].row_id, 5))] == [10]
    assert db.get(db.store.job_file(other.id, 0, 5)) == []
    ended = db.get(db.store.end_job(job.id, JobState.COMPLETED, "", event, NOW))
    assert ended.has_file(NOW)
    assert not ended.has_file(NOW + FILE_LIFETIME)
    later = NOW + timedelta(seconds=1)
    assert not db.get(db.store.forget_files(NOW, 1))
    deleted = [db.get(db.store.forget_files(later, 1)) for _ in range(4)]
    assert deleted == [True, True, True, False]
    assert db.get(db.store.job(job.id)).size == 0
    assert db.get(db.store.job_file(job.id, 0, 5)) == []
    assert len(db.get(db.store.job_rows(job.id, ListQuery())).items) == 3


def test_forgotten_in_parts(db: Opened) -> None:
    """A transaction deletes no more rows than it may; the job goes with its last ones, and so does its file."""
    job = add(db, *range(1, 8))
    rows = db.get(db.store.begin_rows(job.id, 7)) or []
    outcomes = [RowOutcome(row.id, "", RowState.DONE, content=b"x") for row in rows]
    db.get(db.store.record_rows(job.id, outcomes, NOW))
    db.get(db.store.end_job(job.id, JobState.COMPLETED, "", event, NOW))
    later, calls = NOW + timedelta(seconds=1), 0
    while db.get(db.store.forget_jobs(later, 3)):
        calls += 1
        left = len(db.get(db.store.job_file(job.id, 0, 10)))
        assert left >= 7 - 3 * calls
    assert calls >= 4
    with pytest.raises(NotFound):
        db.get(db.store.job(job.id))


def test_unfinished(db: Opened) -> None:
    """Each account has a greatest number of unfinished jobs."""
    jobs = [add(db, 1) for _ in range(MAX_UNFINISHED)]
    with pytest.raises(QuotaExceeded):
        add(db, 1)
    add(db, 1, owner_id=8)
    db.get(db.store.end_job(jobs[0].id, JobState.CANCELLED, "", event, NOW))
    add(db, 1)
