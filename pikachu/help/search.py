"""The search of the guide, for Help, the palette and ChatPikachu (UI-10, UI-11; docs/adr/0053)."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from twisted.internet.defer import Deferred

from pikachu.core.interfaces import IWorkerPool
from pikachu.help.guide import Guide, Section
from pikachu.help.terms import search_terms, word_groups
from pikachu.storage.passage_index import PassageIndex

# The weight of a part's sections: those that explain come before those that name everything.
_REFERENCE: Final = "Reference"
_PART_WEIGHTS: Final = {"Devices and servers": 0.8, "Operations": 0.6, _REFERENCE: 0.35}
# What a word counts that has another ending, one that means the same, and one that only begins like it.
_STEMMED: Final = 0.55
_SYNONYM: Final = 0.5
_PREFIX: Final = 0.4
_HEADING_BONUS: Final = 0.8
_MIN_PREFIX: Final = 4
# The words of a question that are looked up.
_MAX_GROUPS: Final = 24
# Characters of a passage and of an excerpt.
_PASSAGE: Final = 500
_EXCERPT: Final = 260
_SENTENCE_END: Final = re.compile(r"(?<=[.!?]) (?=[^a-z])")


@dataclass(frozen=True, slots=True)
class _Passage:
    """A part of a section; *weight* is that of its part of the guide."""

    section: Section
    text: str
    weight: float
    is_reference: bool
    heading_terms: frozenset[str]


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result; *excerpt* is the best matching passage of the section.

    :param coverage: the share of the question that the section is about, from 0 to 1, by the rarity of its words.
    """

    section: Section
    excerpt: str
    score: float
    coverage: float


class GuideSearch:
    """Searches the sections of the guide.

    :param pool: in whose threads it searches.
    """

    def __init__(self, guide: Guide, pool: IWorkerPool) -> None:
        self._guide = guide
        self._pool = pool

    def prepare(self) -> Deferred[int]:
        """Build the index in a thread, so that no reader waits for it; returns the number of passages."""
        return self._pool.run(lambda: sum(len(index) for _, index in self._indexes))

    @cached_property
    def _passages(self) -> tuple[_Passage, ...]:
        return tuple(
            _Passage(
                section,
                text,
                _PART_WEIGHTS.get(part, 1.0),
                part == _REFERENCE,
                frozenset(search_terms(section.heading)),
            )
            for part, pages in self._guide.parts.items()
            for page in pages
            for section in page.sections
            for text in _split(section.text)
        )

    @cached_property
    def _explaining(self) -> int:
        """The number of passages before those of the reference, which is the last part of the guide."""
        return sum(not one.is_reference for one in self._passages)

    @cached_property
    def _indexes(self) -> tuple[tuple[int, PassageIndex], ...]:
        """The indexes of what explains and of the reference, each with the number of its first passage.

        A reference repeats words in every row: in one index, it would make them common in the explanations.
        """
        bounds = ((0, self._explaining), (self._explaining, len(self._passages)))
        return tuple(
            (
                first,
                PassageIndex((one.section.heading, one.section.title, one.text) for one in self._passages[first:end]),
            )
            for first, end in bounds
        )

    def search(self, question: str, limit: int = 10) -> Deferred[list[Hit]]:
        """Return the sections that match a question or search terms, best first."""
        return self._pool.run(self._search, question, limit)

    def _search(self, question: str, limit: int) -> list[Hit]:
        groups = word_groups(question, _MAX_GROUPS)
        size = self._explaining
        scores: defaultdict[int, float] = defaultdict(float)
        covered: defaultdict[int, float] = defaultdict(float)
        possible = 0.0
        for group in groups:
            occurrences = self._occurrences(group)
            common = sum(number < size for number in occurrences)
            rarity = math.log(1 + (size - common + 0.5) / (common + 0.5))
            possible += rarity
            for number, much in occurrences.items():
                scores[number] += rarity * much
                covered[number] += rarity
        terms = {term for group in groups for word in group for term in search_terms(word)}
        hits: dict[str, Hit] = {}
        # A passage about all of the question comes before one that repeats some of its words.
        for number, score in scores.items():
            coverage = covered[number] / possible
            passage = self._passages[number]
            # So does one whose heading is about nothing else.
            heading = passage.heading_terms
            share = len(terms & heading) / len(heading) if heading else 0.0
            ranked = score * passage.weight * coverage * (1 + _HEADING_BONUS * share)
            best = hits.get(passage.section.path)
            if best is None or best.score < ranked:
                hits[passage.section.path] = Hit(passage.section, passage.text, ranked, coverage)
        chosen = sorted(hits.values(), key=lambda hit: (-hit.score, hit.section.path))[:limit]
        return [replace(hit, excerpt=_excerpt(hit.section, hit.excerpt, terms)) for hit in chosen]

    def _occurrences(self, group: tuple[str, ...]) -> dict[int, float]:
        """Return the passages with a word or one that means the same, and how much they are about it."""
        word, *same = group
        found: dict[int, float] = {}
        for first, index in self._indexes:
            looks = [(1.0, index.occurrences(word)), (_STEMMED, index.occurrences(word, stemmed=True))]
            if len(word) >= _MIN_PREFIX:
                looks.append((_PREFIX, index.occurrences(word, prefix=True)))
            looks += [(_SYNONYM, index.occurrences(one, stemmed=True)) for one in same]
            for weight, occurrences in looks:
                for number, much in occurrences.items():
                    found[first + number] = max(found.get(first + number, 0.0), weight * much)
        return found


def _split(text: str) -> list[str]:
    """Return the paragraphs of a section in passages of about the same length; one without text for an empty one."""
    passages: list[str] = []
    for paragraph in text.split("\n"):
        if passages and len(passages[-1]) + len(paragraph) < _PASSAGE:
            passages[-1] += f"\n{paragraph}"
        else:
            passages.append(paragraph)
    return passages


def _excerpt(section: Section, text: str, terms: set[str]) -> str:
    sentences = [sentence for paragraph in text.split("\n") for sentence in _SENTENCE_END.split(paragraph) if sentence]
    if not sentences:
        return ""
    # Words of the heading are what the whole section is about; they choose no sentence.
    terms = terms - set(search_terms(f"{section.title} {section.heading}"))
    best = max(range(len(sentences)), key=lambda index: (len(terms & set(search_terms(sentences[index]))), -index))
    excerpt = sentences[best]
    for sentence in sentences[best + 1 :]:
        if len(excerpt) + len(sentence) > _EXCERPT:
            break
        excerpt = f"{excerpt} {sentence}"
    return excerpt if len(excerpt) <= _EXCERPT else excerpt[: _EXCERPT - 1].rsplit(" ", 1)[0] + "\u2026"
