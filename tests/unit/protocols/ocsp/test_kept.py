"""Whole answers that are kept (OCSP-3)."""

from __future__ import annotations

from datetime import UTC, datetime

from pikachu.protocols.ocsp.response_cache import ResponseCache
from pikachu.va.ocsp import OCSPAnswer

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def answer(made_at: float = 100, refresh_at: float = 200) -> OCSPAnswer:
    """An answer that is fresh from one second to before another."""
    return OCSPAnswer(b"der", WHEN, WHEN, True, made_at, refresh_at)


def test_an_answer_is_given_while_it_is_fresh() -> None:
    """Not before it was made, not when a new one is due, not when its headers would be wrong."""
    kept = ResponseCache(10_000)
    kept.put(b"key", answer(), b"whole", 150)
    assert kept.get(b"key", 100) == kept.get(b"key", 149.9) == b"whole"
    assert kept.get(b"other", 100) is None
    for now in (99.0, 150.0, 200.0):
        kept.put(b"key", answer(), b"whole", 150)
        assert kept.get(b"key", now) is None
        assert (len(kept), kept.size) == (0, 0)


def test_a_dropped_answer_is_gone() -> None:
    """A change of status ends it, wherever it is kept."""
    kept = ResponseCache(10_000)
    dropped = answer()
    kept.put(b"key", dropped, b"whole", 150)
    dropped.dropped = True
    assert kept.get(b"key", 110) is None
    assert len(kept) == 0


def test_memory_is_bounded() -> None:
    """The cache is bounded in bytes, whatever the sizes; the oldest entry goes first; the same key counts once."""
    kept = ResponseCache(10_000)
    for number in range(1000):
        kept.put(b"%d" % (number % 400), answer(), b"w" * (number % 700), 150)
        assert kept.size <= 10_000
    assert kept.get(b"199", 110) == b"w" * 299
    assert kept.get(b"0", 110) is None
    for _ in range(5):
        kept.put(b"key", answer(), b"whole", 150)
    before = len(kept)
    kept.put(b"key", answer(), b"whole", 150)
    assert len(kept) == before


def test_no_memory_at_all() -> None:
    """``cache_size = 0``, and one that is larger than all there is."""
    for limit in (0, 100):
        kept = ResponseCache(limit)
        kept.put(b"key", answer(), b"w" * 200, 150)
        assert (len(kept), kept.size) == (0, 0)
