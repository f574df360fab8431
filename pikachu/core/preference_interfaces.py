"""The store's interfaces for the choices of accounts and for the set-up checklist (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.events import Event
from pikachu.core.model.preferences import BackupState, Preferences, SavedFilter, SetupState


class IPreferenceStore(Protocol):
    """The choices of accounts."""

    def preferences(self, account_id: int) -> Deferred[Preferences]:
        """Return the choices and saved filters of an account."""

    def set_preference(self, account_id: int, name: str, value: str, event: Event, now: datetime) -> Deferred[None]:
        """Store a choice; an empty *value* deletes it."""

    def save_filter(self, saved: SavedFilter, event: Event, now: datetime) -> Deferred[SavedFilter]:
        """Store a filter, ignoring its id; one of that name and list is replaced.

        Fails with Conflict when the account has too many.
        """

    def rename_filter(
        self, filter_id: int, name: str, decide: Callable[[SavedFilter], Event], now: datetime
    ) -> Deferred[None]:
        """Rename a filter.  Fails with NotFound, with Conflict when another one has the name, and as *decide* does."""

    def delete_filter(self, filter_id: int, decide: Callable[[SavedFilter], Event], now: datetime) -> Deferred[None]:
        """Delete a filter.  Fails with NotFound, and as *decide* does."""


class ISetupStore(Protocol):
    """The set-up checklist."""

    def setup_state(self) -> Deferred[SetupState]:
        """Return what is done."""

    def mark_setup(self, name: str, event: Event, now: datetime) -> Deferred[None]:
        """Confirm a step, unless it is confirmed."""

    def unmark_setup(self, name: str, event: Event, now: datetime) -> Deferred[None]:
        """Withdraw a confirmation, if there is one."""

    def record_backup(self, event: Event, now: datetime) -> Deferred[None]:
        """Record a backup that was made."""

    def record_failed_backup(self, event: Event, now: datetime) -> Deferred[None]:
        """Record a backup that has failed."""

    def backup_state(self) -> Deferred[BackupState]:
        """Return the last backup, and the first failure since."""
