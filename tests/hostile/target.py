"""A server under attack: ways to send, and what is asserted of every input."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest
from _pytest.mark import ParameterSet

from tests.support.pki import make_csr
from tests.support.server import Answer, Client, Server
from tests.support.stall_watch import StallWatch, reference_seconds

# A stall may last so many batches of reference work.  What these inputs cost before they were bounded was 10 to 5,000.
BATCHES: Final = 3
ATTEMPTS: Final = 4
MEMORY_GROWTH: Final = 1.2
SETTLE_SECONDS: Final = 10.0
PATIENCE_SECONDS: Final = 60.0
REFUSED_BY_BREAKING_OFF: Final = 0


def sampled(names: Iterable[str], every: int = 5, *, always: Collection[str] = ()) -> list[ParameterSet]:
    """Return the parameters of all names, of which every push tries some and the soak the others.

    :param always: names that every push tries.
    """
    return [
        pytest.param(name, marks=() if number % every == 0 or name in always else pytest.mark.soak)
        for number, name in enumerate(names)
    ]


@dataclass
class Target:
    """A running server with an administrator.

    :ivar token: of the administrator, with every scope.
    """

    server: Server
    watch: StallWatch
    token: str
    username: str
    password: str
    record: Callable[[str, object], None] = lambda _name, _value: None

    def prepare(self) -> None:
        """Issue and revoke some certificates, so that lists, the CRL and OCSP have something to say."""
        for number in range(5):
            issued = self.rest("POST", "/certificates", {"csr": make_csr(subject=f"device-{number}")[1]})
            assert issued.status == 201, issued.text
        serial = json.loads(issued.body)["id"]
        assert self.rest("POST", f"/certificates/{serial}/revocation", {"reason": "superseded"}).status == 200

    # --- what is asserted ---------------------------------------------------------------

    def survives(self, attack: Callable[[], object], *, batches: float = BATCHES) -> None:
        """Assert that others hardly wait while *attack* runs, and that memory comes back.

        The first run, which imports and fills caches, counts for neither; of the others the best counts, since the
        machine may be shared.
        """
        attack()
        before = self.server.memory()
        ratios: list[float] = []
        milliseconds: list[float] = []
        for _ in range(ATTEMPTS):
            reference = reference_seconds()
            longest = self.watch.longest(attack)
            ratios.append(longest / reference)
            milliseconds.append(1000 * longest)
            if ratios[-1] <= batches:
                break
        after = self._settled_memory(before)
        self.record("ms longest wait of another", round(min(milliseconds)))
        self.record("batches of reference work", round(min(ratios), 1))
        self.record("MB of memory before", round(before / 1e6))
        self.record("MB after", round(after / 1e6))
        assert min(ratios) <= batches, f"others waited {milliseconds} ms, {ratios} batches of reference work"
        assert after <= MEMORY_GROWTH * before, f"memory grew from {before} to {after} bytes"

    def _settled_memory(self, before: int) -> int:
        end = time.monotonic() + SETTLE_SECONDS
        after = self.server.memory()
        while after > MEMORY_GROWTH * before and time.monotonic() < end:
            time.sleep(0.1)
            after = self.server.memory()
        return after

    # --- ways to send -------------------------------------------------------------------

    def send(
        self,
        listener: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> int:
        """Send one request on a connection of its own, and return the status, which must not be a 500.

        A server that breaks the connection off has refused as well: the status is 0 then.
        """
        context = self.server.context() if listener in ("https", "trusted_https") else None
        with Client(self.server.ports[listener], context, PATIENCE_SECONDS) as client:
            try:
                answer = client.ask(path, method or ("GET" if body is None else "POST"), body, headers)
            except (ConnectionError, http.client.BadStatusLine, ssl.SSLError):
                return REFUSED_BY_BREAKING_OFF
        assert answer.status != 500, answer.text
        return answer.status

    def rest(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Answer:
        """Ask REST as the administrator; DER in the document is sent as base64."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        body = None if document is None else json.dumps(document, default=_as_base64).encode()
        with Client(self.server.ports["https"], self.server.context(), PATIENCE_SECONDS) as client:
            answer = client.ask(f"/api/v1{path}", method, body, headers)
        assert answer.status != 500, answer.text
        return answer

    def session(self) -> str:
        """Sign in to the pages, and return the cookie."""
        with Client(self.server.ports["https"], self.server.context()) as client:
            form = client.ask("/login")
            cookie = form.headers["Set-Cookie"].partition(";")[0]
            csrf = re.search(r'name="csrf" value="([^"]+)"', form.text)
            assert csrf is not None
            fields = {"csrf": csrf[1], "username": self.username, "password": self.password}
            answer = client.ask(
                "/login",
                "POST",
                "&".join(f"{name}={value.replace(' ', '+')}" for name, value in fields.items()).encode(),
                {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"},
            )
            assert answer.status == 303, answer.text
            return answer.headers["Set-Cookie"].partition(";")[0]

    def page(self, path: str) -> Callable[[], Answer]:
        """Sign in to the pages, and return what asks for *path*."""
        session = self.session()

        def ask() -> Answer:
            with Client(self.server.ports["https"], self.server.context(), PATIENCE_SECONDS) as client:
                answer = client.ask(path, headers={"Cookie": session})
            assert answer.status != 500, answer.text
            return answer

        return ask

    def enroll(self, csr: bytes) -> int:
        """EST simpleenroll as the administrator."""
        credentials = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/pkcs10"}
        return self.send("https", "/.well-known/est/simpleenroll", base64.b64encode(csr), headers)

    def connect(self, listener: str = "http", receive_buffer: int | None = None) -> socket.socket:
        """A bare connection, over TLS where the listener speaks that."""
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(("127.0.0.1", self.server.ports[listener]))
        if listener in ("http", "scep"):
            return connection
        return self.server.context().wrap_socket(connection, server_hostname="localhost")


def _as_base64(value: object) -> str:
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode("ascii")
