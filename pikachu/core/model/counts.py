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
    :param to_sign: the number of stored CSRs that are neither signed nor rejected.
    :param pending_accounts: the number of accounts awaiting approval; ``None`` for the counts of one owner.
    """

    at: datetime
    valid: int
    revoked: int
    expired: int
    ending: tuple[int, ...]
    waiting: int
    to_sign: int
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


@dataclass(frozen=True, slots=True)
class RenewalCount:
    """How certificates of one policy and method were renewed: by a later certificate of the same name and owner.

    :param renewed: of those that expired lately, the number that were renewed before their end.
    :param late: renewed after their end.
    :param missed: not renewed.
    :param due: of the valid ones without a later certificate, the number whose renewal is due.
    :param overdue: of these, the number whose renewal is overdue.
    """

    policy: str
    method: str
    renewed: int = 0
    late: int = 0
    missed: int = 0
    due: int = 0
    overdue: int = 0

    @property
    def share(self) -> int | None:
        """The share that was renewed in time, in percent; ``None`` when none has expired."""
        ended = self.renewed + self.late + self.missed
        return None if not ended else 100 * self.renewed // ended


@dataclass(frozen=True, slots=True)
class RenewalCounts:
    """Renewal by policy and method.

    :param since: certificates that have expired from this time on are counted.
    :param complete: whether all are; otherwise those that expired last, or expire first.
    """

    since: datetime
    at: datetime
    complete: bool
    counts: tuple[RenewalCount, ...]
