"""Counters and histograms (OPS-4)."""

from __future__ import annotations

from pikachu.core.metrics import OTHER, TIME_BUCKETS, CountsByLabel, Times, TimesByLabel


def test_times_are_counted_by_bucket() -> None:
    """Bounds belong to their bucket; a clock that was set back counts as no time."""
    times = Times()
    for seconds in (-5.0, 0.001, 0.002, 30.0, 31.0):
        times.observe(seconds)
    buckets = dict(times.cumulative())
    assert (buckets["0.001"], buckets["0.0025"], buckets["30.0"], buckets["+Inf"]) == (2, 3, 4, 5)
    assert len(buckets) == len(TIME_BUCKETS) + 1
    assert times.total == 61.003


def test_labels_are_bounded() -> None:
    """Labels beyond the limit are counted together."""
    counts, times = CountsByLabel(2), TimesByLabel(2)
    for number in range(5):
        counts.add("EST", f"policy{number}")
        times.observe(1.0, "EST", f"policy{number}")
    counts.add("EST", "policy0", number=3)
    assert counts.items() == {("EST", "policy0"): 4, ("EST", "policy1"): 1, (OTHER, OTHER): 3}
    assert {labels: one.total for labels, one in times.items().items()} == {
        ("EST", "policy0"): 1.0,
        ("EST", "policy1"): 1.0,
        (OTHER, OTHER): 3.0,
    }
