"""Second factors: set up, asked for, demanded, removed (ROL-2)."""

from __future__ import annotations

import re
from base64 import b32decode
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from pikachu.accounts.second_factors import SET_UP
from pikachu.accounts.sessions import SECOND_STEP, SecondFactorNeeded
from pikachu.auth.rate_limit import ACCOUNT_LIMIT
from pikachu.core.errors import AuthenticationFailed, NotAuthorized, RateLimited
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, Credentials, Role, Scope
from pikachu.web.browsers import SESSION
from tests.support.deferreds import failure_of, result_of
from tests.support.stack import Response, build_core
from tests.support.totp import code_at
from tests.support.visitor import Pages, Visitor, make_pages, text_of

NEW = "/account/second-factor/new"
# What scripts of pages request.
BACKGROUND = ("/session", "/live", "/live/panels", "/search/results?q=root", "/logs/lines", "/jobs/1/progress")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"))
    yield make_pages(stack)
    stack.close()


@pytest.fixture
def pages(shared: Pages) -> Pages:
    # Wrong codes of one test must not lock out the next one.
    shared.clock.advance(4000)
    return shared


def set_up(pages: Pages, name: str) -> tuple[bytes, list[str]]:
    """Give an account a second factor on its pages; return its secret and recovery codes."""
    visitor = pages.visitor(name, confirmed=True)
    page = visitor.get(NEW)
    found = re.search(r'<code class="secret">([A-Z2-7 ]+)</code>', page)
    offer = re.search(r'name="offer" value="([^"]+)"', page)
    assert found is not None
    assert offer is not None
    assert 'src="data:image/svg+xml' in page
    secret = b32decode(found[1].replace(" ", ""))
    fields = {"offer": unescape(offer[1]), "code": code_at(secret, pages.clock.seconds())}
    answer = visitor.post("/account/second-factor", fields, page=NEW)
    page = visitor.follow(answer)
    codes = list(dict.fromkeys(re.findall(r"\b[a-z2-9]{4}(?:-[a-z2-9]{4}){3}\b", page)))
    assert len(codes) == 10
    assert codes[0] not in visitor.get(answer.headers["Location"])
    pages.clock.advance(60)
    return secret, codes


def first_step(pages: Pages, name: str, target: str = "/") -> Visitor:
    visitor = pages.visitor()
    answer = visitor.post("/login", {"username": name, "password": f"password of {name}", "next": target})
    assert answer.status == 303
    assert answer.headers["Location"].startswith("/login/code")
    assert SESSION not in visitor.cookies
    return visitor


def second_step(visitor: Visitor, code: str, **fields: str) -> Response:
    return visitor.post("/login/code", {"code": code, **fields}, page="/login/code")


def events(pages: Pages, name: str) -> list[tuple[str, object]]:
    query = ListQuery(limit=100, filters={"resource_name": name, "about_account": "true"})
    records = result_of(pages.stack.app.store.events(query)).items
    return [
        (record.event.type, record.event.details.get("by", record.event.details.get("reason"))) for record in records
    ]


def test_both_steps(pages: Pages) -> None:
    """The password alone signs in nobody; the code does, once, and leads to the page that was asked for."""
    pages.add("careful")
    secret, _ = set_up(pages, "careful")
    visitor = first_step(pages, "careful", "/certificates?q=x")
    assert visitor.request("GET", "/").status == 302
    assert 'name="next" value="/certificates?q=x"' in visitor.get("/login/code?next=/certificates%3Fq%3Dx")
    code = code_at(secret, pages.clock.seconds())
    answer = second_step(visitor, code, next="/certificates?q=x")
    assert (answer.status, answer.headers["Location"]) == (303, "/certificates?q=x")
    assert visitor.request("GET", "/").status == 200
    assert events(pages, "careful")[0] == ("login", "password and one-time password")
    # Not a second time, here or from a browser elsewhere; nor an earlier one.
    other = first_step(pages, "careful")
    assert second_step(other, code).status == 401
    assert second_step(other, code_at(secret, pages.clock.seconds() - 30)).status == 401
    pages.clock.advance(30)
    assert second_step(other, code_at(secret, pages.clock.seconds())).status == 303


def test_recovery_codes(pages: Pages) -> None:
    """Each works once; new ones make the former invalid."""
    pages.add("forgetful")
    _, codes = set_up(pages, "forgetful")
    visitor = first_step(pages, "forgetful")
    assert second_step(visitor, codes[0].upper().replace("-", " ")).status == 303
    assert [kind for kind, _ in events(pages, "forgetful")[:2]] == ["login", "use recovery code"]
    assert second_step(first_step(pages, "forgetful"), codes[0]).status == 401
    visitor.confirm("forgetful")
    assert "9 unused recovery codes left" in text_of(visitor.get("/account/second-factor/codes"))
    answer = visitor.post("/account/second-factor/codes", {}, page="/account/second-factor/codes")
    assert len(set(re.findall(r"\b[a-z2-9]{4}(?:-[a-z2-9]{4}){3}\b", visitor.follow(answer)))) == 10
    assert second_step(first_step(pages, "forgetful"), codes[1]).status == 401


def test_codes_are_guessed_no_more_often_than_passwords(pages: Pages) -> None:
    """Wrong codes count as wrong passwords do, and lock both steps."""
    pages.add("target_1")
    secret, codes = set_up(pages, "target_1")
    visitor = first_step(pages, "target_1")
    assert [second_step(visitor, "000000" if number % 2 else "nonsense").status for number in range(10)] == [401] * 10
    assert second_step(visitor, code_at(secret, pages.clock.seconds())).status == 429
    assert second_step(visitor, codes[0]).status == 429
    assert pages.visitor().sign_in("target_1").status == 429


def test_the_password_makes_no_address_familiar(pages: Pages) -> None:
    """Codes are guessed from many addresses no more often than passwords are, also by who knows the password."""
    account = pages.add("target_2")
    secret, codes = set_up(pages, "target_2")
    sessions, name = pages.stack.app.sessions, account.username
    pages.clock.advance(4000)

    def pending(address: str) -> str:
        return failure_of(sessions.login(name, f"password of {name}", address, ""), SecondFactorNeeded).pending

    # A user who has signed in with both is no stranger there, however much is guessed elsewhere.
    for address, code in (("192.0.2.7", code_at(secret, pages.clock.seconds())), ("192.0.2.8", codes[0])):
        result_of(sessions.login_by_code(pending(address), code, address, ""))
    for number in range(ACCOUNT_LIMIT):
        address = f"198.51.100.{number // 5}"
        failure_of(sessions.login_by_code(pending(address), "000000", address, ""), AuthenticationFailed)
    address = "203.0.113.1"
    failure_of(sessions.login(name, f"password of {name}", address, ""), RateLimited)
    pages.clock.advance(30)
    for address, code in (("192.0.2.7", code_at(secret, pages.clock.seconds())), ("192.0.2.8", codes[1])):
        result_of(sessions.login_by_code(pending(address), code, address, ""))


def test_the_first_step_ends(pages: Pages) -> None:
    """With its time, with another password, and when it was not made here."""
    account = pages.add("hesitant")
    secret, _ = set_up(pages, "hesitant")
    visitor = first_step(pages, "hesitant")
    pages.clock.advance(SECOND_STEP.total_seconds() + 1)
    answer = visitor.post("/login/code", {"code": code_at(secret, pages.clock.seconds())}, page="/login")
    assert "This sign-in has expired." in text_of(visitor.follow(answer))
    visitor = first_step(pages, "hesitant")
    result_of(pages.stack.app.accounts.reset_password(SYSTEM, account.id, "password of hesitant"))
    cookies = dict(visitor.cookies)
    # The form is not even shown any more.
    assert "This sign-in has expired." in text_of(visitor.follow(visitor.request("GET", "/login/code")))
    visitor.cookies = cookies
    answer = visitor.post("/login/code", {"code": code_at(secret, pages.clock.seconds())}, page="/login")
    assert answer.headers["Location"] == "/login"
    for forged in ("x", "AAAA", "\xe4"):
        sessions = pages.stack.app.sessions
        failure_of(sessions.login_by_code(forged, "000000", "192.0.2.1", ""), NotAuthorized)


def test_offers_are_for_one_account_and_a_while(pages: Pages) -> None:
    """A secret that was shown to somebody else is never used."""
    factors = pages.stack.app.second_factors
    alice = result_of(pages.stack.app.authenticator.basic("alice", "password of alice", ""))
    bob = result_of(pages.stack.app.authenticator.basic("bob", "password of bob", ""))
    offer = factors.offer(alice)
    assert factors.reopen(alice, offer.sealed).secret == offer.secret
    visitor = pages.visitor("bob", confirmed=True)
    fields = {"offer": offer.sealed, "code": code_at(offer.secret, pages.clock.seconds())}
    assert visitor.post("/account/second-factor", fields, page=NEW).status == 400
    fields["offer"] = factors.offer(bob).sealed
    assert visitor.post("/account/second-factor", fields, page=NEW).status == 400
    pages.clock.advance(SET_UP.total_seconds() + 1)
    visitor.confirm("bob")
    assert visitor.post("/account/second-factor", {**fields, "offer": offer.sealed}, page=NEW).status == 400
    assert not result_of(pages.stack.app.accounts.find(SYSTEM, "bob")).has_second_factor


def test_removal(pages: Pages) -> None:
    """By its user with the password and a typed word, and by an administrator; both are recorded."""
    account = pages.add("leaving_1")
    secret, _ = set_up(pages, "leaving_1")
    visitor = first_step(pages, "leaving_1")
    second_step(visitor, code_at(secret, pages.clock.seconds()))
    path = "/account/second-factor/remove"
    assert visitor.request("GET", path).headers["Location"].startswith("/confirm")
    visitor.confirm("leaving_1")
    assert visitor.post(path, {}, page=path).status == 409
    assert "was removed" in text_of(visitor.follow(visitor.post(path, {"confirm": "remove"}, page=path)))
    assert pages.visitor().sign_in("leaving_1").headers["Location"] == "/"
    set_up(pages, "leaving_1")
    admin = pages.visitor("root")
    assert "Remove second factor" in admin.get(f"/users/{account.id}")
    assert admin.post(f"/users/{account.id}/second-factor", {}).status == 409
    assert admin.post(f"/users/{account.id}/second-factor", {"confirm": "remove"}).status == 303
    assert events(pages, "leaving_1")[0][0] == "remove second factor"
    assert pages.visitor().sign_in("leaving_1").headers["Location"] == "/"
    # Nothing is left of the former codes.
    assert result_of(pages.stack.app.store.recovery_codes_left(account.id)) == 0


def test_programs_use_tokens(pages: Pages) -> None:
    """EST-2: the password of an account with a second factor authenticates no client; a token in its place does."""
    account = pages.add("deviceman")
    set_up(pages, "deviceman")
    app = pages.stack.app
    failure_of(app.authenticator.basic("deviceman", "password of deviceman", ""), AuthenticationFailed)
    password = Credentials("192.0.2.1", username="deviceman", password="password of deviceman")
    assert "API tokens" in failure_of(app.authenticator.est(password), AuthenticationFailed).public
    # Nor does it right after it was right on the sign-in page.
    first_step(pages, "deviceman")
    assert app.authenticator.cached(password) is None
    _, enroll = result_of(app.tokens.create(SYSTEM, account.id, "enroll", frozenset({Scope.ENROLL})))
    _, read = result_of(app.tokens.create(SYSTEM, account.id, "read", frozenset({Scope.READ})))
    given = Credentials("192.0.2.1", username="DeviceMan", password=enroll)
    principal = result_of(app.authenticator.est(given))
    assert principal.owner_id == account.id
    assert principal.scopes == {Scope.ENROLL}
    failure_of(app.authenticator.est(Credentials("", username="alice", password=enroll)), AuthenticationFailed)
    failure_of(app.authenticator.est(Credentials("", username="deviceman", password=read)), NotAuthorized)


@pytest.mark.parametrize(("demanded", "others"), [("admins", 200), ("all", 303)])
def test_demanded_by_a_setting(tmp_path: Path, demanded: str, others: int) -> None:
    """An account without one may do nothing but set it up; neither do its password and session elsewhere."""
    stack = build_core(tmp_path, changes={("DEFAULT", "require_second_factor"): demanded})
    try:
        pages = make_pages(stack)
        visitor = pages.visitor("root")
        for path in ("/", "/certificates", "/account", "/users"):
            assert visitor.request("GET", path).headers["Location"] == NEW
        refused = {path: visitor.request("GET", path).status for path in BACKGROUND}
        assert refused == {path: 200 if path == "/session" else 403 for path in BACKGROUND}
        failure_of(stack.app.authenticator.basic("root", "password of root", ""), AuthenticationFailed)
        secret, _ = set_up(pages, "root")
        assert visitor.request("GET", "/certificates").status == 200
        assert second_step(first_step(pages, "root"), code_at(secret, pages.clock.seconds())).status == 303
        assert pages.visitor("alice").request("GET", "/certificates").status == others
        # A user who becomes an administrator has to have one from then on.
        if demanded == "admins":
            bob = pages.visitor("bob")
            result_of(stack.app.accounts.update(SYSTEM, pages.accounts["bob"].id, role=Role.ADMIN))
            assert bob.request("GET", "/").headers["Location"] == NEW
    finally:
        stack.close()
