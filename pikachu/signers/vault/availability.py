"""The judgment whether Vault is reachable, with hysteresis: single failures and single successes change nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pikachu.core.concurrency import new_lock

# Failures in a row, and seconds since the first of them, after which Vault counts as unreachable: a connection that
# breaks fails many concurrent calls in the same moment, and calls that time out are few.
LIMITS_TO_LEAVE: Final = ((3, 1.0), (2, 5.0))
SUCCESSES_TO_RETURN: Final = 3


class Availability:
    """Counts the outcomes of calls, in any thread.

    :param monotonic: a clock that is never set, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = new_lock()
        self._reachable = True
        self._failures = 0
        self._failing_since = 0.0
        self._successes = 0
        self._reason = ""

    @property
    def is_reachable(self) -> bool:
        """Whether calls are made; otherwise only probes are."""
        return self._reachable

    @property
    def reason(self) -> str:
        """The reason of the last failure; empty when the last call succeeded."""
        return self._reason

    def failed(self, reason: str) -> None:
        """Record a call that did not reach Vault."""
        with self._lock:
            now = self._monotonic()
            if self._failures == 0:
                self._failing_since = now
            self._failures += 1
            self._successes = 0
            self._reason = reason
            lasting = any(
                self._failures >= failures and now - self._failing_since >= seconds
                for failures, seconds in LIMITS_TO_LEAVE
            )
            if lasting:
                self._reachable = False

    def succeeded(self) -> None:
        """Record a call that Vault answered, with a refusal too."""
        with self._lock:
            self._successes += 1
            self._failures = 0
            if self._successes >= SUCCESSES_TO_RETURN:
                self._reachable = True
            if self._reachable:
                self._reason = ""
