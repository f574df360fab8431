"""Clocks that tests set."""

from __future__ import annotations

import time

from twisted.internet.task import Clock


class SteppedClock(Clock):
    """A clock that can be set while its timers go on, as a machine's clock is."""

    def __init__(self) -> None:
        super().__init__()
        self.advance(int(time.time()))

    def step(self, seconds: float) -> None:
        """Set the clock forward, or back."""
        self.rightNow += seconds
        for call in self.calls:
            call.time += seconds
