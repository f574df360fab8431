"""The system clock, and timers that don't depend on it, since it may be set at any time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pikachu.core.interfaces import IDelayedCall


class SystemClock:
    """Wall-clock time for dates, the reactor's timers for delays.

    :param reactor: see :func:`use_monotonic_timers`.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def seconds(self) -> float:
        """Return the seconds since 1970."""
        return time.time()

    def callLater(  # noqa: N802 - as IReactorTime names it
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> IDelayedCall:
        """Call after *delay* seconds, even if the clock is set meanwhile."""
        call: IDelayedCall = self._reactor.callLater(delay, callable, *args, **kwargs)
        return call


def use_monotonic_timers(reactor: Any) -> None:
    """Measure delays with the monotonic clock.

    Twisted uses the wall clock: setting it back by an hour would stop timeouts, scheduled CRLs and polling for other
    processes' revocations for an hour.  Delayed calls keep the time base they were created with, so this does nothing
    once there are any.
    """
    if not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic
