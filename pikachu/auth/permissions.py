"""Authorization by audience, role, scope and ownership (UI-1, API-1, USR-6).

Pages declare an :class:`Audience`, REST operations a scope; what an account may see and change is decided here too.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from pikachu.auth.authenticator import ROLE_SCOPES
from pikachu.core.errors import AuthenticationFailed, NotAuthorized, NotFound
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal, PrincipalKind, Scope


class Audience(Enum):
    """The users who may open a page (UI-1)."""

    ANYONE = "anyone"
    USER = "user"
    ADMIN = "admin"


class Owned(Protocol):
    """An object that an account owns, or that has no owner."""

    @property
    def owner_id(self) -> int | None:
        """The id of the owning account; ``None`` without an owner."""


T = TypeVar("T", bound=Owned)


def require_audience(principal: Principal, audience: Audience) -> None:
    """Require that *principal* belongs to the audience of a page.

    :raises AuthenticationFailed: when the principal is anonymous and the page is not for anyone.
    :raises NotAuthorized: when the page is for administrators and the principal is not one.
    """
    if audience is Audience.ANYONE:
        return
    if principal.role is None:
        raise AuthenticationFailed("sign in first")
    if audience is Audience.ADMIN and not principal.is_admin:
        raise NotAuthorized("this page is for admins only")


def require_scope(actor: Principal, scope: Scope) -> None:
    """Require that *actor* acts for an account and has *scope*.

    :raises AuthenticationFailed: when the actor is anonymous.
    :raises NotAuthorized: when the actor acts for no account, or lacks the scope or the role.
    """
    if actor.kind is PrincipalKind.ANONYMOUS:
        raise AuthenticationFailed("sign in first")
    if actor.role is None:
        raise NotAuthorized("this needs an account")
    if scope is Scope.ADMIN and not actor.is_admin:
        raise NotAuthorized("this is for admins only")
    if scope not in actor.scopes:
        raise NotAuthorized(f"this needs the scope {scope}")


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


def can_view(actor: Principal, owner_id: int | None) -> bool:
    """Return whether *actor* may see objects of *owner_id*; only administrators see objects without an owner."""
    return is_admin(actor) or (owner_id is not None and owner_id == actor.owner_id)


def scope_to_owner(actor: Principal, query: ListQuery) -> ListQuery:
    """Restrict *query* to the objects of *actor*, unless the actor is an administrator.

    :raises AuthenticationFailed: when the actor is anonymous.
    :raises NotAuthorized: when the actor lacks the read scope.
    """
    require_scope(actor, Scope.READ)
    # No account has the id 0, and the program itself owns nothing.
    return query if is_admin(actor) else replace(query, owner_id=actor.owner_id or 0)


async def get_visible(actor: Principal, reading: Deferred[T], kind: str) -> T:
    """Return the result of *reading* if *actor* may see it; hidden and missing objects give the same error.

    :param kind: the kind of object, for the error message.

    Fails with NotFound.
    """
    try:
        item = await reading
    except NotFound:
        raise NotFound(f"there is no such {kind}") from None
    require_visible(actor, item, kind)
    return item


def require_visible(actor: Principal, item: Owned, kind: str) -> None:
    """Require that *actor* may see *item*; the error is that of an object that does not exist.

    :raises NotFound: when they may not.
    """
    if not can_view(actor, item.owner_id):
        raise NotFound(f"there is no such {kind}")
