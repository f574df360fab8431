"""``/ra/approvals``: requests that await manual approval, and the decided ones (EST-4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.core.errors import PikachuError
from pikachu.core.model.certificates import Method
from pikachu.core.model.jobs import JobAction, JobResource
from pikachu.core.model.requests import RequestRecord, RequestState
from pikachu.inventory.certificates import CertificateQueries
from pikachu.ra.registration_authority import RegistrationAuthority
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.selection import EXPORT, BulkAction, Selection
from pikachu.web.ui.tables import NOBODY, Column, Filter, Table


@dataclass(frozen=True, slots=True)
class Row:
    """A request in the list."""

    record: RequestRecord
    owner: str
    refusal: str = ""


# No request for such a certificate waits for approval.
_NO_REQUESTS: Final = (Method.CA, Method.IMPORT)
APPROVALS: Final[Table[Row]] = Table(
    "approvals",
    (
        Column("id", "ID", sort="id", text=lambda row: str(row.record.id)),
        Column("subject", "Subject", sort="subject", text=lambda row: row.record.subject),
        Column("key", "Key", sort="key", text=lambda row: row.record.key_type),
        Column("policy", "Policy", sort="policy", text=lambda row: row.record.policy),
        Column("method", "Method", sort="method", text=lambda row: row.record.method.value),
        Column("principal", "Requested by", sort="requested_by", text=lambda row: row.record.principal),
        Column("created", "Created (UTC)", sort="created_at", text=lambda row: row.record.created_at.isoformat()),
        Column("state", "Status", sort="state", text=lambda row: row.record.state.value),
        Column("owner", "User", sort="user", text=lambda row: row.owner, audience=Audience.STAFF),
        Column("actions", "Actions"),
    ),
    filters=(
        Filter(
            "state",
            "Status",
            (("pending", "Waiting"), ("issued", "Issued"), ("rejected", "Rejected"), ("failed", "Failed")),
        ),
        Filter("method", "Method", tuple((one.value, one.value) for one in Method if one not in _NO_REQUESTS)),
    ),
    empty="No requests are awaiting approval. Requests appear here when their policy requires manual approval.",
    empty_link=("/policies", "Enrollment policies"),
    search="ID, subject, key, policy, date or requester",
    selection=Selection(
        JobResource.APPROVALS,
        (
            EXPORT,
            BulkAction(JobAction.APPROVE, "Approve", kind="", audience=Audience.OPERATOR),
            BulkAction(JobAction.REJECT, "Reject", audience=Audience.OPERATOR),
        ),
        lambda row: (row.record.id, f"request {row.record.id}"),
    ),
)


class ApprovalsPages(Pages):
    """The list, one request with its preview, and the two decisions."""

    def __init__(self, *, registration: RegistrationAuthority, inventory: CertificateQueries) -> None:
        self._registration: RegistrationAuthority = registration
        self._inventory = inventory

    @page("GET", "/ra/approvals", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List the user's own requests; for administrators all."""
        return await APPROVALS.reply(
            visit,
            lambda query: self._inventory.approvals(visit.principal, query),
            "ra/approvals.html",
            prepare=self._prepare(visit),
        )

    @page("GET", "/ra/approvals/<id>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show the requested and the resulting certificate, the requester and their address."""
        return await self._page(visit, "ra/approval.html")

    @page("GET", "/ra/approvals/<id>/approve", audience=Audience.OPERATOR)
    async def approval(self, visit: PageRequest) -> PageReply:
        """Show the confirmation for approving."""
        return await self._page(visit, "ra/approve.html")

    @page("POST", "/ra/approvals/<id>/approve", audience=Audience.OPERATOR)
    async def approve(self, visit: PageRequest) -> PageReply:
        """Approve and issue."""
        try:
            record = await self._registration.approve(visit.principal, visit.id)
        except PikachuError as error:
            return await self._page(visit, "ra/approve.html", error)
        if record is None:
            notice = "The first of two approvals was recorded. Another operator or administrator must approve it too."
        else:
            notice = f"The request was approved: certificate {record.id} was issued."
        return Redirect(visit.back_to("/ra/approvals", f"/ra/approvals/{visit.id}"), notice=notice)

    @page("GET", "/ra/approvals/<id>/reject", audience=Audience.OPERATOR)
    async def rejection(self, visit: PageRequest) -> PageReply:
        """Show the form for the reason."""
        return await self._page(visit, "ra/reject.html")

    @page("POST", "/ra/approvals/<id>/reject", audience=Audience.OPERATOR)
    async def reject(self, visit: PageRequest) -> PageReply:
        """Reject the request."""
        try:
            await self._registration.reject(visit.principal, visit.id, visit.form.text("reason"))
        except PikachuError as error:
            return await self._page(visit, "ra/reject.html", error)
        return Redirect(visit.back_to("/ra/approvals", f"/ra/approvals/{visit.id}"), "The request was rejected.")

    async def _page(self, visit: PageRequest, template: str, error: PikachuError | None = None) -> PageReply:
        record = await self._inventory.approval(visit.principal, visit.id)
        names = await self._inventory.owner_names(visit.principal, [record.owner_id])
        context = {
            "record": record,
            "owner": names.get(record.owner_id, NOBODY),
            "preview": await self._registration.preview_approval(visit.principal, visit.id),
            "waits": record.state is RequestState.PENDING,
            "refusal": self._refusal(visit, record),
            "form": visit.form,
        }
        return HtmlPage.form(template, context, error)

    def _refusal(self, visit: PageRequest, record: RequestRecord) -> str:
        """Return why the visitor can't approve a waiting request; empty when they can, or when it was decided."""
        if record.state is not RequestState.PENDING:
            return ""
        return self._registration.approval_refusal(visit.principal, record)

    def _prepare(self, visit: PageRequest) -> Callable[[Sequence[RequestRecord]], Awaitable[Sequence[Row]]]:
        async def prepare(records: Sequence[RequestRecord]) -> Sequence[Row]:
            names = await self._inventory.owner_names(visit.principal, [record.owner_id for record in records])
            return [Row(record, names.get(record.owner_id, NOBODY), self._refusal(visit, record)) for record in records]

        return prepare
