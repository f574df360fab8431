"""``/policies``: enrollment policies (POL-1, POL-2, POL-4)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pikachu.core.constraints import Length, Matches, NotEmpty, Omissible, OneOf
from pikachu.core.model.certificates import Method
from pikachu.core.model.lint import OVERRIDE_REASON, Finding, LintOverride
from pikachu.core.model.people import Role, Scope
from pikachu.core.model.policies import DAYS, POLICY_ROLES, Approval, NextDefaults, Policy, PolicyLimits
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.ra.policies import POLICY_NAME
from pikachu.ra.policy_administration import MAXIMUM_TEXT, PolicyAdministration
from pikachu.web.api.examples import EXTENSIONS
from pikachu.web.api.queries import whole_number
from pikachu.web.api.routes import FLAGS, NO_CONTENT, Answer, Call, Listed, Operation, Routes, created, tagged

_Name: TypeAlias = Annotated[
    str, Matches(POLICY_NAME.pattern, "1 to 64 letters, digits and the characters . _ - and space")
]
_Days: TypeAlias = Annotated[int, DAYS]
_Text: TypeAlias = Annotated[str, Length(0, MAXIMUM_TEXT)]
_Reason: TypeAlias = Annotated[str, OVERRIDE_REASON]
_Roles: TypeAlias = Annotated[tuple[Annotated[Role, OneOf(POLICY_ROLES)], ...], NotEmpty()]


@dataclass(frozen=True, slots=True)
class PolicyBody:
    """A policy; without ``system`` it belongs to ``owner_id``, else to the caller.

    ``roles`` are the roles whose accounts may use it, user, operator and admin; administrators choose them.  Omitted,
    a new policy has all three, and one that exists keeps its own.

    ``override_reason`` accepts the errors of lint that the policy has; it is for administrators.

    Omitted, ``default_for_est`` and ``default_for_scep`` stay as they are; the first policy of an owner that is used
    for a protocol becomes its default.
    """

    EXAMPLE: ClassVar[dict[str, Any]] = {"name": "Pumps", "validity_days": 365, "extensions": EXTENSIONS}

    name: _Name
    validity_days: _Days
    extensions: _Text
    system: bool = False
    use_for_est: bool = False
    use_for_scep: bool = False
    default_for_est: bool | None = None
    default_for_scep: bool | None = None
    owner_id: int | None = None
    issuer: str | None = None
    approval: Approval = Approval.AUTOMATIC
    limits: PolicyLimits = field(default_factory=PolicyLimits)
    roles: Omissible[_Roles] = None
    override_reason: Omissible[_Reason] = None


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """Omitted members stay unchanged; ``limits`` are replaced as a whole.

    ``override_reason`` is as in ``PolicyBody``.
    """

    EXAMPLE: ClassVar[dict[str, Any]] = {"validity_days": 30}

    name: Omissible[_Name] = None
    validity_days: Omissible[_Days] = None
    extensions: Omissible[_Text] = None
    system: Omissible[bool] = None
    use_for_est: Omissible[bool] = None
    use_for_scep: Omissible[bool] = None
    default_for_est: Omissible[bool] = None
    default_for_scep: Omissible[bool] = None
    # Null is a value here: no owner, and the protocol's default issuer.
    owner_id: int | None = None
    issuer: str | None = None
    approval: Omissible[Approval] = None
    limits: Omissible[PolicyLimits] = None
    roles: Omissible[_Roles] = None
    override_reason: Omissible[_Reason] = None


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """An enrollment policy; the one in files has the id 0.

    ``default_for_est``: it applies on the EST path without a label, to its owner or, as a system policy, to everyone.

    ``findings`` are those of lint about sample certificates of the policy; null in lists.  ``linter`` names the program
    that lints beside the server's own rules; null when the extra ``lint`` is not installed.  ``lint_override`` says why
    an administrator has accepted errors.
    """

    id: int
    name: str
    validity_days: int
    extensions: str
    system: bool
    use_for_est: bool
    use_for_scep: bool
    default_for_est: bool
    default_for_scep: bool
    owner_id: int | None
    owner: str | None
    issuer: str | None
    approval: Approval
    limits: PolicyLimits
    roles: tuple[Role, ...]
    created_at: datetime | None
    updated_at: datetime | None
    findings: tuple[Finding, ...] | None
    linter: str | None
    lint_override: LintOverride | None


# Where a change takes the mark from the default policy of a protocol: the id of the policy that becomes the default.
_NEXT_DEFAULTS: Final = {"next_default_est": Method.EST, "next_default_scep": Method.SCEP}


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
        body = call.take(PolicyBody)
        policy = await self._policies.add(call.principal, _policy(0, body), override=body.override_reason)
        return created(f"/policies/{policy.id}", await self._document(call, policy), version=policy.version)

    @Operation(
        "GET",
        "/policies",
        scope=Scope.READ,
        summary="Enrollment policies: one's own and the system's, or for admins all",
        answer=PolicyDocument,
        listed=True,
        filters={"system": "system"},
        choices={"system": FLAGS},
        owner="owner_id",
        sorts=("id", "created_at", "name", "days", "updated_at", "user"),
    )
    async def list(self, call: Call) -> Answer:
        """List policies; the default policy precedes the first page of a list without filters, and is not counted
        there.
        """
        query = call.list_query()
        page = await self._policies.list(call.principal, query)
        items = page.items
        if query.cursor is None and query.q is None and not query.filters and query.owner_id is None:
            items = (await self._policies.default(call.principal), *items)
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
        query=tuple(_NEXT_DEFAULTS),
        ids=tuple(_NEXT_DEFAULTS),
        tagged=True,
    )
    async def replace(self, call: Call) -> Answer:
        """Replace a policy; omitted members get their defaults, but the default marks stay."""
        body = call.take(PolicyBody)
        changed = await self._policies.change(
            call.principal,
            call.id,
            lambda current: _policy(call.id, body, current),
            expected=call.expected,
            next_defaults=_next_defaults(call),
            override=body.override_reason,
        )
        return Answer(200, await self._document(call, changed))

    @Operation(
        "PATCH",
        "/policies/<id>",
        scope=(Scope.READ, Scope.ENROLL),
        summary="Change an enrollment policy",
        body=PolicyChange,
        answer=PolicyDocument,
        query=tuple(_NEXT_DEFAULTS),
        ids=tuple(_NEXT_DEFAULTS),
        tagged=True,
    )
    async def update(self, call: Call) -> Answer:
        """Update a policy; omitted members stay unchanged."""
        body = call.take(PolicyChange)
        changes = {name: getattr(body, name) for name in call.present if name != "override_reason"}
        if "validity_days" in changes:
            changes["days"] = changes.pop("validity_days")
        changed = await self._policies.change(
            call.principal,
            call.id,
            lambda current: replace(current, **changes),
            expected=call.expected,
            next_defaults=_next_defaults(call),
            override=body.override_reason,
        )
        return tagged(await self._document(call, changed), changed.version)

    @Operation(
        "DELETE",
        "/policies/<id>",
        scope=(Scope.READ, Scope.ENROLL),
        summary="Delete an enrollment policy",
        statuses=(204,),
        query=tuple(_NEXT_DEFAULTS),
        ids=tuple(_NEXT_DEFAULTS),
        tagged=True,
    )
    async def delete(self, call: Call) -> Answer:
        """Delete a policy; certificates issued under it are kept.

        Without a next default, another policy applies where the deleted one was the default.
        """
        await self._policies.delete(call.principal, call.id, expected=call.expected, next_defaults=_next_defaults(call))
        return NO_CONTENT

    async def _document(self, call: Call, policy: Policy) -> PolicyDocument:
        names = await self._inventory.owner_names(call.principal, [policy.owner_id])
        report = await self._policies.lint(policy)
        return replace(_document(policy, names), findings=report.findings, linter=report.linter)


def _next_defaults(call: Call) -> NextDefaults:
    """Return the choice in the query.

    :raises MalformedRequest: when it is no id.
    """
    return {
        protocol: whole_number(call.query[name], name)
        for name, protocol in _NEXT_DEFAULTS.items()
        if name in call.query
    }


def _policy(policy_id: int, body: PolicyBody, current: Policy | None = None) -> Policy:
    was_default = (False, False) if current is None else (current.default_for_est, current.default_for_scep)
    had_roles = POLICY_ROLES if current is None else current.roles
    return Policy(
        policy_id,
        body.name,
        body.validity_days,
        body.extensions,
        system=body.system,
        use_for_est=body.use_for_est,
        use_for_scep=body.use_for_scep,
        default_for_est=was_default[0] if body.default_for_est is None else body.default_for_est,
        default_for_scep=was_default[1] if body.default_for_scep is None else body.default_for_scep,
        owner_id=body.owner_id,
        issuer=body.issuer,
        approval=body.approval,
        limits=body.limits,
        roles=had_roles if body.roles is None else body.roles,
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
        policy.default_for_est,
        policy.default_for_scep,
        policy.owner_id,
        names.get(policy.owner_id),
        policy.issuer,
        policy.approval,
        policy.limits,
        policy.roles,
        policy.created_at,
        policy.updated_at,
        None,
        None,
        policy.lint_override,
    )
