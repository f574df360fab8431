"""The directory for the reactor: questions in a worker pool of their own, within time limits.

After failures, further questions fail at once for a while: a directory that hangs must not make everybody wait who
signs in, and each of them would take a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TooSlow

from pikachu.auth.ldap.abort import Abort
from pikachu.core.errors import DirectoryUnavailable
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.core.model.directory_people import Finding

if TYPE_CHECKING:
    from pikachu.auth.ldap.client import LDAPClient

T = TypeVar("T")

#: Number of consecutive failures after which questions fail at once.
FAILURES: Final = 2
#: Seconds for which they do; each further failure doubles them.
FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 60.0
_NO_ANSWER: Final = "The directory did not answer in time. Try again soon; local accounts can sign in."


class CircuitBreaker:
    """Decides whether a question is asked; after a pause, one at a time is."""

    def __init__(self, clock: IClock) -> None:
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0
        self._is_probing = False

    def check(self) -> None:
        """Require that a question may be asked.

        :raises DirectoryUnavailable: with the seconds after which to try again.
        """
        if self._failures < FAILURES:
            return
        left = self._open_until - self._clock.seconds()
        if self._is_probing or 0 < left <= LONGEST_PAUSE:
            raise DirectoryUnavailable(
                "The directory does not answer. Try again soon; local accounts can sign in.",
                retry_after=max(1, round(left)),
            )
        self._is_probing = True

    def succeeded(self) -> None:
        """Close after an answer."""
        self._failures = 0
        self._is_probing = False

    def given_up(self) -> None:
        """Let another question be asked, as this one was not."""
        self._is_probing = False

    def failed(self) -> None:
        """Count a failure."""
        self._failures += 1
        self._is_probing = False
        pause = min(FIRST_PAUSE * 2.0 ** min(max(self._failures - FAILURES, 0), 8), LONGEST_PAUSE)
        self._open_until = self._clock.seconds() + pause


class Directory:
    """Asks the directory.

    Methods fail with DirectoryUnavailable, and with Overloaded.

    :param pool: a pool for the directory only.
    :param timeout: seconds for one server's answer.
    :param servers: number of servers.
    """

    def __init__(self, *, client: LDAPClient, pool: IWorkerPool, clock: IClock, timeout: int, servers: int) -> None:
        self._client = client
        self._pool = pool
        self._clock = clock
        self._limit = float(timeout * (servers + 1))
        self._breaker = CircuitBreaker(clock)
        self._outages = 0
        self._is_stopped = False
        self._asking: set[Abort] = set()

    def authenticate(self, username: str, password: str) -> Deferred[Finding]:
        """Return the account of that name if *password* is right, else why not."""
        return self._run(lambda abort: self._client.authenticate(username, password, abort))

    def find(self, usernames: Sequence[str]) -> Deferred[list[Finding]]:
        """Return the accounts of these names, in order."""
        return self._run(lambda abort: self._client.find(usernames, abort))

    def probe(self) -> Deferred[str | None]:
        """Return None if the directory works, or a message if not all of it does."""
        return self._run(self._client.probe, is_probe=True)

    def stop(self) -> None:
        """End all questions: a directory that hangs must not hold up the end of the server."""
        self._is_stopped = True
        for abort in self._asking:
            abort.set()
        self._client.close()

    def _run(self, work: Callable[[Abort], T], *, is_probe: bool = False) -> Deferred[T]:
        abort, outages = Abort(), self._outages
        is_asked = False

        def call() -> T:
            nonlocal is_asked
            if abort.is_set or self._outages >= outages + FAILURES:
                # The caller has given up waiting for a free thread, or would only repeat the failures of others.
                raise DirectoryUnavailable(_NO_ANSWER)
            is_asked = True
            try:
                return work(abort)
            except DirectoryUnavailable:
                # Counted here, so that this thread does not begin the next question before the reactor knows.
                self._outages += 1
                raise

        async def ask() -> T:
            if self._is_stopped:
                raise DirectoryUnavailable("This server is stopping.")
            if not is_probe:
                self._breaker.check()
            self._asking.add(abort)
            answer = self._pool.run(call)
            answer.addTimeout(self._limit, self._clock)  # type: ignore[arg-type]  # it needs callLater only
            try:
                result = await answer
            except TooSlow:
                abort.set()
                self._breaker.failed()
                raise DirectoryUnavailable(_NO_ANSWER) from None
            except DirectoryUnavailable:
                if is_asked:
                    self._breaker.failed()
                raise
            finally:
                self._asking.discard(abort)
                self._breaker.given_up()
            self._breaker.succeeded()
            return result

        return Deferred.fromCoroutine(ask())
