"""Readiness of the server, for ``/readyz``, dashboards and the assistant (RUN-8).

:mod:`pikachu.operations.readiness_checks` has the checks; this module schedules them.  For any number of callers, each
check runs once at a time, and a hanging one is not started again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.defer import TimeoutError as TooSlow
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.core.concurrency import SingleFlight, uncancelled
from pikachu.core.errors import PikachuError
from pikachu.core.interfaces import IClock

log = Logger()

OK: Final = "ok"
DEGRADED: Final = "degraded"
DISABLED: Final = "disabled"
UNAVAILABLE: Final = "unavailable"
#: The first check has no result yet.
CHECKING: Final = "checking"
#: Time limit of a check.
TIMEOUT_SECONDS: Final = 2.0
# Cache time of results, for probes and for dashboards, and how long a dashboard waits for newer ones.
_CACHE_SECONDS: Final = 1.0
_GLANCE_CACHE_SECONDS: Final = 10.0
_GLANCE_MAX_WAIT_SECONDS: Final = 0.05
# An unchanged state is logged again after this time.
_LOG_INTERVAL_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Check:
    """A readiness check.

    :param run: succeeds with None, or with a message if a fallback is in use; fails with a PikachuError whose message
        says what is wrong and what to do.
    :param interval: seconds for which a result is valid.
    """

    run: Callable[[], Deferred[str | None]]
    interval: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """The public result of a check; its message contains no path or address."""

    state: str
    message: str


_DISABLED: Final = State(DISABLED, "Not configured.")
_CHECKING: Final = State(CHECKING, "The first check is running.")


# The checks that matter for a group of servers behind a proxy. Status services work from files and memory, so they need
# neither the database nor the signer of certificates.
_STATUS_CHECKS: Final = ("ocsp ", "crl ", "clock")
PURPOSES: Final[Mapping[str, Callable[[str], bool]]] = {
    "enrollment": lambda name: not name.startswith(("ocsp ", "crl ")),
    "status": lambda name: name.startswith(_STATUS_CHECKS),
}


def overall(states: Mapping[str, State]) -> str:
    """Return the worst of all states."""
    results = {state.state for state in states.values()}
    return UNAVAILABLE if UNAVAILABLE in results else DEGRADED if DEGRADED in results else OK


class _Probe:
    """A check with its newest result; it runs once at a time."""

    def __init__(self, name: str, clock: IClock) -> None:
        self._name = name
        self._clock = clock
        self._result: State | None = None
        self._finished_at = 0.0
        self._flights: SingleFlight[State] = SingleFlight()
        self._logged: tuple[State, float] | None = None

    def state(self, check: Check) -> Deferred[State]:
        """Return a recent enough result, or *unavailable* if there is none in time."""
        age = self._clock.seconds() - self._finished_at
        if self._result is not None and None not in self._flights and 0 <= age < check.interval:
            return succeed(self._result)
        # A timeout ends the wait, not the check.
        result = self._flights.run(None, lambda: self._run(check))
        return result.addTimeout(TIMEOUT_SECONDS, self._clock).addErrback(self._too_slow)  # type: ignore[arg-type]

    async def _run(self, check: Check) -> State:
        try:
            message = await check.run()
        except PikachuError as error:
            state = State(UNAVAILABLE, error.public)
            self._log(state, **error.context)
        except Exception:  # noqa: BLE001 - a check that fails in any way is an answer
            state = State(UNAVAILABLE, "The check failed; the log has the reason.")
            log.failure("Not ready: {name}", name=self._name)
        else:
            state = State(OK, "Ready.") if message is None else State(DEGRADED, message)
            self._log(state)
        self._result, self._finished_at = state, self._clock.seconds()
        return state

    def _too_slow(self, failure: Failure) -> State:
        failure.trap(TooSlow)
        state = State(UNAVAILABLE, f"There was no answer within {TIMEOUT_SECONDS:g} seconds.")
        self._log(state)
        return state

    def _log(self, state: State, **context: object) -> None:
        """Log changes of the state, and a lasting state at intervals."""
        now = self._clock.seconds()
        if self._logged is None:
            last, at = State(OK, "Ready."), now
        else:
            last, at = self._logged
        if state == last and 0 <= now - at < _LOG_INTERVAL_SECONDS:
            return
        self._logged = (state, now)
        if state.state == UNAVAILABLE:
            log.error("Not ready: {name}: {reason} {context}", name=self._name, reason=state.message, context=context)
        elif state != last:
            log.info("{name} is {state}: {reason}", name=self._name, state=state.state, reason=state.message)


class Readiness:
    """Runs all checks.

    :param checks: the checks by name; ``None`` if not configured.
    :param varying: returns the checks of objects that change at runtime, such as generations of CAs.
    """

    def __init__(
        self,
        clock: IClock,
        checks: Mapping[str, Check | None],
        varying: Callable[[], Mapping[str, Check]] = dict,
    ) -> None:
        self._clock = clock
        self._checks = dict(checks)
        self._varying = varying
        self._probes: dict[str, _Probe] = {}
        self._states = {name: _DISABLED if check is None else _CHECKING for name, check in self._all().items()}
        self._finished_at: float | None = None
        self._flights: SingleFlight[dict[str, State]] = SingleFlight()

    def with_checks(self, checks: Mapping[str, Check | None]) -> Readiness:
        """Return a copy with additional or replaced checks."""
        return Readiness(self._clock, {**self._checks, **checks}, self._varying)

    def _all(self) -> dict[str, Check | None]:
        return {**self._checks, **self._varying()}

    def _is_newer(self, seconds: float) -> bool:
        """Return whether the results are newer than *seconds*."""
        return self._finished_at is not None and 0 <= self._clock.seconds() - self._finished_at < seconds

    @uncancelled
    async def states(self) -> dict[str, State]:
        """Return the state of each check, at most a second old."""
        if None not in self._flights and self._is_newer(_CACHE_SECONDS):
            return self._states
        return await self._flights.run(None, self._check_all)

    @uncancelled
    async def refresh(self, *names: str) -> None:
        """Run these checks, whose changes the log then has although nobody asks for their states."""
        checks = self._all()
        for name in names:
            await self._state(name, checks.get(name))

    async def _check_all(self) -> dict[str, State]:
        checks = self._all()
        self._probes = {name: probe for name, probe in self._probes.items() if name in checks}
        results = await gatherResults([self._state(name, check) for name, check in checks.items()])
        self._states = dict(zip(checks, results, strict=True))
        self._finished_at = self._clock.seconds()
        return self._states

    def _state(self, name: str, check: Check | None) -> Deferred[State]:
        if check is not None:
            if name not in self._probes:
                self._probes[name] = _Probe(name, self._clock)
            return self._probes[name].state(check)
        disabled: Deferred[State] = Deferred()
        disabled.callback(_DISABLED)
        return disabled

    @uncancelled
    async def glance(self) -> dict[str, State]:
        """Return the recent state of each check, for callers that can't wait for a hanging one."""
        if None in self._flights or self._is_newer(_GLANCE_CACHE_SECONDS):
            return self._states
        turn: Deferred[None] = Deferred()

        def wake(_: object = None) -> None:
            if not turn.called:
                turn.callback(None)

        self.states().addBoth(wake)
        limit = self._clock.callLater(_GLANCE_MAX_WAIT_SECONDS, wake)
        await turn
        if limit.active():
            limit.cancel()
        return self._states
