"""Client certificates of people: they call REST, and sign in on the trusted port (API-1)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from pikachu.core.model.account_objects import NewSession
from pikachu.core.model.events import Event
from pikachu.core.model.people import AccountState, NewAccount, Role
from tests.support.bound import SERVERS_ONLY, Bound, bound_server
from tests.support.databases import wait_until
from tests.support.deferreds import result_of
from tests.support.pki import Identity, make_ca, make_leaf
from tests.support.server import Answer, make_server

PORTS = ("https", "trusted_https")


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bound]:
    with bound_server(tmp_path_factory.mktemp("server")) as found:
        yield found


def sign_in(bound: Bound, identity: Identity | None, listener: str = "trusted_https") -> tuple[bool, Answer]:
    """(whether the form offers the certificate, what becomes of it)."""
    with bound.server.client(listener, identity) as client:
        form = client.ask("/login")
        text = form.body.decode()
        found = re.search(r'name="csrf" value="([^"]*)"', text)
        assert found, text
        cookie = form.headers["Set-Cookie"].partition(";")[0]
        fields = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"csrf": found[1], "next": "/"}).encode()
        return "/login/certificate" in text, client.ask("/login/certificate", "POST", body, fields)


@pytest.mark.parametrize("listener", PORTS)
def test_a_bound_certificate_calls_rest(bound: Bound, listener: str) -> None:
    """API-1: as its account, with all that this may; a token that is there too wins, even a wrong one."""
    alice, _ = bound.bind("alice")
    me = f"/users/{bound.ids['alice']}"
    assert bound.good("GET", me, identity=alice, listener=listener)["username"] == "alice"
    assert bound.rest("GET", "/users", identity=alice, listener=listener).status == 403
    assert bound.rest("GET", me, identity=alice, listener=listener, who="bob").status == 404
    wrong = bound.rest("GET", me, identity=alice, listener=listener, headers={"Authorization": "Bearer pik_x"})
    assert wrong.status == 401
    made = bound.good("POST", "/tokens", {"name": f"by certificate {listener}"}, identity=alice, listener=listener)
    assert made["owner"] == "alice"


@pytest.mark.parametrize("listener", PORTS)
def test_an_unbound_certificate_is_nobody(bound: Bound, listener: str) -> None:
    """401, as without one; with a token it is the token's account."""
    device, _ = bound.issue("alice")
    answer = bound.rest("GET", "/certificates", identity=device, listener=listener)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert bound.rest("GET", "/certificates", identity=device, listener=listener, who="bob").status == 200


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example.org"}, {"Sec-Fetch-Site": "cross-site"}])
def test_another_site_changes_nothing(bound: Bound, headers: dict[str, str]) -> None:
    """UI-5: a browser sends its certificate wherever a page of another site has it send something."""
    root, _ = bound.bind("root")
    path = f"/users/{bound.ids['bob']}/logout"
    assert bound.rest("POST", path, identity=root, listener="trusted_https", headers=headers).status == 403
    assert bound.rest("POST", path, identity=root, listener="trusted_https").status == 200
    here = f"https://localhost:{bound.server.ports['trusted_https']}"
    assert bound.rest("POST", path, identity=root, listener="trusted_https", headers={"Origin": here}).status == 200
    assert bound.rest("POST", path, who="root", headers=headers).status == 200


def test_signing_in(bound: Bound) -> None:
    """On the trusted port only; never without the form's hidden field."""
    alice, _ = bound.bind("alice")
    offered, answer = sign_in(bound, alice)
    assert offered
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    offered, answer = sign_in(bound, alice, "https")
    assert not offered
    assert answer.status == 403
    answer = bound.server.ask("trusted_https", "/login/certificate", "POST", b"", identity=alice)
    assert answer.status == 403
    (event, *_) = bound.events("login")
    assert (event["resource_name"], event["details"]["by"]) == ("alice", "client certificate")


def refused(bound: Bound, identity: Identity, status: int, told: str) -> None:
    """Neither signs in nor calls REST."""
    offered, answer = sign_in(bound, identity)
    assert offered
    assert answer.status == 403
    assert told in answer.body.decode()
    assert "Set-Cookie" not in answer.headers
    answer = bound.rest("GET", "/certificates", identity=identity, listener="trusted_https")
    assert answer.status == status
    if status == 403:
        assert told in json.loads(answer.body)["detail"]


def test_unbound(bound: Bound) -> None:
    """Also again, once it was taken away."""
    device, _ = bound.issue("alice")
    refused(bound, device, 401, "signs in no account")
    alice, _ = bound.bind("alice")
    (one, *_) = reversed(bound.good("GET", "/account-certificates", who="alice")["items"])
    bound.good("DELETE", f"/account-certificates/{one['id']}", who="alice")
    refused(bound, alice, 401, "signs in no account")


def test_revoked(bound: Bound) -> None:
    """A revocation locks a bound client out at once, also on an open connection."""
    alice, number = bound.bind("alice")
    with bound.server.client("trusted_https", alice) as client:
        assert client.ask("/api/v1/certificates").status == 200
        bound.good("POST", f"/certificates/{number}/revocation", {}, who="alice")
        assert client.ask("/api/v1/certificates").status == 403
    refused(bound, alice, 403, "revoked")


def test_suspended(bound: Bound) -> None:
    """USR-4: and it works again with the account."""
    bound.add("carol")
    carol, _ = bound.bind("carol")
    path = f"/users/{bound.ids['carol']}"
    bound.good("PATCH", path, {"state": "suspended"}, who="root")
    refused(bound, carol, 403, "not active")
    bound.good("PATCH", path, {"state": "active"}, who="root")
    assert sign_in(bound, carol)[1].status == 303


def test_not_for_clients(bound: Bound) -> None:
    """It can't be bound; one that was all the same is refused."""
    bound.good("POST", "/policies", {"name": "servers", "validity_days": 9, "extensions": SERVERS_ONLY}, who="alice")
    server, number = bound.issue("alice", "servers")
    assert bound.rest("POST", "/account-certificates", {"certificate_id": number}, who="alice").status == 422
    bound.bind_anyway("alice", server)
    refused(bound, server, 403, "clientAuth")


def test_foreign(bound: Bound) -> None:
    """On HTTPS anybody's certificate completes the handshake; bound or not, it is trusted only with its CA."""
    stranger = make_leaf(make_ca(name="Another CA"), "stranger")
    assert bound.rest("GET", "/certificates", identity=stranger).status == 401
    bound.good("POST", "/account-certificates", {"pem": stranger.pem.decode()}, who="alice")
    assert bound.rest("GET", "/certificates", identity=stranger).status == 403


def test_idle_sessions_are_forgotten(tmp_path_factory: pytest.TempPathFactory) -> None:
    """USR-3: the server ends idle sessions when it starts and every hour."""
    server = make_server(tmp_path_factory.mktemp("idle"))
    with server.application() as app:
        event = Event("add", "user", "alice", "test")
        now = app.authority.now()
        adding = app.store.add_account(
            NewAccount("alice", "a@example.com", Role.USER, AccountState.ACTIVE, None), event, now
        )
        alice = result_of(adding)
        for number, age in enumerate((0, 3600, 7200)):
            at = now - timedelta(seconds=age)
            result_of(app.store.add_session(NewSession(bytes([number]), alice, True, "192.0.2.7", ""), event, at))
    server.start()
    try:

        def left() -> int:
            time.sleep(0.05)
            with server.application() as app:
                return len(result_of(app.store.sessions_of(alice.id)))

        wait_until(lambda: left() == 1)
    finally:
        server.stop()
