"""Retirement of devices: their certificates are revoked and their challenge passwords ended, at once (DEV-2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, literal_column, null, or_, select, update

from pikachu.core.device_interfaces import Retirement
from pikachu.core.errors import Conflict
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.devices import Device
from pikachu.core.model.events import Event
from pikachu.storage.audit import write_event
from pikachu.storage.certificates import find_serial
from pikachu.storage.database import Transaction
from pikachu.storage.device_rows import find_device, is_bound_to, refresh_device
from pikachu.storage.device_schema import devices
from pikachu.storage.revocation import revoke_record
from pikachu.storage.schema import certificates, challenges
from pikachu.storage.transactions import StoreSection, write_transaction

_c: Final = certificates.c
_d: Final = devices.c
# Also deleted ones, since a deletion does not revoke, and those on hold, which could be released.
_revocable: Final = (
    select(_c.serial)
    .where(
        _c.device_id == bindparam("b_device"),
        _c.not_after > bindparam("b_now"),
        or_(_c.revoked_at.is_(None), _c.reason == literal_column(str(int(RevocationReason.CERTIFICATE_HOLD)))),
    )
    .order_by(_c.id)
)
# A reserved one expires too, so that nothing can be enrolled with it when its request is rejected.
_end_challenges: Final = (
    update(challenges)
    .where(
        *is_bound_to(bindparam("b_device")),
        challenges.c.consumed_at.is_(None),
        challenges.c.expires_at > bindparam("b_now"),
    )
    .values(expires_at=bindparam("b_now"))
)
_retire: Final = (
    update(devices)
    .where(_d.id == bindparam("b_device"))
    .values(retired_at=bindparam("b_now"), retired_reason=bindparam("v_reason"), due_at=0, overdue_at=0)
)
_reinstate: Final = (
    update(devices).where(_d.id == bindparam("b_device")).values(retired_at=null(), retired_reason=null())
)


class DeviceRetirementStore(StoreSection):
    """See :class:`pikachu.core.device_interfaces.IDeviceStore`."""

    @write_transaction
    def retire_device(
        self,
        tx: Transaction,
        device_id: int,
        reason: RevocationReason,
        decide: Callable[[Device], Event],
        now: datetime,
    ) -> Retirement:
        """Retire a device; NotFound, Conflict, and the errors of *decide*."""
        device = find_device(tx, device_id)
        event = decide(device)
        if device.retired_at is not None:
            raise Conflict("This device is retired already.")
        values = {"b_device": device.id, "b_now": int(now.timestamp())}
        serials = [int(row[0], 16) for row in tx.rows(_revocable, values)]
        for serial in serials:
            about = replace(event, type="revoke", resource_type="certificate", resource_name=f"{serial:x}")
            revoke_record(tx, find_serial(tx, serial, deleted=True), now, reason, about)
        ended = tx.write(_end_challenges, values)
        tx.write(_retire, {**values, "v_reason": int(reason)})
        details = {**event.details, "certificates": len(serials), "challenge_passwords": ended}
        write_event(tx, replace(event, details=details), now)
        return Retirement(find_device(tx, device.id), len(serials), ended)

    @write_transaction
    def reinstate_device(
        self, tx: Transaction, device_id: int, decide: Callable[[Device], Event], now: datetime
    ) -> Device:
        """Put a retired device back in service; NotFound, Conflict, and the errors of *decide*."""
        device = find_device(tx, device_id)
        event = decide(device)
        if device.retired_at is None:
            raise Conflict("This device is not retired.")
        tx.write(_reinstate, {"b_device": device.id})
        refresh_device(tx, device.id)
        write_event(tx, event, now)
        return find_device(tx, device.id)
