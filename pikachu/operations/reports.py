"""Reports over a period: the certificates issued, or the events, with the verified end of the audit log (AUD-3).

A report is read page by page.  As CSV it has any number of rows, as PDF a bounded one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeAlias

from pikachu.auth.permissions import require_scope
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, errors_of
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.certificates import InfrastructureFilter
from pikachu.core.model.events import EventRecord
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.time_ranges import parse_end, parse_start
from pikachu.core.model.times import rfc3339, utc
from pikachu.documents.report import ReportColumn, ReportDocument, report_pdf
from pikachu.inventory.certificates import CertificateQueries
from pikachu.operations.audit_verification import AuditVerification
from pikachu.operations.export_fields import CERTIFICATE_HEADINGS, certificate_fields

#: Maximum number of rows of a PDF, which takes seconds to build.
MAX_PDF_ROWS: Final = 5000
#: The period of a report for which none was chosen.
DEFAULT_PERIOD: Final = timedelta(days=30)
_PAGE: Final = 250


class ReportKind(StrEnum):
    """The subject of a report."""

    CERTIFICATES = "certificates"
    AUDIT = "audit"


class ReportFormat(StrEnum):
    """The format of a report."""

    CSV = "csv"
    PDF = "pdf"


@dataclass(frozen=True, slots=True)
class ReportOrder:
    """A report to create.

    :param end: the first time that is not part of it.
    """

    kind: ReportKind
    begin: datetime
    end: datetime
    format: ReportFormat

    @classmethod
    def of(cls, kind: ReportKind, begin: str, end: str, format_: ReportFormat, now: datetime) -> ReportOrder:
        """Return the order for a period in text; without one it ends now, or begins 30 days before its end.

        :raises MalformedRequest: when it is no date or time, or the period ends before it begins.
        """
        with errors_of("to"):
            last = parse_end(end, "to") if end else now.replace(microsecond=0) + timedelta(seconds=1)
        with errors_of("from"):
            first = parse_start(begin, "from") if begin else last - DEFAULT_PERIOD
        if first >= last:
            raise MalformedRequest("The report would end before it begins. Choose a later end.", field="to")
        return cls(kind, first, last, format_)

    @property
    def filename(self) -> str:
        """Return the name of its file."""
        last = self.end - timedelta(seconds=1)
        return f"{self.kind}-{self.begin:%Y-%m-%d}-{last:%Y-%m-%d}.{self.format}"


#: Returns the rows after a cursor (``None``: the first ones), and the cursor of the next ones.
RowPages: TypeAlias = Callable[[str | None], Coroutine[Any, Any, tuple[Sequence[Sequence[str]], str | None]]]


@dataclass(frozen=True, slots=True)
class Report:
    """A report that is being read.

    :param facts: what stands above the rows: period, author, and the end of the audit log.
    :param columns: all columns; a PDF has those with a width.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    columns: tuple[ReportColumn, ...]
    pages: RowPages

    @property
    def heading(self) -> list[list[str]]:
        """Return the rows of a CSV before the first one of the list."""
        return [["Report", self.title], *map(list, self.facts), [], [column.heading for column in self.columns]]


#: Widths of the columns of certificates in a PDF.
_CERTIFICATE_WIDTHS: Final = (0, 17, 40, 0, 48, 40, 20, 22, 13, 14, 20, 17, 26, 0, 0, 0)
_CERTIFICATE_COLUMNS: Final = tuple(map(ReportColumn, CERTIFICATE_HEADINGS, _CERTIFICATE_WIDTHS))
_EVENT_COLUMNS: Final = (
    ReportColumn("Event", 14),
    ReportColumn("Time (UTC)", 22),
    ReportColumn("User", 30),
    ReportColumn("Type", 22),
    ReportColumn("Resource", 26),
    ReportColumn("Name", 56),
    ReportColumn("Details", 107),
    ReportColumn("Hash"),
)


class Reports:
    """Creates reports, for administrators.

    :param pool: builds PDFs.
    """

    def __init__(
        self,
        *,
        store: IStore,
        inventory: CertificateQueries,
        issuers: IssuingCAs,
        verification: AuditVerification,
        clock: IClock,
        pool: IWorkerPool,
    ) -> None:
        self._store = store
        self._inventory = inventory
        self._issuers = issuers
        self._verification = verification
        self._clock = clock
        self._pool = pool

    @uncancelled
    async def begin(self, actor: Principal, order: ReportOrder) -> Report:
        """Return a report, and record it.  Fails with NotAuthorized and StoreUnavailable."""
        require_scope(actor, Scope.AUDIT)
        require_scope(actor, Scope.READ)
        now = self._now()
        proof = await self._proof(actor)
        facts = (
            ("From", rfc3339(order.begin)),
            ("To (not included)", rfc3339(order.end)),
            ("Created", f"{rfc3339(now)} by {actor.name}"),
            *proof,
        )
        details = {"format": order.format.value, "from": rfc3339(order.begin), "to": rfc3339(order.end)}
        await self._store.add_event(event_by(actor, "download", "report", order.kind.value, None, **details), now)
        if order.kind is ReportKind.AUDIT:
            pages = partial(self._events, actor, order)
            return Report("Audit log", facts, _EVENT_COLUMNS, pages)
        return Report(
            "Certificates issued", facts, _CERTIFICATE_COLUMNS, partial(self._certificates, actor, order, now)
        )

    @uncancelled
    async def pdf(self, report: Report) -> bytes:
        """Return a report as PDF.  Fails with Conflict when it has too many rows for one."""
        rows: list[Sequence[str]] = []
        cursor: str | None = None
        while True:
            found, cursor = await report.pages(cursor)
            rows += found
            if len(rows) > MAX_PDF_ROWS:
                raise Conflict(
                    f"A PDF has at most {MAX_PDF_ROWS:,} rows. Choose a shorter period, or CSV, which has no limit."
                )
            if cursor is None:
                break
        document = ReportDocument(report.title, (*report.facts, ("Rows", f"{len(rows):,}")), report.columns)
        return await self._pool.run(report_pdf, document, rows)

    async def _proof(self, actor: Principal) -> tuple[tuple[str, str], ...]:
        """Return what is known of the audit log: its verified end, or why there is none."""
        label = "Audit log"
        try:
            run = await self._verification.up_to_date(actor)
        except Conflict as error:
            return ((label, error.public),)
        if run is None:
            return ((label, "Not verified since the server started."),)
        if run.seconds is None:
            return ((label, "A verification is running."),)
        if run.wrong or run.failure:
            return ((label, run.wrong or f"The last verification was interrupted: {run.failure}"),)
        origin = self._verification.origin()
        facts = [
            (label, f"{run.looked_at:,} events, none changed or removed"),
            ("Verified", f"{rfc3339(run.begun_at)} by {run.actor}, and the events since when this report was created"),
            ("Hash of the last event", run.position.hash.hex()),
        ]
        if origin.finding:
            facts.append((f"Events 1 to {origin.unkeyed:,}", f"Not intact: {origin.finding}"))
        elif origin.unkeyed:
            facts.append((f"Events 1 to {origin.unkeyed:,}", "Older than the key of the audit log."))
        return tuple(facts)

    async def _certificates(
        self, actor: Principal, order: ReportOrder, now: datetime, cursor: str | None
    ) -> tuple[Sequence[Sequence[str]], str | None]:
        filters = {
            "issued_from": rfc3339(order.begin),
            "issued_to": rfc3339(order.end),
            "infrastructure": InfrastructureFilter.INCLUDE.value,
        }
        query = ListQuery(limit=_PAGE, cursor=cursor, sort="created_at", filters=filters)
        page = await self._inventory.certificates(actor, query)
        names = await self._inventory.owner_names(actor, [one.owner_id for one in page.items])
        rows = [certificate_fields(one, self._issuers.by_id(one.issuer_id), names, now) for one in page.items]
        return rows, page.next_cursor

    async def _events(
        self, actor: Principal, order: ReportOrder, cursor: str | None
    ) -> tuple[Sequence[Sequence[str]], str | None]:
        filters = {"at_from": rfc3339(order.begin), "at_to": rfc3339(order.end)}
        page = await self._inventory.events(actor, ListQuery(limit=_PAGE, cursor=cursor, sort="id", filters=filters))
        return [_event(one) for one in page.items], page.next_cursor

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _event(record: EventRecord) -> Sequence[str]:
    event = record.event
    return (
        str(record.id),
        rfc3339(record.at),
        event.actor,
        event.type,
        event.resource_type,
        event.resource_name,
        json.dumps(dict(event.details), ensure_ascii=False, sort_keys=True),
        record.hash.hex(),
    )
