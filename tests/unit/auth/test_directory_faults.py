"""A directory that misbehaves harms nobody (USR-5): what no real one can be made to send comes from a script."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from pikachu.auth.ldap.abort import Abort
from pikachu.auth.ldap.client import LDAPClient, comparable_dn
from pikachu.auth.ldap.connection import MAXIMUM_ANSWER
from pikachu.core.errors import AuthenticationFailed, DirectoryUnavailable
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountSource, AccountState, Role
from tests.support.deferreds import error_of, result_of
from tests.support.scripted_ldap import (
    Answer,
    Cut,
    ScriptedDirectory,
    bound,
    cut,
    der,
    entry,
    found,
    message,
    raw,
    result,
    scripted_directory,
)
from tests.support.stack import Stack, build_core

PASSWORD: Final = "a good password"
DN: Final = b"uid=dora,ou=people,dc=example,dc=org"
DORA: Final = entry(DN, {"uid": [b"dora"], "mail": [b"dora@example.org"]})
HUGE: Final = entry(DN, {"uid": [b"dora"], "mail": [b"x" * MAXIMUM_ANSWER]})
NOTICE: Final = message(0, result(0x78, 52, der(0x8A, b"1.3.6.1.4.1.1466.20036")))
REFERRAL: Final = der(0xA3, der(0x04, b"ldap://127.0.0.1:1/dc=example,dc=org"))


@pytest.fixture
def directory() -> Iterator[ScriptedDirectory]:
    with scripted_directory() as scripted:
        yield scripted


@pytest.fixture
def stack(tmp_path: Path, directory: ScriptedDirectory) -> Iterator[Stack]:
    settings = {
        "enabled": "true",
        "LDAP_HOST": "127.0.0.1",
        "LDAP_PORT": str(directory.port),
        "BASE_DN": "dc=example,dc=org",
        "PEOPLE_DN": "ou=people,dc=example,dc=org",
        "ADMIN_DN": "cn=pikachu,dc=example,dc=org",
        "ADMIN_PASSWORD": "service",
        "timeout": "1s",
    }
    built = build_core(tmp_path, changes={("LDAP", key): text for key, text in settings.items()})
    yield built
    built.close()


#: Scripts that say nothing about the person: the answers to binds and to searches.
OUTAGES: Final[dict[str, tuple[list[Answer], list[Answer]]]] = {
    "nothing": ([raw(b"")], []),
    "closed at the bind": ([raw(None)], []),
    "closed in the middle of an answer": ([cut(message(1, result(0x61, 0))[:5])], []),
    "closed at the search": ([bound()], [raw(None)]),
    "closed in the middle of an entry": ([bound()], [lambda number: Cut(message(number, DORA)[:20])]),
    "closed after the entry": ([bound()], [lambda number: Cut(message(number, DORA))]),
    "closed at the person's bind": ([bound(), raw(None)], [found(DORA)]),
    "HTTP": ([cut(b"HTTP/1.1 400 Bad Request\r\n\r\n")], []),
    "SSH": ([cut(b"SSH-2.0-OpenSSH_9.2\r\n")], []),
    "zeros": ([cut(b"\0" * 100)], []),
    "an indefinite length": ([cut(b"\x30\x80\x02\x01\x01\0\0")], []),
    "a length beyond memory": ([cut(b"\x30\xff" + b"\xff" * 127)], []),
    "a length of four gigabytes": ([cut(b"\x30\x84\xff\xff\xff\xff" + b"\0" * 10)], []),
    "another message id": ([lambda number: bound()(number + 1)], []),
    "a search result for a bind": ([found()], []),
    "a bind result for a search": ([bound()], [bound()]),
    "a result code that does not exist": ([bound(99)], []),
    "a notice of disconnection": ([raw(NOTICE)], []),
    "a referral for the search": ([bound()], [found(code=10, more=REFERRAL)]),
    "a referral for the bind": ([lambda number: message(number, result(0x61, 10, REFERRAL))], []),
    "a referral for the person's bind": (
        [bound(), lambda number: message(number, result(0x61, 10, REFERRAL))],
        [found(DORA)],
    ),
    "busy": ([bound(51)], []),
    "busy at the search": ([bound()], [found(code=51)]),
    "unavailable at the person's bind": ([bound(), bound(52)], [found(DORA)]),
    "an internal error": ([bound(), bound(80)], [found(DORA)]),
    "no such base": ([bound()], [found(code=32)]),
    "access refused": ([bound()], [found(code=50)]),
}
#: Answers that say that this person does not sign in.
REFUSALS: Final[dict[str, tuple[list[Answer], list[Answer]]]] = {
    "a wrong password": ([bound(), bound(49)], [found(DORA)]),
    "unwilling": ([bound(), bound(53)], [found(DORA)]),
    "a constraint": ([bound(), bound(19)], [found(DORA)]),
    "nobody": ([bound(), bound(49)], [found()]),
    "nobody, with a reference": ([bound(), bound(49)], [found(der(0x73, der(0x04, b"ldap://127.0.0.1:1/")))]),
    "nobody, and any bind succeeds": ([bound()], [found()]),
    "two entries": ([bound()], [found(DORA, DORA)]),
    "more entries than asked for": ([bound()], [found(DORA, DORA, DORA, code=4)]),
    "a huge entry": ([bound()], [found(HUGE)]),
    "many entries": ([bound()], [found(*[DORA] * (MAXIMUM_ANSWER // len(DORA) + 1))]),
    "a name that is not UTF-8": ([bound()], [found(entry(b"uid=\xff\xfe", {"uid": [b"dora"]}))]),
    "no name": ([bound()], [found(entry(b"", {"uid": [b"dora"]}))]),
    "no user name": ([bound()], [found(entry(DN, {"mail": [b"dora@example.org"]}))]),
    "a user name that is not UTF-8": ([bound()], [found(entry(DN, {"uid": [b"do\xffra"]}))]),
    "a user name with control characters": ([bound()], [found(entry(DN, {"uid": [b"do\nra"]}))]),
    "an endless user name": ([bound()], [found(entry(DN, {"uid": [b"d" * 5000]}))]),
}


def sign_in(stack: Stack, username: str = "dora") -> object:
    """Return the account, or the error."""
    try:
        return result_of(stack.app.authenticator.verified(username, PASSWORD, "192.0.2.7"))
    except (AuthenticationFailed, DirectoryUnavailable) as error:
        return error


def test_outages(stack: Stack, directory: ScriptedDirectory) -> None:
    """503 with a sentence, and nothing is counted against anybody; nothing follows a referral."""
    for name, (binds, searches) in OUTAGES.items():
        directory.script(binds, searches)
        error = sign_in(stack)
        assert isinstance(error, DirectoryUnavailable), (name, error)
        assert error.public.endswith("."), (name, error.public)
        assert "127.0.0.1" not in error.public, name
        stack.clock.advance(61)
    assert result_of(stack.app.store.events(ListQuery(filters={"type": "failed login"}))).items == ()
    directory.script([bound()], [found(DORA)])
    account = sign_in(stack)
    assert getattr(account, "source", None) is AccountSource.LDAP, account


def test_refusals(stack: Stack, directory: ScriptedDirectory) -> None:
    """One answer, and no account; the directory counts as working."""
    for name, (binds, searches) in REFUSALS.items():
        directory.script(binds, searches)
        error = sign_in(stack)
        assert isinstance(error, AuthenticationFailed), (name, error)
        assert error.public == "wrong username or password", name
        stack.clock.advance(3700)
    assert result_of(stack.app.store.account_by_name("dora")) is None


def test_a_trickle_is_cut_off(stack: Stack, directory: ScriptedDirectory) -> None:
    """Each byte comes in time, but the answer never ends; its size is bounded, and it fails as garbage."""
    directory.script([raw(b"\x30\x84\x7f\xff\xff\xff" + b"\0" * (MAXIMUM_ANSWER + 5000))], [])
    assert isinstance(sign_in(stack), DirectoryUnavailable)


def test_a_probe_of_a_dead_server_sends_nobody_there(stack: Stack, directory: ScriptedDirectory) -> None:
    """While the readiness check waits for the first server, sign-ins go on asking the one that works."""
    directory.script([bound()], [found(DORA)])
    settings = replace(stack.files.load().ldap, ldap_host=("127.0.0.2", "127.0.0.1"))
    with socket.create_server(("127.0.0.2", directory.port)) as dead, closing(LDAPClient(settings)) as client:
        dead.settimeout(20)
        client.find(["dora"], Abort())
        first, _ = dead.accept()
        verdicts: list[str | None] = []
        probing = threading.Thread(target=lambda: verdicts.append(client.probe(Abort())))
        probing.start()
        second, _ = dead.accept()
        with first, second:
            client.find(["dora"], Abort())
            probing.join(20)
        dead.setblocking(False)
        with pytest.raises(BlockingIOError):
            dead.accept()
        assert "another one is used" in (verdicts[0] or "")


#: Pairs of DNs, and whether they are of one entry.
DNS: Final = {
    "case": ("cn=Admins,ou=groups,dc=x", "CN=admins,OU=Groups,DC=X", True),
    "spaces": ("cn=admins,ou=groups,dc=x", "cn = admins , ou = groups , dc = x", True),
    "order in an RDN": ("cn=admins+ou=a,dc=x", "ou=a+cn=admins,dc=x", True),
    "an RDN of two": ("cn=admins,ou=groups,dc=x", "cn=admins+ou=groups,dc=x", False),
    "an RDN of two in the middle": ("cn=admins,ou=a,ou=b,dc=x", "cn=admins,ou=a+ou=b,dc=x", False),
    "order of RDNs": ("cn=admins,ou=a,ou=b,dc=x", "cn=admins,ou=b,ou=a,dc=x", False),
    "an escaped comma": ("cn=admins,ou=groups,dc=x", "cn=admins\\,ou\\=groups,dc=x", False),
    "an escaped plus": ("cn=admins+ou=a,dc=x", "cn=admins\\+ou\\=a,dc=x", False),
    "another entry below": ("cn=admins,dc=x", "cn=a,cn=admins,dc=x", False),
    "sharp s": ("cn=strasse,dc=x", "cn=stra\xdfe,dc=x", False),
}


@pytest.mark.parametrize("pair", DNS)
def test_names_of_groups(pair: str) -> None:
    """A group with a similar name makes nobody an administrator."""
    one, other, is_equal = DNS[pair]
    assert (comparable_dn(one) == comparable_dn(other)) is is_equal


def test_no_password_is_sent_without_need(stack: Stack, directory: ScriptedDirectory) -> None:
    """An empty one never, a local account's never, and one for an unknown name neither: another is tried."""
    added = stack.app.accounts.add_user(
        SYSTEM, "olga", "olga@example.com", Role.USER, AccountState.ACTIVE, "another password"
    )
    result_of(added)
    directory.script([bound()], [found(DORA)])
    assert isinstance(sign_in(stack, "olga"), AuthenticationFailed)
    for empty in ("", "\ud800", "x" * 2000):
        error = error_of(stack.app.authenticator.verified("dora", empty, "192.0.2.8"))
        assert isinstance(error, AuthenticationFailed)
    assert directory.binds == []
    directory.script([bound(), bound(49)], [found()])
    assert isinstance(sign_in(stack, "nobody"), AuthenticationFailed)
    (service, decoy) = directory.binds
    assert service == (b"cn=pikachu,dc=example,dc=org", b"service")
    assert decoy[0].endswith(b",ou=people,dc=example,dc=org")
    assert decoy[1]
    assert decoy[1] != PASSWORD.encode()


def test_a_local_sign_in_waits_for_no_directory(stack: Stack, directory: ScriptedDirectory) -> None:
    """Nothing is sent to the directory, which says nothing at all."""
    added = stack.app.accounts.add_user(SYSTEM, "olga", "o@example.com", Role.ADMIN, AccountState.ACTIVE, PASSWORD)
    result_of(added)
    directory.script([raw(b"")], [])
    assert getattr(sign_in(stack, "olga"), "username", None) == "olga"
    assert directory.binds == []
