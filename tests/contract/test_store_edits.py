"""Edits, deletions and quotas in each database: decided in the transaction that writes, however many come at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

import pytest

from pikachu.core.errors import EditConflict, NotAuthorized, NotFound, QuotaExceeded
from pikachu.core.model.account_objects import CertificateTemplate, NewKey, Quotas
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Account, AccountState, NewAccount, NewChallengePassword, NewToken, Role
from pikachu.core.model.policies import Policy
from pikachu.core.model.requests import NewCSR
from tests.support.databases import AS_0004, NOW, Opened, event, execute, opened, seal

LIMIT = 3
LATER = NOW + timedelta(hours=1)
FULL = Quotas(LIMIT, LIMIT, LIMIT, LIMIT, LIMIT, LIMIT)


@pytest.fixture(params=["memory", "file", "threads", "postgresql"])
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """An open store of each kind, with quotas."""
    url = "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'pikachu.db'}"
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("new_postgresql")
        url = make()
    threads = request.param in ("threads", "postgresql")
    with opened(url, threads=threads, fsync=False, quotas=FULL) as store:
        yield store


def by(name: str, kind: str = "update") -> Event:
    return Event(kind, "thing", "thing", name)


def account(db: Opened, name: str = "alice", role: Role = Role.USER) -> Account:
    adding = db.store.add_account(
        NewAccount(name, f"{name}@example.com", role, AccountState.ACTIVE, "hash"), event(), NOW
    )
    return db.get(adding)


def policy(name: str = "mine", owner_id: int | None = 1) -> Policy:
    return Policy(0, name, 30, "[ v3_ext ]\n", owner_id=owner_id, system=owner_id is None)


def template(name: str = "web", owner_id: int | None = 1) -> CertificateTemplate:
    return CertificateTemplate(0, name, "Device", "manually", "[ v3_ext ]\n", False, True, owner_id, NOW, NOW)


def outcomes(db: Opened, promises: list[Deferred[Any]]) -> list[Any]:
    """Return the result or exception of each operation."""
    every = db.get(DeferredList(promises, consumeErrors=True))
    return [value if success else value.value for success, value in every]


def key(db: Opened, number: int, owner_id: int | None) -> Deferred[Any]:
    return db.store.add_key(NewKey(f"key {number}", "Ed25519", b"k", b"spki", seal, owner_id), event(), NOW)


def csr(db: Opened, number: int, owner_id: int | None) -> Deferred[Any]:
    return db.store.add_csr(
        NewCSR(f"csr {number}", b"der", "CN=x", "Ed25519", owner_id, key_id=1, template="t"), event(), NOW
    )


def challenge(db: Opened, number: int, owner_id: int | None) -> Deferred[Any]:
    lookup = b"%d of %d" % (number, owner_id or 0)
    return db.store.add_challenge(NewChallengePassword(lookup, f"{number:08}", seal, owner_id, LATER), event(), NOW)


def token(db: Opened, number: int, owner_id: int | None) -> Deferred[Any]:
    digest = b"%d of %d" % (number, owner_id or 0)
    return db.store.add_token(NewToken(owner_id or 0, f"token {number}", digest, frozenset(), None), event(), NOW)


def some_policy(db: Opened, number: int, owner_id: int | None) -> Deferred[Any]:
    return db.store.add_policy(policy(f"policy {number} of {owner_id}", owner_id), event(), NOW)


def some_template(db: Opened, number: int, owner_id: int | None) -> Deferred[Any]:
    return db.store.add_template(template(f"template {number}", owner_id), event(), NOW)


ADD = {
    "keys": key,
    "CSRs": csr,
    "unused challenge passwords": challenge,
    "API tokens": token,
    "enrollment policies": some_policy,
    "certificate templates": some_template,
}
DELETE: dict[str, Callable[[Opened, int, Callable[..., Event]], Deferred[None]]] = {
    "keys": lambda db, one, decide: db.store.delete_key(one, decide, NOW),
    "CSRs": lambda db, one, decide: db.store.delete_csr(one, decide, NOW),
    "unused challenge passwords": lambda db, one, decide: db.store.delete_challenge(one, decide, NOW),
    "API tokens": lambda db, one, decide: db.store.delete_token(one, decide, NOW),
    "enrollment policies": lambda db, one, decide: db.store.delete_policy(one, decide, NOW),
    "certificate templates": lambda db, one, decide: db.store.delete_template(one, decide, NOW),
}
SETTINGS = {
    "keys": "keys",
    "CSRs": "csrs",
    "unused challenge passwords": "challenge_passwords",
    "API tokens": "tokens",
    "enrollment policies": "policies",
    "certificate templates": "templates",
}
KINDS = pytest.mark.parametrize("kind", ADD)


@KINDS
def test_a_hundred_at_once_stay_within_the_quota(limited: Opened, kind: str) -> None:
    """As many as are allowed are added, each with its event; one more as soon as one is deleted."""
    alice = account(limited)
    before = len(limited.get(limited.store.events(ListQuery(limit=1000))).items)
    found = outcomes(limited, [ADD[kind](limited, number, alice.id) for number in range(100)])
    added = [one for one in found if not isinstance(one, Exception)]
    assert len(added) == LIMIT
    refused = [one for one in found if isinstance(one, Exception)]
    assert {type(one) for one in refused} == {QuotaExceeded}
    assert f"limit of 3 {kind}." in str(refused[0])
    assert f"raise [LIMITS] {SETTINGS[kind]}." in str(refused[0])
    events = len(limited.get(limited.store.events(ListQuery(limit=1000))).items)
    assert events == before + LIMIT
    limited.get(DELETE[kind](limited, added[0].id, lambda *_: event("delete")))
    found = outcomes(limited, [ADD[kind](limited, number, alice.id) for number in range(100, 110)])
    assert sum(not isinstance(one, Exception) for one in found) == 1


@KINDS
def test_whom_quotas_do_not_limit(limited: Opened, kind: str) -> None:
    """Other accounts have quotas of their own; administrators, and what has no owner, have none."""
    alice, bob, root = account(limited), account(limited, "bob"), account(limited, "root", Role.ADMIN)
    for owner in (alice, bob):
        for number in range(LIMIT):
            limited.get(ADD[kind](limited, number, owner.id))
        with pytest.raises(QuotaExceeded):
            limited.get(ADD[kind](limited, LIMIT, owner.id))
    for number in range(2 * LIMIT):
        limited.get(ADD[kind](limited, number, root.id))
        if kind != "API tokens":
            limited.get(ADD[kind](limited, number, None))


def test_zero_is_no_limit(db: Opened) -> None:
    """A store without quotas takes any number."""
    alice = account(db)
    for number in range(30):
        db.get(key(db, number, alice.id))


def test_two_processes_share_a_quota(database_url: str) -> None:
    """The transaction counts what others have committed."""
    with (
        opened(database_url, threads=True, fsync=False, quotas=FULL) as one,
        opened(database_url, threads=True, fsync=False, quotas=FULL) as other,
    ):
        alice = account(one)
        for kind, add in ADD.items():
            promises = [add(db, 2 * n + (db is other), alice.id) for n in range(20) for db in (one, other)]
            found = outcomes(one, promises[::2]) + outcomes(other, promises[1::2])
            assert sum(not isinstance(result, Exception) for result in found) == LIMIT, kind


def test_a_used_challenge_password_is_not_counted(limited: Opened) -> None:
    """A used challenge password does not count against the limit; one that a request has reserved does."""
    alice = account(limited)
    made = [limited.get(challenge(limited, number, alice.id)) for number in range(LIMIT)]
    request_id, _ = limited.begin(owner_id=alice.id, challenge_id=made[0].id)
    with pytest.raises(QuotaExceeded):
        limited.get(challenge(limited, 5, alice.id))
    limited.complete(request_id)
    limited.get(challenge(limited, 6, alice.id))


@pytest.mark.parametrize("kind", ["enrollment policies", "certificate templates"])
def test_a_change_of_owner_is_counted(limited: Opened, kind: str) -> None:
    """An object that becomes somebody's counts as theirs; changing one's own does not."""
    alice, bob = account(limited), account(limited, "bob")
    own = [limited.get(ADD[kind](limited, number, alice.id)) for number in range(LIMIT)]
    other = limited.get(ADD[kind](limited, 9, bob.id))
    change: Any = limited.store.update_policy if kind == "enrollment policies" else limited.store.update_template
    limited.get(change(own[0], by("root"), NOW))
    with pytest.raises(QuotaExceeded):
        limited.get(change(replace(other, owner_id=alice.id), by("root"), NOW))
    assert limited.get(change(replace(other, owner_id=None), by("root"), NOW)).owner_id is None


@pytest.mark.parametrize("kind", ["enrollment policies", "certificate templates"])
def test_one_of_many_edits_of_a_version_is_made(db: Opened, kind: str) -> None:
    """A version is replaced once: a later edit is refused with the name and time of the first, and records no event."""
    alice = account(db)
    made = db.get(ADD[kind](db, 1, alice.id))
    assert (made.version, made.updated_by) == (1, "someone")
    change: Any = db.store.update_policy if kind == "enrollment policies" else db.store.update_template
    found = outcomes(db, [change(replace(made, name=f"of {n}"), by(f"user {n}"), LATER) for n in range(10)])
    (winner,) = [one for one in found if not isinstance(one, Exception)]
    assert winner.version == 2
    assert winner.updated_by == winner.name.replace("of", "user")
    lost = [one for one in found if isinstance(one, Exception)]
    assert {type(one) for one in lost} == {EditConflict}
    assert f"was changed by {winner.updated_by} on" in str(lost[0])
    assert "on 2026-01-01 at 13:00:00 UTC" in str(lost[0])
    updates = db.get(db.store.events(ListQuery(filters={"type": "update"}))).items
    assert [one.event.actor for one in updates] == [winner.updated_by]
    assert db.get(change(replace(winner, name="again"), by("later"), LATER)).version == 3


@KINDS
def test_what_is_deleted_is_decided_about_once(db: Opened, kind: str) -> None:
    """Of many who delete one object, one does; each decides about what is there, and a refusal changes nothing."""
    alice = account(db)
    made = db.get(ADD[kind](db, 1, alice.id))

    def refuse(*_: object) -> Event:
        raise NotAuthorized("not yours")

    with pytest.raises(NotAuthorized):
        db.get(DELETE[kind](db, made.id, refuse))
    shown: list[Any] = []

    def decide(one: Any, *_: object) -> Event:
        shown.append(one)
        return by("root", "delete")

    found = outcomes(db, [DELETE[kind](db, made.id, decide) for _ in range(10)])
    assert [type(one) for one in found if one is not None] == [NotFound] * 9
    assert shown == [made]
    assert len(db.get(db.store.events(ListQuery(filters={"type": "delete"}))).items) == 1
    assert db.get(db.store.verify_events()) > 0


def test_a_key_is_deleted_with_what_uses_it_then(db: Opened) -> None:
    """KEY-5: the counts that the event has are those of the transaction."""
    alice = account(db)
    made = db.get(key(db, 1, alice.id))
    db.get(db.store.add_csr(NewCSR("late", b"der", "CN=x", "Ed25519", alice.id, key_id=made.id), event(), NOW))
    uses: list[Any] = []

    def decide(_: object, use: Any) -> Event:
        uses.append((use.requests, use.certificates))
        return by("alice", "delete")

    db.get(db.store.delete_key(made.id, decide, NOW))
    assert uses == [(1, 0)]


def test_what_an_earlier_version_stored_is_edited(database_url: str) -> None:
    """Migration 0005: existing rows become version 1, without a known editor."""
    with opened(database_url, fsync=False) as db:
        for number, add in enumerate((some_policy, some_template)):
            db.get(add(db, number, 1))
    execute(database_url, *AS_0004)
    with opened(database_url, fsync=False) as db:
        old = db.get(db.store.policies(ListQuery())).items[0]
        assert (old.version, old.updated_by) == (1, None)
        assert db.get(db.store.update_policy(replace(old, days=3), by("alice"), LATER)).version == 2
        with pytest.raises(EditConflict, match="This policy was changed by alice on"):
            db.get(db.store.update_policy(old, by("bob"), LATER))
        first = db.get(db.store.templates(ListQuery())).items[0]
        assert (first.version, first.updated_by) == (1, None)
        assert db.get(db.store.update_template(first, by("alice"), LATER)).updated_by == "alice"
