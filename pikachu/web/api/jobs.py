"""``/jobs``: one action on many objects (JOB-1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final

from pikachu.core.constraints import Members, Range, Variant, Variants
from pikachu.core.errors import MalformedRequest
from pikachu.core.model.jobs import (
    MAX_ROWS,
    ExportFormat,
    Job,
    JobAction,
    JobArguments,
    JobResource,
    JobRow,
    JobSelection,
    JobState,
    RowState,
)
from pikachu.core.model.people import Scope
from pikachu.core.model.requests import RequestState
from pikachu.operations.jobs import Jobs
from pikachu.web.api.approvals import ApprovalsAPI
from pikachu.web.api.certificates import CertificatesAPI
from pikachu.web.api.challenge_passwords import ChallengePasswordsAPI
from pikachu.web.api.csrs import CSRAPI
from pikachu.web.api.devices import DevicesAPI
from pikachu.web.api.keys import KeysAPI
from pikachu.web.api.policies import PoliciesAPI
from pikachu.web.api.queries import check_choices, list_query
from pikachu.web.api.routes import BASE, Answer, Call, Operation, Routes, listed
from pikachu.web.api.templates import TemplatesAPI
from pikachu.web.api.users import TokensAPI, UsersAPI
from pikachu.web.streamed_file import CSV, StreamedFile

#: The list of each kind of object, whose filters select all that match.
_LISTS: Final[Mapping[JobResource, Operation]] = {
    JobResource.CERTIFICATES: CertificatesAPI.list.operation,
    JobResource.APPROVALS: ApprovalsAPI.list.operation,
    JobResource.KEYS: KeysAPI.list.operation,
    JobResource.CSRS: CSRAPI.list.operation,
    JobResource.TEMPLATES: TemplatesAPI.list.operation,
    JobResource.CHALLENGE_PASSWORDS: ChallengePasswordsAPI.list.operation,
    JobResource.USERS: UsersAPI.list.operation,
    JobResource.POLICIES: PoliciesAPI.list.operation,
    JobResource.TOKENS: TokensAPI.list.operation,
    JobResource.DEVICES: DevicesAPI.list.operation,
}
_MAXIMUM_IDS: Final = 1000


@dataclass(frozen=True, slots=True)
class JobArgumentsDocument:
    """The arguments of an action.  ``reason`` of ``revoke`` is a name of RFC 5280 section 5.3.1, that of ``reject`` is
    free text.  ``revoke`` is the reason for revoking a certificate before it is deleted, or the certificates of an
    account that is suspended; without it they are not revoked.  ``format`` of ``export`` is ``csv``, and for
    certificates also ``pem`` or ``der``: a zip.  ``policy`` of ``sign`` is the name of a policy; without it the default
    policy applies.
    """

    reason: str | None = None
    revoke: str | None = None
    format: ExportFormat | None = None
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class NewJobDocument:
    """A job to create, on the objects with those ``ids``, or on all that match ``filter``: the names and values of the
    query of ``GET /RESOURCE``, such as ``{"status": "valid", "q": "example.com"}``, none of them empty.  ``expected``
    is their number: 409 when there are more or fewer.
    """

    VARIANTS: ClassVar = Variants((Variant(("ids",), ("expected",)), Variant(("filter", "expected"))))
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "action": "revoke",
        "resource": "certificates",
        "ids": [1],
        "arguments": {"reason": "superseded"},
    }

    action: JobAction
    resource: JobResource
    ids: Annotated[tuple[int, ...], Members(1, _MAXIMUM_IDS)] | None = None
    filter: Mapping[str, str] | None = None
    expected: Annotated[int, Range(1, MAX_ROWS)] | None = None
    arguments: JobArgumentsDocument | None = None


@dataclass(frozen=True, slots=True)
class JobDocument:
    """A job; ``done`` and ``failed`` of its ``total`` objects have ended.  Its state is ``failed`` when none of them
    could be done, else ``completed``.  ``message`` is why it was stopped.

    The file of an export has ``size`` bytes, before they are packed; it can be downloaded for 7 days after the end.
    """

    id: int
    action: JobAction
    resource: JobResource
    state: JobState
    total: int
    done: int
    failed: int
    message: str
    arguments: JobArgumentsDocument
    requested_by: str
    created_at: datetime
    ended_at: datetime | None
    size: int


@dataclass(frozen=True, slots=True)
class JobResult:
    """The outcome for one object; ``object_id`` is its id, ``message`` why it failed or what was issued."""

    id: int
    object_id: int
    name: str
    state: RowState
    message: str
    ended_at: datetime | None


class JobsAPI(Routes):
    """Jobs."""

    def __init__(self, *, jobs: Jobs) -> None:
        self._jobs: Jobs = jobs

    @Operation(
        "POST",
        "/jobs",
        scope=Scope.READ,
        summary="Do one action on many objects, in the background; needs the action's own scope, too",
        body=NewJobDocument,
        pending=JobDocument,
        statuses=(202,),
    )
    async def create(self, call: Call) -> Answer:
        """Create a job.  Actions: revoke, renew and delete ``certificates``; approve and reject ``approvals``; sign and
        delete ``csrs``; delete ``keys``, ``templates``, ``challenge-passwords``, ``policies`` and ``tokens``; activate
        and suspend ``users``; renew and retire ``devices``; export ``certificates``, ``approvals``, ``keys``,
        ``csrs``, ``templates``, ``challenge-passwords`` and ``users``.
        """
        body = call.take(NewJobDocument)
        given = body.arguments or JobArgumentsDocument()
        job = await self._jobs.create(
            call.principal,
            body.resource,
            body.action,
            _selection(body),
            JobArguments(
                given.reason, given.revoke, None if given.format is None else given.format.value, given.policy
            ),
        )
        headers = {b"Location": f"{BASE}/jobs/{job.id}".encode()}
        return Answer(HTTPStatus.ACCEPTED, _document(job), headers=headers)

    @Operation(
        "GET",
        "/jobs",
        scope=Scope.READ,
        summary="Jobs: one's own, or for admins all",
        answer=JobDocument,
        listed=True,
        filters={"state": "state", "action": "action", "resource": "resource"},
        choices={"state": tuple(JobState), "action": tuple(JobAction), "resource": tuple(JobResource)},
        owner="owner_id",
        sorts=("id", "created_at", "ended_at", "action", "state", "total", "done", "failed", "user"),
    )
    async def list(self, call: Call) -> Answer:
        """List jobs; they are kept for 90 days after their end."""
        return listed(await self._jobs.list(call.principal, call.list_query()), _document)

    @Operation("GET", "/jobs/<id>", scope=Scope.READ, summary="One job", answer=JobDocument)
    async def get(self, call: Call) -> Answer:
        """Return a job with its progress."""
        return Answer(200, _document(await self._jobs.get(call.principal, call.id)))

    @Operation(
        "GET",
        "/jobs/<id>/results",
        scope=Scope.READ,
        summary="The objects of a job with their outcomes",
        answer=JobResult,
        listed=True,
        filters={"state": "state"},
        choices={"state": tuple(RowState)},
        sorts=("id", "object_id"),
    )
    async def results(self, call: Call) -> Answer:
        """List the objects of a job; ``q`` searches name, id and message."""
        return listed(await self._jobs.rows(call.principal, call.id, call.list_query()), _result)

    @Operation(
        "GET",
        "/jobs/<id>/file",
        scope=Scope.READ,
        summary="The file of one's own export; that it was taken is recorded",
        files=(CSV, "application/zip"),
    )
    async def file(self, call: Call) -> Answer:
        """Return CSV, or a zip of certificates; 409 while the job runs, 404 without a file."""
        file = await self._jobs.file(call.principal, call.id)
        return Answer(200, StreamedFile(file.name, file.media_type, file.parts))

    @Operation(
        "DELETE",
        "/jobs/<id>",
        scope=Scope.READ,
        summary="Cancel a job; needs the action's own scope, too",
        answer=JobDocument,
    )
    async def cancel(self, call: Call) -> Answer:
        """Cancel a job: what is done stays done, and no further object is begun; 409 when it has ended."""
        return Answer(200, _document(await self._jobs.cancel(call.principal, call.id)))


def _selection(body: NewJobDocument) -> JobSelection:
    if body.filter is None:
        return JobSelection(body.ids or (), expected=body.expected)
    operation = _LISTS[body.resource]
    owner = () if operation.owner is None else (operation.owner,)
    allowed = ("q", *operation.filters, *owner)
    for name in body.filter:
        if name not in allowed:
            raise MalformedRequest(f"“filter”: unknown: {name[:40]!r}; known: {', '.join(allowed)}.")
        if not body.filter[name]:
            # A list ignores it; here it may be a value that got lost, and everything would be selected.
            raise MalformedRequest(f"“filter.{name}” is empty. Enter a value, or leave “{name}” out.")
    query = dict(body.filter)
    check_choices(query, operation.choices)
    if body.resource is JobResource.APPROVALS:
        # As in the list.
        query["status"] = query.get("status") or RequestState.PENDING.value
    return JobSelection(query=list_query(query, operation.filters, owner=operation.owner), expected=body.expected)


def _document(job: Job) -> JobDocument:
    return JobDocument(
        job.id,
        job.action,
        job.resource,
        job.state,
        job.total,
        job.done,
        job.failed,
        job.message,
        JobArgumentsDocument(
            job.arguments.reason,
            job.arguments.revoke,
            None if job.arguments.format is None else ExportFormat(job.arguments.format),
            job.arguments.policy,
        ),
        job.actor,
        job.created_at,
        job.ended_at,
        job.size,
    )


def _result(row: JobRow) -> JobResult:
    return JobResult(row.id, row.object_id, row.name, row.state, row.message, row.ended_at)
