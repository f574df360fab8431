"""Enrollment batches: challenge passwords for a list of names (ENR-1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class BatchState(StrEnum):
    """The state of a batch at one time.

    ``creating``: its challenge passwords are being created; ``stopped``: that has failed; ``open``: names can be
    enrolled; ``complete``: all are; ``expired`` and ``ended``: no further ones can be.
    """

    CREATING = "creating"
    STOPPED = "stopped"
    OPEN = "open"
    COMPLETE = "complete"
    EXPIRED = "expired"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class EnrollmentBatch:
    """An enrollment batch.

    :param label: that of its challenge passwords.
    :param policy: the name of the policy under which they enroll.
    :param total: the number of names.
    :param created: the number of challenge passwords that were created so far.
    :param enrolled: the number of names with a certificate.
    :param ended_at: when the remaining challenge passwords were ended, or ``None``.
    :param problem: why no more challenge passwords are created; empty without one.
    """

    id: int
    label: str
    policy: str
    owner_id: int | None
    created_at: datetime
    expires_at: datetime
    total: int
    created: int = 0
    enrolled: int = 0
    ended_at: datetime | None = None
    problem: str = ""

    def state(self, now: datetime) -> BatchState:
        """Return the state at a time."""
        if self.ended_at is not None:
            return BatchState.ENDED
        if self.enrolled >= self.total:
            return BatchState.COMPLETE
        if self.expires_at <= now:
            return BatchState.EXPIRED
        if self.problem:
            return BatchState.STOPPED
        return BatchState.CREATING if self.created < self.total else BatchState.OPEN


@dataclass(frozen=True, slots=True)
class NewBatch:
    """An enrollment batch to create; the fields are those of :class:`EnrollmentBatch`.

    :param names: the list of names as it was submitted, until all challenge passwords are created.
    """

    label: str
    policy: str
    owner_id: int | None
    expires_at: datetime
    total: int
    names: str = field(repr=False)
