"""Reports as PDF."""

from __future__ import annotations

from pikachu.documents.report import ReportColumn, ReportDocument, report_pdf
from tests.support.pdf import page_texts

DOCUMENT = ReportDocument(
    "Audit log",
    (("From", "2026-11-01"), ("Hash of the last event", "ab" * 32)),
    (ReportColumn("Name", 30), ReportColumn("Only in CSV"), ReportColumn("Details", 60)),
)


def test_pages() -> None:
    """Facts stand on the first page, headings and page numbers on each; a row is never divided."""
    rows = [[f"pump-{number:04}", "secret", f"first {number} " * 30] for number in range(120)]
    texts = page_texts(report_pdf(DOCUMENT, rows))
    assert texts[0].count("ab" * 32) == 1
    assert len(texts) > 2
    for number, text in enumerate(texts, 1):
        assert f"page {number}" in text
        assert "Details" in text
        assert "Only in CSV" not in text
        assert "secret" not in text
    assert [row[0] for row in rows] == [word for text in texts for word in text.split() if word.startswith("pump-")]


def test_cells() -> None:
    """A cell wraps; what is longer than six lines is cut, and marked; every script is readable."""
    (text,) = page_texts(report_pdf(DOCUMENT, [["Zürich 中 Привет", "", "x" * 3000], ["", "", ""]]))
    assert "\u2026" in text
    assert "Zürich \\u{4E2D} Привет" in text
    (empty,) = page_texts(report_pdf(DOCUMENT, []))
    assert "Audit log" in empty


def test_hostile_names() -> None:
    """No text stands for something else in a PDF, such as the number of pages."""
    names = ["{nb}.example.com", "**bold**", "__x__", "pump\u202egnp.exe", "\\) Tj ET", "%PDF-1.7"]
    (text,) = page_texts(report_pdf(DOCUMENT, [[name, "", name] for name in names]))
    for name in names:
        assert text.count(name.replace("\u202e", "\\u{202E}")) == 2
