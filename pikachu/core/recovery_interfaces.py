"""The store's interface for revocations that a published CRL has and the database lacks (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.certificates import PublishedRevocation, RevocationReason
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page

#: Value of the list filter ``decision`` for those without one.
UNDECIDED: Final = "undecided"


class RecoveryDecision(StrEnum):
    """An administrator's decision about a recovered revocation: keep it for good, or drop it."""

    KEEP = "keep"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class RecoveredRevocation:
    """A revocation that was taken from a published CRL.

    :param decision: an administrator's; ``None`` without one.
    :param subject: the certificate's; empty when the database has no certificate with that serial number.
    :param certificate_id: the certificate's; ``None`` without one, or when it was deleted.
    """

    id: int
    issuer_id: int
    serial: int
    revoked_at: datetime
    reason: RevocationReason
    recovered_at: datetime
    decision: RecoveryDecision | None = None
    subject: str = ""
    certificate_id: int | None = None


class IRecoveryStore(Protocol):
    """Revocations that are taken from a published CRL after the database was restored from an older copy."""

    def crl_number(self, issuer_id: int) -> Deferred[int]:
        """Return the highest CRL number reserved for an issuer; 0 without one."""

    def stored_crl_entries(self, issuer_id: int, after: int, limit: int) -> Deferred[list[tuple[int, bytes]]]:
        """Return change id and DER of an issuer's next CRL entries after a change, in the order of CRLs."""

    def missing_revocations(self, issuer_id: int, entries: Mapping[str, bytes]) -> Deferred[list[bytes]]:
        """Return those of some thousand entries of a CRL that differ from the stored ones, or are not stored.

        :param entries: the DER of each entry, by its serial number in hex.
        """

    def recover_revocations(
        self,
        issuer_id: int,
        entries: Sequence[PublishedRevocation],
        period: tuple[datetime, datetime],
        event: Event,
        now: datetime,
        shard: int | None = None,
    ) -> Deferred[int]:
        """Revoke what is not revoked yet, and put it on the CRL until an administrator decides; return the number.

        Certificates become revoked; serial numbers without a certificate are recorded.  A repetition, also after a
        decision, changes nothing.

        :param period: thisUpdate of the CRL: what expired earlier is skipped; and the expiry to assume for unknown
            certificates.
        :param event: stored with the number as ``count``, unless that is 0.
        :param shard: the shard whose CRL lists them; ``None`` finds it by their certificates.
        """

    def undecided_revocations(self) -> Deferred[dict[int, int]]:
        """Return the number of undecided recovered revocations by issuer id; issuers without one are left out."""

    def recovered_revocations(self, query: ListQuery) -> Deferred[Page[RecoveredRevocation]]:
        """List recovered revocations; sort fields ``id``, ``recovered_at``, ``revoked_at``; filters ``decision``
        (``undecided``, ``keep``, ``drop``), ``issuer``, ``reason``; *q* begins serial numbers, or is part of a subject.
        """

    def recovered_revocation(self, recovered_id: int) -> Deferred[RecoveredRevocation]:
        """Return the recovered revocation with that id; NotFound."""

    def decide_recovered(
        self, serials: Sequence[int], decision: RecoveryDecision, event: Event, now: datetime
    ) -> Deferred[list[int]]:
        """Decide on undecided recovered revocations, each with an event; return the serial numbers of these.

        Dropping ends the revocation, or returns to the hold that the database had, unless the certificate was revoked
        otherwise since.
        """
