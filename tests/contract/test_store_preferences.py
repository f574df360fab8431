"""The choices of accounts, and the set-up checklist, in each database (UI-2)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Account, AccountState, NewAccount, Role
from pikachu.core.model.policies import Policy
from pikachu.core.model.preferences import MAX_SAVED_FILTERS, BackupState, Preferences, SavedFilter, SetupMark
from tests.support.databases import NOW, Opened, event


def account(db: Opened, name: str = "alice", role: Role = Role.USER) -> Account:
    return db.get(db.store.add_account(NewAccount(name, "", role, AccountState.ACTIVE, None), event(), NOW))


def save(db: Opened, owner: Account, name: str, query: str = "q=x", list_name: str = "keys") -> SavedFilter:
    return db.get(db.store.save_filter(SavedFilter(0, owner.id, list_name, name, query), event(), NOW))


def events(db: Opened) -> int:
    return len(db.get(db.store.events(ListQuery(limit=1000))).items)


def test_choices(db: Opened) -> None:
    """A choice replaces the one before, and an empty one deletes it; each change has its event."""
    alice, bob = account(db), account(db, "bob")
    assert db.get(db.store.preferences(alice.id)) == Preferences({})
    before = events(db)
    for value in ("policy", "policy,key"):
        db.get(db.store.set_preference(alice.id, "columns:certificates", value, event(), NOW))
    db.get(db.store.set_preference(alice.id, "times", "local", event(), NOW))
    found = db.get(db.store.preferences(alice.id))
    assert found.columns("certificates") == {"policy", "key"}
    assert found.columns("keys") == frozenset()
    assert found.local_times
    assert not db.get(db.store.preferences(bob.id)).local_times
    db.get(db.store.set_preference(alice.id, "times", "", event(), NOW))
    assert not db.get(db.store.preferences(alice.id)).local_times
    assert events(db) == before + 4


def test_filters(db: Opened) -> None:
    """Saved filters have a name in their list; they are replaced, renamed and deleted."""
    alice, bob = account(db), account(db, "bob")
    first, second = save(db, alice, "zebra"), save(db, alice, "ape")
    save(db, alice, "ape", list_name="csrs")
    save(db, bob, "zebra")
    assert [one.name for one in db.get(db.store.preferences(alice.id)).filters_of("keys")] == ["ape", "zebra"]
    assert save(db, alice, "ape", "q=y") == SavedFilter(second.id, alice.id, "keys", "ape", "q=y")
    with pytest.raises(Conflict):
        db.get(db.store.rename_filter(first.id, "ape", lambda _: event("update"), NOW))
    db.get(db.store.rename_filter(first.id, "zebra", lambda _: event("update"), NOW))
    db.get(db.store.rename_filter(first.id, "lion", lambda _: event("update"), NOW))
    seen: list[SavedFilter] = []

    def decide(one: SavedFilter) -> Event:
        seen.append(one)
        return event("delete")

    db.get(db.store.delete_filter(first.id, decide, NOW))
    assert seen[-1].name == "lion"
    for gone in (first.id, 0, -1, 2**70):
        with pytest.raises(NotFound):
            db.get(db.store.rename_filter(gone, "x", decide, NOW))
        with pytest.raises(NotFound):
            db.get(db.store.delete_filter(gone, decide, NOW))
    assert [one.name for one in db.get(db.store.preferences(bob.id)).filters] == ["zebra"]


def test_too_many(db: Opened) -> None:
    """An account has so many filters and no more."""
    alice = account(db)
    for number in range(MAX_SAVED_FILTERS):
        save(db, alice, f"filter {number}")
    with pytest.raises(Conflict, match="Delete one first"):
        save(db, alice, "another")
    save(db, alice, "filter 0", "q=z")


def test_a_deleted_account(db: Opened) -> None:
    """USR-4: nothing of an account's choices outlives it."""
    account(db, "root", Role.ADMIN)
    alice = account(db)
    save(db, alice, "mine")
    db.get(db.store.set_preference(alice.id, "times", "local", event(), NOW))
    db.get(db.store.delete_account(alice.id, lambda _: event("delete"), NOW))
    assert db.get(db.store.preferences(alice.id)) == Preferences({})


def test_setup(db: Opened) -> None:
    """A confirmed step stays so until it is withdrawn; what the database shows ticks itself."""
    root = account(db, "root", Role.ADMIN)
    alice = account(db)
    state = db.get(db.store.setup_state())
    assert (dict(state.marks), state.password_changed, state.has_policy, state.has_certificate) == (
        {},
        False,
        False,
        False,
    )
    before = events(db)
    for _ in range(2):
        db.get(db.store.mark_setup("backup", event("complete"), NOW))
    assert events(db) == before + 1
    (mark,) = db.get(db.store.setup_state()).marks.items()
    assert (mark[0], mark[1].at) == ("backup", NOW)
    for _ in range(2):
        db.get(db.store.unmark_setup("backup", event("cancel"), NOW))
    assert events(db) == before + 2
    for actor, owner, changed in ((alice, alice, False), (root, alice, False), (root, root, True)):
        told = Event("change password", "user", owner.username, actor.username, {}, owner.id, actor.id, True)
        db.get(db.store.add_event(told, NOW))
        assert db.get(db.store.setup_state()).password_changed is changed
    policy = Policy(0, "lab", 1, "[ v3_ext ]", created_at=NOW, updated_at=NOW)
    db.get(db.store.add_policy(policy, event(), NOW))
    assert db.get(db.store.setup_state()).has_policy


def test_backups(db: Opened) -> None:
    """OPS-3: the newest one counts, and the first failure since; each is in the audit log."""
    assert db.get(db.store.backup_state()) == BackupState(None, None)
    before = events(db)
    for hours in (0, 1):
        told = Event("back up", "configuration", "pikachu.backup", "cli (root)")
        db.get(db.store.record_backup(told, NOW + timedelta(hours=hours)))
    last = SetupMark(NOW + timedelta(hours=1), "cli (root)")
    assert db.get(db.store.backup_state()) == BackupState(last, None)
    for hours in (2, 3):
        failed = Event("fail", "backup", "pikachu.backup", "cron", {"error": "No space left on device"})
        db.get(db.store.record_failed_backup(failed, NOW + timedelta(hours=hours)))
    assert db.get(db.store.backup_state()) == BackupState(last, SetupMark(NOW + timedelta(hours=2), "cron"))
    assert events(db) == before + 4
    db.get(db.store.record_backup(told, NOW + timedelta(hours=4)))
    assert db.get(db.store.backup_state()).failed is None
