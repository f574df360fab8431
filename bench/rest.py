"""A client of REST and of plain HTTP that keeps its connections and asks one thing at a time."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Mapping

from bench.load import body_of
from bench.place import Place


class REST:
    """Asks the server of *place* as the account ``bench``."""

    def __init__(self, place: Place) -> None:
        context = ssl.create_default_context(cafile=str(place.folder / "pki/root.crt"))
        self._connection = http.client.HTTPSConnection("localhost", place.https, context=context, timeout=60)
        self._port = place.http
        self._plain = self._connect()
        self._fields = {"Authorization": place.bearer}

    def __enter__(self) -> REST:
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connections: a server that ends waits for its clients to say good-bye."""
        self._connection.close()
        self._plain.close()

    def serves(self, path: str) -> bool:
        """Whether that path is there."""
        return self._ask("GET", path, None)[0] != 404

    def get(self, path: str) -> bytes:
        """Return the document at a path; RuntimeError when the status is not 200."""
        status, content = self._ask("GET", path, None)
        if status != 200:
            raise RuntimeError(f"GET {path} was answered with {status}: {content[:200]!r}")
        return content

    def post(self, path: str, document: Mapping[str, object]) -> bytes:
        """Its answer; RuntimeError when it is a refusal."""
        status, content = self._ask("POST", path, json.dumps(document).encode())
        if status not in (200, 201):
            raise RuntimeError(f"POST {path} was answered with {status}: {content[:200]!r}")
        return content

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        fields = {**self._fields, "Content-Type": "application/json"} if body else self._fields
        try:
            self._connection.request(method, path, body, fields)
            answer = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError):
            # The server has closed it while it was idle.
            self._connection.close()
            self._connection.request(method, path, body, fields)
            answer = self._connection.getresponse()
        return answer.status, answer.read()

    def _connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain

    def plain(self, request: bytes) -> bytes:
        """The body of the answer to a whole HTTP request, on plain HTTP."""
        received = b""
        with contextlib.suppress(ConnectionError):
            self._plain.sendall(request)
            received = self._plain.recv(65536)
        if not received:
            # The server has closed it while it was idle.
            self._plain.close()
            self._plain = self._connect()
            self._plain.sendall(request)
        while (body := body_of(received)) is None:
            piece = self._plain.recv(65536)
            if not piece:
                raise RuntimeError("the server closed the connection")
            received += piece
        return body
