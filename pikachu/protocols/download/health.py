"""Health checks: ``/healthz`` (the process is alive) and ``/readyz`` (its dependencies answer) (RUN-8)."""

from __future__ import annotations

from twisted.web.resource import Resource

from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.http.request import BoundedRequest
from pikachu.operations.readiness import OK, PURPOSES, UNAVAILABLE, Readiness, overall
from pikachu.protocols.download.download_resource import Download, path_segments, send_json


class Alive(Download):
    """``/healthz``."""

    def __init__(self) -> None:
        Resource.__init__(self)

    async def answer(self, request: BoundedRequest) -> None:
        """Send the constant status."""
        if path_segments(request):
            raise NotFound("nothing here")
        send_json(request, {"status": OK})


class Ready(Download):
    """``/readyz``, and ``/readyz?for=enrollment`` and ``for=status`` for a proxy's groups of servers."""

    def __init__(self, readiness: Readiness) -> None:
        Resource.__init__(self)
        self._readiness = readiness

    async def answer(self, request: BoundedRequest) -> None:
        """Send 200, or 503 when a required dependency does not answer in time."""
        if path_segments(request):
            raise NotFound("nothing here")
        states = await self._readiness.states()
        purposes = request.args.get(b"for", [])
        if purposes:
            purpose = purposes[0].decode("ascii", "replace")
            if len(purposes) > 1 or purpose not in PURPOSES:
                raise MalformedRequest(f"for must be one of {', '.join(PURPOSES)}.")
            states = {name: state for name, state in states.items() if PURPOSES[purpose](name)}
        status = overall(states)
        document = {
            "status": status,
            "checks": {name: one.state for name, one in states.items()},
            "messages": {name: one.message for name, one in states.items()},
        }
        send_json(request, document, 503 if status == UNAVAILABLE else 200)
