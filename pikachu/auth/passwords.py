"""Passwords: Argon2id (RFC 9106) in a worker pool, and a cache of recent successful verifications.

A device that enrolls with HTTP Basic sends its password with each request, and each verification costs tens of
milliseconds of a core.  A successful verification is therefore cached for five minutes.  That is safe because

* only successes are cached, so a guess always costs a whole verification, and a fast answer reveals no more than the
  answer itself;
* a cache key is a BLAKE2 digest, keyed with a random key of this process, of the stored hash and the password: no
  password is stored, and a memory dump without that key does not help to guess one;
* the stored hash is part of the cache key: after a password change, the entries of the old password never match;
* whether the account is active is decided by the caller at each request, not here.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from pikachu.core.cache import BoundedCache
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

    :param pool: a pool for hashing only, so that many sign-ins delay only each other.
    """

    def __init__(self, pool: IWorkerPool, clock: IClock, parameters: Argon2Parameters | None = None) -> None:
        cost = parameters or Argon2Parameters()
        self._pool = pool
        self._clock = clock
        self._argon2 = argon2.PasswordHasher(cost.time_cost, cost.memory_cost, cost.parallelism)
        self._dummy_hash = _unmatchable(cost)
        self._key = secrets.token_bytes(32)
        # Times until which a verified password needs no new verification, by keyed digest.
        self._verified: BoundedCache[bytes, float] = BoundedCache(REMEMBERED_ENTRIES)

    def hash(self, password: str) -> Deferred[str]:
        """Return the encoded Argon2id hash.

        Fails with PolicyViolation when *password* has more than 1024 bytes, and with Overloaded.
        """
        data = encode_password(password)
        if data is None:
            return fail(PolicyViolation(f"a password may have at most {MAXIMUM_BYTES} bytes; choose a shorter one"))
        return self._pool.run(self._argon2.hash, data)

    def verify(self, password_hash: str | None, password: str) -> Deferred[None]:
        """Verify *password* against its hash.

        :param password_hash: ``None`` when the account does not exist or has no password: verification then takes as
            long as for a wrong password.

        Fails with AuthenticationFailed, and with Overloaded.
        """
        data = encode_password(password)
        if data is None:
            return fail(AuthenticationFailed("wrong username or password", reason="password too long"))
        stored = self._dummy_hash if password_hash is None else password_hash
        entry = self._entry(stored, data)
        if self._is_verified(entry):
            return succeed(None)
        return self._pool.run(self._verify, stored, data).addCallback(self._cache, entry)

    def was_verified(self, password_hash: str, password: str) -> bool:
        """Return whether *password* was verified against its hash a moment ago."""
        data = encode_password(password)
        return data is not None and self._is_verified(self._entry(password_hash, data))

    def _entry(self, password_hash: str, password: bytes) -> bytes:
        return hashlib.blake2b(password_hash.encode() + b"\0" + password, key=self._key, digest_size=32).digest()

    def _is_verified(self, entry: bytes) -> bool:
        until = self._verified.get(entry)
        return until is not None and 0 < until - self._clock.seconds() <= REMEMBERED_SECONDS

    def _verify(self, stored: str, password: bytes) -> None:
        try:
            self._argon2.verify(stored, password)
        except (VerificationError, InvalidHashError) as error:
            raise AuthenticationFailed("wrong username or password") from error

    def _cache(self, result: None, entry: bytes) -> None:
        self._verified.put(entry, self._clock.seconds() + REMEMBERED_SECONDS)


def encode_password(password: str) -> bytes | None:
    """Return the UTF-8 bytes in NFC (RFC 8265 section 4.2.2), or None when the password is too long."""
    if len(password) > MAXIMUM_BYTES:
        return None
    data = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return data if len(data) <= MAXIMUM_BYTES else None


def _unmatchable(cost: Argon2Parameters) -> str:
    """Return an encoded hash of the same cost that no known password matches: its digest is random."""
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={cost.memory_cost},t={cost.time_cost},p={cost.parallelism}${salt}${digest}"
