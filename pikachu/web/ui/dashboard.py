# mypy: allow-untyped-calls
"""The dashboard (UI-3): what there is, what ends soon, what was issued, what has happened, and that it goes on living.

The page is whole without a script.  With one, ``/live`` tells it that something has changed, and it fetches its panels
anew; neither of these shows that somebody sits before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pikachu.accounts.sessions import Sessions
from pikachu.ca.issuance import IssuingCAs
from pikachu.core.errors import Overloaded, PikachuError
from pikachu.core.interfaces import IClock, IDelayedCall
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import EventRecord
from pikachu.core.model.lists import ListQuery
from pikachu.core.model.objects import Session
from pikachu.core.model.people import Principal
from pikachu.core.model.times import rfc3339, utc
from pikachu.http.request import BoundedRequest
from pikachu.http.responses import text_error
from pikachu.http.stream import EventStream
from pikachu.inventory.certificates import CertificateQueries
from pikachu.operations.event_feed import EventFeed, Notification
from pikachu.operations.readiness import Readiness
from pikachu.operations.statistics import Overview, Statistics
from pikachu.web.ui.charts import Chart, Series, bars, ranks
from pikachu.web.ui.pages import Audience, PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply

#: How many pages of one account may listen, whose share of all that may (pikachu.operations.event_feed) stays small
#: however often it signs in, and how often it is looked whether the session of each lasts.
STREAMS: Final = 16
WATCHED: Final = 15.0
_RECENT: Final = 8
_HEADERS: Final = {b"Cache-Control": b"no-store", b"X-Content-Type-Options": b"nosniff"}
_COLOURS: Final = {method.value: number for number, method in enumerate(Method, 1)}


@dataclass(frozen=True, slots=True)
class End:
    """When an issuing CA ends.

    :param soon: within 90 days.
    """

    name: str
    at: datetime
    soon: bool


class DashboardPages(Pages):
    """``/`` and what its script asks for."""

    def __init__(
        self,
        *,
        statistics: Statistics,
        readiness: Readiness,
        inventory: CertificateQueries,
        issuers: IssuingCAs,
        sessions: Sessions,
        event_feed: EventFeed,
        clock: IClock,
    ) -> None:
        self._statistics = statistics
        self._readiness = readiness
        self._inventory = inventory
        self._issuers = issuers
        self._sessions = sessions
        self._event_feed = event_feed
        self._clock = clock
        # By account: how many listen.
        self._streams: Counter[int] = Counter()

    @page("GET", "/", audience=Audience.USER)
    async def show(self, visit: PageRequest) -> PageReply:
        """The whole page; an anonymous visitor is led to ``/login``."""
        return HtmlPage("dashboard/page.html", await self._panels(visit.principal))

    @page("GET", "/live/panels", audience=Audience.USER, quiet=True)
    async def panels(self, visit: PageRequest) -> PageReply:
        """What changes of it."""
        return HtmlPage("dashboard/panels.html", await self._panels(visit.principal))

    @page("GET", "/live", audience=Audience.USER, quiet=True)
    async def live(self, visit: PageRequest) -> PageReply:
        """Server-sent events: ``changed`` with what is new, ``end`` when the session has ended."""
        session = visit.session
        assert session is not None  # noqa: S101 - Who.USER sees to it
        if self._streams[session.account_id] >= STREAMS:
            raise Overloaded("too many pages of this account listen; close some", retry_after=60)
        return _Listening(
            statistics=self._statistics,
            inventory=self._inventory,
            sessions=self._sessions,
            event_feed=self._event_feed,
            clock=self._clock,
            actor=visit.principal,
            session=session,
            streams=self._streams,
        )

    async def _panels(self, actor: Principal) -> dict[str, object]:
        overview = await self._statistics.overview(actor)
        recent = await self._inventory.events(actor, ListQuery(limit=_RECENT))
        now = utc(self._clock.seconds())
        ends = [
            End(issuer.name, issuer.certificate.not_after, (issuer.certificate.not_after - now).days < 90)
            for issuer in self._issuers.current.values()
        ]
        return {
            "overview": overview,
            "counts": overview.counts,
            "charts": _charts(overview),
            "recent": recent.items,
            "newest": recent.items[0].id if recent.items else 0,
            "health": await self._readiness.glance(),
            "ends": ends,
        }


def _charts(overview: Overview) -> dict[str, Chart]:
    weeks = overview.weeks or (0,) * 13
    days = overview.days
    methods = [method for method in Method if any(method in day.methods for day in days)]
    issued = [
        Series(method.value, [day.methods.get(method, 0) for day in days], _COLOURS[method.value]) for method in methods
    ]
    return {
        "ending": bars(
            "ending",
            "Valid certificates that end in each of the next 13 weeks",
            [f"+{week}w" if week else "now" for week in range(len(weeks))],
            [Series("Certificates", weeks, 5)],
            heading="Week",
            every=2,
        ),
        "issued": bars(
            "issued",
            "Certificates issued on each of the last 30 days",
            [day.date.strftime("%m-%d") for day in days],
            issued or [Series("Certificates", [0] * len(days))],
            heading="Day",
            every=7,
        ),
        "key_types": ranks(
            "keys", "Certificates issued by key", overview.keys.items(), heading="Key", counted="Certificates"
        ),
    }


class _Listening(Resource):
    """One browser that listens."""

    isLeaf = True

    def __init__(
        self,
        *,
        statistics: Statistics,
        inventory: CertificateQueries,
        sessions: Sessions,
        event_feed: EventFeed,
        clock: IClock,
        actor: Principal,
        session: Session,
        streams: Counter[int],
    ) -> None:
        Resource.__init__(self)
        self._statistics = statistics
        self._sessions = sessions
        self._event_feed = event_feed
        self._inventory = inventory
        self._actor = actor
        self._session = session
        self._streams = streams
        self._clock: IClock = clock
        self._stream: EventStream | None = None
        self._stop: Callable[[], None] | None = None
        self._watch_due: IDelayedCall | None = None

    def render(self, request: BoundedRequest) -> int:
        """Begin, unless the browser has gone or too many listen."""
        if request.method == b"HEAD":
            text_error(request, HTTPStatus.METHOD_NOT_ALLOWED, "allowed here: GET", {b"Allow": b"GET"})
            return NOT_DONE_YET
        try:
            self._stop = self._event_feed.subscribe(self._actor, self._tell)
        except PikachuError as error:
            text_error(request, HTTPStatus.SERVICE_UNAVAILABLE, error.public, {b"Retry-After": b"60"})
            return NOT_DONE_YET
        self._streams[self._session.account_id] += 1
        self._stream = EventStream(request, self._clock, self._ended)
        self._stream.open(_HEADERS)
        if self._stop is not None:
            self._watch_due = self._clock.callLater(WATCHED, self._watch)
            self._greet()
        return NOT_DONE_YET

    def _ended(self) -> None:
        self._streams[self._session.account_id] -= 1
        if not self._streams[self._session.account_id]:
            del self._streams[self._session.account_id]
        if self._stop is not None:
            self._stop()
            self._stop = None
        if self._watch_due is not None and self._watch_due.active():
            self._watch_due.cancel()

    def _send(self, event: str, data: dict[str, object]) -> None:
        if self._stream is not None:
            self._stream.send(event, data)

    def _greet(self) -> None:
        """What the newest event is: the page looks whether it knows it."""

        async def work() -> None:
            newest = await self._inventory.events(self._actor, ListQuery(limit=1))
            self._send("hello", {"newest": newest.items[0].id if newest.items else 0})

        Deferred.fromCoroutine(work()).addErrback(self._failed)

    def _tell(self, news: Notification) -> None:
        async def work() -> None:
            if news.own and not await self._lasts():
                return
            counts = (await self._statistics.overview(self._actor)).counts
            told: dict[str, object] = {"events": [_told(record) for record in news.events]}
            if counts is not None:
                told["certificates"] = {
                    "valid": counts.valid,
                    "revoked": counts.revoked,
                    "expired": counts.expired,
                    "as_of": rfc3339(counts.at),
                }
            self._send("changed", told)

        Deferred.fromCoroutine(work()).addErrback(self._failed)

    def _watch(self) -> None:
        self._watch_due = self._clock.callLater(WATCHED, self._watch)
        Deferred.fromCoroutine(self._lasts()).addErrback(self._failed)

    async def _lasts(self) -> bool:
        """Whether who listens is still signed in, in the same role; else this ends."""
        account = await self._sessions.still(self._session)
        if account is not None and account.role is self._actor.role:
            return True
        self._send("end", {})
        if self._stream is not None:
            self._stream.close()
        return False

    def _failed(self, failure: Failure) -> None:
        """Who can't be told now is told later, when the browser has come back."""
        failure.trap(PikachuError)
        if self._stream is not None:
            self._stream.close()


def _told(record: EventRecord) -> dict[str, object]:
    event = record.event
    return {
        "id": record.id,
        "at": rfc3339(record.at),
        "type": event.type,
        "resource_type": event.resource_type,
        "resource_name": event.resource_name,
        "actor": event.actor,
    }
