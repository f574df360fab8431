"""Glob patterns for names, matched in bounded time.

``fnmatch`` compiles each pattern to a regular expression, and its time grows with the product of both lengths for
every pair: a request with many long names under a policy with many long patterns would take seconds.
"""

from __future__ import annotations

import functools
from typing import Final

from pikachu.core.errors import PolicyViolation

MAXIMUM_COMPARISONS: Final = 10_000_000
"""Maximum number of characters compared for one request, which takes about ten milliseconds."""
# The cost of comparing one literal, in characters of a search.
_PIECE_COST: Final = 500


class Budget:
    """The remaining comparisons of one request."""

    def __init__(self, comparisons: int = MAXIMUM_COMPARISONS) -> None:
        self._left = comparisons

    def spend(self, comparisons: int) -> None:
        """Deduct comparisons before performing them.

        :raises PolicyViolation: fewer remain.
        """
        self._left -= comparisons
        if self._left < 0:
            raise PolicyViolation(
                "the names of the request are too many or too long for the patterns of the policy; send fewer of them"
            )


class _Segment:
    """The characters between two ``*``; each ``?`` matches any one character."""

    __slots__ = ("_anchor", "_pieces", "length")

    def __init__(self, text: str) -> None:
        pieces = []
        offset = 0
        for literal in text.split("?"):
            if literal:
                pieces.append((offset, literal))
            offset += len(literal) + 1
        self.length = len(text)
        self._pieces = tuple(pieces)
        self._anchor = max(pieces, key=lambda piece: len(piece[1]), default=None)

    def matches_at(self, text: str, position: int) -> bool:
        """Return whether the segment matches at *position* of *text*, which must be long enough."""
        return all(text.startswith(literal, position + offset) for offset, literal in self._pieces)

    def find(self, text: str, position: int, end: int, budget: Budget) -> int:
        """Return the first match between *position* and *end*, or -1."""
        if self._anchor is None:
            return position if position + self.length <= end else -1
        offset, literal = self._anchor
        budget.spend(max(0, end - position) * len(literal))
        last_end = end - self.length + offset + len(literal)
        while (match := text.find(literal, position + offset, last_end)) >= 0:
            position = match - offset
            budget.spend(_PIECE_COST * len(self._pieces))
            if self.matches_at(text, position):
                return position
            position += 1
        return -1


class GlobPattern:
    """A pattern in which ``*`` matches any characters and ``?`` one; other characters match themselves."""

    __slots__ = ("_first", "_last", "_middle", "_minimum")

    def __init__(self, pattern: str) -> None:
        first, *others = (_Segment(text) for text in pattern.split("*"))
        self._first = first
        self._last = others.pop() if others else None
        self._middle = tuple(segment for segment in others if segment.length)
        self._minimum = sum(segment.length for segment in (first, *others)) + (self._last.length if self._last else 0)

    def matches(self, text: str, budget: Budget) -> bool:
        """Return whether the pattern matches all of *text*.

        :raises PolicyViolation: the remaining comparisons are not sufficient.
        """
        if self._last is None:
            return len(text) == self._minimum and self._first.matches_at(text, 0)
        end = len(text) - self._last.length
        if len(text) < self._minimum or not self._first.matches_at(text, 0) or not self._last.matches_at(text, end):
            return False
        position = self._first.length
        for segment in self._middle:
            # The leftmost match leaves the most room for the following segments.
            position = segment.find(text, position, end, budget)
            if position < 0:
                return False
            position += segment.length
        return True


@functools.lru_cache(maxsize=4096)
def glob_pattern(pattern: str) -> GlobPattern:
    """Return the compiled pattern."""
    return GlobPattern(pattern)
