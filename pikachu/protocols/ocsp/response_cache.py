"""A cache of complete HTTP responses by request bytes."""

from __future__ import annotations

from typing import Final

from pikachu.core.cache import BoundedCache
from pikachu.va.ocsp import RESULTS, OCSPAnswer

# Bytes of an entry besides its key and response.
_OVERHEAD: Final = 400


class ResponseCache:
    """A bounded cache of responses.

    A response is returned only while its OCSP response is fresh, so a revocation invalidates it immediately.

    :param limit: maximum size in bytes.
    :ivar hits: numbers of responses that were returned, by their result.
    """

    def __init__(self, limit: int) -> None:
        self.hits = dict.fromkeys(RESULTS, 0)
        self._responses: BoundedCache[bytes, tuple[OCSPAnswer, bytes, float]] = BoundedCache(
            size=limit, measure=lambda key, entry: len(key) + len(entry[1]) + _OVERHEAD
        )

    def __len__(self) -> int:
        return len(self._responses)

    @property
    def size(self) -> int:
        """The size of the cached responses in bytes."""
        return self._responses.size

    def get(self, key: bytes, now: float) -> bytes | None:
        """Return the cached response to *key*, or None.

        :param now: seconds since 1970.
        """
        entry = self._responses.get(key)
        if entry is None:
            return None
        answer, response, until = entry
        if answer.is_fresh(now) and now < until:
            self.hits[answer.result] += 1
            return response
        self._responses.pop(key)
        return None

    def put(self, key: bytes, answer: OCSPAnswer, response: bytes, until: float) -> None:
        """Cache *response* until that time, in seconds since 1970."""
        self._responses.put(key, (answer, response, until))
