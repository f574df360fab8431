"""Signing in, sessions and what protects forms (USR-3, UI-5)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from pikachu.accounts.sessions import CONFIRMED, MAXIMUM_AGE
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountState
from pikachu.web.browsers import SESSION
from tests.support.deferreds import result_of
from tests.support.stack import build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of


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


def events(pages: Pages, name: str) -> list[str]:
    """Return the recorded events of the account, newest first."""
    query = ListQuery(limit=1000, filters={"resource_name": name, "about_account": "true"})
    return [record.event.type for record in result_of(pages.stack.app.store.events(query)).items]


def test_start_leads_to_login(pages: Pages) -> None:
    """An anonymous visitor of / gets 302, never an error."""
    response = pages.visitor().request("GET", "/")
    assert (response.status, response.headers["Location"]) == (302, "/login")


def test_sign_in_and_out(pages: Pages) -> None:
    """A session begins and ends; both are recorded; the old cookie is invalid."""
    visitor = pages.visitor()
    before = dict(visitor.cookies)
    response = visitor.sign_in("alice")
    assert (response.status, response.headers["Location"]) == (303, "/")
    assert SESSION not in before
    assert 'href="/account">alice' in visitor.get("/")
    assert events(pages, "alice")[0] == "login"
    kept = dict(visitor.cookies)
    assert "You are signed in as alice" in text_of(visitor.get("/logout"))
    assert visitor.request("GET", "/").status == 200
    assert "signed out" in text_of(visitor.follow(visitor.post("/logout", page="/logout")))
    assert visitor.request("GET", "/logout").headers["Location"] == "/login"
    assert events(pages, "alice")[0] == "logout"
    visitor.cookies = kept
    assert visitor.request("GET", "/").status == 302


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "gu3ss"),
        ("nobody1", "gu3ss"),
        ("", ""),
        ("ALICE' OR 1=1 --", "gu3ss"),
        ("alice", ""),
        ("alice", "x" * 5000),
    ],
)
def test_one_answer_for_whatever_was_wrong(pages: Pages, name: str, password: str) -> None:
    """USR-3: guessing does not reveal which accounts exist."""
    response = pages.visitor().post("/login", {"username": name, "password": password})
    assert response.status == 401
    assert "Wrong username or password" in text_of(response.body.decode())
    assert password == "" or password.encode() not in response.body


def test_pending_and_suspended_accounts_stay_out(pages: Pages) -> None:
    """USR-1, ROL-2: the right password of an account that is not active is told so; a wrong one is not."""
    pages.add("pending1", state=AccountState.PENDING)
    response = pages.visitor().sign_in("pending1")
    assert response.status == 401
    assert "Your account is waiting for approval." in text_of(response.body.decode())
    assert "Wrong username or password" in text_of(pages.visitor().sign_in("pending1", "guess").body.decode())
    pages.add("carol1")
    visitor = pages.visitor("carol1")
    visitor.get("/")
    account = pages.accounts["carol1"]
    result_of(pages.stack.app.accounts.suspend(SYSTEM, account.id))
    assert visitor.request("GET", "/").status == 302
    response = pages.visitor().sign_in("carol1")
    assert response.status == 401
    assert "Your account is suspended." in text_of(response.body.decode())


def test_lock(pages: Pages) -> None:
    """USR-3: repeated failures lock for a while, also the right password."""
    pages.add("dora12")
    visitor = pages.visitor()
    for _ in range(10):
        assert visitor.sign_in("dora12", "guess").status == 401
    response = visitor.sign_in("dora12")
    assert response.status == 429
    assert "try again in" in text_of(response.body.decode())
    pages.clock.advance(1000)
    assert visitor.sign_in("dora12").status == 303


def test_idle_and_age(pages: Pages) -> None:
    """USR-3: max_idle_time ends a session, and however busy it is, half a day does."""
    idle = pages.stack.app.sessions.maximum_idle
    visitor = pages.visitor("alice")
    pages.clock.advance(idle.total_seconds() - 1)
    visitor.get("/")
    pages.clock.advance(idle.total_seconds() - 1)
    visitor.get("/")
    pages.clock.advance(idle.total_seconds() + 1)
    assert visitor.request("GET", "/").status == 302
    assert SESSION not in visitor.cookies
    visitor.sign_in("alice")
    passed = timedelta()
    while passed < MAXIMUM_AGE:
        visitor.get("/")
        pages.clock.advance(600)
        passed += timedelta(seconds=600)
    pages.clock.advance(10)
    assert visitor.request("GET", "/").status == 302


def test_fixation(pages: Pages) -> None:
    """A secret that somebody planted is never taken over."""
    visitor = pages.visitor()
    visitor.cookies[SESSION] = planted = "A" * 43
    visitor.sign_in("alice")
    assert visitor.cookies[SESSION] != planted
    first = visitor.cookies[SESSION]
    visitor.sign_in("bob")
    assert visitor.cookies[SESSION] != first
    visitor.cookies[SESSION] = first
    assert visitor.request("GET", "/").status == 302


@pytest.mark.parametrize("csrf", ["", "0" * 40, "x" * 4000, "\u00e9"])
def test_forms_need_their_hidden_field(pages: Pages, csrf: str) -> None:
    """UI-5: a form without it, or with another browser's, changes nothing."""
    visitor = pages.visitor("alice")
    assert visitor.post("/logout", csrf=csrf).status == 403
    assert visitor.post("/logout", csrf=pages.visitor("bob").csrf()).status == 403
    visitor.get("/")
    assert (
        pages.visitor().post("/login", {"username": "alice", "password": "password of alice"}, csrf=csrf).status == 403
    )


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example.org"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_forms_from_elsewhere(pages: Pages, headers: dict[str, str]) -> None:
    """UI-5: browsers say where a form was sent from."""
    visitor = pages.visitor("alice")
    body = f"csrf={visitor.csrf()}".encode()
    fields = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    assert visitor.request("POST", "/logout", body, fields).status == 403
    same = {**fields, "Origin": "https://ca.example.org", "Sec-Fetch-Site": "same-origin"}
    assert visitor.request("POST", "/logout", body, same).status == 303


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example.org",
        "https://evil.example.org",
        "/\\evil.example.org",
        "/\\/x",
        "javascript:alert(1)",
        "/a\r\nX: y",
        "",
    ],
)
def test_no_open_redirect(pages: Pages, target: str) -> None:
    """UI-5: nobody is led to another site."""
    visitor = pages.visitor()
    response = visitor.post("/login", {"username": "alice", "password": "password of alice", "next": target})
    assert (response.status, response.headers["Location"]) == (303, "/")
    assert "X" not in response.headers


def test_coming_back(pages: Pages) -> None:
    """Signing in leads to the page that was requested before."""
    visitor = pages.visitor()
    response = visitor.request("GET", "/confirm?next=/")
    location = response.headers["Location"]
    assert location == "/login?next=/confirm%3Fnext%3D/"
    assert 'value="/confirm?next=/"' in visitor.get(location)


def test_confirmation_lasts_five_minutes(pages: Pages) -> None:
    """Having signed in is not enough (CFG-11)."""
    visitor = pages.visitor("alice")
    sessions = pages.stack.app.sessions
    account = pages.accounts["alice"]
    principal = result_of(pages.stack.app.authenticator.basic("alice", "password of alice", ""))
    (session, *_) = result_of(sessions.of_account(principal, account.id))
    assert not sessions.is_confirmed(session)
    visitor.confirm("alice")
    (session, *_) = result_of(sessions.of_account(principal, account.id))
    assert sessions.is_confirmed(session)
    pages.clock.advance(CONFIRMED.total_seconds() + 1)
    assert not sessions.is_confirmed(session)
    assert visitor.post("/confirm", {"password": "wrong"}, page="/confirm").status == 401
    visitor.confirm("alice")
    (session, *_) = result_of(sessions.of_account(principal, account.id))
    assert sessions.is_confirmed(session)


def test_a_confirmed_account_is_led_on(pages: Pages) -> None:
    """The form, opened again, does not ask again, and leads to no other site."""
    visitor = pages.visitor("alice")
    assert 'name="password"' in visitor.get("/confirm?next=/account")
    visitor.confirm("alice")
    for target, led_to in (("/account", "/account"), ("//example.org/", "/")):
        response = visitor.request("GET", f"/confirm?next={target}")
        assert (response.status, response.headers["Location"]) == (303, led_to)
    pages.clock.advance(CONFIRMED.total_seconds() + 1)
    assert 'name="password"' in visitor.get("/confirm?next=/account")


def test_headers(pages: Pages) -> None:
    """UI-5: the security headers of every page, errors included."""
    visitor = pages.visitor("alice")
    for path in ("/", "/login?next=/", "/nothing-here"):
        headers = visitor.request("GET", path).headers
        if "Location" not in headers:
            assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Strict-Transport-Security"].startswith("max-age=")
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_pages_that_are_not_there(pages: Pages) -> None:
    """404 and 405 are pages with a way back."""
    visitor = pages.visitor("alice")
    assert "Sign out" in visitor.get("/nothing-here", status=404)
    response = visitor.request("POST", "/nothing-here")
    assert response.status == 404
    response = visitor.request("DELETE", "/")
    assert response.status == 405
    assert visitor.request("GET", "/%ff%fe").status == 400


@pytest.mark.parametrize("host", ["a" * 300, "a..b", "xn--\u00e4", "a b", "[", "-"])
def test_what_the_server_is_called(pages: Pages, host: str) -> None:
    """A page does not fail over the name that a client calls the server."""
    assert pages.visitor().request("GET", "/login", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name*=utf-8''csrf\r\n\r\n1\r\n--x--",
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" * 3000),
        ("multipart/form-data", b"--x--\r\n"),
        ("application/x-www-form-urlencoded", b"a&" * 10_000),
    ],
)
def test_hostile_forms(pages: Pages, kind: str, body: bytes) -> None:
    """A body that is no form is refused, and breaks nothing."""
    assert pages.visitor().request("POST", "/login", body, {"Content-Type": kind}).status in (400, 403)


def test_forms_are_in_the_body(pages: Pages) -> None:
    """UI-5: query parameters are no form fields: URLs are logged, and anybody can make a link."""
    visitor = pages.visitor()
    token = visitor.csrf()
    address = f"/login?csrf={token}&username=alice&password=password+of+alice"
    fields = {"Content-Type": "application/x-www-form-urlencoded"}
    assert visitor.request("POST", address, b"", fields).status == 403
    assert visitor.request("POST", address, f"csrf={token}".encode(), fields).status == 401


@pytest.mark.parametrize(
    "other", ['x={"a": 1}', "a word", "a[1]=2", "theme=dark mode", "=", "x=\xff", 'x="' + "\\" * 5000 + '"', "x=1=2"]
)
def test_cookies_of_others(pages: Pages, other: str) -> None:
    """Another program on this host may have set cookies that no standard allows: they disturb nothing."""
    visitor = pages.visitor("alice")
    secret = visitor.cookies[SESSION]
    for header in (f"{other}; {SESSION}={secret}", f"{SESSION}={secret} ;{other}"):
        assert Visitor(pages).request("GET", "/", headers={"Cookie": header}).status == 200
    for header in (f"{other}; {SESSION}=", f"{SESSION}={'x' * 8200}", f"x{SESSION}={secret}", f"{SESSION}x={secret}"):
        assert Visitor(pages).request("GET", "/", headers={"Cookie": header}).status == 302
