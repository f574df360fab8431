"""Passkeys: registered, signing in alone and after the password, removed (ROL-2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pikachu.accounts.passkeys import MAXIMUM_PASSKEYS
from pikachu.auth.webauthn.challenges import LIFETIME
from pikachu.core.errors import AuthenticationFailed
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.passkeys import NewPasskey
from pikachu.core.model.people import SYSTEM, AccountSource, AccountState, NewAccount, Role
from pikachu.core.model.sign_in import ExternalIdentity
from pikachu.web.browsers import SESSION
from tests.support.databases import NOW, event
from tests.support.deferreds import failure_of, result_of
from tests.support.passkeys import UP, Authenticator
from tests.support.stack import Response, build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of

NEW = "/account/passkeys/new"
ORIGIN = "https://ca.example.org"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"))
    yield make_pages(stack)
    stack.close()


@pytest.fixture
def pages(shared: Pages) -> Pages:
    # Failures of one test must not lock out the next one.
    shared.clock.advance(4000)
    return shared


def question(visitor: Visitor, path: str, **headers: str) -> dict[str, Any]:
    """The answer to the script of a page."""
    response = visitor.request("GET", path, headers=headers)
    assert response.headers["Content-Type"] == "application/json"
    content: dict[str, Any] = json.loads(response.body)
    return content


def register(visitor: Visitor, name: str, device: Authenticator) -> Response:
    asked = question(visitor, "/account/passkeys/options")
    answer = device.create(asked["publicKey"])
    return visitor.post("/account/passkeys", {"name": name, "offer": asked["offer"], "credential": answer}, page=NEW)


def registered(pages: Pages, name: str, **device: Any) -> tuple[Authenticator, Visitor]:
    """A new account with a passkey, and a browser that is signed in."""
    pages.add(name)
    authenticator = Authenticator(ORIGIN, **device)
    visitor = pages.visitor(name, confirmed=True)
    assert register(visitor, "phone", authenticator).status == 303
    pages.clock.advance(1)
    return authenticator, visitor


def sign_in(visitor: Visitor, device: Authenticator, path: str = "/login/passkey", **changes: Any) -> Response:
    asked = question(visitor, path)
    answer = device.get(asked["publicKey"], **changes)
    page = "/login" if path == "/login/passkey" else "/login/code"
    return visitor.post(path, {"offer": asked["offer"], "credential": answer}, page=page)


def events(pages: Pages, name: str) -> list[tuple[str, object]]:
    query = ListQuery(limit=100, filters={"resource_name": name, "about_account": "true"})
    records = result_of(pages.stack.app.store.events(query)).items
    return [
        (record.event.type, record.event.details.get("by", record.event.details.get("passkey"))) for record in records
    ]


def reasons(pages: Pages) -> list[object]:
    """Why passkeys were refused, newest first."""
    query = ListQuery(limit=100, filters={"type": "failed login"})
    return [one.event.details["reason"] for one in result_of(pages.stack.app.store.events(query)).items]


def refused(pages: Pages, visitor: Visitor, response: Response, text: str) -> None:
    assert SESSION not in visitor.cookies
    assert text in text_of(visitor.follow(response))
    pages.clock.advance(1)


def test_alone(pages: Pages) -> None:
    """A passkey is registered, shown with its times, and signs in without name and password."""
    pages.add("keyed")
    visitor = pages.visitor("keyed")
    assert visitor.request("GET", NEW).headers["Location"].startswith("/confirm")
    assert visitor.post("/account/passkeys", {"name": "x"}).headers["Location"] == NEW
    visitor.confirm("keyed")
    assert 'src="/static/passkeys.js' in visitor.get(NEW)
    device = Authenticator(ORIGIN)
    asked = question(visitor, "/account/passkeys/options")["publicKey"]
    assert asked["rp"]["id"] == "ca.example.org"
    assert asked["authenticatorSelection"]["userVerification"] == "required"
    assert asked["attestation"] == "none"
    page = visitor.follow(register(visitor, " my  phone ", device))
    assert "Each signs you in once" in page
    account = text_of(visitor.get("/account"))
    assert "my phone ca.example.org" in account
    assert "never" in account
    pages.clock.advance(60)
    other = pages.visitor()
    asked = question(other, "/login/passkey")["publicKey"]
    assert (asked["allowCredentials"], asked["userVerification"]) == ([], "required")
    answer = sign_in(other, device)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert "never" not in text_of(other.get("/account")).partition("my phone")[2].partition("Remove")[0]
    assert events(pages, "keyed")[0] == ("login", "passkey")
    assert ("add passkey", "my phone") in events(pages, "keyed")
    # The same device is not asked to make a second one, and makes it for the same user.
    asked = question(visitor, "/account/passkeys/options")["publicKey"]
    assert len(asked["excludeCredentials"]) == 1


def test_after_the_password(pages: Pages) -> None:
    """The password alone no longer signs in, neither on pages nor for programs; with the passkey it does."""
    device, _ = registered(pages, "careful_1")
    other, _ = registered(pages, "somebody_1")
    failure_of(pages.stack.app.authenticator.basic("careful_1", "password of careful_1", ""), AuthenticationFailed)
    visitor = pages.visitor()
    assert visitor.sign_in("careful_1").headers["Location"] == "/login/code"
    assert "Use a passkey" in visitor.get("/login/code")
    asked = question(visitor, "/login/code/passkey")["publicKey"]
    assert len(asked["allowCredentials"]) == 1
    refused(pages, visitor, sign_in(visitor, other, "/login/code/passkey"), "signs in nobody here")
    assert sign_in(visitor, device, "/login/code/passkey").headers["Location"] == "/"
    assert visitor.request("GET", "/").status == 200
    assert events(pages, "careful_1")[0] == ("login", "password and passkey")
    # Without the first step, there is no second one.
    stranger = pages.visitor()
    assert "expired" in question(stranger, "/login/code/passkey")["error"]
    asked = question(stranger, "/login/passkey")
    fields = {"offer": asked["offer"], "credential": device.get(asked["publicKey"])}
    assert "Location" in stranger.post("/login/code/passkey", fields).headers
    assert SESSION not in stranger.cookies


def test_recovery_codes(pages: Pages) -> None:
    """The first passkey brings recovery codes, which end with the last second factor."""
    pages.add("careful_2")
    visitor = pages.visitor("careful_2", confirmed=True)
    page = visitor.follow(register(visitor, "phone", Authenticator(ORIGIN)))
    code = page.partition("<pre")[2].partition(">")[2].split()[0]
    pages.clock.advance(1)
    assert register(visitor, "key", Authenticator(ORIGIN)).headers["Location"] == "/account"
    other = pages.visitor()
    other.sign_in("careful_2")
    assert other.post("/login/code", {"code": code}, page="/login/code").status == 303
    passkeys = result_of(pages.stack.app.passkeys.of_account(SYSTEM, pages.accounts["careful_2"].id))
    assert [one.name for one in passkeys] == ["key", "phone"]
    for number, passkey in enumerate(passkeys):
        path = f"/account/passkeys/{passkey.id}/remove"
        assert visitor.post(path, {}, page=path).status == 409
        assert "was removed" in text_of(visitor.follow(visitor.post(path, {"confirm": "remove"}, page=path)))
        left = result_of(pages.stack.app.store.recovery_codes_left(pages.accounts["careful_2"].id))
        assert left == (0 if number else 9)
    assert pages.visitor().sign_in("careful_2").headers["Location"] == "/"
    assert events(pages, "careful_2")[1] == ("remove passkey", "phone")


def test_answers_are_for_one_challenge(pages: Pages) -> None:
    """Each is good once, for five minutes, in the browser that asked, on this host, with the user verified."""
    device, _ = registered(pages, "strict_1")
    visitor = pages.visitor()
    asked = question(visitor, "/login/passkey")
    fields = {"offer": asked["offer"], "credential": device.get(asked["publicKey"])}
    thief = pages.visitor()
    refused(pages, thief, thief.post("/login/passkey", fields, page="/login"), "has expired")
    assert visitor.post("/login/passkey", fields, page="/login").headers["Location"] == "/"
    other = pages.visitor()
    other.cookies = {name: value for name, value in visitor.cookies.items() if name != SESSION}
    refused(pages, other, other.post("/login/passkey", fields, page="/login"), "was used before")
    asked = question(other, "/login/passkey")
    fields = {"offer": asked["offer"], "credential": device.get(asked["publicKey"])}
    pages.clock.advance(LIFETIME.total_seconds() + 1)
    refused(pages, other, other.post("/login/passkey", fields, page="/login"), "has expired")
    for changes in ({"origin": "https://evil.example.com"}, {"challenge": "AAAA"}, {"host": "evil.example.com"}):
        refused(pages, other, sign_in(other, device, **changes), "was not accepted")
    refused(pages, other, sign_in(other, device, type="webauthn.create"), "was not accepted")
    device.flags = UP
    refused(pages, other, sign_in(other, device), "was not accepted")
    assert "User verification is required" in str(reasons(pages)[0])
    device.flags = 5
    forged = Authenticator(ORIGIN, credential_id=device.credential_id, user_handle=device.user_handle, count=90)
    refused(pages, other, sign_in(other, forged), "was not accepted")
    device.user_handle = b"another user"
    refused(pages, other, sign_in(other, device), "signs in nobody here")
    for credential in ("", "x", "[]", "{}", '{"id": 7}', "[" * 20_000, "\xe4" * 20_000):
        fields = {"offer": question(other, "/login/passkey")["offer"], "credential": credential}
        refused(pages, other, other.post("/login/passkey", fields, page="/login"), "can't be read")


def test_counters(pages: Pages) -> None:
    """A counter that does not increase tells of a copy; a device without one is trusted."""
    device, _ = registered(pages, "counted_1", count=5)
    assert sign_in(pages.visitor(), device).headers["Location"] == "/"
    pages.clock.advance(1)
    device.count = 5
    visitor = pages.visitor()
    refused(pages, visitor, sign_in(visitor, device), "was copied")
    assert "counter" in str(reasons(pages)[0])
    assert sign_in(pages.visitor(), device).headers["Location"] == "/"
    none, _ = registered(pages, "counted_2", count=None)
    for _ in range(2):
        assert sign_in(pages.visitor(), none).headers["Location"] == "/"
        pages.clock.advance(1)


def test_registering(pages: Pages) -> None:
    """Names are unique for each account, passkeys everywhere, and their number is limited."""
    device, visitor = registered(pages, "many_1")
    for name, text in (("PHONE", "a passkey of that name"), ("", "Enter a name"), ("x" * 65, "Enter a name")):
        assert text in text_of(register(visitor, name, Authenticator(ORIGIN)).body.decode())
    pages.clock.advance(1)
    assert "registered already" in register(visitor, "copy", device).body.decode()
    pages.add("many_2")
    other = pages.visitor("many_2", confirmed=True)
    assert register(other, "phone", Authenticator(ORIGIN, flags=UP)).status == 400
    assert register(other, "phone", Authenticator("https://evil.example.com")).status == 400
    asked = question(visitor, "/account/passkeys/options")
    fields = {"name": "x", "offer": asked["offer"], "credential": device.create(asked["publicKey"])}
    assert other.post("/account/passkeys", fields, page=NEW).status == 400
    # One challenge is for one passkey.
    asked = question(other, "/account/passkeys/options")
    statuses = []
    for name in ("first", "second"):
        credential = Authenticator(ORIGIN).create(asked["publicKey"])
        fields = {"name": name, "offer": asked["offer"], "credential": credential}
        statuses.append(other.post("/account/passkeys", fields, page=NEW).status)
    assert statuses == [303, 409]
    account_id = pages.accounts["many_2"].id
    at = int(pages.clock.seconds() * 1e6)
    for number in range(MAXIMUM_PASSKEYS - 1):
        passkey = NewPasskey(account_id, f"{number}", "x", b"%d" % number, b"", 0, b"", at + number + 1, ())
        result_of(pages.stack.app.store.add_passkey(passkey, MAXIMUM_PASSKEYS, event(), NOW))
    pages.clock.advance(1)
    assert "at most 20 passkeys" in register(other, "another", Authenticator(ORIGIN)).body.decode()


def test_where_there_are_none(pages: Pages) -> None:
    """On an IP address the pages say so; a passkey works for its host only; a provider's accounts have none."""
    device, visitor = registered(pages, "nomad_1")
    for host in ("192.0.2.1:8443", "[2001:db8::1]", "[bad"):
        answer = visitor.request("GET", "/account", headers={"Host": host})
        named = host == "[bad"
        assert ("Open these pages by their name" in answer.body.decode()) is not named
        assert ("error" in question(visitor, "/account/passkeys/options", Host=host)) is not named
    stranger = pages.visitor()
    login = stranger.request("GET", "/login", headers={"Host": "192.0.2.1"}).body.decode()
    assert "Passkeys need a host name" in login
    assert "passkeys.js" not in login
    stranger.sign_in("nomad_1")
    page = stranger.request("GET", "/login/code", headers={"Host": "other.example.org"}).body.decode()
    assert "Your passkeys work only at <code>ca.example.org</code>" in page
    app = pages.stack.app
    person = NewAccount("federated", "f@example.com", Role.USER, AccountState.ACTIVE, None, source=AccountSource.OIDC)
    identity = ExternalIdentity("https://id.example.com", "1")
    federated = result_of(app.store.add_external_account(person, identity, event(), NOW))
    _, secret = result_of(app.sessions.login_by_provider(federated, "", ""))
    other = pages.visitor()
    other.cookies[SESSION] = secret
    assert "with its provider" in question(other, "/account/passkeys/options")["error"]
    assert ">Passkeys<" not in other.get("/account")
    assert device.count == 0


def test_administrators(pages: Pages) -> None:
    """They see and remove a user's passkeys; those of a suspended account sign in nobody."""
    device, visitor = registered(pages, "leaving_2")
    account_id = pages.accounts["leaving_2"].id
    [passkey] = result_of(pages.stack.app.passkeys.of_account(SYSTEM, account_id))
    admin = pages.visitor("root")
    assert f"/account/passkeys/{passkey.id}/remove" in admin.get(f"/users/{account_id}")
    assert pages.visitor("alice").request("GET", f"/account/passkeys/{passkey.id}/remove").status == 404
    result_of(pages.stack.app.accounts.suspend(SYSTEM, account_id))
    stranger = pages.visitor()
    refused(pages, stranger, sign_in(stranger, device), "is not active")
    result_of(pages.stack.app.accounts.activate(SYSTEM, account_id))
    path = f"/account/passkeys/{passkey.id}/remove"
    answer = admin.post(path, {"confirm": "remove"}, page=path)
    assert answer.headers["Location"] == f"/users/{account_id}"
    refused(pages, stranger, sign_in(stranger, device), "signs in nobody here")
    assert pages.visitor().sign_in("leaving_2").headers["Location"] == "/"
    # Removing all second factors removes passkeys, too, and so does deleting the account.
    visitor = pages.visitor("leaving_2", confirmed=True)
    assert register(visitor, "again", device).status == 303
    assert admin.post(f"/users/{account_id}/second-factor", {"confirm": "remove"}).status == 303
    pages.clock.advance(1)
    assert register(visitor, "again", device).status == 303
    result_of(pages.stack.app.accounts.delete(SYSTEM, account_id))
    assert result_of(pages.stack.app.store.passkey_by_credential(device.credential_id)) is None


def test_demanded_by_a_setting(tmp_path: Path) -> None:
    """A passkey is a second factor where the setting demands one, and can be registered before anything else."""
    stack = build_core(tmp_path, changes={("DEFAULT", "require_second_factor"): "all"})
    try:
        pages = make_pages(stack)
        visitor = pages.visitor("alice")
        assert visitor.request("GET", "/").headers["Location"] == "/account/second-factor/new"
        visitor.confirm("alice")
        assert NEW in visitor.get("/account/second-factor/new")
        device = Authenticator(ORIGIN)
        assert register(visitor, "phone", device).status == 303
        assert visitor.request("GET", "/").status == 200
        pages.clock.advance(1)
        other = pages.visitor()
        sign_in(other, device)
        assert other.request("GET", "/").status == 200
    finally:
        stack.close()
