"""REST: locks, one-time password resets and second factors of accounts (ROL-2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pikachu.core.model.events import Event
from pikachu.core.model.passkeys import NewPasskey
from pikachu.core.model.people import Role, Scope
from pikachu.core.model.second_factors import NewTOTP
from tests.support.databases import NOW, event, seal
from tests.support.deferreds import result_of
from tests.support.rest import REST


def lock(rest: REST, name: str) -> None:
    """Type wrong passwords until the account is locked."""
    limits = rest.stack.app.nodes.guess_limits
    for _ in range(20):
        limits.password_failed(name, "192.0.2.1")


def test_unlock(rest: REST) -> None:
    """An administrator ends the lock; auditors see it, with the failed sign-ins, and change nothing."""
    rest.add("audrey", Role.AUDITOR)
    path = f"/users/{rest.accounts['bob'].id}/lock"
    assert rest.good("GET", path, who="root") == {"locked_seconds": 0, "failures": []}
    wrong = rest.stack.app.sessions.login("bob", "wrong", "192.0.2.1", "a browser")
    wrong.addErrback(lambda _: None)
    result_of(wrong)
    lock(rest, "bob")
    found = rest.good("GET", path, who="audrey")
    assert found["locked_seconds"] > 0
    assert [one["address"] for one in found["failures"]] == ["192.0.2.1"]
    rest.bad(403, "DELETE", path, who="audrey")
    rest.good("DELETE", path, who="root", status=204)
    rest.good("DELETE", path, who="root", status=204)
    assert rest.good("GET", path, who="root")["locked_seconds"] == 0
    newest = rest.good("GET", "/events?limit=1&resource_name=bob", who="root")["items"][0]
    assert (newest["type"], newest["actor"]) == ("unlock", "root")


def test_locks_that_commands_end(rest: REST) -> None:
    """A server looks for the events of others: only those since its last look count."""
    locks, limits = rest.stack.app.sign_in_locks, rest.stack.app.nodes.guess_limits
    rest.good("DELETE", f"/users/{rest.accounts['alice'].id}/lock", who="root", status=204)
    lock(rest, "alice")
    lock(rest, "bob")
    result_of(locks.follow())
    result_of(locks.follow())
    assert limits.locked_seconds("alice") > 0
    result_of(rest.stack.app.store.add_event(Event("unlock", "user", "BOB", "cli", about_account=True), NOW))
    result_of(locks.follow())
    assert (limits.locked_seconds("alice") > 0, limits.locked_seconds("bob")) == (True, 0)


def test_reset_links(rest: REST) -> None:
    """The answer holds the link once; it is never kept for a repetition, and the newest one counts."""
    path = f"/users/{rest.accounts['bob'].id}/password-reset"
    host = {"Host": "ca.example.com", "Idempotency-Key": "again"}
    first = rest.good("POST", path, {}, who="root", headers=host)
    second = rest.good("POST", path, {"hours": 1, "block": True}, who="root", headers={"Host": "ca.example.com"})
    assert first["link"] == f"https://ca.example.com/reset#{first['code']}"
    assert first["expires_at"] > second["expires_at"]
    resets = rest.stack.app.password_resets
    failures: list[object] = []
    resets.use(first["code"], "a new password", "a new password", "192.0.2.1").addErrback(failures.append)
    assert failures
    assert result_of(resets.use(second["code"], "a new password", "a new password", "192.0.2.1")).username == "bob"
    assert first["code"] not in str(rest.good("GET", "/events?limit=100", who="root"))
    for body in ({"hours": 2}, {"hours": 0}, {"hours": 10**9}, {"hours": "24"}, {"block": 1}, {"days": 1}):
        assert rest.call("POST", path, body, who="root", headers={"Host": "ca.example.com"}).status in (400, 422), body
    rest.bad(403, "POST", path, {}, who="alice")
    rest.bad(404, "POST", "/users/999999/password-reset", {}, who="root", headers={"Host": "ca.example.com"})


def add_app(rest: REST, name: str) -> None:
    """Give an account an authenticator app and two recovery codes."""
    totp = NewTOTP(rest.accounts[name].id, seal, 1, (b"1" * 32, b"2" * 32))
    result_of(rest.stack.app.store.put_totp(totp, event("add second factor", name), NOW))


def add_passkey(rest: REST, name: str, number: int) -> None:
    """Give an account a passkey."""
    one = NewPasskey(rest.accounts[name].id, f"key {number}", "ca.example.com", b"%d" % number, b"", 0, b"", number, ())
    result_of(rest.stack.app.store.add_passkey(one, 9, event("add passkey", name), NOW))


def test_second_factors(rest: REST) -> None:
    """Listed without secrets, removed together or one passkey at a time; deleted accounts have none."""
    add_app(rest, "bob")
    for number in (1, 2):
        add_passkey(rest, "bob", number)
    path = f"/users/{rest.accounts['bob'].id}/second-factors"
    found = rest.good("GET", path, who="bob")
    assert found == rest.good("GET", path, who="root")
    assert (found["authenticator_app"], found["recovery_codes"]) == (True, 2)
    assert [one["name"] for one in found["passkeys"]] == ["key 1", "key 2"]
    assert found["passkeys"][0].keys() == {"id", "name", "host", "created_at", "last_used_at"}
    first, second = (f"/passkeys/{one['id']}" for one in found["passkeys"])
    rest.bad(404, "DELETE", first, who="alice")
    rest.good("DELETE", first, who="bob", status=204)
    rest.bad(404, "DELETE", first, who="bob")
    rest.good("DELETE", second, who="root", status=204)
    assert rest.good("GET", path, who="root")["passkeys"] == []
    rest.bad(403, "DELETE", path, who="bob")
    rest.good("DELETE", path, who="root", status=204)
    assert rest.good("GET", path, who="root") == {"authenticator_app": False, "passkeys": [], "recovery_codes": 0}
    rest.good("DELETE", f"/users/{rest.accounts['bob'].id}", who="root", status=204)
    for method in ("GET", "DELETE"):
        for suffix in ("second-factors", "lock"):
            rest.bad(404, method, f"/users/{rest.accounts['bob'].id}/{suffix}", who="root")


@pytest.mark.parametrize(
    "token", [lambda rest: rest.token("bob", Scope.READ), lambda rest: rest.token("root", Scope.ADMIN)]
)
def test_second_factors_need_the_whole_account(rest: REST, token: Callable[[REST], str]) -> None:
    """A token with fewer scopes than its role learns nothing about how an account signs in."""
    rest.bad(403, "GET", f"/users/{rest.accounts['bob'].id}/second-factors", token=token(rest))
