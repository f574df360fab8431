r"""PDF pages with text in the scripts of the bundled font: Latin, Greek, Cyrillic, Hebrew, Arabic, Devanagari, Thai.

A character that the font lacks is shown as ``\u{4E2D}``, never left out.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: Name and style of each font, and its name in its package.
_FONTS: Final = (("text", "", "figo"), ("text", "B", "figbo"), ("mono", "", "fimo"))
#: Beginning and end of the scripts whose letters are joined, reordered or written from right to left.
_SHAPED: Final = (0x0590, 0x1E00)
_ELLIPSIS: Final = "\u2026"
_BREAKS: Final = " ,;:/-.@="


class PDF:
    """A PDF that is being written; lengths are millimetres, sizes of text points."""

    def __init__(self, title: str, page: tuple[float, float], fonts: Path) -> None:
        from fpdf import FPDF

        # It warns of the bundled fonts' tables, whose glyphs it uses all the same.
        logging.getLogger("fontTools").setLevel(logging.ERROR)
        self._pdf = FPDF(unit="mm", format=page)
        self._pdf.set_auto_page_break(False)
        # Otherwise a text with {nb} is shown with the number of pages in its place.
        self._pdf.alias_nb_pages(None)
        self._pdf.set_title(title)
        self._pdf.set_creator("Pikachu CA")
        self._characters: dict[str, frozenset[int]] = {}
        self._widths: dict[tuple[str, str], float] = {}
        for name, style, file in _FONTS:
            path = fonts / f"{file}.ttf"
            path.write_bytes(_font(file))
            self._pdf.add_font(name, style, path)
            self._characters[name + style] = frozenset(self._pdf.fonts[f"{name}{style}"].cmap)
        self._font, self._size = "text", 10.0

    def add_page(self) -> None:
        """Begin a page."""
        self._pdf.add_page()

    def output(self) -> bytes:
        """Return the file."""
        return bytes(self._pdf.output())

    def use(self, size: float, style: str = "", font: str = "text", grey: int = 0) -> None:
        """Choose the font of the next texts.

        :param style: ``B`` for bold.
        :param grey: 0 for black, to 255.
        """
        self._font, self._size = font + style, size
        self._pdf.set_font(font, style, size)
        self._pdf.set_text_color(grey)

    def visible(self, text: str) -> str:
        r"""Return a text with the characters that the font lacks as ``\u{4E2D}``."""
        known = self._characters[self._font]
        if all(ord(one) in known and one.isprintable() for one in text):
            return text
        return "".join(one if ord(one) in known and one.isprintable() else f"\\u{{{ord(one):04X}}}" for one in text)

    def text(self, x: float, y: float, text: str) -> None:
        """Write a line whose characters are visible; *y* is its top."""
        shaped = any(_SHAPED[0] <= ord(one) < _SHAPED[1] for one in text)
        if shaped:
            self._pdf.set_text_shaping(True)
        self._pdf.set_xy(x, y)
        self._pdf.cell(0, self._size * 0.42, text)
        if shaped:
            self._pdf.set_text_shaping(False)

    def lines(self, text: str, width: float, maximum: int) -> list[str]:
        """Return the visible characters of a text in lines that are no wider than *width*; a cut is marked."""
        left = self.visible(text)
        lines: list[str] = []
        while left and len(lines) < maximum:
            end = self._fitting(left, width)
            if end < len(left) and len(lines) + 1 == maximum:
                lines.append(left[: self._fitting(left, width - self._width(_ELLIPSIS))].rstrip() + _ELLIPSIS)
                break
            if end < len(left):
                end = max((left.rfind(one, 1, end) + 1 for one in _BREAKS), default=0) or end
            lines.append(left[:end].rstrip())
            left = left[end:].lstrip()
        return lines

    def bar(self, x: float, y: float, width: float, height: float, grey: int = 0) -> None:
        """Fill a rectangle."""
        self._pdf.set_fill_color(grey)
        self._pdf.rect(x, y, width, height, style="F")

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """Draw a thin grey frame, for cutting."""
        self._pdf.set_draw_color(200)
        self._pdf.set_line_width(0.1)
        self._pdf.rect(x, y, width, height)

    def _fitting(self, text: str, width: float) -> int:
        """Return how many characters from the beginning are no wider than *width*; at least one."""
        used = 0.0
        for number, one in enumerate(text):
            used += self._width(one)
            if used > width:
                return max(1, number)
        return len(text)

    def _width(self, character: str) -> float:
        key = (self._font, character)
        if key not in self._widths:
            self._widths[key] = self._pdf.get_string_width(character) / self._size
        return self._widths[key] * self._size


@contextmanager
def new_pdf(title: str, page: tuple[float, float]) -> Iterator[PDF]:
    """Provide a PDF with pages of a width and height, whose fonts are there until the end of the context."""
    with tempfile.TemporaryDirectory(prefix="pikachu-pdf-") as folder:
        yield PDF(title, page, Path(folder))


def _font(name: str) -> bytes:
    from pymupdf_fonts import fontbuffers

    return bytes(fontbuffers[name]())
