"""``/metrics`` for Prometheus: for this machine over HTTP, and for administrators' tokens over HTTPS (OPS-4)."""

from __future__ import annotations

import ipaddress

from twisted.web.resource import Resource

from pikachu.auth.authenticator import Authenticator
from pikachu.auth.permissions import is_admin, require_scope
from pikachu.core.errors import AuthenticationFailed, NotAuthorized, NotFound
from pikachu.core.model.people import Scope
from pikachu.http.request import BoundedRequest
from pikachu.http.responses import send
from pikachu.operations.metrics import Metrics
from pikachu.operations.metrics_text import CONTENT_TYPE, metrics_text
from pikachu.protocols.download.download_resource import NO_STORE, Download, path_segments


class MetricsResource(Download):
    """``/metrics``."""

    def __init__(self, metrics: Metrics, authenticator: Authenticator) -> None:
        Resource.__init__(self)
        self._metrics = metrics
        self._authenticator = authenticator

    async def answer(self, request: BoundedRequest) -> None:
        """Send the metrics."""
        if path_segments(request):
            raise NotFound("nothing here")
        if request.isSecure():  # type: ignore[no-untyped-call]
            await self._require_admin(request)
        elif not ipaddress.ip_address(request.address).is_loopback:
            raise NotAuthorized(
                "Over HTTP, metrics are for this machine only. Use HTTPS with an administrator's API token."
            )
        send(request, 200, CONTENT_TYPE, metrics_text(await self._metrics.collect()), NO_STORE)

    async def _require_admin(self, request: BoundedRequest) -> None:
        """Require an administrator's token.

        :raises AuthenticationFailed: when there is no valid one.
        :raises NotAuthorized: when it is another account's, or lacks a scope.
        """
        values = request.requestHeaders.getRawHeaders(b"Authorization") or []
        scheme, _, token = (values[0] if len(values) == 1 else b"").decode("latin-1").strip().partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationFailed("Send an administrator's API token: `Authorization: Bearer TOKEN`.")
        principal = await self._authenticator.token(token.strip(), request.address)
        request.authenticated()
        require_scope(principal, Scope.READ)
        if not is_admin(principal):
            raise NotAuthorized("Metrics are for administrators. Use a token of an administrator with the scope admin.")
