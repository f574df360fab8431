"""The counts of dashboards (UI-3): of one's own objects, or for administrators of all.

Counting a million certificates takes a fraction of a second in a thread of the store, so counts are cached.  A caller
waits briefly for a fresh count and otherwise gets the previous one with its time.  Key type, method and day of a
certificate never change: the first scan reads all certificates, newest first, in bounded batches; later ones read new
certificates only.  One count runs at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.permissions import Sphere, require_scope, sees_all
from pikachu.core.cache import BoundedCache
from pikachu.core.concurrency import start, uncancelled
from pikachu.core.interfaces import IClock, IDelayedCall, IStore
from pikachu.core.model.counts import Batch, Counts, Issued, RenewalCounts
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc

log = Logger()

#: Number of days for which issuance is shown.
DAYS_BACK: Final = 30
# Rows per batch: about 50 ms.
_ROWS: Final = 10_000
# Seconds: how long a caller waits for a fresh count; minimum time between counts after a change, and maximum age of a
# count without a known change, since certificates expire and other processes write.
MAX_WAIT: Final = 0.08
MIN_INTERVAL: Final = 0.5
MAX_INTERVAL: Final = 30.0
# A slow count is cached for this multiple of its duration.
_COST_FACTOR: Final = 10
_MAX_SCOPES: Final = 500
_DAY: Final = 86400
_EPOCH: Final = date(1970, 1, 1)
_BEYOND: Final = 2**62


@dataclass(frozen=True, slots=True)
class Day:
    """The numbers of certificates issued on a day (UTC), by method."""

    date: date
    methods: dict[str, int]


@dataclass(frozen=True, slots=True)
class Overview:
    """The data of a dashboard.

    :param everything: whether it covers all certificates instead of one's own.
    :param counts: ``None`` until the first count is complete.
    :param days: the last ``DAYS_BACK`` days, oldest first.
    :param keys: key type → number of certificates, highest first.
    :param complete: whether *keys* covers all certificates; otherwise the first scan is active.
    :param looked_at: the number of certificates that *keys* covers.
    """

    everything: bool
    counts: Counts | None
    days: tuple[Day, ...]
    keys: dict[str, int]
    complete: bool
    looked_at: int

    @property
    def weeks(self) -> tuple[int, ...]:
        """The numbers of valid certificates that expire in each of the next 13 weeks."""
        ending = () if self.counts is None else self.counts.ending
        return tuple(sum(ending[day : day + 7]) for day in range(0, len(ending), 7))

    def within(self, days: int) -> int:
        """Return the number of valid certificates that expire in the next *days* days."""
        return 0 if self.counts is None else sum(self.counts.ending[:days])


@dataclass(slots=True)
class _Scope:
    """The cached counts of one owner's certificates, or of all."""

    owner_id: int | None
    counts: Counts | None = None
    counted_at: float = 0.0
    cost: float = 0.0
    # The newest event at the start of the last count.
    event: int = -1
    keys: Counter[str] = field(default_factory=Counter)
    days: Counter[tuple[int, str]] = field(default_factory=Counter)
    # The range of ids that was scanned.
    oldest: int = _BEYOND
    newest: int = 0
    complete: bool = False
    looked_at: int = 0
    # The callers that wait for the active count, and whether one has timed out.
    waiting: list[Deferred[None]] = field(default_factory=list)
    counting: bool = False
    late: bool = False
    scanning: bool = False
    due: IDelayedCall | None = None

    def add(self, batch: Batch) -> None:
        """Add the counts of a batch."""
        for issued in batch.issued:
            self._add_issued(issued)
        if batch.last:
            self.oldest = min(self.oldest, batch.first)
            self.newest = max(self.newest, batch.last)

    def _add_issued(self, issued: Issued) -> None:
        self.keys[issued.key_type] += issued.count
        self.days[issued.day, issued.method] += issued.count
        self.looked_at += issued.count

    def forget_before(self, day: int) -> None:
        """Delete the counts of days before *day*."""
        for key in [key for key in self.days if key[0] < day]:
            del self.days[key]


class Statistics:
    """Counts with a cache.

    :param store: also reports events, which make counts outdated.
    :param rows: the number of certificates that one transaction counts by key, method and day.
    :param max_scopes: the number of owners whose counts are cached.
    """

    def __init__(self, store: IStore, clock: IClock, *, rows: int = _ROWS, max_scopes: int = _MAX_SCOPES) -> None:
        self._store = store
        self._clock = clock
        self._rows = rows
        self._scopes: BoundedCache[int | None, _Scope] = BoundedCache(max_scopes)
        self._turn = DeferredLock()
        self._newest_event = 0
        self._listeners: list[Callable[[int | None], None]] = []
        store.watch_events(self.noticed)

    def noticed(self, event_id: int) -> None:
        """Note an event of any process; earlier counts may be outdated."""
        self._newest_event = max(self._newest_event, event_id)

    def subscribe(self, callback: Callable[[int | None], None]) -> None:
        """Call *callback* with the owner (``None``: all) of a count that is newer than the one returned to a caller."""
        self._listeners.append(callback)

    @uncancelled
    async def overview(self, actor: Principal) -> Overview:
        """Return the counts that *actor* may see: all for who sees all certificates, otherwise the account's.

        Fails with AuthenticationFailed for an anonymous actor, with NotAuthorized without the scope, and with
        StoreUnavailable when there is no earlier count.
        """
        require_scope(actor, Scope.READ)
        # 0 is the id of no account.
        scope = self._scope(None if sees_all(actor, Sphere.ISSUANCE) else actor.owner_id or 0)
        changed = scope.event < self._newest_event
        if scope.counting or scope.counts is None or self._remaining(scope, changed=changed) <= 0:
            await self._fresh(scope)
        elif changed and (scope.due is None or not scope.due.active()):
            scope.due = self._clock.callLater(self._remaining(scope, changed=True), self._overdue, scope)
        return self._shown(scope)

    @uncancelled
    async def renewals(self, actor: Principal) -> RenewalCounts:
        """Return how the certificates that *actor* may see were renewed: all for an administrator."""
        require_scope(actor, Scope.READ)
        owner_id = None if sees_all(actor, Sphere.ISSUANCE) else actor.owner_id or 0
        return await self._store.renewals(owner_id, utc(self._clock.seconds()))

    def _scope(self, owner_id: int | None) -> _Scope:
        scope = self._scopes.get(owner_id)
        if scope is None:
            scope = _Scope(owner_id)
            self._scopes.put(owner_id, scope)
        return scope

    def _shown(self, scope: _Scope) -> Overview:
        # Issuance is counted once, with the certificates that have been deleted since.
        keys, methods = Counter(scope.keys), Counter(scope.days)
        for one in () if scope.counts is None else scope.counts.deleted:
            keys[one.key_type] -= one.count
            methods[one.day, one.method] -= one.count
        today = int(self._clock.seconds()) // _DAY
        days: dict[int, dict[str, int]] = {day: {} for day in range(today - DAYS_BACK + 1, today + 1)}
        for (day, method), count in sorted(methods.items()):
            if day in days and count > 0:
                days[day][method] = count
        return Overview(
            scope.owner_id is None,
            scope.counts,
            tuple(Day(_EPOCH + timedelta(days=day), methods) for day, methods in days.items()),
            {key: count for key, count in keys.most_common() if count > 0},
            scope.complete,
            scope.looked_at,
        )

    # --- schedule ---------------------------------------------------------------------------

    def _remaining(self, scope: _Scope, *, changed: bool) -> float:
        """Return the seconds until the next count is due."""
        interval = max(MIN_INTERVAL if changed else MAX_INTERVAL, _COST_FACTOR * scope.cost)
        return min(interval, scope.counted_at + interval - self._clock.seconds())

    def _overdue(self, scope: _Scope) -> None:
        """Make a new count after an outdated one was returned, and notify subscribers."""
        scope.late = True
        self._begin(scope)

    def _fresh(self, scope: _Scope) -> Deferred[None]:
        """Return a Deferred that fires after a new count or ``MAX_WAIT``; fails when there is no count at all."""
        turn: Deferred[None] = Deferred()
        scope.waiting.append(turn)
        self._begin(scope)
        if turn.called:
            return turn

        def give_up() -> None:
            scope.waiting.remove(turn)
            scope.late = True
            turn.callback(None)

        limit = self._clock.callLater(MAX_WAIT, give_up)

        def ended(result: Failure | None) -> Failure | None:
            if limit.active():
                limit.cancel()
            return result

        return turn.addBoth(ended)

    # --- counting -----------------------------------------------------------------------

    def _begin(self, scope: _Scope) -> None:
        if scope.counting:
            return
        scope.counting = True

        def ended(result: Failure | None) -> None:
            scope.counting = False
            waiting, scope.waiting = scope.waiting, []
            if isinstance(result, Failure):
                log.warn("The certificates could not be counted: {error}", error=result.getErrorMessage())
            elif not scope.complete and not scope.scanning:
                scope.scanning = True
                start(self._scan_back(scope)).addErrback(self._scan_failed, scope)
            for turn in waiting:
                if isinstance(result, Failure) and scope.counts is None:
                    turn.errback(result)
                else:
                    turn.callback(None)
            if scope.late and not isinstance(result, Failure):
                scope.late = False
                self._notify(scope)

        self._turn.run(self._count, scope).addBoth(ended)

    async def _count(self, scope: _Scope) -> None:
        event = self._newest_event
        now = utc(self._clock.seconds())
        begun = self._clock.seconds()
        counts = await self._store.count(scope.owner_id, now)
        scope.cost = max(0.0, self._clock.seconds() - begun)
        if scope.looked_at:
            more = True
            while more:
                batch = await self._store.issued_after(scope.owner_id, scope.newest, self._rows)
                scope.add(batch)
                more = batch.full
        else:
            batch = await self._store.issued_before(scope.owner_id, _BEYOND, self._rows)
            scope.add(batch)
            scope.complete = not batch.full
        scope.forget_before(int(begun) // _DAY - DAYS_BACK)
        scope.counts, scope.counted_at, scope.event = counts, begun, event

    async def _scan_back(self, scope: _Scope) -> None:
        """Scan all certificates before the first batch."""
        while not scope.complete:
            batch = await self._turn.run(self._store.issued_before, scope.owner_id, scope.oldest, self._rows)
            scope.add(batch)
            scope.forget_before(int(self._clock.seconds()) // _DAY - DAYS_BACK)
            scope.complete = not batch.full
        scope.scanning = False
        self._notify(scope)

    @staticmethod
    def _scan_failed(failure: Failure, scope: _Scope) -> None:
        """Log a failed scan; the next count resumes it."""
        scope.scanning = False
        log.warn("Not all certificates could be counted by key type and day: {error}", error=failure.getErrorMessage())

    def _notify(self, scope: _Scope) -> None:
        for listener in tuple(self._listeners):
            listener(scope.owner_id)
