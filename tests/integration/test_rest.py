"""REST on a real server: threads, TLS, long answers, clients that hang up (API-1, API-2, INT-2)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pikachu.cli.session import done
from pikachu.core.model.people import SYSTEM, AccountState, Role
from tests.support.rest import csr_pem
from tests.support.server import Answer, Server, running_server


class API:
    """A server with an admin's token."""

    def __init__(self, server: Server) -> None:
        self.server = server
        with server.application() as app:
            account = done(
                app.accounts.add_user(SYSTEM, "root", "r@example.com", Role.ADMIN, AccountState.ACTIVE, "long enough")
            )
            self.token: str = done(app.tokens.create(SYSTEM, account.id, "test"))[1]

    def ask(self, method: str, path: str, body: object = None, listener: str = "https", **headers: str) -> Answer:
        fields = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        octets = None if body is None else json.dumps(body).encode()
        return self.server.ask(listener, path, method, octets, fields)

    def items(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.ask("GET", path).body)["items"]
        return items


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[API]:
    with running_server(tmp_path_factory.mktemp("rest")) as server:
        yield API(server)


def test_a_body_too_long(api: API) -> None:
    """INT-2: a request refused before any route sees it gets problem details too."""
    answer = api.ask("POST", "/api/v1/certificates", {"csr": "A" * (1 << 20)})
    assert answer.status == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert (problem["status"], problem["type"]) == (413, "about:blank")
    assert problem["detail"] == "The request's body is too long."


@pytest.mark.parametrize(
    ("accept", "kind", "text"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8", b"This server accepts 1,024 KiB."),
        ("*/*", "text/plain; charset=utf-8", b"the request's body is too long"),
        ("text/html;q=0", "text/plain; charset=utf-8", b"the request's body is too long"),
    ],
)
def test_a_form_too_long(api: API, accept: str, kind: str, text: bytes) -> None:
    """UI-5: a browser gets a page, with the headers of pages; programs get a line."""
    answer = api.ask("POST", "/csrs/upload", "A" * (1 << 20), Accept=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (413, kind)
    assert text in answer.body
    assert ("default-src 'none'" in answer.headers.get("Content-Security-Policy", "")) == (b"<html" in answer.body)


def test_a_thousand(api: API) -> None:
    """API-2: a page of a thousand rows comes whole and soon, though it is longer than one write."""
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda number: api.ask("POST", "/api/v1/csrs", {"csr": PEM, "name": f"n{number}"}), range(1001))
        )
    assert {one.status for one in made} == {201}
    begun = time.monotonic()
    assert api.ask("GET", "/api/v1/csrs?limit=1").status == 200
    began = time.monotonic()
    answer = api.ask("GET", "/api/v1/csrs?limit=1000")
    took = time.monotonic() - began
    page = json.loads(answer.body)
    assert len(answer.body) > 128 * 1024
    assert len(page["items"]) == 1000
    assert took < max(2, 20 * (began - begun)), "on a busy machine, one row takes long too"
    rest = json.loads(api.ask("GET", f"/api/v1/csrs?limit=1000&cursor={page['next_cursor']}").body)
    assert (len(rest["items"]), rest["next_cursor"]) == (1, None)


PEM = csr_pem("kept.example.com")


def test_one_key_at_once(api: API) -> None:
    """API-2: many copies of one request at once give one certificate."""
    body = {"csr": csr_pem("once.example.com")}
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(
                lambda _: api.ask("POST", "/api/v1/certificates", body, Idempotency_Key="at-once"),
                range(24),
            )
        )
    assert {one.status for one in answers} == {201}
    assert len({json.loads(one.body)["serial"] for one in answers}) == 1
    assert len(api.items("/api/v1/certificates?q=once.example.com")) == 1


@pytest.mark.parametrize("milliseconds", [0, 1, 3, 10, 30])
def test_hanging_up(api: API, milliseconds: int) -> None:
    """A client that hangs up, whenever that is, and asks again with its key has one certificate."""
    name = f"gone{milliseconds}.example.com"
    body = json.dumps({"csr": csr_pem(name)}).encode()
    lines = (
        "POST /api/v1/certificates HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {api.token}",
        "Content-Type: application/json",
        f"Idempotency-Key: {name}",
        f"Content-Length: {len(body)}",
    )
    with socket.create_connection(("127.0.0.1", api.server.ports["https"]), 30) as plain:
        secure = api.server.context().wrap_socket(plain, server_hostname="localhost")
        secure.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        time.sleep(milliseconds / 1000)
        secure.close()
    again = api.ask("POST", "/api/v1/certificates", json.loads(body), Idempotency_Key=name)
    assert again.status == 201
    found = api.items(f"/api/v1/certificates?q={name}")
    assert [one["id"] for one in found] == [json.loads(again.body)["id"]]


def test_listeners(api: API) -> None:
    """RUN-2: REST is for HTTPS; a token is never accepted in the clear."""
    assert api.ask("GET", "/api/v1/certificates").status == 200
    assert api.ask("GET", "/api/v1/certificates", listener="http").status == 403
    assert api.ask("GET", "/api/v1/certificates", listener="scep").status == 404


def test_secrets_stay_out_of_the_log(api: API) -> None:
    """RUN-7: no token, password or challenge is logged, in what went well or wrong."""
    user = {"username": "logged", "email": "l@example.com", "password": "hunter2hunter2"}
    assert api.ask("POST", "/api/v1/users", user).status == 201
    assert api.ask("POST", "/api/v1/users", user).status == 409
    challenge = json.loads(api.ask("POST", "/api/v1/challenge-passwords", {}).body)["password"]
    wrong = "pik_" + "w" * 43
    assert api.ask("GET", "/api/v1/events", Authorization=f"Bearer {wrong}").status == 401
    events = api.ask("GET", "/api/v1/events?limit=1000").body.decode()
    for text in (api.server.log, api.server.console, events):
        for secret in (api.token, "hunter2", challenge, wrong):
            assert secret not in text
