"""Looking through the audit chain: one look at a time, and what became of the last (AUD-3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

import pytest

from pikachu.core.audit_interfaces import CHAIN_START, ChainPosition
from pikachu.core.errors import MalformedRequest, NotAuthorized, StoreUnavailable
from pikachu.core.log_interfaces import PrunedEvents, TreeHead
from pikachu.core.model.people import SYSTEM, Principal, PrincipalKind, Role, Scope
from pikachu.operations.audit_verification import AuditVerification
from pikachu.storage.migrate import migrate
from pikachu.storage.store import open_store
from pikachu.transparency.checkpoints import Checkpoint
from tests.support.databases import NOW, SEALER, Calls, Opened, event


class NoLog:
    """A transparency log without entries."""

    def opened(self, note: bytes) -> Checkpoint:
        """Refuse every checkpoint."""
        raise MalformedRequest("no checkpoint")

    def stored_checkpoint(self) -> Deferred[bytes | None]:
        """Return that there is none."""
        return succeed(None)

    def verify(self, *_: object) -> Deferred[tuple[TreeHead, PrunedEvents | None]]:
        """Find nothing wrong."""
        return succeed((TreeHead(0, b""), None))


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Opened]:
    """A store whose threads' results arrive when the test lets them."""
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    migrate(url)
    calls = Calls()
    made = Opened(open_store(url, calls), url, calls)
    made.store.unlock(SEALER, NOW)
    yield made
    made.close()


def test_one_look_at_a_time(db: Opened) -> None:
    """A second caller sees the progress of the running verification; afterwards a new one can begin."""
    clock = Clock()
    verification = AuditVerification(db.store, NoLog(), clock)
    assert verification.last(SYSTEM) is None
    for _ in range(3):
        db.get(db.store.add_event(event(), NOW))
    assert verification.begin(SYSTEM)
    assert not verification.begin(SYSTEM)
    clock.advance(2)
    going_on = verification.last(SYSTEM)
    assert going_on is not None
    assert going_on.seconds is None
    db.calls.make_one()
    done = verification.last(SYSTEM)
    assert done is not None
    assert (done.looked_at, done.seconds, done.wrong, done.failure) == (3, 2.0, "", "")
    assert verification.begin(SYSTEM)
    db.calls.make_one()


def test_without_a_database(db: Opened) -> None:
    """A look that can't be made to its end says nothing about the chain."""
    verification = AuditVerification(db.store, NoLog(), Clock())
    db.get(db.store.close())
    verification.begin(SYSTEM)
    look = verification.last(SYSTEM)
    assert look is not None
    assert (look.wrong, look.failure) == ("", "the database is closed")


def test_admins_only(db: Opened) -> None:
    """Only admins begin a verification and see its result."""
    user = Principal(PrincipalKind.ACCOUNT, "alice", 1, Role.USER, frozenset({Scope.READ}))
    verification = AuditVerification(db.store, NoLog(), Clock())
    for actor in (user, replace(user, role=Role.ADMIN)):
        with pytest.raises(NotAuthorized):
            verification.begin(actor)
        with pytest.raises(NotAuthorized):
            verification.last(actor)


class Interrupted:
    """A store that fails once in the middle of the chain.

    :ivar begun: where each run began.
    """

    def __init__(self) -> None:
        self.begun: list[ChainPosition] = []

    def verify_events(
        self, progress: Callable[[ChainPosition], None] | None = None, after: ChainPosition = CHAIN_START
    ) -> Deferred[int]:
        """Fail after a first transaction."""
        assert progress is not None
        self.begun.append(after)
        if after == CHAIN_START:
            progress(MIDDLE)
            return fail(StoreUnavailable("the database does not answer"))
        progress(ChainPosition(3000, b"end"))
        return succeed(3000)


MIDDLE = ChainPosition(2000, b"middle")


def test_interrupted() -> None:
    """A run that the database broke off is continued by the next one; the one after begins at the beginning."""
    store: Any = Interrupted()
    verification = AuditVerification(store, NoLog(), Clock())
    assert verification.begin(SYSTEM)
    broken = verification.last(SYSTEM)
    assert broken is not None
    assert (broken.looked_at, broken.failure) == (2000, "the database does not answer")
    assert verification.begin(SYSTEM)
    whole = verification.last(SYSTEM)
    assert whole is not None
    assert (whole.looked_at, whole.wrong, whole.failure) == (3000, "", "")
    assert verification.begin(SYSTEM)
    assert store.begun == [CHAIN_START, MIDDLE, CHAIN_START]
