"""Server-sent events of a real server (UI-3): threads, TLS, another process, and a stop that does not wait (RUN-5)."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from pikachu.cli.session import done
from pikachu.core.model.events import Event
from pikachu.core.model.people import SYSTEM, AccountState, Role
from pikachu.core.model.times import utc
from tests.support.rest import csr_pem
from tests.support.server import Client, Server, running_server, wait_until


@dataclass
class Listener:
    """A signed-in client that receives the event stream.

    :ivar told: (event, data) of each message received.
    """

    server: Server
    name: str
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    ended: bool = False
    cookie: str = ""
    _client: Client | None = None

    def sign_in(self) -> None:
        """Through the form."""
        with self.server.client() as client:
            page = client.ask("/login")
            visitor = page.headers["Set-Cookie"].partition(";")[0]
            csrf = re.search(r'name="csrf" value="([^"]*)"', page.text)
            assert csrf is not None
            body = urlencode({"username": self.name, "password": f"password of {self.name}", "csrf": csrf[1]}).encode()
            headers = {"Cookie": visitor, "Content-Type": "application/x-www-form-urlencoded"}
            client.connection.request("POST", "/login", body, headers)
            answer = client.connection.getresponse()
            answer.read()
            assert answer.status == 303
            cookies = [value.partition(";")[0] for name, value in answer.getheaders() if name == "Set-Cookie"]
            self.cookie = "; ".join(cookie for cookie in cookies if not cookie.endswith("="))

    def listen(self) -> None:
        """From now on."""
        self._client = self.server.client()
        self._client.connection.request("GET", "/live", headers={"Cookie": self.cookie})
        answer = self._client.connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        threading.Thread(target=self._read, args=(answer,), daemon=True).start()
        wait_until(lambda: self.of("hello"), "the greeting")

    def _read(self, answer: http.client.HTTPResponse) -> None:
        event = ""
        while line := answer.readline().decode():
            if line.startswith("event: "):
                event = line[7:].strip()
            elif line.startswith("data: "):
                self.told.append((event, json.loads(line[6:])))
        answer.close()
        self.ended = True

    def close(self) -> None:
        """Once the server has ended the answer."""
        wait_until(lambda: self.ended, "the stream ends")
        assert self._client is not None
        self._client.close()

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the data of the received events of one kind."""
        return [data for name, data in list(self.told) if name == event]

    def names(self) -> set[str]:
        """Return the names of the resources in the events received."""
        return {one["resource_name"] for data in self.of("changed") for one in data["events"]}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path) as running:
        with running.application() as app:
            for name, role in (("alice", Role.USER), ("bob", Role.USER), ("root", Role.ADMIN)):
                done(
                    app.accounts.add_user(
                        SYSTEM, name, f"{name}@example.com", role, AccountState.ACTIVE, f"password of {name}"
                    )
                )
        yield running


def test_events_arrive(server: Server) -> None:
    """Events of the server and of other processes arrive within seconds at those who may see them; a stop waits for
    no listener.
    """
    with server.application() as app:
        account = done(app.store.account_by_name("alice"))
        assert account is not None
        token = done(app.tokens.create(SYSTEM, account.id, "test"))[1]
    listeners = {name: Listener(server, name) for name in ("alice", "bob", "root")}
    for one in listeners.values():
        one.sign_in()
        one.listen()
    begun = time.monotonic()
    body = json.dumps({"csr": csr_pem()}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = server.ask("https", "/api/v1/certificates", "POST", body, headers)
    assert answer.status == 201
    answered = time.monotonic()
    serial = json.loads(answer.body)["serial"]
    wait_until(lambda: serial in listeners["alice"].names() and serial in listeners["root"].names(), "the issuance")
    # On a busy machine, as much longer as the issuance itself took.
    assert time.monotonic() - answered < max(5, 10 * (answered - begun))
    assert listeners["alice"].of("changed")[-1]["certificates"]["valid"] == 1
    with server.application() as app:
        event = Event("update", "thing", "of another process", "someone", owner_id=account.id)
        done(app.store.add_event(event, utc(time.time())))
    wait_until(lambda: "of another process" in listeners["alice"].names(), "an event of another process")
    # His own log-in may be told to him, and nothing else.
    assert listeners["bob"].names() <= {"bob"}
    assert server.stop() == 0
    assert "did not finish in time" not in server.log
    for one in listeners.values():
        one.close()


def test_a_forced_logout(server: Server) -> None:
    """USR-4: a listener learns of its sign-out, though another process caused it."""
    alice = Listener(server, "alice")
    alice.sign_in()
    alice.listen()
    with server.application() as app:
        account = done(app.store.account_by_name("alice"))
        assert account is not None
        done(app.sessions.force_logout(SYSTEM, account.id))
    alice.close()
    assert alice.of("end")
    assert server.ask("https", "/live/panels", headers={"Cookie": alice.cookie}).status == 302
