"""Pushes new audit events to the browsers that may see them (UI-3).

Commits of this process are noticed immediately, those of others by polling the newest event's id while there are
subscribers.  Events in quick succession are sent in one batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.permissions import OPERATOR_EVENTS, Sphere, scope_to_kinds, scope_to_owner
from pikachu.core.concurrency import start
from pikachu.core.errors import Overloaded
from pikachu.core.interfaces import IClock, IDelayedCall, IStore
from pikachu.core.model.events import EventRecord
from pikachu.core.model.list_queries import ListQuery, Visible
from pikachu.core.model.people import Principal
from pikachu.operations.statistics import Statistics

log = Logger()

#: Seconds: delay before a batch is sent, minimum time between batches, and poll interval for other processes' events.
BATCH_DELAY: Final = 0.25
MIN_INTERVAL: Final = 1.0
POLL: Final = 1.5
#: Maximum number of subscribers, and of events in a batch.
MAX_LISTENERS: Final = 500
MAX_EVENTS: Final = 10


@dataclass(frozen=True, slots=True)
class Notification:
    """A batch of events, or the news of a new count.

    :param events: the newest events that the subscriber may see, newest first; empty for a new count.
    :param own: whether an event is about an object of the subscriber, such as the account.
    """

    events: tuple[EventRecord, ...]
    own: bool = False


@dataclass(slots=True, eq=False)
class _Listener:
    owner_id: int | None
    #: The owner whose certificates are counted; ``None`` for all.
    counted: int | None
    #: The owner whose events are sent, ``None`` for all; or the events of several kinds.
    scope: tuple[int | None, Visible | None]
    tell: Callable[[Notification], None]


class EventFeed:
    """Notifies subscribers of events and of new counts.

    :param max_listeners: maximum number of subscribers.
    """

    def __init__(
        self, store: IStore, statistics: Statistics, clock: IClock, *, max_listeners: int = MAX_LISTENERS
    ) -> None:
        self._store = store
        self._statistics = statistics
        self._clock = clock
        self._max_listeners = max_listeners
        self._listeners: list[_Listener] = []
        # The newest event, and the newest one sent; ``None`` without subscribers.
        self._newest = 0
        self._sent: int | None = None
        self._next_batch = 0.0
        self._batch_due: IDelayedCall | None = None
        self._poll_due: IDelayedCall | None = None
        self._sending = False
        store.watch_events(self._noticed)
        statistics.subscribe(self._counted)

    def subscribe(self, actor: Principal, tell: Callable[[Notification], None]) -> Callable[[], None]:
        """Call *tell* with the events that *actor* may see; return a function that ends the subscription.

        :raises AuthenticationFailed: for an anonymous actor.
        :raises NotAuthorized: without the scope.
        :raises Overloaded: for too many subscribers.
        """
        query = scope_to_kinds(actor, ListQuery(), OPERATOR_EVENTS)
        if len(self._listeners) >= self._max_listeners:
            raise Overloaded("too many browsers listen; the page is right when it is loaded again", retry_after=60)
        counted = scope_to_owner(actor, ListQuery(), Sphere.ISSUANCE).owner_id
        listener = _Listener(actor.owner_id, counted, (query.owner_id, query.visible), tell)
        self._listeners.append(listener)
        if self._poll_due is None:
            self._poll()

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)
            if not self._listeners:
                self._stop()

        return stop

    def _stop(self) -> None:
        """Cancel all timers after the last subscription."""
        self._sent = None
        for due in (self._poll_due, self._batch_due):
            if due is not None and due.active():
                due.cancel()
        self._poll_due = self._batch_due = None

    def _noticed(self, event_id: int) -> None:
        self._newest = max(self._newest, event_id)
        if self._sent is not None and self._newest > self._sent:
            self._schedule()

    def _poll(self) -> None:
        """Poll for events of other processes."""
        self._poll_due = self._clock.callLater(POLL, self._poll)

        def polled(newest: int) -> None:
            self._statistics.noticed(newest)
            if self._sent is None and self._listeners:
                # A new subscriber has loaded the page with the events up to now.
                self._sent = newest
            self._noticed(newest)

        self._store.newest_event().addCallbacks(polled, self._failed)

    def _schedule(self) -> None:
        if self._batch_due is None and not self._sending:
            delay = max(BATCH_DELAY, min(MIN_INTERVAL, self._next_batch - self._clock.seconds()))
            self._batch_due = self._clock.callLater(delay, self._send)

    def _send(self) -> None:
        self._batch_due = None
        self._sending = True
        self._next_batch = self._clock.seconds() + MIN_INTERVAL

        def ended(_: object) -> None:
            self._sending = False
            if self._sent is not None and self._newest > self._sent:
                self._schedule()

        start(self._send_events()).addErrback(self._failed).addBoth(ended)

    async def _send_events(self) -> None:
        after, until = self._sent, self._newest
        if after is None:
            return
        owners = await self._store.event_owners(after, until)
        for scope in {listener.scope for listener in self._listeners}:
            owner_id, visible = scope
            if owner_id is not None and owner_id not in owners:
                continue
            page = await self._store.events(ListQuery(limit=MAX_EVENTS, owner_id=owner_id, visible=visible))
            events = tuple(record for record in page.items if record.id > after)
            for listener in tuple(self._listeners):
                if listener.scope == scope and events:
                    self._notify(listener, Notification(events, own=listener.owner_id in owners))
        if self._sent is not None:
            self._sent = until

    def _counted(self, owner_id: int | None) -> None:
        for listener in tuple(self._listeners):
            if listener.counted == owner_id:
                self._notify(listener, Notification(()))

    @staticmethod
    def _notify(listener: _Listener, notification: Notification) -> None:
        try:
            listener.tell(notification)
        except Exception:  # noqa: BLE001 - one listener's failure is not the others'
            log.failure("A subscriber of events failed.")

    @staticmethod
    def _failed(failure: Failure) -> None:
        """Log a failure; the next poll tries again."""
        log.warn("Events could not be sent to browsers: {error}", error=failure.getErrorMessage())
