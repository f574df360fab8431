"""Subscriptions to events, and their rights (UI-3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pikachu.core.errors import AuthenticationFailed, NotAuthorized, Overloaded
from pikachu.core.model.events import Event
from pikachu.core.model.people import ANONYMOUS, Principal, PrincipalKind, Role, Scope
from pikachu.core.model.times import utc
from pikachu.operations.event_feed import EventFeed, Notification
from pikachu.storage.store import open_store
from tests.support.deferreds import result_of
from tests.support.stack import Stack, build_core

USER = Principal(PrincipalKind.ACCOUNT, "alice", 1, Role.USER, frozenset({Scope.READ, Scope.ENROLL, Scope.REVOKE}))
ADMIN = Principal(PrincipalKind.ACCOUNT, "root", 2, Role.ADMIN, frozenset(Scope))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path)
    yield made
    made.close()


def subscribe(stack: Stack, actor: Principal) -> list[Notification]:
    """Subscribe *actor*; return the list that collects the notifications."""
    told: list[Notification] = []
    stack.app.event_feed.subscribe(actor, told.append)
    return told


def write(stack: Stack, owner_id: int | None, name: str = "thing") -> None:
    """One event."""
    event = Event("update", "thing", name, "someone", owner_id=owner_id)
    result_of(stack.app.store.add_event(event, utc(stack.clock.seconds())))


def test_each_hears_of_their_own(stack: Stack) -> None:
    """A user receives events of their own objects, an admin all events."""
    alice, bob, root = subscribe(stack, USER), subscribe(stack, replace(USER, owner_id=3)), subscribe(stack, ADMIN)
    weak = subscribe(stack, replace(ADMIN, scopes=frozenset({Scope.READ})))
    nobody = subscribe(stack, replace(USER, owner_id=None))
    stack.issue("a.example.com", owner_id=1)
    assert alice == []
    stack.clock.advance(0.3)
    assert [record.event.type for record in alice[0].events] == ["create"]
    assert alice[0].own
    assert len(root) == 1
    assert not root[0].own
    stack.clock.advance(5)
    write(stack, None)
    stack.clock.advance(0.3)
    assert (len(alice), len(bob), len(root), len(weak), len(nobody)) == (1, 0, 2, 0, 0)


def test_a_burst_is_told_once(stack: Stack) -> None:
    """However many events occur, a listener gets at most one notification a second, with the newest few."""
    root = subscribe(stack, ADMIN)
    alice = subscribe(stack, USER)
    for number in range(30):
        write(stack, 1 if number == 0 else 3, f"thing {number}")
    stack.clock.advance(0.3)
    assert [record.event.resource_name for record in root[0].events] == [f"thing {n}" for n in range(29, 19, -1)]
    assert [record.event.resource_name for record in alice[0].events] == ["thing 0"]
    write(stack, 3, "later")
    stack.clock.advance(0.5)
    assert len(root) == 1
    stack.clock.advance(0.6)
    assert [record.event.resource_name for record in root[1].events] == ["later"]


def test_what_other_processes_do(stack: Stack) -> None:
    """Commits of others are found while somebody listens, and nobody asks when nobody does."""
    other = open_store(stack.app.store.database.url.render_as_string(hide_password=False))
    other.unlock(stack.app.sealer, utc(0))
    try:
        told: list[Notification] = []
        stop = stack.app.event_feed.subscribe(USER, told.append)
        result_of(other.add_event(Event("update", "thing", "theirs", "someone", owner_id=1), utc(0)))
        for _ in range(8):
            stack.clock.advance(0.25)
        assert [record.event.resource_name for record in told[0].events] == ["theirs"]
        write(stack, 1)
        stop()
        stop()
        stack.clock.advance(10)
        assert len(told) == 1
        assert not stack.clock.getDelayedCalls()
        # What was done meanwhile is no news to who comes later.
        again = subscribe(stack, USER)
        stack.clock.advance(0.3)
        assert again == []
        write(stack, 1, "new")
        stack.clock.advance(1.3)
        assert [record.event.resource_name for record in again[0].events] == ["new"]
    finally:
        result_of(other.close())


def test_a_listener_that_fails_harms_nobody(stack: Stack) -> None:
    """A failing listener does not stop notifications to the others."""

    def fail(news: Notification) -> None:
        raise RuntimeError

    stack.app.event_feed.subscribe(USER, fail)
    told = subscribe(stack, USER)
    write(stack, 1)
    stack.clock.advance(0.3)
    assert len(told) == 1


def test_who_may_listen(stack: Stack) -> None:
    """Only signed-in users with the read scope may subscribe, up to a maximum number."""
    with pytest.raises(AuthenticationFailed):
        stack.app.event_feed.subscribe(ANONYMOUS, lambda news: None)
    with pytest.raises(NotAuthorized):
        stack.app.event_feed.subscribe(replace(USER, scopes=frozenset({Scope.REVOKE})), lambda news: None)
    feed = EventFeed(stack.app.store, stack.app.statistics, stack.clock, max_listeners=1)
    stop = feed.subscribe(USER, lambda news: None)
    with pytest.raises(Overloaded):
        feed.subscribe(USER, lambda news: None)
    stop()
    feed.subscribe(USER, lambda news: None)


def test_a_new_count_is_told(stack: Stack) -> None:
    """A user who was shown an outdated count is notified of the new one."""
    root, alice = subscribe(stack, ADMIN), subscribe(stack, USER)
    result_of(stack.app.statistics.overview(ADMIN))
    write(stack, None)
    result_of(stack.app.statistics.overview(ADMIN))
    stack.clock.advance(0.6)
    assert [bool(news.events) for news in root] == [True, False] or [bool(n.events) for n in root] == [False, True]
    assert alice == []
