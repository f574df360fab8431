"""Rate limits: failures are counted per key, and too many lock the key (USR-3).

Successful requests are not counted, so a fleet that enrolls simultaneously is never slowed down.
Memory is bounded: the keys whose last failure is oldest are evicted first.

Many people share an address, and anybody may type anybody's name.  A lock therefore begins with one account at one
address.  The account as a whole is locked only for addresses that it has not signed in from, and an address only for
accounts that have not signed in from it.  Tokens and challenge passwords are too long to be guessed: a valid one is
never refused, an invalid one only costs less while its address is locked.
"""

from __future__ import annotations

import functools
import ipaddress
import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pikachu.core.cache import BoundedCache
from pikachu.core.errors import RateLimited
from pikachu.core.interfaces import IClock

MAXIMUM_KEYS: Final = 10_000
MAXIMUM_LOCK: Final = 900.0
QUIET: Final = 3600.0
# Defaults of GuessLimits.
PAIR_LIMIT: Final = 10
ACCOUNT_LIMIT: Final = 30
ADDRESS_LIMIT: Final = 30
# Seconds for which an address from which an account has signed in is no stranger's.
FAMILIAR_SECONDS: Final = 30 * 86400.0
# Names in what nodes tell each other, beside those of limiters: the account of a pair, and one to unlock.
_OF_ACCOUNT: Final = "of"
_UNLOCK: Final = "unlock"
#: Addresses per account whose locks can be ended; each has had a failure.
_MAXIMUM_PAIRS: Final = 200
# Accents and other marks, and characters that are not seen.
_IGNORED_CATEGORIES: Final = frozenset({"Mn", "Mc", "Me", "Cf"})
# A success within this time is not remembered again, nor told to the other nodes.
_FAMILIAR_AGAIN_SECONDS: Final = 86400.0


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

    def locked_seconds(self, *keys: str) -> int:
        """Return the seconds until the last lock of *keys* ends, or 0."""
        now = self._clock.seconds()
        ends = [failures.locked_until - now for key in keys if (failures := self._find(key, now)) is not None]
        return max(0, math.ceil(max(ends, default=0.0)))

    def forget(self, *keys: str) -> None:
        """End the locks of *keys* and forget their failures."""
        for key in keys:
            self._failures.pop(key)

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


class GuessLimits:
    """Locks against guessing passwords, tokens and challenge passwords.

    Successes never clear a count: otherwise a device that signs in all the time would give whoever guesses beside it
    a new count each time.

    :param pair: number of failures within a minute that locks an account at one address.
    :param account: number of failures from strangers' addresses that locks an account for these.
    :param address: number of failures that locks an address.
    :param share: sends a text to the other nodes, which pass it to :meth:`count_shared`.
    :param digest: returns a digest of a key, since a password may have been typed as the user name.
    """

    def __init__(
        self,
        clock: IClock,
        *,
        pair: int = PAIR_LIMIT,
        account: int = ACCOUNT_LIMIT,
        address: int = ADDRESS_LIMIT,
        share: Callable[[str], object] | None = None,
        digest: Callable[[str], str] | None = None,
    ) -> None:
        self._clock = clock
        self._pair = FailureLimiter(clock, pair)
        self._account = FailureLimiter(clock, account)
        self._address = FailureLimiter(clock, address)
        self._limiters = {"pair": self._pair, "account": self._account, "address": self._address}
        self._share = share
        self._digest = digest
        # The stored keys of an account's pairs with addresses that had failures, the newest last.
        self._pairs: BoundedCache[str, tuple[str, ...]] = BoundedCache(MAXIMUM_KEYS)
        # Pairs of account and address, with the time of the last success.
        self._familiar: BoundedCache[str, float] = BoundedCache(MAXIMUM_KEYS)

    def check_password(self, username: str, address: str) -> None:
        """Require that a password for *username* may be tried from *address*.

        :raises RateLimited: with the seconds until it may be.
        """
        self._pair.check(self._stored(_pair_key(username, address)))
        if not self._is_familiar(username, address):
            self._account.check(self._stored(_account_key(username)))
            self._address.check(self._stored(address_key(address)))

    def password_failed(self, username: str, address: str) -> int:
        """Count a wrong password; return the seconds of the longest lock that this started, or 0."""
        failed = {"pair": _pair_key(username, address), "address": address_key(address)}
        if not self._is_familiar(username, address):
            failed["account"] = _account_key(username)
        failed[_OF_ACCOUNT] = _account_key(username)
        return self._failed(failed)

    def locked_seconds(self, username: str) -> int:
        """Return the seconds until the last lock of an account ends, at any address, or 0."""
        account = self._stored(_account_key(username))
        pairs = self._pairs.get(account) or ()
        return max(self._account.locked_seconds(account), self._pair.locked_seconds(*pairs))

    def unlock(self, username: str) -> None:
        """End the locks of an account at all addresses, on all nodes; those of whole addresses stay."""
        key = _account_key(username)
        self._tell({_UNLOCK: key})
        self._unlock(self._stored(key))

    def unlock_here(self, username: str) -> None:
        """End the locks of an account on this node, after another process has ended them."""
        self._unlock(self._stored(_account_key(username)))

    def _unlock(self, account: str) -> None:
        self._account.forget(account)
        self._pair.forget(*(self._pairs.get(account) or ()))
        self._pairs.pop(account)

    def _remember_pair(self, account: str, pair: str) -> None:
        others = tuple(one for one in self._pairs.get(account) or () if one != pair)
        self._pairs.put(account, (*others[1 - _MAXIMUM_PAIRS :], pair))

    def password_succeeded(self, username: str, address: str) -> None:
        """Remember that the account signs in from *address*."""
        if not self._is_familiar(username, address, _FAMILIAR_AGAIN_SECONDS):
            key = _familiar_key(username, address)
            self._tell({"familiar": key})
            self._familiar.put(self._stored(key), self._clock.seconds())

    def _is_familiar(self, username: str, address: str, seconds: float = FAMILIAR_SECONDS) -> bool:
        since = self._familiar.get(self._stored(_familiar_key(username, address)))
        return since is not None and 0 <= self._clock.seconds() - since < seconds

    def _failed(self, keys: Mapping[str, str]) -> int:
        """Count a failure of the key of each limiter, on all nodes; return the seconds of the longest lock, or 0."""
        self._tell(keys)
        return self._count({name: self._stored(key) for name, key in keys.items()})

    def _count(self, stored: Mapping[str, str]) -> int:
        if _OF_ACCOUNT in stored and "pair" in stored:
            self._remember_pair(stored[_OF_ACCOUNT], stored["pair"])
        counted = (self._limiters[name].failed(key) for name, key in stored.items() if name in self._limiters)
        return max(counted, default=0)

    def _stored(self, key: str) -> str:
        return key if self._digest is None else self._digest(key)

    def _tell(self, keys: Mapping[str, str]) -> None:
        if self._share is not None:
            self._share(" ".join(f"{name}={self._stored(key)}" for name, key in keys.items()))

    def count_shared(self, text: str) -> None:
        """Count what another node has counted; an unknown limiter of a newer version is ignored."""
        stored = {name: key for name, _, key in (part.partition("=") for part in text.split())}
        if "familiar" in stored:
            self._familiar.put(stored["familiar"], self._clock.seconds())
        if _UNLOCK in stored:
            self._unlock(stored[_UNLOCK])
        self._count(stored)

    def check_confirmation(self, account_id: int) -> None:
        """Require that a signed-in person may confirm the password; nobody without a session can lock this.

        :raises RateLimited: with the seconds until it may be.
        """
        self._pair.check(self._stored(_confirmation_key(account_id)))

    def confirmation_failed(self, account_id: int) -> int:
        """Count a wrong password of a signed-in person; return the seconds of the lock that this started, or 0."""
        return self._failed({"pair": _confirmation_key(account_id)})

    def check_secret(self, address: str, known: str | None) -> None:
        """Require that an invalid token, challenge password or certificate from *address* may be examined further.

        :param known: the key of a secret that exists but is no longer valid; ``None`` for one that does not exist.
        :raises RateLimited: with the seconds until it may be.
        """
        if known is None:
            self._address.check(self._stored(address_key(address)), self._stored(_secret_key(address)))
        else:
            self._pair.check(self._stored(known))

    def secret_failed(self, address: str, known: str | None) -> int:
        """Count an invalid token, challenge password or certificate; return the seconds of the lock, or 0.

        One that was valid once is no guess, so it does not lock its address; and none locks it for passwords.
        """
        return self._failed({"address": _secret_key(address)} if known is None else {"pair": known})


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


def _account_key(username: str) -> str:
    """Return one key for all spellings that the store or a directory may take for the same name.

    Directories compare compatible characters as equal (RFC 4518 section 2.3), some also those with and without
    accents; otherwise each spelling would be a new set of guesses.  Names that only look alike share a count, too.
    """
    if username.isascii():
        return username[:65].lower()
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", username[:65]).casefold())
    return "".join(one for one in folded if unicodedata.category(one) not in _IGNORED_CATEGORIES)


def _pair_key(username: str, address: str) -> str:
    return f"password {_account_key(username)}\n{address_key(address)}"


def _familiar_key(username: str, address: str) -> str:
    # Exactly the name: whoever has signed in with a similar one is still a stranger.
    return f"familiar {unicodedata.normalize('NFC', username[:65]).casefold()}\n{address_key(address)}"


def _secret_key(address: str) -> str:
    return f"secret {address_key(address)}"


def _confirmation_key(account_id: int) -> str:
    return f"confirmation {account_id}"
