"""Counts of certificates, requests and accounts in the store (UI-3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

#: Number of days ahead for which expiring certificates are counted per day: thirteen weeks.
DAYS_AHEAD: Final = 91


@dataclass(frozen=True, slots=True)
class Issued:
    """The number of certificates of one key type and method issued on one day.

    :param day: whole days since 1970, UTC.
    """

    key_type: str
    method: str
    day: int
    count: int


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts at one time, for one owner or all.

    :param ending: the number of valid certificates that expire on each of the next ``DAYS_AHEAD`` days, in spans of 24
        hours from *at*.
    :param deleted: the numbers of deleted certificates, which no list shows.
    :param waiting: the number of pending approvals.
    :param pending_accounts: the number of accounts awaiting approval; ``None`` for the counts of one owner.
    """

    at: datetime
    valid: int
    revoked: int
    expired: int
    ending: tuple[int, ...]
    waiting: int
    pending_accounts: int | None
    deleted: tuple[Issued, ...] = ()

    @property
    def total(self) -> int:
        """The number of certificates in lists, which exclude deleted ones."""
        return self.valid + self.revoked + self.expired


@dataclass(frozen=True, slots=True)
class Batch:
    """The counts of certificates with ids from *first* to *last*, deleted ones included; both are 0 if there are none.

    :param full: whether there may be more beyond *last*.
    """

    issued: tuple[Issued, ...]
    first: int
    last: int
    full: bool
