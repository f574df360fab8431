"""Whole HTTP answers, kept by the bytes that ask for them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from pikachu.va.ocsp import OCSPAnswer

# What an entry takes besides its key and its answer.
_OVERHEAD: Final = 400


class ResponseCache:
    """A bounded memory of answers; the one kept first goes first.

    An answer is given out only while the OCSP answer in it is fresh, so a revocation ends it at once.

    :param limit: octets.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._octets = 0
        self._answers: OrderedDict[bytes, tuple[OCSPAnswer, bytes, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def octets(self) -> int:
        """How much memory they take."""
        return self._octets

    def get(self, key: bytes, now: float) -> bytes | None:
        """The answer to *key*.

        :param now: seconds since 1970.
        """
        found = self._answers.get(key)
        if found is None:
            return None
        answer, whole, until = found
        if answer.is_fresh(now) and now < until:
            return whole
        self._remove(key)
        return None

    def put(self, key: bytes, answer: OCSPAnswer, whole: bytes, until: float) -> None:
        """Keep *whole* until that time, in seconds since 1970."""
        self._remove(key)
        self._answers[key] = (answer, whole, until)
        self._octets += len(key) + len(whole) + _OVERHEAD
        while self._octets > self._limit:
            self._remove(next(iter(self._answers)))

    def _remove(self, key: bytes) -> None:
        found = self._answers.pop(key, None)
        if found is not None:
            self._octets -= len(key) + len(found[1]) + _OVERHEAD
