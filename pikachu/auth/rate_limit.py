"""Rate limits: failures are counted per key, and too many lock the key; see :mod:`pikachu.auth.guess_limits`.

Successful requests are not counted, so a fleet that enrolls simultaneously is never slowed down.
Memory is bounded: the keys whose last failure is oldest are evicted first.
"""

from __future__ import annotations

import functools
import ipaddress
import math
from dataclasses import dataclass
from typing import Final

from pikachu.core.cache import BoundedCache
from pikachu.core.errors import RateLimited
from pikachu.core.interfaces import IClock

MAXIMUM_KEYS: Final = 10_000
MAXIMUM_LOCK: Final = 900.0
QUIET: Final = 3600.0


@dataclass(slots=True)
class _Failures:
    since: float
    count: int = 0
    locks: int = 0
    locked_until: float = 0.0
    last: float = 0.0


class FailureLimiter:
    """Counts failures per key.

    :param limit: number of failures within *window* seconds that locks the key.
    :param lock: seconds of the first lock; each further one lasts twice as long, at most 15 minutes, until the
        key has been quiet for an hour.
    """

    def __init__(self, clock: IClock, limit: int, window: float = 60.0, lock: float = 60.0) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._lock = lock
        self._failures: BoundedCache[str, _Failures] = BoundedCache(MAXIMUM_KEYS)

    def __len__(self) -> int:
        """Return the number of stored keys."""
        return len(self._failures)

    def check(self, *keys: str) -> None:
        """Require that none of *keys* is locked.

        :raises RateLimited: with the seconds until the last lock ends.
        """
        now = self._clock.seconds()
        wait = max((failures.locked_until - now for key in keys if (failures := self._find(key, now))), default=0.0)
        if wait > 0:
            seconds = math.ceil(wait)
            raise RateLimited(f"too many failures; try again in {seconds} seconds", retry_after=seconds)

    def _find(self, key: str, now: float) -> _Failures | None:
        """Return the failures of a key, unless they are too old or the clock was set back before them."""
        failures = self._failures.get(key)
        return failures if failures is not None and 0 <= now - failures.last <= QUIET else None

    def failed(self, *keys: str) -> int:
        """Count a failure of each key; return the seconds of the longest lock that this started, or 0."""
        return max((self._count(key) for key in keys), default=0)

    def _count(self, key: str) -> int:
        now = self._clock.seconds()
        failures = self._find(key, now)
        if failures is None:
            failures = _Failures(since=now)
        elif now - failures.since >= self._window:
            failures.since, failures.count = now, 0
        failures.last = now
        failures.count += 1
        self._failures.put(key, failures)
        if failures.count < self._limit:
            return 0
        length = min(self._lock * 2.0 ** min(failures.locks, 16), MAXIMUM_LOCK)
        failures.locked_until = now + length
        failures.locks += 1
        failures.since, failures.count = failures.locked_until, 0
        return math.ceil(length)


class Quota:
    """A limit of actions per key within a time window; refused actions do not count.

    Memory is bounded: the least recently used keys are evicted first.
    """

    def __init__(self, clock: IClock, limit: int, window: float) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._times: BoundedCache[str, list[float]] = BoundedCache(MAXIMUM_KEYS)

    def __len__(self) -> int:
        """Return the number of stored keys."""
        return len(self._times)

    def take(self, key: str) -> None:
        """Count one action.

        :raises RateLimited: with the seconds until the next action is allowed.
        """
        now = self._clock.seconds()
        times = [time for time in self._times.get(key) or () if 0 <= now - time < self._window]
        if len(times) >= self._limit:
            seconds = math.ceil(times[0] + self._window - now)
            raise RateLimited(f"too many from your address; try again in {seconds} seconds", retry_after=seconds)
        self._times.put(key, [*times, now])


@functools.lru_cache(maxsize=1024)
def address_key(address: str) -> str:
    """Return the rate limit key of *address*: an IPv6 host can use a whole /64, so that is one key."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return str(parsed)
