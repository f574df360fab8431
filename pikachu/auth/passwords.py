"""Passwords: Argon2id (RFC 9106) in a worker pool, and a short memory of what has just been verified.

The memory: a device that enrolls by HTTP Basic sends its password with each request, and each verification
costs tens of milliseconds of a core.  A successful verification is therefore remembered for five minutes.
That is safe because

* only successes are remembered, so a guess always costs a whole verification, and a fast answer tells
  nothing that the answer itself does not;
* the key of an entry is a BLAKE2 digest, under a random key of this process, of the stored hash and the
  password: no password is kept, and a memory dump without that key does not help to guess one;
* the stored hash is part of the key: when the password changes, the entries of the former are never met again;
* whether the account is active is decided by the caller at each request, not here.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import unicodedata
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from pikachu.core.errors import AuthenticationFailed, PolicyViolation
from pikachu.core.interfaces import IClock, IWorkerPool

MAXIMUM_BYTES: Final = 1024
REMEMBERED_SECONDS: Final = 300
REMEMBERED_ENTRIES: Final = 4096


@dataclass(frozen=True, slots=True)
class Argon2Parameters:
    """The cost of one hash.

    :param time_cost: passes.
    :param memory_cost: KiB.
    :param parallelism: lanes.
    """

    time_cost: int = 2
    memory_cost: int = 19 * 1024
    parallelism: int = 1


class PasswordHasher:
    """Hashes and verifies passwords.

    :param pool: of its own, so that many logins delay nothing but each other.
    """

    def __init__(self, pool: IWorkerPool, clock: IClock, parameters: Argon2Parameters | None = None) -> None:
        cost = parameters or Argon2Parameters()
        self._pool = pool
        self._clock = clock
        self._argon2 = argon2.PasswordHasher(cost.time_cost, cost.memory_cost, cost.parallelism)
        self._nobody = _unmatchable(cost)
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, float] = OrderedDict()

    def hash(self, password: str) -> Deferred[str]:
        """The encoded Argon2id hash.

        Fails with PolicyViolation when *password* has more than 1024 bytes, and with Overloaded.
        """
        octets = _octets(password)
        if octets is None:
            return fail(PolicyViolation(f"a password may have at most {MAXIMUM_BYTES} bytes; choose a shorter one"))
        return self._pool.run(self._argon2.hash, octets)

    def verify(self, password_hash: str | None, password: str) -> Deferred[None]:
        """Succeeds when *password* is the one that was hashed.

        :param password_hash: ``None`` where there is no such account or it has no password: the answer takes
            as long as for a wrong password.

        Fails with AuthenticationFailed, and with Overloaded.
        """
        octets = _octets(password)
        if octets is None:
            return fail(AuthenticationFailed("wrong username or password", reason="password too long"))
        stored = self._nobody if password_hash is None else password_hash
        entry = hashlib.blake2b(stored.encode() + b"\0" + octets, key=self._key, digest_size=32).digest()
        now = self._clock.seconds()
        until = self._verified.get(entry)
        if until is not None and 0 < until - now <= REMEMBERED_SECONDS:
            return succeed(None)
        return self._pool.run(self._verify, stored, octets).addCallback(self._remember, entry)

    def _verify(self, stored: str, password: bytes) -> None:
        try:
            self._argon2.verify(stored, password)
        except (VerificationError, InvalidHashError) as error:
            raise AuthenticationFailed("wrong username or password") from error

    def _remember(self, result: None, entry: bytes) -> None:
        now = self._clock.seconds()
        self._verified[entry] = now + REMEMBERED_SECONDS
        self._verified.move_to_end(entry)
        # Entries stand in the order of their ends.
        while self._verified:
            oldest, until = next(iter(self._verified.items()))
            if until > now and len(self._verified) <= REMEMBERED_ENTRIES:
                break
            del self._verified[oldest]


def _octets(password: str) -> bytes | None:
    """The UTF-8 bytes, in NFC (RFC 8265 section 4.2.2); ``None`` when they are too many."""
    if len(password) > MAXIMUM_BYTES:
        return None
    octets = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return octets if len(octets) <= MAXIMUM_BYTES else None


def _unmatchable(cost: Argon2Parameters) -> str:
    """An encoded hash that costs what the others cost, and that no known password has: its digest is random."""
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={cost.memory_cost},t={cost.time_cost},p={cost.parallelism}${salt}${digest}"
