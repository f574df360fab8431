"""The transparency log (TLG-1): one order of all events and certificates, and what was changed behind it is found."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pikachu.core.audit_interfaces import ChainPosition
from pikachu.core.errors import Conflict, NotFound
from pikachu.core.log_interfaces import TreeHead
from pikachu.transparency import merkle
from pikachu.transparency.leaves import certificate_leaf, event_leaf
from tests.support.databases import AS_0028, NOW, Opened, event, execute, opened


def fill(db: Opened, certificates: int) -> None:
    """Issue certificates, each with an event, and record others between."""
    for number in range(certificates):
        db.issue(f"device {number}")
        db.get(db.store.add_event(event(name=f"thing {number}"), NOW))


def extended(db: Opened, limit: int = 3) -> TreeHead:
    """The head of the log when all has entered it, some at a time."""
    while db.get(db.store.extend_log(limit)).pending:
        pass
    return db.get(db.store.log_head())


def test_order(db: Opened) -> None:
    """Everything enters once, in the order of its ids, and nothing more is pending."""
    assert db.get(db.store.log_head()) == TreeHead(0, merkle.EMPTY_ROOT)
    fill(db, 4)
    before = db.get(db.store.log_state())
    assert (before.size, before.pending > 0) == (0, True)
    head = extended(db)
    events = db.get(db.store.verify_events())
    assert head.size == events + 4
    assert db.get(db.store.log_state()).pending == 0
    assert db.get(db.store.extend_log(10)).size == head.size
    assert db.get(db.store.verify_log(head)) == head


def test_proofs(db: Opened) -> None:
    """Each certificate is proved to be in the log, and each older head to be its beginning."""
    heads = [extended(db)]
    issued = []
    for number in range(5):
        issued.append(db.complete(db.begin(f"device {number}")[0], b"certificate %d" % number))
        heads.append(extended(db))
    for record in issued:
        proof = db.get(db.store.log_inclusion(record.id))
        merkle.verify_inclusion(
            certificate_leaf(record.der), proof.index, proof.head.size, proof.hashes, proof.head.root
        )
    for head in heads:
        link = db.get(db.store.log_consistency(head.size))
        assert link.old == head
        merkle.verify_consistency(head.size, link.head.size, link.hashes, head.root, link.head.root)
        assert db.get(db.store.verify_log(head)) == heads[-1]
    with pytest.raises(NotFound):
        db.get(db.store.log_consistency(heads[-1].size + 1))
    with pytest.raises(NotFound):
        db.get(db.store.log_inclusion(db.issue("not in the log yet").id))
    with pytest.raises(NotFound):
        db.get(db.store.log_inclusion(2**70))


def test_two_nodes(database_url: str) -> None:
    """Nodes that extend the log in turn give one order, whoever wrote an event."""
    with opened(database_url) as first, opened(database_url) as second:
        for number in range(6):
            writer, other = (first, second) if number % 2 else (second, first)
            writer.get(writer.store.add_event(event(name=f"{number}"), NOW))
            other.get(other.store.extend_log(1))
            writer.get(writer.store.extend_log(1))
        assert extended(first) == extended(second)
        assert first.store.checkpoint_key() == second.store.checkpoint_key()
        events = first.get(first.store.verify_events())
        edge = merkle.RightEdge()
        for number in range(1, events + 1):
            edge.append(event_leaf(number, first.get(first.store.event(number)).hash))
        assert second.get(second.store.log_head()) == TreeHead(events, edge.root())


def test_upgrade(database_url: str) -> None:
    """Rows of an earlier version enter the log, and the log gets a key."""
    with opened(database_url) as db:
        fill(db, 3)
    execute(database_url, *AS_0028)
    with opened(database_url) as db:
        assert db.get(db.store.log_state()).size == 0
        head = extended(db)
        assert head.size == db.get(db.store.verify_events()) + 3
        key = db.store.checkpoint_key()
    with opened(database_url) as db:
        assert db.store.checkpoint_key() == key


#: What somebody with the database does → what is found; each names the first row.
TAMPERINGS = {
    "event changed with its hash": ("UPDATE audit_events SET hash = x'00' WHERE id = 3", "event 3 is not"),
    "event removed": ("DELETE FROM audit_events WHERE id = 3", "event 3 is missing"),
    "newest events removed": ("DELETE FROM audit_events WHERE id > 4", "event 5 is missing"),
    "certificate changed": ("UPDATE certificates SET der = x'00' WHERE id = 2", "certificate 2 is not"),
    "certificate removed": ("DELETE FROM certificates WHERE id = 2", "certificate 2 is missing"),
    "entry removed": ("DELETE FROM log_entries WHERE position = 2", "entry from 0"),
    "entry of another": ("UPDATE log_entries SET ref = 99 WHERE position = 0", "is event 99, not 1"),
    "hashes removed": ("DELETE FROM log_tiles", "a hash of the entries"),
    "hashes changed": ("UPDATE log_tiles SET hashes = zeroblob(length(hashes))", "is not what the transparency log"),
    "head set back": ("UPDATE audit_head SET count = 2", "is missing, which the transparency log has"),
    "certificate smuggled in": (
        "UPDATE certificates SET id = 1000 WHERE id = 1; UPDATE log_entries SET ref = 1000 WHERE kind = 1 AND ref = 1",
        "certificate 2 is missing",
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering(tmp_path: Path, what: str) -> None:
    """Without a checkpoint, the log and what it is about have to agree."""
    script, found = TAMPERINGS[what]
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    with opened(url) as db:
        fill(db, 3)
        extended(db)
    execute(url, "PRAGMA foreign_keys = OFF", *script.split("; "))
    with opened(url) as db, pytest.raises(Conflict, match=found):
        db.get(db.store.verify_log(None))


#: What somebody does who also makes the log anew.
REWRITINGS = {
    "cut off": (
        "DELETE FROM audit_events WHERE id > 3; UPDATE audit_head SET count = 3, "
        "hash = (SELECT hash FROM audit_events WHERE id = 3)",
        0,
        "the newest entries were cut off",
    ),
    "cut off and overgrown": (
        "DELETE FROM audit_events WHERE id > 3; UPDATE audit_head SET count = 3, "
        "hash = (SELECT hash FROM audit_events WHERE id = 3)",
        9,
        "are not those of the checkpoint",
    ),
    "certificate replaced": ("UPDATE certificates SET der = x'00' WHERE id = 1", 9, "are not those of the checkpoint"),
}


@pytest.mark.parametrize("what", REWRITINGS)
def test_kept_checkpoint(tmp_path: Path, what: str) -> None:
    """Against a head that was kept elsewhere, cut and rewritten logs are found, though they agree with themselves."""
    script, more, found = REWRITINGS[what]
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    with opened(url) as db:
        fill(db, 3)
        kept = extended(db)
    execute(url, *script.split("; "), "DELETE FROM log_entries", "DELETE FROM log_tiles")
    with opened(url) as db:
        for number in range(more):
            db.get(db.store.add_event(event(name=f"{number}"), NOW))
        extended(db)
        db.get(db.store.verify_events())
        db.get(db.store.verify_log(None))
        with pytest.raises(Conflict, match=found):
            db.get(db.store.verify_log(kept))


def test_gap(tmp_path: Path) -> None:
    """The log stops at a missing event."""
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    with opened(url) as db:
        fill(db, 2)
    execute(url, "DELETE FROM audit_events WHERE id = 2")
    with opened(url) as db, pytest.raises(Conflict, match="event 2 is missing"):
        extended(db)


def test_many_tiles(tmp_path: Path) -> None:
    """A log of several tiles verifies in several transactions, and each tile is held to its leaves."""
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    with opened(url, fsync=False) as db:
        for number in range(2500):
            db.get(db.store.add_event(event(name=f"{number}"), NOW))
        head = extended(db, 700)
        positions: list[int] = []
        assert db.get(db.store.verify_log(head, positions.append)) == head
        assert positions == [2048, head.size]
    execute(url, "UPDATE log_tiles SET hashes = zeroblob(length(hashes)) WHERE level = 1")
    with opened(url) as db, pytest.raises(Conflict, match="tile 0 of level 1 does not match"):
        db.get(db.store.verify_log(None))


def test_pruning(db: Opened) -> None:
    """OPS-6: without the oldest events, chain and log verify, and proofs stay what they were."""
    for number in range(10):
        db.get(db.store.add_event(event(name=f"{number}"), NOW + timedelta(days=number)))
    record = db.issue("device")
    kept = extended(db)
    old = db.get(db.store.old_events(NOW + timedelta(days=6)))
    assert (old.first, old.last, old.count, old.oldest) == (1, 6, 6, NOW)
    assert [db.get(db.store.prune_events(6, 4, "note", NOW)) for _ in range(3)] == [4, 6, 6]
    with pytest.raises(NotFound):
        db.get(db.store.event(6))
    positions: list[ChainPosition] = []
    assert db.get(db.store.verify_events(positions.append)) == 11
    assert db.get(db.store.verify_log(kept)) == kept
    proof = db.get(db.store.log_inclusion(record.id))
    merkle.verify_inclusion(certificate_leaf(record.der), proof.index, kept.size, proof.hashes, kept.root)
    pruned = db.get(db.store.pruned_events())
    assert pruned is not None
    assert (pruned.count, pruned.at, pruned.note) == (6, NOW, "note")
    assert db.get(db.store.old_events(NOW + timedelta(days=6))).count == 0
    db.get(db.store.add_event(event(), NOW))
    assert extended(db).size == kept.size + 1
    assert db.get(db.store.verify_events()) == 12


#: What somebody does after housekeeping → what is found.
AFTER_PRUNING = {
    "one more removed": ("DELETE FROM audit_events WHERE id = 5", "event 5 is missing"),
    "more removed and recorded": (
        "DELETE FROM audit_events WHERE id = 5; UPDATE audit_pruning SET count = 5",
        "the record of pruned events is not what was recorded",
    ),
    "record removed": ("DELETE FROM audit_pruning", "event 1 is missing"),
    "record with another note": ("UPDATE audit_pruning SET note = 'other'", "the record of pruned events"),
}


@pytest.mark.parametrize("what", AFTER_PRUNING)
def test_removal_after_pruning(tmp_path: Path, what: str) -> None:
    """An event that housekeeping has not removed is still missed."""
    script, found = AFTER_PRUNING[what]
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    with opened(url) as db:
        fill(db, 4)
        extended(db)
        assert db.get(db.store.prune_events(4, 10, "note", NOW)) == 4
    execute(url, *script.split("; "))
    with opened(url) as db, pytest.raises(Conflict, match=found):
        db.get(db.store.verify_events())
