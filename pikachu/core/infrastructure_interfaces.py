"""The store's boundary for the CA's own certificates (CAR-1)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.certificates import OwnCertificate, RevokedCA


class IInfrastructureStore(Protocol):
    """The CA's own certificates in the inventory."""

    def register_own(self, found: Sequence[OwnCertificate], now: datetime) -> list[OwnCertificate]:
        """Insert and mark what is missing, synchronously at start; a deleted row stays deleted.

        :return: those whose serial number another certificate has, which get no row.
        """

    def add_own(self, found: Sequence[OwnCertificate], now: datetime) -> Deferred[list[OwnCertificate]]:
        """Do what :meth:`register_own` does, in a running server."""

    def revoked_cas_at_start(self) -> list[RevokedCA]:
        """Return the revoked certificates of issuing CAs; synchronous, at start."""

    def revoked_cas(self) -> Deferred[list[RevokedCA]]:
        """Return the revoked certificates of issuing CAs."""
