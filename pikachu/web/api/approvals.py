"""``/approvals``: requests that await manual approval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pikachu.core.constraints import Length
from pikachu.core.errors import NotFound
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import Scope
from pikachu.core.model.requests import RequestRecord, RequestState
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.ra.registration_authority import MAXIMUM_REASON, RegistrationAuthority
from pikachu.web.api.previews import PreviewDocument, preview_document
from pikachu.web.api.routes import Answer, Call, Operation, Routes, listed


@dataclass(frozen=True, slots=True)
class Approval:
    """A request that awaits approval, or was decided."""

    id: int
    status: RequestState
    subject: str
    key: str
    policy: str
    issuer: str
    method: Method
    requested_by: str
    address: str
    label: str | None
    owner: str | None
    created_at: datetime
    validity_days: int | None
    decided_at: datetime | None
    decided_by: str | None
    reason: str | None
    certificate_id: int | None
    csr_id: int | None
    approvals_needed: int
    first_approved_by: str | None
    first_approved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """The reason for rejecting a request."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"reason": "The device was retired."}

    reason: Annotated[str, Length(0, MAXIMUM_REASON)] = ""


class ApprovalsAPI(Routes):
    """Requests that await manual approval."""

    def __init__(self, *, registration: RegistrationAuthority, inventory: CertificateQueries) -> None:
        self._registration: RegistrationAuthority = registration
        self._inventory = inventory

    @Operation(
        "GET",
        "/approvals",
        scope=Scope.READ,
        summary="Requests that wait for approval; with status, those that were decided",
        answer=Approval,
        listed=True,
        filters={"status": "state", "method": "method"},
        choices={"status": tuple(RequestState), "method": tuple(Method)},
        owner="owner_id",
        sorts=("id", "created_at", "subject", "key", "policy", "method", "requested_by", "state", "user"),
    )
    async def list(self, call: Call) -> Answer:
        """List approvals; without ``status``, the pending ones."""
        query = call.list_query()
        if "state" not in query.filters:
            query = replace(query, filters={**query.filters, "state": RequestState.PENDING.value})
        page = await self._inventory.approvals(call.principal, query)
        names = await self._inventory.owner_names(call.principal, [request.owner_id for request in page.items])
        return listed(page, lambda request: approval_document(request, names))

    @Operation("GET", "/approvals/<id>", scope=Scope.READ, summary="One request", answer=Approval)
    async def get(self, call: Call) -> Answer:
        """Return an approval; ``certificate_id`` is set once the certificate is issued."""
        return await self._answer(call, await self._inventory.approval(call.principal, call.id))

    @Operation(
        "GET",
        "/approvals/<id>/preview",
        scope=Scope.READ,
        summary="What a request asks for, and what approving it would give",
        answer=PreviewDocument,
    )
    async def preview(self, call: Call) -> Answer:
        """Return the preview; 404 once the certificate is issued."""
        preview = await self._registration.preview_approval(call.principal, call.id)
        if preview is None:
            raise NotFound("the request was issued and is not kept any longer; look at its certificate")
        return Answer(200, preview_document(preview))

    @Operation(
        "POST",
        "/approvals/<id>/approval",
        scope=Scope.OPERATE,
        summary="Approve a request: it is signed at once, or after a second person's approval",
        answer=Approval,
    )
    async def approve(self, call: Call) -> Answer:
        """Approve and issue.  Where the policy wants two approvals, the first leaves the status ``pending``; the
        second must be another account's.  409 when the request is no longer pending, or this account has approved it;
        403 for a request of one's own.
        """
        await self._registration.approve(call.principal, call.id)
        return await self._answer(call, await self._inventory.approval(call.principal, call.id, Scope.OPERATE))

    @Operation(
        "POST",
        "/approvals/<id>/rejection",
        scope=Scope.OPERATE,
        summary="Turn a request down",
        body=Rejection,
        answer=Approval,
    )
    async def reject(self, call: Call) -> Answer:
        """Reject the request; the requester learns the rejection, not the reason."""
        reason = call.take(Rejection).reason
        return await self._answer(call, await self._registration.reject(call.principal, call.id, reason))

    async def _answer(self, call: Call, request: RequestRecord) -> Answer:
        return Answer(
            200, approval_document(request, await self._inventory.owner_names(call.principal, [request.owner_id]))
        )


def approval_document(request: RequestRecord, names: OwnerNames) -> Approval:
    """Return a request as its document."""
    first = request.first_approval
    return Approval(
        request.id,
        request.state,
        request.subject,
        request.key_type,
        request.policy,
        request.issuer,
        request.method,
        request.principal,
        request.address,
        request.label,
        names.get(request.owner_id),
        request.created_at,
        request.validity_days,
        request.decided_at,
        request.decided_by,
        request.reason,
        request.certificate_id,
        request.csr_id,
        request.approvals_needed,
        None if first is None else first.name,
        None if first is None else first.given_at,
    )
