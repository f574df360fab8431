"""The store's interface for the audit log (AUD-3; see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.events import Event, EventRecord
from pikachu.core.model.list_queries import ListQuery, Page


@dataclass(frozen=True, slots=True)
class ChainPosition:
    """A position in the chain of audit events.

    :param count: the number of events up to the position.
    :param hash: the hash of the last of them.
    """

    count: int
    hash: bytes


CHAIN_START: Final = ChainPosition(0, bytes(32))


@dataclass(frozen=True, slots=True)
class AuditKeyOrigin:
    """Where the events begin whose hashes have a key.

    :param unkeyed: the number of older events: anyone who could write to the database could rewrite them all.
    :param finding: the defect that was found in these when the key was created, or empty.
    """

    unkeyed: int = 0
    finding: str = ""


class IAuditStore(Protocol):
    """The chained audit log."""

    def audit_key_origin(self) -> AuditKeyOrigin:
        """Return where the events with a key begin."""

    def add_event(self, event: Event, now: datetime) -> Deferred[None]:
        """Record an event without any other change, such as a failed login."""

    def events(self, query: ListQuery) -> Deferred[Page[EventRecord]]:
        """List events; sort fields ``id``, ``at``."""

    def event(self, event_id: int) -> Deferred[EventRecord]:
        """Return the event with that id; fails with NotFound."""

    def verify_events(
        self, progress: Callable[[ChainPosition], None] | None = None, after: ChainPosition = ...
    ) -> Deferred[int]:
        """Verify the chain and return its length; fails with Conflict naming the first changed or removed event.

        :param progress: called after each transaction with the verified position, from which *after* can continue.
        """
