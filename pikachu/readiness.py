"""What the server needs, and whether it is there (RUN-8): for ``/readyz`` and for dashboards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as TooSlow
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.errors import PikachuError
from pikachu.interfaces import IClock, IStore, IWorkerPool
from pikachu.threads import uncancelled

log = Logger()

# A check succeeds with None, or with "degraded" where something else has taken over; ``None``: it is turned off.
Check = Callable[[], Deferred[str | None]]
OK: Final = "ok"
DEGRADED: Final = "degraded"
DISABLED: Final = "disabled"
UNAVAILABLE: Final = "unavailable"
#: Asked, and there was no answer yet.
CHECKING: Final = "checking"
LIMIT: Final = 2.0
# Seconds for which a glance is content with what was found before, and how long it waits for something newer.
_KEPT: Final = 10.0
_PATIENCE: Final = 0.05


def standard_checks(store: IStore, signing: IWorkerPool) -> dict[str, Check | None]:
    """What every server needs: its database, and threads that sign."""

    def database() -> Deferred[str | None]:
        return store.check().addCallback(lambda _: None)

    def signer() -> Deferred[str | None]:
        # Keys of files are in memory: what can fail is that signatures wait behind too many others.
        return signing.run(_nothing)

    return {"database": database, "signer": signer, "vault": None, "ldap": None}


def _nothing() -> None:
    """Take a turn."""


def overall(states: Mapping[str, str]) -> str:
    """What all states come to."""
    found = set(states.values())
    return UNAVAILABLE if UNAVAILABLE in found else DEGRADED if DEGRADED in found else OK


class Readiness:
    """Asks all that is needed.

    :param checks: by name: ``database``, ``signer``, ``vault``, ``ldap``.
    """

    def __init__(self, clock: IClock, checks: Mapping[str, Check | None]) -> None:
        self._clock = clock
        self._checks = dict(checks)
        self._found: dict[str, str] = {
            name: DISABLED if check is None else CHECKING for name, check in self._checks.items()
        }
        self._found_at: float | None = None
        self._asking = False

    def with_checks(self, checks: Mapping[str, Check | None]) -> Readiness:
        """The same with further checks, or others in the place of those of their names."""
        return Readiness(self._clock, {**self._checks, **checks})

    @uncancelled
    async def states(self) -> dict[str, str]:
        """The state of each, asked now; what has not answered in two seconds is not there."""
        names = list(self._checks)
        found = await gatherResults([self._state(name) for name in names])
        self._found = dict(zip(names, found, strict=True))
        self._found_at = self._clock.seconds()
        return self._found

    @uncancelled
    async def glance(self) -> dict[str, str]:
        """The state of each, as it was a moment ago: for who can't wait for what does not answer."""
        if self._asking or (self._found_at is not None and self._clock.seconds() - self._found_at < _KEPT):
            return self._found
        self._asking = True
        turn: Deferred[None] = Deferred()

        def wake(_: object = None) -> None:
            if not turn.called:
                turn.callback(None)

        def ended(_: object) -> None:
            self._asking = False
            wake()

        self.states().addBoth(ended)
        limit = self._clock.callLater(_PATIENCE, wake)
        await turn
        if limit.active():
            limit.cancel()
        return self._found

    def _state(self, name: str) -> Deferred[str]:
        check = self._checks[name]

        async def work() -> str:
            if check is None:
                return DISABLED
            return await check() or OK

        def failed(failure: Failure) -> str:
            reason = failure.value
            if isinstance(reason, PikachuError):
                log.warn("Not ready: {name}: {reason}", name=name, reason=reason.public)
            elif isinstance(reason, TooSlow):
                log.warn("Not ready: {name} has not answered for {limit} s", name=name, limit=LIMIT)
            else:
                log.failure("Not ready: {name}", failure, name=name)
            return UNAVAILABLE

        return Deferred.fromCoroutine(work()).addTimeout(LIMIT, self._clock).addErrback(failed)  # type: ignore[arg-type]
