"""USR-6, CHP-1, CSR-1, CSR-3: tokens, challenge passwords and stored requests, each with its owner."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred

import pytest

from pikachu.auth.authenticator import account_principal
from pikachu.core.errors import (
    AuthenticationFailed,
    Conflict,
    MalformedRequest,
    NotAuthorized,
    NotFound,
    ProofOfPossessionFailed,
)
from pikachu.core.interfaces import Begun
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import ANONYMOUS, SYSTEM, Principal, PrincipalKind, Role, Scope
from pikachu.core.model.requests import NewRequest
from tests.support.deferreds import failure_of, result_of
from tests.support.people import ADDRESS, ANY_CSR, World, make_world
from tests.support.pki import make_csr


@dataclass
class People:
    """Two users and an admin."""

    world: World
    alice: Principal
    bob: Principal
    root: Principal


@pytest.fixture
def people() -> Iterator[People]:
    """In a world of their own."""
    world = make_world()
    alice, bob, root = (
        world.as_person(account) for account in (world.add("alice"), world.add("bob"), world.add("root", Role.ADMIN))
    )
    yield People(world, alice, bob, root)
    result_of(world.store.close())


def own(principal: Principal) -> int:
    assert principal.owner_id is not None
    return principal.owner_id


def restricted(world: World, principal: Principal, *scopes: Scope) -> Principal:
    account = result_of(world.accounts.account(SYSTEM, own(principal)))
    return account_principal(account, ADDRESS, frozenset(scopes))


# --- tokens ----------------------------------------------------------------------------------


def test_token_is_named_expiring_scoped_and_recorded(people: People) -> None:
    """USR-6."""
    world = people.world
    made, text = result_of(world.tokens.create(people.alice, own(people.alice), " build ", frozenset({Scope.READ}), 30))
    assert (made.name, made.scopes) == ("build", frozenset({Scope.READ}))
    assert made.expires_at == world.now + timedelta(days=30)
    event = world.events()[-1].event
    assert (event.type, event.resource_type, event.resource_name) == ("create", "token", "build")
    assert (event.owner_id, event.about_account) == (own(people.alice), False)
    assert event.details["scopes"] == ["read"]
    assert text[4:] not in repr(event)
    again, _ = result_of(world.tokens.create(people.alice, own(people.alice), "other"))
    assert again.expires_at == world.now + timedelta(days=365)


@pytest.mark.parametrize("days", [0, -1, 3651, 10**12])
def test_token_lifetime_is_bounded(people: People, days: int) -> None:
    failure_of(people.world.tokens.create(people.alice, own(people.alice), "ci", days=days), MalformedRequest)


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\nb", "a\0b", "\ud800"])
def test_token_names(people: People, name: str) -> None:
    failure_of(people.world.tokens.create(people.alice, own(people.alice), name), MalformedRequest)


def test_scopes_beyond_the_role_are_refused(people: People) -> None:
    attempt = people.world.tokens.create(people.alice, own(people.alice), "ci", frozenset({Scope.ADMIN}))
    assert failure_of(attempt, MalformedRequest).public.endswith("one or more of read, enroll, revoke")
    failure_of(people.world.tokens.create(people.alice, own(people.alice), "ci", frozenset()), MalformedRequest)


def test_a_restricted_token_makes_and_ends_no_tokens(people: People) -> None:
    """A restricted token can neither create nor revoke tokens, else it could gain full rights."""
    world = people.world
    token, _ = result_of(world.tokens.create(people.alice, own(people.alice), "ci"))
    actor = restricted(world, people.alice, Scope.READ, Scope.ENROLL)
    failure_of(world.tokens.create(actor, own(actor), "more"), NotAuthorized)
    failure_of(world.tokens.create(actor, own(actor), "more", frozenset({Scope.READ})), NotAuthorized)
    failure_of(world.tokens.revoke(actor, token.id), NotAuthorized)
    failure_of(world.accounts.change_password(actor, "a new password"), NotAuthorized)
    admin = restricted(world, people.root, Scope.READ, Scope.ADMIN)
    failure_of(world.tokens.create(admin, own(admin), "more"), NotAuthorized)


def test_tokens_of_others_are_for_admins(people: People) -> None:
    world, bob = people.world, own(people.bob)
    failure_of(world.tokens.create(people.alice, bob, "ci"), NotFound)
    token, _ = result_of(world.tokens.create(people.root, bob, "ci"))
    failure_of(world.tokens.create(people.root, bob, "ci"), Conflict)
    assert result_of(world.tokens.list(people.alice, ListQuery(owner_id=bob))).items == ()
    assert [found.id for found in result_of(world.tokens.list(people.bob, ListQuery())).items] == [token.id]
    assert len(result_of(world.tokens.list(people.root, ListQuery())).items) == 1
    failure_of(world.tokens.revoke(people.alice, token.id), NotFound)
    result_of(world.tokens.revoke(people.bob, token.id))
    failure_of(world.tokens.revoke(people.root, token.id), NotFound)


def test_only_active_accounts_have_tokens(people: People) -> None:
    world, bob = people.world, own(people.bob)
    result_of(world.accounts.suspend(people.root, bob))
    failure_of(world.tokens.create(people.root, bob, "ci"), Conflict)
    failure_of(world.tokens.create(people.root, 4711, "ci"), NotFound)


# --- challenge passwords ---------------------------------------------------------------------


def test_challenge_is_128_random_bits_in_upper_case_hex(people: People) -> None:
    """CHP-1."""
    world = people.world
    made, text = result_of(world.challenge_passwords.create(people.alice))
    assert re.fullmatch("[0-9A-F]{32}", text)
    assert made.prefix == text[:8]
    assert made.owner_id == own(people.alice)
    assert made.expires_at == world.now + timedelta(minutes=60)
    assert text != result_of(world.challenge_passwords.create(people.alice))[1]
    event = world.events()[-2].event
    assert (event.type, event.resource_type, event.resource_name) == ("create", "challenge password", text[:8])
    assert text[8:] not in repr((made, world.events()))


def test_reveal_is_for_owner_and_admins_and_strange_eyes_are_recorded(people: People) -> None:
    """To all others it is not there."""
    world = people.world
    made, text = result_of(world.challenge_passwords.create(people.alice))
    before = len(world.events())
    assert result_of(world.challenge_passwords.reveal(people.alice, made.id)) == text
    assert len(world.events()) == before
    assert result_of(world.challenge_passwords.reveal(people.root, made.id)) == text
    view = world.events()[-1].event
    assert (view.type, view.resource_name, view.actor) == ("view", text[:8], "root")
    there = failure_of(world.challenge_passwords.reveal(people.bob, made.id), NotFound)
    missing = failure_of(world.challenge_passwords.reveal(people.bob, 4711), NotFound)
    assert there.public == missing.public
    reader = restricted(world, people.alice, Scope.READ)
    failure_of(world.challenge_passwords.reveal(reader, made.id), NotAuthorized)
    assert result_of(world.challenge_passwords.get(reader, made.id)).prefix == text[:8]
    failure_of(world.challenge_passwords.reveal(restricted(world, people.root, Scope.ENROLL), made.id), NotFound)


@pytest.mark.parametrize("validity", [timedelta(0), timedelta(seconds=-1), timedelta(days=367), timedelta.max])
def test_validity_is_bounded(people: People, validity: timedelta) -> None:
    failure_of(people.world.challenge_passwords.create(people.alice, validity=validity), MalformedRequest)


def test_challenge_for_somebody_else_is_for_admins(people: People) -> None:
    """INT-1: ``pikachu challenge create --user NAME``."""
    world = people.world
    failure_of(world.challenge_passwords.create(people.alice, own(people.bob)), NotFound)
    made, _ = result_of(world.challenge_passwords.create(SYSTEM, own(people.bob), timedelta(minutes=2)))
    assert made.owner_id == own(people.bob)
    result_of(world.accounts.suspend(SYSTEM, own(people.bob)))
    failure_of(world.challenge_passwords.create(SYSTEM, own(people.bob)), Conflict)
    failure_of(world.challenge_passwords.create(SYSTEM, 4711), NotFound)


def test_lists_and_deletion_keep_to_the_owner(people: People) -> None:
    world = people.world
    made, _ = result_of(world.challenge_passwords.create(people.alice))
    result_of(world.challenge_passwords.create(SYSTEM))
    listed = result_of(world.challenge_passwords.list(people.bob, ListQuery(owner_id=own(people.alice))))
    assert listed.items == ()
    assert len(result_of(world.challenge_passwords.list(people.alice, ListQuery())).items) == 1
    assert len(result_of(world.challenge_passwords.list(people.root, ListQuery())).items) == 2
    failure_of(world.challenge_passwords.delete(people.bob, made.id), NotFound)
    result_of(world.challenge_passwords.delete(people.alice, made.id))
    failure_of(world.challenge_passwords.delete(people.root, made.id), NotFound)


def test_expired_ones_are_deleted_of_oneself_or_by_admins_of_all(people: People) -> None:
    """CHP-1."""
    world = people.world
    for actor in (people.alice, people.bob, people.root):
        result_of(world.challenge_passwords.create(actor, validity=timedelta(seconds=1)))
    kept, _ = result_of(world.challenge_passwords.create(people.alice))
    world.clock.advance(1)
    assert result_of(world.challenge_passwords.delete_expired(people.alice)) == 1
    failure_of(world.challenge_passwords.delete_expired(people.alice, everybody=True), NotAuthorized)
    assert result_of(world.challenge_passwords.delete_expired(people.root)) == 1
    assert result_of(world.challenge_passwords.delete_expired(people.root, everybody=True)) == 1
    left = result_of(world.challenge_passwords.list(people.root, ListQuery())).items
    assert [challenge.id for challenge in left] == [kept.id]


def test_one_that_a_request_holds_is_not_deleted(people: People) -> None:
    world = people.world
    made, _ = result_of(world.challenge_passwords.create(people.alice))
    request = NewRequest(
        Method.EST, b"csr", "CN=x", "RSA/2048", b"k" * 20, "default", "ec", "x", None, world.now, challenge_id=made.id
    )
    assert isinstance(result_of(world.store.begin(request, None, world.now)), Begun)
    assert "reject the request" in failure_of(world.challenge_passwords.delete(people.alice, made.id), Conflict).public


# --- stored requests -------------------------------------------------------------------------


def test_store_csr(people: People) -> None:
    """CSR-1: DER, PEM or base64; the challenge password in it is recorded nowhere."""
    world = people.world
    _, der = make_csr(challenge="sesame-1234")
    stored = result_of(world.requests.store(people.alice, "gateway", der))
    assert (stored.name, stored.der, stored.subject) == ("gateway", der, "CN=device.example.com")
    assert (stored.key_type, stored.owner_id, stored.state) == ("EC/prime256v1", own(people.alice), "pending")
    event = world.events()[-1].event
    assert (event.type, event.resource_type, event.resource_name) == ("create", "CSR", "gateway")
    assert "sesame" not in repr(event)
    assert result_of(world.requests.store(people.alice, "", der)).name == "device.example.com"


def test_requests_that_prove_nothing_are_not_kept(people: People) -> None:
    _, der = make_csr()
    changed = der.replace(b"device.example.com", b"Device.example.com")
    failure_of(people.world.requests.store(people.alice, "x", changed), ProofOfPossessionFailed)
    for data in (b"", b"noise", b"0\x00"):
        failure_of(people.world.requests.store(people.alice, "x", data), MalformedRequest)
    failure_of(people.world.requests.store(people.alice, "x\0", der), MalformedRequest)


def test_stored_requests_keep_to_their_owner(people: People) -> None:
    """CSR-3: owner or admin, 404 for others."""
    world = people.world
    _, der = make_csr()
    stored = result_of(world.requests.store(people.alice, "x", der))
    assert result_of(world.requests.get(people.alice, stored.id)).der == der
    assert result_of(world.requests.get(people.root, stored.id)).der == der
    there = failure_of(world.requests.get(people.bob, stored.id), NotFound)
    missing = failure_of(world.requests.get(people.bob, 4711), NotFound)
    assert there.public == missing.public
    assert result_of(world.requests.list(people.bob, ListQuery())).items == ()
    assert len(result_of(world.requests.list(people.root, ListQuery())).items) == 1
    failure_of(world.requests.delete(people.bob, stored.id), NotFound)
    result_of(world.requests.delete(people.alice, stored.id))
    assert world.events()[-1].event.type == "delete"


def test_what_is_nobodys_is_for_admins(people: People) -> None:
    """Owners are accounts: the program itself has no account, and a principal without one sees nothing."""
    world = people.world
    _, der = make_csr()
    stored = result_of(world.requests.store(SYSTEM, "x", der))
    assert stored.owner_id is None
    failure_of(world.requests.get(people.alice, stored.id), NotFound)
    result_of(world.requests.get(people.root, stored.id))
    # A role without an account, and without the admin scope: it owns nothing, above all not what is nobody's.
    stray = Principal(PrincipalKind.SYSTEM, "stray", role=Role.USER, scopes=frozenset(Scope))
    failure_of(world.requests.get(stray, stored.id), NotFound)
    assert result_of(world.requests.list(stray, ListQuery())).items == ()


# --- who may ---------------------------------------------------------------------------------

Operation = Callable[[World, Principal], Deferred[Any]]
NEEDS: list[tuple[Scope, Operation]] = [
    (Scope.READ, lambda world, actor: world.tokens.list(actor, ListQuery())),
    (Scope.READ, lambda world, actor: world.challenge_passwords.list(actor, ListQuery())),
    (Scope.READ, lambda world, actor: world.requests.list(actor, ListQuery())),
    (Scope.READ, lambda world, actor: world.accounts.account(actor, own(actor))),
    (Scope.READ, lambda world, actor: world.requests.get(actor, 1)),
    (Scope.READ, lambda world, actor: world.challenge_passwords.get(actor, 1)),
    (Scope.ENROLL, lambda world, actor: world.challenge_passwords.create(actor)),
    (Scope.ENROLL, lambda world, actor: world.challenge_passwords.reveal(actor, 1)),
    (Scope.ENROLL, lambda world, actor: world.challenge_passwords.delete(actor, 1)),
    (Scope.ENROLL, lambda world, actor: world.challenge_passwords.delete_expired(actor)),
    (Scope.ENROLL, lambda world, actor: world.requests.store(actor, "x", make_csr()[1])),
    (Scope.ENROLL, lambda world, actor: world.requests.delete(actor, 1)),
]


@pytest.mark.parametrize(("scope", "operation"), NEEDS)
def test_each_operation_needs_its_scope(people: People, scope: Scope, operation: Operation) -> None:
    """USR-6."""
    world = people.world
    others = [other for other in Scope if other is not scope]
    failure_of(operation(world, restricted(world, people.root, *others)), NotAuthorized)
    device = Principal(PrincipalKind.CLIENT_CERTIFICATE, "device", own(people.alice), scopes=frozenset(Scope))
    failure_of(operation(world, device), NotAuthorized)
    unknown = Principal(ANONYMOUS.kind, ANONYMOUS.name, own(people.alice))
    failure_of(operation(world, unknown), AuthenticationFailed)


def test_one_that_a_request_holds_ends_with_its_owner(people: People) -> None:
    """A deleted account's reserved challenge password is invalid, also after a rejection would have freed it."""
    world = people.world
    made, text = result_of(world.challenge_passwords.create(people.alice))
    request = NewRequest(
        Method.EST, b"csr", "CN=x", "RSA/2048", b"k" * 20, "default", "ec", "x", None, world.now, challenge_id=made.id
    )
    begun = result_of(world.store.begin(request, None, world.now))
    assert isinstance(begun, Begun)
    result_of(world.accounts.delete(people.root, own(people.alice)))
    event = Event("reject", "request", "1", "root")
    result_of(world.store.reject(begun.request_id, "root", "her account is gone", event, world.now))
    failure_of(world.authenticator.challenge(text, "192.0.2.1", ANY_CSR), AuthenticationFailed)
