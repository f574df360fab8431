"""Idempotency keys in each database (API-2, HA-1)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pikachu.core.idempotency_interfaces import LIFETIME, MAXIMUM_KEYS, KeyUse
from tests.support.databases import NOW, Opened

DEAD = "node:999"
LATER = NOW + timedelta(minutes=5)


def claim(db: Opened, process: str, fingerprint: bytes = b"f", seconds: float = 0) -> KeyUse | None:
    at = NOW + timedelta(seconds=seconds)
    return db.get(db.store.claim_idempotency_key(b"digest", fingerprint, process, at))


@pytest.fixture
def live(db: Opened) -> str:
    """A live process."""
    node = db.store.register_node("a", NOW)
    db.store.hold_node(node)
    return node.process


def test_life_of_a_key(db: Opened, live: str) -> None:
    """It is claimed by one live process, which stores the answer; after a day it is free again."""
    assert claim(db, live) is None
    assert claim(db, DEAD, b"g") == KeyUse(b"f", False, None)
    assert claim(db, live) is None, "a process may have failed to give it up"
    # Another process neither ends nor takes it.
    db.get(db.store.complete_idempotency_key(b"digest", DEAD, b"wrong", LATER))
    db.get(db.store.release_idempotency_key(b"digest", DEAD))
    db.get(db.store.complete_idempotency_key(b"digest", live, b"answer", LATER))
    db.get(db.store.release_idempotency_key(b"digest", live))
    for process in (live, DEAD):
        assert claim(db, process, seconds=LIFETIME - 1) == KeyUse(b"f", True, b"answer")
    assert claim(db, live, b"g", LIFETIME) is None


def test_claims_that_end(db: Opened, live: str) -> None:
    """With the process, when it gives them up, and when it has long had time to."""
    assert claim(db, DEAD) is None
    assert claim(db, live) is None, "the other process has ended"
    db.get(db.store.release_idempotency_key(b"digest", live))
    assert claim(db, live) is None
    assert claim(db, DEAD, seconds=599) == KeyUse(b"f", False, None)
    assert claim(db, DEAD, seconds=600) is None


def test_times_in_the_future(db: Opened, live: str) -> None:
    """Another node's clock may be ahead a little; what is far in the future predates a clock that was set back."""
    assert claim(db, live, seconds=LIFETIME) is None
    assert claim(db, DEAD, seconds=LIFETIME - 599) == KeyUse(b"f", False, None)
    assert claim(db, DEAD, seconds=LIFETIME - 600) is None
    db.get(db.store.complete_idempotency_key(b"digest", DEAD, b"answer", LATER))
    assert claim(db, live, seconds=-599) == KeyUse(b"f", True, b"answer")
    assert claim(db, live, seconds=-600) is None


def test_a_claim_whose_process_is_unknown(db: Opened) -> None:
    """A process that holds no node can't tell on SQLite whether another one lives, so it waits."""
    assert claim(db, DEAD) is None
    expected = None if db.store.has_nodes else KeyUse(b"f", False, None)
    assert claim(db, "node:1") == expected


def test_a_secret_answer(db: Opened, live: str) -> None:
    """It is not stored, but that the request was done."""
    claim(db, live)
    db.get(db.store.complete_idempotency_key(b"digest", live, None, NOW))
    assert claim(db, DEAD) == KeyUse(b"f", True, None)


def test_old_keys_are_removed(db: Opened, live: str) -> None:
    """Keys of the day before are removed, and those beyond the maximum."""

    def count() -> int:
        counting = "SELECT count(*) FROM idempotency_keys"
        return int(db.store.database.read(lambda tx: tx.connection.exec_driver_sql(counting).scalar_one()))

    claim(db, live)
    at = NOW + timedelta(seconds=LIFETIME)
    for number in range(3):
        db.get(db.store.claim_idempotency_key(b"%d" % number, b"f", live, at))
    assert count() == 3
    db.get(db.store.complete_idempotency_key(b"0", live, None, at))
    move = f"UPDATE idempotency_keys SET id = id - {MAXIMUM_KEYS} WHERE id <= 3"
    db.store.database.write(lambda tx: tx.connection.exec_driver_sql(move))
    db.get(db.store.claim_idempotency_key(b"more", b"f", live, at))
    assert count() == 3
    for digest, known in ((b"0", None), (b"1", KeyUse(b"f", False, None))):
        assert db.get(db.store.claim_idempotency_key(digest, b"f", DEAD, at)) == known, "claims are kept"
