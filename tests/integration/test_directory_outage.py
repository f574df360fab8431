"""A directory that swallows everything, beside a real server: nobody waits for it but who needs it (USR-5)."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.cli.session import done
from pikachu.core.model.people import SYSTEM, AccountState, Role
from tests.support.pki import make_csr
from tests.support.server import Answer, Server, running_server, wait_until

#: Seconds that one answer of the directory may take here.
TIMEOUT = 10
USERS = 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server whose directory accepts connections, and never says anything; *olga* is a local account."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as swallows:
        settings = {
            "enabled": "true",
            "LDAP_HOST": "127.0.0.1",
            "LDAP_PORT": str(swallows.getsockname()[1]),
            "BASE_DN": "dc=example,dc=org",
            "ADMIN_DN": "cn=pikachu,dc=example,dc=org",
            "ADMIN_PASSWORD": "service",
            "timeout": f"{TIMEOUT}s",
        }
        with running_server(tmp_path, changes={("LDAP", key): text for key, text in settings.items()}) as running:
            with running.application() as app:
                account = app.accounts.add_user(
                    SYSTEM, "olga", "olga@example.com", Role.USER, AccountState.ACTIVE, "password of olga"
                )
                done(account)
            yield running


def enroll(server: Server, username: str) -> Answer:
    """Enroll with HTTP Basic."""
    credentials = base64.b64encode(f"{username}:password of {username}".encode()).decode()
    headers = {"Content-Type": "application/pkcs10", "Authorization": f"Basic {credentials}"}
    body = base64.b64encode(make_csr("p256", f"{username}-device")[1])
    return server.ask("https", "/.well-known/est/simpleenroll", "POST", body, headers)


@pytest.mark.slow
def test_a_directory_that_says_nothing_delays_nobody_else(server: Server) -> None:
    """While many wait for it, a local account enrolls; then they get 503, and at once from then on."""
    answers: list[Answer] = []
    waiting = [
        threading.Thread(target=lambda name=f"user{number}": answers.append(enroll(server, name)), daemon=True)
        for number in range(USERS)
    ]
    for one in waiting:
        one.start()
    # More than the threads of the directory's pool are waiting; nothing else is.
    for _ in range(3):
        assert enroll(server, "olga").status == 200
        assert server.ask("http", "/healthz").status == 200
    assert answers == []
    health = server.ask("http", "/readyz")
    checks = json.loads(health.body)["checks"]
    assert health.status == 503
    assert {name for name, state in checks.items() if state == "unavailable"} == {"ldap"}
    wait_until(lambda: len(answers) == USERS, "everybody has an answer")
    assert {answer.status for answer in answers} == {503}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
    assert enroll(server, "user0").status == 503
    assert enroll(server, "olga").status == 200
