"""Assigns certificates of earlier versions to their devices in the background (see docs/adr/0037)."""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

from pikachu.core.backfill_interfaces import IBackfillStore
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import PikachuError
from pikachu.core.interfaces import IClock
from pikachu.core.model.times import utc
from pikachu.operations.search_indexing import done_percent

log = Logger()

#: Certificates per transaction, so that issuance waits for one no longer than for a signature.
BATCH: Final = 100
# Progress is logged after each such part of all certificates.
_LOGGED_PERCENT: Final = 10


class DeviceAssignment:
    """The backfill of devices.  It continues where an earlier process, or another one, has stopped.

    :param batch: certificates per transaction.
    """

    def __init__(self, store: IBackfillStore, clock: IClock, *, batch: int = BATCH) -> None:
        self._store = store
        self._clock = clock
        self._batch = batch
        self._logged: int | None = None
        self._is_waiting = False
        #: Whether all certificates are assigned.
        self.is_complete = False

    @uncancelled
    async def step(self) -> None:
        """Assign the next certificates; logs failures, and leaves them to the next step."""
        try:
            backlog = await self._store.assign_devices(self._batch, utc(self._clock.seconds()))
        except PikachuError as error:
            if not self._is_waiting:
                log.warn("Devices wait for the database: {error}", error=error.public)
            self._is_waiting = True
            return
        self._is_waiting = False
        if backlog is None:
            self.is_complete = True
            if self._logged is not None:
                log.info("All certificates are assigned to devices.")
            return
        percent = done_percent(backlog)
        if self._logged is None or percent >= self._logged + _LOGGED_PERCENT:
            self._logged = percent
            log.info(
                "Assigning {total} certificates of an earlier version to devices: {percent} % done.",
                total=backlog.total,
                percent=percent,
            )
