"""The store's boundary for the CA's own certificates (CAR-1)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.certificates import CertificateRecord, OwnCertificate, RevokedCA
from pikachu.core.model.events import Event
from pikachu.core.model.people import SealFor


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

    def issued_by_parent(self, key_identifier: bytes) -> Deferred[list[CertificateRecord]]:
        """Return the issuing CAs and OCSP responders that the CA with that key has certified."""

    def install_responder(self, own: OwnCertificate, seal: SealFor, event: Event, now: datetime) -> Deferred[None]:
        """Store an OCSP responder of an offline CA; every process notices by the log of status changes.

        Fails with Conflict when another certificate has its serial number.
        """
