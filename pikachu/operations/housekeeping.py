"""Housekeeping (OPS-6): removes what is over, and leaves the audit log verifiable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from twisted.logger import Logger

from pikachu.auth.permissions import require_scope
from pikachu.ca.leadership import IsLeader
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import PikachuError
from pikachu.core.housekeeping_interfaces import NOTHING_OLD, OldObjects
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.log_interfaces import OldEvents
from pikachu.core.model.people import SYSTEM, Principal, Scope
from pikachu.core.model.times import utc
from pikachu.operations.temporary_files import IOldFiles, remove_old
from pikachu.operations.transparency import TransparencyLog

log = Logger()

# Rows per transaction, so that issuance waits for one no longer than for a signature.
_BATCH: Final = 500
# How often the leading node removes old events: it verifies the whole audit log first.
_EVENTS_SECONDS: Final = 86400


@dataclass(frozen=True, slots=True)
class HousekeepingSettings:
    """How long objects are kept after their end; ``None`` for ever.

    :param files: the kinds of files with how long they are kept.
    """

    challenge_passwords: timedelta | None
    jobs: timedelta
    events: timedelta | None
    files: dict[str, tuple[IOldFiles, timedelta]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HousekeepingItem:
    """Old objects of one kind, or those that were removed."""

    name: str
    old: OldObjects
    kept: timedelta | None


Progress: TypeAlias = Callable[[HousekeepingItem], None]


def _ignore(_: HousekeepingItem) -> None:
    """Report no progress."""


class Housekeeping:
    """Removes what is older than the settings say, and old events for administrators."""

    def __init__(
        self,
        *,
        store: IStore,
        transparency: TransparencyLog,
        clock: IClock,
        files: IWorkerPool,
        is_leader: IsLeader,
        settings: HousekeepingSettings,
    ) -> None:
        self._store = store
        self._transparency = transparency
        self._clock = clock
        self._files = files
        self._is_leader = is_leader
        self._settings = settings
        self._events_due = float("-inf")
        #: What was removed since this server started, by kind.
        self.removed = dict.fromkeys(("challenge passwords", "jobs", *settings.files, "events"), 0)

    # --- all of it --------------------------------------------------------------------------

    @uncancelled
    async def plan(self, actor: Principal, progress: Progress = _ignore) -> Sequence[HousekeepingItem]:
        """Return what :meth:`clean` would remove.

        :param progress: called with each kind when it is done.

        Fails with NotAuthorized.
        """
        require_scope(actor, Scope.ADMIN)
        events = NOTHING_OLD
        if self._settings.events is not None:
            old = await self._store.old_events(self._now() - self._settings.events)
            events = OldObjects(old.count, old.oldest)
        found = await self._others(progress, remove=False)
        progress(last := HousekeepingItem("events", events, self._settings.events))
        return [*found, last]

    @uncancelled
    async def clean(self, actor: Principal, progress: Progress = _ignore) -> Sequence[HousekeepingItem]:
        """Remove what is old in short transactions, and return it; an event records it.

        :param progress: as in :meth:`plan`.

        Fails with NotAuthorized, and with Conflict for an audit log that does not verify, after the rest was removed.
        """
        require_scope(actor, Scope.ADMIN)
        done = await self._others(progress, remove=True)
        await self._record(actor, done)
        events = NOTHING_OLD
        if self._settings.events is not None:
            old = await self.prune_events(actor, self._settings.events)
            events = OldObjects(old.count, old.oldest)
        progress(last := HousekeepingItem("events", events, self._settings.events))
        return [*done, last]

    @uncancelled
    async def step(self) -> None:
        """Remove what is old on the leading node.  Logs failures, and leaves them to the next step."""
        if not self._is_leader():
            return
        try:
            await self._record(SYSTEM, await self._others(_ignore, remove=True))
            kept, now = self._settings.events, self._clock.seconds()
            if kept is not None and now >= self._events_due:
                if (await self._store.old_events(self._now() - kept)).count:
                    await self.prune_events(SYSTEM, kept)
                self._events_due = now + _EVENTS_SECONDS
        except PikachuError as error:
            log.error("Housekeeping waits: {error}", error=error.public)

    async def _others(self, progress: Progress, *, remove: bool) -> list[HousekeepingItem]:
        """Find, or remove, all but events."""
        settings, now = self._settings, self._now()
        found = NOTHING_OLD
        after: int | None = None if settings.challenge_passwords is None else 0
        while after is not None and settings.challenge_passwords is not None:
            before = now - settings.challenge_passwords
            part = await self._store.old_challenge_passwords(before, after, _BATCH, remove=remove)
            found, after = found + part.old, part.next
        items: list[HousekeepingItem] = []

        def add(item: HousekeepingItem) -> None:
            items.append(item)
            progress(item)

        add(HousekeepingItem("challenge passwords", found, settings.challenge_passwords))
        before = now - settings.jobs
        old_jobs = await self._store.old_jobs(before)
        while remove and await self._store.forget_jobs(before, _BATCH):
            pass
        add(HousekeepingItem("jobs", old_jobs, settings.jobs))
        for name, (files, kept) in settings.files.items():
            old = await self._files.run(remove_old, files, (now - kept).timestamp(), remove=remove)
            add(HousekeepingItem(name, old, kept))
        return items

    async def _record(self, actor: Principal, items: Sequence[HousekeepingItem]) -> None:
        counts = {item.name: item.old.count for item in items if item.old.count}
        if not counts:
            return
        for name, count in counts.items():
            self.removed[name] += count
        await self._store.add_event(
            event_by(actor, "delete", "housekeeping", "old objects", None, **counts), self._now()
        )
        log.info("Housekeeping has removed {what}", what=", ".join(f"{count} {name}" for name, count in counts.items()))

    # --- events -----------------------------------------------------------------------------

    @uncancelled
    async def old_events(self, actor: Principal, age: timedelta) -> OldEvents:
        """Return the events that :meth:`prune_events` would remove.  Fails with NotAuthorized."""
        require_scope(actor, Scope.ADMIN)
        return await self._store.old_events(self._now() - age)

    @uncancelled
    async def prune_events(self, actor: Principal, age: timedelta) -> OldEvents:
        """Remove the events older than *age* in short transactions, and return them.

        Their leaves stay in the transparency log, and a signed checkpoint of it is recorded.  Nothing is removed from
        an audit log that does not verify: that would remove the evidence.  Fails with NotAuthorized and Conflict.
        """
        require_scope(actor, Scope.ADMIN)
        await self._store.verify_events()
        await self._transparency.verify(actor)
        checkpoint = await self._transparency.checkpoint(actor)
        old = await self._store.old_events(self._now() - age)
        if not old.count:
            return old
        details = {"events": f"{old.first}-{old.last}", "checkpoint": checkpoint.note}
        now = self._now()
        await self._store.add_event(event_by(actor, "delete", "housekeeping", "audit log", None, **details), now)
        done = old.first - 1
        while done < old.last:
            done = await self._store.prune_events(old.last, _BATCH, checkpoint.note, now)
        self.removed["events"] += old.count
        return old

    def _now(self) -> datetime:
        return utc(self._clock.seconds())
