"""The store's interface for idempotency keys that the nodes of one database share (HA-1; see docs/adr/0002)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from twisted.internet.defer import Deferred

#: How long a key is known, in seconds.
LIFETIME: Final = 86400
#: The number of keys that are known; older ones are forgotten.
MAXIMUM_KEYS: Final = 10_000


@dataclass(frozen=True, slots=True)
class KeyUse:
    """The first request with a key.

    :param fingerprint: a keyed digest of that request.
    :param is_done: whether it has succeeded; otherwise a live node is at work on it.
    :param answer: what it answered; ``None`` for what must not be repeated.
    """

    fingerprint: bytes
    is_done: bool
    answer: bytes | None


class IIdempotencyStore(Protocol):
    """Idempotency keys by their digests, for 24 hours.  All methods fail with StoreUnavailable."""

    def claim_idempotency_key(
        self, digest: bytes, fingerprint: bytes, process: str, now: datetime
    ) -> Deferred[KeyUse | None]:
        """Claim a key for the first request with it, and return None; or return that of another process.

        A claim of a process that has ended is void, and so is one of the same process.
        """

    def complete_idempotency_key(
        self, digest: bytes, process: str, answer: bytes | None, now: datetime
    ) -> Deferred[None]:
        """Store the answer to the request for which that process has claimed the key."""

    def release_idempotency_key(self, digest: bytes, process: str) -> Deferred[None]:
        """Give up that process's claim of a key whose request has failed."""
