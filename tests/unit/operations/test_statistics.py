"""Counts of a dashboard: their owner, age and maximum wait (UI-3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from twisted.internet.task import Clock

import pytest

from pikachu.core.errors import AuthenticationFailed, NotAuthorized, StoreUnavailable
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.people import ANONYMOUS, SYSTEM, AccountState, Principal, PrincipalKind, Role, Scope
from pikachu.operations.statistics import Overview, Statistics
from pikachu.storage.migrate import migrate
from pikachu.storage.store import open_store
from tests.support.databases import NOW, SEALER, Calls, Opened, event
from tests.support.deferreds import failure_of, result_of
from tests.support.stack import Stack, build_core

USER = Principal(PrincipalKind.ACCOUNT, "alice", 1, Role.USER, frozenset({Scope.READ, Scope.ENROLL, Scope.REVOKE}))
ADMIN = Principal(PrincipalKind.ACCOUNT, "root", 2, Role.ADMIN, frozenset(Scope))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path)
    yield made
    made.close()


def overview(stack: Stack, actor: Principal = ADMIN, statistics: Statistics | None = None) -> Overview:
    """Return the overview after the cached count has expired."""
    stack.clock.advance(1)
    return result_of((statistics or stack.app.statistics).overview(actor))


def test_each_sees_their_own(stack: Stack) -> None:
    """UI-3: a user's figures are about what is theirs; an admin's about everything."""
    stack.issue("mine.example.com", owner_id=1, days=5)
    stack.issue("other.example.com", owner_id=3, days=20)
    stack.revoke(stack.issue("bad.example.com", owner_id=3))
    mine = overview(stack, USER)
    assert not mine.everything
    assert mine.counts is not None
    assert (mine.counts.valid, mine.counts.revoked) == (1, 0)
    assert mine.counts.pending_accounts is None
    assert (mine.looked_at, mine.complete) == (1, True)
    every = overview(stack)
    assert every.everything
    assert every.counts is not None
    assert (every.counts.valid, every.counts.revoked, every.counts.pending_accounts) == (2, 1, 0)
    assert [every.within(days) for days in (7, 30, 90)] == [1, 2, 2]
    assert every.weeks[:3] == (1, 0, 1)
    assert len(every.weeks) == 13
    weak = overview(stack, replace(ADMIN, scopes=frozenset({Scope.READ})))
    assert weak.counts is not None
    assert weak.counts.total == 0
    nobodys = overview(stack, replace(USER, owner_id=None))
    assert nobodys.counts is not None
    assert nobodys.counts.total == 0


def test_who_may_not(stack: Stack) -> None:
    """An anonymous visitor, and a token that may not read, learn nothing."""
    failure_of(stack.app.statistics.overview(ANONYMOUS), AuthenticationFailed)
    failure_of(stack.app.statistics.overview(replace(USER, scopes=frozenset({Scope.ENROLL}))), NotAuthorized)


def test_days_and_keys(stack: Stack) -> None:
    """Issuing is shown by day and method for 30 days, keys of all that was issued; both keep up."""
    stack.clock.advance(86400 - stack.clock.seconds() % 86400)
    stack.issue("a.example.com")
    first = overview(stack)
    assert len(first.days) == 30
    assert first.days[-1].methods == {"EST": 1}
    assert first.days[-2].methods == {}
    assert first.keys == {"EC/prime256v1": 1}
    stack.clock.advance(86400)
    stack.issue("b.example.com", key_type="p384")
    stack.issue("c.example.com", key_type="p384")
    second = overview(stack)
    assert [day.methods for day in second.days[-2:]] == [{"EST": 1}, {"EST": 2}]
    assert list(second.keys.items()) == [("EC/secp384r1", 2), ("EC/prime256v1", 1)]
    assert second.days[-1].date - second.days[0].date == timedelta(days=29)
    stack.clock.advance(29 * 86400)
    third = overview(stack)
    assert [day.methods for day in third.days if day.methods] == [{"EST": 2}]
    assert third.looked_at == 3


def test_many_are_looked_at_bit_by_bit(stack: Stack) -> None:
    """A first count goes on in the background; certificates issued meanwhile are counted once."""
    statistics = Statistics(stack.app.store, stack.clock, rows=2)
    for number in range(7):
        stack.issue(f"{number}.example.com")
    told: list[int | None] = []
    statistics.subscribe(told.append)
    # Nothing takes time here, so all is done at once.
    assert overview(stack, statistics=statistics).looked_at in (2, 7)
    assert told == [None]
    for number in range(5):
        stack.issue(f"later{number}.example.com")
    found = overview(stack, statistics=statistics)
    assert found.complete
    assert found.keys == {"EC/prime256v1": 12}
    assert found.days[-1].methods == {"EST": 12}


def test_a_count_is_kept_for_a_while(stack: Stack) -> None:
    """Views that follow each other count once; after a change the next is soon made, and else after half a minute."""
    counts = []
    for seconds in (0.0, 0.4, 0.0, 29.5, 1.0):
        stack.clock.advance(seconds)
        counts.append(result_of(stack.app.statistics.overview(ADMIN)).counts)
    assert counts[0] is counts[1] is counts[2] is counts[3]
    assert counts[4] is not counts[3]
    told: list[int | None] = []
    stack.app.statistics.subscribe(told.append)
    stack.issue("a.example.com")
    soon = result_of(stack.app.statistics.overview(ADMIN))
    # Too soon after the last: who asks is told when there is a newer one.
    assert soon.counts is counts[4]
    assert told == []
    stack.clock.advance(0.6)
    assert told == [None]
    after = result_of(stack.app.statistics.overview(ADMIN)).counts
    assert after is not None
    assert after.valid == 1


class Slow:
    """Statistics over a store whose threads' results arrive when the test lets them."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 'pikachu.db'}"
        migrate(url)
        self.calls = Calls()
        self.db = Opened(open_store(url, self.calls), url, self.calls)
        self.db.store.unlock(SEALER, NOW)
        self.clock = Clock()
        self.clock.advance(int(NOW.timestamp()))
        self.statistics = Statistics(self.db.store, self.clock)

    def ask(self, actor: Principal = ADMIN) -> list[Overview]:
        """Ask; the list fills when there is an answer."""
        found: list[Overview] = []
        self.statistics.overview(actor).addCallback(found.append)
        return found

    def wait(self, found: list[Overview]) -> Overview:
        """Let results arrive until there is an answer."""
        while not found:
            self.calls.make_one()
        return found[0]


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    made = Slow(tmp_path)
    yield made
    made.db.close()


def test_nobody_waits_long(slow: Slow) -> None:
    """A page comes within a tenth of a second, with what is known, and hears of the count when that is done."""
    told: list[int | None] = []
    slow.statistics.subscribe(told.append)
    first = slow.ask()
    assert not first
    slow.clock.advance(0.1)
    assert first[0].counts is None
    second = slow.ask()
    counted = slow.wait(second)
    assert counted.counts is not None
    assert told == [None]
    slow.db.issue("device", owner_id=1)
    slow.clock.advance(20)
    third = slow.ask()
    slow.clock.advance(0.1)
    # As it was, and it says when that was.
    assert third[0].counts is counted.counts
    fresh = slow.wait(slow.ask()).counts
    assert fresh is not None
    assert fresh.valid == 1
    assert fresh.at > counted.counts.at


def test_a_long_count_is_kept_longer(slow: Slow) -> None:
    """Counting takes a small part of the time, however large the database is and however much changes."""
    found = slow.ask()
    slow.clock.advance(2)
    counts = slow.wait(slow.ask()).counts
    assert found
    slow.db.get(slow.db.store.add_event(event(), NOW))
    slow.clock.advance(10)
    again = slow.ask()
    assert again
    assert again[0].counts is counts
    slow.clock.advance(11)
    assert slow.wait(slow.ask()).counts is not counts


def test_without_a_database(slow: Slow) -> None:
    """A count of before is shown when the database has gone; without one the failure is."""
    counts = slow.wait(slow.ask()).counts
    slow.db.get(slow.db.store.close())
    slow.clock.advance(60)
    assert result_of(slow.statistics.overview(ADMIN)).counts is counts
    failure_of(slow.statistics.overview(USER), StoreUnavailable)


def test_approvals_and_accounts_wait(stack: Stack) -> None:
    """Admins see which accounts wait for them."""
    accounts = stack.app.accounts
    result_of(accounts.add_user(SYSTEM, "someone", "a@example.com", Role.USER, AccountState.PENDING, "long enough"))
    found = overview(stack).counts
    assert found is not None
    assert found.pending_accounts == 1


def test_few_scopes_are_kept(stack: Stack) -> None:
    """However many users look, what is kept is bounded."""
    statistics = Statistics(stack.app.store, stack.clock, max_scopes=3)
    stack.issue("a.example.com", owner_id=4)
    for owner_id in (4, 5, 6, 7, 4):
        found = result_of(statistics.overview(replace(USER, owner_id=owner_id))).counts
        assert found is not None
        assert found.valid == (owner_id == 4)


def test_revoking_is_seen(stack: Stack) -> None:
    """A revocation moves a certificate from one count to the other."""
    leaf = stack.issue("a.example.com", owner_id=1)
    assert overview(stack, USER).within(90) == 1
    stack.revoke(leaf, RevocationReason.SUPERSEDED)
    found = overview(stack, USER)
    assert found.counts is not None
    assert (found.counts.valid, found.counts.revoked, found.within(90)) == (0, 1, 0)
