"""Jobs of accounts: created, listed, cancelled (JOB-1).  :mod:`pikachu.operations.job_runner` carries them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from typing import Final

from twisted.python.failure import Failure

from pikachu.auth.permissions import (
    OPERATOR_JOBS,
    Sphere,
    require_changeable,
    require_scope,
    require_visible,
    scope_to_kinds,
)
from pikachu.core.audit import event_by
from pikachu.core.concurrency import Turns, uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, NotAuthorized, NotFound, PikachuError
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.events import Event
from pikachu.core.model.jobs import (
    FILE_LIFETIME,
    MAX_ROWS,
    Job,
    JobAction,
    JobArguments,
    JobResource,
    JobRow,
    JobSelection,
    JobState,
    NewJob,
)
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.core.node_interfaces import Notification, Topic
from pikachu.operations.job_actions import JobActions
from pikachu.operations.job_exports import JobFile

_KIND: Final = "job"
# Scopes that show objects of other accounts.
_SEES_OTHERS: Final = frozenset({Scope.ADMIN, Scope.OPERATE, Scope.AUDIT})
# Objects that are read at a time.
_BATCH: Final = 1000


class Jobs:
    """The jobs of accounts.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized without the scope, and with
    StoreUnavailable.  They run to their end even when their Deferred is cancelled.

    :param wake: starts the runner, which may sleep.
    """

    def __init__(self, *, store: IStore, actions: JobActions, clock: IClock, wake: Callable[[], None]) -> None:
        self._store = store
        self._actions = actions
        self._clock = clock
        self._wake = wake
        # Ten thousand objects are read for a job, which takes a second.
        self._turns = Turns(1, 20, 2, "Too many jobs are being created. Try again in a few seconds.")

    @uncancelled
    async def create(
        self,
        actor: Principal,
        resource: JobResource,
        action: JobAction,
        selection: JobSelection,
        arguments: JobArguments,
    ) -> Job:
        """Create a job of *actor*, which begins at once.  The objects are those of now, and no later ones.

        Fails with MalformedRequest, with QuotaExceeded, with Overloaded, with NotFound and NotAuthorized for a policy
        that *actor* can't use, and with Conflict when the selection has another number of objects than expected.
        """
        self._actions.check(resource, action, arguments)
        require_scope(actor, self._actions.of(resource, action).scope)
        if actor.owner_id is None:
            raise NotAuthorized("Only an account can have jobs.")
        await self._actions.check_policy(actor, action, arguments)
        ids = await self._turns.run(actor.owner_id, lambda: self._ids(actor, resource, selection))
        if not ids:
            raise MalformedRequest("Select at least one object.")
        job = await self._store.add_job(
            NewJob(action, resource, arguments, ids, actor.name, actor.owner_id, actor.scopes, actor.address),
            lambda job: _event(actor, "create", job, **_given(arguments)),
            self._now(),
        )
        # Only one node runs jobs, and it may be another one; without this it would look a little later.
        self._store.notify_nodes(Notification(Topic.JOB)).addErrback(_ignored)
        self._wake()
        return job

    async def _ids(self, actor: Principal, resource: JobResource, selection: JobSelection) -> tuple[int, ...]:
        """Return the ids of the selected objects, each once."""
        ids = list(dict.fromkeys(selection.ids))
        query = selection.query
        if query is not None:
            query = replace(query, limit=_BATCH, cursor=None, sort="id", count=False)
        while query is not None:
            page = await self._actions.list(actor, resource, query)
            ids += [item.id for item in page.items]
            query = None
            if page.next_cursor is not None and len(ids) <= MAX_ROWS:
                query = replace(selection.query or ListQuery(), limit=_BATCH, cursor=page.next_cursor, sort="id")
        if len(ids) > MAX_ROWS:
            raise MalformedRequest(f"A job has at most {MAX_ROWS:,} objects. Narrow the filter.")
        if selection.expected is not None and len(ids) != selection.expected:
            raise Conflict(
                f"The selection has {len(ids):,} objects now, not {selection.expected:,}. Look at the list again."
            )
        return tuple(ids)

    @uncancelled
    async def get(self, actor: Principal, job_id: int) -> Job:
        """Return one of one's own jobs, or one that the actor sees of others.  Fails with NotFound."""
        require_scope(actor, Scope.READ)
        job = await self._store.job(job_id)
        require_visible(actor, job, _KIND, _sphere(job))
        return job

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[Job]:
        """List one's own jobs and those that the actor sees of others; with ``query.owner_id`` that account's."""
        return await self._store.jobs(scope_to_kinds(actor, query, OPERATOR_JOBS))

    @uncancelled
    async def rows(self, actor: Principal, job_id: int, query: ListQuery) -> Page[JobRow]:
        """List the rows of a job with their outcomes.  Fails with NotFound."""
        await self.get(actor, job_id)
        return await self._store.job_rows(job_id, query)

    @uncancelled
    async def file(self, actor: Principal, job_id: int) -> JobFile:
        """Return the file of one's own export, and record that it was taken.

        Fails with NotFound without a file, or when it was deleted after a week; with NotAuthorized for another's job or
        one that saw more of others than *actor* may now, and with Conflict while the job runs.
        """
        job = await self.get(actor, job_id)
        if job.owner_id != actor.owner_id:
            raise NotAuthorized("Only the user who created this job can download its file.")
        if not job.scopes & _SEES_OTHERS <= actor.scopes:
            raise NotAuthorized(
                "This file was written with rights that you don't have now. Create another export with your own."
            )
        if job.action is JobAction.EXPORT and job.state is JobState.RUNNING:
            raise Conflict("This job has not ended. Wait until it is complete.")
        if not job.has_file(self._now()):
            raise NotFound(f"This job has no file, or it was deleted {FILE_LIFETIME.days} days after the job's end.")
        await self._store.add_event(_event(actor, "download", job, **_given(job.arguments)), self._now())
        return self._actions.file(job)

    @uncancelled
    async def cancel(self, actor: Principal, job_id: int) -> Job:
        """Cancel a job: rows in progress are completed, and no further ones begin.

        Fails with NotFound, and with Conflict when the job has ended.
        """
        job = await self.get(actor, job_id)
        require_changeable(actor, job, _KIND, _sphere(job))
        require_scope(actor, self._actions.of(job.resource, job.action).scope)
        return await self._store.end_job(
            job.id, JobState.CANCELLED, "", lambda ended: _event(actor, "cancel", ended), self._now()
        )

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _sphere(job: Job) -> Sphere:
    return Sphere.ISSUANCE if job.resource.value in OPERATOR_JOBS else Sphere.PERSONAL


def job_event(type_: str, job: Job) -> Event:
    """Return the event for the end of a job, in the name of its account."""
    return _with_counts(Event(type_, _KIND, str(job.id), job.actor, actor_id=job.owner_id), job)


def _event(actor: Principal, type_: str, job: Job, **details: object) -> Event:
    return _with_counts(event_by(actor, type_, _KIND, str(job.id), job.owner_id, **details), job)


def _with_counts(event: Event, job: Job) -> Event:
    details: dict[str, object] = {"action": job.action.value, "resource": job.resource.value, "total": job.total}
    if job.state is not JobState.RUNNING:
        details |= {"done": job.done, "failed": job.failed}
    if job.message:
        details["message"] = job.message
    return replace(event, owner_id=job.owner_id, details={**event.details, **details})


def _given(arguments: JobArguments) -> dict[str, object]:
    return {name: text for name, text in asdict(arguments).items() if text is not None}


def _ignored(failure: Failure) -> None:
    failure.trap(PikachuError)
