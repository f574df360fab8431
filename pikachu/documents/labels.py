"""Labels for the devices of a batch: name, address of the server, and the challenge password as QR code (ENR-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pikachu.documents.pdf import PDF, new_pdf


class LabelLayout(StrEnum):
    """How labels are printed: 24 on an A4 sheet (70 by 37 mm), or each on a page of 100 by 50 mm."""

    A4 = "a4"
    SINGLE = "label"


@dataclass(frozen=True, slots=True)
class Label:
    """A label.

    :param password: the challenge password, which is the content of the QR code.
    """

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LabelSheet:
    """The texts that all labels of a document share.

    :param title: of the document.
    :param url: the address at which devices enroll.
    :param expires: until when the challenge passwords can be used.
    """

    title: str
    url: str
    expires: str


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Lengths in millimetres, and sizes of text in points."""

    page: tuple[float, float]
    label: tuple[float, float]
    code: float
    name: float
    text: float

    @property
    def columns(self) -> int:
        """Return the number of labels beside each other."""
        return int(self.page[0] // self.label[0])

    @property
    def per_page(self) -> int:
        """Return the number of labels on a page."""
        return self.columns * int(self.page[1] // self.label[1])


_GEOMETRY: Final = {
    LabelLayout.A4: _Geometry((210, 297), (70, 37.125), 25, 8.5, 6.5),
    LabelLayout.SINGLE: _Geometry((100, 50), (100, 50), 38, 12, 8.5),
}
_MARGIN: Final = 4.0
_GROUP: Final = 8
_LINE: Final = 0.42


def label_sheet(sheet: LabelSheet, labels: Sequence[Label], layout: LabelLayout) -> bytes:
    """Return a PDF with a label for each device, in their order."""
    geometry = _GEOMETRY[layout]
    with new_pdf(sheet.title, geometry.page) as pdf:
        for number, label in enumerate(labels):
            place = number % geometry.per_page
            if place == 0:
                pdf.add_page()
            x = place % geometry.columns * geometry.label[0]
            y = place // geometry.columns * geometry.label[1]
            _draw(pdf, sheet, label, geometry, (x, y))
        return pdf.output()


def _draw(pdf: PDF, sheet: LabelSheet, label: Label, geometry: _Geometry, corner: tuple[float, float]) -> None:
    x, y = corner
    width, height = geometry.label
    if geometry.per_page > 1:
        pdf.frame(x, y, width, height)
    _code(pdf, label.password, (x + _MARGIN, y + (height - geometry.code) / 2), geometry.code)
    left = x + _MARGIN + geometry.code + 3
    room = x + width - 3 - left
    position = y + (height - geometry.code) / 2
    groups = [label.password[at : at + _GROUP] for at in range(0, len(label.password), _GROUP)]
    texts: list[tuple[str, float, str, str, int]] = [
        (label.name, geometry.name, "B", "text", 3),
        *((" ".join(groups[at : at + 2]), geometry.text, "", "mono", 1) for at in range(0, len(groups), 2)),
        (sheet.url, geometry.text, "", "text", 2),
        (f"Expires {sheet.expires}", geometry.text, "", "text", 2),
    ]
    for text, size, style, font, maximum in texts:
        pdf.use(size, style, font)
        for line in pdf.lines(text, room, maximum):
            pdf.text(left, position, line)
            position += size * _LINE


def _code(pdf: PDF, text: str, corner: tuple[float, float], length: float) -> None:
    """Draw a QR code; adjacent modules of a row are one rectangle, so that printers leave no gaps."""
    import segno

    matrix = segno.make(text, error="m", micro=False, boost_error=False).matrix
    module = length / len(matrix)
    for number, row in enumerate(matrix):
        begin: int | None = None
        for at, is_dark in enumerate((*row, 0)):
            if is_dark and begin is None:
                begin = at
            elif not is_dark and begin is not None:
                pdf.bar(corner[0] + begin * module, corner[1] + number * module, (at - begin) * module, module)
                begin = None
