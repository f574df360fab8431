"""Reasons of ended sessions, and entries of forms that outlive them (ROL-2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest

from pikachu.accounts.sessions import MAXIMUM_AGE, REMEMBERED
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.sign_in import Draft
from pikachu.web.ui.drafts import SECRET_FIELDS, fill_in
from pikachu.web.ui.rendering import FOLDER
from tests.support.deferreds import result_of
from tests.support.stack import Response, build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
OWN = {**FORM, "Origin": "https://ca.example.org", "Sec-Fetch-Site": "same-origin"}
POLICY = {"name": "gate ways", "days": "31", "extensions": "[ v3_ext ]\n# mine & <yours>\n", "use_for_est": "1"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"))
    yield make_pages(stack)
    stack.close()


def send(visitor: Visitor, path: str, fields: Mapping[str, str], headers: Mapping[str, str] = OWN) -> Response:
    return visitor.request("POST", path, urlencode(fields).encode(), headers)


def filled(visitor: Visitor) -> dict[str, str]:
    """The fields of a form of which its user has filled some, as a browser sends them."""
    page = visitor.get("/policies/new")
    hidden = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)"', page))
    return {**hidden, **POLICY}


def idle(pages: Pages) -> None:
    pages.clock.advance(pages.stack.app.sessions.maximum_idle.total_seconds() + 1)


def restored(page: str) -> None:
    """Check that the form of a page has the entries."""
    assert 'value="gate ways"' in page
    assert 'value="31"' in page
    assert "# mine &amp; &lt;yours&gt;" in page
    assert re.search(r'name="use_for_est"[^>]* checked', page)
    assert not re.search(r'name="use_for_scep"[^>]* checked', page)


def test_entries_outlive_the_session(pages: Pages) -> None:
    """ROL-2: the reason is told, and after signing in the form has the entries again, without a script."""
    visitor = pages.visitor("alice")
    fields = filled(visitor)
    idle(pages)
    answer = send(visitor, "/policies/new", fields)
    assert (answer.status, answer.headers["Location"][:12]) == (303, "/login?next=")
    page = visitor.follow(answer)
    reason = "You were signed out after 20 minutes of inactivity. Sign in to continue with your entries."
    assert reason in text_of(page)
    target = re.search(r'name="next" value="([^"]*)"', page)
    assert target is not None
    body = {"username": "alice", "password": "password of alice", "next": target[1].replace("&amp;", "&")}
    page = visitor.follow(visitor.post("/login", body))
    assert "Your entries were restored but not saved yet" in text_of(page)
    restored(page)
    # And the form can be sent.
    fields["csrf"] = visitor.csrf("/policies/new")
    assert send(visitor, "/policies/new", fields).status == 303


def test_entries_are_for_one_account(pages: Pages) -> None:
    """Another account gets an empty form, also with the id of the draft."""
    visitor = pages.visitor("alice")
    fields = filled(visitor)
    idle(pages)
    location = send(visitor, "/policies/new", fields).headers["Location"]
    number = re.search(r"draft%3D([0-9]+)", location)
    assert number is not None
    other = pages.visitor("bob")
    page = other.get(f"/policies/new?draft={number[1]}")
    assert "restored" not in page
    assert "gate ways" not in page
    assert "restored" in pages.visitor("alice").get(f"/policies/new?draft={number[1]}")
    for wrong in ("0", "-1", "x", "9" * 30):
        assert "restored" not in pages.visitor("alice").get(f"/policies/new?draft={wrong}")
    # Nor is it filled into another page.
    assert "restored" not in pages.visitor("alice").get(f"/account?draft={number[1]}")


@pytest.mark.parametrize(
    "headers",
    [FORM, {**FORM, "Origin": "https://evil.example.org"}, {**FORM, "Sec-Fetch-Site": "cross-site"}],
)
def test_nothing_of_another_site_is_kept(pages: Pages, headers: Mapping[str, str]) -> None:
    """UI-5: another site can't fill in a form here, neither of an ended session nor of an active one."""
    visitor = pages.visitor("alice")
    fields = filled(visitor)
    assert send(visitor, "/policies/new", {**fields, "csrf": "x"}, headers).status == 403
    idle(pages)
    assert "draft" not in send(visitor, "/policies/new", fields, headers).headers["Location"]


def test_a_stale_form_comes_back(pages: Pages) -> None:
    """ROL-2: after signing in again in another tab, the form is offered again with a token that is valid."""
    visitor = pages.visitor("alice")
    fields = filled(visitor)
    visitor.sign_in("alice")
    answer = send(visitor, "/policies/new", fields)
    page = visitor.follow(answer)
    assert "This form has expired, and nothing was saved. Your entries were restored" in text_of(page)
    restored(page)
    # Where it can't be kept, the page says what to do, and not that rights are missing.
    answer = send(visitor, "/policies/new", fields, FORM)
    assert answer.status == 403
    assert "This form has expired" in text_of(answer.body.decode())
    assert "administrator" not in text_of(answer.body.decode())


def test_the_page_of_a_form_in_a_dialog(pages: Pages) -> None:
    """A form is filled in on its own page, wherever it was shown and whatever path it is sent to."""
    visitor = pages.visitor("root")
    page = visitor.get("/users/new?x=1")
    hidden = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)"', page))
    assert hidden["from_page"] == "/users/new?x=1"
    visitor.sign_in("root")
    fields = {**hidden, "username": "someone_new", "password": "se cret", "role": "admin"}
    location = send(visitor, "/users", fields).headers["Location"]
    assert location.startswith("/users/new?x=1&draft=")
    page = visitor.get(location)
    assert 'value="someone_new"' in page
    assert re.search(r'<option value="admin" selected>', page)
    assert "se cret" not in page


def kept(pages: Pages, account_id: int) -> list[Draft]:
    drafts = pages.stack.app.drafts
    found = (result_of(drafts.restore(account_id, number)) for number in range(1, 200))
    return [one for one in found if one is not None]


def test_secrets_are_not_kept(pages: Pages) -> None:
    """Neither passwords nor private keys, and nothing at all of forms for secrets."""
    account = pages.add("secretive")
    visitor = pages.visitor("secretive")
    token = visitor.csrf("/policies/new")
    idle(pages)
    key = "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----"
    send(visitor, "/csrs/upload", {"csrf": token, "name": "mine", "passphrase": "hush", "csr": key, "confirm": "x"})
    assert [draft.fields for draft in kept(pages, account.id)] == [(("name", "mine"),)]
    for path in ("/keys/import", "/inspect", "/account/password", "/confirm"):
        answer = send(visitor, path, {"csrf": token, "data": "MC4CAQ", "text": "MC4CAQ"})
        assert "draft" not in answer.headers["Location"]
    assert len(kept(pages, account.id)) == 1


def test_every_password_field_is_known() -> None:
    """A new field for a password must be left out of drafts."""
    texts = [path.read_text() for path in Path(FOLDER).rglob("*.html")]
    names = {
        name
        for text in texts
        for name, kind in re.findall(r'm\.field\("(\w+)", [^}]*?type="(\w+)"', text)
        if kind == "password"
    }
    assert names
    assert names <= SECRET_FIELDS


def test_few_and_short_drafts(pages: Pages) -> None:
    """Of an account, the newest five of a reasonable size, for a day."""
    account = pages.add("writer")
    drafts = pages.stack.app.drafts
    for number in range(8):
        result_of(drafts.keep(account.id, Draft("/", "/", (("n", str(number)),))))
    assert [dict(one.fields)["n"] for one in kept(pages, account.id)] == ["3", "4", "5", "6", "7"]
    assert result_of(drafts.keep(account.id, Draft("/", "/", (("n", "x" * 300_000),)))) is None
    pages.clock.advance(REMEMBERED.total_seconds() + 1)
    result_of(pages.stack.app.sessions.forget_idle())
    assert kept(pages, account.id) == []


def test_reasons(pages: Pages) -> None:
    """ROL-2: each way in which a session ends has its words on the sign-in page, once."""
    app = pages.stack.app
    account = pages.add("dismissed")
    cases: list[tuple[Callable[[Visitor], object], str]] = [
        (lambda visitor: result_of(app.sessions.force_logout(SYSTEM, account.id)), "An administrator signed you out."),
        (lambda visitor: end_elsewhere(pages), "This session was ended from another browser."),
        (
            lambda visitor: result_of(app.accounts.reset_password(SYSTEM, account.id, "password of dismissed")),
            "the password of your account was changed",
        ),
        (lambda visitor: [pages.visitor("dismissed") for _ in range(20)], "newer sessions in 20 other browsers"),
        (lambda visitor: grow_old(pages, visitor), "a session lasts 12 hours at most"),
        (lambda visitor: result_of(app.accounts.suspend(SYSTEM, account.id)), "suspended or deactivated your account"),
    ]
    for end, text in cases:
        visitor = pages.visitor("dismissed")
        end(visitor)
        # A script of the page does not take the reason away.
        assert visitor.request("GET", "/session", headers={"Sec-Fetch-Dest": "empty"}).status == 302
        answer = visitor.request("GET", "/certificates")
        assert answer.status == 302
        assert text in text_of(visitor.get(answer.headers["Location"])), text
        assert text not in text_of(visitor.get("/login"))


def end_elsewhere(pages: Pages) -> None:
    other = pages.visitor("dismissed")
    account = other.get("/account")
    number = re.findall(r'action="(/account/sessions/[0-9]+/end)"', account)
    for path in number:
        assert other.post(path).status == 303


def grow_old(pages: Pages, visitor: Visitor) -> None:
    for _ in range(int(MAXIMUM_AGE.total_seconds() // 600) + 1):
        visitor.request("GET", "/account")
        pages.clock.advance(600)


def test_time_that_is_left(pages: Pages) -> None:
    """The page knows when to warn; asking does not prolong the session, staying signed in does."""
    visitor = pages.visitor("alice")
    assert 'data-session="1200"' in visitor.get("/account")
    pages.clock.advance(1100)
    assert visitor.request("GET", "/session").body == b'{"seconds": 100}'
    assert send(visitor, "/session", {"csrf": visitor.csrf("/account")}).body == b'{"seconds": 1200}'


def test_filling_in() -> None:
    """Only the fields of the form that was sent, by their kind."""
    page = (
        '<!DOCTYPE html><p>a &amp; b</p><!-- c --><form method="get" action="/x"><input name="a" value="0"></form>'
        '<form method="post" action="/x"><input name="a" value="0"><input name="a" value="0">'
        '<input type="checkbox" name="c" value="1" checked><input type="checkbox" name="c" value="2">'
        '<input type="file" name="f"><input type="password" name="password"><input type="hidden" name="csrf" value="t">'
        '<select name="s"><option value="1" selected>one<option value="2">two</select>'
        '<textarea name="t">\nold &lt; text</textarea><textarea name="u">\nstays</textarea></form>'
    )
    fields = (("a", 'q"1'), ("a", "2"), ("c", "2"), ("s", "2"), ("t", "<new>"), ("csrf", "bad"), ("password", "p"))
    assert fill_in(page, Draft("/x", "/x", fields)) == (
        '<!DOCTYPE html><p>a &amp; b</p><!-- c --><form method="get" action="/x"><input name="a" value="0"></form>'
        '<form method="post" action="/x"><input name="a" value="q&quot;1"><input name="a" value="2">'
        '<input type="checkbox" name="c" value="1"><input type="checkbox" name="c" value="2" checked>'
        '<input type="file" name="f"><input type="password" name="password"><input type="hidden" name="csrf" value="t">'
        '<select name="s"><option value="1">one<option value="2" selected>two</select>'
        '<textarea name="t">\n&lt;new&gt;</textarea><textarea name="u">\nstays</textarea></form>'
    )
    # Another form stays as it is.
    assert fill_in(page, Draft("/x", "/y", fields)) == page
