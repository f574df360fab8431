"""USR-1 to USR-4: the rules about people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred

import pytest

from pikachu.accounts.accounts import Accounts, AccountSettings
from pikachu.auth.authenticator import account_principal
from pikachu.auth.rate_limit import MAXIMUM_KEYS, Quota
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import (
    AuthenticationFailed,
    Conflict,
    MalformedRequest,
    NotAuthorized,
    NotFound,
    PolicyViolation,
    RateLimited,
)
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import (
    ANONYMOUS,
    SYSTEM,
    Account,
    AccountSource,
    AccountState,
    NewAccount,
    Principal,
    PrincipalKind,
    Role,
    Scope,
)
from pikachu.storage.store import Store
from tests.support.deferreds import failure_of, result_of
from tests.support.people import ADDRESS, PASSWORD, HeldPool, World, holdings_of, make_world


@pytest.fixture
def world() -> Iterator[World]:
    """Closed afterwards."""
    made = make_world()
    yield made
    result_of(made.store.close())


def register(
    world: World, username: str = "alice_1", email: str = "a@example.com", password: str = PASSWORD
) -> Deferred[Account]:
    return world.accounts.register(username, email, password, password, ADDRESS)


def last_event(world: World) -> Event:
    return world.events()[-1].event


# --- adding ----------------------------------------------------------------------------------


def test_add_user(world: World) -> None:
    root = world.as_person(world.add("root", Role.ADMIN))
    added = result_of(
        world.accounts.add_user(root, "a.b@c-d_e", "alice@example.com", Role.USER, AccountState.PENDING, PASSWORD)
    )
    assert (added.username, added.email, added.role) == ("a.b@c-d_e", "alice@example.com", Role.USER)
    assert (added.state, added.source) == (AccountState.PENDING, AccountSource.LOCAL)
    event = last_event(world)
    assert (event.type, event.resource_type, event.resource_name) == ("add", "user", "a.b@c-d_e")
    assert (event.actor, event.actor_id, event.about_account) == ("root", root.owner_id, True)
    assert event.details == {"role": "user", "state": "pending", "ip": ADDRESS}


def test_names_are_unique_without_case(world: World) -> None:
    world.add("alice_1")
    failure_of(register(world, "ALICE_1"), Conflict)


@pytest.mark.parametrize("username", ["", "a" * 65, "a b", "a/b", "ä", "a\n", "a\0", "<b>"])
def test_names_of_added_users(world: World, username: str) -> None:
    """1 to 64 of [A-Za-z0-9._@-]."""
    attempt = world.accounts.add_user(SYSTEM, username, "a@example.com", Role.USER, AccountState.ACTIVE, PASSWORD)
    assert "1 to 64" in failure_of(attempt, MalformedRequest).public


def test_nobody_is_added_suspended(world: World) -> None:
    attempt = world.accounts.add_user(SYSTEM, "a", "a@example.com", Role.USER, AccountState.SUSPENDED, PASSWORD)
    failure_of(attempt, MalformedRequest)


def test_registration_waits_for_approval(world: World) -> None:
    """USR-2."""
    alice = result_of(register(world))
    assert (alice.state, alice.role) == (AccountState.PENDING, Role.USER)
    event = last_event(world)
    assert (event.type, event.actor, event.about_account) == ("pending", "alice_1", True)
    assert event.details["ip"] == ADDRESS
    failure_of(world.authenticator.basic("alice_1", PASSWORD, ADDRESS), AuthenticationFailed)
    approved = result_of(world.accounts.approve(SYSTEM, alice.id))
    assert approved.state is AccountState.ACTIVE
    assert last_event(world).type == "activated"
    result_of(world.authenticator.basic("alice_1", PASSWORD, ADDRESS))


def test_automatic_approval() -> None:
    world = make_world(AccountSettings(auto_approve=True))
    assert result_of(register(world)).state is AccountState.ACTIVE
    result_of(world.store.close())


@pytest.mark.parametrize("username", ["alice", "a" * 21, "alice.1", "alice-1", "álice1", "alice 1", "alice_1\n"])
def test_registered_names_have_6_to_20_letters_digits_underscores(world: World, username: str) -> None:
    """USR-2."""
    assert "6 to 20" in failure_of(register(world, username), MalformedRequest).public


@pytest.mark.parametrize("username", ["alice1", "A_1_b_2_c_3_d_4_e_5_"])
def test_registered_names_at_the_bounds(world: World, username: str) -> None:
    assert result_of(register(world, username)).username == username


@pytest.mark.parametrize(
    "email",
    ["", "alice", "@example.com", "alice@", "a b@example.com", "a@b..c", "a@-b.c", "a@b\nc", "<a@b>", "a@" + "b" * 64,
     "a" * 65 + "@b.c", "a@" + "b." * 130 + "c", "a@b.c, d@e.f"],
)  # fmt: skip
def test_bad_addresses(world: World, email: str) -> None:
    failure_of(register(world, email=email), MalformedRequest)


@pytest.mark.parametrize("email", ["a@b", "alice.o'hara+pki@mail.example.com", " alice@example.com "])
def test_good_addresses(world: World, email: str) -> None:
    assert result_of(register(world, email=email)).email == email.strip()


def test_password_has_the_configured_minimum() -> None:
    world = make_world(AccountSettings(password_min_length=8))
    assert "at least 8" in failure_of(register(world, password="1234567"), PolicyViolation).public
    result_of(register(world, password="12345678"))
    failure_of(register(world, "another", password="x" * 1025), PolicyViolation)
    result_of(world.store.close())


def test_confirmation_must_agree(world: World) -> None:
    attempt = world.accounts.register("alice_1", "a@example.com", PASSWORD, PASSWORD + "?", ADDRESS)
    assert "differ" in failure_of(attempt, MalformedRequest).public


def test_registrations_from_one_address_are_bounded(world: World) -> None:
    """USR-2: ten an hour, taken names included; malformed requests don't count, and other addresses are unaffected."""
    for number in range(9):
        result_of(register(world, f"person_{number}"))
        failure_of(register(world, "no"), MalformedRequest)
    failure_of(register(world, "person_1"), Conflict)
    wait = failure_of(register(world, "another"), RateLimited).retry_after
    assert wait == 3600
    result_of(world.accounts.register("another", "a@example.com", PASSWORD, PASSWORD, "192.0.2.8"))
    world.clock.advance(3600)
    result_of(register(world, "person_10"))


def test_remembered_addresses_are_bounded(world: World) -> None:
    """A client with thousands of addresses can't fill the memory."""
    quota = Quota(world.clock, 1, 3600)
    for number in range(MAXIMUM_KEYS + 5):
        quota.take(str(number))
    assert len(quota) == MAXIMUM_KEYS
    with pytest.raises(RateLimited):
        quota.take(str(number))


def test_change_own_address(world: World) -> None:
    """One's own e-mail, with both in the event; the same again is no event."""
    alice = world.as_person(world.add("alice"))
    assert result_of(world.accounts.change_email(alice, " new@example.com ")).email == "new@example.com"
    event = last_event(world)
    assert (event.type, event.about_account) == ("update", True)
    assert event.details["email"] == {"before": "alice@example.com", "after": "new@example.com"}
    before = len(world.events())
    result_of(world.accounts.change_email(alice, "new@example.com"))
    assert len(world.events()) == before
    failure_of(world.accounts.change_email(alice, "new"), MalformedRequest)
    failure_of(world.accounts.change_email(ANONYMOUS, "a@example.com"), AuthenticationFailed)


def test_tokens_are_seen_to_the_minute(world: World) -> None:
    """USR-6: the time of a token's last use."""
    alice = world.add("alice")
    token, text = result_of(world.tokens.create(SYSTEM, alice.id, "ci"))

    def used() -> object:
        result_of(world.authenticator.token(text, ADDRESS))
        return result_of(world.tokens.get(SYSTEM, token.id)).last_used_at

    first = world.now
    assert used() == first
    world.clock.advance(59)
    assert used() == first
    world.clock.advance(1)
    assert used() == world.now


# --- states and roles ------------------------------------------------------------------------


def test_suspend_and_activate(world: World) -> None:
    alice = world.add("alice")
    assert result_of(world.accounts.suspend(SYSTEM, alice.id)).state is AccountState.SUSPENDED
    assert [record.event.type for record in world.events()][-1] == "suspend"
    failure_of(world.accounts.approve(SYSTEM, alice.id), Conflict)
    assert result_of(world.accounts.activate(SYSTEM, alice.id)).state is AccountState.ACTIVE
    failure_of(world.accounts.activate(SYSTEM, alice.id), Conflict)


def test_the_last_active_admin_stays(world: World) -> None:
    """USR-4: can't be removed, suspended or demoted; a suspended second one does not count."""
    root, other = world.add("root", Role.ADMIN), world.add("other", Role.ADMIN)
    result_of(world.accounts.suspend(SYSTEM, other.id))
    for attempt in (
        world.accounts.delete(SYSTEM, root.id),
        world.accounts.suspend(SYSTEM, root.id),
        world.accounts.update(SYSTEM, root.id, role=Role.USER),
        world.accounts.update(world.as_person(root), root.id, role=Role.USER),
    ):
        failure_of(attempt, Conflict)
    result_of(world.accounts.activate(SYSTEM, other.id))
    assert result_of(world.accounts.update(world.as_person(root), root.id, role=Role.USER)).role is Role.USER


def test_a_refused_suspension_ends_no_token(world: World) -> None:
    root = world.add("root", Role.ADMIN)
    _, text = result_of(world.tokens.create(SYSTEM, root.id, "ci"))
    failure_of(world.accounts.suspend(SYSTEM, root.id), Conflict)
    result_of(world.authenticator.token(text, ADDRESS))


def test_nobody_suspends_or_deletes_themself(world: World) -> None:
    """USR-4, though there is another admin."""
    root = world.as_person(world.add("root", Role.ADMIN))
    world.add("other", Role.ADMIN)
    assert root.owner_id is not None
    assert "yourself" in failure_of(world.accounts.suspend(root, root.owner_id), Conflict).public
    assert "yourself" in failure_of(world.accounts.delete(root, root.owner_id), Conflict).public


def test_two_changes_at_once_lose_none(world: World) -> None:
    """A role change that is asked for while a suspension is under way does not activate the account again."""
    writes = HeldPool()
    store = Store("sqlite://", ImmediatePool(), writes)
    accounts = Accounts(
        store=store,
        hasher=world.hasher,
        clock=world.clock,
        settings=AccountSettings(),
        holdings=holdings_of(store, world.clock),
    )

    def write_all() -> None:
        while writes.waiting:
            writes.waiting.pop(0).callback(None)

    made = Event("add", "user", "alice", "test")
    adding = store.add_account(
        NewAccount("alice", "a@example.com", Role.USER, AccountState.ACTIVE, None), made, world.now
    )
    write_all()
    alice = result_of(adding)
    changes = [accounts.suspend(SYSTEM, alice.id), accounts.update(SYSTEM, alice.id, role=Role.ADMIN)]
    write_all()
    assert result_of(changes[0]).state is AccountState.SUSPENDED
    found = result_of(changes[1])
    assert (found.state, found.role) == (AccountState.SUSPENDED, Role.ADMIN)
    result_of(store.close())


def test_a_change_of_the_role_is_recorded(world: World) -> None:
    alice = world.add("alice")
    result_of(world.accounts.update(SYSTEM, alice.id, role=Role.ADMIN))
    event = last_event(world)
    assert (event.type, event.owner_id, event.details) == (
        "role change",
        alice.id,
        {"role": {"before": "user", "after": "admin"}},
    )


DELETED_CHANGES: list[Callable[[World, int], Deferred[Any]]] = [
    lambda world, one: world.accounts.delete(SYSTEM, one),
    lambda world, one: world.accounts.suspend(SYSTEM, one),
    lambda world, one: world.accounts.activate(SYSTEM, one),
    lambda world, one: world.accounts.approve(SYSTEM, one),
    lambda world, one: world.accounts.deactivate(SYSTEM, one),
    lambda world, one: world.accounts.update(SYSTEM, one, role=Role.ADMIN),
    lambda world, one: world.accounts.update(SYSTEM, one, state=AccountState.ACTIVE),
    lambda world, one: world.accounts.update(SYSTEM, one, email="new@example.com"),
    lambda world, one: world.accounts.reset_password(SYSTEM, one, "a new password"),
    lambda world, one: world.tokens.create(SYSTEM, one, "ci"),
    lambda world, one: world.challenge_passwords.create(SYSTEM, one),
]


def test_delete(world: World) -> None:
    alice = world.add("alice")
    result_of(world.accounts.delete(SYSTEM, alice.id))
    assert (last_event(world).type, last_event(world).resource_name) == ("delete", "alice")
    gone = result_of(world.accounts.account(SYSTEM, alice.id))
    assert (gone.state, gone.email, gone.password_hash) == (AccountState.DELETED, "", None)
    assert gone.display_name == "alice (deleted)"
    assert result_of(world.accounts.list_accounts(SYSTEM, ListQuery())).items == ()
    failure_of(world.accounts.find(SYSTEM, "alice"), NotFound)


@pytest.mark.parametrize("change", DELETED_CHANGES)
def test_a_deleted_account_stays_deleted(world: World, change: Callable[[World, int], Deferred[Any]]) -> None:
    alice = world.add("alice")
    result_of(world.accounts.delete(SYSTEM, alice.id))
    with pytest.raises((Conflict, NotFound), match="deleted"):
        result_of(change(world, alice.id))
    assert result_of(world.accounts.account(SYSTEM, alice.id)).state is AccountState.DELETED


def test_deletion_leaves_no_challenge_password(world: World) -> None:
    """However many there are: those that were used stay as what certificates were enrolled with."""
    alice = world.add("alice")
    for _ in range(501):
        result_of(world.challenge_passwords.create(world.as_person(alice)))
    result_of(world.accounts.delete(SYSTEM, alice.id))
    assert result_of(world.challenge_passwords.list(SYSTEM, ListQuery())).items == ()


def test_deleted_is_no_state_to_choose(world: World) -> None:
    alice = world.add("alice")
    failure_of(world.accounts.update(SYSTEM, alice.id, state=AccountState.DELETED), MalformedRequest)
    adding = world.accounts.add_user(SYSTEM, "bob", "b@example.com", Role.USER, AccountState.DELETED, PASSWORD)
    failure_of(adding, MalformedRequest)


# --- passwords -------------------------------------------------------------------------------


def test_reset_password(world: World) -> None:
    alice = world.add("alice")
    result_of(world.accounts.reset_password(SYSTEM, alice.id, "another one"))
    failure_of(world.authenticator.basic("alice", PASSWORD, ADDRESS), AuthenticationFailed)
    result_of(world.authenticator.basic("alice", "another one", ADDRESS))
    assert last_event(world).type == "failed login"
    assert "change password" in [record.event.type for record in world.events()]
    failure_of(world.accounts.reset_password(SYSTEM, alice.id, "short"), PolicyViolation)


def test_change_own_password(world: World) -> None:
    alice = world.as_person(world.add("alice"))
    result_of(world.accounts.change_password(alice, "another one"))
    result_of(world.authenticator.basic("alice", "another one", ADDRESS))
    event = last_event(world)
    assert (event.type, event.actor, event.about_account) == ("change password", "alice", True)


def test_directory_accounts_have_no_password_here(world: World) -> None:
    """It is LDAP's: neither changed nor reset."""
    made = Event("add", "user", "dora", "test")
    dora = result_of(
        world.store.add_account(
            NewAccount("dora", "d@example.com", Role.USER, AccountState.ACTIVE, None, AccountSource.LDAP),
            made,
            world.now,
        )
    )
    failure_of(world.accounts.reset_password(SYSTEM, dora.id, PASSWORD), Conflict)
    failure_of(world.accounts.change_password(world.as_person(dora), PASSWORD), Conflict)
    failure_of(world.authenticator.basic("dora", PASSWORD, ADDRESS), AuthenticationFailed)


# --- who may ---------------------------------------------------------------------------------

Operation = Callable[[World, Principal, int], Deferred[Any]]
ADMIN_ONLY: list[Operation] = [
    lambda world, actor, _: world.accounts.add_user(
        actor, "new", "n@example.com", Role.ADMIN, AccountState.ACTIVE, PASSWORD
    ),
    lambda world, actor, target: world.accounts.approve(actor, target),
    lambda world, actor, target: world.accounts.activate(actor, target),
    lambda world, actor, target: world.accounts.suspend(actor, target),
    lambda world, actor, target: world.accounts.update(actor, target, role=Role.ADMIN),
    lambda world, actor, target: world.accounts.reset_password(actor, target, PASSWORD),
    lambda world, actor, target: world.accounts.delete(actor, target),
    lambda world, actor, _: world.accounts.list_accounts(actor, ListQuery()),
    lambda world, actor, _: world.accounts.find(actor, "bob"),
    lambda world, actor, _: world.challenge_passwords.delete_expired(actor, everybody=True),
]


@pytest.mark.parametrize("operation", ADMIN_ONLY)
def test_people_are_for_admins_with_the_admin_scope(world: World, operation: Operation) -> None:
    """USR-1; not for one's own account, an admin's restricted token, a device or somebody unknown either."""
    alice, bob = world.add("alice"), world.add("bob")
    root = world.add("root", Role.ADMIN)
    before = len(world.events())
    restricted = account_principal(root, ADDRESS, frozenset({Scope.READ, Scope.ENROLL, Scope.REVOKE}))
    device = Principal(PrincipalKind.CHALLENGE, "device", owner_id=alice.id, scopes=frozenset(Scope))
    for actor in (world.as_person(alice), restricted, device):
        failure_of(operation(world, actor, bob.id), NotAuthorized)
        failure_of(operation(world, actor, alice.id), NotAuthorized)
    failure_of(operation(world, ANONYMOUS, bob.id), AuthenticationFailed)
    assert len(world.events()) == before
    assert result_of(world.accounts.account(SYSTEM, bob.id)) == bob


def test_users_see_themselves_only(world: World) -> None:
    """USR-1: hidden accounts are not found, like missing ones."""
    alice, bob = world.add("alice"), world.add("bob")
    actor = world.as_person(alice)
    assert result_of(world.accounts.account(actor, alice.id)) == alice
    there = failure_of(world.accounts.account(actor, bob.id), NotFound)
    missing = failure_of(world.accounts.account(actor, 4711), NotFound)
    assert there.public == missing.public


def test_admins_see_everybody(world: World) -> None:
    world.add("alice")
    root = world.as_person(world.add("root", Role.ADMIN))
    page = result_of(world.accounts.list_accounts(root, ListQuery(sort="username")))
    assert [account.username for account in page.items] == ["alice", "root"]
    assert result_of(world.accounts.find(root, "ALICE")).username == "alice"
    failure_of(world.accounts.find(root, "nobody"), NotFound)
    failure_of(world.accounts.find(root, "\ud800"), NotFound)


def test_no_password_or_hash_is_shown_or_recorded(world: World) -> None:
    alice = world.add("alice", password="sesame-1234")
    result_of(world.accounts.change_password(world.as_person(alice), "sesame-5678"))
    shown = repr(world.events()) + repr(result_of(world.accounts.list_accounts(SYSTEM, ListQuery())))
    assert "sesame" not in shown
    assert "$argon2" not in shown
