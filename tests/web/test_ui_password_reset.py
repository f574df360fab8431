"""Locks, one-time codes for passwords, and passwords that have to be changed (ROL-2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pikachu.core.errors import AuthenticationFailed, Conflict, MalformedRequest
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountState, Role
from pikachu.web.browsers import SESSION
from tests.support.deferreds import failure_of, result_of
from tests.support.stack import build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of

NEW = {"password": "a new password", "confirmation": "a new password"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"))
    yield make_pages(stack)
    stack.close()


@pytest.fixture
def pages(shared: Pages) -> Pages:
    # Wrong passwords of one test must not lock out the next one.
    shared.clock.advance(4000)
    return shared


def code_for(pages: Pages, name: str, **fields: str) -> str:
    """The code that an administrator's page shows."""
    admin = pages.visitor("root")
    path = f"/users/{pages.accounts[name].id}/password"
    answer = admin.post(path, {"hours": "24", **fields})
    page = admin.follow(answer)
    (code,) = set(re.findall(r"https://ca\.example\.org/reset#([A-Za-z0-9_-]{43})", page))
    # Shown once; a reload creates no other.
    assert code not in admin.get(answer.headers["Location"])
    return str(code)


def events(pages: Pages, name: str) -> list[str]:
    query = ListQuery(limit=100, filters={"resource_name": name, "about_account": "true"})
    return [record.event.type for record in result_of(pages.stack.app.store.events(query)).items]


def test_one_time_code(pages: Pages) -> None:
    """No administrator knows the password; the code works once, and ends all sessions."""
    pages.add("forgetful")
    old = pages.visitor("forgetful")
    code = code_for(pages, "forgetful")
    # Until it is used, nothing has changed.
    assert old.request("GET", "/").status == 200
    visitor = pages.visitor()
    wrong = visitor.post("/reset", {**NEW, "code": code, "confirmation": "other"}, page="/reset")
    assert wrong.status == 400
    assert code in wrong.body.decode()
    assert visitor.post("/reset", {"code": code, "password": "x", "confirmation": "x"}, page="/reset").status == 422
    answer = visitor.post("/reset", {**NEW, "code": f" {code} "}, page="/reset")
    assert "Your password was changed." in text_of(visitor.follow(answer))
    assert old.request("GET", "/").status == 302
    assert visitor.sign_in("forgetful", NEW["password"]).status == 303
    assert pages.visitor().post("/reset", {**NEW, "code": code}, page="/reset").status == 401
    assert events(pages, "forgetful")[:4] == ["login", "change password", "reset password", "login"]


def test_codes_end(pages: Pages) -> None:
    """With their time, with another code, with another password, and with the account."""
    pages.add("careless")
    account = pages.accounts["careless"]

    def refused(code: str) -> bool:
        return pages.visitor().post("/reset", {**NEW, "code": code}, page="/reset").status == 401

    first = code_for(pages, "careless", hours="1")
    pages.clock.advance(3601)
    assert refused(first)
    second = code_for(pages, "careless")
    third = code_for(pages, "careless")
    assert refused(second)
    result_of(pages.stack.app.accounts.reset_password(SYSTEM, account.id, "password of careless"))
    assert refused(third)
    fourth = code_for(pages, "careless")
    result_of(pages.stack.app.accounts.delete(SYSTEM, account.id))
    assert refused(fourth)


def test_blocked_at_once(pages: Pages) -> None:
    """Where somebody else may know the password, it stops working before the new one is chosen."""
    pages.add("stolen")
    visitor = pages.visitor("stolen")
    code = code_for(pages, "stolen", block="1")
    assert visitor.request("GET", "/").status == 302
    assert pages.visitor().sign_in("stolen").status == 401
    assert pages.visitor().post("/reset", {**NEW, "code": code}, page="/reset").status == 303
    assert pages.visitor().sign_in("stolen", NEW["password"]).status == 303


def test_wrong_codes_are_counted(pages: Pages) -> None:
    """Guesses cost an address its further guesses, but not a right code."""
    pages.add("patient")
    code = code_for(pages, "patient")
    visitor = pages.visitor()
    answers = [visitor.post("/reset", {**NEW, "code": "A" * 43}, page="/reset").status for _ in range(31)]
    assert answers == [401] * 30 + [429]
    assert visitor.post("/reset", {**NEW, "code": code}, page="/reset").status == 303


def test_rules_of_codes(pages: Pages) -> None:
    """Admins only, for some hours only; two uses at once give one new password."""
    resets = pages.stack.app.password_resets
    pages.add("twice_used")
    account = pages.accounts["twice_used"]
    failure_of(resets.create(SYSTEM, account.id, 2), MalformedRequest)
    code, _ = result_of(resets.create(SYSTEM, account.id, 1))
    stale = result_of(pages.stack.app.store.account(account.id))
    result_of(resets.use(code, "a new password", "a new password", "192.0.2.1"))
    failure_of(pages.stack.app.accounts.set_password_once(SYSTEM, stale, "another password"), Conflict)
    failure_of(resets.use(code, "a new password", "a new password", "192.0.2.1"), AuthenticationFailed)


def test_a_password_of_ones_own(pages: Pages) -> None:
    """An account with a password that an administrator knows may do nothing but change it."""
    admin = pages.visitor("root")
    fields = {"username": "beginner", "email": "b@example.com", "role": "user", "must_change_password": "1"}
    first = {"password": "password of beginner", "confirmation": "password of beginner"}
    assert 'name="must_change_password" value="1" checked' in admin.get("/users/new")
    assert admin.post("/users", {**fields, **first}).status == 303
    account = result_of(pages.stack.app.accounts.find(SYSTEM, "beginner"))
    result_of(pages.stack.app.accounts.approve(SYSTEM, account.id))
    visitor = pages.visitor("beginner")
    for path in ("/", "/certificates", "/account", "/account/tokens/new"):
        assert visitor.request("GET", path).headers["Location"] == "/account/password"
    assert visitor.post("/generate", {}, page="/account/password").headers["Location"] == "/account/password"
    assert "Choose a password of your own first." in text_of(visitor.get("/account/password"))
    failure_of(pages.stack.app.authenticator.basic("beginner", "password of beginner", ""), AuthenticationFailed)
    assert visitor.request("GET", "/search/results?q=beginner").status == 403
    same = visitor.post("/account/password", {"current": "password of beginner", **first}, page="/account/password")
    assert (same.status, "Choose another password" in text_of(same.body.decode())) == (400, True)
    change = {"current": "password of beginner", **NEW}
    assert visitor.post("/account/password", change, page="/account/password").status == 303
    assert visitor.request("GET", "/certificates").status == 200
    assert result_of(pages.stack.app.authenticator.basic("beginner", NEW["password"], "")).owner_id == account.id


def fail(pages: Pages, name: str, times: int) -> Visitor:
    visitor = pages.visitor()
    for _ in range(times):
        assert visitor.sign_in(name, "guess").status == 401
    return visitor


def test_unlock(pages: Pages) -> None:
    """An administrator sees the lock with the failed sign-ins, and ends it."""
    pages.add("locked_out")
    account = pages.accounts["locked_out"]
    admin = pages.visitor("root")
    assert "Unlock" not in admin.get(f"/users/{account.id}")
    visitor = fail(pages, "locked_out", 10)
    assert visitor.sign_in("locked_out").status == 429
    text = text_of(admin.get(f"/users/{account.id}"))
    assert "locked for 60 s" in text
    assert "wrong password" in text
    page = admin.follow(admin.post(f"/users/{account.id}/unlock"))
    assert "locked_out can try to sign in again." in text_of(page)
    assert events(pages, "locked_out")[0] == "unlock"
    assert visitor.sign_in("locked_out").status == 303
    assert SESSION in visitor.cookies
    # Others' locks stay, and the count begins anew.
    pages.add("bystander")
    fail(pages, "bystander", 10)
    admin.post(f"/users/{account.id}/unlock")
    assert pages.visitor().sign_in("bystander").status == 429


def test_certificates_to_bind_are_searched(pages: Pages) -> None:
    """Of many certificates, those that match are offered."""
    account = pages.add("fleet_owner", Role.USER, AccountState.ACTIVE)
    for name in ("pump-1.example.com", "pump-2.example.com", "valve-1.example.com"):
        pages.stack.issue(name, owner_id=account.id)
    visitor = pages.visitor("fleet_owner", confirmed=True)
    page = visitor.get("/account/certificates/new?q=valve")
    assert re.findall(r"<option[^>]*>([a-z0-9.-]+) \(", page) == ["valve-1.example.com"]
    assert "None of your valid client certificates matches." in visitor.get("/account/certificates/new?q=nothing")
    # A form with an error offers the same.
    answer = visitor.post("/account/certificates", {"q": "valve", "pem": "x"}, page="/account/certificates/new")
    assert answer.status == 400
    assert "pump-1" not in answer.body.decode()
