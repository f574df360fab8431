"""Calls of an OpenID Connect provider; each blocks, so they run in a worker pool."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from pikachu.core.errors import Unavailable

_MAXIMUM_SIZE: Final = 1 << 20


class ProviderClient:
    """Sends requests; redirects are not followed, and answers are bounded.

    :param timeout: seconds for each step of a request.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._tls = ssl.create_default_context()

    def get(self, url: str) -> dict[str, Any]:
        """Return the JSON object at *url*.

        :raises Unavailable: the provider does not answer, or with something else.
        """
        return self._ask("GET", url, None, {})[1]

    def post(self, url: str, body: str, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Send a form; return the status and the JSON object of the answer.

        :raises Unavailable: as for :meth:`get`, except for an error of the client (4xx).
        """
        return self._ask("POST", url, body, {"Content-Type": "application/x-www-form-urlencoded", **headers})

    def _ask(self, method: str, url: str, body: str | None, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise Unavailable(_FAILED, reason=f"{url} is no address")
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=self._timeout, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=self._timeout)
        target = urlunsplit(("", "", parts.path, parts.query, "")) or "/"
        try:
            connection.request(method, target, body, {"Accept": "application/json", **headers})
            answer = connection.getresponse()
            content = answer.read(_MAXIMUM_SIZE + 1)
            status = answer.status
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(_FAILED, reason=f"{url}: {error}") from error
        finally:
            connection.close()
        if len(content) > _MAXIMUM_SIZE or not (status == 200 or (method == "POST" and 400 <= status < 500)):
            raise Unavailable(_FAILED, reason=f"{url}: status {status}, {len(content)} bytes")
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Unavailable(_FAILED, reason=f"{url}: no JSON") from error
        if not isinstance(document, dict):
            raise Unavailable(_FAILED, reason=f"{url}: no JSON object")
        return status, document


_FAILED: Final = "The sign-in provider does not answer. Try again later, or sign in with a local account."
