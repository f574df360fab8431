"""The store's interfaces for challenge passwords and enrollment batches (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.batches import EnrollmentBatch, NewBatch
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import ChallengePassword, NewChallengePassword


class IChallengeStore(Protocol):
    """Challenge passwords."""

    def add_challenge(
        self, challenge: NewChallengePassword, event: Event, now: datetime
    ) -> Deferred[ChallengePassword]:
        """Create a challenge password.  Fails with InactiveOwner."""

    def challenge(self, challenge_id: int) -> Deferred[ChallengePassword]:
        """Return the challenge password with that id.  Fails with NotFound."""

    def challenge_by_lookup(self, lookup: bytes) -> Deferred[ChallengePassword | None]:
        """Return the challenge password with that lookup digest, or None."""

    def challenges(self, query: ListQuery, now: datetime) -> Deferred[Page[ChallengePassword]]:
        """List challenge passwords; filters ``label``, ``batch`` and ``status``: available, consumed, expired."""

    def delete_challenge(
        self, challenge_id: int, decide: Callable[[ChallengePassword], Event], now: datetime
    ) -> Deferred[None]:
        """Delete a challenge password.  Fails with NotFound, and with the errors of *decide*."""

    def delete_expired_challenges(self, owner_id: int | None, event: Event, now: datetime) -> Deferred[int]:
        """Delete the expired challenge passwords of an owner, or all; return their number."""


class IBatchStore(Protocol):
    """Enrollment batches."""

    def add_batch(self, batch: NewBatch, event: Event, now: datetime) -> Deferred[EnrollmentBatch]:
        """Create a batch without challenge passwords.

        Fails with InactiveOwner, and with QuotaExceeded when its owner may not have as many challenge passwords.
        """

    def batch(self, batch_id: int) -> Deferred[EnrollmentBatch]:
        """Return the batch with that id.  Fails with NotFound."""

    def batches(self, query: ListQuery, now: datetime) -> Deferred[Page[EnrollmentBatch]]:
        """List batches; filters ``state`` and ``policy``; sort fields id, created_at, expires_at, label."""

    def unfinished_batches(self) -> Deferred[list[tuple[EnrollmentBatch, str]]]:
        """Return the batches that lack challenge passwords, with their names as submitted, the oldest first."""

    def fill_batch(
        self, batch_id: int, position: int, challenges: Sequence[NewChallengePassword], now: datetime
    ) -> Deferred[bool]:
        """Add the next challenge passwords of a batch.

        :param position: the number that it has.
        :returns: False if it has another number, because another process has added some, or was ended.

        Fails with InactiveOwner and QuotaExceeded.
        """

    def stop_batch(self, batch_id: int, problem: str) -> Deferred[None]:
        """Add no more challenge passwords to a batch."""

    def continue_batch(self, batch_id: int, event: Event, now: datetime) -> Deferred[None]:
        """Let challenge passwords be added to a stopped batch again.  Fails with Conflict for another one."""

    def end_batch(
        self, batch_id: int, decide: Callable[[EnrollmentBatch], Event], now: datetime
    ) -> Deferred[EnrollmentBatch]:
        """Let all unused challenge passwords of a batch expire.  Fails with NotFound, and Conflict if it was ended."""
