"""The store's interface for jobs (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.jobs import FilePart, Job, JobEvent, JobRow, JobState, NewJob, RowOutcome
from pikachu.core.model.list_queries import ListQuery, Page


class IJobStore(Protocol):
    """Jobs, and the outcome of each of their rows."""

    def add_job(self, job: NewJob, event: JobEvent, now: datetime) -> Deferred[Job]:
        """Store a job with its rows.  Fails with QuotaExceeded when the account has too many unfinished ones."""

    def job(self, job_id: int) -> Deferred[Job]:
        """Return a job.  Fails with NotFound."""

    def jobs(self, query: ListQuery) -> Deferred[Page[Job]]:
        """List jobs; filters ``state``, ``action`` and ``resource``."""

    def job_rows(self, job_id: int, query: ListQuery) -> Deferred[Page[JobRow]]:
        """List the rows of a job, in their order; filter ``state``."""

    def job_counts(self) -> Deferred[dict[str, int]]:
        """Return the numbers of jobs by state."""

    def next_job(self, after: int) -> Deferred[Job | None]:
        """Return the running job with the next id above *after*, else the one with the lowest id, else None."""

    def begin_rows(self, job_id: int, limit: int) -> Deferred[list[JobRow] | None]:
        """Mark the next rows as running, and return them as they were before; None when the job does not run any more.

        Rows that were begun earlier and have no outcome come first.
        """

    def job_file(self, job_id: int, after: int, limit: int) -> Deferred[list[FilePart]]:
        """Return the next parts of a job's file, after the row with the id *after*."""

    def record_rows(self, job_id: int, outcomes: Sequence[RowOutcome], now: datetime) -> Deferred[None]:
        """Record outcomes; those of rows that have one already change nothing."""

    def end_job(self, job_id: int, state: JobState, message: str, event: JobEvent, now: datetime) -> Deferred[Job]:
        """End a running job.  Fails with NotFound, and with Conflict when it has ended."""

    def forget_jobs(self, ended_before: datetime, limit: int) -> Deferred[bool]:
        """Delete up to *limit* rows of a job that ended before that time, and the job with its last row.

        Returns whether it deleted anything, so that there may be more.
        """

    def forget_files(self, ended_before: datetime, limit: int) -> Deferred[bool]:
        """Delete up to *limit* parts of the file of a job that ended before that time; returns whether it did."""
