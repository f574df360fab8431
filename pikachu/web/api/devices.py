"""``/devices``: names with their certificates over time (DEV-1, DEV-2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

from pikachu.ca.issuance import CertificateAuthority
from pikachu.core.constraints import OneOf
from pikachu.core.model.certificates import REASON_NAMES, Method, RevocationReason
from pikachu.core.model.devices import Device, DeviceState
from pikachu.core.model.people import Scope
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.inventory.devices import Devices
from pikachu.web.api.routes import Answer, Call, IncompleteList, Listed, Operation, Routes

_STATE: Final = OneOf(tuple(DeviceState))
_RETIREMENT_REASONS: Final = OneOf(tuple(name for name in REASON_NAMES.choices if name != "certificateHold"))


@dataclass(frozen=True, slots=True)
class DeviceDocument:
    """A device: the certificates of one name and owner.

    ``policy``, ``method`` and ``address`` are those of the last enrollment; ``address`` is null where it is not known.
    ``renewal_due_at`` and ``overdue_at`` are null without a valid certificate; ``certificate_id`` is the current one.
    """

    id: int
    name: str
    state: Annotated[str, _STATE]
    owner: str | None
    policy: str
    method: Method
    address: str | None
    certificates: int
    certificate_id: int | None
    created_at: datetime
    enrolled_at: datetime
    not_after: datetime
    renewal_due_at: datetime | None
    overdue_at: datetime | None
    retired_at: datetime | None
    retirement_reason: Annotated[str, REASON_NAMES] | None


@dataclass(frozen=True, slots=True)
class DeviceRetirement:
    """The reason for which the certificates of the device are revoked."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"reason": RevocationReason.KEY_COMPROMISE.wire_name}

    reason: Annotated[str, _RETIREMENT_REASONS] = RevocationReason.CESSATION_OF_OPERATION.wire_name


@dataclass(frozen=True, slots=True)
class RetirementDocument:
    """The number of certificates that were revoked, and of challenge passwords that were ended."""

    certificates_revoked: int
    challenge_passwords_ended: int


_TIMES: Final = {name: name for name in ("expires", "expires_from", "expires_to")}


class DevicesAPI(Routes):
    """Devices."""

    def __init__(self, *, devices: Devices, authority: CertificateAuthority, inventory: CertificateQueries) -> None:
        self._devices = devices
        self._now: Callable[[], datetime] = authority.now
        self._inventory = inventory

    @Operation(
        "GET",
        "/devices",
        scope=Scope.READ,
        summary="Devices: one's own, or for admins all; q is words of any of their names",
        answer=DeviceDocument,
        listed=True,
        filters={"state": "state", "policy": "policy", "method": "method", "owner": "owner", **_TIMES},
        choices={"state": _STATE.choices, "method": tuple(Method)},
        owner="owner_id",
        sorts=("id", "created_at", "name", "due_at", "enrolled_at"),
    )
    async def list(self, call: Call) -> Answer:
        """List devices (DEV-1)."""
        page = await self._devices.list(call.principal, call.list_query())
        names = await self._inventory.owner_names(call.principal, [device.owner_id for device in page.items])
        now = self._now()
        items = tuple(_document(device, now, names) for device in page.items)
        if page.unindexed:
            return Answer(200, IncompleteList(items, page.next_cursor, page.unindexed))
        return Answer(200, Listed(items, page.next_cursor))

    @Operation("GET", "/devices/<id>", scope=Scope.READ, summary="One device", answer=DeviceDocument)
    async def get(self, call: Call) -> Answer:
        """Return a device."""
        return Answer(200, await self._of(call, await self._devices.get(call.principal, call.id)))

    @Operation(
        "POST",
        "/devices/<id>/retirement",
        scope=Scope.REVOKE,
        summary="Revoke all certificates of a device, end its challenge passwords, and refuse it from now on",
        body=DeviceRetirement,
        answer=RetirementDocument,
    )
    async def retire(self, call: Call) -> Answer:
        """Retire the device (DEV-2); 409 if it is retired."""
        reason = RevocationReason.from_name(call.take(DeviceRetirement).reason)
        done = await self._devices.retire(call.principal, call.id, reason)
        return Answer(200, RetirementDocument(done.certificates, done.challenge_passwords))

    @Operation(
        "DELETE",
        "/devices/<id>/retirement",
        scope=Scope.REVOKE,
        summary="Put a retired device back in service; its certificates stay revoked",
        answer=DeviceDocument,
    )
    async def reinstate(self, call: Call) -> Answer:
        """Put the device back in service; 409 if it is not retired."""
        return Answer(200, await self._of(call, await self._devices.reinstate(call.principal, call.id)))

    async def _of(self, call: Call, device: Device) -> DeviceDocument:
        names = await self._inventory.owner_names(call.principal, [device.owner_id])
        return _document(device, self._now(), names)


def _document(device: Device, now: datetime, names: OwnerNames) -> DeviceDocument:
    return DeviceDocument(
        id=device.id,
        name=device.name,
        state=device.state(now).value,
        owner=names.get(device.owner_id),
        policy=device.policy,
        method=device.method,
        address=device.address or None,
        certificates=device.certificates,
        certificate_id=device.certificate_id,
        created_at=device.created_at,
        enrolled_at=device.enrolled_at,
        not_after=device.not_after,
        renewal_due_at=device.due_at,
        overdue_at=device.overdue_at,
        retired_at=device.retired_at,
        retirement_reason=None if device.retired_reason is None else device.retired_reason.wire_name,
    )
