"""``/healthz``: the process is alive; ``/readyz``: what it needs is there (RUN-8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as TooSlow
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from pikachu.errors import NotFound, PikachuError
from pikachu.http.request import BoundedRequest
from pikachu.interfaces import IClock
from pikachu.protocols.download.outlet import Download, below, send_json

log = Logger()

# A check succeeds with None, or with "degraded" where something else has taken over; ``None``: it is turned off.
Check = Callable[[], Deferred[str | None]]
OK: Final = "ok"
DEGRADED: Final = "degraded"
DISABLED: Final = "disabled"
UNAVAILABLE: Final = "unavailable"
LIMIT: Final = 2.0


class Alive(Download):
    """``/healthz``."""

    def __init__(self) -> None:
        Resource.__init__(self)

    async def answer(self, request: BoundedRequest) -> None:
        """Always the same, for whoever reads it."""
        if below(request):
            raise NotFound("nothing here")
        send_json(request, {"status": OK})


class Ready(Download):
    """``/readyz``.

    :param checks: by name.
    """

    def __init__(self, clock: IClock, checks: Mapping[str, Check | None]) -> None:
        Resource.__init__(self)
        self._clock = clock
        self._checks = dict(checks)

    async def answer(self, request: BoundedRequest) -> None:
        """200, or 503 when something that is needed does not answer in time."""
        if below(request):
            raise NotFound("nothing here")
        names = list(self._checks)
        states = dict(zip(names, await gatherResults([self._state(name) for name in names]), strict=True))
        found = set(states.values())
        status = UNAVAILABLE if UNAVAILABLE in found else DEGRADED if DEGRADED in found else OK
        send_json(request, {"status": status, "checks": states}, 503 if status == UNAVAILABLE else 200)

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
