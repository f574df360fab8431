"""What role and scopes let a principal do; every rule about people asks here (API-1, USR-6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from pikachu.auth.authenticator import ROLE_SCOPES
from pikachu.core.errors import AuthenticationFailed, NotAuthorized, NotFound
from pikachu.core.model.lists import ListQuery
from pikachu.core.model.people import Principal, PrincipalKind, Scope


class Owned(Protocol):
    """What belongs to an account, or to nobody."""

    @property
    def owner_id(self) -> int | None:
        """Whose it is."""


T = TypeVar("T", bound=Owned)


def require_scope(actor: Principal, scope: Scope) -> None:
    """That *actor* acts for an account, and may do what *scope* is for.

    :raises AuthenticationFailed: when it is anonymous.
    :raises NotAuthorized: when it acts for no account, or lacks the scope or the role.
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
    """The account of *actor*, 0 for the program itself, where nothing of what its role allows is kept from it: a
    restricted token must not make itself a better one.

    :raises AuthenticationFailed: when it is anonymous.
    :raises NotAuthorized: when it acts for no account, or for less than all of it.
    """
    require_scope(actor, Scope.READ)
    if actor.role is None or not actor.scopes >= ROLE_SCOPES[actor.role]:
        raise NotAuthorized("this needs a person or a token with all scopes of the account")
    return actor.owner_id or 0


def is_admin(actor: Principal) -> bool:
    """Whether *actor* is an admin who acts as one: a token without that scope has what a user has."""
    return actor.is_admin and Scope.ADMIN in actor.scopes


def can_view(actor: Principal, owner_id: int | None) -> bool:
    """Whether *actor* may see what belongs to *owner_id*; what belongs to nobody is for admins."""
    return is_admin(actor) or (owner_id is not None and owner_id == actor.owner_id)


def scope_to_owner(actor: Principal, query: ListQuery) -> ListQuery:
    """*query* for what *actor* may see: whoever does not administer sees what is their own.

    :raises AuthenticationFailed: as :func:`require_scope`, which is asked for reading.
    :raises NotAuthorized: likewise.
    """
    require_scope(actor, Scope.READ)
    # No account has the id 0, and the program itself owns nothing.
    return query if is_admin(actor) else replace(query, owner_id=actor.owner_id or 0)


async def get_visible(actor: Principal, reading: Deferred[T], what: str) -> T:
    """What *reading* gives, where *actor* may see it; what is hidden and what is not there look alike.

    Fails with NotFound.
    """
    try:
        found = await reading
    except NotFound:
        raise NotFound(f"there is no such {what}") from None
    require_visible(actor, found, what)
    return found


def require_visible(actor: Principal, found: Owned, what: str) -> None:
    """Require that *actor* may see *found*; the error is that of an object that does not exist.

    :raises NotFound: when they may not.
    """
    if not can_view(actor, found.owner_id):
        raise NotFound(f"there is no such {what}")
