"""EST-2, CHP-2, USR-3, USR-6: from evidence to a principal, without telling an attacker anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

import pytest
from argon2 import extract_parameters
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from pikachu.auth.authenticator import Authenticator, new_token, token_digest
from pikachu.auth.passwords import PasswordHasher
from pikachu.auth.rate_limit import MAXIMUM_KEYS, GuessLimits
from pikachu.core.errors import AuthenticationFailed, NotAuthorized, RateLimited
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import (
    ANONYMOUS,
    SYSTEM,
    AccountState,
    Credentials,
    Principal,
    PrincipalKind,
    Role,
    Scope,
)
from tests.support.deferreds import failure_of, result_of
from tests.support.people import ADDRESS, ANY_CSR, CHEAP, PASSWORD, HeldPool, World, certificate_of, make_world
from tests.support.pki import DAY, make_ca, make_leaf

EVENT = Event("x", "x", "x", "test")


def basic(world: World, username: str, password: str, address: str = ADDRESS) -> Deferred[Principal]:
    return world.authenticator.basic(username, password, address)


def refused(world: World, username: str, password: str = "guess", address: str = ADDRESS) -> AuthenticationFailed:
    return failure_of(basic(world, username, password, address), AuthenticationFailed)


# --- passwords -------------------------------------------------------------------------------


def test_basic_gives_the_account_with_all_scopes_of_its_role(world: World) -> None:
    alice, root = world.add("alice"), world.add("root", Role.ADMIN)
    principal = result_of(basic(world, "alice", PASSWORD))
    assert principal == Principal(
        PrincipalKind.ACCOUNT,
        "alice",
        owner_id=alice.id,
        role=Role.USER,
        scopes=frozenset({Scope.READ, Scope.ENROLL, Scope.REVOKE}),
        address=ADDRESS,
    )
    assert result_of(basic(world, "root", PASSWORD)).scopes == frozenset(Scope)
    assert result_of(basic(world, "root", PASSWORD)).owner_id == root.id


def test_names_are_compared_without_case(world: World) -> None:
    world.add("Alice")
    assert result_of(basic(world, "aLICE", PASSWORD)).name == "Alice"


@pytest.mark.parametrize("username", ["nobody", "", "a" * 65, "nul\0", "\ud800", "ä", "x" * 100_000, "alice "])
def test_unknown_names_get_the_answer_of_a_wrong_password_after_the_same_work(world: World, username: str) -> None:
    """USR-3: no enumeration: one message, one Argon2 verification of the same cost."""
    world.add("alice")
    world.pool.work.clear()
    wrong = refused(world, "alice")
    unknown = refused(world, username)
    assert wrong.public == unknown.public
    costs = [extract_parameters(str(work[0])) for work in world.pool.work]
    assert len(costs) == 2
    assert costs[0] == costs[1]


@pytest.mark.parametrize("state", [AccountState.PENDING, AccountState.SUSPENDED])
def test_only_active_accounts_get_in(world: World, state: AccountState) -> None:
    alice = world.add("alice", state=AccountState.PENDING)
    if state is AccountState.SUSPENDED:
        result_of(world.accounts.suspend(SYSTEM, alice.id))
    # Only the right password is answered with the state (ROL-2).
    expected = {AccountState.PENDING: "Your account is waiting", AccountState.SUSPENDED: "Your account is suspended"}
    assert refused(world, "alice", PASSWORD).public.startswith(expected[state])
    assert refused(world, "alice", "guess").public == refused(world, "nobody").public


def test_suspension_works_at_once_though_the_password_is_remembered(world: World) -> None:
    """USR-4."""
    alice = world.add("alice")
    result_of(basic(world, "alice", PASSWORD))
    result_of(world.accounts.suspend(SYSTEM, alice.id))
    refused(world, "alice", PASSWORD)


def test_repeated_basic_costs_one_hash_and_no_event(world: World) -> None:
    """A device sends its password with each EST request."""
    world.add("alice")
    before = len(world.events())
    world.pool.work.clear()
    for _ in range(50):
        result_of(basic(world, "alice", PASSWORD))
    assert len(world.pool.work) == 1
    assert len(world.events()) == before


def test_failed_login_is_recorded_without_what_was_typed(world: World) -> None:
    """AUD-2: address and reason; the name only where it is an account's."""
    alice = world.add("alice")
    refused(world, "alice", "sesame-123")
    refused(world, "sesame-123", "alice")
    known, unknown = (record.event for record in world.events("failed login"))
    assert known.resource_name == "alice"
    assert known.owner_id == alice.id
    assert known.about_account
    assert unknown.about_account
    assert known.details == {"ip": ADDRESS, "by": "password", "reason": "wrong password"}
    assert unknown.details == {"ip": ADDRESS, "by": "password", "reason": "no such account"}
    assert "sesame" not in repr(world.events())


def test_ten_failures_lock_an_account_at_one_address_even_for_the_right_password(world: World) -> None:
    world.add("alice")
    world.add("bob")
    for _ in range(10):
        refused(world, "alice")
    locked = failure_of(basic(world, "ALICE", PASSWORD), RateLimited)
    assert locked.retry_after == 60
    assert world.events("failed login")[-1].event.details["locked_seconds"] == 60
    result_of(basic(world, "bob", PASSWORD))
    result_of(basic(world, "alice", PASSWORD, "198.51.100.9"))
    world.clock.advance(60)
    result_of(basic(world, "alice", PASSWORD))


def test_strangers_lock_an_account_for_strangers_only(world: World) -> None:
    """Anybody can type a name: its owner still signs in from where that was done before."""
    world.add("alice")
    result_of(basic(world, "alice", PASSWORD))
    for number in range(30):
        failure_of(basic(world, "alice", "guess", f"198.51.100.{number // 8}"), AuthenticationFailed)
    failure_of(basic(world, "alice", PASSWORD, "198.51.100.200"), RateLimited)
    result_of(basic(world, "alice", PASSWORD))
    world.clock.advance(30 * 86400)
    for number in range(30):
        failure_of(basic(world, "alice", "guess", f"198.51.100.{number // 8}"), AuthenticationFailed)
    failure_of(basic(world, "alice", PASSWORD), RateLimited)


def test_wrong_passwords_of_one_account_lock_out_nobody_else_at_its_address(world: World) -> None:
    """Behind a NAT one device with a wrong password polls."""
    for name in ("alice", "bob"):
        world.add(name)
    for number in range(100):
        failure_of(basic(world, "alice", "guess"), AuthenticationFailed if number < 10 else RateLimited)
    result_of(basic(world, "bob", PASSWORD))


def test_successes_give_no_new_guesses(world: World) -> None:
    """A device that polls with the right password would reset the count for an attacker on the same address."""
    world.add("alice")
    for _ in range(10):
        result_of(basic(world, "alice", PASSWORD))
        refused(world, "alice")
    failure_of(basic(world, "alice", PASSWORD), RateLimited)


def test_pairs_that_signed_in_are_bounded(world: World) -> None:
    limits = GuessLimits(world.clock, account=1)
    for number in range(MAXIMUM_KEYS + 1):
        limits.password_succeeded("alice", f"2001:db8:{number:x}::1")
    limits.password_failed("alice", "192.0.2.1")
    limits.check_password("alice", "2001:db8:1::1")
    with pytest.raises(RateLimited):
        limits.check_password("alice", "2001:db8:0::1")


def test_an_account_that_does_not_exist_locks_alike(world: World) -> None:
    """No enumeration through the lock either."""
    for _ in range(10):
        refused(world, "nobody")
    failure_of(basic(world, "nobody", "x"), RateLimited)


#: Spellings that the store or a directory takes for one name, and others that only look like it.
SPELLINGS: Final = {
    "case": ("sussex", "SUSSEX"),
    "long s": ("sussex", "\u017fu\u017fsex"),
    "ligature": ("effie", "e\ufb00ie"),
    "full width": ("dora", "\uff44\uff4f\uff52\uff41"),
    "mathematical": ("dora", "\U0001d41dora"),
    "Roman numeral": ("dora", "\u217eora"),
    "ordinal": ("dora", "dor\xaa"),
    "decomposed": ("jos\xe9", "jose\u0301"),
    "accent": ("dora", "d\xf3ra"),
    "variation selector": ("dora", "d\ufe0fora"),
    "joiner": ("dora", "do\u034fra"),
    "sharp s": ("strasse", "stra\xdfe"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_gives_no_new_guesses(spelling: str) -> None:
    """The account is locked under all of its spellings, wherever they come from; other accounts are not."""
    limits = GuessLimits(Clock(), pair=3, account=4)
    name, other = SPELLINGS[spelling]
    for number, typed in enumerate((name, other, name, other)):
        limits.check_password(typed, f"192.0.2.{number}")
        limits.password_failed(typed, f"192.0.2.{number}")
    for typed in (name, other):
        with pytest.raises(RateLimited):
            limits.check_password(typed, "198.51.100.9")
    limits.check_password("another", "198.51.100.9")


def test_a_similar_name_is_no_familiar_one() -> None:
    """The count is shared with names that look alike, the trust in an address is not."""
    limits = GuessLimits(Clock(), account=1)
    limits.password_succeeded("d\xf3ra", ADDRESS)
    limits.password_succeeded("Dora", "192.0.2.99")
    limits.password_failed("dora", "198.51.100.9")
    with pytest.raises(RateLimited):
        limits.check_password("dora", ADDRESS)
    limits.check_password("dora", "192.0.2.99")


def test_thirty_failures_lock_an_address_over_all_names(world: World) -> None:
    world.add("alice")
    for number in range(30):
        refused(world, f"nobody{number}")
    failure_of(basic(world, "alice", PASSWORD), RateLimited)
    failure_of(world.authenticator.token("pik_x", ADDRESS), RateLimited)
    failure_of(world.authenticator.challenge("x", ADDRESS, ANY_CSR), RateLimited)
    result_of(basic(world, "alice", PASSWORD, "198.51.100.9"))


def test_a_success_of_ones_own_does_not_clear_the_address(world: World) -> None:
    """Else an attacker with one account could guess at all others for ever."""
    world.add("mallory")
    world.add("alice")
    for number in range(30):
        refused(world, f"nobody{number}")
        result_of(basic(world, "mallory", PASSWORD))
    failure_of(basic(world, "alice", PASSWORD), RateLimited)


def test_a_locked_account_costs_no_hash_and_no_event(world: World) -> None:
    for _ in range(10):
        refused(world, "nobody")
    before = len(world.events())
    world.pool.work.clear()
    failure_of(basic(world, "nobody", "x"), RateLimited)
    assert world.pool.work == []
    assert len(world.events()) == before


def held_authenticator(world: World) -> tuple[Authenticator, HeldPool]:
    pool = HeldPool()
    hasher = PasswordHasher(pool, world.clock, CHEAP)
    limits = GuessLimits(world.clock)
    return Authenticator(world.store, hasher, world.certificates, limits, world.sealer, world.clock), pool


def test_guesses_sent_at_once_get_no_further_than_guesses_in_turn(world: World) -> None:
    """Of a hundred parallel guesses only those before the lock are answered, even if a later one is right."""
    world.add("alice")
    authenticator, pool = held_authenticator(world)
    guesses = [authenticator.basic("alice", PASSWORD if number == 50 else "guess", ADDRESS) for number in range(100)]
    for waiting in pool.waiting:
        waiting.callback(None)
    for number, guess in enumerate(guesses):
        if number < 10:
            failure_of(guess, AuthenticationFailed)
        else:
            failure_of(guess, RateLimited)


def test_hanging_up_hides_no_failure(world: World) -> None:
    world.add("alice")
    authenticator, pool = held_authenticator(world)
    for _ in range(10):
        guess = authenticator.basic("alice", "guess", ADDRESS)
        guess.addErrback(lambda failure: None)
        guess.cancel()
    for waiting in pool.waiting:
        waiting.callback(None)
    failure_of(authenticator.basic("alice", PASSWORD, ADDRESS), RateLimited)
    assert len(world.events("failed login")) == 10


def test_confirm_asks_for_ones_own_password(world: World) -> None:
    """Another account's password will not do."""
    alice = world.as_person(world.add("alice"))
    result_of(world.authenticator.confirm(alice, PASSWORD))
    failure_of(world.authenticator.confirm(alice, "guess"), AuthenticationFailed)
    failure_of(world.authenticator.confirm(SYSTEM, PASSWORD), NotAuthorized)
    for _ in range(9):
        failure_of(world.authenticator.confirm(alice, "guess"), AuthenticationFailed)
    failure_of(world.authenticator.confirm(alice, PASSWORD), RateLimited)


# --- tokens ----------------------------------------------------------------------------------


def test_token_form_and_digest() -> None:
    text, digest = new_token()
    assert re.fullmatch(r"pik_[A-Za-z0-9_-]{43}", text)
    assert digest == token_digest(text)
    assert text[4:].encode() not in digest


@pytest.mark.parametrize(
    ("role", "asked", "got"),
    [
        (Role.USER, None, {"read", "enroll", "revoke"}),
        (Role.USER, {"read"}, {"read"}),
        (Role.ADMIN, None, set(Scope)),
        # ROL-1: a token from before these scopes existed.
        (Role.ADMIN, {"read", "admin"}, {"read", "admin", "operate", "audit"}),
        (Role.ADMIN, {"operate"}, {"operate"}),
        (Role.OPERATOR, None, {"read", "enroll", "revoke", "operate"}),
        (Role.AUDITOR, None, {"read", "audit"}),
    ],
)
def test_token_scopes(world: World, role: Role, asked: set[str] | None, got: set[str]) -> None:
    """All that the role has, or fewer."""
    account = world.add("alice", role)
    scopes = None if asked is None else frozenset(Scope(name) for name in asked)
    _, text = result_of(world.tokens.create(SYSTEM, account.id, "ci", scopes))
    principal = result_of(world.authenticator.token(text, ADDRESS))
    assert principal.scopes == {Scope(name) for name in got}
    assert (principal.kind, principal.owner_id, principal.role) == (PrincipalKind.ACCOUNT, account.id, role)


def test_demotion_takes_the_admin_scope_from_tokens_at_once(world: World) -> None:
    world.add("root", Role.ADMIN)
    alice = world.add("alice", Role.ADMIN)
    _, text = result_of(world.tokens.create(SYSTEM, alice.id, "ci"))
    result_of(world.accounts.update(SYSTEM, alice.id, role=Role.USER))
    assert Scope.ADMIN not in result_of(world.authenticator.token(text, ADDRESS)).scopes


def test_expired_unknown_and_revoked_tokens_are_refused_alike(world: World) -> None:
    alice = world.add("alice")
    _, short = result_of(world.tokens.create(SYSTEM, alice.id, "short", days=1))
    token, revoked = result_of(world.tokens.create(SYSTEM, alice.id, "revoked"))
    result_of(world.tokens.revoke(SYSTEM, token.id))
    world.clock.advance(86399)
    result_of(world.authenticator.token(short, ADDRESS))
    world.clock.advance(1)
    messages = {
        failure_of(world.authenticator.token(text, ADDRESS), AuthenticationFailed).public
        for text in (short, revoked, new_token()[0], "", "pik_", "x" * 100_000, short + "=", "\ud800")
    }
    assert messages == {"the token is wrong or has expired"}


def test_suspension_ends_tokens_for_good(world: World) -> None:
    """USR-4: at once, and activating the account does not bring them back."""
    alice = world.add("alice")
    _, text = result_of(world.tokens.create(SYSTEM, alice.id, "ci"))
    result_of(world.accounts.suspend(SYSTEM, alice.id))
    assert result_of(world.tokens.list(SYSTEM, ListQuery(owner_id=alice.id))).items == ()
    failure_of(world.authenticator.token(text, ADDRESS), AuthenticationFailed)
    result_of(world.accounts.activate(SYSTEM, alice.id))
    failure_of(world.authenticator.token(text, ADDRESS), AuthenticationFailed)


def test_deletion_ends_tokens(world: World) -> None:
    alice = world.add("alice")
    _, text = result_of(world.tokens.create(SYSTEM, alice.id, "ci"))
    result_of(world.accounts.delete(SYSTEM, alice.id))
    failure_of(world.authenticator.token(text, ADDRESS), AuthenticationFailed)


def test_token_failures_are_recorded_without_the_token(world: World) -> None:
    text = new_token()[0]
    failure_of(world.authenticator.token(text, ADDRESS), AuthenticationFailed)
    (failed,) = world.events("failed login")
    assert failed.event.details == {"ip": ADDRESS, "by": "token", "reason": "no such token"}
    assert text[4:12] not in repr(world.events())


# --- client certificates ---------------------------------------------------------------------


def test_client_certificate_gives_its_owner_and_may_only_enroll(world: World) -> None:
    alice = world.add("alice")
    leaf = world.issue(owner_id=alice.id)
    principal = result_of(world.authenticator.client_certificate(leaf.der, ADDRESS))
    assert principal.kind is PrincipalKind.CLIENT_CERTIFICATE
    assert principal.owner_id == alice.id
    assert principal.role is None
    assert principal.scopes == {Scope.ENROLL}
    assert principal.certificate is not None
    assert principal.certificate.own
    assert principal.name == f"certificate {leaf.certificate.serial_number:x}"


def test_foreign_certificate_owns_nothing(world: World) -> None:
    """A CA of ``client_ca`` says nothing about our accounts."""
    ca = make_ca(name="Foreign CA", not_before=world.now - DAY)
    world.anchors.append(certificate_of(ca))
    leaf = make_leaf(ca, not_before=world.now - DAY)
    principal = result_of(world.authenticator.client_certificate(leaf.der, ADDRESS))
    assert principal.owner_id is None
    assert principal.name.startswith("foreign certificate ")


def test_scep_renewal_is_signed_with_an_own_valid_certificate(world: World) -> None:
    """SCEP-3: without clientAuth too; revoked, expired and foreign ones don't do."""
    own = world.issue(purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    assert result_of(world.authenticator.message_signer(own.der, ADDRESS)).certificate is not None
    ca = make_ca(name="Foreign CA", not_before=world.now - DAY)
    world.anchors.append(certificate_of(ca))
    foreign = make_leaf(ca, not_before=world.now - DAY)
    failure_of(world.authenticator.message_signer(foreign.der, ADDRESS), NotAuthorized)
    # A self-signed signer alone is never authentication.
    failure_of(world.authenticator.message_signer(make_ca().der, ADDRESS), NotAuthorized)
    result_of(world.store.revoke(own.certificate.serial_number, world.now, RevocationReason.UNSPECIFIED, EVENT))
    failure_of(world.authenticator.message_signer(own.der, ADDRESS), NotAuthorized)


# --- EST -------------------------------------------------------------------------------------


def test_est_order(world: World) -> None:
    """The certificate, else Basic, else anonymous."""
    world.add("alice")
    leaf = world.issue()
    est = world.authenticator.est
    both = Credentials(ADDRESS, peer_certificate=leaf.der, username="alice", password="guess")
    assert result_of(est(both)).kind is PrincipalKind.CLIENT_CERTIFICATE
    assert result_of(est(Credentials(ADDRESS, username="alice", password=PASSWORD))).kind is PrincipalKind.ACCOUNT
    nobody = result_of(est(Credentials(ADDRESS)))
    assert (nobody.kind, nobody.name, nobody.scopes) == (PrincipalKind.ANONYMOUS, ANONYMOUS.name, frozenset())


def test_bad_evidence_is_never_passed_over(world: World) -> None:
    """A bad certificate or a wrong password is an error, not an anonymous request."""
    world.add("alice")
    foreign = make_leaf(make_ca(name="Foreign CA"))
    bad = Credentials(ADDRESS, peer_certificate=foreign.der, username="alice", password=PASSWORD)
    failure_of(world.authenticator.est(bad), NotAuthorized)
    failure_of(world.authenticator.est(Credentials(ADDRESS, username="", password="")), AuthenticationFailed)
    failure_of(world.authenticator.est(Credentials(ADDRESS, username="alice")), AuthenticationFailed)


# --- challenge passwords ---------------------------------------------------------------------


def test_a_secret_that_was_valid_once_locks_itself_only(world: World) -> None:
    """Devices that go on with an expired token guess nothing; their events stop after ten a minute."""
    alice = world.add("alice")
    _, token = result_of(world.tokens.create(SYSTEM, alice.id, "agent", days=1))
    _, text = result_of(world.challenge_passwords.create(world.as_person(alice)))
    world.clock.advance(2 * 86400)
    for number in range(40):
        expected = AuthenticationFailed if number < 10 else RateLimited
        failure_of(world.authenticator.token(token, ADDRESS), expected)
        failure_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR), expected)
    assert len(world.events("failed login")) == 20
    world.add("bob")
    failure_of(world.authenticator.token("pik_x", ADDRESS), AuthenticationFailed)
    result_of(basic(world, "bob", PASSWORD))


@given(st.text(max_size=80))
def test_any_text_authenticates_nobody(shared: World, text: str) -> None:
    address = "2001:db8::1"
    failure_of(shared.authenticator.challenge(text, address, ANY_CSR), AuthenticationFailed)
    failure_of(shared.authenticator.token(text, address), AuthenticationFailed)
    failure_of(shared.authenticator.basic(text, text, address), AuthenticationFailed)


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    """One world in which nothing is ever locked."""
    made = make_world(limits=lambda clock: GuessLimits(clock, pair=1_000_000, account=1_000_000, address=1_000_000))
    yield made
    result_of(made.store.close())


def test_no_secret_is_logged(world: World) -> None:
    """Nothing that was typed or made reaches the log, the events or a repr."""
    logged: list[LogEvent] = []
    observer = cast(ILogObserver, logged.append)
    globalLogPublisher.addObserver(observer)
    try:
        alice = world.add("alice")
        token, token_text = result_of(world.tokens.create(SYSTEM, alice.id, "ci"))
        challenge, challenge_text = result_of(world.challenge_passwords.create(SYSTEM))
        wrong = refused(world, "alice", "wrong-secret")
        used = failure_of(world.authenticator.challenge(challenge_text[::-1], ADDRESS, ANY_CSR), AuthenticationFailed)
        principals = [
            result_of(basic(world, "alice", PASSWORD)),
            result_of(world.authenticator.token(token_text, ADDRESS)),
            result_of(world.authenticator.challenge(challenge_text, ADDRESS, ANY_CSR)),
        ]
    finally:
        globalLogPublisher.removeObserver(observer)
    credentials = Credentials(ADDRESS, username="alice", password=PASSWORD, token=token_text)
    lists = result_of(world.store.accounts(ListQuery())).items, result_of(world.store.tokens(ListQuery())).items
    shown = repr(
        [logged, world.events(), principals, token, challenge, credentials, lists]
        + [error.public + repr(error.context) for error in (wrong, used)]
    )
    for secret in (PASSWORD, "wrong-secret", token_text[4:], challenge_text[8:], challenge_text[::-1][8:], "$argon2"):
        assert secret not in shown


@pytest.mark.parametrize(("ahead", "usable"), [(30, True), (1800, True), (2 * 3600, False), (400 * 86400, False)])
def test_a_challenge_of_a_clock_that_was_ahead(world: World, ahead: int, usable: bool) -> None:
    """It is good for an hour; none is good until the wrong clock's time has come."""
    world.clock.rightNow += ahead
    _, text = result_of(world.challenge_passwords.create(SYSTEM))
    world.clock.rightNow -= ahead
    if usable:
        result_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR))
    else:
        failure_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR), AuthenticationFailed)
