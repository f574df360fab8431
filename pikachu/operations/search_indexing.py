"""Adds the texts and fingerprints of certificates of earlier versions in the background (see docs/adr/0023)."""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

from pikachu.core.backfill_interfaces import Backlog, IBackfillStore
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import PikachuError
from pikachu.core.interfaces import IWorkerPool
from pikachu.storage.backfills import texts_of

log = Logger()

#: Certificates per transaction, so that issuance waits for one no longer than for a signature.
BATCH: Final = 200
# Progress is logged after each such part of all certificates.
_LOGGED_PERCENT: Final = 10


class SearchIndexing:
    """The backfill of the search index.  It continues where an earlier process, or another one, has stopped.

    :param pool: prepares the texts.
    :param batch: certificates per transaction.
    """

    def __init__(self, store: IBackfillStore, pool: IWorkerPool, *, batch: int = BATCH) -> None:
        self._store = store
        self._pool = pool
        self._batch = batch
        self._logged: int | None = None
        self._is_waiting = False
        #: Whether all certificates are in the index.
        self.is_complete = False

    @uncancelled
    async def step(self) -> None:
        """Add the next certificates; logs failures, and leaves them to the next step."""
        try:
            await self._step()
        except PikachuError as error:
            if not self._is_waiting:
                log.warn("The search index waits: {error}", error=error.public)
            self._is_waiting = True
        else:
            self._is_waiting = False

    async def _step(self) -> None:
        backlog = await self._store.search_backlog()
        if backlog is None:
            self.is_complete = await self._store.fingerprint_certificates(self._batch)
            return
        self._log(backlog)
        rows = await self._store.unindexed(backlog.before, self._batch)
        texts = await self._pool.run(texts_of, rows)
        if await self._store.index_certificates(backlog.before, texts) and not rows:
            log.info("The search index is complete.")

    def _log(self, backlog: Backlog) -> None:
        percent = done_percent(backlog)
        if self._logged is None or percent >= self._logged + _LOGGED_PERCENT:
            self._logged = percent
            log.info(
                "Adding {total} certificates of an earlier version to the search index: {percent} % done.",
                total=backlog.total,
                percent=percent,
            )


def done_percent(backlog: Backlog) -> int:
    """Return the progress of a backfill in percent, rounded down; below 100, since it has not ended."""
    left = min(backlog.before - 1, backlog.total)
    return min(99, 100 * (backlog.total - left) // max(1, backlog.total))
