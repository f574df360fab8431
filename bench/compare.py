"""Two commits side by side: every figure of both, measured in alternating turns on the same machine."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import amount, format_table
from bench.place import CHECKOUT

#: With fewer turns no interval of the median has a confidence of CONFIDENCE.
MIN_TURNS = 5
#: A loss up to this is the same: nobody would notice it, and a build of the same commit may have it.
MAX_LOSS = 0.05
CONFIDENCE = 0.93

_HEADINGS = ("work", "before", "after", "change", "verdict")


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of one figure of one commit, one of each turn."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """The confidence interval of the median: order statistics, for any distribution.

        The median lies outside of the k-th smallest and the k-th largest of n values with the probability
        2 · P(Binomial(n, ½) < k).
        """
        ordered, count = sorted(self.values), len(self.values)
        rank, outside = 1, 2.0 ** (1 - count)
        while rank < (count + 1) // 2:
            outside += 2 * math.comb(count, rank) / 2**count
            if 1 - outside < CONFIDENCE:
                break
            rank += 1
        return ordered[rank - 1], ordered[-rank]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of both commits.

    :param before: of the older commit; ``None`` when it has no such figure.
    :param after: of the newer one, likewise.
    :param rising: whether more is better.
    """

    work: str
    unit: str
    rising: bool
    before: Sample | None
    after: Sample | None

    @property
    def gain(self) -> float | None:
        """By how much the newer commit is better, as a fraction; negative when it is worse."""
        if self.before is None or self.after is None or not self.before.median or not self.after.median:
            return None
        ratio = self.after.median / self.before.median
        return ratio - 1 if self.rising else 1 - ratio

    @property
    def verdict(self) -> str:
        """``slower``, ``faster`` or ``same``; ``new`` and ``missing`` where only one commit has the figure."""
        if self.before is None or self.after is None:
            return "new" if self.before is None else "missing"
        gain = self.gain
        if gain is None or abs(gain) <= MAX_LOSS or _overlap(self.before.interval, self.after.interval):
            return "same"
        return "faster" if gain > 0 else "slower"

    @property
    def is_failure(self) -> bool:
        """Whether the newer commit must not pass."""
        return self.verdict in ("slower", "missing")

    def cells(self) -> tuple[str, ...]:
        """Return the cell of the table."""
        return (
            self.work,
            *(self._cell(sample) for sample in (self.before, self.after)),
            "-" if self.gain is None else f"{self.gain:+.1%}",
            self.verdict,
        )

    def _cell(self, sample: Sample | None) -> str:
        if sample is None:
            return "-"
        low, high = sample.interval
        return f"{amount(sample.median)} {self.unit} ({amount(low)} to {amount(high)})"

    def record(self) -> dict[str, Any]:
        """Return the entry of the JSON file."""
        samples = {"before": self.before, "after": self.after}
        return {
            "work": self.work,
            "unit": self.unit,
            "rising": self.rising,
            **{name: None if sample is None else list(sample.values) for name, sample in samples.items()},
            "gain": self.gain,
            "verdict": self.verdict,
        }


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


Report = Sequence[Mapping[str, Any]]


def compare(before: Sequence[Report], after: Sequence[Report]) -> list[Comparison]:
    """Compare the figures of two commits.

    :param before: the figures of each turn, as the JSON file has them, of the older commit.
    :param after: of the newer one.
    """
    olds, news = _samples(before), _samples(after)
    return [Comparison(*key, olds.get(key), news.get(key)) for key in dict.fromkeys([*olds, *news])]


def _samples(reports: Sequence[Report]) -> dict[tuple[str, str, bool], Sample]:
    """Return the samples by work, unit and direction; a figure that one turn lacks has none."""
    values: dict[tuple[str, str, bool], list[float]] = {}
    for report in reports:
        for figure in report:
            if figure["ours"] is not None:
                key = str(figure["work"]), str(figure["unit"]), bool(figure["rising"])
                values.setdefault(key, []).append(float(figure["ours"]))
    return {key: Sample(tuple(taken)) for key, taken in values.items() if len(taken) == len(reports)}


def table(comparisons: Iterable[Comparison]) -> str:
    """The table, as text."""
    return format_table([_HEADINGS, *(comparison.cells() for comparison in comparisons)])


def resolve(commit: str) -> str:
    """Return the full name of a commit of this repository.

    :raises ValueError: when there is none of that name.
    """
    ended = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}", check=False)
    if ended.returncode:
        raise ValueError(f"{commit} is no commit of this repository")
    return ended.stdout.strip()


def has_changes() -> bool:
    """Return whether the checkout has changes that are in no commit, which are not measured."""
    return bool(_git("status", "--porcelain", "--untracked-files=no").stdout.strip())


def measure_turns(commits: tuple[str, str], options: Sequence[str], turns: int, work: Path) -> list[list[Report]]:
    """Measure both commits so many times; the figures of each turn, by commit.

    :param options: of ``python -m bench``, for both.
    :param work: a folder for the checkouts, their databases and their figures.
    :raises RuntimeError: when one of them measures nothing.
    """
    reports: list[list[Report]] = [[], []]
    with _worktree(commits[0], work / "before") as before, _worktree(commits[1], work / "after") as after:
        for turn in range(turns):
            # What drifts on the machine meets both: they take turns in going first.
            sides = ((0, before), (1, after)) if turn % 2 == 0 else ((1, after), (0, before))
            for side, checkout in sides:
                reports[side].append(_measure(checkout, options))
            print(f"turn {turn + 1} of {turns} is done", file=sys.stderr, flush=True)
    return reports


def _measure(checkout: Path, options: Sequence[str]) -> Report:
    figures, data = checkout.with_suffix(".json"), checkout.with_suffix(".data")
    figures.unlink(missing_ok=True)
    # A row that can't be measured fails the run, and the others still count.
    subprocess.run(
        [sys.executable, "-m", "bench", *options, "--json", str(figures), "--data", str(data)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if not figures.exists():
        raise RuntimeError(f"the bench of the commit in {checkout.name} wrote no figures; see above")
    report: Report = json.loads(figures.read_text())["figures"]
    return report


@contextmanager
def _worktree(commit: str, folder: Path) -> Iterator[Path]:
    """A checkout of that commit, removed at the end."""
    _git("worktree", "add", "--quiet", "--detach", str(folder), commit)
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(CHECKOUT), *arguments]
    return subprocess.run(command, check=check, stdin=subprocess.DEVNULL, capture_output=True, text=True)
