"""Accounts of a directory, which is OpenLDAP's slapd (USR-5)."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from pikachu.auth.authenticator import account_principal
from pikachu.cli.main import main
from pikachu.cli.session import done
from pikachu.core.errors import AuthenticationFailed, Conflict, DirectoryUnavailable, InactiveOwner
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, Account, AccountSource, AccountState, Principal, Role, Scope
from tests.support.deferreds import error_of, failure_of, result_of
from tests.support.ldap_relay import ldap_relay
from tests.support.pki import make_ca, make_csr, make_leaf
from tests.support.scripted_ldap import BIND_REQUEST, SEARCH_REQUEST
from tests.support.server import running_server, wait_until
from tests.support.slapd import ADMIN_GROUP, BASE, PASSWORD, PEOPLE, Slapd, person, running_slapd
from tests.support.stack import Stack, build_core, make_files

pytestmark = pytest.mark.interop

ADDRESS: Final = "192.0.2.7"
DORA: Final = f"uid=dora,{PEOPLE}"
EMIL: Final = f"uid=emil,{PEOPLE}"
LOCKED: Final = "pwdAccountLockedTime"


@pytest.fixture
def slapd(tmp_path: Path) -> Iterator[Slapd]:
    with running_slapd(tmp_path / "slapd") as directory:
        yield directory


@dataclass
class Site:
    """A server that uses the directory."""

    stack: Stack

    def sign_in(self, username: str = "dora", password: str = PASSWORD) -> Account:
        """Sign in."""
        return result_of(self.stack.app.authenticator.verified(username, password, ADDRESS))

    def refused(self, username: str = "dora", password: str = PASSWORD) -> str:
        """Return the reason in the audit log with which a sign-in is refused."""
        failure_of(self.stack.app.authenticator.verified(username, password, ADDRESS), AuthenticationFailed)
        return str(self.events("failed login")[-1])

    def unavailable(self, username: str = "dora") -> str:
        """Return the message of a sign-in that the directory does not answer."""
        return failure_of(
            self.stack.app.authenticator.verified(username, PASSWORD, ADDRESS), DirectoryUnavailable
        ).public

    def events(self, type_: str) -> list[object]:
        """Return the reasons of events, or their details without one."""
        query = ListQuery(limit=1000, sort="id", filters={"type": type_})
        events = [one.event for one in result_of(self.stack.app.store.events(query)).items]
        return [one.details.get("reason", dict(one.details)) for one in events]

    def recheck(self) -> int:
        """Look all accounts up again; return how many were changed."""
        assert self.stack.app.directory is not None
        return result_of(self.stack.app.directory.recheck())

    def account(self, account: Account) -> Account:
        """Return an account as it is now."""
        return result_of(self.stack.app.store.account(account.id))

    def health(self) -> tuple[str, str]:
        """Return state and message of the readiness check."""
        self.stack.clock.advance(11)
        state = result_of(self.stack.app.readiness.states())["ldap"]
        return state.state, state.message

    def add_local(self, username: str, role: Role = Role.USER) -> Account:
        """Add a local account with the password ``local password``."""
        return result_of(
            self.stack.app.accounts.add_user(
                SYSTEM, username, "a@example.com", role, AccountState.ACTIVE, "local password"
            )
        )


Open = Callable[..., Site]
Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def site(tmp_path: Path, slapd: Slapd) -> Iterator[Open]:
    """Opens servers with settings of ``[LDAP]``."""
    opened: list[Stack] = []

    def build(**settings: str) -> Site:
        folder = tmp_path / f"server{len(opened)}"
        opened.append(build_core(folder, changes=slapd.settings(**settings)))
        return Site(opened[-1])

    yield build
    for stack in opened:
        stack.close()


def principal(account: Account) -> Principal:
    """Return the principal of a signed-in account."""
    return account_principal(account, ADDRESS)


def test_the_first_sign_in_creates_an_account(slapd: Slapd, site: Open) -> None:
    """It is active, follows the directory, and has no password here."""
    server = site()
    account = server.sign_in()
    assert (account.source, account.state, account.role) == (AccountSource.LDAP, AccountState.ACTIVE, Role.USER)
    assert account.password_hash is None
    assert account.directory_id is not None
    assert len(server.events("add")) == 1
    assert server.sign_in() == account
    slapd.modify(f"dn: {DORA}\nchangetype: modify\nreplace: mail\nmail: new@example.org\n")
    assert server.sign_in().email == "new@example.org"
    slapd.modify(f"dn: {DORA}\nchangetype: modify\nreplace: mail\nmail: no address\n")
    assert server.sign_in().email == ""
    # A new password there counts at once.
    slapd.modify(f"dn: {DORA}\nchangetype: modify\nreplace: userPassword\nuserPassword: another one\n")
    assert server.refused() == "wrong password"
    assert server.sign_in(password="another one").id == account.id


def test_the_directory_keeps_passwords_and_addresses(site: Open) -> None:
    """Nothing that the directory decides can be changed here."""
    server = site(admin_group=ADMIN_GROUP)
    account, accounts = server.sign_in(), server.stack.app.accounts
    failure_of(accounts.reset_password(SYSTEM, account.id, "new password"), Conflict)
    failure_of(accounts.change_password(principal(account), "new password"), Conflict)
    failure_of(accounts.change_email(principal(account), "x@example.com"), Conflict)
    failure_of(accounts.update(SYSTEM, account.id, email="x@example.com"), Conflict)
    failure_of(accounts.update(SYSTEM, account.id, role=Role.ADMIN), Conflict)


def test_without_a_group_roles_are_assigned_here(site: Open) -> None:
    """A role that an administrator assigns stays."""
    server = site()
    account = server.sign_in()
    result_of(server.stack.app.accounts.update(SYSTEM, account.id, role=Role.ADMIN))
    assert server.recheck() == 0
    assert server.sign_in().role is Role.ADMIN


def test_a_local_account_is_never_taken_over(slapd: Slapd, site: Open) -> None:
    """Its own password signs in, the directory's does not, by whatever name the directory finds it."""
    server = site(user_filter="(|(uid={username})(mail={username}))")
    local = server.add_local("dora")
    assert server.refused("dora") == "wrong password"
    assert server.refused("dora@example.org") == "a local account has this name"
    assert server.sign_in("dora", "local password") == local
    # A name that the directory knows otherwise is still one account.
    emil = server.sign_in("emil@example.org")
    assert emil.username == "emil"
    assert server.sign_in("emil") == emil
    assert server.recheck() == 0
    assert server.account(local) == local


@pytest.mark.parametrize("attribute", ["memberOf", "member"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_group_makes_administrators(slapd: Slapd, site: Open, attribute: str, nested: bool) -> None:
    """Directly, or through other groups where these count; groups that contain each other end nowhere."""
    inner, outer = f"cn=inner,ou=groups,{BASE}", f"cn=outer,ou=groups,{BASE}"
    slapd.add_group(inner, DORA)
    slapd.add_group(outer, inner)
    slapd.modify(f"dn: {inner}\nchangetype: modify\nadd: member\nmember: {outer}\n")
    slapd.add_group(ADMIN_GROUP, EMIL, outer)
    server = site(
        admin_group=ADMIN_GROUP.upper().replace(",", " , "), group_attribute=attribute, nested_groups=str(nested)
    )
    assert server.sign_in("emil").role is Role.ADMIN
    assert server.sign_in("dora").role is (Role.ADMIN if nested else Role.USER)
    assert server.sign_in("jörg").role is Role.USER
    slapd.delete(ADMIN_GROUP)
    assert server.sign_in("emil").role is Role.USER


@pytest.mark.parametrize("attribute", ["memberOf", "member"])
@pytest.mark.parametrize("nested", [False, True])
def test_groups_give_all_roles(slapd: Slapd, site: Open, attribute: str, nested: bool) -> None:
    """ROL-1: the first of admin, operator and auditor; without the group of admins, too, nobody is one by hand."""
    operators, auditors = f"cn=operators,ou=groups,{BASE}", f"cn=auditors,ou=groups,{BASE}"
    slapd.add_group(ADMIN_GROUP, EMIL)
    slapd.add_group(operators, DORA, ADMIN_GROUP)
    slapd.add_group(auditors, DORA, EMIL)
    settings = {"group_attribute": attribute, "nested_groups": str(nested), "auditor_group": auditors}
    server = site(operator_group=operators, **settings)
    dora, emil = server.sign_in("dora"), server.sign_in("emil")
    assert (dora.role, emil.role) == (Role.OPERATOR, Role.OPERATOR if nested else Role.AUDITOR)
    slapd.delete(operators)
    assert server.recheck() == 1 + nested
    assert (server.account(dora).role, server.account(emil).role) == (Role.AUDITOR, Role.AUDITOR)
    failure_of(server.stack.app.accounts.update(SYSTEM, dora.id, role=Role.ADMIN), Conflict)
    other = site(admin_group=ADMIN_GROUP, **settings)
    assert [other.sign_in(name).role for name in ("dora", "emil", "jörg")] == [Role.AUDITOR, Role.ADMIN, Role.USER]


def test_groups_of_user_names(slapd: Slapd, site: Open) -> None:
    """POSIX groups name their members by uid."""
    slapd.add(f"dn: {ADMIN_GROUP}\nobjectClass: posixGroup\ncn: ca-admins\ngidNumber: 7\nmemberUid: dora\n")
    server = site(admin_group=ADMIN_GROUP, group_attribute="memberUid")
    assert [server.sign_in(name).role for name in ("dora", "emil")] == [Role.ADMIN, Role.USER]


GONE: Final = {
    "deleted": (f"dn: {DORA}\nchangetype: delete\n", "no such account"),
    "disabled": (
        f"dn: {DORA}\nchangetype: modify\nadd: {LOCKED}\n{LOCKED}: 000001010000Z\n",
        "disabled in the directory",
    ),
    "no longer matched": (
        f"dn: {DORA}\nchangetype: modify\nreplace: employeeType\nemployeeType: left\n",
        "no such account",
    ),
    "another person": (
        "\n".join(("dn: " + DORA, "changetype: delete", "", person("dora").replace("\n", "\nchangetype: add\n", 1))),
        "the directory has another entry of this name now",
    ),
}


@pytest.mark.parametrize("how", GONE)
def test_whoever_is_gone_loses_everything(slapd: Slapd, site: Open, how: str) -> None:
    """At the recheck: sessions, tokens and what the account could enroll; the only administrator, too."""
    change, reason = GONE[how]
    slapd.add_group(ADMIN_GROUP, DORA)
    server = site(
        admin_group=ADMIN_GROUP,
        disabled_filter=f"({LOCKED}=*)",
        user_filter="(&(uid={username})(!(employeeType=left)))",
    )
    app = server.stack.app
    emil, dora = server.sign_in("emil"), server.sign_in()
    _, secret = result_of(app.sessions.login("dora", PASSWORD, ADDRESS, "a browser"))
    _, token = result_of(app.tokens.create(principal(dora), dora.id, "t", frozenset({Scope.ENROLL}), None))
    assert server.recheck() == 0
    assert result_of(app.authenticator.token(token, ADDRESS)).owner_id == dora.id
    slapd.modify(change)
    assert server.recheck() == 1
    lost = server.account(dora)
    assert (lost.state, lost.suspended_by_directory) == (AccountState.SUSPENDED, True)
    assert server.events("suspend") == [reason]
    assert result_of(app.sessions.find(secret)) is None
    failure_of(app.authenticator.token(token, ADDRESS), AuthenticationFailed)
    failure_of(app.store.require_active_owner(dora.id), InactiveOwner)
    assert server.refused()
    assert server.recheck() == 0
    assert server.account(emil).state is AccountState.ACTIVE


def test_a_disabled_account_comes_back(slapd: Slapd, site: Open) -> None:
    """By itself, unless an administrator here has suspended it as well; a first sign-in does not create it."""
    server = site(disabled_filter=f"({LOCKED}=*)")
    account, lock = server.sign_in(), f"{LOCKED}: 000001010000Z"
    slapd.modify(f"dn: {EMIL}\nchangetype: modify\nadd: {LOCKED}\n{lock}\n")
    assert server.refused("emil")
    assert result_of(server.stack.app.store.account_by_name("emil")) is None
    slapd.modify(f"dn: {DORA}\nchangetype: modify\nadd: {LOCKED}\n{lock}\n")
    assert server.refused()
    assert server.account(account).suspended_by_directory
    slapd.modify(f"dn: {DORA}\nchangetype: modify\ndelete: {LOCKED}\n")
    assert server.recheck() == 1
    assert server.sign_in().state is AccountState.ACTIVE
    result_of(server.stack.app.accounts.suspend(SYSTEM, account.id))
    assert server.recheck() == 0
    assert server.refused() == "the account is suspended"


@pytest.mark.parametrize("how", ["suspend", "update", "pending"])
def test_an_administrators_suspension_outlasts_the_directorys(slapd: Slapd, site: Open, how: str) -> None:
    """An account that the directory has suspended first does not come back by itself; other changes leave that."""
    server = site(disabled_filter=f"({LOCKED}=*)")
    account, accounts = server.sign_in(), server.stack.app.accounts
    slapd.modify(f"dn: {DORA}\nchangetype: modify\nadd: {LOCKED}\n{LOCKED}: 000001010000Z\n")
    assert server.recheck() == 1
    result_of(accounts.update(SYSTEM, account.id, role=Role.ADMIN))
    assert server.account(account).suspended_by_directory
    if how == "suspend":
        result_of(accounts.suspend(SYSTEM, account.id))
    else:
        state = AccountState.SUSPENDED if how == "update" else AccountState.PENDING
        result_of(accounts.update(SYSTEM, account.id, state=state))
    slapd.modify(f"dn: {DORA}\nchangetype: modify\ndelete: {LOCKED}\n")
    assert server.recheck() == 0
    assert server.refused().startswith("the account is ")
    assert len(server.events("suspend")) == (1 if how == "pending" else 2)
    result_of(accounts.update(SYSTEM, account.id, state=AccountState.ACTIVE))
    assert server.sign_in().state is AccountState.ACTIVE


def test_a_demoted_administrator_loses_sessions_and_tokens(slapd: Slapd, site: Open) -> None:
    slapd.add_group(ADMIN_GROUP, DORA, EMIL)
    server = site(admin_group=ADMIN_GROUP)
    app, dora = server.stack.app, server.sign_in()
    _, secret = result_of(app.sessions.login("dora", PASSWORD, ADDRESS, "a browser"))
    _, token = result_of(app.tokens.create(principal(dora), dora.id, "t", None, None))
    slapd.modify(f"dn: {ADMIN_GROUP}\nchangetype: modify\ndelete: member\nmember: {DORA}\n")
    assert server.recheck() == 1
    assert (server.account(dora).role, server.account(dora).state) == (Role.USER, AccountState.ACTIVE)
    assert result_of(app.sessions.find(secret)) is None
    failure_of(app.authenticator.token(token, ADDRESS), AuthenticationFailed)
    assert len(server.events("role change")) == 1


def test_an_unreadable_directory_takes_nobody_away(slapd: Slapd, site: Open) -> None:
    """Accounts are lost when the directory says so, not when it says nothing."""
    server = site()
    account = server.sign_in()
    for uid in ("emil", "jörg", "dora"):
        slapd.modify(
            f"dn: uid={uid},{PEOPLE}\nchangetype: modrdn\nnewrdn: uid={uid}\ndeleteoldrdn: 0\nnewsuperior: {BASE}\n"
        )
    slapd.delete(PEOPLE)
    assert server.stack.app.directory is not None
    assert "PEOPLE_DN" in failure_of(server.stack.app.directory.recheck(), DirectoryUnavailable).public
    assert "PEOPLE_DN" in server.unavailable()
    slapd.stop()
    failure_of(server.stack.app.directory.recheck(), DirectoryUnavailable)
    assert server.account(account) == account


def test_two_entries_for_one_name(slapd: Slapd, site: Open) -> None:
    """Neither signs in, and an account stays as it was."""
    server = site()
    account = server.sign_in()
    slapd.add(person("dora").replace(DORA, f"cn=dora,{PEOPLE}"))
    assert server.refused() == "the directory has two entries of this name"
    assert server.recheck() == 0
    assert server.account(account) == account


@pytest.mark.parametrize("use_tls", ["starttls", "ldaps", "true"])
def test_tls(slapd: Slapd, site: Open, tmp_path: Path, use_tls: str) -> None:
    """The chain and the name are verified; a replaced CA file and certificate count at once."""
    ldaps = {"LDAP_PORT": str(slapd.tls_port)} if use_tls == "ldaps" else {}
    trust = tmp_path / "trust.crt"
    trust.write_bytes(slapd.ca.pem)
    server = site(use_tls=use_tls, ca_cert_path=str(trust), **ldaps)
    account = server.sign_in()
    assert server.health() == ("ok", "Ready.")
    assert "not trusted" in site(use_tls=use_tls, **ldaps).unavailable()
    other = make_ca("p256", "Another CA", slot=21)
    slapd.restart(make_leaf(slapd.ca, "elsewhere", sans=["DNS:elsewhere.example.org"]))
    assert "not valid for the name" in server.unavailable()
    slapd.restart(make_leaf(other, "localhost", sans=["IP:127.0.0.1"]))
    assert "not trusted" in server.unavailable()
    assert server.health()[0] == "unavailable"
    # Another time of change, on file systems with coarse ones, too.
    trust.write_bytes(other.pem)
    os.utime(trust, (1, 1))
    server.stack.clock.advance(61)
    assert server.sign_in() == account


def test_refused_tls_sends_no_password(slapd: Slapd, site: Open) -> None:
    """A server without StartTLS is not used without it."""
    slapd.refuse_tls()
    slapd.restart()
    server = site(use_tls="starttls", ca_cert_path=str(slapd.ca_path))
    assert "refuses StartTLS" in server.unavailable()
    server = site(use_tls="ldaps", LDAP_PORT=str(slapd.tls_port), ca_cert_path=str(slapd.ca_path))
    assert server.unavailable()


def test_round_trips(slapd: Slapd, site: Open) -> None:
    """A sign-in costs a search and a bind, on connections that stay open; with ``user_dn`` both at the same time."""
    slapd.add_group(ADMIN_GROUP, DORA)
    with ldap_relay(slapd.port) as relay:
        server = site(LDAP_PORT=str(relay.port), admin_group=ADMIN_GROUP)
        server.sign_in()
        assert relay.requests == [BIND_REQUEST, SEARCH_REQUEST, BIND_REQUEST]
        for _ in range(3):
            relay.withhold(0)
            assert server.sign_in().role is Role.ADMIN
            assert relay.requests == [SEARCH_REQUEST, BIND_REQUEST]
        assert server.refused(password="wrong") == "wrong password"
        assert relay.connections == 2
        server.stack.close()
        server = site(LDAP_PORT=str(relay.port), admin_group=ADMIN_GROUP, user_dn=f"uid={{username}},{PEOPLE}")
        server.sign_in()
        # Nothing is answered before both have been sent.
        relay.withhold(2)
        assert server.sign_in().role is Role.ADMIN
        assert sorted(relay.requests) == [BIND_REQUEST, SEARCH_REQUEST]
        assert server.refused(password="wrong") == "wrong password"
        # Connections that have ended are replaced while somebody signs in.
        relay.hang_up()
        assert server.sign_in().role is Role.ADMIN
        assert relay.connections == 6


def test_a_dn_that_is_another(slapd: Slapd, site: Open) -> None:
    """Where an account's DN is not the one of ``user_dn``, its own decides, whatever the other's password is."""
    elsewhere = f"uid=emil,ou=groups,{BASE}"
    slapd.add(person("emil", password="the other password").replace(EMIL, elsewhere))
    server = site(user_dn=f"uid={{username}},ou=groups,{BASE}")
    assert server.sign_in("emil").username == "emil"
    assert server.refused("emil", "the other password") == "wrong password"
    assert server.sign_in("dora").username == "dora"
    assert server.refused("nobody") == "no such account"


def test_another_server_takes_over(slapd: Slapd, site: Open) -> None:
    """The first that works answers; readiness says that it isn't the first."""
    server = site(LDAP_HOST="127.0.0.9, 127.0.0.1")
    assert server.sign_in()
    state, message = server.health()
    assert state == "degraded"
    assert "another one" in message
    assert server.sign_in("emil")


FAULTS: Final[dict[str, tuple[dict[str, str], str]]] = {
    "wrong password of ADMIN_DN": ({"ADMIN_PASSWORD": "wrong"}, "ADMIN_DN and ADMIN_PASSWORD"),
    "unknown ADMIN_DN": ({"ADMIN_DN": f"cn=nobody,{BASE}"}, "ADMIN_DN and ADMIN_PASSWORD"),
    "no DN": ({"ADMIN_DN": "not a dn"}, "ADMIN_DN and ADMIN_PASSWORD"),
    "no such base": ({"PEOPLE_DN": f"ou=nowhere,{BASE}"}, "PEOPLE_DN"),
    "another suffix": ({"PEOPLE_DN": "dc=elsewhere"}, "PEOPLE_DN"),
    "nobody listens": ({"LDAP_HOST": "127.0.0.9"}, "refuses the connection"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_said(site: Open, fault: str) -> None:
    """The answer is 503, never that a password is wrong; local accounts sign in."""
    changes, message = FAULTS[fault]
    server = site(**changes)
    server.add_local("olga", Role.ADMIN)
    assert message in server.unavailable()
    assert message in server.unavailable("nobody")
    state, text = server.health()
    assert (state, message in text) == ("unavailable", True)
    assert server.sign_in("olga", "local password").role is Role.ADMIN
    assert server.events("failed login") == []


def test_a_stopped_directory_comes_back(slapd: Slapd, site: Open) -> None:
    """After two failures nobody waits any more; a pause later it is tried again, without a restart."""
    server = site()
    account = server.sign_in()
    slapd.stop()
    assert "refuses the connection" in server.unavailable()
    assert "refuses the connection" in server.unavailable()
    error = error_of(server.stack.app.authenticator.verified("dora", PASSWORD, ADDRESS))
    assert isinstance(error, DirectoryUnavailable)
    assert "local accounts can sign in" in error.public
    assert 1 <= error.retry_after <= 60
    slapd.start()
    assert server.unavailable()
    server.stack.clock.advance(6)
    assert server.sign_in() == account


def test_a_slow_directory_is_not_waited_for(slapd: Slapd, site: Open) -> None:
    """Its answer may take a second here."""
    server = site(timeout="1s")
    slapd.pause()
    assert "in time" in server.unavailable()
    slapd.resume()
    assert server.sign_in()


@pytest.fixture
def check(tmp_path: Path, slapd: Slapd, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs ``pikachu ldap check`` with settings; returns its exit code and output."""

    def run(*arguments: str, **settings: str) -> tuple[int, str, str]:
        files = make_files(tmp_path / "server", changes=slapd.settings(**settings))
        code = main(["ldap", "check", *arguments, "--config", str(files.config)])
        return code, *capsys.readouterr()

    return run


def test_the_command_says_what_works(slapd: Slapd, check: Check, tmp_path: Path) -> None:
    """Each server, the account, and its password; what is not enabled yet can be tried."""
    slapd.add_group(ADMIN_GROUP, DORA)
    tls = {"use_tls": "starttls", "ca_cert_path": str(slapd.ca_path), "admin_group": ADMIN_GROUP}
    assert check(**tls) == (0, "127.0.0.1: works\n", "")
    code, out, err = check("DORA", **tls, enabled="false")
    assert (code, "enabled = false" in err) == (0, True)
    for expected in (f"DORA: {DORA}", "user name  dora", "dora@example.org", "role       admin", "unique id  "):
        assert expected in out
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n", encoding="utf-8")
    assert "password   right" in check("dora", "--password-file", str(password), **tls)[1]


def test_the_command_says_what_is_wrong(slapd: Slapd, check: Check, tmp_path: Path) -> None:
    """In words, with 1 as the exit code; no password is in them."""
    password = tmp_path / "password"
    password.write_text("wrong one\n", encoding="utf-8")
    slapd.modify(f"dn: {EMIL}\nchangetype: modify\nadd: {LOCKED}\n{LOCKED}: 000001010000Z\n")
    cases: list[tuple[tuple[str, ...], dict[str, str], str]] = [
        ((), {"LDAP_HOST": "127.0.0.9, 127.0.0.1"}, "127.0.0.9: The directory refuses the connection."),
        ((), {"ADMIN_PASSWORD": "wrong one"}, "refuses ADMIN_DN and ADMIN_PASSWORD. Correct them"),
        ((), {"PEOPLE_DN": f"ou=nowhere,{BASE}"}, "PEOPLE_DN does not exist"),
        ((), {"use_tls": "ldaps"}, "does not speak TLS here"),
        ((), {"use_tls": "starttls"}, "is not trusted"),
        ((), {"admin_group": f"cn=nobody,{BASE}"}, "admin_group: does not exist"),
        (("nobody",), {}, "nobody: can't sign in: no such account"),
        (("dora", "--password-file", str(password)), {}, "dora: can't sign in: wrong password"),
        (("emil",), {"disabled_filter": f"({LOCKED}=*)"}, "disabled   yes"),
    ]
    for arguments, settings, message in cases:
        code, out, err = check(*arguments, **settings)
        assert (code, message in out) == (1, True), (arguments, settings, out, err)
        assert "wrong one" not in out + err
    code, _, err = check("--password-file", str(password))
    assert (code, "needs the USERNAME" in err) == (1, True)
    code, _, err = check(enabled="false", LDAP_HOST="")
    assert (code, "[LDAP] LDAP_HOST" in err) == (1, True)


def test_a_server_rechecks_when_it_starts(slapd: Slapd, tmp_path: Path) -> None:
    """A real server enrolls for a person with HTTP Basic, and no more once the directory has lost them."""

    def enroll() -> int:
        credentials = base64.b64encode(f"dora:{PASSWORD}".encode()).decode()
        headers = {"Content-Type": "application/pkcs10", "Authorization": f"Basic {credentials}"}
        body = base64.b64encode(make_csr("p256", "dora-device")[1])
        return server.ask("https", "/.well-known/est/simpleenroll", "POST", body, headers).status

    def state() -> AccountState:
        with server.application() as app:
            account = done(app.store.account_by_name("dora"))
        assert account is not None
        return account.state

    changes = slapd.settings(use_tls="starttls", ca_cert_path=str(slapd.ca_path))
    with running_server(tmp_path / "server", changes=changes) as server:
        assert enroll() == 200
        assert json.loads(server.ask("http", "/readyz").body)["checks"]["ldap"] == "ok"
        assert state() is AccountState.ACTIVE
        assert server.stop() == 0
        slapd.delete(DORA)
        server.start()
        wait_until(lambda: state() is AccountState.SUSPENDED, "the recheck")
        assert enroll() == 401
        assert server.stop() == 0
