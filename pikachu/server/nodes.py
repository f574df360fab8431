"""The parts of a server that know of other nodes of its database (HA-1)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.python.failure import Failure

from pikachu.auth.rate_limit import GuessLimits
from pikachu.ca.leadership import IsLeader, Leadership, always_leader
from pikachu.core.errors import PikachuError
from pikachu.core.interfaces import IClock
from pikachu.core.node_interfaces import NODE_PREFIX, Notification, Topic
from pikachu.core.sealing import Sealer
from pikachu.storage.store import Store
from pikachu.va.crl_sharing import SharedCRLs


@dataclass(frozen=True, slots=True)
class NodeParts:
    """Leadership, shared CRLs, and lock-outs.

    :param leadership: ``None`` on a database with one server, and for commands.
    :param shared_crls: ``None`` on a database with one server.
    """

    leadership: Leadership | None
    shared_crls: SharedCRLs | None
    guess_limits: GuessLimits

    @property
    def is_leader(self) -> IsLeader:
        """The function that returns whether this process does what one node at a time does."""
        return always_leader if self.leadership is None else self.leadership.is_leader


def build_node_parts(store: Store, clock: IClock, sealer: Sealer, process: str) -> NodeParts:
    """Build the parts for a server or command.

    :param process: names it in the database.
    """
    if not store.has_nodes:
        return NodeParts(None, None, GuessLimits(clock))

    def ignore(failure: Failure) -> None:
        # Nobody signs in either while the database does not answer.
        failure.trap(PikachuError)

    limits = GuessLimits(
        clock,
        share=lambda text: store.notify_nodes(Notification(Topic.GUESS, text)).addErrback(ignore),
        digest=lambda key: sealer.digest("guess", key.encode("utf-8", "replace")).hex()[:32],
    )
    leadership = Leadership(store, clock, process) if process.startswith(NODE_PREFIX) else None
    return NodeParts(leadership, SharedCRLs(store), limits)
