"""The store's interface for nodes: the servers that use one database (HA-1; see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.certificates import CRLRecord
from pikachu.core.model.requests import RequestRecord

NODE_PREFIX: Final = "node:"


@dataclass(frozen=True, slots=True)
class Node:
    """A running server; each start creates a node with a new id.

    :param name: the name for people; not unique.
    :param seen_at: when it last reported to be alive.
    """

    id: int
    name: str
    started_at: datetime
    seen_at: datetime

    @property
    def process(self) -> str:
        """The name of the node in stored intents."""
        return f"{NODE_PREFIX}{self.id}"


class Topic(StrEnum):
    """The subject of a notification."""

    STATUS = "status"
    CRL = "crl"
    GUESS = "guess"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Notification:
    """A short message to the other nodes; it may be lost.

    :param text: at most 7,000 bytes, and no secret.
    """

    topic: Topic
    text: str = ""


class INodeStore(Protocol):
    """Nodes, their liveness, what they tell each other and share, and the intents that dead ones left."""

    @property
    def has_nodes(self) -> bool:
        """Whether several servers can use this database."""

    def register_node(self, name: str, now: datetime) -> Node:
        """Register a new node; blocks.  Raises StoreUnavailable."""

    def hold_node(self, node: Node) -> None:
        """Show that the node is alive, until the store is closed or the process ends; blocks.

        For SQLite the caller holds the lock of the file, so that no other node is alive.  Raises StoreUnavailable.
        """

    def keep_node(self, node: Node, now: datetime) -> Deferred[None]:
        """Renew the sign that the node is alive.  Fails with StoreUnavailable."""

    def nodes(self) -> Deferred[list[Node]]:
        """Return the nodes that reported in the last 30 days, by id."""

    def is_process_alive(self, process: str) -> Deferred[bool | None]:
        """Return whether an intent's process is alive, or ``None`` if unknown."""

    def orphans(self, process: str | None, before: datetime) -> Deferred[list[RequestRecord]]:
        """Return intents without a certificate of dead nodes; if liveness is unknown, those of *process* and those
        older than *before*.
        """

    def receive_notifications(self, deliver: Callable[[Notification | None], None]) -> None:
        """Call *deliver*, in the reactor's thread, with each notification of another process, and with None when some
        may have been missed.  Of a SQLite database, which has one server, there are none.
        """

    def notify_nodes(self, notification: Notification) -> Deferred[None]:
        """Send a notification to the other nodes.  Fails with StoreUnavailable."""

    def take_lease(self, name: str, process: str, seconds: float) -> Deferred[bool]:
        """Take or keep a lease for *seconds*; return False while another live node has it.

        The database's clock counts, so that the nodes' clocks may differ.  Fails with StoreUnavailable.
        """

    def release_lease(self, name: str, process: str) -> Deferred[None]:
        """Give a lease up, if that process has it.  Fails with StoreUnavailable."""

    def share_crl(
        self, key_identifier: bytes, der: bytes, expected: int | None, record: CRLRecord | None = None
    ) -> Deferred[int | None]:
        """Make a CRL the newest one of its CA for all nodes, and return its version.

        :param expected: the version that it follows, or 0; otherwise nothing changes, and None is returned.  ``None``
            follows any.
        :param record: recorded in the same transaction.
        """

    def shared_crl_versions(self) -> Deferred[dict[bytes, int]]:
        """Return the versions of the shared CRLs by their CA's key identifier."""

    def shared_crl(self, key_identifier: bytes) -> Deferred[bytes | None]:
        """Return the newest shared CRL of a CA, or None."""
