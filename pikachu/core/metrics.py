"""Counters and histograms of the reactor's thread, read when somebody asks for metrics (OPS-4).

They are plain numbers: one addition each, without a lock.  Text from outside never makes them grow without bound.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final, TypeAlias

Labels: TypeAlias = tuple[str, ...]

#: Upper bounds of the buckets of times, in seconds; the last bucket has none.
TIME_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Sets of labels that one metric has at most, and the label of all others.
MAX_SERIES: Final = 200
OTHER: Final = "other"


class Times:
    """How often something took how long.

    :ivar buckets: the numbers by :data:`TIME_BUCKETS`, not cumulative; one more for longer times.
    :ivar total: the sum of all times, in seconds.
    """

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(TIME_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one time; the clock may have been set back."""
        self.buckets[bisect_left(TIME_BUCKETS, seconds)] += 1
        self.total += max(seconds, 0.0)

    def cumulative(self) -> list[tuple[str, float]]:
        """Return the upper bounds as text with the cumulative numbers, as Prometheus has them."""
        pairs, count = [], 0
        for bound, number in zip((*map(str, TIME_BUCKETS), "+Inf"), self.buckets, strict=True):
            count += number
            pairs.append((bound, float(count)))
        return pairs


class CountsByLabel:
    """Numbers by labels.

    :param max_series: sets of labels that are told apart; in others, each label is :data:`OTHER`.
    """

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self._max_series = max_series
        self._counts: dict[Labels, int] = {}

    def add(self, *labels: str, number: int = 1) -> None:
        """Add to the number of these labels."""
        if labels not in self._counts and len(self._counts) >= self._max_series:
            labels = (OTHER,) * len(labels)
        self._counts[labels] = self._counts.get(labels, 0) + number

    def items(self) -> Mapping[Labels, int]:
        """Return the numbers by labels."""
        return self._counts


class TimesByLabel:
    """Times by labels.

    :param max_series: as for :class:`CountsByLabel`.
    """

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self._max_series = max_series
        self._times: dict[Labels, Times] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        """Count one time with these labels."""
        times = self._times.get(labels)
        if times is None:
            if len(self._times) >= self._max_series:
                labels = (OTHER,) * len(labels)
            times = self._times.setdefault(labels, Times())
        times.observe(seconds)

    def items(self) -> Mapping[Labels, Times]:
        """Return the times by labels."""
        return self._times
