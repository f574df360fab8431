"""Counting in each database (UI-3)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.counts import DAYS_AHEAD, Counts, RenewalCount
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import AccountState, NewAccount, Role
from pikachu.storage.settings import StoreSettings
from tests.support.databases import NOW, Opened, event, opened
from tests.support.owners import add_owner

DAY = timedelta(days=1)


def fill(db: Opened) -> None:
    """Certificates of two owners and of none, of each status, one deleted."""
    for days in (0, 6, 7, 89, 90, 91, 400):
        db.issue(f"for {days} days", intent={"not_after": NOW + days * DAY}, owner_id=1)
    db.issue("expired", intent={"not_after": NOW - DAY}, owner_id=1)
    gone = db.issue("gone", intent={"not_after": NOW + DAY}, owner_id=1)
    db.get(db.store.delete_certificate(gone.id, event("delete"), NOW))
    bad = db.issue("bad", intent={"not_after": NOW + DAY}, owner_id=2)
    old = db.issue("bad and old", intent={"not_after": NOW - DAY}, owner_id=2)
    for one in (bad, old):
        db.get(db.store.revoke(one.serial, NOW, RevocationReason.UNSPECIFIED, event("revoke")))
    db.issue("nobody's", intent={"not_after": NOW + 2 * DAY})


def ends(counts: Counts) -> dict[int, int]:
    """The days on which some end."""
    return {day: count for day, count in enumerate(counts.ending) if count}


@pytest.mark.parametrize("few", [0, 10_000])
def test_counts(database_url: str, few: int) -> None:
    """UI-3: by status and by day of their end; revoked beats expired, deleted ones are left out."""
    with opened(database_url, settings=StoreSettings(few_owned=few)) as db:
        fill(db)
        every = db.get(db.store.count(None, NOW))
        assert (every.valid, every.revoked, every.expired, every.total) == (8, 2, 1, 11)
        assert ends(every) == {0: 1, 2: 1, 6: 1, 7: 1, 89: 1, 90: 1}
        assert len(every.ending) == DAYS_AHEAD
        first = db.get(db.store.count(1, NOW))
        assert (first.valid, first.revoked, first.expired) == (7, 0, 1)
        assert ends(first) == {0: 1, 6: 1, 7: 1, 89: 1, 90: 1}
        second = db.get(db.store.count(2, NOW))
        assert (second.valid, second.revoked, second.expired, ends(second)) == (0, 2, 0, {})
        assert db.get(db.store.count(0, NOW)).total == 0
        later = db.get(db.store.count(1, NOW + 8 * DAY))
        assert (later.valid, later.expired) == (4, 4)


def test_ends_on_one_day(db: Opened) -> None:
    """Two that end on the same day in different seconds are counted together."""
    for seconds in (1, 2, 3):
        db.issue(f"{seconds}", intent={"not_after": NOW + DAY + timedelta(seconds=seconds)}, owner_id=1)
    for owner in (None, 1):
        assert ends(db.get(db.store.count(owner, NOW))) == {1: 3}


def test_what_waits(db: Opened) -> None:
    """Requests that wait for a person are counted, of each owner's their own; accounts for who sees all."""
    add_owner(db.store, db.get, 2, NOW)
    for owner_id in (1, 1, 2, None):
        db.get(db.store.begin(db.request(owner_id=owner_id), None, NOW))
    db.issue("done", owner_id=1)
    for name, state in (("ann", AccountState.PENDING), ("bob", AccountState.ACTIVE)):
        db.get(
            db.store.add_account(
                NewAccount(name, f"{name}@example.com", Role.USER, state, None), event("add", name), NOW
            )
        )
    assert [db.get(db.store.count(owner, NOW)).waiting for owner in (None, 1, 2, 3)] == [4, 2, 1, 0]
    assert [db.get(db.store.count(owner, NOW)).pending_accounts for owner in (None, 1)] == [1, None]


def test_what_was_issued(db: Opened) -> None:
    """Key, method and day are counted a bounded number of rows at a time, in both directions."""
    today = int(NOW.timestamp()) // 86400
    for number in range(7):
        key_type = "RSA/2048" if number % 2 else "Ed25519"
        db.issue(f"device {number}", key_type=key_type, owner_id=1 + number % 3)
    request, _ = db.begin("tomorrow", owner_id=1)
    last = db.complete(request, at=NOW + DAY)
    # Another second of the same day is the same day.
    db.complete(db.begin("first", owner_id=9)[0], at=NOW + timedelta(seconds=1))
    db.complete(db.begin("second", owner_id=9)[0], at=NOW + timedelta(seconds=2))
    (one,) = db.get(db.store.issued_after(9, 0, 10)).issued
    assert (one.day, one.count) == (today, 2)
    gone = db.get(db.store.issued_before(None, last.id, 1))
    assert (gone.first, gone.last, gone.full) == (last.id - 1, last.id - 1, True)
    db.get(db.store.delete_certificate(gone.last, event("delete"), NOW))
    every = db.get(db.store.issued_before(None, last.id + 1, 1000))
    assert {(one.key_type, one.method, one.day): one.count for one in every.issued} == {
        ("Ed25519", "EST", today): 4,
        ("RSA/2048", "EST", today): 3,
        ("EC/prime256v1", "EST", today + 1): 1,
    }
    assert (every.last, every.full) == (last.id, False)
    mine = db.get(db.store.issued_before(1, 2**62, 3))
    assert sum(one.count for one in mine.issued) == 3
    assert mine.full
    rest = db.get(db.store.issued_before(1, mine.first, 3))
    assert (sum(one.count for one in rest.issued), rest.full) == (1, False)
    assert db.get(db.store.issued_before(1, rest.first, 3)).last == 0
    newer = db.get(db.store.issued_after(1, rest.last, 3))
    assert (newer.first, newer.last) == (mine.first, mine.last)
    assert db.get(db.store.issued_after(None, last.id + 2, 3)).issued == ()


def test_whose_events_are_new(db: Opened) -> None:
    """Each owner's newest event is known, without any that is not asked for."""
    assert db.get(db.store.newest_event()) == 0
    for owner_id in (1, None, 2, 1, 2):
        db.get(db.store.add_event(event("update", owner_id=owner_id), NOW))
    assert db.get(db.store.newest_event()) == 5
    assert db.get(db.store.event_owners(0, 5)) == {1: 4, None: 2, 2: 5}
    assert db.get(db.store.event_owners(2, 4)) == {2: 3, 1: 4}
    assert db.get(db.store.event_owners(5, 5)) == {}


def test_commits_with_events_are_told(db: Opened) -> None:
    """Watchers are notified of each commit of this process that wrote an event, with the newest id, and of no other."""
    told: list[int] = []
    db.store.watch_events(told.append)
    db.get(db.store.add_event(event(), NOW))
    assert told == [1]
    first, second = db.store.add_event(event(), NOW), db.store.add_event(event(), NOW)
    db.get(first)
    db.get(second)
    assert told[-1] == 3
    request_id = db.begin("device")[0]
    before = list(told)
    db.get(db.store.newest_event())
    assert told == before
    db.complete(request_id)
    assert told[-1] == db.get(db.store.newest_event())


def test_a_watcher_that_fails_harms_nobody(db: Opened) -> None:
    """A failing watcher hides a commit neither from its writer nor from the other watchers."""
    told: list[int] = []

    def fail(event_id: int) -> None:
        raise RuntimeError

    db.store.watch_events(fail)
    db.store.watch_events(told.append)
    db.get(db.store.add_event(event(), NOW))
    assert told == [1]


@pytest.mark.parametrize("few", [0, 2, 5000])
def test_an_owners_events_of_a_kind(database_url: str, few: int) -> None:
    """AUD-1: filters give an owner's events whichever way they are found: by the owner, the kind or the name."""
    with opened(database_url, settings=StoreSettings(few_events=few)) as db:
        for type_, resource, name, owner_id in (
            ("create", "policy", "a", 1),
            ("create", "policy", "b", 2),
            ("delete", "policy", "a", 1),
            ("create", "key", "a", 1),
            ("login", "user", "ann", 1),
            ("create", "policy", "c", None),
        ):
            db.get(db.store.add_event(Event(type_, resource, name, "someone", owner_id=owner_id), NOW))

        def found(**filters: str) -> list[int]:
            page = db.get(db.store.events(ListQuery(filters=filters, owner_id=1, count=True, sort="at")))
            ids = [record.id for record in page.items]
            assert page.total == len(ids)
            return ids

        assert found(resource_type="policy") == [1, 3]
        assert found(resource_type="policy", type="create") == [1]
        assert found(type="create") == [1, 4]
        assert found(resource_type="!user") == [1, 3, 4]
        assert found(resource_type="!user,policy") == [4]
        assert found(resource_name="a") == [1, 3, 4]
        assert found(resource_name="a", resource_type="key") == [4]
        assert found(resource_type="user", resource_name="ann") == [5]
        assert found(resource_type="template") == []


def test_renewals(db: Opened) -> None:
    """Expired certificates by what followed them; valid ones by whether their renewal is due (DEV-1)."""

    def add(name: str, created: int, days: int, *, owner_id: int = 1, policy: str = "fleet") -> int:
        begin = NOW + created * DAY
        intent = {"not_before": begin, "not_after": begin + days * DAY, "policy": policy}
        request, _ = db.begin(name, intent=intent, owner_id=owner_id)
        return db.complete(request, at=begin).id

    add("in time", -40, 30)
    add("in time", -12, 30)
    add("late", -40, 30)
    add("late", -5, 90)
    add("missed", -40, 30)
    add("of another", -40, 30)
    add("of another", -12, 90, owner_id=2)
    add("long ago", -90, 30)
    add("due", -22, 30, policy="servers")
    add("overdue", -26, 30, policy="servers")
    add("new", -1, 30, policy="servers")
    found = db.get(db.store.renewals(None, NOW))
    assert found.complete
    assert found.counts == (
        RenewalCount("fleet", "EST", renewed=1, late=1, missed=2, due=0, overdue=0),
        RenewalCount("servers", "EST", due=2, overdue=1),
    )
    assert [one.share for one in found.counts] == [25, None]
    assert db.get(db.store.renewals(2, NOW)).counts == ()
    assert [one.missed for one in db.get(db.store.renewals(1, NOW)).counts] == [2, 0]
