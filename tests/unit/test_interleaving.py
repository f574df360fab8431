"""Concurrent changes and deletions: each decision is about the state when it is written.

The database works in threads, and a test says when the reactor learns of it.  Writes are made in the order in which
they are queued, so a write that is queued while another one is being decided comes before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import Clock

import pytest

from pikachu.auth.authenticator import account_principal
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import Conflict, EditConflict, NotAuthorized, NotFound, PikachuError
from pikachu.core.interfaces import Begun
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountState, Principal, Role
from pikachu.core.model.policies import Policy
from pikachu.inventory.templates import TemplateDraft
from pikachu.server.application import Application, Pools
from pikachu.server.composition import build
from tests.support.databases import NOW, Calls, Opened
from tests.support.pki import make_csr
from tests.support.stack import FAST, make_files

EXTENSIONS = "[ v3_ext ]\nextendedKeyUsage = clientAuth\n"
OTHER = "[ v3_ext ]\nextendedKeyUsage = serverAuth\n"


class World:
    """A composition whose database has threads."""

    def __init__(self, app: Application, calls: Calls) -> None:
        self.app = app
        self.db = Opened(app.store, "", calls)
        self.alice = self.add("alice", Role.USER)
        self.root = self.add("root", Role.ADMIN)

    def add(self, name: str, role: Role) -> Principal:
        """An account, signed in."""
        adding = self.app.accounts.add_user(
            SYSTEM, name, f"{name}@example.com", role, AccountState.ACTIVE, f"password of {name}"
        )
        return account_principal(self.db.get(adding), "192.0.2.1")

    def events(self, **filters: str) -> list[Event]:
        """The events of a kind, oldest first."""
        query = ListQuery(limit=1000, sort="id", filters=filters)
        return [one.event for one in self.db.get(self.app.store.events(query)).items]

    def both(self, first: Deferred[Any], second: Deferred[Any]) -> tuple[Any, Any]:
        """Return the results or exceptions of two operations, the second begun before the first had ended."""
        every = self.db.get(DeferredList([first, second], consumeErrors=True))
        one, other = (value if success else value.value for success, value in every)
        return one, other


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    clock = Clock()
    clock.advance(int(time.time()))
    calls, pool = Calls(), ImmediatePool()
    pools = Pools(*[pool] * len(Pools.__dataclass_fields__))
    app = build(make_files(tmp_path).load(), clock, pools, calls, "test", lambda _: None, FAST)
    made = World(app, calls)
    yield made
    app.publisher.stop()
    made.db.close()


@pytest.mark.parametrize("deletes_first", [True, False])
def test_a_challenge_password_is_reserved_or_deleted(world: World, deletes_first: bool) -> None:
    """A request never waits with a challenge password that is gone: its rejection could not give it back."""
    made, _ = world.db.get(world.app.challenge_passwords.create(world.alice))
    request = world.db.request(challenge_id=made.id, owner_id=world.alice.owner_id)
    if deletes_first:
        deleting = world.app.challenge_passwords.delete(world.alice, made.id)
        beginning = world.app.store.begin(request, None, NOW)
    else:
        beginning = world.app.store.begin(request, None, NOW)
        deleting = world.app.challenge_passwords.delete(world.alice, made.id)
    deleted, begun = world.both(deleting, beginning)
    deletions = world.events(type="delete", resource_type="challenge password")
    if isinstance(begun, Begun):
        assert isinstance(deleted, Conflict)
        assert world.db.get(world.app.store.challenge(made.id)).reserved_by == begun.request_id
        assert deletions == []
    else:
        assert isinstance(begun, PikachuError)
        assert deleted is None
        with pytest.raises(NotFound):
            world.db.get(world.app.store.challenge(made.id))
        assert [(one.resource_name, one.owner_id) for one in deletions] == [(made.prefix, world.alice.owner_id)]
        assert world.db.get(world.app.store.requests(ListQuery())).items == ()


SHARE: dict[str, tuple[Callable[[World], Deferred[Any]], Callable[[World, Any], Deferred[Any]]]] = {
    "policy": (
        lambda world: world.app.policy_administration.add(world.alice, Policy(0, "mine", 30, EXTENSIONS)),
        lambda world, one: world.app.store.update_policy(
            replace(one, system=True, owner_id=None), Event("update", "policy", "mine", "root"), NOW
        ),
    ),
    "template": (
        lambda world: world.app.templates.add(world.alice, TemplateDraft("mine", "Device", EXTENSIONS)),
        lambda world, one: world.app.store.update_template(
            replace(one, owner_id=None), Event("update", "template", "mine", "root"), NOW
        ),
    ),
}


def rules(world: World, kind: str) -> Any:
    return world.app.policy_administration if kind == "policy" else world.app.templates


def stored(world: World, kind: str, identity: int) -> Any:
    store = world.app.store
    reading: Deferred[Any] = store.policy(identity) if kind == "policy" else store.template(identity)
    return world.db.get(reading)


@pytest.mark.parametrize("kind", SHARE)
def test_what_becomes_everybodys_is_not_deleted_by_its_former_owner(world: World, kind: str) -> None:
    """The right to delete is that of the moment of the deletion."""
    add, share = SHARE[kind]
    made = world.db.get(add(world))
    deleted, shared = world.both(rules(world, kind).delete(world.alice, made.id), share(world, made))
    deletions = world.events(type="delete", resource_type=kind)
    if isinstance(shared, PikachuError):
        assert deleted is None
        assert len(deletions) == 1
    else:
        assert isinstance(deleted, NotAuthorized)
        assert stored(world, kind, made.id) == shared
        assert deletions == []


@pytest.mark.parametrize("kind", SHARE)
def test_what_becomes_everybodys_is_not_changed_by_its_former_owner(world: World, kind: str) -> None:
    """A change that was read as its owner is not written as anybody."""
    add, share = SHARE[kind]
    made = world.db.get(add(world))
    if kind == "policy":
        changing: Deferred[Any] = world.app.policy_administration.update(world.alice, replace(made, days=7))
    else:
        changing = world.app.templates.update(world.alice, made.id, content=OTHER)
    changed, shared = world.both(changing, share(world, made))
    assert isinstance(changed, NotAuthorized)
    assert stored(world, kind, made.id) == shared


@pytest.mark.parametrize("kind", SHARE)
def test_changes_of_other_fields_in_another_process_stay(world: World, kind: str) -> None:
    """A change of one field is made on what is there when it is written."""
    made = world.db.get(SHARE[kind][0](world))
    event = Event("update", kind, "mine", "root")
    if kind == "policy":
        changing: Deferred[Any] = world.app.policy_administration.change(
            world.alice, made.id, lambda one: replace(one, name="new")
        )
        writing: Deferred[Any] = world.app.store.update_policy(replace(made, days=7), event, NOW)
    else:
        changing = world.app.templates.update(world.alice, made.id, name="new")
        writing = world.app.store.update_template(replace(made, profile_type="Other"), event, NOW)
    changed, written = world.both(changing, writing)
    assert changed == replace(written, name="new", version=3, updated_by="alice", updated_at=changed.updated_at)


@pytest.mark.parametrize("kind", SHARE)
def test_a_named_version_is_refused_once(world: World, kind: str) -> None:
    """An update with a stale version is refused, also when the other change comes between reading and writing."""
    made = world.db.get(SHARE[kind][0](world))
    expected = frozenset({made.version})
    event = Event("update", kind, "mine", "root")
    if kind == "policy":
        changing: Deferred[Any] = world.app.policy_administration.update(
            world.alice, replace(made, days=7), expected=expected
        )
        writing: Deferred[Any] = world.app.store.update_policy(replace(made, days=8), event, NOW)
    else:
        changing = world.app.templates.update(world.alice, made.id, name="new", expected=expected)
        writing = world.app.store.update_template(replace(made, name="other"), event, NOW)
    changed, written = world.both(changing, writing)
    assert isinstance(changed, EditConflict)
    assert changed.public.startswith("This ")
    assert " by root on " in changed.public
    assert stored(world, kind, made.id) == written


def test_files_that_another_process_writes(world: World) -> None:
    """The default policy is changed on what its files say when they are written."""
    changing = world.app.policy_administration.change(world.root, 0, lambda one: replace(one, days=5))
    # It waits for its event to be recorded.
    world.app.policies.files.write(365, OTHER)
    changed = world.db.get(changing)
    assert (changed.days, changed.extensions) == (5, OTHER)
    assert world.app.policies.files.read() == changed
    seen = changed.version
    changing = world.app.policy_administration.update(world.root, replace(changed, days=6), expected=frozenset({seen}))
    world.app.policies.files.write(5, EXTENSIONS)
    with pytest.raises(EditConflict):
        world.db.get(changing)
    assert world.app.policies.files.read().extensions == EXTENSIONS


def test_files_that_another_process_is_writing(world: World) -> None:
    """The lock is never waited for."""
    files = world.app.policies.files

    def decide(_: Policy | None) -> tuple[int, str]:
        with pytest.raises(Conflict, match="Another process is changing the default policy"):
            files.write(1, OTHER)
        return 2, EXTENSIONS

    assert files.change(decide).days == 2
    assert files.write(3, OTHER).days == 3


def test_files_that_cannot_be_read_are_repaired(world: World) -> None:
    """A page shows the last good policy; saving it replaces the broken files."""
    files = world.app.policies.files
    files.extensions.write_text("nonsense")
    rules = world.app.policy_administration
    shown = world.db.get(rules.get(world.root, 0))
    saving = rules.update(world.root, replace(shown, days=9), expected=frozenset({shown.version}))
    assert world.db.get(saving).days == 9
    assert files.read().extensions == shown.extensions


def test_an_admin_ends_a_token(world: World) -> None:
    """Its owner sees the event, which names the token."""
    token, _ = world.db.get(world.app.tokens.create(world.alice, world.alice.owner_id or 0, "ci"))
    world.db.get(world.app.tokens.revoke(world.root, token.id))
    (event,) = world.events(type="delete", resource_type="token")
    assert (event.resource_name, event.owner_id, event.actor) == ("ci", world.alice.owner_id, "root")


def test_two_delete_one_object(world: World) -> None:
    """One does, one learns that it is gone; there is one event, of what was deleted."""
    app = world.app
    kinds: dict[str, tuple[Deferred[Any], Callable[[Principal, int], Deferred[None]], str]] = {
        "key": (app.keys.generate(world.alice, "k", "ed25519"), app.keys.delete, "k"),
        "policy": (SHARE["policy"][0](world), app.policy_administration.delete, "mine"),
        "template": (SHARE["template"][0](world), app.templates.delete, "mine"),
        "CSR": (
            app.requests.store(world.alice, "r", make_csr("p256", "device.example.com")[1]),
            app.requests.delete,
            "r",
        ),
        "token": (
            app.tokens.create(world.alice, world.alice.owner_id or 0, "t").addCallback(lambda made: made[0]),
            app.tokens.revoke,
            "t",
        ),
        "challenge password": (
            app.challenge_passwords.create(world.alice).addCallback(lambda made: made[0]),
            app.challenge_passwords.delete,
            "",
        ),
    }
    for kind, (making, delete, name) in kinds.items():
        made = world.db.get(making)
        ended = world.both(delete(world.alice, made.id), delete(world.root, made.id))
        assert sorted(type(one).__name__ for one in ended) == ["NoneType", "NotFound"], kind
        (event,) = world.events(type="delete", resource_type=kind)
        assert event.resource_name == (name or made.prefix)
        assert event.owner_id == world.alice.owner_id
