"""The store's boundary for owners: whether one may act, and how one ends (see docs/adr/0002)."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.model import Event


class IOwnerStore(Protocol):
    """Accounts as the owners of certificates, keys, CSRs, requests and challenge passwords."""

    def require_active_owner(self, owner_id: int | None) -> Deferred[None]:
        """Fails with InactiveOwner where that account may not act; ``None`` stands for what never had an owner."""

    def delete_account(self, account_id: int, event: Event, now: datetime) -> Deferred[None]:
        """Erase its secrets and keep its row, which goes on owning what it owned; its name is free.

        Fails with NotFound, and with Conflict for the last active admin and for one that is deleted already.
        """

    def delete_unused_challenges(self, owner_id: int, limit: int) -> Deferred[int]:
        """Delete some of that owner's challenge passwords that were never used nor reserved; how many."""
