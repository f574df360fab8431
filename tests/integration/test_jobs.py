"""Jobs of the real process: they survive kills, and of several nodes one runs them (JOB-1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountState, Role
from pikachu.server.application import Application
from tests.support.deferreds import result_of
from tests.support.nodes import two_nodes
from tests.support.postgresql import PostgreSQL, running_postgresql
from tests.support.server import Server, end, make_server, wait_until


def prepare(app: Application, count: int) -> str:
    """Create an account with that number of challenge passwords, and return its token."""
    adding = app.accounts.add_user(SYSTEM, "alice", "alice@example.com", Role.USER, AccountState.ACTIVE, "long enough")
    account = result_of(adding)
    for _ in range(count):
        result_of(app.challenge_passwords.create(account_principal(account, "192.0.2.1")))
    return result_of(app.tokens.create(SYSTEM, account.id, "test"))[1]


def ask(server: Server, token: str, method: str, path: str, body: object = None) -> Any:
    """The JSON of an answer."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with server.client() as client:
        answer = client.ask(f"/api/v1{path}", method, None if body is None else json.dumps(body).encode(), headers)
    assert answer.status in (200, 202), answer.text
    return json.loads(answer.body)


def delete_all(server: Server, token: str, count: int) -> int:
    """Begin to delete all challenge passwords, and return the job's id."""
    body = {"action": "delete", "resource": "challenge-passwords", "filter": {}, "expected": count}
    identity: int = ask(server, token, "POST", "/jobs", body)["id"]
    return identity


def test_kills(tmp_path: Path) -> None:
    """Each row is done once, however often the server is killed or stopped meanwhile."""
    count = 150
    server = make_server(tmp_path, ("p256",))
    try:
        with server.application() as app:
            token = prepare(app, count)
        server.start()
        job = delete_all(server, token, count)
        for attempt in range(2):
            before = ask(server, token, "GET", f"/jobs/{job}")["done"]
            wait_until(lambda: ask(server, token, "GET", f"/jobs/{job}")["done"] > before, "rows are done")  # noqa: B023
            if attempt:
                assert server.stop() == 0
            else:
                server.kill()
            server.start()
        wait_until(lambda: ask(server, token, "GET", f"/jobs/{job}")["state"] != "running", "the job ends")
        ended = ask(server, token, "GET", f"/jobs/{job}")
        assert (ended["state"], ended["done"], ended["failed"]) == ("completed", count, 0)
        assert server.stop() == 0
        assert "Traceback" not in server.log + server.console
        with server.application() as app:
            query = ListQuery(limit=1000, filters={"type": "delete", "resource_type": "challenge password"})
            events = result_of(app.store.events(query)).items
        assert len(events) == count
    finally:
        end(server)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server of these tests' own."""
    with running_postgresql() as server:
        yield server


@pytest.mark.interop
def test_nodes(tmp_path: Path, postgresql: PostgreSQL) -> None:
    """A job is run by the leader, whichever node created it; when that has stopped, the other one does."""
    with two_nodes(tmp_path, postgresql.url(postgresql.new_database())) as (first, second):
        with first.application() as app:
            token = prepare(app, 3)
        first.start()
        second.start()

        def run(node: Server) -> None:
            number = len(ask(node, token, "GET", "/challenge-passwords?limit=100")["items"])
            job = delete_all(node, token, number)
            wait_until(lambda: ask(node, token, "GET", f"/jobs/{job}")["done"] == number, "the job is done")

        for node in (first, second):
            ask_for_passwords(node, token)
            run(node)
        wait_until(lambda: (first.log + second.log).count("ended: completed") == 2, "both jobs end")
        assert [node.log.count("ended: completed") for node in (first, second)].count(0) == 1
        leader, other = (first, second) if "ended: completed" in first.log else (second, first)
        assert leader.stop() == 0
        ask_for_passwords(other, token)
        run(other)
        wait_until(lambda: "ended: completed" in other.log, "the other node has run it")


def ask_for_passwords(node: Server, token: str) -> None:
    """Create two challenge passwords."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for _ in range(2):
        with node.client() as client:
            assert client.ask("/api/v1/challenge-passwords", "POST", b"{}", headers).status == 201
