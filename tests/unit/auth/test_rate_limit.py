"""USR-3: failures slow down and lock for a while; successes cost nothing."""

from __future__ import annotations

from twisted.internet.task import Clock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.auth.rate_limit import MAXIMUM_KEYS, MAXIMUM_LOCK, QUIET, FailureLimiter, address_key
from pikachu.core.errors import RateLimited


def make_limiter(limit: int = 3, window: float = 60, lock: float = 30) -> tuple[FailureLimiter, Clock]:
    clock = Clock()
    clock.advance(1_700_000_000)
    return FailureLimiter(clock, limit, window, lock), clock


def fail(limiter: FailureLimiter, key: str, times: int) -> int:
    return [limiter.failed(key) for _ in range(times)][-1]


def wait_of(limiter: FailureLimiter, *keys: str) -> int:
    with pytest.raises(RateLimited) as caught:
        limiter.check(*keys)
    return caught.value.retry_after


def test_the_limit_locks_and_says_for_how_long() -> None:
    limiter, clock = make_limiter()
    assert fail(limiter, "alice", 2) == 0
    limiter.check("alice")
    assert limiter.failed("alice") == 30
    assert wait_of(limiter, "alice") == 30
    clock.advance(29.5)
    assert wait_of(limiter, "alice") == 1
    clock.advance(0.5)
    limiter.check("alice")


def test_only_failures_within_the_window_count() -> None:
    limiter, clock = make_limiter()
    for _ in range(20):
        fail(limiter, "alice", 2)
        clock.advance(60)
    limiter.check("alice")


def test_each_lock_is_twice_as_long_up_to_a_bound() -> None:
    limiter, clock = make_limiter(lock=60)
    lengths = []
    for _ in range(8):
        lengths.append(fail(limiter, "alice", 3))
        clock.advance(lengths[-1])
    assert lengths == [60, 120, 240, 480, 900, 900, 900, 900]
    assert MAXIMUM_LOCK == 900


def test_an_attack_of_years_does_not_overflow() -> None:
    limiter, clock = make_limiter(limit=1)
    for _ in range(5000):
        clock.advance(limiter.failed("alice"))
    assert limiter.failed("alice") == MAXIMUM_LOCK


def test_a_quiet_hour_forgets_the_former_locks() -> None:
    limiter, clock = make_limiter()
    for _ in range(3):
        clock.advance(fail(limiter, "alice", 3))
    clock.advance(QUIET + 1)
    assert fail(limiter, "alice", 3) == 30


def test_keys_are_counted_apart_and_the_longest_wait_is_told() -> None:
    limiter, clock = make_limiter()
    fail(limiter, "alice", 3)
    clock.advance(10)
    fail(limiter, "bob", 3)
    limiter.check("carol")
    assert wait_of(limiter, "alice") == 20
    assert wait_of(limiter, "carol", "alice", "bob") == 30


def test_several_keys_fail_together() -> None:
    limiter, _ = make_limiter(limit=1)
    assert limiter.failed("alice", "192.0.2.1") == 30
    assert wait_of(limiter, "192.0.2.1") == 30
    assert limiter.failed() == 0


def test_memory_is_bounded() -> None:
    limiter, _ = make_limiter()
    for number in range(MAXIMUM_KEYS + 500):
        limiter.failed(f"key {number}")
    assert len(limiter) == MAXIMUM_KEYS


def test_what_failed_last_is_kept() -> None:
    limiter, _ = make_limiter()
    fail(limiter, "alice", 3)
    for number in range(MAXIMUM_KEYS - 1):
        limiter.failed(f"key {number}")
    assert wait_of(limiter, "alice") == 30


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix socket", "unix socket"),
    ],
)
def test_address_key(address: str, key: str) -> None:
    """An IPv6 host can use any address of its /64."""
    assert address_key(address) == key


@given(st.text(max_size=200))
def test_any_address_has_a_bounded_key(address: str) -> None:
    assert len(address_key(address)) <= 64
