"""A text with numbered lines, one of them marked as wrong (TPL-3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import BadTemplate, PikachuError

_MAX_WHOLE_LINES: Final = 120
_CONTEXT_LINES: Final = 12


@dataclass(frozen=True, slots=True)
class Line:
    """A numbered line.

    :param reason: the error in it; empty where there is none.
    """

    number: int
    text: str
    reason: str


def numbered(text: str, error: PikachuError | None) -> tuple[Line, ...]:
    """Return the lines of *text* around the one of *error*, all of them when they are few; else none."""
    if not isinstance(error, BadTemplate) or not error.line:
        return ()
    lines = text.split("\n")
    first, last = 1, len(lines)
    if last > _MAX_WHOLE_LINES:
        first, last = max(1, error.line - _CONTEXT_LINES), min(last, error.line + _CONTEXT_LINES)
    reason = error.public.partition(": ")[2]
    return tuple(
        Line(number, lines[number - 1], reason if number == error.line else "") for number in range(first, last + 1)
    )
