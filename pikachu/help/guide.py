"""The user guide (UI-10): Markdown pages shipped with the program, rendered as HTML and indexed for search.

HTML in the Markdown is escaped, and links lead only to this server or to https.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pikachu.core.errors import NotFound

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

FOLDER: Final = Path(__file__).parents[1] / "guide"
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_.#-]*[a-z0-9]|[a-z0-9]")
# Stop words: common in every page and in questions.
_STOP: Final = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "has"),
        *("have", "how", "i", "if", "in", "is", "it", "its", "me", "my", "of", "on", "or", "our"),
        *("should", "so", "that", "the", "their", "there", "this", "to", "was", "we", "what", "when", "where", "which"),
        *("who", "why", "will", "with", "would", "you", "your"),
        *("mean", "pikachu", "please", "put", "show", "tell", "they", "ui", "use", "using", "want"),
    )
)
# Words that mean the same in questions and in the guide.
_SYNONYMS: Final = (
    "pqc post-quantum quantum ml-dsa mldsa dilithium",
    "renew renewal re-enroll re-enrollment reenroll",
    "expire expiry expires end ends ending",
    "create make generate new",
    "remove delete",
    "user account",
    "log-in login sign-in signin",
    "pfx pkcs12 pkcs#12 p12",
    "cert certificate",
    "csr pkcs10 pkcs#10",
    "approve approval",
    "audit event events",
    "backup restore copy",
    "hsm pkcs#11 softhsm",
    "inspect decode parse",
)
_ENDINGS: Final = ("ations", "ation", "ings", "ing", "ies", "ers", "er", "ed", "es", "als", "al", "s", "e", "y")
_HEADING_WEIGHT: Final = 6
_TITLE_WEIGHT: Final = 2
_EXCERPT: Final = 260


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


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result; *excerpt* is the best matching passage of the section.

    :param coverage: the share of the question that the section is about, from 0 to 1, by the rarity of its words.
    """

    section: Section
    excerpt: str
    score: float
    coverage: float


class Guide:
    """All pages of the guide, read on first use because most ``pikachu`` commands need none.

    :param folder: contains files ``NN-name.md``, which sort in page order.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    @cached_property
    def pages(self) -> tuple[GuidePage, ...]:
        """All pages, in order."""
        return tuple(_read(path) for path in sorted(self._folder.glob("*.md")))

    @cached_property
    def _by_slug(self) -> dict[str, GuidePage]:
        return {page.slug: page for page in self.pages}

    @cached_property
    def _sections(self) -> tuple[Section, ...]:
        return tuple(section for page in self.pages for section in page.sections)

    @cached_property
    def _weights(self) -> list[Counter[str]]:
        return [_weights(section) for section in self._sections]

    def page(self, slug: str) -> GuidePage:
        """Return the page with that slug.

        :raises NotFound: no page has this slug.
        """
        if slug not in self._by_slug:
            raise NotFound("the guide has no such page")
        return self._by_slug[slug]

    def search(self, question: str, limit: int = 10) -> list[Hit]:
        """Return the sections that match a question or search terms, best first."""
        groups = term_groups(question)
        lengths = [sum(weights.values()) for weights in self._weights]
        average = sum(lengths) / max(1, len(lengths))
        scores = [0.0] * len(self._sections)
        covered = [0.0] * len(self._sections)
        possible = 0.0
        for group in groups:
            counts = [_group_matches(group, weights) for weights in self._weights]
            matching = sum(1 for count in counts if count)
            rarity = math.log(1 + (len(counts) - matching + 0.5) / (matching + 0.5))
            possible += rarity
            for index, count in enumerate(counts):
                if count:
                    # BM25: rare terms count for more, and repetitions of a term for less and less.
                    scores[index] += rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * lengths[index] / average))
                    covered[index] += rarity
        terms = {term for group in groups for term in group}
        # A section about all of the question comes before one that repeats some of its words.
        scores = [score * part / possible for score, part in zip(scores, covered, strict=True)] if groups else scores
        ranked = sorted(range(len(scores)), key=lambda index: -scores[index])
        return [
            Hit(section, _excerpt(section, terms), scores[index], covered[index] / possible)
            for index in ranked[:limit]
            if scores[index] > 0
            for section in (self._sections[index],)
        ]


def search_terms(text: str) -> list[str]:
    """Return the stemmed words of *text* without stop words."""
    tokens = (word for word in _WORD.findall(text.lower()) if word not in _STOP)
    return [_stem(word) for word in tokens]


def term_groups(text: str) -> list[tuple[str, ...]]:
    """Return the stemmed words of *text* without numbers, each followed by those that mean the same."""
    groups: dict[frozenset[str], tuple[str, ...]] = {}
    for term in search_terms(text):
        if not term.isnumeric():
            same = _SAME.get(term, frozenset((term,)))
            groups.setdefault(same, (term, *sorted(same - {term})))
    return list(groups.values())


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending)
    return word


_SAME: Final = {term: frozenset(search_terms(words)) for words in _SYNONYMS for term in search_terms(words)}


def _weights(section: Section) -> Counter[str]:
    weights = Counter(search_terms(section.text))
    for factor, text in ((_HEADING_WEIGHT, section.heading), (_TITLE_WEIGHT, section.title)):
        for word in search_terms(text):
            weights[word] += factor
    return weights


def _matches(word: str, weights: Counter[str]) -> float:
    """Count the weighted occurrences of *word*; longer words that begin with it count half."""
    count = float(weights.get(word, 0))
    if len(word) >= 4:
        count += 0.5 * sum(number for other, number in weights.items() if other != word and other.startswith(word))
    return count


def _group_matches(group: Sequence[str], weights: Counter[str]) -> float:
    """Count the weighted occurrences of a word, or of one that means the same, which counts half."""
    return max(_matches(group[0], weights), *(0.5 * _matches(word, weights) for word in group[1:]), 0.0)


def _excerpt(section: Section, terms: set[str]) -> str:
    sentences = [
        sentence
        for paragraph in section.text.split("\n")
        for sentence in re.split(r"(?<=[.:;]) ", paragraph)
        if sentence
    ]
    if not sentences:
        return ""
    best = max(range(len(sentences)), key=lambda index: (len(terms & set(search_terms(sentences[index]))), -index))
    text = sentences[best]
    for sentence in sentences[best + 1 :]:
        if len(text) + len(sentence) > _EXCERPT:
            break
        text = f"{text} {sentence}"
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1].rsplit(" ", 1)[0] + "\u2026"


# --- Markdown --------------------------------------------------------------------------------


def _markdown() -> MarkdownIt:
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

    markdown.add_render_rule("table_open", table_open)
    markdown.add_render_rule("table_close", table_close)
    markdown.add_render_rule("code_block", code)
    markdown.add_render_rule("fence", code)
    return markdown


def _anchor(heading: str) -> str:
    return re.sub("[^a-z0-9]+", "-", heading.lower()).strip("-")


def _read(path: Path) -> GuidePage:
    slug = path.stem.partition("-")[2]
    markdown = _markdown()
    tokens = markdown.parse(path.read_text(encoding="utf-8"))
    title = tokens[1].content
    body = tokens[3:]
    sections: list[Section] = []
    anchor, heading, paragraphs = "", title, list[str]()

    def end() -> None:
        sections.append(Section(slug, title, anchor, heading, "\n".join(paragraphs)))

    cells: list[str] = []
    for index, token in enumerate(body):
        inside = index > 0 and body[index - 1].type == "heading_open"
        if token.type == "heading_open":
            end()
            heading = _plain(body[index + 1])
            anchor, paragraphs = _anchor(heading), []
            token.attrSet("id", anchor)
        elif token.type == "tr_close":
            paragraphs.append(": ".join(cells))
            cells = []
        elif token.type == "inline" and not inside:
            (cells if body[index - 1].type in {"td_open", "th_open"} else paragraphs).append(_plain(token))
        elif token.type in {"code_block", "fence"}:
            paragraphs.append(token.content.strip())
    end()
    return GuidePage(slug, title, markdown.renderer.render(body, markdown.options, {}), tuple(sections))


def _plain(token: Token) -> str:
    """Return the text of a paragraph without its markup."""
    return "".join(" " if child.type in {"softbreak", "hardbreak"} else child.content for child in token.children or ())
