"""Reports as PDF: facts, and a table on as many A4 pages as it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.documents.pdf import PDF, new_pdf

_PAGE: Final = (297.0, 210.0)
_MARGIN: Final = 10.0
_SIZE: Final = 6.5
_LINE: Final = 2.9
_GAP: Final = 1.5
#: Lines of a cell: more are cut, and marked.
_CELL_LINES: Final = 6


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """A column.

    :param width: in the PDF, in relation to the others; 0: it is not there.
    """

    heading: str
    width: float = 0


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """A report without its rows."""

    title: str
    facts: Sequence[tuple[str, str]]
    columns: Sequence[ReportColumn]


def report_pdf(document: ReportDocument, rows: Sequence[Sequence[str]]) -> bytes:
    """Return the report; each row has a cell for each column."""
    with new_pdf(document.title, _PAGE) as pdf:
        return _Writer(pdf, document).write(rows)


class _Writer:
    def __init__(self, pdf: PDF, document: ReportDocument) -> None:
        self._pdf = pdf
        self._document = document
        self._shown = [number for number, column in enumerate(document.columns) if column.width]
        scale = (_PAGE[0] - 2 * _MARGIN) / sum(document.columns[number].width for number in self._shown)
        self._widths = [document.columns[number].width * scale for number in self._shown]
        self._number = 0
        self._y = 0.0

    def write(self, rows: Sequence[Sequence[str]]) -> bytes:
        """Write all pages and return the file."""
        self._begin_page()
        self._write_facts()
        self._write_headings()
        for row in rows:
            self._write_row(row)
        return self._pdf.output()

    def _begin_page(self) -> None:
        self._number += 1
        self._pdf.add_page()
        self._pdf.use(7, grey=90)
        self._pdf.text(_MARGIN, _PAGE[1] - 8, f"Pikachu CA \u00b7 {self._document.title} \u00b7 page {self._number}")
        self._y = _MARGIN

    def _write_facts(self) -> None:
        pdf = self._pdf
        pdf.use(15, "B")
        pdf.text(_MARGIN, self._y, self._document.title)
        self._y += 10
        for label, text in self._document.facts:
            pdf.use(8, "B")
            for line in pdf.lines(label, 45, 1):
                pdf.text(_MARGIN, self._y, line)
            pdf.use(8)
            for line in pdf.lines(text, _PAGE[0] - 2 * _MARGIN - 47, 4):
                pdf.text(_MARGIN + 47, self._y, line)
                self._y += 4
        self._y += 4

    def _write_headings(self) -> None:
        self._pdf.use(_SIZE, "B")
        self._pdf.bar(_MARGIN, self._y, _PAGE[0] - 2 * _MARGIN, _LINE + 1.6, grey=225)
        x = _MARGIN
        for number, width in zip(self._shown, self._widths, strict=True):
            for line in self._pdf.lines(self._document.columns[number].heading, width - _GAP, 1):
                self._pdf.text(x + 0.5, self._y + 0.8, line)
            x += width
        self._y += _LINE + 2.2

    def _write_row(self, row: Sequence[str]) -> None:
        self._pdf.use(_SIZE)
        cells = [
            self._pdf.lines(row[number], width - _GAP, _CELL_LINES)
            for number, width in zip(self._shown, self._widths, strict=True)
        ]
        height = max(1, *map(len, cells)) * _LINE + 0.9
        if self._y + height > _PAGE[1] - _MARGIN - 2:
            self._begin_page()
            self._write_headings()
            self._pdf.use(_SIZE)
        x = _MARGIN
        for lines, width in zip(cells, self._widths, strict=True):
            for number, line in enumerate(lines):
                self._pdf.text(x + 0.5, self._y + number * _LINE, line)
            x += width
        self._y += height
        self._pdf.bar(_MARGIN, self._y - 0.6, _PAGE[0] - 2 * _MARGIN, 0.1, grey=200)
