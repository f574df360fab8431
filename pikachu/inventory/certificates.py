"""The rules about what was issued: who sees which certificates, requests and events, and what they may do with them.

Pages, REST and the command line come in here (CRT-5 to CRT-7, AUD-1).  What somebody may not see
is not found.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from twisted.internet.defer import Deferred

from pikachu.auth.permissions import can_view, require_scope, scope_to_owner
from pikachu.ca.issuance import CertificateAuthority
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import NotFound
from pikachu.core.interfaces import IStore
from pikachu.core.model.certificates import CertificateRecord, Method, RevocationReason
from pikachu.core.model.events import EventRecord
from pikachu.core.model.lists import ListQuery, Page
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.requests import RequestRecord, RequestState

#: id → name of those who own something, marked where the account is deleted; what belongs to nobody has none.
OwnerNames: TypeAlias = Mapping[int | None, str]

_NAMES_KEPT: Final = 10_000
_NAME_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class _Name:
    until: float
    text: str | None


class CertificateQueries:
    """What people see and do with what this authority has issued.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized where role or scope do
    not reach, and with StoreUnavailable.  They run to their end even when their Deferred is cancelled.
    """

    def __init__(self, store: IStore, authority: CertificateAuthority) -> None:
        self._store = store
        self._authority = authority
        self._names: OrderedDict[int, _Name] = OrderedDict()

    # --- certificates ---------------------------------------------------------------------

    @uncancelled
    async def certificates(self, actor: Principal, query: ListQuery) -> Page[CertificateRecord]:
        """One's own; for admins those of ``query.owner_id``, or all."""
        return await self._store.certificates(scope_to_owner(actor, query), self._authority.now())

    @uncancelled
    async def certificate(self, actor: Principal, certificate_id: int) -> CertificateRecord:
        """One of one's own, or any for admins.  Fails with NotFound."""
        return await self._visible(actor, certificate_id, Scope.READ)

    @uncancelled
    async def revoke(self, actor: Principal, certificate_id: int, reason: RevocationReason) -> CertificateRecord:
        """Revoke, or put on hold; repeating it changes nothing.  Fails with NotFound."""
        found = await self._visible(actor, certificate_id, Scope.REVOKE)
        return await self._authority.revoke(found.serial, reason, actor)

    @uncancelled
    async def release(self, actor: Principal, certificate_id: int) -> CertificateRecord:
        """Release from hold.  Fails with NotFound, and Conflict when it is not on hold."""
        found = await self._visible(actor, certificate_id, Scope.REVOKE)
        return await self._authority.release(found.serial, actor)

    @uncancelled
    async def delete(self, actor: Principal, certificate_id: int) -> None:
        """Hide it; one that is revoked stays revoked (CRT-6).  Fails with NotFound."""
        await self._authority.delete(await self._visible(actor, certificate_id, Scope.REVOKE), actor)

    async def _visible(self, actor: Principal, certificate_id: int, scope: Scope) -> CertificateRecord:
        require_scope(actor, scope)
        found = await self._store.certificate(certificate_id)
        if not can_view(actor, found.owner_id):
            raise NotFound("there is no such certificate")
        return found

    # --- requests that wait for a person --------------------------------------------------

    @uncancelled
    async def approvals(self, actor: Principal, query: ListQuery) -> Page[RequestRecord]:
        """Requests that wait for a person or were decided by one: one's own; for admins those of ``query.owner_id``, or
        all; filter ``state``.
        """
        query = scope_to_owner(actor, query)
        return await self._store.requests(replace(query, filters={**query.filters, "approval": "true"}))

    @uncancelled
    async def waiting(self, actor: Principal) -> int:
        """How many requests wait: of one's own, for admins of all; exact to 10,000."""
        query = ListQuery(limit=1, filters={"state": RequestState.PENDING.value}, count=True)
        return (await self._store.requests(scope_to_owner(actor, query))).total or 0

    @uncancelled
    async def approval(self, actor: Principal, request_id: int, scope: Scope = Scope.READ) -> RequestRecord:
        """One of one's own, or any for admins.  Fails with NotFound.

        :param scope: that lets the actor see it: who has just made or decided it need not read anything else.
        """
        require_scope(actor, scope)
        found = await self._store.request(request_id)
        if found.method is Method.CA or not can_view(actor, found.owner_id):
            raise NotFound("there is no such request")
        return found

    # --- events ---------------------------------------------------------------------------

    @uncancelled
    async def events(self, actor: Principal, query: ListQuery) -> Page[EventRecord]:
        """Events about what is one's own; for admins those of ``query.owner_id``, or all."""
        return await self._store.events(scope_to_owner(actor, query))

    @uncancelled
    async def event(self, actor: Principal, event_id: int) -> EventRecord:
        """One about what is one's own, or any for admins.  Fails with NotFound."""
        require_scope(actor, Scope.READ)
        found = await self._store.event(event_id)
        if not can_view(actor, found.event.owner_id):
            raise NotFound("there is no such event")
        return found

    # --- owners ---------------------------------------------------------------------------

    def owner_names(self, actor: Principal, ids: Iterable[int | None]) -> Deferred[OwnerNames]:
        """Return the names of the accounts that own something: cached for half a minute, else read in one query."""

        async def work() -> OwnerNames:
            owners = {one for one in ids if one is not None}
            names = await self._account_names(owners - {actor.owner_id})
            if actor.owner_id in owners:
                names[actor.owner_id] = actor.name
            return names

        return Deferred.fromCoroutine(work())

    async def _account_names(self, account_ids: Set[int]) -> dict[int | None, str]:
        """Return the cached names, and read those that are missing or outdated in one query."""
        now = self._authority.now().timestamp()
        cached = {one: name for one in account_ids if (name := self._names.get(one)) is not None and name.until > now}
        missing = sorted(account_ids - cached.keys())
        if missing:
            accounts = await self._store.accounts_of(missing)
            for one in missing:
                account = accounts.get(one)
                cached[one] = _Name(now + _NAME_SECONDS, None if account is None else account.display_name)
                self._names[one] = cached[one]
            while len(self._names) > _NAMES_KEPT:
                self._names.popitem(last=False)
        return {one: name.text for one, name in cached.items() if name.text is not None}
