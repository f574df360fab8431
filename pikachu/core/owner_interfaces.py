"""The store's boundary for owners: whether one may act, and how one ends (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.events import Event
from pikachu.core.model.objects import OwnerRevocation
from pikachu.core.model.people import Account


class IOwnerStore(Protocol):
    """Accounts as the owners of certificates, keys, CSRs, requests and challenge passwords."""

    def require_active_owner(self, owner_id: int | None) -> Deferred[None]:
        """Fails with InactiveOwner where that account may not act; ``None`` stands for what never had an owner."""

    def change_account(
        self,
        account_id: int,
        decide: Callable[[Account], tuple[Account, Event | None]],
        now: datetime,
        revocation: OwnerRevocation | None = None,
    ) -> Deferred[Account]:
        """Role, state, e-mail and password hash.

        *decide* is called in the transaction that writes, maybe more than once and in another thread: it gives what the
        account that it is shown becomes, and what is recorded, ``None`` where nothing changes.  Sessions end with the
        password and with the state active, tokens with that state.  Fails with what *decide* raises, with NotFound, and
        with Conflict when no active admin would remain, or when one becomes active whose certificates are still
        being revoked.

        :param revocation: an order that is stored with it; MalformedRequest when the account is active then.
        """

    def delete_account(
        self,
        account_id: int,
        decide: Callable[[Account], Event],
        now: datetime,
        revocation: OwnerRevocation | None = None,
    ) -> Deferred[None]:
        """Erase its secrets and keep its row, which goes on owning what it owned; its name is free.

        :param decide: gives what is recorded, as in :meth:`change_account`.
        :param revocation: an order that is stored with it.

        Fails with NotFound, also for one that is deleted already, and with Conflict for the last active admin.
        """

    def delete_unused_challenges(self, owner_id: int, limit: int) -> Deferred[int]:
        """Delete some of that owner's challenge passwords that were never used nor reserved; how many."""

    def owner_revocations(self) -> Deferred[list[OwnerRevocation]]:
        """The orders to revoke what accounts hold that are not carried out yet."""

    def valid_serials(self, owner_id: int, now: datetime, after: int, limit: int) -> Deferred[list[tuple[int, int]]]:
        """(id, serial) of that owner's valid certificates with ids above *after*, ascending."""

    def intended_serials(self, owner_id: int) -> Deferred[list[int]]:
        """The serials that are being signed for that owner."""

    def end_owner_revocation(self, account_id: int) -> Deferred[None]:
        """Forget an order that was carried out."""
