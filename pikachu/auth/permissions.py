"""Authorization by audience, role, scope and ownership (UI-1, API-1, USR-6, ROL-1).

Pages declare an :class:`Audience`, REST operations a scope; what an account may see and change is decided here too.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

from twisted.internet.defer import Deferred

from pikachu.auth.authenticator import ROLE_SCOPES
from pikachu.core.errors import AuthenticationFailed, NotAuthorized, NotFound
from pikachu.core.model.certificates import Infrastructure
from pikachu.core.model.events import Event
from pikachu.core.model.jobs import JobResource
from pikachu.core.model.list_queries import ListQuery, Visible
from pikachu.core.model.people import Principal, PrincipalKind, Role, Scope


class Audience(Enum):
    """The users who may open a page (UI-1).

    *user* is everybody with an account, *requester* everybody but auditors, *staff* who sees others' certificates.
    """

    ANYONE = "anyone"
    USER = "user"
    REQUESTER = "requester"
    STAFF = "staff"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Sphere(Enum):
    """A group of objects, by the roles that see those of others.

    *personal* objects (keys, templates, policies, challenge passwords, tokens) are seen by their owner,
    administrators and auditors; objects of *issuance* (certificates, CSRs, approvals, devices, batches, jobs) by
    operators too.
    """

    PERSONAL = "personal"
    ISSUANCE = "issuance"


#: The roles of each audience; ANYONE needs none.
AUDIENCE_ROLES: Final = MappingProxyType(
    {
        Audience.USER: frozenset(Role),
        Audience.REQUESTER: frozenset({Role.USER, Role.OPERATOR, Role.ADMIN}),
        Audience.STAFF: frozenset({Role.OPERATOR, Role.AUDITOR, Role.ADMIN}),
        Audience.OPERATOR: frozenset({Role.OPERATOR, Role.ADMIN}),
        Audience.AUDITOR: frozenset({Role.AUDITOR, Role.ADMIN}),
        Audience.ADMIN: frozenset({Role.ADMIN}),
    }
)
#: Resource types of the events of issuance, which operators see whoever owns the object.
OPERATOR_EVENTS: Final = frozenset({"certificate", "CSR", "request", "batch", "device", "CRL", "responder", "issuer"})
#: The objects of those jobs that operators see whoever has started them.
OPERATOR_JOBS: Final = frozenset({JobResource.CERTIFICATES.value, JobResource.APPROVALS.value, JobResource.CSRS.value})

_MISSING_SCOPE: Final = MappingProxyType(
    {
        Scope.ADMIN: "This is for administrators only.",
        Scope.AUDIT: "This is for administrators and auditors only.",
        Scope.OPERATE: "This is for operators and administrators only.",
    }
)


class Owned(Protocol):
    """An object that an account owns, or that has no owner."""

    @property
    def owner_id(self) -> int | None:
        """The id of the owning account; ``None`` without an owner."""


class OwnedCertificate(Owned, Protocol):
    """A certificate of a subscriber, or one of the CA's own."""

    @property
    def infrastructure(self) -> Infrastructure | None:
        """The role of one of the CA's own certificates."""


T = TypeVar("T", bound=Owned)


def in_audience(principal: Principal, audience: Audience) -> bool:
    """Return whether the role of *principal* belongs to *audience*."""
    return audience is Audience.ANYONE or principal.role in AUDIENCE_ROLES[audience]


def require_audience(principal: Principal, audience: Audience) -> None:
    """Require that *principal* belongs to the audience of a page.

    :raises AuthenticationFailed: when the principal is anonymous and the page is not for anyone.
    :raises NotAuthorized: when the role of the principal does not belong to the audience.
    """
    if audience is not Audience.ANYONE and principal.role is None:
        raise AuthenticationFailed("sign in first")
    if not in_audience(principal, audience):
        if principal.role is Role.AUDITOR:
            raise NotAuthorized("Auditors read, and can't use this page. Ask an administrator or an operator.")
        raise NotAuthorized("Your role can't use this page. Ask an administrator.")


def require_scope(actor: Principal, scope: Scope) -> None:
    """Require that *actor* acts for an account and has *scope*.

    :raises AuthenticationFailed: when the actor is anonymous.
    :raises NotAuthorized: when the actor acts for no account, or lacks the scope or the role.
    """
    if actor.kind is PrincipalKind.ANONYMOUS:
        raise AuthenticationFailed("sign in first")
    if actor.role is None:
        raise NotAuthorized("this needs an account")
    require_role_scope(actor.role, scope)
    if scope not in actor.scopes:
        raise NotAuthorized(f"this needs the scope {scope}")


def require_role_scope(role: Role, scope: Scope) -> None:
    """Require that accounts of *role* can have *scope*.

    :raises NotAuthorized: when they can't.
    """
    if scope not in ROLE_SCOPES[role]:
        raise NotAuthorized(_MISSING_SCOPE.get(scope, f"Accounts with the role {role} can't do this."))


def require_whole_account(actor: Principal) -> int:
    """Return the account id of *actor* (0 for the program itself), requiring all scopes of its role.

    A restricted token must not be able to create a more powerful one.

    :raises AuthenticationFailed: when the actor is anonymous.
    :raises NotAuthorized: when the actor acts for no account, or lacks a scope of its role.
    """
    require_scope(actor, Scope.READ)
    if actor.role is None or not actor.scopes >= ROLE_SCOPES[actor.role]:
        raise NotAuthorized("this needs a person or a token with all scopes of the account")
    return actor.owner_id or 0


def is_admin(actor: Principal) -> bool:
    """Return whether *actor* has the admin role and scope; a token without that scope has a user's rights."""
    return actor.is_admin and Scope.ADMIN in actor.scopes


def reads_all(actor: Principal) -> bool:
    """Return whether *actor* sees the objects of all accounts: an administrator or an auditor, with the scope."""
    return actor.role in AUDIENCE_ROLES[Audience.AUDITOR] and Scope.AUDIT in actor.scopes


def operates(actor: Principal) -> bool:
    """Return whether *actor* handles everybody's certificates, CSRs and approvals: by role and scope."""
    return actor.role in AUDIENCE_ROLES[Audience.OPERATOR] and Scope.OPERATE in actor.scopes


def sees_all(actor: Principal, sphere: Sphere) -> bool:
    """Return whether *actor* sees the objects of *sphere* of all accounts."""
    return reads_all(actor) or (sphere is Sphere.ISSUANCE and operates(actor))


def require_staff(actor: Principal) -> None:
    """Require that *actor* may see what policies demand of devices, which belongs to no account.

    :raises AuthenticationFailed: when the actor is anonymous.
    :raises NotAuthorized: when the actor is no operator, auditor or administrator, or lacks the scope.
    """
    if actor.kind is PrincipalKind.ANONYMOUS:
        raise AuthenticationFailed("sign in first")
    if not sees_all(actor, Sphere.ISSUANCE):
        raise NotAuthorized("This is for operators, auditors and administrators only.")


def can_view(actor: Principal, owner_id: int | None, sphere: Sphere = Sphere.PERSONAL) -> bool:
    """Return whether *actor* may see objects of *owner_id*; users see none without an owner."""
    return sees_all(actor, sphere) or (owner_id is not None and owner_id == actor.owner_id)


def event_sphere(event: Event) -> Sphere:
    """Return the sphere that the object of *event* belongs to."""
    return Sphere.ISSUANCE if event.resource_type in OPERATOR_EVENTS else Sphere.PERSONAL


def can_view_certificate(actor: Principal, certificate: OwnedCertificate) -> bool:
    """Return whether *actor* may see a certificate; the CA's own are for administrators and auditors."""
    if certificate.infrastructure is not None:
        return reads_all(actor)
    return can_view(actor, certificate.owner_id, Sphere.ISSUANCE)


def can_change(actor: Principal, owner_id: int | None, sphere: Sphere = Sphere.PERSONAL) -> bool:
    """Return whether *actor* may change objects of *owner_id* and see their secrets, with the scope for that."""
    changes_all = is_admin(actor) or (sphere is Sphere.ISSUANCE and operates(actor))
    return changes_all or (owner_id is not None and owner_id == actor.owner_id)


def scope_to_owner(actor: Principal, query: ListQuery, sphere: Sphere = Sphere.PERSONAL) -> ListQuery:
    """Restrict *query* to the objects of *actor*, unless the actor sees those of everybody.

    :raises AuthenticationFailed: when the actor is anonymous.
    :raises NotAuthorized: when the actor lacks the read scope.
    """
    require_scope(actor, Scope.READ)
    # No account has the id 0, and the program itself owns nothing.
    return query if sees_all(actor, sphere) else replace(query, owner_id=actor.owner_id or 0)


def scope_to_kinds(actor: Principal, query: ListQuery, kinds: frozenset[str]) -> ListQuery:
    """Restrict *query* as :func:`scope_to_owner`; operators see objects of these *kinds* of others too.

    :raises AuthenticationFailed: when the actor is anonymous.
    :raises NotAuthorized: when the actor lacks the read scope.
    """
    if reads_all(actor) or not operates(actor) or query.owner_id == actor.owner_id:
        return scope_to_owner(actor, query)
    require_scope(actor, Scope.READ)
    return replace(query, visible=Visible(actor.owner_id or 0, kinds))


async def get_visible(actor: Principal, reading: Deferred[T], kind: str, sphere: Sphere = Sphere.PERSONAL) -> T:
    """Return the result of *reading* if *actor* may see it; hidden and missing objects give the same error.

    :param kind: the kind of object, for the error message.

    Fails with NotFound.
    """
    try:
        item = await reading
    except NotFound:
        raise NotFound(f"there is no such {kind}") from None
    require_visible(actor, item, kind, sphere)
    return item


def require_visible(actor: Principal, item: Owned, kind: str, sphere: Sphere = Sphere.PERSONAL) -> None:
    """Require that *actor* may see *item*; the error is that of an object that does not exist.

    :raises NotFound: when they may not.
    """
    if not can_view(actor, item.owner_id, sphere):
        raise NotFound(f"there is no such {kind}")


def require_changeable(actor: Principal, item: Owned, kind: str, sphere: Sphere = Sphere.PERSONAL) -> None:
    """Require that *actor* may change *item*, and see its secrets.

    :raises NotFound: when they may not even see it.
    :raises NotAuthorized: when they may only see it.
    """
    require_visible(actor, item, kind, sphere)
    if not can_change(actor, item.owner_id, sphere):
        raise NotAuthorized(f"This {kind} belongs to another account, and your role can't change or use it.")
