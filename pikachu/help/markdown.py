"""Markdown of the guide as HTML, and as text for the search (UI-10).

Links between documents are written as on disk (``../vault.md#rotation``), so that they also work where the repository
is browsed; :class:`Output` says what becomes of them.  HTML in the Markdown is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_NUMBER: Final = re.compile(r"\d\d-")
#: The beginning of an absolute URL.
SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """One document of the guide.

    :param slug: its name in URLs.
    :param path: the file, or the one that a generated document would be; links are relative to it.
    """

    slug: str
    text: str
    path: Path


@dataclass(frozen=True, slots=True)
class Output:
    """How links, pictures and anchors are written.

    :param slugs: the documents that exist; a link to another file is written as its text only.
    :param href: returns the link to a document (slug) and a heading in it (anchor, may be empty).
    :param picture: returns the HTML of a picture from its path and its description; empty leaves it out.
    :param identifier: returns the id of a heading from slug and anchor.
    """

    slugs: Collection[str]
    href: Callable[[str, str], str]
    picture: Callable[[Path, str], str]
    identifier: Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Passage:
    """A heading and the text below it; the introduction has the title of the document and no anchor."""

    anchor: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A document as HTML without its title, and as text."""

    title: str
    html: str
    passages: tuple[Passage, ...]


def slug_of(name: str) -> str:
    """Return the slug of a file such as ``06-scep.md`` or ``../vault.md``."""
    return _NUMBER.sub("", PurePosixPath(name).stem, count=1)


def anchor_of(heading: str) -> str:
    """Return the anchor of a heading."""
    return re.sub("[^a-z0-9]+", "-", heading.lower()).strip("-")


def render(source: Source, output: Output) -> Rendered:
    """Return the document as HTML and as text."""
    markdown = parser()
    tokens = markdown.parse(source.text)
    title = plain(tokens[1])
    body = tokens[3:]
    passages: list[Passage] = []
    anchor, heading, paragraphs = "", title, list[str]()
    cells: list[str] = []
    for index, token in enumerate(body):
        inside = index > 0 and body[index - 1].type == "heading_open"
        if token.type == "heading_open":
            passages.append(Passage(anchor, heading, "\n".join(paragraphs)))
            heading = plain(body[index + 1])
            anchor, paragraphs = anchor_of(heading), []
            token.attrSet("id", output.identifier(source.slug, anchor))
        elif token.type == "tr_close":
            paragraphs.append(": ".join(cells))
            cells = []
        elif token.type == "inline" and not inside:
            (cells if body[index - 1].type in {"td_open", "th_open"} else paragraphs).append(plain(token))
        elif token.type in {"code_block", "fence"}:
            paragraphs.append(token.content.strip())
        if token.children:
            token.children = _resolved(token.children, source, output)
    passages.append(Passage(anchor, heading, "\n".join(paragraphs)))
    env = {"picture": output.picture}
    return Rendered(title, markdown.renderer.render(_without_empty(body), markdown.options, env), tuple(passages))


def plain(token: Token) -> str:
    """Return the text of a paragraph without its markup."""
    return "".join(
        " " if child.type in {"softbreak", "hardbreak"} else child.content
        for child in token.children or ()
        if child.type != "image"
    )


def _resolved(children: Sequence[Token], source: Source, output: Output) -> list[Token]:
    """Return inline tokens with the links and pictures of the output."""
    resolved: list[Token] = []
    dropped = 0
    for child in children:
        if child.type == "link_open" and not SCHEME.match(str(child.attrs["href"])):
            name, _, anchor = str(child.attrs["href"]).partition("#")
            slug = slug_of(name) if name else source.slug
            if (name and not name.endswith(".md")) or slug not in output.slugs:
                dropped += 1
                continue
            child.attrSet("href", output.href(slug, anchor))
        elif child.type == "link_close" and dropped:
            dropped -= 1
            continue
        elif child.type == "image":
            child.meta = {"path": source.path.parent / str(child.attrs["src"])}
            if not output.picture(child.meta["path"], child.content):
                continue
        resolved.append(child)
    return resolved


def _without_empty(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens without paragraphs that have lost their only picture."""
    left: list[Token] = []
    for token in tokens:
        # A paragraph that was just opened has nothing but this empty text.
        if token.type == "paragraph_close" and left[-1].type == "inline" and not left[-1].children:
            del left[-2:]
        else:
            left.append(token)
    return left


def parser() -> MarkdownIt:
    """Return the parser of the guide's Markdown: CommonMark with tables, without HTML."""
    # Imported late: it takes a tenth of a second, which commands of ``pikachu`` must not spend.
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")

    def table_open(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>\n'

    def table_close(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return "</table></div>\n"

    def code(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        text = tokens[index].content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return f'<pre tabindex="0"><code>{text}</code></pre>\n'

    def image(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        html: str = env["picture"](tokens[index].meta["path"], tokens[index].content)
        return html

    markdown.add_render_rule("table_open", table_open)
    markdown.add_render_rule("table_close", table_close)
    markdown.add_render_rule("code_block", code)
    markdown.add_render_rule("fence", code)
    markdown.add_render_rule("image", image)
    return markdown
