"""The store's interface for what follows the end of a session (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.events import Event
from pikachu.core.model.people import Account, NewAccount, SealFor
from pikachu.core.model.sign_in import EndedSession, ExternalIdentity, NewPasswordReset, StoredDraft


class ISignInStore(Protocol):
    """Ended sessions and form drafts."""

    def ended_session(self, digest: bytes) -> Deferred[EndedSession | None]:
        """Return the recently ended session whose secret has that digest."""

    def add_password_reset(
        self, reset: NewPasswordReset, decide: Callable[[Account], tuple[Account, Event]], now: datetime
    ) -> Deferred[Account]:
        """Change an account, and store a code that sets its password instead of a former one.

        Fails with NotFound, and with the errors of *decide*.
        """

    def account_by_reset(self, digest: bytes, now: datetime) -> Deferred[Account | None]:
        """Return the account of a code that has not expired; a new password deletes the code."""

    def add_external_account(
        self, account: NewAccount, identity: ExternalIdentity, event: Event, now: datetime
    ) -> Deferred[Account]:
        """Create an account of a person at a provider.  Fails with Conflict if its name is taken."""

    def account_by_identity(self, identity: ExternalIdentity) -> Deferred[Account | None]:
        """Return the account of a person at a provider."""

    def add_draft(self, account_id: int, seal: SealFor, now: datetime, most: int) -> Deferred[int]:
        """Store a sealed draft and return its id; of each account only the newest *most* are kept."""

    def draft(self, draft_id: int) -> Deferred[StoredDraft | None]:
        """Return the draft with that id, or None."""

    def forget_ended(self, before: datetime) -> Deferred[int]:
        """Delete what is older than *before*; return the number of rows."""
