"""The store's interface for revocations that a published CRL has and the database lacks (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.certificates import PublishedRevocation, RevocationReason
from pikachu.core.model.events import Event


class RecoveryDecision(StrEnum):
    """An administrator's decision about a recovered revocation: keep it for good, or drop it."""

    KEEP = "keep"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class RecoveredRevocation:
    """A revocation that was taken from a published CRL.

    :param subject: the certificate's; empty when the database has no certificate with that serial number.
    """

    id: int
    issuer_id: int
    serial: int
    revoked_at: datetime
    reason: RevocationReason
    recovered_at: datetime
    subject: str


class IRecoveryStore(Protocol):
    """Revocations that are taken from a published CRL after the database was restored from an older copy."""

    def crl_number(self, issuer_id: int) -> Deferred[int]:
        """Return the highest CRL number reserved for an issuer; 0 without one."""

    def missing_revocations(
        self, issuer_id: int, entries: Sequence[PublishedRevocation]
    ) -> Deferred[list[PublishedRevocation]]:
        """Return those of at most 1,000 entries that differ from the stored ones, or are not stored; writes nothing."""

    def recover_revocations(
        self,
        issuer_id: int,
        entries: Sequence[PublishedRevocation],
        period: tuple[datetime, datetime],
        event: Event,
        now: datetime,
    ) -> Deferred[int]:
        """Revoke what is not revoked yet, and put it on the CRL until an administrator decides; return the number.

        Certificates become revoked; serial numbers without a certificate are recorded.  A repetition, also after a
        decision, changes nothing.

        :param period: thisUpdate of the CRL: what expired earlier is skipped; and the expiry to assume for unknown
            certificates.
        :param event: stored with the number as ``count``, unless that is 0.
        """

    def undecided_revocations(self) -> Deferred[dict[int, int]]:
        """Return the number of undecided recovered revocations by issuer id; issuers without one are left out."""

    def recovered_revocations(self, after: int, limit: int) -> Deferred[list[RecoveredRevocation]]:
        """Return undecided recovered revocations with ids above *after*, ascending."""

    def decide_recovered(
        self, serials: Sequence[int], decision: RecoveryDecision, event: Event, now: datetime
    ) -> Deferred[list[int]]:
        """Decide on undecided recovered revocations, each with an event; return the serial numbers of these.

        Dropping ends the revocation, or returns to the hold that the database had, unless the certificate was revoked
        otherwise since.
        """
