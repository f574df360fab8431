"""Carries out jobs: a few rows at a time, one job after the other, on one node (JOB-1).

A row's outcome is stored after its act, in another transaction.  After a crash between the two the act is repeated
once: when that is refused and its object is as the act leaves it, it counts as done.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.authenticator import account_principal
from pikachu.ca.leadership import IsLeader
from pikachu.core.concurrency import start
from pikachu.core.errors import (
    Conflict,
    InactiveOwner,
    NotFound,
    Overloaded,
    PikachuError,
    RequestError,
    StoreUnavailable,
)
from pikachu.core.interfaces import IClock, IDelayedCall, IStore
from pikachu.core.model.jobs import FILE_LIFETIME, MAX_FILE, Job, JobRow, JobState, RowOutcome, RowState
from pikachu.core.model.people import Principal
from pikachu.core.model.times import utc
from pikachu.core.owners import require_active
from pikachu.core.sentences import sentence
from pikachu.operations.job_actions import JobActions, RowAction
from pikachu.operations.jobs import job_event

log = Logger()

#: Rows that are carried out concurrently, so that their writes are committed together.
GROUP: Final = 8
#: The rest after each group, as a multiple of the time that it took, and its bounds in seconds: others come first.
REST: Final = 1.0
MIN_REST: Final = 0.005
MAX_REST: Final = 1.0
#: How long jobs and their outcomes are kept after their end.
KEPT: Final = timedelta(days=90)
#: Rows that are deleted in one transaction, and transactions after each job: more rows than a job has.
_FORGOTTEN_ROWS: Final = 500
_FORGOTTEN_PARTS: Final = 40

_DONE_BEFORE: Final = "Done before the server stopped."
_INTERNAL: Final = "Internal error. The log has its cause."


class JobRunner:
    """Runs the jobs of all accounts, with a group of rows of each in turn.

    :param is_leader: whether this node runs jobs.
    :param group: rows that are carried out concurrently.
    """

    def __init__(
        self,
        *,
        store: IStore,
        actions: JobActions,
        clock: IClock,
        is_leader: IsLeader,
        kept: timedelta = KEPT,
        group: int = GROUP,
    ) -> None:
        self._store = store
        self._actions = actions
        self._clock = clock
        self._is_leader = is_leader
        self._group = group
        self._kept = kept
        self._running: Deferred[None] = succeed(None)
        self._is_wanted = False
        self._stopping = False
        self._failing = False
        # The job that was advanced last; the next round begins after it, so that one that fails doesn't hold up others.
        self._last = 0
        self._resting: Deferred[None] | None = None
        self._rest_due: IDelayedCall | None = None

    def wake(self) -> None:
        """Begin to run what there is, unless that is under way or another node does."""
        self._is_wanted = True
        if self._running.called and not self._stopping:
            self._running = start(self._run()).addErrback(self._failed)

    def stop(self) -> Deferred[None]:
        """Begin nothing more; fires when the rows in progress have ended.  The next start resumes the rest."""
        self._stopping = True
        self._end_rest()
        return self._running

    def _failed(self, failure: Failure) -> None:
        """Log a failure; the next call of :meth:`wake` tries again."""
        if not failure.check(StoreUnavailable, Overloaded):
            log.failure("Running jobs failed", failure=failure)
        elif not self._failing:
            log.error("Jobs wait: {error}", error=failure.getErrorMessage())
        self._failing = True

    async def _run(self) -> None:
        while not self._stopping and self._is_leader():
            self._is_wanted = False
            job = await self._store.next_job(self._last)
            if job is None:
                if self._is_wanted:
                    continue
                await self._forget(utc(self._clock.seconds()))
                break
            self._last = job.id
            began = self._clock.seconds()
            await self._advance(job)
            self._failing = False
            await self._rest(self._clock.seconds() - began)

    async def _advance(self, job: Job) -> None:
        """Carry out the next rows of a job, or end it after the last one."""
        act = self._actions.of(job.resource, job.action)
        rows = await self._store.begin_rows(job.id, 1 if act.alone else self._group)
        if rows is None:
            return
        if not rows:
            await self._end(job, JobState.COMPLETED, "complete")
            return
        ended = await DeferredList([start(self._row(job, act, row)) for row in rows], consumeErrors=True)
        results: list[RowOutcome | Failure] = [result for _, result in ended]
        outcomes = [result for result in results if isinstance(result, RowOutcome)]
        if outcomes:
            await self._store.record_rows(job.id, outcomes, utc(self._clock.seconds()))
        failures = [result for result in results if isinstance(result, Failure)]
        inactive = [one.value.public for one in failures if isinstance(one.value, InactiveOwner)]
        if inactive:
            await self._end(job, JobState.STOPPED, "stop", inactive[0])
        elif failures:
            failures[0].raiseException()

    async def _end(self, job: Job, state: JobState, event_type: str, message: str = "") -> None:
        now = utc(self._clock.seconds())
        try:
            ended = await self._store.end_job(job.id, state, message, lambda job: job_event(event_type, job), now)
        except Conflict:
            # It was cancelled, or ended by another node.
            return
        log.info(
            "Job {job} ended: {state}, {done} done, {failed} failed",
            job=ended.id,
            state=ended.state.value,
            done=ended.done,
            failed=ended.failed,
        )
        await self._forget(now)

    async def _forget(self, now: datetime) -> None:
        """Delete old jobs and files in short transactions, so that issuance waits for none of them."""
        for _ in range(_FORGOTTEN_PARTS):
            if self._stopping or not await self._store.forget_jobs(now - self._kept, _FORGOTTEN_ROWS):
                break
        for _ in range(_FORGOTTEN_PARTS):
            if self._stopping or not await self._store.forget_files(now - FILE_LIFETIME, _FORGOTTEN_ROWS):
                break

    async def _row(self, job: Job, act: RowAction, row: JobRow) -> RowOutcome:
        """Carry out one row.

        Fails with InactiveOwner when the account may not act any more, and with StoreUnavailable or Overloaded when the
        row has to be tried again.
        """
        actor = await self._actor(job)
        name = ""
        try:
            name = await self._name(actor, job, row)
            if job.size >= MAX_FILE:
                raise Conflict(f"The file has {MAX_FILE // 2**20} MiB already. Export this one in another job.")
            result = await act.perform(actor, row.object_id, job.arguments)
        except (StoreUnavailable, Overloaded):
            raise
        except (NotFound, Conflict) as error:
            if row.state is RowState.RUNNING and await self._is_done(actor, act, row):
                return RowOutcome(row.id, name, RowState.DONE, _DONE_BEFORE)
            return RowOutcome(row.id, name, RowState.FAILED, sentence(error.public))
        except PikachuError as error:
            return RowOutcome(row.id, name, RowState.FAILED, sentence(error.public))
        except Exception:  # noqa: BLE001 - a defect in one row is not the others'
            log.failure("Row {object} of job {job} failed", object=row.object_id, job=job.id)
            return RowOutcome(row.id, name, RowState.FAILED, _INTERNAL)
        if isinstance(result, bytes):
            return RowOutcome(row.id, name, RowState.DONE, content=result)
        return RowOutcome(row.id, name, RowState.DONE, result)

    async def _actor(self, job: Job) -> Principal:
        """Return the account's principal, with the rights that it has now."""
        try:
            account = await self._store.account(job.owner_id)
        except NotFound:
            account = None
        require_active(account)
        assert account is not None  # noqa: S101 - require_active refuses None
        return account_principal(account, job.address, job.scopes, job_id=job.id)

    async def _is_done(self, actor: Principal, act: RowAction, row: JobRow) -> bool:
        """Return whether an earlier attempt, whose outcome was lost, may have succeeded."""
        try:
            return act.is_done is not None and await act.is_done(actor, row.object_id)
        except RequestError:
            return False

    async def _name(self, actor: Principal, job: Job, row: JobRow) -> str:
        """Return the name of the row's object; empty where the action will say why it can't be read."""
        try:
            return await self._actions.name(actor, job.resource, row.object_id)
        except RequestError:
            return ""

    def _rest(self, seconds: float) -> Deferred[None]:
        resting: Deferred[None] = Deferred()
        if self._stopping:
            return succeed(None)
        self._resting = resting
        delay = min(max(seconds * REST, MIN_REST), MAX_REST)
        self._rest_due = self._clock.callLater(delay, self._end_rest)
        return resting

    def _end_rest(self) -> None:
        if self._rest_due is not None and self._rest_due.active():
            self._rest_due.cancel()
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.callback(None)
