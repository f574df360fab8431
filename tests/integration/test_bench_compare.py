"""``python -m bench --compare``: how two commits are judged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.compare import Comparison, Sample, compare, table
from bench.place import CHECKOUT


def compared(before: list[float], after: list[float], *, rising: bool = True) -> Comparison:
    """The comparison of one figure."""
    return Comparison("work", "/s", rising, Sample(tuple(before)), Sample(tuple(after)))


@pytest.mark.parametrize(
    ("before", "after", "rising", "verdict"),
    [
        ([100, 101, 102, 103, 104], [90, 91, 92, 93, 94], True, "slower"),
        ([100, 101, 102, 103, 104], [110, 111, 112, 113, 114], True, "faster"),
        # Of times, less is better.
        ([100, 101, 102, 103, 104], [110, 111, 112, 113, 114], False, "slower"),
        ([100, 101, 102, 103, 104], [90, 91, 92, 93, 94], False, "faster"),
        # The intervals don't overlap, but nobody would notice the loss.
        ([100, 100, 100, 100, 100], [96, 96, 96, 96, 96], True, "same"),
        ([100, 100, 100, 100, 100], [95.1, 95.1, 95.1, 95.1, 95.1], True, "same"),
        ([100, 100, 100, 100, 100], [94.9, 94.9, 94.9, 94.9, 94.9], True, "slower"),
        ([100, 100, 100, 100, 100], [105.1, 105.1, 105.1, 105.1, 105.1], False, "slower"),
        # A large loss that one disturbed turn can explain.
        ([79, 100, 101, 102, 103], [60, 70, 75, 78, 80], True, "same"),
        ([100, 100, 100, 100, 100], [50, 60, 70, 80, 100], True, "same"),
        # Of nine turns, one disturbed one of each counts no more.
        ([10, 100, 100, 100, 100, 100, 100, 100, 100], [80, 80, 80, 80, 80, 80, 80, 80, 200], True, "slower"),
        ([100, 101, 102, 103, 104], [100, 101, 102, 103, 104], True, "same"),
        ([0, 0, 0, 0, 0], [1, 1, 1, 1, 1], False, "same"),
    ],
)
def test_verdict(before: list[float], after: list[float], rising: bool, verdict: str) -> None:
    """Slower is what loses more than 5 % and lies apart."""
    assert compared(before, after, rising=rising).verdict == verdict
    assert compared(before[::-1], after, rising=rising).verdict == verdict
    assert compared(before, after, rising=rising).is_failure is (verdict == "slower")


@pytest.mark.parametrize(
    ("count", "ranks"), [(5, (1, 5)), (6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (11, (3, 9)), (15, (4, 12)), (25, (8, 18))]
)
def test_interval(count: int, ranks: tuple[int, int]) -> None:
    """The median lies in it with 93 %."""
    assert Sample(tuple(float(number) for number in range(count, 0, -1))).interval == ranks


def report(**values: float | None) -> list[dict[str, object]]:
    """The figures of one turn."""
    return [{"work": work, "unit": "/s", "rising": True, "ours": value} for work, value in values.items()]


def test_figures_of_one_commit_only() -> None:
    """A benchmark that HEAD no longer measures is a failure; one that only HEAD measures is not."""
    before = [report(kept=100.0, gone=1.0, broken=1.0) for _ in range(5)]
    after = [report(kept=100.0, added=1.0, broken=None if turn else 1.0) for turn in range(5)]
    found = {comparison.work: comparison for comparison in compare(before, after)}
    assert {work: one.verdict for work, one in found.items()} == {
        "kept": "same",
        "gone": "missing",
        "broken": "missing",
        "added": "new",
    }
    assert {work for work, one in found.items() if one.is_failure} == {"gone", "broken"}
    text = table(found.values())
    assert "100 /s (100 to 100)" in text
    assert "+0.0%" in text
    assert found["gone"].record()["before"] == [1.0] * 5


def test_a_changed_unit_is_another_figure() -> None:
    """Seconds aren't compared with milliseconds."""
    before, after = [report(work=1.0) for _ in range(5)], [report(work=1000.0) for _ in range(5)]
    for turn in after:
        turn[0]["unit"] = "ms"
    assert [one.verdict for one in compare(before, after)] == ["missing", "new"]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, ended."""
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--compare", "no-such-commit"), "no-such-commit is no commit of this repository"),
        (("--compare", "--quick"), "expected one argument"),
        (("--compare", "HEAD", "--turns", "4"), "at least 5 turns are needed"),
        (("--compare", "HEAD", "--data", "."), "--data and --compare don't go together"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], message: str) -> None:
    """Told in one line, and nothing is measured."""
    ended = bench(*arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stdout == ""


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_commit_is_compared(tmp_path: Path) -> None:
    """With itself; the checkouts are gone at the end."""
    ended = bench("--compare", "HEAD", "--quick", "--only", "revocation", "--json", str(tmp_path / "figures.json"))
    assert ended.returncode in (0, 1), ended.stderr
    assert "verdict" in ended.stdout
    assert "missing" not in ended.stdout
    listed = subprocess.run(["git", "worktree", "list"], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    assert "pikachu-bench-" not in listed.stdout
