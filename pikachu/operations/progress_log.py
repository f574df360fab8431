"""The log lines of a backfill: how far it has come, and that it waits for the database."""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

from pikachu.core.errors import PikachuError

# Progress is logged after each such part of the whole.
_LOGGED_PERCENT: Final = 10


class ProgressLog:
    """Logs the progress of one backfill, each failure once.

    :param what: what it does, such as ``Assigning certificates of an earlier version to devices``.
    :param log: of the module whose backfill it is.
    """

    def __init__(self, what: str, log: Logger) -> None:
        self._what = what
        self._log = log
        self._logged: int | None = None
        self._is_waiting = False

    def failed(self, error: PikachuError) -> None:
        """Log that a step is tried again later."""
        if not self._is_waiting:
            self._log.warn("{what} waits: {error}", what=self._what, error=error.public)
        self._is_waiting = True

    def went_on(self) -> None:
        """Take note that a step was done."""
        self._is_waiting = False

    def advanced(self, percent: int, total: int) -> None:
        """Log the progress, unless it is not much more than what was logged."""
        if self._logged is None or percent >= self._logged + _LOGGED_PERCENT:
            self._logged = percent
            self._log.info("{what}: {percent} % of {total} done.", what=self._what, total=total, percent=percent)
