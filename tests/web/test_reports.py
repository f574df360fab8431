"""Reports over a period, with the verified end of the audit log (AUD-3)."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.core.errors import Conflict
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.operations.reports import MAX_PDF_ROWS, Report, Reports
from tests.support.deferreds import failure_of, result_of
from tests.support.pdf import page_texts
from tests.support.rest import REST, make_rest
from tests.support.stack import Stack, build_core
from tests.support.visitor import Pages, make_pages, text_of

DAY = 86400


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path / "core")
    yield made
    made.close()


@pytest.fixture
def rest(stack: Stack) -> REST:
    return make_rest(stack)


@pytest.fixture
def pages(stack: Stack) -> Pages:
    return make_pages(stack)


def lines_of(body: bytes) -> list[list[str]]:
    """Return the rows of a streamed CSV, without the lines of the transfer."""
    text = "".join(line for line in body.decode().splitlines(keepends=True))
    return [row for row in csv.reader(io.StringIO(text)) if row]


def test_page(stack: Stack, pages: Pages) -> None:
    """The form gives a report as CSV and PDF, which says what is known of the audit log; it is recorded."""
    issued = stack.issue("pump-1.example.com")
    result_of(stack.app.authority.revoke(issued.record.serial, RevocationReason.SUPERSEDED, SYSTEM))
    root = pages.visitor("root")
    form = root.get("/reports")
    assert "Not verified since the server started" in form
    today = f"{stack.app.authority.now():%Y-%m-%d}"
    assert f'value="{today}"' in form
    before = root.request("GET", f"/reports/file?kind=certificates&from={today}&to={today}&format=csv").body.decode()
    assert "Not verified since the server started" in before
    root.post("/events/verification")
    assert "none changed or removed" in root.get("/reports")
    text = root.request("GET", f"/reports/file?kind=certificates&from={today}&to={today}&format=csv").body.decode()
    assert "Certificates issued" in text
    assert "none changed or removed" in text
    assert f"{issued.record.serial:x}" in text
    assert "revoked: superseded" in text
    report = root.request("GET", f"/reports/file?kind=audit&from={today}&to={today}&format=pdf")
    assert report.headers["Content-Type"] == "application/pdf"
    (event,) = result_of(stack.app.store.events(ListQuery(limit=1, filters={"resource_type": "report"}))).items
    assert (event.event.actor, event.event.type, event.event.resource_name) == ("root", "download", "audit")
    printed = page_texts(report.body)[0]
    assert "Hash of the last event" in printed
    assert "superseded" in printed
    # The end of the log that the report states is that before its own event.
    assert event.previous.hex() in printed.replace(" ", "")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("kind=x", "Choose a report"),
        ("format=x", "Choose a report"),
        ("from=2026-12-02&to=2026-12-01", "end before it begins"),
        ("from=x", "enter a date"),
    ],
)
def test_wrong_orders(pages: Pages, query: str, message: str) -> None:
    """The form is shown again, and says what to do."""
    response = pages.visitor("root").request("GET", f"/reports/file?{query}")
    assert response.status == 400
    assert message in text_of(response.body.decode())


def test_periods(rest: REST) -> None:
    """A report has what happened from its first to its last day."""
    first = rest.clock.seconds()
    rest.stack.issue("early.example.com")
    rest.clock.advance(3 * DAY)
    rest.stack.issue("late.example.com")
    days = [f"{day}" for day in (_day(first), _day(first + 3 * DAY))]
    for kind in ("certificates", "audit"):
        for day, subject, other in ((days[0], "early", "late"), (days[1], "late", "early")):
            text = rest.call("GET", f"/reports/{kind}?from={day}&to={day}", who="root").body.decode()
            assert f"{subject}.example.com" in text
            assert f"{other}.example.com" not in text
        both = rest.call("GET", f"/reports/{kind}?from={days[0]}&to={days[1]}", who="root").body.decode()
        assert both.index("early.example.com") < both.index("late.example.com")
        assert "late.example.com" in rest.call("GET", f"/reports/{kind}", who="root").body.decode()
    rest.bad(400, "GET", "/reports/audit?from=2026-12-02&to=2026-12-01", who="root")
    rest.bad(400, "GET", "/reports/audit?format=x", who="root")
    sheet = rest.call("GET", f"/reports/certificates?format=pdf&from={days[0]}&to={days[0]}", who="root")
    assert "early.example.com" in page_texts(sheet.body)[0]


def _day(seconds: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def test_verification(rest: REST) -> None:
    """The state of the log, its verification, and what a report says when an event was changed since."""
    assert rest.good("GET", "/audit-verification", who="root")["state"] == "not-verified"
    assert rest.good("POST", "/audit-verification", who="root", status=202)["state"] == "intact"
    state = rest.good("GET", "/audit-verification", who="root")
    newest = rest.good("GET", "/events?limit=1", who="root")["items"][0]
    assert (state["events"], state["hash"], state["problem"]) == (newest["id"], newest["hash"], None)
    rest.stack.issue("pump-1.example.com")
    with sqlite3.connect(rest.stack.files.folder / "pikachu.sqlite") as database:
        database.execute("UPDATE audit_events SET actor = 'nobody' WHERE id = (SELECT max(id) FROM audit_events)")
    database.close()
    text = rest.call("GET", "/reports/audit", who="root").body.decode()
    assert "is not what was recorded" in text
    rest.good("POST", "/audit-verification", who="root", status=202)
    assert rest.good("GET", "/audit-verification", who="root")["state"] == "changed"


def test_rows_of_a_pdf_are_bounded(stack: Stack) -> None:
    """A PDF with too many rows is refused with what to do; a CSV would have them all."""
    reports: Reports = stack.app.reports

    async def pages(cursor: str | None) -> tuple[list[list[str]], str | None]:
        return [["x"]] * 250, "more"

    report = Report("All", (), (), pages)
    failure = failure_of(reports.pdf(report), Conflict)
    assert f"{MAX_PDF_ROWS:,} rows. Choose a shorter period, or CSV" in failure.public
