"""The store's interface for devices (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.devices import Device
from pikachu.core.model.events import Event, EventRecord
from pikachu.core.model.list_queries import ListQuery, Page


@dataclass(frozen=True, slots=True)
class Retirement:
    """The result of a retirement.

    :param certificates: the number of certificates that it has revoked.
    :param challenge_passwords: the number of challenge passwords that it has ended.
    """

    device: Device
    certificates: int
    challenge_passwords: int


class IDeviceStore(Protocol):
    """Devices; the transactions of issuance and revocation write them."""

    def device(self, device_id: int) -> Deferred[Device]:
        """Return the device with that id.  Fails with NotFound."""

    def devices(self, query: ListQuery, now: datetime) -> Deferred[Page[Device]]:
        """List devices; filters ``state``, ``policy``, ``method``, ``owner`` (a user's name).

        *q* is words of the names of their certificates.  Those whose certificates were all deleted are left out,
        unless they are retired.
        """

    def device_events(self, device_id: int, limit: int) -> Deferred[list[EventRecord]]:
        """Return the newest *limit* events of a device, its newest certificates and challenge passwords."""

    def retire_device(
        self, device_id: int, reason: RevocationReason, decide: Callable[[Device], Event], now: datetime
    ) -> Deferred[Retirement]:
        """Revoke all certificates of a device, end its challenge passwords, and refuse it from now on.

        The event of *decide* is that of the device; each revocation has one like it.  Fails with NotFound, with
        Conflict when the device is retired, and with the errors of *decide*.
        """

    def reinstate_device(self, device_id: int, decide: Callable[[Device], Event], now: datetime) -> Deferred[Device]:
        """Put a retired device back in service; its certificates stay revoked.

        Fails with NotFound, with Conflict when the device is not retired, and with the errors of *decide*.
        """
