"""Leadership: one node at a time makes scheduled CRLs and renews the CA's own certificates (HA-1).

The leader has a lease in the database for a term, and renews it three times in each.  When it dies or hangs, another
node takes over within the term.  A former leader that wakes up may still be at work for a moment; the store refuses its
CRL if another one was published meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

from pikachu.core.concurrency import uncancelled
from pikachu.core.interfaces import IClock
from pikachu.core.node_interfaces import INodeStore

#: How long a lease lasts, and the time between renewals, in seconds.
TERM_SECONDS: Final = 9.0
RENEWAL_SECONDS: Final = 3.0
_LEASE: Final = "leader"

IsLeader = Callable[[], bool]


def always_leader() -> bool:
    """Lead: a server of a SQLite database has no other node, and a command does what its operator asked for."""
    return True


class Leadership:
    """The part of a node in the election.

    :param process: the node's name in the database.
    """

    def __init__(self, store: INodeStore, clock: IClock, process: str) -> None:
        self._store = store
        self._clock = clock
        self._process = process
        self._until = 0.0

    def is_leader(self) -> bool:
        """Return whether this node has the lease; no longer so a moment before another one can take it."""
        # If the clock was set back, the end may be far away.
        return 0 < self._until - self._clock.seconds() <= TERM_SECONDS

    @uncancelled
    async def renew(self) -> bool:
        """Take or keep the lease; return whether this node has become the leader.  Fails with StoreUnavailable."""
        was_leader = self.is_leader()
        asked_at = self._clock.seconds()
        has_lease = await self._store.take_lease(_LEASE, self._process, TERM_SECONDS)
        self._until = asked_at + TERM_SECONDS if has_lease else 0.0
        return has_lease and not was_leader

    def resign(self) -> Deferred[None]:
        """Let another node lead at once.  Fails with StoreUnavailable."""
        self._until = 0.0
        return self._store.release_lease(_LEASE, self._process)
