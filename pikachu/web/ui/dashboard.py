# mypy: allow-untyped-calls
"""The dashboard (UI-3): counts, upcoming expiry, issuance and recent events, with live updates.

The page is complete without a script.  With one, ``/live`` notifies it of changes, and it reloads its panels; neither
of these requests counts as activity of the user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from itertools import pairwise
from typing import Final
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pikachu.accounts.sessions import Sessions
from pikachu.auth.permissions import Audience, in_audience, is_admin
from pikachu.core.errors import Overloaded, PikachuError
from pikachu.core.interfaces import IClock, IDelayedCall
from pikachu.core.model.account_objects import Session
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import EventRecord
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal
from pikachu.core.model.times import rfc3339
from pikachu.http.request import BoundedRequest
from pikachu.http.responses import text_error
from pikachu.http.server_sent_events import EventStream
from pikachu.inventory.certificates import CertificateQueries
from pikachu.operations.event_feed import EventFeed, Notification
from pikachu.operations.readiness import Readiness
from pikachu.operations.server_dates import ServerDates
from pikachu.operations.setup_checklist import SetupChecklist
from pikachu.operations.statistics import Overview, Statistics
from pikachu.va.revocation_recovery import RevocationRecovery
from pikachu.web.ui.charts import Chart, Series, bars, ranks
from pikachu.web.ui.expiry import expiring_list
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply

#: Maximum number of event streams per account, a small share of the total limit (pikachu.operations.event_feed).
MAX_STREAMS: Final = 16
#: Interval between checks of the session of each stream.
SESSION_CHECK_INTERVAL_SECONDS: Final = 15.0
_RECENT: Final = 8
_HEADERS: Final = {b"Cache-Control": b"no-store", b"X-Content-Type-Options": b"nosniff"}
_COLOURS: Final = {method.value: number for number, method in enumerate(Method, 1)}


class DashboardPages(Pages):
    """``/`` and the requests of its script."""

    def __init__(
        self,
        *,
        statistics: Statistics,
        readiness: Readiness,
        inventory: CertificateQueries,
        dates: ServerDates,
        checklist: SetupChecklist,
        sessions: Sessions,
        event_feed: EventFeed,
        recovery: RevocationRecovery,
        clock: IClock,
        public_url: str | None,
    ) -> None:
        self._statistics = statistics
        self._recovery = recovery
        self._readiness = readiness
        self._inventory = inventory
        self._dates = dates
        self._checklist = checklist
        self._public_url = public_url
        self._sessions = sessions
        self._event_feed = event_feed
        self._clock = clock
        # Open streams by account.
        self._streams: Counter[int] = Counter()

    @page("GET", "/", audience=Audience.USER)
    async def show(self, visit: PageRequest) -> PageReply:
        """Show the whole page; an anonymous user is redirected to ``/login``."""
        return HtmlPage("dashboard/page.html", await self._panels(visit.principal))

    @page("GET", "/live/panels", audience=Audience.USER, background=True)
    async def panels(self, visit: PageRequest) -> PageReply:
        """Return the panels that change."""
        return HtmlPage("dashboard/panels.html", await self._panels(visit.principal))

    @page("GET", "/live", audience=Audience.USER, background=True)
    async def live(self, visit: PageRequest) -> PageReply:
        """Stream server-sent events: ``changed`` with the news, ``end`` when the session has ended."""
        session = visit.session
        assert session is not None  # noqa: S101 - Audience.USER ensures it
        if self._streams[session.account_id] >= MAX_STREAMS:
            raise Overloaded("too many pages of this account listen; close some", retry_after=60)
        return _LiveStream(
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
        setup = await self._checklist.state(actor) if is_admin(actor) else None
        return {
            "overview": overview,
            "counts": overview.counts,
            "charts": _charts(overview),
            "recent": recent.items,
            "newest": recent.items[0].id if recent.items else 0,
            "health": await self._readiness.glance(),
            "recovered": await self._recovery.notice() if in_audience(actor, Audience.AUDITOR) else None,
            "dates": await self._dates.dates(),
            "space": await self._dates.space(actor),
            "public_url": self._public_url,
            "setup": None if setup is None or setup.complete or setup.dismissed else setup,
            "empty": overview.counts is not None and not overview.counts.total and not overview.looked_at,
        }


def _charts(overview: Overview) -> dict[str, Chart]:
    weeks = overview.weeks or (0,) * 13
    days = overview.days
    # Imported certificates were issued elsewhere, on other days.
    here = [method for method in Method if method is not Method.IMPORT]
    methods = [method for method in here if any(method in day.methods for day in days)]
    issued = [
        Series(
            method.value,
            [day.methods.get(method, 0) for day in days],
            _COLOURS[method.value],
            [_list(issued_from=f"{day.date}", issued_to=f"{day.date}", method=method.value) for day in days],
        )
        for method in methods
    ]
    return {
        "ending": bars(
            "ending",
            "Valid certificates that expire in each of the next 13 weeks",
            _week_names(overview, len(weeks)),
            [Series("Certificates", weeks, 5, _week_links(overview, len(weeks)))],
            heading="Week from",
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
            "keys",
            "Certificates issued by key",
            overview.keys.items(),
            heading="Key",
            counted="Certificates",
            link=lambda key: _list(key=key),
        ),
    }


def _week_names(overview: Overview, weeks: int) -> list[str]:
    """Return the first day of each week."""
    if overview.counts is None:
        return [""] * weeks
    return [f"{overview.counts.at + timedelta(weeks=week):%m-%d}" for week in range(weeks)]


def _week_links(overview: Overview, weeks: int) -> list[str]:
    """Return the list of each week, which begins at the time of the count."""
    if overview.counts is None:
        return []
    times = [overview.counts.at + timedelta(weeks=week) for week in range(weeks + 1)]
    return [expiring_list(first, last) for first, last in pairwise(times)]


def _list(**filters: str) -> str:
    return f"/certificates?{urlencode(filters)}"


class _LiveStream(Resource):
    """The event stream of one browser."""

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
        """Open the stream, unless too many browsers are subscribed."""
        if request.method == b"HEAD":
            text_error(request, HTTPStatus.METHOD_NOT_ALLOWED, "allowed here: GET", {b"Allow": b"GET"})
            return NOT_DONE_YET
        try:
            self._stop = self._event_feed.subscribe(self._actor, self._notify)
        except PikachuError as error:
            text_error(request, HTTPStatus.SERVICE_UNAVAILABLE, error.public, {b"Retry-After": b"60"})
            return NOT_DONE_YET
        self._streams[self._session.account_id] += 1
        self._stream = EventStream(request, self._clock, self._ended)
        self._stream.open(_HEADERS)
        if self._stop is not None:
            self._watch_due = self._clock.callLater(SESSION_CHECK_INTERVAL_SECONDS, self._watch)
            self._send_newest()
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

    def _send_newest(self) -> None:
        """Send the id of the newest event, from which the page sees whether it is up to date."""

        async def work() -> None:
            newest = await self._inventory.events(self._actor, ListQuery(limit=1))
            self._send("hello", {"newest": newest.items[0].id if newest.items else 0})

        Deferred.fromCoroutine(work()).addErrback(self._failed)

    def _notify(self, notification: Notification) -> None:
        async def work() -> None:
            if notification.own and not await self._is_session_active():
                return
            counts = (await self._statistics.overview(self._actor)).counts
            data: dict[str, object] = {"events": [_event_document(record) for record in notification.events]}
            if counts is not None:
                data["certificates"] = {
                    "valid": counts.valid,
                    "revoked": counts.revoked,
                    "expired": counts.expired,
                    "as_of": rfc3339(counts.at),
                }
            self._send("changed", data)

        Deferred.fromCoroutine(work()).addErrback(self._failed)

    def _watch(self) -> None:
        self._watch_due = self._clock.callLater(SESSION_CHECK_INTERVAL_SECONDS, self._watch)
        Deferred.fromCoroutine(self._is_session_active()).addErrback(self._failed)

    async def _is_session_active(self) -> bool:
        """Return whether the session is still active in the same role; else end the stream."""
        account = await self._sessions.still(self._session)
        if account is not None and account.role is self._actor.role:
            return True
        self._send("end", {})
        if self._stream is not None:
            self._stream.close()
        return False

    def _failed(self, failure: Failure) -> None:
        """Close the stream; the browser reconnects and catches up."""
        failure.trap(PikachuError)
        if self._stream is not None:
            self._stream.close()


def _event_document(record: EventRecord) -> dict[str, object]:
    event = record.event
    return {
        "id": record.id,
        "at": rfc3339(record.at),
        "type": event.type,
        "resource_type": event.resource_type,
        "resource_name": event.resource_name,
        "actor": event.actor,
    }
