"""Devices: lists, timelines, and challenge passwords for their names (DEV-1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twisted.logger import Logger

from pikachu.accounts.challenge_passwords import MAX_LABEL, ChallengePasswords, Purpose
from pikachu.auth.permissions import (
    Sphere,
    can_change,
    get_visible,
    operates,
    require_changeable,
    require_scope,
    scope_to_owner,
)
from pikachu.ca.issuance import CertificateAuthority
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.device_interfaces import Retirement
from pikachu.core.errors import Conflict, MalformedRequest, NotAuthorized, NotFound
from pikachu.core.interfaces import IStore
from pikachu.core.model.certificates import CertificateRecord, RevocationReason
from pikachu.core.model.devices import Device
from pikachu.core.model.events import Event, EventRecord
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import ChallengePassword, Principal, Scope

log = Logger()

#: Events of a timeline: the newest.
TIMELINE_EVENTS: Final = 50
_KIND: Final = "device"
_MISSING: Final = "There is no such device."


class Devices:
    """Queries and operations of principals on devices.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized where role or scope are
    insufficient, and with StoreUnavailable.  They run to their end even when their Deferred is cancelled.
    """

    def __init__(
        self, *, store: IStore, authority: CertificateAuthority, challenge_passwords: ChallengePasswords
    ) -> None:
        self._store = store
        self._now = authority.now
        self._challenge_passwords = challenge_passwords

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[Device]:
        """Return a page of one's own; for who sees all of those of ``query.owner_id``, or of all.

        Fails with NotAuthorized when a user filters by ``owner``.
        """
        if "owner" in query.filters and not operates(actor):
            require_scope(actor, Scope.AUDIT)
        return await self._store.devices(scope_to_owner(actor, query, Sphere.ISSUANCE), self._now())

    @uncancelled
    async def get(self, actor: Principal, device_id: int, scope: Scope = Scope.READ) -> Device:
        """Return one of one's own, or any for who sees all.  Fails with NotFound."""
        require_scope(actor, scope)
        device = await get_visible(actor, self._store.device(device_id), _KIND, Sphere.ISSUANCE)
        if scope is not Scope.READ:
            require_changeable(actor, device, _KIND, Sphere.ISSUANCE)
        return device

    @uncancelled
    async def certificates(self, actor: Principal, device_id: int, limit: int) -> Sequence[CertificateRecord]:
        """Return the newest *limit* certificates of a device.  Fails with NotFound."""
        device = await self.get(actor, device_id)
        return await self._certificates(device, limit)

    @uncancelled
    async def challenges(self, actor: Principal, device_id: int, limit: int) -> Sequence[ChallengePassword]:
        """Return the newest *limit* challenge passwords that are bound to a device.  Fails with NotFound."""
        device = await self.get(actor, device_id)
        query = ListQuery(limit=limit, filters={"device": str(device.id)})
        return (await self._store.challenges(query, self._now())).items

    @uncancelled
    async def timeline(self, actor: Principal, device_id: int) -> Sequence[EventRecord]:
        """Return the newest events of a device, its certificates and its challenge passwords.  Fails with NotFound."""
        device = await self.get(actor, device_id)
        return await self._store.device_events(device.id, TIMELINE_EVENTS)

    @uncancelled
    async def create_challenge(self, actor: Principal, device_id: int) -> ChallengePassword:
        """Create a challenge password for the names of the device's newest certificate, and for its owner.

        Fails with NotFound, with Conflict for a retired device and one without an owner or certificate, and like
        :meth:`ChallengePasswords.create`.
        """
        device = await self.get(actor, device_id, Scope.ENROLL)
        if device.owner_id is not None and not can_change(actor, device.owner_id):
            raise NotAuthorized("Only the owner of a device and administrators can create challenge passwords for it.")
        if device.retired_at is not None:
            raise Conflict("This device is retired. Put it back in service first.")
        if device.owner_id is None:
            raise Conflict("This device has no owner. Let it renew with its certificate.")
        certificates = await self._certificates(device, 1)
        if not certificates:
            raise Conflict("All certificates of this device were deleted. Create a challenge password for its name.")
        newest = certificates[0]
        purpose = Purpose(_label(device.name), newest.subject or "/", newest.sans)
        challenge, _ = await self._challenge_passwords.create(actor, device.owner_id, purpose=purpose)
        return challenge

    @uncancelled
    async def retire(self, actor: Principal, device_id: int, reason: RevocationReason) -> Retirement:
        """Revoke all certificates of a device and end its challenge passwords; it is refused until it is reinstated.

        Fails with NotFound, and with Conflict when it is retired; with MalformedRequest for a hold, which would end.
        """

        def decide(device: Device) -> Event:
            require_changeable(actor, device, _KIND, Sphere.ISSUANCE)
            return event_by(actor, "retire", _KIND, device.name, device.owner_id, reason=reason.wire_name)

        require_scope(actor, Scope.REVOKE)
        retirement_reason(reason)
        try:
            retirement = await self._store.retire_device(device_id, reason, decide, self._now())
        except NotFound:
            raise NotFound(_MISSING) from None
        log.info(
            "Retired {name}: {certificates} certificates revoked",
            name=retirement.device.name,
            certificates=retirement.certificates,
        )
        return retirement

    @uncancelled
    async def reinstate(self, actor: Principal, device_id: int) -> Device:
        """Put a retired device back in service; its certificates stay revoked.

        Fails with NotFound, and with Conflict when it is not retired.
        """

        def decide(device: Device) -> Event:
            require_changeable(actor, device, _KIND, Sphere.ISSUANCE)
            return event_by(actor, "reinstate", _KIND, device.name, device.owner_id)

        require_scope(actor, Scope.REVOKE)
        try:
            return await self._store.reinstate_device(device_id, decide, self._now())
        except NotFound:
            raise NotFound(_MISSING) from None

    async def _certificates(self, device: Device, limit: int) -> Sequence[CertificateRecord]:
        query = ListQuery(limit=limit, filters={"device": str(device.id)})
        return (await self._store.certificates(query, self._now())).items


def retirement_reason(reason: RevocationReason) -> RevocationReason:
    """Return the reason of a retirement.

    :raises MalformedRequest: for a hold, which could be released.
    """
    if reason is RevocationReason.CERTIFICATE_HOLD:
        raise MalformedRequest(
            "Choose another reason than certificateHold: a retirement can't be released.", field="reason"
        )
    return reason


def _label(name: str) -> str:
    text = "".join(character for character in name if character.isprintable())
    return text[:MAX_LABEL].strip()
