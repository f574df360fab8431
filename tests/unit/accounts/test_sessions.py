"""The rules about sessions and about client certificates that sign in (USR-3, USR-4, API-1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from pikachu.accounts.sessions import MAXIMUM_CERTIFICATES, Sessions
from pikachu.auth.authenticator import account_principal
from pikachu.auth.rate_limit import GuessLimits
from pikachu.auth.second_factor import SecondFactors
from pikachu.core.errors import AuthenticationFailed, Conflict, NotAuthorized, NotFound, PolicyViolation, RateLimited
from pikachu.core.model.account_objects import NewSession
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.people import ANONYMOUS, SYSTEM, Account, AccountState, Principal, Role, Scope
from tests.support.deferreds import failure_of, result_of
from tests.support.people import ADDRESS, PASSWORD, World, certificate_of, make_world
from tests.support.pki import DAY, Identity, make_ca, make_leaf

IDLE = 900


@dataclass
class People:
    """Sessions over a world with alice, bob and the admin root."""

    world: World
    sessions: Sessions
    alice: Account
    bob: Account
    root: Account

    def person(self, account: Account) -> Principal:
        return self.world.as_person(account)

    def login(self, name: str, password: str = PASSWORD) -> str:
        """The secret of a new session."""
        return result_of(self.sessions.login(name, password, ADDRESS, "a browser"))[1]

    def lasts(self, secret: str) -> bool:
        return result_of(self.sessions.find(secret)) is not None

    def by_certificate(self, one: Identity) -> str:
        return result_of(self.sessions.login_by_certificate(one.der, ADDRESS, "a browser"))[1]

    def refused(self, one: Identity) -> str:
        with pytest.raises(NotAuthorized) as refusal:
            result_of(self.sessions.login_by_certificate(one.der, ADDRESS, "a browser"))
        return refusal.value.public


@pytest.fixture
def people() -> Iterator[People]:
    world = make_world()
    sessions = Sessions(
        store=world.store,
        authenticator=world.authenticator,
        second_factors=SecondFactors(world.store, GuessLimits(world.clock), world.sealer, world.clock),
        sealer=world.sealer,
        clock=world.clock,
        maximum_idle=IDLE,
    )
    yield People(world, sessions, world.add("alice"), world.add("bob"), world.add("root", Role.ADMIN))
    result_of(world.store.close())


# --- what ends sessions ----------------------------------------------------------------------


def test_sessions_end_at_once(people: People) -> None:
    """USR-4: with a suspension, a reset of the password, a force logout, a deletion."""
    accounts, sessions, bob = people.world.accounts, people.sessions, people.bob
    root = people.person(people.root)
    secret = people.login("bob")
    result_of(accounts.suspend(root, bob.id))
    assert not people.lasts(secret)
    result_of(accounts.activate(root, bob.id))
    assert not people.lasts(secret)
    secret, other = people.login("bob"), people.login("alice")
    result_of(accounts.reset_password(root, bob.id, "another one"))
    assert not people.lasts(secret)
    secrets = [people.login("bob", "another one") for _ in range(3)]
    assert result_of(sessions.force_logout(root, bob.id)) == 3
    assert not any(people.lasts(one) for one in secrets)
    secret = people.login("bob", "another one")
    result_of(accounts.deactivate(root, bob.id))
    assert not people.lasts(secret)
    result_of(accounts.approve(root, bob.id))
    secret = people.login("bob", "another one")
    result_of(accounts.delete(root, bob.id))
    assert not people.lasts(secret)
    assert people.lasts(other)
    types = [record.event.type for record in people.world.events() if record.event.resource_name == "bob"]
    assert types[0] == "add"
    for expected in ("suspend", "activated", "change password", "force logout", "deactivated", "delete", "login"):
        assert expected in types


def test_a_role_change_takes_effect_at_once(people: People) -> None:
    """USR-1: the session goes on with what the new role may."""
    secret = people.login("alice")
    result_of(people.world.accounts.update(SYSTEM, people.alice.id, role=Role.ADMIN))
    found = result_of(people.sessions.find(secret))
    assert found is not None
    assert found[1].role is Role.ADMIN


def test_nobody_deactivates_themself(people: People) -> None:
    """USR-4: nobody deactivates themself, and a pending account can't be deactivated."""
    accounts = people.world.accounts
    people.world.add("second", Role.ADMIN)
    root = people.person(people.root)
    assert "yourself" in failure_of(accounts.deactivate(root, people.root.id), Conflict).public
    pending = AccountState.PENDING
    assert "yourself" in failure_of(accounts.update(root, people.root.id, state=pending), Conflict).public
    result_of(accounts.deactivate(root, people.alice.id))
    failure_of(accounts.deactivate(root, people.alice.id), Conflict)
    failure_of(accounts.deactivate(people.person(people.bob), people.alice.id), NotAuthorized)


def test_idle_sessions_are_told_of(people: People) -> None:
    """AUD-2: an automatic logout is recorded also when nobody comes back; many go at once."""
    for _ in range(15):
        people.login("alice")
    people.world.clock.advance(IDLE - 10)
    kept = people.login("bob")
    assert result_of(people.sessions.forget_idle()) == 0
    people.world.clock.advance(20)
    assert result_of(people.sessions.forget_idle()) == 15
    logouts = people.world.events("logout")
    assert {one.event.details["reason"] for one in logouts} == {"idle too long"}
    assert len(logouts) == 15
    assert people.lasts(kept)


def test_hundreds_of_idle_sessions(people: People) -> None:
    """They are ended some at a time, all in one go."""
    store, now = people.world.store, people.world.now
    event = people.world.events()[0].event
    for number in range(430):
        if number % 20 == 0:
            account = people.world.add(f"user{number}")
        result_of(store.add_session(NewSession(b"%d" % number, account, True, ADDRESS, ""), event, now))
    people.world.clock.advance(IDLE + 1)
    assert result_of(people.sessions.forget_idle()) == 430
    assert result_of(people.sessions.forget_idle()) == 0


# --- whose they are --------------------------------------------------------------------------


def test_sessions_are_a_persons_own(people: People) -> None:
    """Others' are not found; a token with less than all scopes has no business there."""
    sessions = people.sessions
    people.login("alice")
    (made,) = result_of(sessions.of_account(people.person(people.alice), people.alice.id))
    failure_of(sessions.of_account(people.person(people.bob), people.alice.id), NotFound)
    failure_of(sessions.end(people.person(people.bob), people.alice.id, made.id), NotFound)
    failure_of(sessions.end(people.person(people.bob), people.bob.id, made.id), NotFound)
    weak = account_principal(people.alice, ADDRESS, frozenset({Scope.READ, Scope.ENROLL}))
    failure_of(sessions.of_account(weak, people.alice.id), NotAuthorized)
    failure_of(sessions.of_account(ANONYMOUS, people.alice.id), AuthenticationFailed)
    failure_of(sessions.force_logout(people.person(people.alice), people.alice.id), NotAuthorized)
    result_of(sessions.end(people.person(people.root), people.alice.id, made.id))
    assert people.world.events("logout")[-1].event.actor == "root"


def test_a_restricted_token_binds_no_certificate(people: People) -> None:
    """A restricted token can neither bind nor unbind a certificate, else it could gain full rights."""
    leaf = people.world.issue(owner_id=people.alice.id)
    weak = account_principal(people.alice, ADDRESS, frozenset({Scope.READ, Scope.ENROLL}))
    failure_of(people.sessions.bind(weak, people.alice.id, certificate_of(leaf)), NotAuthorized)
    bound = result_of(people.sessions.bind(people.person(people.alice), people.alice.id, certificate_of(leaf)))
    failure_of(people.sessions.unbind(weak, bound.id), NotAuthorized)
    failure_of(people.sessions.unbind(ANONYMOUS, bound.id), AuthenticationFailed)
    failure_of(people.sessions.unbind(people.person(people.bob), bound.id), NotFound)
    failure_of(people.sessions.certificate(people.person(people.bob), bound.id), NotFound)


# --- client certificates ---------------------------------------------------------------------


def test_a_bound_certificate_signs_in(people: People) -> None:
    """Only one that was bound, as long as it is bound; without the password's confirmation."""
    leaf = people.world.issue(owner_id=people.alice.id)
    assert "signs in no account" in people.refused(leaf)
    alice = people.person(people.alice)
    bound = result_of(people.sessions.bind(alice, people.alice.id, certificate_of(leaf)))
    secret = people.by_certificate(leaf)
    found = result_of(people.sessions.find(secret))
    assert found is not None
    assert (found[1].username, people.sessions.is_confirmed(found[0])) == ("alice", False)
    assert people.world.events("login")[-1].event.details["by"] == "client certificate"
    result_of(people.sessions.unbind(alice, bound.id))
    assert "signs in no account" in people.refused(leaf)


def test_refused_certificates_are_recorded(people: People) -> None:
    """AUD-2: revoked, expired, of a suspended account, not bound: each is a failed login that says why."""
    world, alice = people.world, people.person(people.alice)
    bound = [world.issue(owner_id=people.alice.id) for _ in range(2)]
    for leaf in bound:
        result_of(people.sessions.bind(alice, people.alice.id, certificate_of(leaf)))
    revoked = certificate_of(bound[0]).serial
    event = world.events()[0].event
    result_of(world.store.revoke(revoked, world.now, RevocationReason.UNSPECIFIED, event))
    assert "revoked" in people.refused(bound[0])
    result_of(world.accounts.suspend(SYSTEM, people.alice.id))
    assert "not active" in people.refused(bound[1])
    result_of(world.accounts.activate(SYSTEM, people.alice.id))
    world.clock.advance(31 * 86400)
    assert "expired" in people.refused(bound[1])
    assert "signs in no account" in people.refused(world.issue())
    told = [record.event for record in world.events("failed login")]
    assert [one.resource_name for one in told] == ["alice", "alice", "alice", "unknown"]
    assert {one.details["by"] for one in told} == {"client certificate"}


def test_guessing_with_certificates_is_slowed(people: People) -> None:
    """USR-3: they count for the address like wrong passwords."""
    leaf = people.world.issue()
    for _ in range(30):
        people.refused(leaf)
    failure_of(people.sessions.login_by_certificate(leaf.der, ADDRESS, ""), RateLimited)


def test_what_can_be_bound(people: People) -> None:
    """Valid now, for clients, not somebody else's, once, and not without end."""
    world, sessions = people.world, people.sessions
    alice, root = people.person(people.alice), people.person(people.root)
    server = world.issue(owner_id=people.alice.id, purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    attempt = sessions.bind(alice, people.alice.id, certificate_of(server))
    assert "clientAuth" in failure_of(attempt, PolicyViolation).public
    old = make_leaf(world.ca, not_before=world.now - 2 * DAY, not_after=world.now - DAY)
    failure_of(sessions.bind(alice, people.alice.id, certificate_of(old)), PolicyViolation)
    bobs = world.issue(owner_id=people.bob.id)
    failure_of(sessions.bind(alice, people.alice.id, certificate_of(bobs)), NotAuthorized)
    failure_of(sessions.bind(alice, people.bob.id, certificate_of(bobs)), NotFound)
    result_of(sessions.bind(root, people.alice.id, certificate_of(bobs)))
    failure_of(sessions.bind(people.person(people.bob), people.bob.id, certificate_of(bobs)), Conflict)
    foreign = make_ca(name="Another CA")
    now = world.now
    for number in range(MAXIMUM_CERTIFICATES - 1):
        leaf = make_leaf(foreign, f"client {number}", not_before=now - timedelta(hours=1), not_after=now + DAY)
        result_of(sessions.bind(alice, people.alice.id, certificate_of(leaf)))
    leaf = make_leaf(foreign, "one more", not_before=now - timedelta(hours=1), not_after=now + DAY)
    assert "at most" in failure_of(sessions.bind(alice, people.alice.id, certificate_of(leaf)), Conflict).public


# --- the clock -------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "lasts"), [(60, True), (600, True), (20 * 60, False), (400 * 86400, False)])
def test_a_session_of_a_clock_that_was_ahead(people: People, ahead: int, lasts: bool) -> None:
    """USR-3: small corrections sign nobody out, and no session lasts until a wrong clock's time has come."""
    clock, sessions = people.world.clock, people.sessions
    clock.rightNow += ahead
    secret = people.login("alice")
    session = result_of(sessions.find(secret))
    assert session is not None
    result_of(sessions.confirm(people.person(people.alice), session[0], PASSWORD))
    clock.rightNow -= ahead
    found = result_of(sessions.find(secret))
    assert (found is not None) is lasts
    if found is not None:
        assert sessions.is_confirmed(found[0]) is (ahead <= 300)
        clock.rightNow += IDLE + 1
        assert not people.lasts(secret)
