"""API tokens of accounts (USR-6).

The program stores a token's digest; its text is shown once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pikachu.accounts.account_fields import checked_name
from pikachu.auth.authenticator import ROLE_SCOPES, new_token
from pikachu.auth.permissions import (
    can_change,
    can_view,
    is_admin,
    require_scope,
    require_whole_account,
    scope_to_owner,
)
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import NewToken, Principal, Scope, Token
from pikachu.core.model.times import rfc3339, utc
from pikachu.core.owners import require_usable

#: Lifetime of a token in days: the maximum, and the default.
MAX_DAYS: Final = 3650
DEFAULT_DAYS: Final = 365
#: Maximum length of a token's name in characters.
MAXIMUM_NAME: Final = 64


class Tokens:
    """Creates, lists and revokes API tokens.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized where role or scope are
    insufficient, and with StoreUnavailable.  They run to their end even when their Deferred is cancelled.
    """

    def __init__(self, *, store: IStore, clock: IClock) -> None:
        self._store = store
        self._clock = clock

    @uncancelled
    async def create(
        self,
        actor: Principal,
        account_id: int,
        name: str,
        scopes: frozenset[Scope] | None = None,
        days: int | None = None,
    ) -> tuple[Token, str]:
        """Create a token for one's own account, or any for admins; return it and its text.

        :param scopes: ``None``: all scopes of the account's role.
        :param days: 1 to 3650; ``None``: 365.

        Fails with NotFound, MalformedRequest, NotAuthorized (a restricted token creates no tokens), and Conflict when
        the account has a token of that name.
        """
        if account_id != require_whole_account(actor) and not is_admin(actor):
            raise NotFound("there is no such account")
        name = checked_name(name, "a token's name", MAXIMUM_NAME)
        lifetime = DEFAULT_DAYS if days is None else days
        if not 1 <= lifetime <= MAX_DAYS:
            raise MalformedRequest(f"a token lives 1 to {MAX_DAYS} days", field="days")
        account = await self._store.account(account_id)
        require_usable(account, "tokens")
        possible = ROLE_SCOPES[account.role]
        granted = possible if scopes is None else scopes
        if not granted or not granted <= possible:
            choices = ", ".join(scope for scope in Scope if scope in possible)
            raise MalformedRequest(f"the scopes of this account's tokens are one or more of {choices}", field="scope")
        text, digest = new_token()
        now = self._now()
        expires_at = now + timedelta(days=lifetime)
        event = event_by(
            actor, "create", "token", name, account_id, scopes=sorted(granted), expires_at=rfc3339(expires_at)
        )
        return await self._store.add_token(NewToken(account_id, name, digest, granted, expires_at), event, now), text

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[Token]:
        """Return a page of one's own tokens; for who sees all of those of ``query.owner_id``, or of all."""
        return await self._store.tokens(scope_to_owner(actor, query))

    @uncancelled
    async def get(self, actor: Principal, token_id: int) -> Token:
        """Return one of one's own tokens, or any for who sees all, without its text.  Fails with NotFound."""
        require_scope(actor, Scope.READ)
        token = await self._store.token(token_id)
        _require_visible(actor, token)
        return token

    @uncancelled
    async def revoke(self, actor: Principal, token_id: int) -> None:
        """Revoke one of one's own tokens, or any for admins.  Fails with NotFound."""

        def decide(token: Token) -> Event:
            if not can_change(actor, token.account_id):
                raise NotFound("there is no such token")
            return event_by(actor, "delete", "token", token.name, token.account_id)

        require_whole_account(actor)
        await self._store.delete_token(token_id, decide, self._now())

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _require_visible(actor: Principal, token: Token) -> None:
    if not can_view(actor, token.account_id):
        raise NotFound("there is no such token")
