"""``/expiry``: a calendar of the valid certificates that expire, each number with its list, and renewal by policy.

Its weeks and days begin at the time of the count, which the dashboard shares, so that it costs no count of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from pikachu.auth.permissions import Audience
from pikachu.core.model.counts import RenewalCount, RenewalCounts
from pikachu.core.model.times import rfc3339
from pikachu.operations.statistics import Overview, Statistics
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply


@dataclass(frozen=True, slots=True)
class Span:
    """A day or a week of the calendar.

    :ivar link: address of the list of the certificates that it counts.
    :ivar level: 0 for none, 1 to 3 for its share of the highest day.
    """

    begin: datetime
    count: int
    link: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class Week:
    """A row of the calendar: the week, and its days."""

    whole: Span
    days: Sequence[Span]


def expiring_list(begin: datetime, end: datetime) -> str:
    """Return the address of the list of valid certificates that expire from *begin* until before *end*."""
    return f"/certificates?{urlencode({'status': 'valid', 'expires_from': rfc3339(begin), 'expires_to': rfc3339(end)})}"


def missed_list(renewals: RenewalCounts, count: RenewalCount) -> str:
    """Return the address of the list of certificates of a policy and method that have expired."""
    times = {"expires_from": rfc3339(renewals.since), "expires_to": rfc3339(renewals.at)}
    return f"/certificates?{urlencode({'status': 'expired', 'policy': count.policy, 'method': count.method, **times})}"


def calendar(overview: Overview) -> list[Week]:
    """Return the weeks that were counted; none before the first count is complete."""
    counts = overview.counts
    if counts is None:
        return []
    highest = max(1, *counts.ending)

    def span(first: int, days: int) -> Span:
        begin, count = counts.at + timedelta(days=first), sum(counts.ending[first : first + days])
        level = 0 if days > 1 else -(-3 * count // highest)
        return Span(begin, count, expiring_list(begin, begin + timedelta(days=days)), level)

    return [
        Week(span(first, 7), [span(day, 1) for day in range(first, first + 7)])
        for first in range(0, len(counts.ending), 7)
    ]


class ExpiryPages(Pages):
    """The calendar."""

    def __init__(self, *, statistics: Statistics) -> None:
        self._statistics = statistics

    @page("GET", "/expiry", audience=Audience.USER)
    async def show(self, visit: PageRequest) -> PageReply:
        """Show how many certificates expire on each of the next 91 days, and how those before were renewed."""
        overview = await self._statistics.overview(visit.principal)
        renewals = await self._statistics.renewals(visit.principal)
        context = {
            "overview": overview,
            "weeks": calendar(overview),
            "renewals": renewals,
            "missed": [missed_list(renewals, one) for one in renewals.counts],
        }
        return HtmlPage("dashboard/expiry.html", context)
