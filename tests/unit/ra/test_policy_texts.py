"""Compiling the text of a policy delays nobody else: it is done in a pool, once, and cached (POL-4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import Deferred

import pytest

from pikachu.auth.authenticator import account_principal
from pikachu.core.errors import BadTemplate, ConfigError
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import SYSTEM, AccountState, Principal, Role
from pikachu.core.model.policies import Policy
from pikachu.ra.default_policy import read_validity
from pikachu.ra.enrollment import Issued, Pending
from pikachu.ra.preview import Preview
from pikachu.server.application import Pools
from pikachu.server.pools import immediate_pools
from tests.support.deferreds import failure_of, result_of
from tests.support.people import CountingPool, HeldPool
from tests.support.pki import make_csr
from tests.support.stack import DEFAULT_EXTENSIONS, Stack, build_core

LONG = f"{DEFAULT_EXTENSIONS}subjectAltName = @names\n[ names ]\n" + "".join(
    f"DNS.{number} = device{number}.example.com\n" for number in range(500)
)
VARIABLE = f"{DEFAULT_EXTENSIONS}crlDistributionPoints = URI:http://pki.example.com/$ca/$ski.crl\n"


def pools(policies: HeldPool | CountingPool) -> Pools:
    """Pools that do everything at once, but for the texts of policies."""
    return replace(immediate_pools(), policies=policies)


def let_go(pool: HeldPool) -> int:
    """Do what waits in the pool; how much that was."""
    waiting, pool.waiting = pool.waiting, []
    for one in waiting:
        one.callback(None)
    return len(waiting)


class Desk:
    """A CA whose texts of policies are compiled when the test lets them."""

    def __init__(self, folder: Path) -> None:
        self.pool = HeldPool()
        self.stack: Stack = build_core(folder, pools=pools(self.pool), key_types=("p256", "rsa2048"))
        adding = self.stack.app.accounts.add_user(
            SYSTEM, "alice", "alice@example.com", Role.USER, AccountState.ACTIVE, "a password"
        )
        self.alice: Principal = account_principal(result_of(adding), "192.0.2.3")

    def policy(self, name: str, extensions: str) -> None:
        """Store a system policy."""
        adding = self.stack.app.policy_administration.add(SYSTEM, Policy(0, name, 30, extensions, system=True))
        assert not adding.called
        assert let_go(self.pool) == 1
        result_of(adding)

    def sign(self, policy: str, issuer: str | None = None) -> Deferred[Issued | Pending]:
        """Enroll a new key."""
        csr = make_csr("p256", "device.example.com")[1]
        return self.stack.app.registration.sign(self.alice, csr, Method.API, policy=policy, issuer=issuer)

    def preview(self, policy: str) -> Deferred[Preview]:
        """Preview the same."""
        csr = make_csr("p256", "device.example.com")[1]
        return self.stack.app.registration.preview(self.alice, csr, Method.API, policy=policy)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Two issuing CAs and one user."""
    made = Desk(tmp_path)
    yield made
    made.stack.close()


def test_enrollments(desk: Desk) -> None:
    """Enrollments under a new policy wait until its text is parsed; others proceed meanwhile, later ones at once."""
    desk.policy("known", DEFAULT_EXTENSIONS)
    desk.policy("long", LONG)
    first = desk.sign("known")
    assert not first.called
    assert let_go(desk.pool) == 1
    assert isinstance(result_of(first), Issued)
    waiting = [desk.sign("long"), desk.sign("long")]
    previewed = desk.preview("long")
    result_of(desk.sign("known"))
    assert not any(one.called for one in waiting)
    assert not previewed.called
    # Compiled once for all of them.
    assert let_go(desk.pool) == 1
    for one in waiting:
        result_of(one)
    assert result_of(previewed).refusal is None
    result_of(desk.sign("long"))
    assert not desk.pool.waiting


def test_many_at_once(desk: Desk) -> None:
    """As many as wait for a text get their certificates: none runs within another one's, however deep."""
    desk.policy("new", DEFAULT_EXTENSIONS)
    waiting = [desk.sign("new") for _ in range(200)]
    assert let_go(desk.pool) == 1
    assert all(isinstance(result_of(one), Issued) for one in waiting)


def test_each_issuer(desk: Desk) -> None:
    """Variables of the issuing CA are part of the text: compiled once for each CA, and all stay."""
    desk.policy("variable", VARIABLE)
    for issuer in ("ec", "rsa"):
        signing = desk.sign("variable", issuer)
        assert not signing.called
        assert let_go(desk.pool) == 1
        assert isinstance(result_of(signing), Issued)
    for issuer in ("ec", "rsa", "ec"):
        result_of(desk.sign("variable", issuer))
    assert not desk.pool.waiting


CHECKS = {
    "good": (DEFAULT_EXTENSIONS, None),
    "long": (LONG, None),
    "wrong": ("[ v3_ext ]\nkeyUsage = everything\n", BadTemplate),
    "without extensions": ("[ req ]\ndistinguished_name = dn\nprompt = no\n[ dn ]\nCN = a\n", BadTemplate),
}


@pytest.mark.parametrize("what", CHECKS)
def test_checks(desk: Desk, what: str) -> None:
    """Storing, changing and installing a text wait for the pool; errors in the text are reported as before."""
    text, error = CHECKS[what]
    rules = desk.stack.app.policy_administration
    desk.policy("there", DEFAULT_EXTENSIONS)
    there = result_of(rules.find(SYSTEM, "there"))
    own = Policy(0, "own", 30, text)
    changes: tuple[Callable[[], Deferred[Policy]], ...] = (
        lambda: rules.add(SYSTEM, Policy(0, "new", 30, text, system=True)),
        lambda: rules.add(desk.alice, own),
        lambda: rules.update(SYSTEM, replace(there, extensions=text)),
        lambda: rules.update(SYSTEM, replace(result_of(rules.default(SYSTEM)), extensions=text)),
    )
    for change in changes:
        changing = change()
        assert not changing.called
        while desk.pool.waiting:
            let_go(desk.pool)
        if error is None:
            assert result_of(changing).extensions == text
        else:
            failure_of(changing, error)
    if error is None:
        assert result_of(rules.default(SYSTEM)).extensions == text


def test_changed_files(desk: Desk) -> None:
    """Files that somebody else changed are read in the pool; until then the former policy counts."""
    app = desk.stack.app
    before = app.policies.default
    app.policies.files.extensions.write_text(LONG)
    desk.stack.clock.advance(2)
    assert app.policies.default == before
    assert app.policies.default == before
    assert let_go(desk.pool) == 1
    assert app.policies.default.extensions == LONG


@pytest.mark.parametrize("text", ["9" * 11, "9" * 4000, "9" * 1_000_000, "0" * 5000 + "1", "\u0669" * 5000])
def test_long_numbers(text: str) -> None:
    """A number of any length is refused without being read."""
    with pytest.raises(ConfigError, match="expected a number of days"):
        read_validity(text, "validity.conf")


@pytest.mark.parametrize("name", ["extensions", "validity"])
def test_long_files(desk: Desk, name: str) -> None:
    """A file of any length is refused, with what to do."""
    files = desk.stack.app.policies.files
    path: Path = getattr(files, name)
    with path.open("wb") as stream:
        stream.truncate(1 << 32)
    with pytest.raises(ConfigError, match="longer than 256 KiB"):
        files.read()
