"""``/policies``: enrollment policies (POL-1, POL-2, POL-4)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.people import Scope
from pikachu.core.model.policies import Approval, Policy, PolicyLimits
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.web.api.routes import NO_CONTENT, Answer, Call, Listed, Operation, Routes, created, tagged


@dataclass(frozen=True, slots=True)
class PolicyBody:
    """A policy; without ``system`` it belongs to ``owner_id``, else to the caller."""

    name: str
    validity_days: int
    extensions: str
    system: bool = False
    use_for_est: bool = False
    use_for_scep: bool = False
    owner_id: int | None = None
    issuer: str | None = None
    approval: Approval = Approval.AUTOMATIC
    limits: PolicyLimits = field(default_factory=PolicyLimits)


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """Omitted members stay unchanged; ``limits`` are replaced as a whole."""

    name: str | None = None
    validity_days: int | None = None
    extensions: str | None = None
    system: bool | None = None
    use_for_est: bool | None = None
    use_for_scep: bool | None = None
    owner_id: int | None = None
    issuer: str | None = None
    approval: Approval | None = None
    limits: PolicyLimits | None = None


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """An enrollment policy; the default policy has the id 0."""

    id: int
    name: str
    validity_days: int
    extensions: str
    system: bool
    use_for_est: bool
    use_for_scep: bool
    owner_id: int | None
    owner: str | None
    issuer: str | None
    approval: Approval
    limits: PolicyLimits
    created_at: datetime | None
    updated_at: datetime | None


# Null is a value here: no owner, and the protocol's default issuer.
_NULLABLE: Final = ("owner_id", "issuer")


class PoliciesAPI(Routes):
    """Enrollment policies."""

    def __init__(self, *, policy_administration: PolicyAdministration, inventory: CertificateQueries) -> None:
        self._policies: PolicyAdministration = policy_administration
        self._inventory = inventory

    @Operation(
        "POST",
        "/policies",
        scope=Scope.ENROLL,
        summary="Make an enrollment policy",
        body=PolicyBody,
        answer=PolicyDocument,
        statuses=(201,),
        tagged=True,
    )
    async def create(self, call: Call) -> Answer:
        """Create a policy; system policies require an administrator."""
        policy = await self._policies.add(call.principal, _policy(0, call.take(PolicyBody)))
        return created(f"/policies/{policy.id}", await self._document(call, policy), version=policy.version)

    @Operation(
        "GET",
        "/policies",
        scope=Scope.READ,
        summary="Enrollment policies: one's own and the system's, or for admins all",
        answer=PolicyDocument,
        listed=True,
        filters={"system": "system"},
        owner="owner_id",
        sorts=("id", "created_at", "name", "days", "updated_at"),
    )
    async def list(self, call: Call) -> Answer:
        """List policies; the default policy precedes the first page of a list without filters, and is not counted
        there.
        """
        query = call.list_query()
        page = await self._policies.list(call.principal, query)
        items = page.items
        if query.cursor is None and query.q is None and not query.filters and query.owner_id is None:
            items = (self._policies.default(call.principal), *items)
        names = await self._inventory.owner_names(call.principal, [policy.owner_id for policy in items])
        return Answer(200, Listed(tuple(_document(policy, names) for policy in items), page.next_cursor))

    @Operation(
        "GET",
        "/policies/<id>",
        scope=Scope.READ,
        summary="One enrollment policy; 0 is the default one",
        answer=PolicyDocument,
        tagged=True,
    )
    async def get(self, call: Call) -> Answer:
        """Return a policy (POL-1)."""
        policy = await self._policies.get(call.principal, call.id)
        return tagged(await self._document(call, policy), policy.version)

    @Operation(
        "PUT",
        "/policies/<id>",
        scope=(Scope.READ, Scope.ENROLL),
        summary="Replace an enrollment policy; of the default one, validity and extensions",
        body=PolicyBody,
        answer=PolicyDocument,
        tagged=True,
    )
    async def replace(self, call: Call) -> Answer:
        """Replace a policy; omitted members get their defaults."""
        policy = _policy(call.id, call.take(PolicyBody))
        changed = await self._policies.update(call.principal, policy, expected=call.expected)
        return Answer(200, await self._document(call, changed))

    @Operation(
        "PATCH",
        "/policies/<id>",
        scope=(Scope.READ, Scope.ENROLL),
        summary="Change an enrollment policy",
        body=PolicyChange,
        answer=PolicyDocument,
        tagged=True,
    )
    async def update(self, call: Call) -> Answer:
        """Update a policy; omitted members stay unchanged."""
        body = call.take(PolicyChange)
        changes = {name: getattr(body, name) for name in call.present}
        for name, value in changes.items():
            if value is None and name not in _NULLABLE:
                raise MalformedRequest(f"{name} can't be null")
        if "validity_days" in changes:
            changes["days"] = changes.pop("validity_days")
        changed = await self._policies.change(
            call.principal, call.id, lambda current: replace(current, **changes), expected=call.expected
        )
        return tagged(await self._document(call, changed), changed.version)

    @Operation(
        "DELETE",
        "/policies/<id>",
        scope=(Scope.READ, Scope.ENROLL),
        summary="Delete an enrollment policy",
        statuses=(204,),
        tagged=True,
    )
    async def delete(self, call: Call) -> Answer:
        """Delete a policy; certificates issued under it are kept."""
        await self._policies.delete(call.principal, call.id, expected=call.expected)
        return NO_CONTENT

    async def _document(self, call: Call, policy: Policy) -> PolicyDocument:
        return _document(policy, await self._inventory.owner_names(call.principal, [policy.owner_id]))


def _policy(policy_id: int, body: PolicyBody) -> Policy:
    return Policy(
        policy_id,
        body.name,
        body.validity_days,
        body.extensions,
        system=body.system,
        use_for_est=body.use_for_est,
        use_for_scep=body.use_for_scep,
        owner_id=body.owner_id,
        issuer=body.issuer,
        approval=body.approval,
        limits=body.limits,
    )


def _document(policy: Policy, names: OwnerNames) -> PolicyDocument:
    return PolicyDocument(
        policy.id,
        policy.name,
        policy.days,
        policy.extensions,
        policy.system,
        policy.use_for_est,
        policy.use_for_scep,
        policy.owner_id,
        names.get(policy.owner_id),
        policy.issuer,
        policy.approval,
        policy.limits,
        policy.created_at,
        policy.updated_at,
    )
