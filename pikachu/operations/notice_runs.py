"""Applies the rules of notices: finds what they are about, once each (OPS-5; docs/adr/0050)."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from twisted.logger import Logger

from pikachu.ca.leadership import IsLeader
from pikachu.core.concurrency import uncancelled
from pikachu.core.interfaces import IClock
from pikachu.core.model.notices import Notable, NoticeKind, NoticeRule
from pikachu.core.model.preferences import BackupState
from pikachu.core.model.times import utc
from pikachu.core.notice_interfaces import IBackupRecords, INoticeStore, Progress, Window
from pikachu.operations.notice_delivery import NoticeDelivery
from pikachu.operations.server_dates import Date, DateKind, ServerDates

log = Logger()

#: How long sent and failed messages are kept.
KEPT: Final = timedelta(days=90)
_FORGOTTEN_PARTS: Final = 20
_FIRST: Final = (0, 0)


def windows(days: tuple[int, ...], now: datetime) -> list[Window]:
    """Return the window of each step of a rule: what is nearer to its end belongs to the next one."""
    bounds = (*days, 0)
    return [
        Window(step, now + timedelta(days=following), now + timedelta(days=step))
        for step, following in itertools.pairwise(bounds)
    ]


class NoticeRuns:
    """Applies the rules and delivers messages, on one node.

    :param interval: seconds between applications of the rules.
    """

    def __init__(
        self,
        *,
        store: INoticeStore,
        backups: IBackupRecords,
        dates: ServerDates,
        delivery: NoticeDelivery,
        clock: IClock,
        is_leader: IsLeader,
        interval: float,
    ) -> None:
        self._store = store
        self._backups = backups
        self._dates = dates
        self._delivery = delivery
        self._clock = clock
        self._is_leader = is_leader
        self._interval = interval
        self._applied_at: float | None = None

    @uncancelled
    async def tend(self) -> None:
        """Apply the rules if it is time, and deliver what is due; does nothing on other nodes than the leader.

        Fails with StoreUnavailable.
        """
        if not self._is_leader():
            return
        now = self._clock.seconds()
        if self._applied_at is None or not 0 <= now - self._applied_at < self._interval:
            self._applied_at = now
            await self.apply()
        await self._delivery.deliver()

    @uncancelled
    async def apply(self) -> int:
        """Record notices of everything that has none yet, and return their number.  Fails with StoreUnavailable.

        After an interruption, the next run goes on with the same messages.
        """
        now = utc(self._clock.seconds())
        count = 0
        for rule in await self._store.active_notice_rules():
            count += await self._apply(rule, now)
        while await self._store.close_notices(now):
            pass
        if count:
            log.info("{count} notices were found", count=count)
        for _ in range(_FORGOTTEN_PARTS):
            if not await self._store.forget_notices(now - KEPT):
                break
        return count

    async def _apply(self, rule: NoticeRule, now: datetime) -> int:
        kind = rule.order.kind
        store = self._store
        if kind is NoticeKind.DEVICES:
            return await _all(lambda after: store.notice_devices(rule, after, now))
        if kind is NoticeKind.BACKUPS:
            return await store.record_notices(rule, _late_backups(rule, await self._backups.backup_state(), now), now)
        if kind in (NoticeKind.AUTHORITY, NoticeKind.CRLS):
            return await store.record_notices(rule, await self._own(rule, now), now)
        count = 0
        part = store.notice_certificates if kind is NoticeKind.CERTIFICATES else store.notice_batches
        for window in windows(rule.order.days, now):
            count += await _all(partial(_part, part, rule, window, now))
        return count

    async def _own(self, rule: NoticeRule, now: datetime) -> list[Notable]:
        """Return what the CA has of its own that a rule is about."""
        dates = await self._dates.dates()
        if rule.order.kind is NoticeKind.CRLS:
            # Both are renewed by the server, in time.
            late = [one for one in dates if one.kind is not DateKind.CERTIFICATE and one.soon]
            return [_notable(one, 0) for one in late]
        found = []
        for one in dates:
            if one.kind is not DateKind.CERTIFICATE:
                continue
            steps = [at.step for at in windows(rule.order.days, now) if one.at <= at.until]
            if steps:
                found.append(_notable(one, min(steps)))
        return found


def _part(
    part: Callable[[NoticeRule, Window, tuple[int, int], datetime], Awaitable[Progress]],
    rule: NoticeRule,
    window: Window,
    now: datetime,
    after: tuple[int, int],
) -> Awaitable[Progress]:
    return part(rule, window, after, now)


def _late_backups(rule: NoticeRule, state: BackupState, now: datetime) -> list[Notable]:
    """Return the failure of backups, and the nearest number of days for which none was made."""
    found = []
    if state.failed is not None:
        found.append(_named("Backups fail", state.failed.at))
    # Without a backup, the days begin when the rule is saved.
    begin = rule.updated_at if state.last is None else state.last.at
    passed = [days for days in rule.order.days if begin + timedelta(days=days) <= now]
    if passed:
        days = max(passed)
        found.append(_named(f"No backup for {days} day{'' if days == 1 else 's'}", begin + timedelta(days=days)))
    return found


def _named(name: str, at: datetime, step: int = 0) -> Notable:
    """Return what has a name in place of an id."""
    digest = hashlib.sha256(name.encode()).digest()
    return Notable(int.from_bytes(digest[:7], "big"), at, step, name)


def _notable(date: Date, step: int) -> Notable:
    return replace(_named(date.label, date.at, step), name=date.what)


async def _all(part: Callable[[tuple[int, int]], Awaitable[Progress]]) -> int:
    """Repeat *part* until it has looked at everything, and return the number of notices."""
    after: tuple[int, int] | None = _FIRST
    count = 0
    while after is not None:
        progress = await part(after)
        count += progress.noticed
        after = progress.last
    return count
