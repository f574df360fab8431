"""The store's interface for devices (see docs/adr/0002)."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.devices import Device
from pikachu.core.model.events import EventRecord
from pikachu.core.model.list_queries import ListQuery, Page


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
