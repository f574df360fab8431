"""Registering, one's own account, and everybody's (USR-2 to USR-4, USR-6)."""

from __future__ import annotations

import re
from html import escape

import pytest

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountSource, AccountState, NewAccount, Role, Scope
from pikachu.core.model.times import utc
from pikachu.web.browsers import SESSION
from tests.support.deferreds import result_of
from tests.support.pki import DAY, make_key, make_leaf
from tests.support.stack import build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of

HOSTILE = "<script>alert(1)</script>'\"&"
FORM = {
    "username": "person_1",
    "email": "person@example.com",
    "password": "a good password",
    "confirmation": "a good password",
}


def state_of(pages: Pages, name: str) -> AccountState:
    return result_of(pages.stack.app.accounts.find(SYSTEM, name)).state


def events(pages: Pages, name: str) -> list[str]:
    """Return the recorded events of the account, newest first."""
    query = ListQuery(limit=1000, filters={"resource_name": name, "about_account": "true"})
    return [record.event.type for record in result_of(pages.stack.app.store.events(query)).items]


def signed_in(visitor: Visitor) -> bool:
    return visitor.request("GET", "/").status == 200


# --- registering -----------------------------------------------------------------------------


def test_registration_waits_for_an_admin(pages: Pages) -> None:
    """USR-2: it says so; the account can't be used before, and can after."""
    visitor = pages.visitor()
    assert "approves" in text_of(visitor.get("/register"))
    response = visitor.post("/register", FORM)
    assert response.status == 201
    assert "administrator has to approve" in text_of(response.body.decode())
    assert state_of(pages, "person_1") is AccountState.PENDING
    assert visitor.sign_in("person_1", FORM["password"]).status == 401
    admin = pages.visitor("root")
    assert "pending" in text_of(admin.get("/users"))
    account = result_of(pages.stack.app.accounts.find(SYSTEM, "person_1"))
    assert "becomes active" in text_of(admin.get(f"/users/{account.id}/approve"))
    assert "person_1 is approved" in text_of(admin.follow(admin.post(f"/users/{account.id}/approve")))
    assert visitor.sign_in("person_1", FORM["password"]).status == 303
    assert events(pages, "person_1")[::-1] == ["pending", "failed login", "activated", "login"]


def test_registration_signs_in_where_nobody_has_to_approve(tmp_path_factory: pytest.TempPathFactory) -> None:
    """USR-2: auto_approve."""
    stack = build_core(tmp_path_factory.mktemp("core"), changes={("DEFAULT", "auto_approve"): "true"})
    pages = make_pages(stack)
    visitor = pages.visitor()
    response = visitor.post("/register", FORM)
    assert (response.status, response.headers["Location"]) == (303, "/")
    assert "Welcome, person_1" in visitor.get("/")
    assert visitor.request("GET", "/register").headers["Location"] == "/account"
    stack.close()


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"username": "short"}, 400, "6 to 20"),
        ({"username": HOSTILE}, 400, "6 to 20"),
        ({"email": HOSTILE}, 400, "e-mail"),
        ({"password": "12345", "confirmation": "12345"}, 422, "at least 6"),
        ({"confirmation": "another"}, 400, "differ"),
        ({"username": "x" * 100_000}, 400, "6 to 20"),
    ],
)
def test_what_was_typed_stays(pages: Pages, change: dict[str, str], status: int, told: str) -> None:
    """USR-2: the form is shown again with all but the passwords, and with nothing unescaped."""
    form = {**FORM, **change}
    response = pages.visitor().post("/register", form)
    text = response.body.decode()
    assert response.status == status
    assert told in text_of(text)
    for name in ("username", "email"):
        assert f'value="{escape(form[name])[:64]}'.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")[:60] in text
    assert form["password"] not in text
    assert "<script>alert" not in text


def test_taken_names_and_many_registrations(pages: Pages) -> None:
    """USR-2: 409, and after ten in an hour 429."""
    visitor = pages.visitor()
    assert visitor.post("/register", FORM).status == 201
    assert visitor.post("/register", {**FORM, "username": "PERSON_1"}).status == 409
    statuses = [visitor.post("/register", {**FORM, "username": f"person_{n}"}).status for n in range(2, 12)]
    assert statuses == [201] * 8 + [429] * 2


# --- one's own account -----------------------------------------------------------------------


def test_change_password(pages: Pages) -> None:
    """USR-3: asks for the present one; all other sessions end, this one goes on under a new secret."""
    here, there = pages.visitor("alice"), pages.visitor("alice")
    former = dict(here.cookies)
    wrong = {"current": "a guess", "password": "another one", "confirmation": "another one"}
    assert here.post("/account/password", wrong).status == 401
    right = {**wrong, "current": "password of alice"}
    assert here.post("/account/password", {**right, "confirmation": "typo"}).status == 400
    assert here.post("/account/password", {**right, "password": "x", "confirmation": "x"}).status == 422
    assert signed_in(there)
    assert "The password is changed" in text_of(here.follow(here.post("/account/password", right)))
    assert signed_in(here)
    assert here.cookies[SESSION] != former[SESSION]
    assert not signed_in(there)
    there.cookies = former
    assert not signed_in(there)
    assert pages.visitor().sign_in("alice").status == 401
    assert pages.visitor().sign_in("alice", "another one").status == 303
    assert "change password" in events(pages, "alice")


def test_guessing_the_present_password_is_slowed(pages: Pages) -> None:
    """USR-3: a stranger at a signed-in browser has ten guesses."""
    visitor = pages.visitor("alice")
    wrong = {"current": "a guess", "password": "another one", "confirmation": "another one"}
    assert [visitor.post("/account/password", wrong).status for _ in range(11)] == [401] * 10 + [429]


def test_change_email(pages: Pages) -> None:
    """Users change their own address; an invalid one stays in the form."""
    visitor = pages.visitor("alice")
    assert "is changed" in visitor.follow(visitor.post("/account/email", {"email": "new@example.com"}))
    assert 'value="new@example.com"' in visitor.get("/account")
    response = visitor.post("/account/email", {"email": HOSTILE})
    assert response.status == 400
    assert "<script>alert" not in response.body.decode()


def test_directory_accounts(pages: Pages) -> None:
    """No Change Password and no Reset."""
    store, now = pages.stack.app.store, utc(pages.clock.seconds())
    event = Event("add", "user", "dora", "test")
    dora = result_of(
        store.add_account(
            NewAccount("dora", "d@example.com", Role.USER, AccountState.ACTIVE, None, AccountSource.LDAP), event, now
        )
    )
    _, secret = result_of(pages.stack.app.sessions.renew(dora, "192.0.2.7", ""))
    visitor = pages.visitor()
    visitor.cookies[SESSION] = secret
    text = visitor.get("/account")
    assert "/account/password" not in text
    assert "/account/email" not in text
    assert "directory" in text_of(visitor.get("/account/password"))
    change = {"current": "x", "password": "another one", "confirmation": "another one"}
    assert visitor.post("/account/password", change).status in (401, 409)
    assert visitor.post("/account/email", {"email": "x@example.com"}).status == 409
    admin = pages.visitor("root")
    text = admin.get(f"/users/{dora.id}")
    assert "LDAP" in text
    assert f"/users/{dora.id}/password" not in text
    assert admin.post(f"/users/{dora.id}/password", {"hours": "24"}).status == 409
    # The address is left as the directory has it, and the role can be changed.
    form = admin.get(f"/users/{dora.id}/edit")
    assert 'name="email"' not in form
    assert "managed in LDAP" in form
    assert admin.post(f"/users/{dora.id}/edit", {"role": "admin", "email": "x@example.com"}).status == 303
    changed = result_of(store.account(dora.id))
    assert (changed.role, changed.email) == (Role.ADMIN, "d@example.com")


def test_sessions(pages: Pages) -> None:
    """USR-3: where one is signed in, with hostile names of browsers; one can be ended, others' can't."""
    here = pages.visitor("alice")
    there = pages.visitor()
    token = there.csrf("/login")
    body = f"username=alice&password=password+of+alice&csrf={token}".encode()
    fields = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": HOSTILE + "x" * 5000}
    assert there.request("POST", "/login", body, fields).status == 303
    text = here.get("/account")
    assert "<script>alert" not in text
    assert ">current<" in text
    (path,) = re.findall(r'action="(/account/sessions/\d+/end)"', text)
    assert pages.visitor("bob").post(path).status == 404
    assert signed_in(there)
    assert here.post(path).status == 303
    assert not signed_in(there)
    assert here.post(path).status == 404


def test_selected_sessions(pages: Pages) -> None:
    """USR-3, USR-4: several end at once, by boxes or all; the current one stays, and others' are nobody's business."""
    here = pages.visitor("alice")
    others = [pages.visitor("alice") for _ in range(4)]
    ids = re.findall(r'name="id" value="(\d+)"', here.get("/account"))
    assert len(ids) == 4
    assert "Select at least one session" in text_of(here.follow(here.post("/account/sessions/end", {})))
    pages.visitor("bob").post("/account/sessions/end", {"id": ids[0]}, page="/account")
    assert all(signed_in(one) for one in others)
    body = {"id": ids[0]}
    assert "1 session has ended" in text_of(here.follow(here.post("/account/sessions/end", body)))
    assert [signed_in(one) for one in others].count(False) == 1
    for hostile in ("0", "-1", "9" * 30, "x", "1 OR 1=1"):
        assert here.post("/account/sessions/end", {"id": hostile}).status == 303
    assert [signed_in(one) for one in others].count(False) == 1
    assert "3 sessions have ended" in text_of(here.follow(here.post("/account/sessions/end", {"all": "1"})))
    assert signed_in(here)
    assert not any(signed_in(one) for one in others)
    admin, alice = pages.visitor("root"), pages.accounts["alice"].id
    own = pages.accounts["root"].id
    admin.post(f"/users/{alice}/sessions/end", {"all": "1"}, page=f"/users/{alice}")
    assert not signed_in(here)
    admin.post(f"/users/{own}/sessions/end", {"all": "1"}, page=f"/users/{own}")
    assert signed_in(admin)


def test_api_tokens(pages: Pages) -> None:
    """USR-6: made with scopes and days, shown once, listed, ended after a question."""
    visitor = pages.visitor("alice", confirmed=True)
    form = visitor.get("/account/tokens/new")
    assert 'value="admin"' not in form
    assert re.findall('value="([a-z]+)" checked', form) == ["read"]
    response = visitor.post("/account/tokens", {"name": HOSTILE, "scope": "read", "days": "30"})
    page = visitor.follow(response)
    # No command of the page shows the token to others on the same machine.
    assert "--header @token" in page
    assert not re.search("curl[^\n]*pik_", page)
    assert "<script>alert" not in page
    (text,) = set(re.findall(r"pik_[A-Za-z0-9_-]{43}", page))
    # A reload neither shows it again nor creates another one.
    page = visitor.get(response.headers["Location"])
    assert "pik_" not in page
    assert "This token was shown when it was created" in text_of(page)
    principal = result_of(pages.stack.app.authenticator.token(text, "192.0.2.7"))
    assert principal.scopes == {Scope.READ}
    shown = visitor.get("/account")
    assert text not in shown
    assert "<script>alert" not in shown
    assert response.headers["Cache-Control"] == "no-store"
    (path,) = re.findall(r'href="(/account/tokens/\d+/end)"', shown)
    assert pages.visitor("bob").request("GET", path).status == 404
    assert pages.visitor("bob").post(path).status == 404
    assert "refused immediately" in text_of(visitor.get(path))
    assert "has ended" in text_of(visitor.follow(visitor.post(path)))
    assert "No tokens" in text_of(visitor.get("/account"))


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"name": "", "scope": "read", "days": "30"}, 400),
        ({"name": "ci", "days": "30"}, 400),
        ({"name": "ci", "scope": "read", "days": "0"}, 400),
        ({"name": "ci", "scope": "read", "days": "many"}, 400),
        ({"name": "ci", "scope": "admin", "days": "30"}, 400),
        ({"name": "ci", "scope": "everything", "days": "30"}, 400),
    ],
)
def test_tokens_that_are_refused(pages: Pages, form: dict[str, str], status: int) -> None:
    """Submitted values stay in the form."""
    response = pages.visitor("alice", confirmed=True).post("/account/tokens", form)
    assert response.status == status
    assert f'value="{form["days"]}"' in response.body.decode()
    assert "pik_" not in response.body.decode()


@pytest.mark.parametrize("path", ["/account/tokens", "/account/certificates"])
def test_the_password_before_what_lasts(pages: Pages, path: str) -> None:
    """With a token or a bound certificate REST gives private keys: a session alone makes none."""
    visitor = pages.visitor("alice")
    own = pages.stack.issue("alice.example.com", owner_id=pages.accounts["alice"].id)
    form = {"name": "lasting", "scope": "read", "days": "30", "certificate": str(own.record.id)}
    before = visitor.get("/account")
    response = visitor.post(path, form)
    assert (response.status, response.headers["Location"]) == (303, f"{path}/new")
    asked = visitor.request("GET", f"{path}/new")
    assert (asked.status, asked.headers["Location"]) == (303, f"/confirm?next={path}/new")
    assert visitor.get("/account").count("/end") == before.count("/end")
    assert "/unbind" not in visitor.get("/account")
    visitor.confirm("alice")
    visitor.get(f"{path}/new")


def test_client_certificates(pages: Pages) -> None:
    """API-1: one of one's own by its id, or one in PEM; both can be taken away again."""
    visitor = pages.visitor("alice", confirmed=True)
    now = utc(pages.clock.seconds())
    own = pages.stack.issue(HOSTILE, owner_id=pages.accounts["alice"].id)
    bobs = pages.stack.issue("bob.example.com", owner_id=pages.accounts["bob"].id)
    form = visitor.get("/account/certificates/new")
    assert f'<option value="{own.record.id}"' in form
    assert f'<option value="{bobs.record.id}"' not in form
    assert "<script>alert" not in form
    assert visitor.post("/account/certificates").status == 400
    assert visitor.post("/account/certificates", {"certificate": str(bobs.record.id)}).status == 404
    for pasted in ("nonsense", "-----BEGIN CERTIFICATE-----", "x" * 900_000):
        assert visitor.post("/account/certificates", {"pem": pasted}).status in (400, 413)
    response = visitor.post("/account/certificates", {"certificate": str(own.record.id)})
    assert "You can now sign in with this certificate" in text_of(visitor.follow(response))
    leaf = make_leaf(pages.stack.files.root, "laptop", not_before=now - DAY, not_after=now + DAY)
    assert visitor.post("/account/certificates", {"pem": leaf.pem.decode()}).status == 303
    assert visitor.post("/account/certificates", {"pem": leaf.pem.decode()}).status == 409
    text = visitor.get("/account")
    assert "<script>alert" not in text
    paths = re.findall(r'href="(/account/certificates/\d+/unbind)"', text)
    assert len(paths) == 2
    assert pages.visitor("bob").post(paths[0]).status == 404
    for path in paths:
        assert "can no longer be used to sign in" in text_of(visitor.get(path))
        assert visitor.post(path).status == 303
    assert {"bind certificate", "unbind certificate"} <= set(events(pages, "alice"))


# --- everybody's -----------------------------------------------------------------------------


def test_the_list_of_users(pages: Pages) -> None:
    """USR-4: badges, idle time of each and the maximum, oneself marked, filters, CSV."""
    pages.visitor("alice")
    pages.clock.advance(65)
    admin = pages.visitor("root")
    text = text_of(admin.get("/users"))
    assert "(You)" in text
    assert "1 min 5 s" in text
    assert "signed in" in text
    assert "signed out" in text
    assert "Users are signed out automatically" in text
    assert "User Events" in text
    assert "bob" not in text_of(admin.get("/users?role=admin"))
    csv = admin.request("GET", "/users?format=csv").body.decode()
    assert "alice,alice@example.com,1 min 5 s,user,local,active,signed in" in csv
    assert "argon2" not in csv


def test_adding(pages: Pages) -> None:
    """USR-4: it starts pending."""
    admin = pages.visitor("root")
    form = {**FORM, "username": "a.b@c", "role": "admin"}
    assert "was added" in text_of(admin.follow(admin.post("/users", form)))
    assert state_of(pages, "a.b@c") is AccountState.PENDING
    assert admin.post("/users", form).status == 409
    for change in ({"username": HOSTILE}, {"role": "owner"}, {"confirmation": "x"}, {"email": HOSTILE}):
        response = admin.post("/users", {**form, "username": "other", **change})
        assert response.status == 400
        assert "<script>alert" not in response.body.decode()
        assert FORM["password"] not in response.body.decode()


def test_suspending_and_the_rest(pages: Pages) -> None:
    """USR-4: each action takes effect at once, on what was signed in before."""
    admin, bob = pages.visitor("root"), pages.visitor("bob")
    path = f"/users/{pages.accounts['bob'].id}"
    text = admin.get(path)
    for name in ("suspend", "deactivate", "logout", "delete", "edit", "password"):
        assert f'href="{path}/{name}"' in text
    assert f'href="{path}/approve"' not in text
    assert admin.post(f"{path}/logout").status == 303
    assert not signed_in(bob)
    bob.sign_in("bob")
    assert admin.post(f"{path}/suspend").status == 303
    assert not signed_in(bob)
    assert bob.sign_in("bob").status == 401
    assert admin.post(f"{path}/activate").status == 303
    assert admin.post(f"{path}/activate").status == 409
    assert not signed_in(bob)
    bob.sign_in("bob")
    assert admin.post(f"{path}/deactivate").status == 303
    assert not signed_in(bob)
    assert admin.post(f"{path}/approve").status == 303
    bob.sign_in("bob")
    assert admin.post(f"{path}/password", {"hours": "2"}).status == 400
    assert admin.post(f"{path}/password", {"hours": "1", "block": "1"}).status == 303
    assert not signed_in(bob)
    assert bob.sign_in("bob").status == 401
    assert admin.request("GET", f"{path}/nothing").status == 404
    assert admin.post(f"{path}/nothing").status == 404
    assert admin.post("/users/4711/suspend").status == 404


def test_roles(pages: Pages) -> None:
    """USR-1: another role takes effect on the next click, both ways."""
    admin, bob = pages.visitor("root"), pages.visitor("bob")
    path = f"/users/{pages.accounts['bob'].id}/edit"
    assert bob.request("GET", "/users").status == 403
    assert admin.post(path, {"email": "bob@example.com", "role": "admin"}).status == 303
    assert bob.request("GET", "/users").status == 200
    assert admin.post(path, {"email": "new@example.com", "role": "user"}).status == 303
    assert bob.request("GET", "/users").status == 403
    assert admin.post(path, {"email": HOSTILE, "role": "user"}).status == 400
    assert admin.post(path, {"email": "new@example.com", "role": "owner"}).status == 400
    assert events(pages, "bob")[:2] == ["role change", "role change"]


def test_last_admin_and_oneself(pages: Pages) -> None:
    """USR-4: with clear words."""
    admin = pages.visitor("root")
    path = f"/users/{pages.accounts['root'].id}"
    text = admin.get(path)
    assert "(You)" in text
    for name in ("suspend", "deactivate", "delete"):
        assert f'href="{path}/{name}"' not in text
    for name, fields in (("suspend", {}), ("deactivate", {}), ("delete", {"confirm": "delete"})):
        response = admin.post(f"{path}/{name}", fields)
        assert response.status == 409
        assert "yourself" in text_of(response.body.decode())
    response = admin.post(f"{path}/edit", {"email": "root@example.com", "role": "user"})
    assert response.status == 409
    assert "last active administrator" in text_of(response.body.decode())
    assert signed_in(admin)


def test_deleting_asks_for_the_word(pages: Pages) -> None:
    """USR-4."""
    admin, bob = pages.visitor("root"), pages.visitor("bob")
    path = f"/users/{pages.accounts['bob'].id}/delete"
    assert "can't be undone" in text_of(admin.get(path))
    for typed in ("", "Delete", "no"):
        assert admin.post(path, {"confirm": typed}).status == 409
    assert signed_in(bob)
    assert "is deleted" in text_of(admin.follow(admin.post(path, {"confirm": "delete"})))
    assert not signed_in(bob)
    assert admin.request("GET", path).status == 404


def test_what_belongs_to_a_user(pages: Pages) -> None:
    """USR-4: an admin sees sessions and tokens of others, and ends them."""
    pages.visitor("bob")
    bob = pages.accounts["bob"]
    result_of(pages.stack.app.tokens.create(SYSTEM, bob.id, HOSTILE))
    admin = pages.visitor("root")
    text = admin.get(f"/users/{bob.id}")
    assert "<script>alert" not in text
    (session,) = re.findall(rf'action="(/users/{bob.id}/sessions/\d+/end)"', text)
    (token,) = re.findall(r'href="(/account/tokens/\d+/end)"', text)
    assert admin.post(session).headers["Location"] == f"/users/{bob.id}"
    assert admin.post(token).headers["Location"] == f"/users/{bob.id}"
    text = text_of(admin.get(f"/users/{bob.id}"))
    assert "No active sessions" in text
    assert "No tokens" in text


def held(pages: Pages, name: str, count: int) -> list[int]:
    """Issue certificates to an account; their ids."""
    account = pages.accounts[name]
    key = make_key("p256", 700 + account.id)
    return [pages.stack.issue(f"device-{one}", owner_id=account.id, key=key).record.id for one in range(count)]


def revoked(pages: Pages, ids: list[int]) -> list[bool]:
    """Which certificates are revoked."""
    return [result_of(pages.stack.app.store.certificate(one)).revoked_at is not None for one in ids]


def test_suspending_offers_to_revoke(pages: Pages) -> None:
    """The page shows the number; revoking requires the typed word."""
    ids, admin = held(pages, "bob", 3), pages.visitor("root")
    path = f"/users/{pages.accounts['bob'].id}/suspend"
    assert "3 valid certificates" in text_of(admin.get(path))
    fields = {"revoke": "privilegeWithdrawn"}
    assert admin.post(path, fields).status == 409
    assert revoked(pages, ids) == [False] * 3
    assert "Revoked 3 valid certificates." in text_of(admin.follow(admin.post(path, {**fields, "confirm": "revoke"})))
    assert revoked(pages, ids) == [True] * 3


@pytest.mark.parametrize("state", ["suspended", "pending"])
def test_an_inactive_accounts_certificates_are_revoked(pages: Pages, state: str) -> None:
    """Certificates that were left valid, or on hold, are revoked later; an active account has no such action."""
    ids, admin = held(pages, "bob", 3), pages.visitor("root")
    path = f"/users/{pages.accounts['bob'].id}"
    assert f"{path}/revoke" not in admin.get(path)
    assert admin.post(f"{path}/revoke", {"revoke": "superseded", "confirm": "revoke"}).status == 400
    assert revoked(pages, ids) == [False] * 3
    admin.follow(admin.post(f"{path}/{'suspend' if state == 'suspended' else 'deactivate'}", {"revoke": ""}))
    app = pages.stack.app
    serial = result_of(app.store.certificate(ids[0])).serial
    result_of(app.authority.revoke(serial, RevocationReason.CERTIFICATE_HOLD, SYSTEM))
    assert f"{path}/revoke" in admin.get(path)
    assert "3 valid certificates" in text_of(admin.get(f"{path}/revoke"))
    assert admin.post(f"{path}/revoke", {"revoke": "", "confirm": "revoke"}).status == 400
    assert admin.post(f"{path}/revoke", {"revoke": "superseded"}).status == 409
    sent = {"revoke": "superseded", "confirm": "revoke"}
    assert "Revoked 3 valid certificates." in text_of(admin.follow(admin.post(f"{path}/revoke", sent)))
    found = [result_of(app.store.certificate(one)).reason for one in ids]
    assert found == [RevocationReason.SUPERSEDED] * 3
    assert state in text_of(admin.get(path)).lower()


def test_suspending_revokes_nothing_by_itself(pages: Pages) -> None:
    ids, admin = held(pages, "bob", 1), pages.visitor("root")
    path = f"/users/{pages.accounts['bob'].id}/suspend"
    assert "Revoked" not in text_of(admin.follow(admin.post(path, {"revoke": ""})))
    assert revoked(pages, ids) == [False]


def test_deleting_offers_to_revoke(pages: Pages) -> None:
    """And the account stays as the owner that lists name."""
    ids, admin = held(pages, "bob", 1), pages.visitor("root")
    bob = pages.accounts["bob"].id
    assert "1 valid certificate" in text_of(admin.get(f"/users/{bob}/delete"))
    fields = {"revoke": "cessationOfOperation", "confirm": "delete"}
    assert "Revoked 1 valid certificate." in text_of(admin.follow(admin.post(f"/users/{bob}/delete", fields)))
    assert revoked(pages, ids) == [True]
    assert "bob (deleted)" in text_of(admin.get("/certificates"))
    assert "bob" not in text_of(admin.get("/users"))
    assert "bob (deleted)" in text_of(admin.get("/users?state=deleted"))
    page = admin.get(f"/users/{bob}")
    assert "This account is deleted." in text_of(page)
    assert f"/users/{bob}/revoke" in page
    for action in ("edit", "password", "delete", "suspend", "activate"):
        assert f"/users/{bob}/{action}" not in page
        assert admin.request("GET", f"/users/{bob}/{action}").status == 404
