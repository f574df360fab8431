"""Open connections to the directory that wait for the next question, so that a sign-in opens none.

Connections for searches stay bound as ADMIN_DN.  Those for passwords are others: a bind changes whose rights a
connection has, and binding it back would cost every sign-in a round trip.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from pikachu.auth.ldap.abort import Abort
from pikachu.auth.ldap.connection import DirectoryConnection
from pikachu.core.concurrency import new_lock
from pikachu.core.errors import DirectoryUnavailable

T = TypeVar("T")

#: Idle connections of each purpose: as many as there are threads for the directory.
MAX_IDLE: Final = 4
#: Seconds for which a connection may be idle; Active Directory closes it after 900.
MAX_IDLE_SECONDS: Final = 300.0
#: Seconds after which a connection is replaced, so that a changed password of ADMIN_DN or CA file takes effect.
MAX_AGE_SECONDS: Final = 3600.0


class Purpose(enum.Enum):
    """The purpose of a connection."""

    SEARCH = "search"
    VERIFICATION = "verification"


#: Opens a connection to a host, bound as ADMIN_DN where it is for searches.
Connect: TypeAlias = Callable[[str, Purpose, Abort], DirectoryConnection]


@dataclass(slots=True)
class _Idle:
    """A connection that waits for the next question.

    :param opened: when, on a clock that is never set; *since*: when it became idle.
    """

    host: str
    purpose: Purpose
    connection: DirectoryConnection
    opened: float
    since: float


class ConnectionPool:
    """Idle connections, a few of each purpose; used by several threads.

    :param monotonic: a clock that is never set, in seconds.
    """

    def __init__(self, connect: Connect, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._connect = connect
        self._monotonic = monotonic
        self._lock = new_lock()
        self._idle: list[_Idle] = []
        self._is_closed = False

    def ask(self, host: str, question: Callable[[Session], T], abort: Abort) -> T:
        """Return the answer of one server, asked again on new connections when idle ones turn out not to work.

        :raises DirectoryUnavailable: when the server does not answer.
        """
        session = Session(self, host, abort, reuse=True)
        try:
            return session.ask(question)
        except DirectoryUnavailable:
            if not session.is_reused or abort.is_set:
                raise
        self._discard(host)
        return Session(self, host, abort, reuse=False).ask(question)

    def open(self, host: str, purpose: Purpose, abort: Abort) -> _Idle:
        """Open a connection; blocks.

        :raises DirectoryUnavailable: when that fails.
        """
        now = self._monotonic()
        return _Idle(host, purpose, self._connect(host, purpose, abort), now, now)

    def take(self, host: str, purpose: Purpose) -> _Idle | None:
        """Return the connection that was used last, if there is one that still works."""
        while True:
            with self._lock:
                mine = [one for one in self._idle if one.host == host and one.purpose is purpose]
                if not mine:
                    return None
                taken = mine[-1]
                self._idle.remove(taken)
            now = self._monotonic()
            is_old = now - taken.opened > MAX_AGE_SECONDS or now - taken.since > MAX_IDLE_SECONDS
            if not is_old and taken.connection.is_quiet:
                return taken
            taken.connection.close()

    def put(self, used: _Idle) -> None:
        """Keep a connection for the next question, and close what is too much."""
        used.since = self._monotonic()
        with self._lock:
            surplus = [used]
            if not self._is_closed:
                self._idle.append(used)
                surplus = [one for one in self._idle if one.purpose is used.purpose][:-MAX_IDLE]
                for one in surplus:
                    self._idle.remove(one)
        for one in surplus:
            one.connection.close()

    def _discard(self, host: str) -> None:
        """Close the idle connections to one server."""
        with self._lock:
            gone = [one for one in self._idle if one.host == host]
            self._idle = [one for one in self._idle if one.host != host]
        for one in gone:
            one.connection.close()

    def close(self) -> None:
        """Close all idle connections, and from now on each one after its question."""
        with self._lock:
            self._is_closed = True
            gone, self._idle = self._idle, []
        for one in gone:
            one.connection.close()


class Session:
    """The connections to one server that one question uses; opened or taken when they are first needed.

    :ivar is_reused: whether one of them was idle before, so that a failure may be that of the connection only.
    """

    def __init__(self, pool: ConnectionPool, host: str, abort: Abort, *, reuse: bool) -> None:
        self._pool = pool
        self._host = host
        self._abort = abort
        self._reuse = reuse
        self._used: dict[Purpose, _Idle] = {}
        self.is_reused = False

    @property
    def search(self) -> DirectoryConnection:
        """The connection for searches, bound as ADMIN_DN.

        :raises DirectoryUnavailable: when it can't be opened.
        """
        return self._connection(Purpose.SEARCH)

    @property
    def verification(self) -> DirectoryConnection:
        """The connection for verifying passwords, and nothing else: anybody may be bound on it.

        :raises DirectoryUnavailable: when it can't be opened.
        """
        return self._connection(Purpose.VERIFICATION)

    def _connection(self, purpose: Purpose) -> DirectoryConnection:
        used = self._used.get(purpose)
        if used is None:
            used = self._pool.take(self._host, purpose) if self._reuse else None
            if used is None:
                used = self._pool.open(self._host, purpose, self._abort)
            else:
                self.is_reused = True
                used.connection.watch(self._abort)
            self._used[purpose] = used
        return used.connection

    def ask(self, question: Callable[[Session], T]) -> T:
        """Return the answer, and give the connections back; those of a question that failed are closed."""
        is_answered = False
        try:
            answer = question(self)
            is_answered = True
            return answer
        finally:
            for used in self._used.values():
                used.connection.unwatch(self._abort)
                if is_answered and used.connection.is_usable and not self._abort.is_set:
                    self._pool.put(used)
                else:
                    used.connection.close()
