"""The key of the audit log (AUD-3): what somebody with the database, but without SECRET_KEY, can't change unnoticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.logger import LogLevel, capturedLogs

import pytest
from sqlalchemy import create_engine, text

from pikachu.core.errors import Conflict, SecretKeyChanged
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.core.sealing import Sealer
from pikachu.operations.rekey import reseal
from pikachu.storage.database import parse_url
from pikachu.storage.migrate import migrate
from pikachu.storage.store import Store, open_store
from tests.support.databases import AS_0008, NOW, SEALER, Opened, event, execute, opened
from tests.support.deferreds import result_of

START = bytes(32)
FIELDS = "id, at, type, resource_type, resource_name, actor, details, owner_id, actor_id, about_account"


class Intruder:
    """Somebody who can read and write the database, and knows the program, but not SECRET_KEY."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(parse_url(url))

    def run(self, statement: str, **values: Any) -> list[Any]:
        """Execute a statement; return its rows, if it has any."""
        with self._engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    def hash(self, first: int) -> None:
        """Compute the hashes of the events from *first* on again, and the head."""
        (previous,) = self.run("SELECT hash FROM audit_events WHERE id = :id", id=first - 1) or [(START,)]
        digest = bytes(previous[0])
        count = 0
        for row in self.run(f"SELECT {FIELDS} FROM audit_events WHERE id >= :id ORDER BY id", id=first):
            before, content = digest, digest + json.dumps(list(row), separators=(",", ":")).encode()
            digest = hashlib.sha256(content).digest()
            count = row[0]
            self.run(
                "UPDATE audit_events SET previous = :previous, hash = :hash WHERE id = :id",
                previous=before,
                hash=digest,
                id=row[0],
            )
        self.run("UPDATE audit_head SET count = :count, hash = :hash", count=count, hash=digest)

    def close(self) -> None:
        """Go."""
        self._engine.dispose()


@contextmanager
def intruder(url: str) -> Iterator[Intruder]:
    one = Intruder(url)
    try:
        yield one
    finally:
        one.close()


def fill(db: Opened, count: int, name: str = "thing") -> None:
    """Events."""
    for number in range(count):
        db.get(db.store.add_event(event(name=f"{name} {number}"), NOW))


def make_older(url: str, *, count: int = 6) -> None:
    """A database as the version before the key has left it: *count* events without a key."""
    with opened(url, fsync=False) as db:
        fill(db, count)
    with intruder(url) as other:
        other.hash(1)
    execute(url, *AS_0008)


def verify(url: str) -> int:
    with opened(url, fsync=False) as db:
        return db.get(db.store.verify_events())


REWRITTEN = "UPDATE audit_events SET actor = 'nobody' WHERE id = 9"
REMOVED = "DELETE FROM audit_events WHERE id = 9"
INSERTED = (
    "INSERT INTO audit_events"
    " (id, at, type, resource_type, resource_name, actor, details, about_account, previous, hash)"
    " SELECT 13, at, type, resource_type, 'forged', actor, details, about_account, hash, hash FROM audit_events"
    " WHERE id = 12"
)
SWAPPED = (
    "UPDATE audit_events SET id = 99 WHERE id = 9",
    "UPDATE audit_events SET id = 9 WHERE id = 10",
    "UPDATE audit_events SET id = 10 WHERE id = 99",
)
#: what an intruder does → statements, the first event whose hash is computed again, the event that verification names
CHANGES: dict[str, tuple[tuple[str, ...], int | None, int]] = {
    "rewritten": ((REWRITTEN,), None, 9),
    "rewritten, with hashes": ((REWRITTEN,), 9, 9),
    "removed": ((REMOVED,), None, 9),
    "removed, with hashes": (
        (REMOVED, *(f"UPDATE audit_events SET id = {n - 1} WHERE id = {n}" for n in (10, 11, 12))),
        9,
        9,
    ),
    "inserted at the end": ((INSERTED,), None, 13),
    "inserted at the end, with hashes": ((INSERTED,), 13, 13),
    "swapped": (SWAPPED, None, 9),
    "swapped, with hashes": (SWAPPED, 9, 9),
    "cut in the middle": (("DELETE FROM audit_events WHERE id BETWEEN 9 AND 11",), None, 9),
    "end removed": (("DELETE FROM audit_events WHERE id > 10",), None, 11),
    "seal changed": (("UPDATE audit_events SET details = '{}' WHERE id = 7",), None, 7),
    "seal changed, with hashes": (("UPDATE audit_events SET details = '{}' WHERE id = 7",), 7, 7),
    "seal and all after it removed": (
        (
            "DELETE FROM audit_events WHERE id > 6",
            "UPDATE audit_head SET count = 6, hash = (SELECT hash FROM audit_events WHERE id = 6)",
        ),
        None,
        7,
    ),
    "older event rewritten, with hashes": (("UPDATE audit_events SET actor = 'nobody' WHERE id = 3",), 3, 6),
    "older event rewritten": (
        ("UPDATE audit_events SET actor = 'nobody' WHERE id = 3",),
        None,
        3,
    ),
    "everything rewritten": (("UPDATE audit_events SET actor = 'nobody'",), 1, 6),
}


@pytest.mark.parametrize("what", CHANGES)
def test_changes_are_found(database_url: str, what: str) -> None:
    """Six events of an earlier version, the seal, and five more."""
    statements, rehashed, named = CHANGES[what]
    make_older(database_url)
    with opened(database_url, fsync=False) as db:
        fill(db, 5, "later")
        assert db.get(db.store.verify_events()) == 12
    with intruder(database_url) as other:
        for statement in statements:
            other.run(statement)
        if rehashed:
            other.hash(rehashed)
    with pytest.raises(Conflict, match=f"event {named} "):
        verify(database_url)


def test_a_cut_tail_is_not_found(database_url: str) -> None:
    """The one change that needs a checkpoint elsewhere: the guide says so."""
    with opened(database_url, fsync=False) as db:
        fill(db, 5)
    with intruder(database_url) as other:
        other.run("DELETE FROM audit_events WHERE id > 3")
        other.run("UPDATE audit_head SET count = 3, hash = (SELECT hash FROM audit_events WHERE id = 3)")
    assert verify(database_url) == 3


def seal_event(db: Opened) -> Event:
    return next(
        record.event for record in db.get(db.store.events(ListQuery(limit=100))).items if record.event.type == "seal"
    )


def test_events_of_an_earlier_version(database_url: str) -> None:
    """They are verified once, and their end is recorded with its hash; a new database has no such event."""
    make_older(database_url)
    with intruder(database_url) as other:
        ((head,),) = other.run("SELECT hash FROM audit_head")
    for _ in range(2):
        with opened(database_url, fsync=False) as db:
            assert db.get(db.store.verify_events()) == 7
            assert (db.store.audit_key_origin().unkeyed, db.store.audit_key_origin().finding) == (6, "")
            assert seal_event(db).details == {"events": 6, "hash": bytes(head).hex()}


def test_a_new_database(database_url: str) -> None:
    """Every event has the key, and no other event tells of it."""
    with opened(database_url, fsync=False) as db:
        fill(db, 2)
        assert (db.get(db.store.verify_events()), db.store.audit_key_origin().unkeyed) == (2, 0)


#: what was done to the events of the earlier version → statements, what is found, the id of the seal
BROKEN = {
    "rewritten": ("UPDATE audit_events SET actor = 'nobody' WHERE id = 3", "event 3 is not what", 7),
    "removed": ("DELETE FROM audit_events WHERE id = 2", "event 2 is missing", 7),
    "end removed": ("DELETE FROM audit_events WHERE id > 4", "event 5 is missing", 7),
    "head set back": ("UPDATE audit_head SET count = 4", "event 7 is missing", 7),
    "no head": ("DELETE FROM audit_head", "event 7 is missing", 7),
    "nothing left": ("DELETE FROM audit_events", "event 1 is missing", 7),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_chain_does_not_stop_the_start(database_url: str, what: str) -> None:
    """The seal says what was found; the events after it are proved all the same."""
    statement, finding, sealed = BROKEN[what]
    make_older(database_url)
    with intruder(database_url) as other:
        other.run(statement)
    with opened(database_url, fsync=False) as db:
        assert finding in db.store.audit_key_origin().finding
        assert finding in str(seal_event(db).details["finding"])
        fill(db, 2, "later")
        assert db.get(db.store.verify_events()) == sealed + 2
    with intruder(database_url) as other:
        other.run(f"UPDATE audit_events SET actor = 'nobody' WHERE id = {sealed + 1}")
    with pytest.raises(Conflict, match=f"event {sealed + 1} "):
        verify(database_url)


def test_many_events_of_an_earlier_version(database_url: str) -> None:
    """They are verified in several transactions."""
    make_older(database_url, count=2100)
    assert verify(database_url) == 2101


def test_the_key_stays_when_secret_key_changes(database_url: str) -> None:
    """Events from before and after verify; the former SECRET_KEY opens nothing any more."""
    new = Sealer(b"another SECRET_KEY")
    with opened(database_url, fsync=False) as db:
        fill(db, 3)
        db.store.release_connections()
        result = db.get(reseal(db.store, SYSTEM, b"a SECRET_KEY of tests", b"another SECRET_KEY", NOW))
        assert result.changed == {"audit key": 2}
    store = open_store(database_url)
    with pytest.raises(SecretKeyChanged):
        store.unlock(SEALER, NOW)
    store.unlock(new, NOW)
    result_of(store.add_event(event(), NOW))
    assert result_of(store.verify_events()) == 5
    assert store.audit_key_origin().unkeyed == 0
    result_of(store.close())


def test_without_the_secret_key(database_url: str) -> None:
    """Nothing is recorded or verified under another SECRET_KEY, nor before the store is unlocked."""
    with opened(database_url, fsync=False) as db:
        fill(db, 1)

    def locked(_: Store) -> None:
        pass

    def unlocked_with_another(store: Store) -> None:
        with pytest.raises(SecretKeyChanged):
            store.unlock(Sealer(b"another"), NOW)

    attempts: tuple[Callable[[Store], None], ...] = (locked, unlocked_with_another)
    for attempt in attempts:
        store = open_store(database_url)
        attempt(store)
        for call in (store.add_event(event(), NOW), store.verify_events()):
            failures: list[Any] = []
            call.addErrback(failures.append)
            assert failures[0].check(SecretKeyChanged)
        result_of(store.close())
    assert verify(database_url) == 1


def test_a_lost_key_is_told(database_url: str) -> None:
    """When nothing opens it any more, another one is made on demand, and that is on record."""
    with opened(database_url, fsync=False) as db:
        fill(db, 3)
    store = open_store(database_url)
    result = result_of(reseal(store, SYSTEM, b"lost", b"new", NOW, drop=True))
    assert result.dropped == {}
    assert "event 1 is not what was recorded" in store.audit_key_origin().finding
    assert result_of(store.verify_events()) >= 4
    result_of(store.close())


@pytest.mark.parametrize("rewritten", [False, True])
@pytest.mark.parametrize("older", [False, True])
def test_a_removed_key_is_told(database_url: str, older: bool, rewritten: bool) -> None:
    """A start makes no other key in silence, also when all hashes were computed again without one."""
    if older:
        make_older(database_url)
    with opened(database_url, fsync=False) as db:
        fill(db, 3)
    with intruder(database_url) as other:
        other.run("DELETE FROM audit_keys")
        if rewritten:
            other.hash(1)
    with capturedLogs() as logs, opened(database_url, fsync=False) as db:
        origin = db.store.audit_key_origin()
        assert ("the key of the audit log was removed from the database" in origin.finding) == older
        assert ("is not what was recorded" in origin.finding) != rewritten
        assert origin.unkeyed == (10 if older else 3)
        assert db.get(db.store.verify_events()) == origin.unkeyed + 1
        event = db.get(db.store.event(origin.unkeyed + 1)).event
        assert (event.type, event.details["events"]) == ("seal", origin.unkeyed)
        assert event.details.get("finding", "") == origin.finding
    levels = {one["log_level"] for one in logs if "audit log" in (one["log_format"] or "")}
    assert LogLevel.warn in levels
    assert (LogLevel.critical in levels) == bool(origin.finding)


@pytest.mark.parametrize("count", [0, 3, 5])
def test_a_head_that_was_set_back(database_url: str, count: int) -> None:
    """Verification names the first event after it; whatever would be recorded is refused with what to do."""
    with opened(database_url, fsync=False) as db:
        fill(db, 6)
    with intruder(database_url) as other:
        other.run(f"UPDATE audit_head SET count = {count}")
    with opened(database_url, fsync=False) as db:
        with pytest.raises(Conflict, match="the audit log was changed: event 7 is missing"):
            db.get(db.store.verify_events())
        with pytest.raises(Conflict, match="run pikachu audit verify"):
            db.get(db.store.add_event(event(), NOW))


def test_two_processes_agree(database_url: str) -> None:
    """Both open the database of an earlier version; one key is made."""
    make_older(database_url)
    migrate(database_url)
    with opened(database_url, fsync=False) as one, opened(database_url, fsync=False) as two:
        fill(one, 1)
        fill(two, 1)
        fill(one, 1)
        assert one.get(two.store.verify_events()) == 10
