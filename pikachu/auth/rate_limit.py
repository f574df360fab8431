"""Slowing down whoever guesses: failures are counted, per account and per address, and too many lock for a while.

Successes and plain work cost nothing here, so a fleet that enrolls at once is never slowed.
Memory is bounded: the keys that failed longest ago are forgotten first.
"""

from __future__ import annotations

import functools
import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import RateLimited
from pikachu.core.interfaces import IClock

#: Failures within a minute that lock an account, and an address.
ACCOUNT_LIMIT: Final = 10
ADDRESS_LIMIT: Final = 30
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

    :param limit: so many failures within *window* seconds lock the key.
    :param lock: seconds of the first lock; each further one lasts twice as long, at most 15 minutes, until the
        key has been quiet for an hour.
    """

    def __init__(self, clock: IClock, limit: int, window: float = 60.0, lock: float = 60.0) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._lock = lock
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._failures)

    def check(self, *keys: str) -> None:
        """Nothing, unless one of *keys* is locked.

        :raises RateLimited: with the seconds until the last of them is free again.
        """
        now = self._clock.seconds()
        wait = max((found.locked_until - now for key in keys if (found := self._find(key, now))), default=0.0)
        if wait > 0:
            seconds = math.ceil(wait)
            raise RateLimited(f"too many failures; try again in {seconds} seconds", retry_after=seconds)

    def _find(self, key: str, now: float) -> _Failures | None:
        """Return the failures of a key, unless it was quiet for long or the clock was set back behind them."""
        found = self._failures.get(key)
        return found if found is not None and 0 <= now - found.last <= QUIET else None

    def failed(self, *keys: str) -> int:
        """Count a failure of each key; the seconds of the longest lock that this one began, else 0."""
        return max((self._count(key) for key in keys), default=0)

    def _count(self, key: str) -> int:
        now = self._clock.seconds()
        found = self._find(key, now)
        if found is None:
            found = self._failures[key] = _Failures(since=now)
        elif now - found.since >= self._window:
            found.since, found.count = now, 0
        found.last = now
        found.count += 1
        self._failures.move_to_end(key)
        if len(self._failures) > MAXIMUM_KEYS:
            self._failures.popitem(last=False)
        if found.count < self._limit:
            return 0
        length = min(self._lock * 2.0 ** min(found.locks, 16), MAXIMUM_LOCK)
        found.locked_until = now + length
        found.locks += 1
        found.since, found.count = found.locked_until, 0
        return math.ceil(length)

    def succeeded(self, *keys: str) -> None:
        """Forget the failures of *keys*."""
        for key in keys:
            self._failures.pop(key, None)


class Quota:
    """So many of something within a time, for each key; what is refused does not count.

    Memory is bounded: the keys that came longest ago are forgotten first.
    """

    def __init__(self, clock: IClock, limit: int, window: float) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._taken: OrderedDict[str, list[float]] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._taken)

    def take(self, key: str) -> None:
        """Count one.

        :raises RateLimited: with the seconds until there is room again.
        """
        now = self._clock.seconds()
        taken = [at for at in self._taken.get(key, ()) if 0 <= now - at < self._window]
        if len(taken) >= self._limit:
            seconds = math.ceil(taken[0] + self._window - now)
            raise RateLimited(f"too many from your address; try again in {seconds} seconds", retry_after=seconds)
        self._taken[key] = [*taken, now]
        self._taken.move_to_end(key)
        if len(self._taken) > MAXIMUM_KEYS:
            self._taken.popitem(last=False)


@functools.lru_cache(maxsize=1024)
def address_key(address: str) -> str:
    """What stands for *address* in the limits: an IPv6 host has a whole /64 to choose from, so that is one key."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return str(parsed)
