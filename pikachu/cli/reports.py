"""``pikachu report``: certificates and audit log over a period, as CSV and PDF (AUD-3)."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pikachu.cli.arguments import group

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands
    from pikachu.operations.reports import ReportOrder, Reports


def add_commands(commands: Commands) -> None:
    """Declare ``report``."""
    reports = group(commands, "report", "reports over a period, with the verified end of the audit log")
    for kind, about in (
        ("certificates", "the certificates issued in a period"),
        ("audit", "the audit events of a period"),
    ):
        report = reports.add_parser(
            kind,
            help=about,
            description=f"Writes {about} as CSV or PDF, after the audit log was verified, which takes minutes for "
            "millions of events. The report states the result, with the number of events and the hash of the last one.",
        )
        report.add_argument("--from", dest="begin", default="", metavar="DATE", help="default: 30 days before the end")
        report.add_argument("--to", dest="end", default="", metavar="DATE", help="the last day, in UTC (default: now)")
        report.add_argument("--format", choices=("csv", "pdf"), default="csv", help="default: %(default)s")
        report.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
        report.set_defaults(run=write_report, kind=kind)


def write_report(arguments: Namespace) -> int:
    """Verify the audit log and write a report."""
    import sys

    from pikachu.cli.session import configuration, opened, operator
    from pikachu.operations.reports import ReportFormat, ReportKind, ReportOrder

    with opened(configuration(arguments)) as app:
        format_ = ReportFormat(arguments.format)
        kind = ReportKind(arguments.kind)
        order = ReportOrder.of(kind, arguments.begin, arguments.end, format_, app.authority.now())
        app.verification.begin(operator())
        if arguments.output is None:
            _write(app.reports, order, sys.stdout.buffer)
        else:
            with arguments.output.open("wb") as stream:
                _write(app.reports, order, stream)
    return 0


def _write(reports: Reports, order: ReportOrder, stream: BinaryIO) -> None:
    from twisted.internet.defer import Deferred

    from pikachu.cli.session import done, operator
    from pikachu.documents.csv_lines import csv_lines
    from pikachu.operations.reports import ReportFormat

    report = done(reports.begin(operator(), order))
    if order.format is ReportFormat.PDF:
        stream.write(done(reports.pdf(report)))
        return
    stream.write(csv_lines(report.heading))
    cursor: str | None = None
    while True:
        rows, cursor = done(Deferred.fromCoroutine(report.pages(cursor)))
        stream.write(csv_lines(rows))
        if cursor is None:
            return
