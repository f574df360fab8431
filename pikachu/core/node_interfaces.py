"""The store's boundary for nodes: the servers that work with one database (HA-1; see docs/adr/0002)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.requests import RequestRecord

NODE_PREFIX: Final = "node:"


@dataclass(frozen=True, slots=True)
class Node:
    """One life of a server: it has a new id each time that it starts.

    :param name: tells people which server it is; two nodes may have the same.
    :param seen_at: when it last said that it lives.
    """

    id: int
    name: str
    started_at: datetime
    seen_at: datetime

    @property
    def process(self) -> str:
        """Return how stored intents name the node."""
        return f"{NODE_PREFIX}{self.id}"


class INodeStore(Protocol):
    """Which nodes there are, which of them live, and what those that don't have left."""

    def register_node(self, name: str, now: datetime) -> Node:
        """A new node; blocks.  Raises StoreUnavailable."""

    def hold_node(self, node: Node) -> None:
        """Let others see that the node lives, until the store is closed or the process ends; blocks.

        For SQLite the caller holds the lock of the file, so that no other node lives.  Raises StoreUnavailable.
        """

    def keep_node(self, node: Node, now: datetime) -> Deferred[None]:
        """Make sure that others still see that the node lives.  Fails with StoreUnavailable."""

    def nodes(self) -> Deferred[list[Node]]:
        """Those that were seen in the last month, by their id."""

    def is_process_alive(self, process: str) -> Deferred[bool | None]:
        """Whether the process that an intent names lives; ``None``: that can't be known."""

    def orphans(self, process: str | None, before: datetime) -> Deferred[list[RequestRecord]]:
        """Intents without a certificate of nodes that live no more; of processes of which that can't be known, those
        of *process*, and all from *before*.
        """
