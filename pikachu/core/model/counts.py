"""Counts of what there is, as the store gives them (UI-3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

#: How many days ahead the ends of certificates are counted one by one: thirteen whole weeks.
DAYS_AHEAD: Final = 91


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is at one moment, of one owner or of all.

    :param ending: of the valid certificates, how many end on each of the next ``DAYS_AHEAD`` days, counted in spans of
        24 hours from *at*.
    :param waiting: requests that wait for a person.
    :param pending_accounts: accounts that wait for an admin; ``None`` where one owner's were counted.
    """

    at: datetime
    valid: int
    revoked: int
    expired: int
    ending: tuple[int, ...]
    waiting: int
    pending_accounts: int | None

    @property
    def total(self) -> int:
        """All of them, as lists show them: without those that were deleted."""
        return self.valid + self.revoked + self.expired


@dataclass(frozen=True, slots=True)
class Issued:
    """How many certificates of one kind were issued on one day.

    :param day: whole days since 1970, UTC.
    """

    key_type: str
    method: str
    day: int
    count: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What was issued with ids from *first* to *last*, deleted ones included; both are 0 where there is nothing.

    :param full: there may be more beyond.
    """

    issued: tuple[Issued, ...]
    first: int
    last: int
    full: bool
