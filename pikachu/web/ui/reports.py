"""``/reports``: certificates and audit log over a period, as CSV and PDF (AUD-3)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.ca.issuance import CertificateAuthority
from pikachu.core.errors import MalformedRequest, PikachuError
from pikachu.operations.audit_verification import AuditVerification
from pikachu.operations.reports import (
    DEFAULT_PERIOD,
    MAX_PDF_ROWS,
    ReportFormat,
    ReportKind,
    ReportOrder,
    Reports,
)
from pikachu.web.streamed_file import CSVStream
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import Download, HtmlPage, PageReply

_KINDS: Final = (
    (ReportKind.CERTIFICATES.value, "Certificates issued"),
    (ReportKind.AUDIT.value, "Audit log"),
)
_FORMATS: Final = (
    (ReportFormat.PDF.value, f"PDF (up to {MAX_PDF_ROWS:,} rows)"),
    (ReportFormat.CSV.value, "CSV (all rows)"),
)


class ReportsPages(Pages):
    """Reports."""

    def __init__(self, *, reports: Reports, verification: AuditVerification, authority: CertificateAuthority) -> None:
        self._reports = reports
        self._verification = verification
        self._authority = authority

    @page("GET", "/reports", audience=Audience.AUDITOR)
    async def show(self, visit: PageRequest) -> PageReply:
        """Show the form, and what is known of the audit log."""
        return self._form(visit)

    @page("GET", "/reports/file", audience=Audience.AUDITOR)
    async def file(self, visit: PageRequest) -> PageReply:
        """Return a report; the download is recorded."""
        try:
            kind = ReportKind(visit.query.get("kind", ReportKind.CERTIFICATES))
            format_ = ReportFormat(visit.query.get("format", ReportFormat.CSV))
        except ValueError:
            raise MalformedRequest("Choose a report and a format on the page Reports.") from None
        try:
            begin, end = visit.query.get("from", ""), visit.query.get("to", "")
            order = ReportOrder.of(kind, begin, end, format_, self._authority.now())
            report = await self._reports.begin(visit.principal, order)
            if format_ is ReportFormat.CSV:
                return CSVStream(order.filename, report.heading, report.pages)
            return Download(await self._reports.pdf(report), b"application/pdf", order.filename)
        except PikachuError as error:
            return self._form(visit, error)

    def _form(self, visit: PageRequest, error: PikachuError | None = None) -> HtmlPage:
        today = self._authority.now()
        context = {
            "kinds": _KINDS,
            "formats": _FORMATS,
            "values": {
                "kind": "",
                "format": "",
                "from": f"{today - DEFAULT_PERIOD + timedelta(days=1):%Y-%m-%d}",
                "to": f"{today:%Y-%m-%d}",
                **visit.query,
            },
            "look": self._verification.last(visit.principal),
        }
        return HtmlPage.form("reports/page.html", context, error)
