"""Sign-ins by password: the same rules for local accounts and for those of a directory (USR-3, USR-5)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from pikachu.core.errors import AuthenticationFailed, NotAuthorized, PikachuError, RateLimited
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, Account, AccountSource, AccountState, Credentials, PrincipalKind, Role
from tests.support.deferreds import error_of, failure_of, result_of
from tests.support.slapd import PASSWORD, Slapd, running_slapd
from tests.support.stack import Stack, build_core

ADDRESS = "192.0.2.7"
WRONG = "wrong username or password"


@dataclass
class People:
    """A server with the person ``dora``.

    :ivar source: where her password is.
    """

    stack: Stack
    source: AccountSource

    def sign_in(self, username: str = "dora", password: str = PASSWORD, address: str = ADDRESS) -> Account:
        """Sign in."""
        return result_of(self.stack.app.authenticator.verified(username, password, address))

    def refuse(self, username: str, password: str, address: str = ADDRESS) -> PikachuError:
        """Return the error of a sign-in."""
        return error_of(self.stack.app.authenticator.verified(username, password, address))

    def reasons(self) -> list[object]:
        """Return the reasons of failures in the audit log, the oldest first."""
        query = ListQuery(limit=1000, sort="id", filters={"type": "failed login"})
        return [one.event.details["reason"] for one in result_of(self.stack.app.store.events(query)).items]


@pytest.fixture(scope="module")
def directory() -> Iterator[Slapd]:
    with running_slapd() as slapd:
        yield slapd


@pytest.fixture(params=["local", pytest.param("slapd", marks=pytest.mark.interop)])
def people(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[People]:
    """The same person, here or in the directory."""
    local = request.param == "local"
    changes = None if local else request.getfixturevalue("directory").settings()
    stack = build_core(tmp_path, changes=changes)
    if local:
        added = stack.app.accounts.add_user(
            SYSTEM, "dora", "dora@example.org", Role.USER, AccountState.ACTIVE, PASSWORD
        )
        result_of(added)
    yield People(stack, AccountSource.LOCAL if local else AccountSource.LDAP)
    stack.close()


def test_the_right_password_signs_in(people: People) -> None:
    """The account is active, a user, and knows where its password is."""
    account = people.sign_in()
    assert (account.username, account.email, account.role) == ("dora", "dora@example.org", Role.USER)
    assert (account.state, account.source) == (AccountState.ACTIVE, people.source)
    assert people.sign_in("DORA").id == account.id


#: Names and passwords that sign in nobody.
WRONGS: Final = (
    ("dora", "wrong"),
    ("nobody", PASSWORD),
    ("nobody", "wrong"),
    ("dora", ""),
    ("nobody", ""),
    ("", PASSWORD),
    ("dora", PASSWORD + "\0"),
    ("dora\0", PASSWORD),
    ("dora", "x" * 5000),
    ("dora", "\ud800"),
    ("dora", "\u0340\u200e"),
    ("do*", PASSWORD),
    ("*", PASSWORD),
    ("dora)(uid=*", PASSWORD),
    ("dora)(|(uid=*", PASSWORD),
    ("\\64ora", PASSWORD),
    (" dora", PASSWORD),
    ("do ra", PASSWORD),
    ("uid=dora,ou=people,dc=example,dc=org", PASSWORD),
    ("x" * 5000, PASSWORD),
)


def test_one_answer_for_everything_wrong(people: People) -> None:
    """Neither the message nor its class tells a wrong name from a wrong password; nothing is injected."""
    for number, (username, password) in enumerate(WRONGS, 1):
        error = people.refuse(username, password, f"198.51.100.{number}")
        assert (type(error), error.public) == (AuthenticationFailed, WRONG), (username, password)
        assert len(people.reasons()) == number
    assert people.sign_in().username == "dora"


def test_http_basic_gives_the_account(people: People) -> None:
    """As EST clients and programs use it (EST-2)."""
    principal = result_of(people.stack.app.authenticator.est(Credentials(ADDRESS, username="dora", password=PASSWORD)))
    assert (principal.kind, principal.name) == (PrincipalKind.ACCOUNT, "dora")
    assert principal.owner_id == people.sign_in().id


def test_a_suspended_account_does_not_sign_in(people: People) -> None:
    """The right password doesn't help, but who has it is told why; nobody else is (ROL-2)."""
    account = people.sign_in()
    result_of(people.stack.app.accounts.suspend(SYSTEM, account.id))
    assert people.refuse("dora", "another password").public == WRONG
    assert people.refuse("dora", PASSWORD).public.startswith("Your account is suspended.")
    assert people.reasons()[-1] == "the account is suspended"
    result_of(people.stack.app.accounts.activate(SYSTEM, account.id))
    assert people.sign_in().id == account.id


def test_many_guesses_lock(people: People) -> None:
    """The account at the address is locked, for the right password, too, and for nobody elsewhere."""
    people.sign_in(address="198.51.100.1")
    for _ in range(10):
        assert people.refuse("dora", "wrong").public == WRONG
    assert isinstance(people.refuse("dora", PASSWORD), RateLimited)
    assert people.sign_in(address="198.51.100.1")
    people.stack.clock.advance(61)
    assert people.sign_in()


def test_the_password_confirms(people: People) -> None:
    """Pages that show secrets ask for it again."""
    account = people.sign_in()
    authenticator = people.stack.app.authenticator
    principal = result_of(authenticator.basic("dora", PASSWORD, ADDRESS))
    result_of(authenticator.confirm(principal, PASSWORD))
    for wrong in ("wrong", ""):
        failure_of(authenticator.confirm(principal, wrong), AuthenticationFailed)
    result_of(people.stack.app.accounts.suspend(SYSTEM, account.id))
    failure_of(authenticator.confirm(principal, PASSWORD), AuthenticationFailed)
    failure_of(authenticator.confirm(SYSTEM, PASSWORD), NotAuthorized)


def test_names_are_compared_as_people_see_them(people: People) -> None:
    """One account, however a name is composed and capitalized; here only those of a directory have other letters."""
    if people.source is AccountSource.LOCAL:
        assert people.refuse("jörg", PASSWORD).public == WRONG
        return
    account = people.sign_in("jörg")
    assert account.username == "jörg"
    assert people.sign_in(unicodedata.normalize("NFD", "jörg")).id == people.sign_in("JÖRG").id == account.id
    assert result_of(people.stack.app.accounts.find(SYSTEM, "Jörg")).id == account.id
