"""The store's interface for housekeeping (OPS-6; see docs/adr/0002)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred


@dataclass(frozen=True, slots=True)
class OldObjects:
    """Objects that nobody needs any more.

    :param oldest: the time of the oldest one; ``None`` without any.
    """

    count: int
    oldest: datetime | None

    def __add__(self, other: OldObjects) -> OldObjects:
        times = [one.oldest for one in (self, other) if one.oldest is not None]
        return OldObjects(self.count + other.count, min(times, default=None))


NOTHING_OLD = OldObjects(0, None)


@dataclass(frozen=True, slots=True)
class OldChallengePasswords:
    """The old ones of a part of the challenge passwords.

    :param next: the id after which the next part begins; ``None`` after the last one.
    """

    old: OldObjects
    next: int | None


class IHousekeepingStore(Protocol):
    """Finds and removes what is old, in parts that hold up nobody."""

    def old_challenge_passwords(
        self, before: datetime, after: int, limit: int, *, remove: bool
    ) -> Deferred[OldChallengePasswords]:
        """Look at *limit* challenge passwords with higher ids than *after* for those used or expired before a time.

        :param remove: delete the old ones.
        """

    def old_jobs(self, ended_before: datetime) -> Deferred[OldObjects]:
        """Return the jobs that ended before that time."""
