"""Who listens is told what has happened that they may see (UI-3).

Commits of this process are noticed at once, those of others by asking for the newest event's id while somebody
listens.  What comes quickly is told together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.permissions import is_admin, require_scope
from pikachu.core.concurrency import start
from pikachu.core.errors import Overloaded
from pikachu.core.interfaces import IClock, IDelayedCall, IStore
from pikachu.core.model.events import EventRecord
from pikachu.core.model.lists import ListQuery
from pikachu.core.model.people import Principal, Scope
from pikachu.operations.statistics import Statistics

log = Logger()

#: Seconds after an event until it is told, at most one telling in each; and between looks for events of others.
BATCH_DELAY: Final = 0.25
MIN_INTERVAL: Final = 1.0
POLL: Final = 1.5
#: How many may listen at a time, and how many of one's events one telling has.
MAX_LISTENERS: Final = 500
MAX_EVENTS: Final = 10


@dataclass(frozen=True, slots=True)
class Notification:
    """What has happened.

    :param events: that the listener may see, newest first, the newest few of them; none: there is a new count.
    :param own: some event is about what is the listener's own, such as their account.
    """

    events: tuple[EventRecord, ...]
    own: bool = False


@dataclass(slots=True, eq=False)
class _Listener:
    owner_id: int | None
    everything: bool
    tell: Callable[[Notification], None]

    @property
    def scope(self) -> int | None:
        """Whose events are told; ``None``: all."""
        # No account has the id 0.
        return None if self.everything else self.owner_id or 0


class EventFeed:
    """Tells listeners of events and of new counts."""

    def __init__(
        self, store: IStore, statistics: Statistics, clock: IClock, *, max_listeners: int = MAX_LISTENERS
    ) -> None:
        self._store = store
        self._statistics = statistics
        self._clock = clock
        self._max_listeners = max_listeners
        self._listeners: list[_Listener] = []
        # The newest event that there is, and the newest that was told; ``None`` while nobody listens.
        self._newest = 0
        self._told: int | None = None
        self._next_look = 0.0
        self._look_due: IDelayedCall | None = None
        self._poll_due: IDelayedCall | None = None
        self._looking = False
        store.watch_events(self._noticed)
        statistics.subscribe(self._counted)

    def subscribe(self, actor: Principal, tell: Callable[[Notification], None]) -> Callable[[], None]:
        """Have *tell* called with what *actor* may see; what is given ends that.

        :raises AuthenticationFailed: for an anonymous actor.
        :raises NotAuthorized: when it may not read.
        :raises Overloaded: when too many listen.
        """
        require_scope(actor, Scope.READ)
        if len(self._listeners) >= self._max_listeners:
            raise Overloaded("too many browsers listen; the page is right when it is loaded again", retry_after=60)
        listener = _Listener(actor.owner_id, is_admin(actor), tell)
        self._listeners.append(listener)
        if self._poll_due is None:
            self._poll()

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)
            if not self._listeners:
                self._rest()

        return stop

    def _rest(self) -> None:
        """Nobody listens."""
        self._told = None
        for due in (self._poll_due, self._look_due):
            if due is not None and due.active():
                due.cancel()
        self._poll_due = self._look_due = None

    def _noticed(self, event_id: int) -> None:
        self._newest = max(self._newest, event_id)
        if self._told is not None and self._newest > self._told:
            self._look_soon()

    def _poll(self) -> None:
        """What other processes have done."""
        self._poll_due = self._clock.callLater(POLL, self._poll)

        def found(newest: int) -> None:
            self._statistics.noticed(newest)
            if self._told is None and self._listeners:
                # Who has just begun to listen has seen what was there, or finds out by the greeting.
                self._told = newest
            self._noticed(newest)

        self._store.newest_event().addCallbacks(found, self._failed)

    def _look_soon(self) -> None:
        if self._look_due is None and not self._looking:
            delay = max(BATCH_DELAY, min(MIN_INTERVAL, self._next_look - self._clock.seconds()))
            self._look_due = self._clock.callLater(delay, self._look)

    def _look(self) -> None:
        self._look_due = None
        self._looking = True
        self._next_look = self._clock.seconds() + MIN_INTERVAL

        def ended(_: object) -> None:
            self._looking = False
            if self._told is not None and self._newest > self._told:
                self._look_soon()

        start(self._tell_events()).addErrback(self._failed).addBoth(ended)

    async def _tell_events(self) -> None:
        after, until = self._told, self._newest
        if after is None:
            return
        owners = await self._store.event_owners(after, until)
        for scope in {listener.scope for listener in self._listeners}:
            if scope is not None and scope not in owners:
                continue
            page = await self._store.events(ListQuery(limit=MAX_EVENTS, owner_id=scope))
            events = tuple(record for record in page.items if record.id > after)
            for listener in tuple(self._listeners):
                if listener.scope == scope and events:
                    self._tell(listener, Notification(events, own=listener.owner_id in owners))
        if self._told is not None:
            self._told = until

    def _counted(self, owner_id: int | None) -> None:
        for listener in tuple(self._listeners):
            if listener.scope == owner_id:
                self._tell(listener, Notification(()))

    @staticmethod
    def _tell(listener: _Listener, news: Notification) -> None:
        try:
            listener.tell(news)
        except Exception:  # noqa: BLE001 - one listener's failure is not the others'
            log.failure("a listener failed")

    @staticmethod
    def _failed(failure: Failure) -> None:
        """The next look may do better."""
        log.warn("Nobody was told of events: {error}", error=failure.getErrorMessage())
