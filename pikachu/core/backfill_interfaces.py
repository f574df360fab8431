"""The store's interface for values that are added to old rows in the background (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred


@dataclass(frozen=True, slots=True)
class Backlog:
    """The position of a backfill.

    :param before: certificates with lower ids follow, the newest first.
    :param total: the number of certificates at its start.
    """

    before: int
    total: int


@dataclass(frozen=True, slots=True)
class UnindexedCertificate:
    """A certificate that was issued by an earlier version, and has no search text."""

    id: int
    serial: str
    subject: str
    common_name: str
    key_type: str
    method: str
    name_key: str
    der: bytes


@dataclass(frozen=True, slots=True)
class IndexedCertificate:
    """The search text of a certificate.

    :param sans: its subject alternative names as JSON.
    :param name_key: the name to sort by, or ``None`` if it does not change.
    """

    id: int
    sans: str
    text: str
    name_key: str | None


class IBackfillStore(Protocol):
    """The backfills of the texts and fingerprints by which certificates are found."""

    def search_backlog(self) -> Deferred[Backlog | None]:
        """Return the position of the backfill, or None when it is complete."""

    def unindexed(self, before: int, limit: int) -> Deferred[list[UnindexedCertificate]]:
        """Return the newest certificates without a search text whose ids are below *before*."""

    def index_certificates(self, before: int, rows: Sequence[IndexedCertificate]) -> Deferred[bool]:
        """Store the texts of the certificates that :meth:`unindexed` returned; no rows end the backfill.

        Returns whether this process has done it, and no other one before.
        """

    def assign_devices(self, limit: int, now: datetime) -> Deferred[Backlog | None]:
        """Assign the next *limit* certificates to devices; return the position, or None when all are assigned.

        A certificate whose device was retired meanwhile is revoked.
        """

    def fingerprint_certificates(self, limit: int) -> Deferred[bool]:
        """Store the fingerprints of the next *limit* certificates; return whether all have one."""
