"""The store's interface for owners: their state, changes and deletion (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.account_objects import OwnerRevocation
from pikachu.core.model.certificates import CertificateRecord
from pikachu.core.model.events import Event
from pikachu.core.model.people import Account


class IOwnerStore(Protocol):
    """Accounts as the owners of certificates, keys, CSRs, requests and challenge passwords."""

    def require_active_owner(self, owner_id: int | None) -> Deferred[None]:
        """Require that the owning account may act; None is for objects without an owner.  Fails with InactiveOwner."""

    def certificate_with_owner(self, serial: int) -> Deferred[tuple[CertificateRecord, Account | None]]:
        """Return the certificate with that serial number, and its owner; fails with UnknownSerial."""

    def change_account(
        self,
        account_id: int,
        decide: Callable[[Account], tuple[Account, Event | None]],
        now: datetime,
        revocation: OwnerRevocation | None = None,
        *,
        by_directory: bool = False,
    ) -> Deferred[Account]:
        """Change role, state, e-mail, password hash, or what the directory has said about the account.

        A change of the password ends all sessions; leaving the state active ends sessions and tokens.  Fails with the
        errors of *decide*, with NotFound, and with Conflict when no active administrator would remain, or when an
        account becomes active whose certificates are still being revoked.

        :param decide: called in the write transaction, possibly repeatedly and in another thread; returns the changed
            account and the event to record, ``None`` if nothing changes.
        :param revocation: an order to store with the change; MalformedRequest if the account is active then.
        :param by_directory: the directory has decided: it may take away the last administrator, and one that it demotes
            loses sessions and tokens.
        """

    def order_owner_revocation(self, revocation: OwnerRevocation) -> Deferred[None]:
        """Store an order to revoke the certificates of an account, also a deleted one.

        Fails with NotFound, and with MalformedRequest for an active account.
        """

    def delete_account(
        self,
        account_id: int,
        decide: Callable[[Account], Event],
        now: datetime,
        revocation: OwnerRevocation | None = None,
    ) -> Deferred[None]:
        """Delete an account: erase its secrets and free its name, but keep its row as the owner of its objects.

        :param decide: returns the event to record, as in :meth:`change_account`.
        :param revocation: an order to store with the change.

        Fails with NotFound, also for a deleted account, and with Conflict for the last active administrator.
        """

    def delete_unused_challenges(self, owner_id: int, limit: int) -> Deferred[int]:
        """Delete up to *limit* unused, unreserved challenge passwords of an owner; return their number."""

    def owner_revocations(self) -> Deferred[list[OwnerRevocation]]:
        """Return the pending orders to revoke the certificates of accounts."""

    def revocable_serials(
        self, owner_id: int, now: datetime, after: int, limit: int
    ) -> Deferred[list[tuple[int, int]]]:
        """Return (id, serial) of an owner's certificates that are not revoked for good, also deleted ones.

        They have not expired; their ids are above *after*, ascending.
        """

    def count_revocable(self, owner_id: int, now: datetime, limit: int) -> Deferred[int]:
        """Count what :meth:`revocable_serials` lists, up to *limit*."""

    def intended_serials(self, owner_id: int) -> Deferred[list[int]]:
        """Return the serial numbers that are being signed for an owner."""

    def end_owner_revocation(self, account_id: int) -> Deferred[None]:
        """Delete a completed revocation order."""
