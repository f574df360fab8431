"""``/statistics``: the counts of the dashboard (UI-3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pikachu.core.errors import Overloaded
from pikachu.core.model.people import Scope
from pikachu.operations.statistics import Statistics
from pikachu.web.api.routes import Answer, Call, Operation, Routes


@dataclass(frozen=True, slots=True)
class CertificateCounts:
    """Certificates by status, and the number of valid ones that expire in the next 7, 30 and 90 days and in each of 13
    weeks.
    """

    total: int
    valid: int
    revoked: int
    expired: int
    expiring_7_days: int
    expiring_30_days: int
    expiring_90_days: int
    expiring_by_week: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class IssuedDay:
    """Number of certificates issued on a day (UTC), by method."""

    date: str
    methods: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StatisticsDocument:
    """Counts of all objects (``everything``), or of the caller's own.

    :param as_of: when ``certificates``, ``approvals_waiting``, ``csrs_to_sign`` and ``accounts_pending`` were counted.
    :param approvals_waiting: enrollments that an administrator has to approve.
    :param csrs_to_sign: stored CSRs that are neither signed nor rejected.
    :param keys: certificates issued by key type; about all of them once ``keys_complete``.
    """

    everything: bool
    as_of: datetime
    certificates: CertificateCounts
    approvals_waiting: int
    csrs_to_sign: int
    accounts_pending: int | None
    issued: tuple[IssuedDay, ...]
    keys: Mapping[str, int]
    keys_complete: bool


@dataclass(frozen=True, slots=True)
class RenewalRow:
    """Certificates of one policy and method: of those that expired since ``since``, how many a later certificate of
    the same name and owner has replaced (``renewed`` before the end, ``late`` after it, ``missed`` not at all); of the
    valid ones without a later one, how many are ``due`` to be renewed, and ``overdue``.
    """

    policy: str
    method: str
    renewed: int
    late: int
    missed: int
    due: int
    overdue: int


@dataclass(frozen=True, slots=True)
class RenewalsDocument:
    """Renewal by policy and method; unless ``complete``, of the certificates that expired last or expire first."""

    since: datetime
    as_of: datetime
    complete: bool
    renewals: tuple[RenewalRow, ...]


class StatisticsAPI(Routes):
    """Counts."""

    def __init__(self, *, statistics: Statistics) -> None:
        self._statistics = statistics

    @Operation(
        "GET",
        "/statistics",
        scope=Scope.READ,
        summary="Counts of certificates, by status, end, day and key: of one's own, or for admins of all",
        answer=StatisticsDocument,
    )
    async def get(self, call: Call) -> Answer:
        """Return the cached counts; ``as_of`` is their time; 503 during the first count of a large database."""
        overview = await self._statistics.overview(call.principal)
        counts = overview.counts
        if counts is None:
            raise Overloaded("the first count is under way; try again soon", retry_after=1)
        certificates = CertificateCounts(
            counts.total,
            counts.valid,
            counts.revoked,
            counts.expired,
            overview.within(7),
            overview.within(30),
            overview.within(90),
            overview.weeks,
        )
        return Answer(
            200,
            StatisticsDocument(
                overview.everything,
                counts.at,
                certificates,
                counts.waiting,
                counts.to_sign,
                counts.pending_accounts,
                tuple(IssuedDay(day.date.isoformat(), day.methods) for day in overview.days),
                overview.keys,
                overview.complete,
            ),
        )

    @Operation(
        "GET",
        "/statistics/renewals",
        scope=Scope.READ,
        summary="How certificates that expired in the last 30 days were renewed, by policy and method",
        answer=RenewalsDocument,
    )
    async def renewals(self, call: Call) -> Answer:
        """Return counts of one's own certificates, or for admins of all."""
        found = await self._statistics.renewals(call.principal)
        rows = tuple(
            RenewalRow(one.policy, one.method, one.renewed, one.late, one.missed, one.due, one.overdue)
            for one in found.counts
        )
        return Answer(200, RenewalsDocument(found.since, found.at, found.complete, rows))
