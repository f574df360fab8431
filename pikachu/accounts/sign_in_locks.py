"""Locks after wrong passwords, for administrators: what an account has, and its end (ROL-2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from pikachu.auth.permissions import require_scope
from pikachu.auth.rate_limit import GuessLimits
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import NotFound
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.events import EventRecord
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Account, AccountState, Principal, Scope
from pikachu.core.model.times import utc

_SHOWN: Final = 5
# The number of accounts that other processes unlock between two looks, at most; others wait for their locks to end.
_FOLLOWED: Final = 100


@dataclass(frozen=True, slots=True)
class SignInLock:
    """The lock of an account.

    :param seconds: until the last lock ends; 0: not locked.
    :param failures: the newest failed sign-ins.
    """

    seconds: int
    failures: tuple[EventRecord, ...]


class SignInLocks:
    """Shows and ends the locks of accounts.  Admins only; methods fail with NotFound and StoreUnavailable."""

    def __init__(self, *, store: IStore, limits: GuessLimits, clock: IClock) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        # The newest event that was looked at; ``None`` before the first look.
        self._seen: int | None = None

    async def _account(self, account_id: int) -> Account:
        account = await self._store.account(account_id)
        if account.state is AccountState.DELETED:
            raise NotFound("This account is deleted.")
        return account

    @uncancelled
    async def lock(self, actor: Principal, account_id: int) -> SignInLock:
        """Return the lock of an account, and its newest failed sign-ins."""
        require_scope(actor, Scope.AUDIT)
        account = await self._account(account_id)
        filters = {"resource_type": "user", "resource_name": account.username, "type": "failed login"}
        failures = await self._store.events(ListQuery(limit=_SHOWN, filters=filters))
        return SignInLock(self._limits.locked_seconds(account.username), tuple(failures.items))

    @uncancelled
    async def unlock(self, actor: Principal, account_id: int) -> None:
        """End the locks of an account at all addresses, on all nodes; those of whole addresses stay."""
        require_scope(actor, Scope.ADMIN)
        account = await self._account(account_id)
        event = event_by(actor, "unlock", "user", account.username, account.id)
        now: datetime = utc(self._clock.seconds())
        await self._store.add_event(replace(event, about_account=True), now)
        self._limits.unlock(account.username)

    @uncancelled
    async def follow(self) -> None:
        """End here the locks that another process has ended since the last look, such as a command."""
        newest = await self._store.newest_event()
        seen, self._seen = self._seen, newest
        if seen is None or newest == seen:
            return
        filters = {"resource_type": "user", "type": "unlock"}
        page = await self._store.events(ListQuery(limit=_FOLLOWED, filters=filters))
        for record in page.items:
            if record.id > seen:
                self._limits.unlock_here(record.event.resource_name)
