"""A cache of complete HTTP responses by request bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from pikachu.va.ocsp import OCSPAnswer

# Bytes of an entry besides its key and response.
_OVERHEAD: Final = 400


class ResponseCache:
    """A bounded cache of responses; the oldest entry is evicted first.

    A response is returned only while its OCSP response is fresh, so a revocation invalidates it immediately.

    :param limit: maximum size in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._answers: OrderedDict[bytes, tuple[OCSPAnswer, bytes, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def size(self) -> int:
        """The size of the cached responses in bytes."""
        return self._size

    def get(self, key: bytes, now: float) -> bytes | None:
        """Return the cached response to *key*, or None.

        :param now: seconds since 1970.
        """
        entry = self._answers.get(key)
        if entry is None:
            return None
        answer, response, until = entry
        if answer.is_fresh(now) and now < until:
            return response
        self._remove(key)
        return None

    def put(self, key: bytes, answer: OCSPAnswer, response: bytes, until: float) -> None:
        """Cache *response* until that time, in seconds since 1970."""
        self._remove(key)
        self._answers[key] = (answer, response, until)
        self._size += len(key) + len(response) + _OVERHEAD
        while self._size > self._limit:
            self._remove(next(iter(self._answers)))

    def _remove(self, key: bytes) -> None:
        entry = self._answers.pop(key, None)
        if entry is not None:
            self._size -= len(key) + len(entry[1]) + _OVERHEAD
