"""Accounts of Active Directory, whose answers differ from OpenLDAP's (USR-5); a script answers like it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from pikachu.auth.ldap.abort import Abort
from pikachu.auth.ldap.client import LDAPClient
from pikachu.config.ldap_section import LDAPSection
from pikachu.core.model.directory_people import Absent, Person
from pikachu.core.model.people import Role
from tests.support.active_directory import (
    ADMIN_GROUP,
    DISABLED_ACCOUNT,
    DOMAIN,
    MAX_VALUES,
    PASSWORD,
    SERVICE,
    SERVICE_PASSWORD,
    ActiveDirectory,
    User,
    active_directory,
)
from tests.support.stack import make_files

MANY: Final = [f"CN=Group {number},OU=Groups,{DOMAIN}" for number in range(MAX_VALUES + 1)]
OUTER: Final = f"CN=Outer,OU=Groups,{DOMAIN}"


@contextmanager
def client(folder: Path, *users: User, **settings: str) -> Iterator[tuple[ActiveDirectory, LDAPClient]]:
    """A client with the settings that docs/ldap.md has for Active Directory."""
    with active_directory(*users) as directory:
        section = ldap_section(folder, directory.port, **settings)
        with closing(LDAPClient(section)) as opened:
            yield directory, opened


def ldap_section(folder: Path, port: int, **settings: str) -> LDAPSection:
    """Return the section as it is read from a file."""
    values = {
        "enabled": "true",
        "LDAP_HOST": "127.0.0.1",
        "LDAP_PORT": str(port),
        "BASE_DN": DOMAIN,
        "ADMIN_DN": SERVICE,
        "ADMIN_PASSWORD": SERVICE_PASSWORD,
        "user_filter": "(&(objectCategory=person)(sAMAccountName={username}))",
        "disabled_filter": "(userAccountControl:1.2.840.113556.1.4.803:=2)",
        "admin_group": ADMIN_GROUP,
        "timeout": "5s",
        **settings,
    }
    return replace(make_files(folder, changes={("LDAP", key): text for key, text in values.items()}).load().ldap)


#: Accounts, settings, and whether the account is an administrator; all others are users.
GROUPS: Final = {
    "no group": (User("dora"), "false", False),
    "a member": (User("dora", [OUTER, ADMIN_GROUP]), "false", True),
    "a member, spelled otherwise": (User("dora", [ADMIN_GROUP.lower()]), "false", True),
    "a member of a member": (User("dora", [OUTER], chain=[ADMIN_GROUP]), "false", False),
    "a member of a member, nested": (User("dora", [OUTER], chain=[ADMIN_GROUP]), "true", True),
    "no member, nested": (User("dora", [OUTER], chain=[MANY[0]]), "true", False),
    "a member of many, beyond the first range": (User("dora", [*MANY, ADMIN_GROUP]), "false", True),
    "a member of many others": (User("dora", MANY), "false", False),
    "a member of many, nested": (User("dora", MANY, chain=[ADMIN_GROUP]), "true", True),
}


@pytest.mark.parametrize("name", GROUPS)
def test_groups(tmp_path: Path, name: str) -> None:
    """Groups are found in ranges and chains; references to other partitions are not followed."""
    user, nested, is_admin = GROUPS[name]
    with client(tmp_path, user, User("emil"), nested_groups=nested) as (directory, opened):
        person = opened.authenticate("dora", PASSWORD, Abort())
        assert isinstance(person, Person), person
        assert (person.username, person.email, person.role) == (
            "dora",
            "dora@example.org",
            Role.ADMIN if is_admin else Role.USER,
        )
        assert (person.dn, person.is_disabled) == (user.dn, False)
        # ADMIN_DN and the account, each on a connection of its own.
        assert [one for one, _ in directory.binds] == [SERVICE.encode(), user.dn.encode()]
        # The account, its groups where one question is needed for them, and whether it is disabled.
        asks = nested == "true" or len(user.groups) > MAX_VALUES
        assert len(directory.conditions) == 2 + asks


#: Groups by role, nested or not, and the role: the first of admin, operator and auditor.
ROLES: Final = {
    "an operator": (User("dora", [OUTER]), "false", Role.OPERATOR),
    "an auditor": (User("dora", [MANY[0]]), "false", Role.AUDITOR),
    "both": (User("dora", [MANY[0], OUTER]), "false", Role.OPERATOR),
    "all": (User("dora", [MANY[0], OUTER, ADMIN_GROUP]), "false", Role.ADMIN),
    "an auditor of many groups": (User("dora", MANY), "false", Role.AUDITOR),
    "an operator, nested": (User("dora", [MANY[1]], chain=[OUTER]), "true", Role.OPERATOR),
    "an operator by a group that does not count": (User("dora", [MANY[1]], chain=[OUTER]), "false", Role.USER),
    "an admin, nested, and an operator directly": (
        User("dora", [OUTER], chain=[ADMIN_GROUP, OUTER]),
        "true",
        Role.ADMIN,
    ),
}


@pytest.mark.parametrize("name", ROLES)
def test_roles(tmp_path: Path, name: str) -> None:
    """ROL-1: each role has a group, and whoever is in several has the role with most rights."""
    user, nested, role = ROLES[name]
    groups = {"operator_group": OUTER, "auditor_group": MANY[0]}
    with client(tmp_path, user, User("emil"), nested_groups=nested, **groups) as (_, opened):
        for person in (opened.authenticate("dora", PASSWORD, Abort()), opened.find(["dora"], Abort())[0]):
            assert isinstance(person, Person), person
            assert person.role is role


#: Codes in the message of a refused bind, and the reason in the audit log.
REFUSALS: Final = {
    "525": "the directory has no such account",
    "52e": "wrong password",
    "530": "the directory does not let this account sign in at this time",
    "531": "the directory does not let this account sign in from here",
    "532": "the password has expired in the directory",
    "533": "the account is disabled in the directory",
    "701": "the account has expired in the directory",
    "773": "the password must be changed in the directory first",
    "775": "the account is locked in the directory",
    "ffff": "wrong password",
}


@pytest.mark.parametrize("code", REFUSALS)
def test_refused_binds(tmp_path: Path, code: str) -> None:
    """The reason is the one of the code; none says that the account has gone."""
    with client(tmp_path, User("dora", refusal=code)) as (_, opened):
        assert opened.authenticate("dora", PASSWORD, Abort()) == Absent(REFUSALS[code], is_certain=False)


def test_a_disabled_account(tmp_path: Path) -> None:
    """Its control bits are asked for by a matching rule."""
    with client(tmp_path, User("dora", control=DISABLED_ACCOUNT)) as (_, opened):
        (person,) = opened.find(["dora"], Abort())
        assert isinstance(person, Person)
        assert person.is_disabled


def test_an_unknown_name(tmp_path: Path) -> None:
    """The answer has nothing but references, which are no entry."""
    with client(tmp_path, User("dora")) as (_, opened):
        assert opened.authenticate("emil", PASSWORD, Abort()) == Absent("no such account")


def test_a_wrong_password_leaves_the_search_connection_alone(tmp_path: Path) -> None:
    """A refused bind leaves a connection anonymous, and Active Directory refuses to search on it."""
    with client(tmp_path, User("dora")) as (directory, opened):
        assert isinstance(opened.authenticate("dora", "wrong", Abort()), Absent)
        assert isinstance(opened.authenticate("dora", PASSWORD, Abort()), Person)
        assert [name for name, _ in directory.binds].count(SERVICE.encode()) == 1
        assert directory.connections == 2
