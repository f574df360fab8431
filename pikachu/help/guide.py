"""The user guide (UI-10): Markdown pages shipped with the program, rendered as HTML and as text.

Files of the folder are chapters in the order of their numbers, and what the program knows itself, such as its settings,
is a chapter that is generated.  ``docs/publish`` makes a site and a PDF from the same :func:`sources`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from html import escape
from pathlib import Path
from typing import Final

from pikachu.core.errors import NotFound
from pikachu.help.markdown import Output, Source, render, slug_of
from pikachu.help.settings_chapter import settings_chapter

FOLDER: Final = Path(__file__).parents[1] / "guide"
#: The guide as a PDF, which ``script/docs`` makes.
PDF_NAME: Final = "pikachu-ca.pdf"
#: The parts of the guide, each with the first number of its files.
PARTS: Final = ((0, "Using Pikachu CA"), (20, "Devices and servers"), (40, "Operations"), (60, "Reference"))
_GENERATED: Final = {"60-settings.md": settings_chapter}


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the text below it; the introduction of a page is a section with the page's title.

    :param anchor: empty for the introduction.
    :param text: paragraphs of plain text.
    """

    slug: str
    title: str
    anchor: str
    heading: str
    text: str

    @property
    def path(self) -> str:
        """The URL path of the section."""
        return f"/help/{self.slug}" + (f"#{self.anchor}" if self.anchor else "")


@dataclass(frozen=True, slots=True)
class GuidePage:
    """A page of the guide; *html* is without the title."""

    slug: str
    title: str
    html: str
    sections: tuple[Section, ...]


class Guide:
    """All pages of the guide, read on first use because most ``pikachu`` commands need none.

    :param folder: contains files ``NN-name.md``, which sort in page order.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    @property
    def pdf(self) -> Path:
        """The guide as a PDF, where it was made (``script/docs``)."""
        return self._folder / PDF_NAME

    @cached_property
    def parts(self) -> dict[str, tuple[GuidePage, ...]]:
        """The pages of each part, in order."""
        parts: dict[str, tuple[GuidePage, ...]] = {}
        for part, page in _pages(self._folder):
            parts[part] = (*parts.get(part, ()), page)
        return parts

    @cached_property
    def pages(self) -> tuple[GuidePage, ...]:
        """All pages, in order."""
        return tuple(page for pages in self.parts.values() for page in pages)

    @cached_property
    def _by_slug(self) -> dict[str, GuidePage]:
        return {page.slug: page for page in self.pages}

    def page(self, slug: str) -> GuidePage:
        """Return the page with that slug.

        :raises NotFound: no page has this slug.
        """
        if slug not in self._by_slug:
            raise NotFound("the guide has no such page")
        return self._by_slug[slug]


# --- Sources ---------------------------------------------------------------------------------


def sources(folder: Path = FOLDER) -> dict[str, tuple[Source, ...]]:
    """Return the documents of each part, in order.

    :param folder: contains files ``NN-name.md``; only the shipped folder has generated documents beside them.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in folder.glob("[0-9][0-9]-*.md")}
    if folder == FOLDER:
        texts |= {folder / name: generate() for name, generate in _GENERATED.items()}
    parts: dict[str, list[Source]] = {title: [] for _, title in PARTS}
    for path in sorted(texts):
        title = [title for first, title in PARTS if f"{first:02}" <= path.name[:2]][-1]
        parts[title].append(Source(slug_of(path.name), texts[path], path))
    return {title: tuple(documents) for title, documents in parts.items() if documents}


def _picture(path: Path, description: str) -> str:
    """Return a drawing; pictures of pages are left out, since the pages themselves are a click away."""
    if path.suffix != ".svg":
        return ""
    drawing = path.read_text("utf-8").replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1)
    return f'<span class="drawing scroll" tabindex="0">{drawing}</span>'


@cache
def _pages(folder: Path) -> tuple[tuple[str, GuidePage], ...]:
    """Return the parts' names and pages, which don't change while the program runs; rendering takes half a second."""
    return tuple(_rendered_pages(folder))


def _rendered_pages(folder: Path) -> Iterator[tuple[str, GuidePage]]:
    parts = sources(folder)
    output = Output(
        slugs=frozenset(source.slug for documents in parts.values() for source in documents),
        href=lambda slug, anchor: f"/help/{slug}" + (f"#{anchor}" if anchor else ""),
        picture=_picture,
        identifier=lambda slug, anchor: anchor,
    )
    for part, documents in parts.items():
        for source in documents:
            page = render(source, output)
            sections = tuple(
                Section(source.slug, page.title, passage.anchor, passage.heading, passage.text)
                for passage in page.passages
            )
            yield part, GuidePage(source.slug, page.title, page.html, sections)
