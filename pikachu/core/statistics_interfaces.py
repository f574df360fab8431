"""The store's interface for counts (see docs/adr/0002)."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.counts import Batch, Counts, RenewalCounts


class IStatisticsStore(Protocol):
    """Counts of one owner's objects, or (``None``) of all."""

    def count(self, owner_id: int | None, now: datetime) -> Deferred[Counts]:
        """Return the current counts; a million certificates take a fraction of a second."""

    def renewals(self, owner_id: int | None, now: datetime) -> Deferred[RenewalCounts]:
        """Return how certificates that expired lately were renewed; reads a bounded number of them."""

    def issued_before(self, owner_id: int | None, certificate_id: int, rows: int) -> Deferred[Batch]:
        """Count the *rows* certificates with the next smaller ids; the counted fields never change."""

    def issued_after(self, owner_id: int | None, certificate_id: int, rows: int) -> Deferred[Batch]:
        """Count the *rows* certificates with the next greater ids."""

    def newest_event(self) -> Deferred[int]:
        """Return the id of the newest event of all processes, or 0 without one."""

    def event_owners(self, after: int, until: int) -> Deferred[dict[int | None, int]]:
        """Return the owners of the objects of the events after *after* up to *until*, with the newest event of each."""
