"""The guide as a PDF: cover, contents with page numbers, chapters, bookmarks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

import pymupdf_fonts
from weasyprint import CSS, HTML
from weasyprint.text.fonts import FontConfiguration

from pikachu import __version__
from pikachu.help.markdown import Output, Rendered, Source, render

STYLE: Final = Path(__file__).with_name("book.css")
# Name of a font in the style sheet, its weight and style, and its name in the package.
_FONTS: Final = (
    ("Text", "normal", "normal", "figo"),
    ("Text", "bold", "normal", "figbo"),
    ("Text", "normal", "italic", "figit"),
    ("Code", "normal", "normal", "fimo"),
    ("Code", "bold", "normal", "fimbo"),
)


class Incomplete(Exception):
    """The PDF lacks something: each line of the message is a warning of WeasyPrint."""


class _Warnings(logging.Handler):
    """Collects warnings."""

    def __init__(self) -> None:
        logging.Handler.__init__(self, logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def write_book(parts: Mapping[str, Sequence[Source]], pictures: Path | None, target: Path, work: Path) -> None:
    """Write the PDF.

    :param pictures: contains the pictures of pages; ``None``: they are left out.
    :param work: an empty folder, for fonts.
    :raises Incomplete: a picture, link or style is not what it should be.
    """
    warnings = _Warnings()
    logger = logging.getLogger("weasyprint")
    logger.addHandler(warnings)
    logger.propagate = False
    # The fonts' subsets lose tables that only text layout needs.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    try:
        fonts = FontConfiguration()
        style = CSS(string=_font_faces(work) + STYLE.read_text("utf-8"), font_config=fonts)
        html = "".join(_document(parts, pictures))
        HTML(string=html, base_url=str(work)).write_pdf(
            target, stylesheets=[style], font_config=fonts, optimize_images=True, pdf_variant="pdf/ua-1"
        )
    finally:
        logger.removeHandler(warnings)
    if warnings.messages:
        target.unlink(missing_ok=True)
        raise Incomplete("\n".join(warnings.messages))


def _font_faces(work: Path) -> str:
    rules = []
    for name, weight, style, file in _FONTS:
        path = work / f"{file}.ttf"
        path.write_bytes(pymupdf_fonts.myfont(file))
        rules.append(
            f"@font-face {{ font-family: {name}; font-weight: {weight}; font-style: {style}; "
            f'src: url("{path.as_uri()}") }}'
        )
    return "\n".join(rules)


def _document(parts: Mapping[str, Sequence[Source]], pictures: Path | None) -> Iterator[str]:
    def picture(path: Path, description: str) -> str:
        if path.suffix == ".svg":
            return f'<span class="drawing">{path.resolve().read_text("utf-8")}</span>'
        if pictures is None:
            return ""
        uri = (pictures / path.name).resolve().as_uri()
        return f'<img class="screen" src="{uri}" alt="{escape(description)}">'

    output = Output(
        slugs=frozenset(source.slug for documents in parts.values() for source in documents),
        href=lambda slug, anchor: f"#{slug}" + (f"--{anchor}" if anchor else ""),
        picture=picture,
        identifier=lambda slug, anchor: f"{slug}--{anchor}",
    )
    chapters = {
        part: [(source.slug, render(source, output)) for source in documents] for part, documents in parts.items()
    }
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Pikachu CA: guide</title>'
    yield '<meta name="author" content="Pikachu CA"></head><body>'
    yield '<section class="cover"><p class="name">Pikachu CA</p><p>Guide</p>'
    yield f'<p class="version">Version {__version__}</p></section>'
    yield '<nav class="contents"><h1>Contents</h1>'
    for part, pages in chapters.items():
        yield f'<p class="part">{part}</p><ul>'
        for slug, page in pages:
            yield f'<li><a href="#{slug}">{escape(page.title)}</a>{_sections(slug, page)}</li>'
        yield "</ul>"
    yield "</nav>"
    for pages in chapters.values():
        for slug, page in pages:
            yield f'<article><h1 id="{slug}">{escape(page.title)}</h1>{page.html}</article>'
    yield "</body></html>"


def _sections(slug: str, page: Rendered) -> str:
    items = "".join(
        f'<li><a href="#{slug}--{passage.anchor}">{escape(passage.heading)}</a></li>'
        for passage in page.passages
        if passage.anchor
    )
    return f"<ul>{items}</ul>" if items else ""
