"""``/jobs``: one action on many rows of a list: the question, the progress and the outcomes (JOB-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl

from pikachu.auth.permissions import Audience
from pikachu.ca.issuance import CertificateAuthority
from pikachu.core.errors import MalformedRequest, NotFound, PikachuError
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.jobs import (
    FILE_LIFETIME,
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
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.operations.jobs import Jobs
from pikachu.ra.default_policy import DEFAULT_POLICY_NAME
from pikachu.web.streamed_file import StreamedFile
from pikachu.web.ui.certificates import HOLD, REASONS, utc_text
from pikachu.web.ui.devices import RETIREMENT_REASONS, retirement_reason_of
from pikachu.web.ui.forms import Form
from pikachu.web.ui.issuance_choices import IssuanceChoices
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect, own_path
from pikachu.web.ui.tables import Column, Filter, Table

_ACTIONS: Final = {one: one.value.capitalize() for one in JobAction}
#: One object, several, and the address of their list.
_RESOURCES: Final = {
    JobResource.CERTIFICATES: ("certificate", "certificates", "/certificates"),
    JobResource.APPROVALS: ("request", "requests", "/ra/approvals"),
    JobResource.KEYS: ("key", "keys", "/keys"),
    JobResource.CSRS: ("CSR", "CSRs", "/csrs"),
    JobResource.TEMPLATES: ("certificate template", "certificate templates", "/templates"),
    JobResource.CHALLENGE_PASSWORDS: ("challenge password", "challenge passwords", "/challenge-passwords"),
    JobResource.USERS: ("user", "users", "/users"),
    JobResource.POLICIES: ("policy", "policies", "/policies"),
    JobResource.TOKENS: ("token", "tokens", "/account"),
    JobResource.DEVICES: ("device", "devices", "/devices"),
}
#: What the question says about the consequences.
_CONSEQUENCES: Final = {
    (
        JobResource.CERTIFICATES,
        JobAction.REVOKE,
    ): "Clients that check OCSP or the CRL will reject them immediately. Only “Hold” can be undone.",
    (
        JobResource.CERTIFICATES,
        JobAction.DELETE,
    ): "They are removed from all lists. Those that are revoked stay revoked.",
    (
        JobResource.CERTIFICATES,
        JobAction.RENEW,
    ): "Certificates with the same names and policies, and with new keys that are stored here, will be issued. "
    "The present ones stay valid.",
    (JobResource.APPROVALS, JobAction.APPROVE): "The certificates will be issued immediately.",
    (
        JobResource.APPROVALS,
        JobAction.REJECT,
    ): "No certificates will be issued; the clients are told that their requests were rejected.",
    (JobResource.KEYS, JobAction.DELETE): "The private keys can't be recovered.",
    (
        JobResource.CSRS,
        JobAction.SIGN,
    ): "A certificate will be issued for each CSR that is pending, with the validity and the issuing CA of the policy.",
    (JobResource.CSRS, JobAction.DELETE): "Their keys and the certificates issued from them are kept.",
    (JobResource.TEMPLATES, JobAction.DELETE): "CSRs and policies that were created with them are kept.",
    (JobResource.CHALLENGE_PASSWORDS, JobAction.DELETE): "They can no longer be used to enroll.",
    (JobResource.POLICIES, JobAction.DELETE): "Certificates that were issued under them stay valid.",
    (
        JobResource.DEVICES,
        JobAction.RETIRE,
    ): "All their valid certificates are revoked, their challenge passwords are ended, and nothing is issued to them "
    "until they are put back in service.",
    (
        JobResource.DEVICES,
        JobAction.RENEW,
    ): "Certificates with the names and policies of the current ones, and with new keys that are stored here, will be "
    "issued. The present ones stay valid.",
    (JobResource.USERS, JobAction.ACTIVATE): "They can sign in and enroll.",
    (JobResource.USERS, JobAction.SUSPEND): "Their sessions and tokens end, and they can neither sign in nor enroll.",
}
_FORMATS: Final = (
    (ExportFormat.CSV, "CSV"),
    (ExportFormat.PEM, "Certificates as PEM (zip)"),
    (ExportFormat.DER, "Certificates as DER (zip)"),
)
_KINDS: Final = {
    JobState.RUNNING: "info",
    JobState.COMPLETED: "good",
    JobState.FAILED: "bad",
    JobState.CANCELLED: "warn",
    JobState.STOPPED: "bad",
    RowState.WAITING: "mute",
    RowState.DONE: "good",
    RowState.FAILED: "bad",
}


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with its labels at one time."""

    job: Job
    now: datetime

    @property
    def title(self) -> str:
        """Return its action and objects, such as *Revoke 12 certificates*."""
        return f"{_ACTIONS[self.job.action]} {_counted(self.job.resource, self.job.total)}"

    @property
    def state(self) -> str:
        """Return the label of its state."""
        return self.job.state.value.capitalize()

    @property
    def kind(self) -> str:
        """Return the colour of its state."""
        return "warn" if self.job.state is JobState.COMPLETED and self.job.failed else _KINDS[self.job.state]

    @property
    def running(self) -> bool:
        """Return whether it has not ended."""
        return self.job.state is JobState.RUNNING

    @property
    def file(self) -> datetime | None:
        """Return until when its file can be downloaded; ``None`` without one."""
        ended = self.job.ended_at
        return ended + FILE_LIFETIME if ended is not None and self.job.has_file(self.now) else None

    @property
    def list_path(self) -> str:
        """Return the address of the list of its objects."""
        return _RESOURCES[self.job.resource][2]


@dataclass(frozen=True, slots=True)
class RowView:
    """One object of a job."""

    row: JobRow
    path: str

    @property
    def name(self) -> str:
        """Return the object's name, or its id."""
        return self.row.name or f"ID {self.row.object_id}"

    @property
    def state(self) -> str:
        """Return the label of its state."""
        return self.row.state.value.capitalize()

    @property
    def kind(self) -> str:
        """Return the colour of its state."""
        return _KINDS.get(self.row.state, "info")


JOBS: Final[Table[JobView]] = Table(
    "jobs",
    (
        Column("id", "ID", sort="id", text=lambda view: str(view.job.id)),
        Column("job", "Job", sort="action", text=lambda view: view.title),
        Column("state", "State", sort="state", text=lambda view: view.state),
        Column("total", "Objects", sort="total", text=lambda view: str(view.job.total)),
        Column("done", "Done", sort="done", text=lambda view: str(view.job.done)),
        Column("failed", "Failed", sort="failed", text=lambda view: str(view.job.failed)),
        Column("created", "Created (UTC)", sort="created_at", text=lambda view: utc_text(view.job.created_at)),
        Column("ended", "Ended (UTC)", sort="ended_at", text=lambda view: utc_text(view.job.ended_at)),
        Column("user", "User", sort="user", text=lambda view: view.job.actor, audience=Audience.STAFF),
    ),
    (
        Filter("state", "State", tuple((one.value, one.value.capitalize()) for one in JobState)),
        Filter("action", "Action", tuple((one.value, label) for one, label in _ACTIONS.items())),
        Filter("resource", "Objects", tuple((one.value, many) for one, (_, many, _) in _RESOURCES.items())),
    ),
    empty="No jobs yet. Select rows in a list, and choose what to do with them.",
    empty_link=("/certificates", "Certificates"),
    search="ID, action, objects or user",
)
ROWS: Final[Table[RowView]] = Table(
    "job-results",
    (
        Column("id", "ID", sort="object_id", text=lambda view: str(view.row.object_id)),
        Column("name", "Name", text=lambda view: view.row.name),
        Column("state", "State", text=lambda view: view.state),
        Column("message", "Message", text=lambda view: view.row.message),
        Column("ended", "Ended (UTC)", text=lambda view: utc_text(view.row.ended_at)),
    ),
    (Filter("state", "State", tuple((one.value, one.value.capitalize()) for one in RowState)),),
    default_sort="id",
    search="ID, name or message",
)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A job that is being asked for.

    :param ids: the selected objects; none: those that *filter* selects.
    :param filter: text and filters of the list, as a query string.
    """

    resource: JobResource
    action: JobAction
    ids: tuple[int, ...]
    filter: str
    count: int
    back: str

    @classmethod
    def of(cls, form: Form) -> _Draft:
        """Read a form: the one above a list, or the question.

        :raises MalformedRequest: when it names no action or no rows.
        """
        try:
            resource, action = JobResource(form.text("resource")), JobAction(form.text("action"))
        except ValueError:
            raise MalformedRequest("Choose an action above the list.") from None
        rows, text, ids = form.text("rows", "selected"), "", form.texts("id")
        expected = form.number("expected", 0)
        if rows == "all":
            ids, text = (), form.text("filter")
        elif rows == "page":
            ids = tuple(form.text("page").split(","))
        numbers = dict.fromkeys(number for one in ids if (number := parse_number(one, MAX_ID)) is not None)
        count = expected if rows == "all" else len(numbers)
        if not count:
            raise MalformedRequest("Select at least one row, all rows on the page, or all that match.")
        return cls(resource, action, tuple(numbers), text, count, own_path(form.text("back"), _RESOURCES[resource][2]))

    @property
    def rows(self) -> str:
        """Return which rows are meant, for the form."""
        return "page" if self.ids else "all"

    @property
    def page_ids(self) -> str:
        """Return the ids with commas between."""
        return ",".join(map(str, self.ids))

    @property
    def title(self) -> str:
        """Return the question's heading."""
        return f"{_ACTIONS[self.action]} {_counted(self.resource, self.count)}"

    @property
    def label(self) -> str:
        """Return the label of the button."""
        return _ACTIONS[self.action]

    @property
    def consequence(self) -> str:
        """Return what the action leads to."""
        if self.action is JobAction.EXPORT:
            return f"You can download the file for {FILE_LIFETIME.days} days. It has no private keys or passwords."
        return _CONSEQUENCES.get((self.resource, self.action), "")

    @property
    def selection(self) -> JobSelection:
        """Return the selected objects."""
        if self.ids:
            return JobSelection(self.ids, expected=self.count)
        filters = dict(parse_qsl(self.filter))
        q = filters.pop("q", None)
        return JobSelection(query=ListQuery(q=q, filters=filters), expected=self.count)

    @property
    def confirmed(self) -> bool:
        """Return whether the number has to be typed: an export changes nothing."""
        return self.action is not JobAction.EXPORT

    @property
    def argument_label(self) -> str:
        """Return the label of the action's argument."""
        return {"reason": "Reason", "format": "Format"}.get(self.argument, "Certificates")

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """Return the reasons for revoking, where the action can revoke, or the formats of an export."""
        if (self.resource, self.action) == (JobResource.CERTIFICATES, JobAction.REVOKE):
            return [(reason.wire_name, f"{label} ({reason.wire_name})") for reason, label, _ in REASONS]
        if self.action is JobAction.EXPORT:
            known = _FORMATS if self.resource is JobResource.CERTIFICATES else _FORMATS[:1]
            return [(one.value, label) for one, label in known]
        if (self.resource, self.action) in _REVOKES:
            named = [(reason.wire_name, f"Revoke: {label.lower()}") for reason, label, _ in REASONS if reason != HOLD]
            return [*named, ("", "Do not revoke")]
        return []

    @property
    def options(self) -> Sequence[tuple[str, str, str]]:
        """Return (name, label, meaning) of the reasons of a retirement, of which one has to be selected."""
        return RETIREMENT_REASONS if self.action is JobAction.RETIRE else ()

    @property
    def argument(self) -> str:
        """Return the name of the action's argument, or an empty string."""
        if self.action in (JobAction.REVOKE, JobAction.RETIRE, JobAction.REJECT):
            return "reason"
        if self.action is JobAction.EXPORT:
            return "format"
        if self.action is JobAction.SIGN:
            return "policy"
        return "revoke" if self.reasons else ""

    @property
    def chosen(self) -> str:
        """Return the reason that is selected at first."""
        if self.action is JobAction.EXPORT:
            return ExportFormat.CSV
        if self.action is JobAction.SIGN:
            return DEFAULT_POLICY_NAME
        revocation = self.resource is JobResource.CERTIFICATES
        return RevocationReason.UNSPECIFIED.wire_name if revocation else ""

    def arguments(self, form: Form) -> JobArguments:
        """Return the arguments of the submitted question."""
        if self.argument == "policy":
            return JobArguments(policy=form.text("policy") or None)
        if self.argument == "format":
            return JobArguments(format=form.text("format"))
        if self.action is JobAction.RETIRE:
            return JobArguments(reason=retirement_reason_of(form.text("reason")).wire_name)
        if self.argument == "reason":
            return JobArguments(reason=form.text("reason"))
        return JobArguments(revoke=form.text("revoke") or None if self.argument else None)


_REVOKES: Final = {(JobResource.CERTIFICATES, JobAction.DELETE), (JobResource.USERS, JobAction.SUSPEND)}


class JobsPages(Pages):
    """Jobs."""

    def __init__(self, *, jobs: Jobs, choices: IssuanceChoices, authority: CertificateAuthority) -> None:
        self._jobs = jobs
        self._choices = choices
        self._authority = authority

    @page("GET", "/jobs", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List one's own jobs; for administrators all."""

        async def views(items: Sequence[Job]) -> Sequence[JobView]:
            return [JobView(job, self._authority.now()) for job in items]

        return await JOBS.reply(
            visit, lambda query: self._jobs.list(visit.principal, query), "jobs/list.html", prepare=views
        )

    @page("POST", "/jobs/new", audience=Audience.REQUESTER)
    async def question(self, visit: PageRequest) -> PageReply:
        """Show the consequences of an action on the selected rows, its arguments, and the number to type."""
        return await self._question(visit, _Draft.of(visit.form))

    @page("POST", "/jobs", audience=Audience.REQUESTER)
    async def create(self, visit: PageRequest) -> PageReply:
        """Create the job."""
        draft = _Draft.of(visit.form)
        try:
            if draft.confirmed:
                visit.form.require_confirmation(str(draft.count))
            job = await self._jobs.create(
                visit.principal, draft.resource, draft.action, draft.selection, draft.arguments(visit.form)
            )
        except PikachuError as error:
            return await self._question(visit, draft, error)
        return Redirect(f"/jobs/{job.id}")

    async def _question(self, visit: PageRequest, draft: _Draft, error: PikachuError | None = None) -> HtmlPage:
        policies = await self._choices.policies(visit.principal) if draft.argument == "policy" else []
        return HtmlPage.form("jobs/new.html", {"draft": draft, "form": visit.form, "policies": policies}, error)

    @page("GET", "/jobs/<id>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show the progress of a job, and the outcome for each object."""
        job = await self._jobs.get(visit.principal, visit.id)
        path = _RESOURCES[job.resource][2]

        async def views(items: Sequence[JobRow]) -> Sequence[RowView]:
            return [RowView(row, _path(job, path, row)) for row in items]

        return await ROWS.reply(
            visit,
            lambda query: self._jobs.rows(visit.principal, job.id, query),
            "jobs/view.html",
            prepare=views,
            view=JobView(job, self._authority.now()),
            updated=False,
        )

    @page("GET", "/jobs/<id>/file", audience=Audience.USER)
    async def file(self, visit: PageRequest) -> PageReply:
        """Return the file of an export, which is recorded."""
        file = await self._jobs.file(visit.principal, visit.id)
        return StreamedFile(file.name, file.media_type, file.parts)

    @page("GET", "/jobs/<id>/progress", audience=Audience.USER, background=True)
    async def progress(self, visit: PageRequest) -> PageReply:
        """Return the progress for the page's script."""
        view = JobView(await self._jobs.get(visit.principal, visit.id), self._authority.now())
        return HtmlPage("jobs/progress.html", {"view": view, "updated": True})

    @page("POST", "/jobs/<id>/cancel", audience=Audience.REQUESTER)
    async def cancel(self, visit: PageRequest) -> PageReply:
        """Cancel a job."""
        path = f"/jobs/{visit.id}"
        try:
            job = await self._jobs.cancel(visit.principal, visit.id)
        except NotFound:
            raise
        except PikachuError as error:
            return Redirect(path, error.public)
        return Redirect(path, f"The job was cancelled. {_counted(job.resource, job.left)} were left as they are.")


def _path(job: Job, list_path: str, row: JobRow) -> str:
    """Return the address of a row's object; empty where there is none (any more)."""
    is_unknown = row.state is RowState.FAILED and not row.name
    gone = is_unknown or (job.action is JobAction.DELETE and row.state is RowState.DONE)
    return "" if gone else f"{list_path}/{row.object_id}"


def _counted(resource: JobResource, count: int) -> str:
    one, many, _ = _RESOURCES[resource]
    return f"{count:,} {one if count == 1 else many}"
