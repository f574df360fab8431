"""Limits of guessing: which failures lock what, and what such a lock never refuses (USR-3).

Many people share an address, and anybody may type anybody's name.  A lock therefore begins with one account at one
address.  The account as a whole is locked only for addresses that it has not signed in from, and an address only for
accounts that have not signed in from it.  Tokens and challenge passwords are too long to be guessed: a valid one is
never refused, an invalid one only costs less while its address is locked.
"""

from __future__ import annotations

from typing import Final

from pikachu.auth.rate_limit import MAXIMUM_KEYS, FailureLimiter, address_key
from pikachu.core.cache import BoundedCache
from pikachu.core.interfaces import IClock

# Defaults of GuessLimits.
PAIR_LIMIT: Final = 10
ACCOUNT_LIMIT: Final = 30
ADDRESS_LIMIT: Final = 30
# Seconds for which an address from which an account has signed in is no stranger's.
FAMILIAR_SECONDS: Final = 30 * 86400.0


class GuessLimits:
    """Locks against guessing passwords, tokens and challenge passwords.

    Successes never clear a count: otherwise a device that signs in all the time would give whoever guesses beside it
    a new count each time.

    :param pair: number of failures within a minute that locks an account at one address.
    :param account: number of failures from strangers' addresses that locks an account for these.
    :param address: number of failures that locks an address.
    """

    def __init__(
        self, clock: IClock, *, pair: int = PAIR_LIMIT, account: int = ACCOUNT_LIMIT, address: int = ADDRESS_LIMIT
    ) -> None:
        self._clock = clock
        self._pair = FailureLimiter(clock, pair)
        self._account = FailureLimiter(clock, account)
        self._address = FailureLimiter(clock, address)
        # Pairs of account and address, with the time of the last success.
        self._familiar: BoundedCache[str, float] = BoundedCache(MAXIMUM_KEYS)

    def check_password(self, username: str, address: str) -> None:
        """Require that a password for *username* may be tried from *address*.

        :raises RateLimited: with the seconds until it may be.
        """
        pair = _pair_key(username, address)
        self._pair.check(pair)
        if not self._is_familiar(pair):
            self._account.check(_account_key(username))
            self._address.check(address_key(address))

    def password_failed(self, username: str, address: str) -> int:
        """Count a wrong password; return the seconds of the longest lock that this started, or 0."""
        pair = _pair_key(username, address)
        locked = [self._pair.failed(pair), self._address.failed(address_key(address))]
        if not self._is_familiar(pair):
            locked.append(self._account.failed(_account_key(username)))
        return max(locked)

    def password_succeeded(self, username: str, address: str) -> None:
        """Remember that the account signs in from *address*."""
        pair = _pair_key(username, address)
        self._familiar.put(pair, self._clock.seconds())

    def _is_familiar(self, pair: str) -> bool:
        since = self._familiar.get(pair)
        return since is not None and 0 <= self._clock.seconds() - since < FAMILIAR_SECONDS

    def check_confirmation(self, account_id: int) -> None:
        """Require that a signed-in person may confirm the password; nobody without a session can lock this.

        :raises RateLimited: with the seconds until it may be.
        """
        self._pair.check(_confirmation_key(account_id))

    def confirmation_failed(self, account_id: int) -> int:
        """Count a wrong password of a signed-in person; return the seconds of the lock that this started, or 0."""
        return self._pair.failed(_confirmation_key(account_id))

    def check_secret(self, address: str, known: str | None) -> None:
        """Require that an invalid token, challenge password or certificate from *address* may be examined further.

        :param known: the key of a secret that exists but is no longer valid; ``None`` for one that does not exist.
        :raises RateLimited: with the seconds until it may be.
        """
        if known is None:
            self._address.check(address_key(address), _secret_key(address))
        else:
            self._pair.check(known)

    def secret_failed(self, address: str, known: str | None) -> int:
        """Count an invalid token, challenge password or certificate; return the seconds of the lock, or 0.

        One that was valid once is no guess, so it does not lock its address; and none locks it for passwords.
        """
        return self._address.failed(_secret_key(address)) if known is None else self._pair.failed(known)


def _account_key(username: str) -> str:
    # User names are case-insensitive.
    return username[:65].lower()


def _pair_key(username: str, address: str) -> str:
    return f"password {_account_key(username)}\n{address_key(address)}"


def _secret_key(address: str) -> str:
    return f"secret {address_key(address)}"


def _confirmation_key(account_id: int) -> str:
    return f"confirmation {account_id}"
