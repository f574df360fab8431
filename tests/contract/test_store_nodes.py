"""Nodes of one database: liveness, and the intents of dead nodes (HA-1)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pikachu.core.errors import StoreUnavailable
from pikachu.storage.database import in_memory
from tests.support.databases import NOW, Opened, opened, wait_until

#: A server that holds its place until it is killed.
SERVER = (
    "import sys, time\n"
    "from tests.support.databases import NOW, opened\n"
    "with opened(sys.argv[1]) as db:\n"
    "    node = db.store.register_node('ca.example.com:/etc/pikachu/config.ini', NOW)\n"
    "    db.store.hold_node(node)\n"
    "    db.begin('of the other', intent={'process': node.process})\n"
    "    print(node.process, flush=True)\n"
    "    time.sleep(600)\n"
)
NAME = "ca.example.com:/etc/pikachu/config.ini"


@pytest.fixture
def postgresql_url(new_postgresql: Callable[[], str]) -> str:
    """An empty PostgreSQL database."""
    return new_postgresql()


def orphans(db: Opened, process: str) -> set[str | None]:
    """The processes whose intents would be given up."""
    return {one.process for one in db.get(db.store.orphans(process, NOW - timedelta(hours=1)))}


def test_ids(db: Opened) -> None:
    """Each start is a node of its own, whatever it is called; those that nobody saw for a month are forgotten."""
    first = db.store.register_node(NAME, NOW - timedelta(days=40))
    second = db.store.register_node(NAME, NOW - timedelta(days=20))
    third = db.store.register_node(NAME, NOW)
    assert len({first.process, second.process, third.process}) == 3
    assert db.get(db.store.nodes()) == [second, third]
    db.store.hold_node(second)
    db.get(db.store.keep_node(second, NOW + timedelta(seconds=15)))
    assert [one.seen_at for one in db.get(db.store.nodes())] == [NOW + timedelta(seconds=15), NOW]
    assert db.store.register_node(NAME, NOW).id > third.id


def test_one_server(db: Opened) -> None:
    """The node that holds a database lives; of former ones that is known, of commands only their age is."""
    former, node = (db.store.register_node(NAME, NOW) for _ in range(2))
    db.store.hold_node(node)
    for name, process in (("former", former.process), ("own", node.process), ("command", "cli:4711")):
        db.begin(name, intent={"process": process})
    db.begin("old command", intent={"process": "cli:1"}, created_at=NOW - timedelta(days=1))
    db.begin("own, old", intent={"process": node.process}, created_at=NOW - timedelta(days=1))
    assert orphans(db, node.process) == {former.process, "cli:1"}
    for process, alive in ((former.process, False), (node.process, True), ("cli:4711", None), ("node:x", False)):
        assert db.get(db.store.is_process_alive(process)) is alive


def test_a_command_beside_a_server(tmp_path: Path) -> None:
    """A process not holding the SQLite database can't tell whether the server is alive: only age makes an orphan."""
    with opened(f"sqlite:///{tmp_path / 'pikachu.db'}") as db:
        node = db.store.register_node(NAME, NOW)
        db.begin("young", intent={"process": node.process})
        assert orphans(db, "cli:1") == set()
        assert db.get(db.store.is_process_alive(node.process)) is None


def test_two_servers(postgresql_url: str) -> None:
    """Two nodes of one name on one database: an intent belongs to its node until that is killed."""
    with opened(postgresql_url) as db:
        other = subprocess.Popen([sys.executable, "-c", SERVER, postgresql_url], stdout=subprocess.PIPE)
        try:
            assert other.stdout is not None
            process = other.stdout.readline().decode().strip()
            node = db.store.register_node(NAME, NOW)
            db.store.hold_node(node)
            assert process != node.process
            assert {one.name for one in db.get(db.store.nodes())} == {NAME}
            assert orphans(db, node.process) == set()
            assert db.get(db.store.is_process_alive(process)) is True
        finally:
            other.kill()
            other.communicate()
        wait_until(lambda: db.get(db.store.is_process_alive(process)) is False)
        assert orphans(db, node.process) == {process}
    with opened(postgresql_url) as db:
        again = db.store.register_node(NAME, NOW)
        db.store.hold_node(again)
        assert orphans(db, again.process) == {process}
        assert db.get(db.store.is_process_alive(node.process)) is False


def test_a_closed_store(postgresql_url: str) -> None:
    """A server that stops gives its place up; connections that are released for a fork don't."""
    with opened(postgresql_url) as db:
        node = db.store.register_node(NAME, NOW)
        with opened(postgresql_url) as first:
            first.store.hold_node(node)
            first.store.release_connections()
            assert db.get(db.store.is_process_alive(node.process)) is True
        wait_until(lambda: db.get(db.store.is_process_alive(node.process)) is False)


def test_a_lost_session(postgresql_url: str) -> None:
    """A node whose session PostgreSQL ended takes its place again, and no other session's."""
    engine = create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with opened(postgresql_url) as db, opened(postgresql_url) as other:
        node = db.store.register_node(NAME, NOW)
        db.store.hold_node(node)
        with engine.connect() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = :id"),
                {"id": node.id},
            )
        wait_until(lambda: other.get(other.store.is_process_alive(node.process)) is False)
        db.get(db.store.keep_node(node, NOW))
        assert other.get(other.store.is_process_alive(node.process)) is True
        with pytest.raises(StoreUnavailable):
            other.store.hold_node(node)
    engine.dispose()


def test_a_newer_schema(db: Opened) -> None:
    """A running server learns that a newer one has migrated the database; one in memory belongs to it alone."""
    assert db.get(db.store.newer_schema()) is None
    if in_memory(db.store.database.url):
        return
    engine = create_engine(db.url)
    with engine.begin() as connection:
        before = connection.execute(text("SELECT version_num FROM pikachu_schema")).scalar()
        connection.execute(text("UPDATE pikachu_schema SET version_num = '9999'"))
    assert db.get(db.store.newer_schema()) == "9999"
    with engine.begin() as connection:
        connection.execute(text("UPDATE pikachu_schema SET version_num = :before"), {"before": before})
    engine.dispose()
    assert db.get(db.store.newer_schema()) is None


def test_generations(db: Opened) -> None:
    """Each node sees those of all nodes, in the order in which they came."""
    found = [db.store.register_issuer("ec", key, b"certificate", NOW) for key in (b"first", b"second")]
    assert db.get(db.store.generations())[-2:] == found
