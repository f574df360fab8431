"""Access to certificates, requests and events: visibility and permitted operations.

Used by pages, REST and the command line (CRT-5 to CRT-7, AUD-1).  Objects that the actor may not see fail with
NotFound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from twisted.internet.defer import Deferred

from pikachu.auth.permissions import (
    OPERATOR_EVENTS,
    Sphere,
    can_view,
    can_view_certificate,
    event_sphere,
    operates,
    require_changeable,
    require_scope,
    scope_to_kinds,
    scope_to_owner,
)
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.restrictions import require_confirmed, require_deletable
from pikachu.core.cache import BoundedCache
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import NotFound, UnknownSerial
from pikachu.core.interfaces import IStore
from pikachu.core.model.certificates import CertificateRecord, Method, RevocationReason
from pikachu.core.model.events import EventRecord
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.requests import RequestRecord, RequestState

#: Account id → display name of owners; objects without an owner have none.
OwnerNames: TypeAlias = Mapping[int | None, str]

_KIND: Final = "certificate"
_MAX_CACHED_NAMES: Final = 10_000
_NAME_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class _Name:
    until: float
    text: str | None


class CertificateQueries:
    """Queries and operations of principals on this authority's certificates.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized without the role or scope,
    and with StoreUnavailable.  They run to completion even if their Deferred is cancelled.
    """

    def __init__(self, store: IStore, authority: CertificateAuthority) -> None:
        self._store = store
        self._authority = authority
        self._names: BoundedCache[int, _Name] = BoundedCache(_MAX_CACHED_NAMES)

    # --- certificates ---------------------------------------------------------------------

    @uncancelled
    async def certificates(self, actor: Principal, query: ListQuery) -> Page[CertificateRecord]:
        """List the actor's certificates; for who sees all those of ``query.owner_id``, or all.

        Fails with NotAuthorized when a user filters by ``owner``, or a user or operator by ``infrastructure``.
        """
        if "infrastructure" in query.filters or ("owner" in query.filters and not operates(actor)):
            require_scope(actor, Scope.AUDIT)
        query = scope_to_owner(actor, query, Sphere.ISSUANCE)
        return await self._store.certificates(query, self._authority.now())

    @uncancelled
    async def certificate(self, actor: Principal, certificate_id: int, scope: Scope = Scope.READ) -> CertificateRecord:
        """Return a visible certificate, for an operation that needs *scope*.  Fails with NotFound."""
        return await self._visible(actor, certificate_id, scope)

    @uncancelled
    async def revoke(
        self,
        actor: Principal,
        certificate_id: int,
        reason: RevocationReason,
        *,
        confirmed: bool = False,
    ) -> CertificateRecord:
        """Revoke a certificate or put it on hold; a repetition changes nothing.

        :param confirmed: that the caller knows that it is an issuing CA, if it is one.

        Fails with NotFound, and with ConfirmationRequired for an issuing CA that was not confirmed.
        """
        certificate = await self._visible(actor, certificate_id, Scope.REVOKE)
        require_confirmed(certificate, reason, confirmed=confirmed)
        return await self._authority.revoke(certificate.serial, reason, actor)

    @uncancelled
    async def release(self, actor: Principal, certificate_id: int) -> CertificateRecord:
        """Release a certificate from hold.  Fails with NotFound, and with Conflict if it is not on hold."""
        certificate = await self._visible(actor, certificate_id, Scope.REVOKE)
        return await self._authority.release(certificate.serial, actor)

    @uncancelled
    async def revoke_serial(
        self, actor: Principal, serial: int, reason: RevocationReason, *, confirmed: bool = False
    ) -> CertificateRecord:
        """Revoke by serial number, as :meth:`revoke`, also a deleted certificate.  Fails with UnknownSerial."""
        require_scope(actor, Scope.REVOKE)
        certificate = await self._store.certificate_by_serial(serial, deleted=True)
        # An intent without a certificate has no id.
        if not certificate.id or not can_view_certificate(actor, certificate):
            raise UnknownSerial("no certificate has this serial")
        require_changeable(actor, certificate, _KIND, Sphere.ISSUANCE)
        require_confirmed(certificate, reason, confirmed=confirmed)
        return await self._authority.revoke(serial, reason, actor)

    @uncancelled
    async def delete(self, actor: Principal, certificate_id: int, revoke: RevocationReason | None = None) -> None:
        """Hide a certificate from lists; it stays revoked if it was (CRT-6).

        :param revoke: the reason for revoking it first, if it is valid or on hold; ``None``: don't revoke it.

        Fails with NotFound, and with Conflict for what must not be deleted or can't be revoked here.
        """
        certificate = await self._visible(actor, certificate_id, Scope.REVOKE)
        now = self._authority.now()
        if revoke is not None and certificate.is_revocable(now):
            # Nothing is revoked that is not deleted then.
            require_deletable(certificate, now)
            await self._authority.revoke(certificate.serial, revoke, actor)
        await self._authority.delete(certificate, actor)

    async def _visible(self, actor: Principal, certificate_id: int, scope: Scope) -> CertificateRecord:
        require_scope(actor, scope)
        certificate = await self._store.certificate(certificate_id)
        if not can_view_certificate(actor, certificate):
            raise NotFound("there is no such certificate")
        if scope is not Scope.READ:
            require_changeable(actor, certificate, _KIND, Sphere.ISSUANCE)
        return certificate

    # --- approvals --------------------------------------------------

    @uncancelled
    async def approvals(self, actor: Principal, query: ListQuery) -> Page[RequestRecord]:
        """List requests that wait for approval or were decided manually: the actor's; for who sees all those of
        ``query.owner_id``, or all.  Filter ``state``.
        """
        query = scope_to_owner(actor, query, Sphere.ISSUANCE)
        return await self._store.requests(replace(query, filters={**query.filters, "approval": "true"}))

    @uncancelled
    async def waiting(self, actor: Principal) -> int:
        """Count the pending requests that the actor sees; exact up to 10,000."""
        query = ListQuery(limit=1, filters={"state": RequestState.PENDING.value}, count=True)
        return (await self._store.requests(scope_to_owner(actor, query, Sphere.ISSUANCE))).total or 0

    @uncancelled
    async def approval(self, actor: Principal, request_id: int, scope: Scope = Scope.READ) -> RequestRecord:
        """Return a visible request.  Fails with NotFound.

        :param scope: the required scope, which is not READ right after the actor created or decided the request.
        """
        require_scope(actor, scope)
        request = await self._store.request(request_id)
        if request.method is Method.CA or not can_view(actor, request.owner_id, Sphere.ISSUANCE):
            raise NotFound("there is no such request")
        return request

    # --- events ---------------------------------------------------------------------------

    @uncancelled
    async def events(self, actor: Principal, query: ListQuery) -> Page[EventRecord]:
        """List events about the actor's objects; for operators also about issuance, for who sees all about all.

        With ``query.owner_id`` only those about that account's objects.
        """
        return await self._store.events(scope_to_kinds(actor, query, OPERATOR_EVENTS))

    @uncancelled
    async def event(self, actor: Principal, event_id: int) -> EventRecord:
        """Return a visible event.  Fails with NotFound."""
        require_scope(actor, Scope.READ)
        record = await self._store.event(event_id)
        if not can_view(actor, record.event.owner_id, event_sphere(record.event)):
            raise NotFound("there is no such event")
        return record

    # --- owners ---------------------------------------------------------------------------

    def owner_names(self, actor: Principal, ids: Iterable[int | None]) -> Deferred[OwnerNames]:
        """Return the display names of owners, cached for 30 seconds or read in one query."""

        async def work() -> OwnerNames:
            owners = {account_id for account_id in ids if account_id is not None}
            names = await self._account_names(owners - {actor.owner_id})
            if actor.owner_id in owners:
                names[actor.owner_id] = actor.name
            return names

        return Deferred.fromCoroutine(work())

    async def _account_names(self, account_ids: Set[int]) -> dict[int | None, str]:
        """Return the cached names, and read missing or expired ones in one query."""
        now = self._authority.now().timestamp()
        cached = {
            account_id: name
            for account_id in account_ids
            if (name := self._names.get(account_id)) is not None and name.until > now
        }
        missing = sorted(account_ids - cached.keys())
        if missing:
            accounts = await self._store.accounts_of(missing)
            for account_id in missing:
                account = accounts.get(account_id)
                cached[account_id] = _Name(now + _NAME_SECONDS, None if account is None else account.display_name)
                self._names.put(account_id, cached[account_id])
        return {account_id: name.text for account_id, name in cached.items() if name.text is not None}
