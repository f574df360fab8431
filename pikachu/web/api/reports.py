"""``/reports`` and ``/audit-verification``: certificates and events over a period, with the end of the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from pikachu.core.interfaces import IClock
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.operations.audit_verification import AuditVerification
from pikachu.operations.reports import ReportFormat, ReportKind, ReportOrder, Reports
from pikachu.web.api.routes import Answer, Call, Operation, Routes
from pikachu.web.streamed_file import CSV, CSVStream

_PDF = b"application/pdf"


class VerificationState(StrEnum):
    """The state of the audit log since the start of the server."""

    NOT_VERIFIED = "not-verified"
    RUNNING = "running"
    INTACT = "intact"
    CHANGED = "changed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class AuditVerificationDocument:
    """The last verification of the audit log: ``events`` were verified, and ``hash`` is that of the last of them.

    ``log_entries`` of the log of all events and certificates were verified; it begins with the ``checkpoint_entries``
    of the checkpoint that was sent, or else of the newest one in the server's folder of checkpoints.
    ``problem`` says which event was changed, or why the verification was interrupted; null without one.
    """

    state: VerificationState
    events: int
    hash: str | None
    log_entries: int
    checkpoint_entries: int | None
    started_at: datetime | None
    started_by: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class AuditVerificationOrder:
    """A verification; ``checkpoint`` is the text of one that was kept elsewhere."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"checkpoint": None}

    checkpoint: str | None = None


class ReportsAPI(Routes):
    """Reports, and the verification whose result they state."""

    def __init__(self, *, reports: Reports, verification: AuditVerification, clock: IClock) -> None:
        self._reports = reports
        self._verification = verification
        self._clock = clock

    @Operation(
        "GET",
        "/reports/certificates",
        scope=(Scope.READ, Scope.AUDIT),
        summary="The certificates issued in a period, with the verified end of the audit log",
        query=("from", "to", "format"),
        choices={"format": tuple(ReportFormat)},
        files=(CSV, _PDF.decode()),
    )
    async def certificates(self, call: Call) -> Answer:
        """Return CSV (default) or PDF.  ``from`` and ``to`` are dates (UTC, both included) or times (``to`` is not
        included); without them the report is of the last 30 days.  409 for a PDF of more than 5,000 rows.
        """
        return await self._report(call, ReportKind.CERTIFICATES)

    @Operation(
        "GET",
        "/reports/audit",
        scope=(Scope.READ, Scope.AUDIT),
        summary="The audit events of a period, with the verified end of the audit log",
        query=("from", "to", "format"),
        choices={"format": tuple(ReportFormat)},
        files=(CSV, _PDF.decode()),
    )
    async def audit(self, call: Call) -> Answer:
        """Return CSV (default) or PDF, as the report of certificates."""
        return await self._report(call, ReportKind.AUDIT)

    @Operation(
        "POST",
        "/audit-verification",
        scope=Scope.AUDIT,
        summary="Verify that no audit event or certificate was changed or removed",
        body=AuditVerificationOrder,
        pending=AuditVerificationDocument,
        statuses=(202,),
    )
    async def verify(self, call: Call) -> Answer:
        """Start a verification, which takes minutes for millions of events; one that is running is joined, but not with
        a checkpoint (409).
        """
        note = call.take(AuditVerificationOrder).checkpoint or ""
        self._verification.begin(call.principal, note.encode())
        return Answer(202, self._document(call.principal))

    @Operation(
        "GET",
        "/audit-verification",
        scope=Scope.AUDIT,
        summary="The progress or the result of the last verification of the audit log",
        answer=AuditVerificationDocument,
    )
    async def verification(self, call: Call) -> Answer:
        """Return the last verification since the start of the server."""
        return Answer(200, self._document(call.principal))

    async def _report(self, call: Call, kind: ReportKind) -> Answer:
        query = call.query
        format_ = ReportFormat(query.get("format") or ReportFormat.CSV)
        now = utc(self._clock.seconds())
        order = ReportOrder.of(kind, query.get("from", ""), query.get("to", ""), format_, now)
        report = await self._reports.begin(call.principal, order)
        if format_ is ReportFormat.CSV:
            return Answer(200, CSVStream(order.filename, report.heading, report.pages))
        headers = {b"Content-Disposition": f'attachment; filename="{order.filename}"'.encode("ascii")}
        return Answer(200, await self._reports.pdf(report), _PDF, headers)

    def _document(self, actor: Principal) -> AuditVerificationDocument:
        run = self._verification.last(actor)
        if run is None:
            return AuditVerificationDocument(VerificationState.NOT_VERIFIED, 0, None, 0, None, None, None, None)
        state = VerificationState.INTACT
        if run.seconds is None:
            state = VerificationState.RUNNING
        elif run.wrong:
            state = VerificationState.CHANGED
        elif run.failure:
            state = VerificationState.INTERRUPTED
        return AuditVerificationDocument(
            state,
            run.looked_at,
            run.position.hash.hex() if run.looked_at else None,
            run.entries,
            run.kept,
            run.begun_at,
            run.actor,
            run.wrong or run.failure or None,
        )
