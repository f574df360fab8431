"""The machine's clock, and timers that don't depend on it: it may be set at any time."""

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
        """Call after *delay* seconds, whatever happens to the clock meanwhile."""
        call: IDelayedCall = self._reactor.callLater(delay, callable, *args, **kwargs)
        return call


def use_monotonic_timers(reactor: Any) -> None:
    """Count delays by the monotonic clock.

    Twisted counts them by the wall clock, so that one that is set back by an hour would stop timeouts, CRLs on schedule
    and the search for other processes' revocations for an hour.  A call that waits already keeps its time, so this is
    done before there is any.
    """
    if not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic
