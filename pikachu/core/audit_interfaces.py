"""The store's boundary for the audit log (AUD-3; see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.events import Event, EventRecord
from pikachu.core.model.lists import ListQuery, Page


@dataclass(frozen=True, slots=True)
class ChainPosition:
    """A place in the chain of audit events.

    :param count: events up to here.
    :param hash: of the last of them.
    """

    count: int
    hash: bytes


CHAIN_START: Final = ChainPosition(0, bytes(32))


class IAuditStore(Protocol):
    """The chained audit log."""

    def add_event(self, event: Event, now: datetime) -> Deferred[None]:
        """For what changes nothing else, such as a refused login."""

    def events(self, query: ListQuery) -> Deferred[Page[EventRecord]]:
        """Sorted by ``id`` or ``at``."""

    def event(self, event_id: int) -> Deferred[EventRecord]:
        """Fails with NotFound."""

    def verify_events(
        self, progress: Callable[[ChainPosition], None] | None = None, after: ChainPosition = ...
    ) -> Deferred[int]:
        """How many events there are; fails with Conflict that names the first row changed or removed.

        :param progress: told after each transaction how far the chain is verified: the place to go on *after*.
        """
