"""The bounded cache."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pikachu.core.cache import BoundedCache


def test_returns_what_was_put() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    assert cache.get("a") is None
    cache.put("a", 1)
    cache.put("a", 2)
    assert (cache.get("a"), len(cache), cache.values()) == (2, 1, [2])
    assert (cache.pop("a"), cache.pop("a"), len(cache)) == (2, None, 0)


@pytest.mark.parametrize(
    ("use", "left"),
    [
        (lambda cache: None, [2, 3]),
        (lambda cache: cache.get("a"), [1, 3]),
        (lambda cache: cache.put("a", 4), [4, 3]),
        (lambda cache: cache.get("unknown"), [2, 3]),
    ],
)
def test_evicts_the_least_recently_used(use: Callable[[BoundedCache[str, int]], object], left: list[int]) -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    use(cache)
    cache.put("c", 3)
    assert cache.values() == left


def test_bounds_the_size() -> None:
    """Keys count where the measure counts them; an entry that is larger than the cache is not stored."""
    cache: BoundedCache[str, bytes] = BoundedCache(size=10, measure=lambda key, value: len(key) + len(value))
    cache.put("a", b"1234")
    cache.put("b", b"1234")
    assert (len(cache), cache.size) == (2, 10)
    cache.put("b", b"1")
    assert cache.size == 7
    cache.put("c", b"12345")
    assert (cache.get("a"), cache.get("b"), cache.size) == (None, b"1", 8)
    cache.put("d", bytes(20))
    assert (len(cache), cache.size) == (0, 0)


def test_reports_each_removal() -> None:
    """By eviction, replacement, removal and clearing, and no other call."""
    removed: list[tuple[str, int]] = []
    cache: BoundedCache[str, int] = BoundedCache(2, removed=lambda key, value: removed.append((key, value)))
    for key, value in (("a", 1), ("b", 2), ("c", 3), ("c", 4), ("d", 5)):
        cache.put(key, value)
    assert removed == [("a", 1), ("c", 3), ("b", 2)]
    cache.pop("c")
    cache.clear()
    assert removed[3:] == [("c", 4), ("d", 5)]
    assert len(cache) == 0
