"""Checks of the guide's sources: every link leads somewhere, every picture exists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pikachu.help.guide import sources
from pikachu.help.markdown import SCHEME, Source, anchor_of, parser, plain, slug_of


@dataclass(frozen=True, slots=True)
class _Reference:
    """A link or picture in a document: *target* as written, without the anchor."""

    target: str
    anchor: str
    is_picture: bool


def findings(folder: Path, pictures: Path | None) -> list[str]:
    """Return a line for each broken link and missing picture of the guide in *folder*.

    :param pictures: contains the pictures of pages; ``None``: they are not looked for.
    """
    documents = [source for part in sources(folder).values() for source in part]
    anchors = {source.slug: {anchor_of(text) for text in _headings(source)} for source in documents}
    return [
        f"{source.path.name}: {problem}" for source in documents for problem in _problems(source, anchors, pictures)
    ]


def _problems(source: Source, anchors: dict[str, set[str]], pictures: Path | None) -> Iterator[str]:
    # Links of a document are relative to the file itself, not to the link in the guide's folder.
    folder = source.path.resolve().parent
    for reference in _references(source):
        slug = slug_of(reference.target) if reference.target else source.slug
        if reference.is_picture:
            if reference.target.endswith(".svg"):
                if not (folder / reference.target).is_file():
                    yield f"the drawing {reference.target} is missing"
            elif pictures is not None and not (pictures / Path(reference.target).name).is_file():
                yield f"the picture {reference.target} is missing"
        elif reference.target and slug not in anchors:
            if not (folder / reference.target).exists():
                yield f"the file {reference.target} is missing"
        elif reference.anchor and reference.anchor not in anchors[slug]:
            yield f"{reference.target or source.path.name} has no heading #{reference.anchor}"
        elif reference.target.endswith(".md") and slug != "settings" and not (folder / reference.target).is_file():
            yield f"the file {reference.target} is missing"


def _references(source: Source) -> Iterator[_Reference]:
    """Return the links to files, and the pictures, of a document."""
    for token in parser().parse(source.text):
        for child in token.children or ():
            target = child.attrs.get("href") or child.attrs.get("src")
            if target and not SCHEME.match(str(target)):
                name, _, anchor = str(target).partition("#")
                yield _Reference(name, anchor, child.type == "image")


def _headings(source: Source) -> list[str]:
    """Return the headings of a document, without its title."""
    tokens = parser().parse(source.text)
    headings = [plain(tokens[index + 1]) for index, token in enumerate(tokens) if token.type == "heading_open"]
    return headings[1:]
