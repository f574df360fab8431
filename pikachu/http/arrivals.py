"""Connections that are yet to have their first request answered, and when a listener accepts no more for a moment.

When thousands of devices connect at once, those that are accepted wait for their handshakes and their turns, and the
cap on connections would close the oldest to make room for new ones.  A listener that accepts no faster than it serves
leaves the others in the system's queues, where none is lost.  Clients that connect and stay silent, or leave unserved,
must not hold up others that way: after a pause in which too few were served, the cap alone decides for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pikachu.core.interfaces import IClock, IDelayedCall

#: Seconds after which a pause ends, unless the server was busy and has served some.
MAX_PAUSE_SECONDS: Final = 3.0
#: Seconds for which there is no pause after one that was long while the server waited for its clients, or in which too
#: few were served.
SUSPENSION_SECONDS: Final = 60.0
# Seconds in which a pause of a burst that is served is over.
_LONG_PAUSE_SECONDS: Final = 1.0
# The part of the limit that one address counts for at most, so that a few addresses alone cause no pause.
_SHARE: Final = 8
# The part of a pause's time that a busy server works; others may use the processors, too.
_BUSY_SHARE: Final = 0.05
# With a smaller limit, they would.
_MIN_LIMIT: Final = 2 * _SHARE


class Arrivals:
    """The connections of one listener whose first request is neither authenticated nor answered.

    :param limit: their number from which the listener pauses, until half of it is left; below 16: never.
    :param worked: returns the seconds of processor time that the server has used.
    :ivar waiting: how many there are, with no more of each address than an eighth of the limit.
    """

    def __init__(self, clock: IClock, limit: int = 0, worked: Callable[[], float] = time.thread_time) -> None:
        self.waiting = 0
        self.is_paused = False
        self._clock = clock
        self._worked = worked
        self._limit = limit if limit >= _MIN_LIMIT else 0
        self._of_each = max(1, limit // _SHARE)
        self._counts: dict[str, int] = {}
        self._listeners: list[Callable[[bool], object]] = []
        # The end of a pause, or of its suspension.
        self._timer: IDelayedCall | None = None
        # When the pause began, or was prolonged, what the server had worked until then, and how many connections have
        # left since without and with an answer.
        self._paused_at = self._worked_before = 0.0
        self._unserved = self._served = 0

    def subscribe(self, accept: Callable[[bool], object]) -> None:
        """Call *accept* with whether the listener accepts connections, when that changes."""
        self._listeners.append(accept)

    def enter(self, address: str) -> None:
        """Count a new connection."""
        count = self._counts[address] = self._counts.get(address, 0) + 1
        if count > self._of_each:
            return
        self.waiting += 1
        if self._limit and self.waiting >= self._limit and self._timer is None:
            self._watch()
            self._pause(True)

    def leave(self, address: str, *, served: bool) -> None:
        """Forget a connection that has its answer (*served*), or was closed without one."""
        count = self._counts.pop(address) - 1
        if count:
            self._counts[address] = count
        if count >= self._of_each:
            return
        self.waiting -= 1
        if not self.is_paused:
            return
        if served:
            self._served += 1
        else:
            self._unserved += 1
        if self.waiting <= self._limit // 2:
            self._end_pause()

    def _watch(self) -> None:
        """See in a while what has become of a pause."""
        self._timer = self._clock.callLater(MAX_PAUSE_SECONDS, self._look)
        self._paused_at, self._worked_before = self._clock.seconds(), self._worked()
        self._unserved = self._served = 0

    @property
    def _is_busy(self) -> bool:
        """Whether the server works on what waits, rather than wait for its clients itself."""
        elapsed = self._clock.seconds() - self._paused_at
        worked = self._worked() - self._worked_before
        return self._served >= self._unserved and worked > _BUSY_SHARE * elapsed

    def _look(self) -> None:
        """End a pause that has taken long, unless a busy server has served at least as many as one address may have."""
        if self._is_busy and self._served >= self._of_each:
            self._watch()
        else:
            self._give_up()

    def _end_pause(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        is_long = self._clock.seconds() - self._paused_at > _LONG_PAUSE_SECONDS
        if self._unserved > self._served or (is_long and not self._is_busy):
            self._give_up()
        else:
            self._pause(False)

    def _pause(self, paused: bool) -> None:
        self.is_paused = paused
        for accept in self._listeners:
            accept(not paused)

    def _give_up(self) -> None:
        self._timer = self._clock.callLater(SUSPENSION_SECONDS, self._end_suspension)
        self._pause(False)

    def _end_suspension(self) -> None:
        self._timer = None
