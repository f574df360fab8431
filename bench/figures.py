"""The figures of a run, their limits, and the table that it prints."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: A figure that may not grow counts as the same up to this ratio: what one run differs from the next by.
SAME = 1.5
_NOISE = 1.2

_HEADINGS = ("work", "here", "peer", "ratio", "at least", "goal", "verdict")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    :param row: what ``--only`` calls it.
    :param ours: measured here, in *unit*; ``None`` when it could not be measured.
    :param peer: the same of *peer_name*.
    :param least: what is asked for, of the ratio where there is a peer and of the figure itself where there is none.
    :param rising: whether more is better.
    :param note: said in place of a verdict, where there is none.
    """

    row: str
    work: str
    ours: float | None
    unit: str
    peer: float | None = None
    peer_name: str = ""
    least: float | None = None
    goal: float | None = None
    rising: bool = True
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's."""
        return self.ours / self.peer if self.ours is not None and self.peer else None

    @property
    def verdict(self) -> str:
        """``goal``, ``met``, ``below``; the note where nothing can be said."""
        if self.note or self.ours is None:
            return self.note or "not measured"
        judged = self.ratio if self.peer_name else self.ours
        if judged is None:
            return "peer not measured"
        if self.least is None:
            return "shown"
        if self.goal is not None and self._reaches(judged, self.goal):
            return "goal"
        return "met" if self._reaches(judged, self.least) else "below"

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.rising else value <= bound

    def cells(self) -> tuple[str, ...]:
        """Return the cell of the table."""
        mark = "x" if self.peer_name else f" {self.unit}"
        sign = "" if self.rising else "<= "
        return (
            self.work,
            "-" if self.ours is None else f"{_shown(self.ours)} {self.unit}",
            "-" if self.peer is None else f"{_shown(self.peer)} {self.unit}, {self.peer_name}",
            "-" if self.ratio is None else f"{self.ratio:.2f}x",
            "-" if self.least is None else f"{sign}{amount(self.least)}{mark}",
            "-" if self.goal is None else f"{sign}{amount(self.goal)}{mark}",
            self.verdict,
        )

    def record(self) -> dict[str, Any]:
        """Return the entry of the JSON file."""
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}


def same(row: str, work: str, unit: str, large: float, small: float, peer_name: str) -> Figure:
    """A figure that must not grow with what is stored."""
    return Figure(row, work, large, unit, small, peer_name, least=SAME, goal=_NOISE, rising=False)


def amount(value: float) -> str:
    """Three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


class Median(float):
    """A median, with the smallest and the largest of the values that it was taken of."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Median:
        """Return the median of *values*."""
        found = cls(statistics.median(values))
        found.low, found.high = min(values), max(values)
        return found

    def __str__(self) -> str:
        """Return it with its spread, where there is one."""
        spread = "" if self.low == self.high else f" ({amount(self.low)} to {amount(self.high)})"
        return f"{amount(self)}{spread}"


def median_of(times: int, *measures: Callable[[], float]) -> list[Median]:
    """The median of each measure, taken in turns: what disturbs the machine disturbs them all."""
    found: list[list[float]] = [[] for _ in measures]
    for _ in range(times):
        for values, measure in zip(found, measures, strict=True):
            values.append(measure())
    return [Median.of(values) for values in found]


def _shown(value: float) -> str:
    return str(value) if isinstance(value, Median) else amount(value)


def table(figures: Iterable[Figure]) -> str:
    """The table, in Markdown."""
    return markdown_table([_HEADINGS, *(figure.cells() for figure in figures)])


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns; the first row is the headings."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table in Markdown; the first row is the headings."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
