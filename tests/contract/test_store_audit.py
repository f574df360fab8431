"""Verification of a long audit chain (AUD-3): short transactions, and an end that is exact while events are added."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults

import pytest
from sqlalchemy import Engine
from sqlalchemy import event as database_event

from pikachu.core.audit_interfaces import ChainPosition
from pikachu.core.errors import Conflict, MalformedRequest
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.times import rfc3339
from tests.support.databases import NOW, Opened, event, opened

#: Too many for two transactions.
EVENTS = 4100


@contextmanager
def long_chain(url: str) -> Iterator[Opened]:
    """A store with threads, which commits many events at a time."""
    with opened(url, threads=True, fsync=False) as db:
        db.get(gatherResults([db.store.add_event(event(name=f"thing {number}"), NOW) for number in range(EVENTS)]))
        yield db


def test_short_transactions(database_url: str) -> None:
    """No transaction reads the whole chain; the last one knows its end, also when events were added meanwhile."""
    begun: list[object] = []
    record = begun.append
    positions: list[ChainPosition] = []
    adding: list[Deferred[None]] = []

    with long_chain(database_url) as db:

        def progress(position: ChainPosition) -> None:
            positions.append(position)
            if len(adding) < 2:
                adding.append(db.store.add_event(event(name="meanwhile"), NOW))
                db.get(adding[-1])

        database_event.listen(Engine, "begin", record)
        try:
            assert db.get(db.store.verify_events(progress)) == EVENTS + 2
        finally:
            database_event.remove(Engine, "begin", record)
        counts = [position.count for position in positions]
        assert counts[-1] == EVENTS + 2
        steps = [after - before for before, after in zip([0, *counts], counts, strict=False)]
        assert max(steps) <= EVENTS // 2
        # Each step is a transaction of its own, and so is each event that was added.
        assert len(begun) == len(steps) + len(adding)


def test_resume(database_url: str) -> None:
    """A position is where verification goes on; one that never was shows as a change."""
    positions: list[ChainPosition] = []
    with long_chain(database_url) as db:
        assert db.get(db.store.verify_events(positions.append)) == EVENTS
        later: list[ChainPosition] = []
        assert db.get(db.store.verify_events(later.append, positions[0])) == EVENTS
        assert later == positions[1:]
        assert db.get(db.store.verify_events(None, positions[-1])) == EVENTS
        with pytest.raises(Conflict, match=f"event {positions[0].count + 1} "):
            db.get(db.store.verify_events(None, ChainPosition(positions[0].count, bytes(32))))


TAMPERINGS = {
    "changed": ("UPDATE audit_events SET actor = 'nobody' WHERE id = 3500", 3500),
    "removed": ("DELETE FROM audit_events WHERE id = 2001", 2001),
    "end removed": ("DELETE FROM audit_events WHERE id > 4000", 4001),
    "all removed": ("DELETE FROM audit_events", 2001),
    "end removed with the head": (
        "DELETE FROM audit_events WHERE id > 2000; UPDATE audit_head SET count = 1999",
        2001,
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_between_transactions(tmp_path: Path, what: str) -> None:
    """Tampering during a verification is detected in the part that is not verified yet."""
    script, first = TAMPERINGS[what]
    path = tmp_path / "pikachu.db"
    with long_chain(f"sqlite:///{path}") as db:

        def tamper(position: ChainPosition) -> None:
            if position.count == 2000:
                with closing(sqlite3.connect(path)) as connection, connection:
                    connection.executescript(script)
                connection.close()

        with pytest.raises(Conflict, match=f"event {first} "):
            db.get(db.store.verify_events(tamper))


def test_periods(database_url: str) -> None:
    """The filters ``at_from`` and ``at_to`` find events by time, also after a clock was set back by some minutes."""
    with opened(database_url) as db:
        for minute in (0, 60, 120, 110, 180, 240):
            db.get(db.store.add_event(event(name=f"{minute}"), NOW + timedelta(minutes=minute)))

        def names(**period: int) -> list[str]:
            filters = {name: rfc3339(NOW + timedelta(minutes=minute)) for name, minute in period.items()}
            found = db.get(db.store.events(ListQuery(sort="id", filters=filters))).items
            return [one.event.resource_name for one in found]

        assert names(at_from=60, at_to=180) == ["60", "120", "110"]
        assert names(at_from=111) == ["120", "180", "240"]
        assert names(at_to=111) == ["0", "60", "110"]
        assert names(at_from=241) == []
        assert names(at_from=-1000, at_to=1) == ["0"]
        with pytest.raises(MalformedRequest):
            db.get(db.store.events(ListQuery(filters={"at_from": "yesterday"})))
