"""The store's interface for devices (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.devices import Device
from pikachu.core.model.events import Event, EventRecord
from pikachu.core.model.identity_lists import IdentityList
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

    def check_device(self, name: str, owner_id: int | None) -> Deferred[None]:
        """Require that the device of that name and owner, if it is known, is not retired.

        Fails with RetiredDevice.
        """

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


class IIdentityListStore(Protocol):
    """Lists of identities."""

    def is_listed(self, name: str, key: str) -> Deferred[bool]:
        """Return whether the list of that name has a folded identity; False if there is no such list."""

    def identity_list(self, list_id: int) -> Deferred[IdentityList]:
        """Return the list with that id.  Fails with NotFound."""

    def identity_list_by_name(self, name: str) -> Deferred[IdentityList | None]:
        """Return the list with that name, or None."""

    def identity_lists(self, query: ListQuery) -> Deferred[Page[IdentityList]]:
        """List the lists."""

    def add_identities(self, version: int, keys: Sequence[str]) -> Deferred[None]:
        """Add folded identities of a version that no list has yet."""

    def put_identity_list(
        self, former: IdentityList | None, new: IdentityList, event: Event, now: datetime
    ) -> Deferred[int]:
        """Create a list (without *former*), or give it the entries of another version; return its id.

        Fails with Conflict when the name is taken, or the list is not as *former* any more.
        """

    def delete_identity_list(self, former: IdentityList, event: Event, now: datetime) -> Deferred[None]:
        """Delete a list.  Fails with NotFound, and with EditConflict when it is not as *former* any more."""

    def delete_identities(self, version: int) -> Deferred[bool]:
        """Delete some entries of a version that no list has; return whether others are left."""
