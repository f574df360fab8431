"""Locks against guessing refuse passwords only: every protocol, under every lock (USR-3)."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pikachu.auth.rate_limit import ACCOUNT_LIMIT, ADDRESS_LIMIT, PAIR_LIMIT
from pikachu.core.errors import AuthenticationFailed
from pikachu.core.model.policies import Approval
from tests.support.deferreds import failure_of
from tests.support.est import basic
from tests.support.pki import make_csr
from tests.support.scep import BAD_REQUEST
from tests.support.ways_in import WAYS, Person, Server, Way, every_way

_numbers = itertools.count(1)


def _until_locked(fail: Callable[[], list[int]]) -> None:
    """Fail until both addresses are locked, which earlier cells may have done."""
    for _ in range(ADDRESS_LIMIT + 1):
        if fail() == [429, 429]:
            return
    raise AssertionError("nothing was locked")


def _wrong_password(person: Person, username: str) -> list[int]:
    """Try a wrong password over EST, from the address of requests without TLS and from that of those with TLS."""
    server = person.server
    word = base64.b64encode(f"{username}:wrong".encode()).decode()
    headers = {"Authorization": f"Basic {word}"}
    return [server.enroll(b"0", headers=headers, tls=tls).status for tls in (None, server.connect())]


def no_lock(person: Person) -> None:
    """Lock nothing."""


def passwords_of_nobody(person: Person) -> None:
    """Lock the address, by guessing at many names."""
    _until_locked(lambda: _wrong_password(person, f"nobody{next(_numbers)}"))


def passwords_here(person: Person) -> None:
    """Lock the account at the address."""
    _until_locked(lambda: _wrong_password(person, person.username))


def passwords_elsewhere(person: Person) -> None:
    """Lock the account for strangers."""
    authenticator = person.server.stack.app.authenticator
    for number in range(ACCOUNT_LIMIT):
        if number % (PAIR_LIMIT - 1) == 0:
            address = f"2001:db8:{next(_numbers):x}::1"
        guess = authenticator.basic(person.username, "wrong", address)
        failure_of(guess, AuthenticationFailed)


def tokens(person: Person) -> None:
    """Send tokens that do not exist."""
    wrong = {"Authorization": "Bearer pik_wrong"}
    _until_locked(lambda: [person.rest("/certificates", wrong, tls).status for tls in (None, person.server.connect())])


def challenge_passwords(person: Person) -> None:
    """Send challenge passwords that do not exist, over EST and SCEP."""
    server, client = person.server, person.stranger()
    _, request = make_csr(challenge="0" * 32)
    _until_locked(lambda: [server.enroll(request, tls=tls).status for tls in (None, server.connect())])
    assert server.enroll_scep(client, challenge="0" * 32).fail_info == BAD_REQUEST


LOCKS: dict[str, Callable[[Person], None]] = {
    "none": no_lock,
    "the address": passwords_of_nobody,
    "the account at the address": passwords_here,
    "the account": passwords_elsewhere,
    "the address for tokens": tokens,
    "the address for challenge passwords": challenge_passwords,
}
# Under these a password, the only thing that can be guessed, has to wait.
LOCKS_PASSWORDS = ("the address", "the account at the address", "the account")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, bool], Server]]:
    """Return one server for each lock, which earlier cells may have locked already."""
    made: dict[tuple[str, bool], Server] = {}
    with ExitStack() as context:

        def get(lock: str, manual: bool) -> Server:
            if (lock, manual) not in made:
                server = context.enter_context(every_way(tmp_path_factory.mktemp("server")))
                if manual:
                    server.policy("looked at", approval=Approval.MANUAL, use_for_scep=True)
                made[lock, manual] = server
            return made[lock, manual]

        yield get


def expected(way: Way, lock: str) -> str:
    """Return the answer of one cell."""
    return "429" if way.by_name and lock in LOCKS_PASSWORDS else way.good


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("name", WAYS)
def test_way_in(servers: Callable[[str, bool], Server], name: str, lock: str) -> None:
    """Each cell: others fail, from the same addresses or at the same name, and the good credentials are used."""
    way = WAYS[name]
    person = Person(servers(lock, way.manual))
    attempt = way.prepare(person)
    LOCKS[lock](person)
    assert attempt() == expected(way, lock)


@pytest.mark.parametrize("lock", ["the address", "the account"])
@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.by_name])
def test_password_where_the_account_signed_in_before(tmp_path: Path, name: str, lock: str) -> None:
    """Neither an address lock nor an account lock stops an account that has signed in from that address before."""
    with every_way(tmp_path) as server:
        person = Person(server)
        for tls in (None, server.connect()):
            assert server.enroll(person.csr(), headers=basic(person.username), tls=tls).status == 200
        attempt = WAYS[name].prepare(person)
        LOCKS[lock](person)
        assert attempt() == WAYS[name].good


@pytest.mark.parametrize("operation", ["simpleenroll", "serverkeygen"])
def test_a_challenge_password_is_enough_where_the_password_is_locked(
    servers: Callable[[str, bool], Server], operation: str
) -> None:
    """A request may come with both."""
    person = Person(servers("the account at the address", False))
    request = person.csr(person.challenge())
    passwords_here(person)
    assert person.server.enroll(person.csr(), operation, user=person.username).status == 429
    assert person.server.enroll(request, operation, user=person.username).status == 200
