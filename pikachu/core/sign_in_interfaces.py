"""The store's interface for what follows the end of a session (see docs/adr/0002)."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.people import SealFor
from pikachu.core.model.sign_in import EndedSession, StoredDraft


class ISignInStore(Protocol):
    """Ended sessions and form drafts."""

    def ended_session(self, digest: bytes) -> Deferred[EndedSession | None]:
        """Return the recently ended session whose secret has that digest."""

    def add_draft(self, account_id: int, seal: SealFor, now: datetime, most: int) -> Deferred[int]:
        """Store a sealed draft and return its id; of each account only the newest *most* are kept."""

    def draft(self, draft_id: int) -> Deferred[StoredDraft | None]:
        """Return the draft with that id, or None."""

    def forget_ended(self, before: datetime) -> Deferred[int]:
        """Delete what is older than *before*; return the number of rows."""
