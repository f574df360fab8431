"""Leases of nodes, and the CRLs that they share, on every kind of database (HA-1)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from pikachu.core.errors import ConfigError, StoreUnavailable
from pikachu.core.model.certificates import CRLRecord
from pikachu.storage.migrate import SchemaState, migrate_unserved, schema_state
from pikachu.storage.nodes import without_servers
from pikachu.storage.store import open_store
from tests.support.databases import AS_0013, NOW, Opened, execute, opened, wait_until

LEASE = "a lease"


def take(db: Opened, process: str, seconds: float = 60) -> bool:
    """Take the lease, or keep it."""
    return db.get(db.store.take_lease(LEASE, process, seconds))


def start(db: Opened) -> str:
    """Start a node and return the name of its process."""
    node = db.store.register_node("node", NOW)
    db.store.hold_node(node)
    return node.process


def test_one_holder(db: Opened) -> None:
    """The holder keeps it; it ends with its time, or at once when the holder releases it."""
    process = start(db)
    assert take(db, process)
    assert take(db, process)
    db.get(db.store.release_lease(LEASE, "node:999"))
    assert take(db, process)
    db.get(db.store.release_lease(LEASE, process))
    assert take(db, "another")
    assert db.get(db.store.take_lease("another lease", process, 60))


@pytest.mark.interop
def test_two_nodes(new_postgresql: Callable[[], str]) -> None:
    """Another node waits for the end of the term, or takes over at once when the holder is dead."""
    url = new_postgresql()
    with opened(url) as second:
        other = start(second)
        with opened(url) as first:
            process = start(first)
            assert take(first, process, 3)
            assert not take(second, other)
            wait_until(lambda: take(second, other))  # the holder hangs
            assert not take(first, process)
            second.get(second.store.release_lease(LEASE, other))
            assert take(first, process)
            assert not take(second, other)
        assert take(second, other), "the holder is dead"


@pytest.mark.interop
def test_without_servers(new_postgresql: Callable[[], str]) -> None:
    """A command that needs a stopped server sees a running one, and keeps others from starting meanwhile."""
    url = new_postgresql()
    with opened(url) as db:
        with without_servers(url):
            with pytest.raises(ConfigError, match="another command"), without_servers(url):
                pass
            with pytest.raises(StoreUnavailable, match="pikachu rekey"):
                start(db)
            fill_one(db)
        start(db)
        with pytest.raises(ConfigError, match=r"servers work with this database \(node\); stop them first"):
            migrate_older(url)


def fill_one(db: Opened) -> None:
    """Reseal: the command's own session is no server."""
    db.store.release_connections()
    assert db.get(db.store.reseal(lambda sealed: None, None, NOW)).changed == {}


def migrate_older(url: str) -> None:
    """Migrate a database of an earlier version, as a command does beside a server."""
    execute(url, *AS_0013)
    migrate_unserved(url)


def test_shared_crls(db: Opened) -> None:
    """A CRL is stored only where it follows the version that its maker knew; the record is stored with it."""

    def share(der: bytes, expected: int | None, number: int) -> int | None:
        record = CRLRecord(db.issuer.id, number, NOW, NOW, 0, 0)
        return db.get(db.store.share_crl(b"a key", der, expected, record))

    assert db.get(db.store.shared_crl(b"a key")) is None
    assert share(b"one", 0, 1) == 1
    assert share(b"the same", 0, 2) is None
    assert share(b"two", 1, 3) == 2
    assert db.get(db.store.share_crl(b"another key", b"uploaded", None)) == 3
    assert db.get(db.store.shared_crl_versions()) == {b"a key": 2, b"another key": 3}
    assert db.get(db.store.shared_crl(b"a key")) == b"two"
    record = db.get(db.store.last_crl(db.issuer.id))
    assert record is not None
    assert record.number == 3


MIGRATING = """
import sys
from pikachu.storage.store import open_store
from pikachu.cli.session import done

done(open_store(sys.argv[1]).close())
"""


@pytest.mark.interop
def test_nodes_migrate_once(new_postgresql: Callable[[], str]) -> None:
    """Nodes that find an older schema at the same time migrate it once; the others wait."""
    url = new_postgresql()
    with opened(url):
        pass
    execute(url, *AS_0013)
    nodes = [subprocess.Popen([sys.executable, "-c", MIGRATING, url], stderr=subprocess.PIPE) for _ in range(3)]
    errors = [node.communicate(timeout=120)[1].decode() for node in nodes]
    assert errors == ["", "", ""]
    assert schema_state(url) is SchemaState.CURRENT


@pytest.mark.interop
def test_a_newer_schema(new_postgresql: Callable[[], str]) -> None:
    """A node of an older version refuses it with one line, and changes nothing."""
    url = new_postgresql()
    with opened(url):
        pass
    execute(url, "UPDATE pikachu_schema SET version_num = '9999'")
    with pytest.raises(ConfigError, match=r"belongs to a newer Pikachu \(schema 9999\); install that one"):
        open_store(url)
