"""Used and expired challenge passwords are found and removed in parts, in every kind of database (OPS-6)."""

from __future__ import annotations

from datetime import timedelta

from pikachu.core.housekeeping_interfaces import NOTHING_OLD, OldChallengePasswords, OldObjects
from pikachu.core.model.batches import NewBatch
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import NewChallengePassword
from tests.support.databases import NOW, Opened, event, seal

DAY = timedelta(days=1)


def add(db: Opened, number: int, days: int, created: int = 0) -> int:
    """Return the id of a challenge password that expires after so many days."""
    new = NewChallengePassword(bytes([number]), f"{number:08}", seal, None, NOW + days * DAY)
    return db.get(db.store.add_challenge(new, event(), NOW + created * DAY)).id


def test_challenge_passwords(db: Opened) -> None:
    """Passwords used or expired before the time go; one that is reserved, valid, newer or of a batch stays."""
    batch = NewBatch("pumps", "System", None, NOW + DAY, 1, "the names")
    batch_id = db.get(db.store.add_batch(batch, event(), NOW)).id
    named = NewChallengePassword(b"\x63", "99999999", seal, None, NOW + DAY, batch_id=batch_id)
    never_enrolled = db.get(db.store.add_challenge(named, event(), NOW)).id
    long, reserved, expired, used, soon, newer = (
        add(db, number, days, created)
        for number, (days, created) in enumerate([(100, 0), (1, 0), (1, 0), (100, 0), (9, 0), (21, 20)])
    )
    db.begin("waits", challenge_id=reserved)
    db.complete(db.begin("used", challenge_id=used)[0])
    before = NOW + 10 * DAY
    for remove in (False, True):
        found = NOTHING_OLD
        after: int | None = 0
        parts = 0
        while after is not None:
            part = db.get(db.store.old_challenge_passwords(before, after, 2, remove=remove))
            found, after = found + part.old, part.next
            parts += 1
        assert (found, parts) == (OldObjects(3, NOW), 4)
    left = {one.id for one in db.get(db.store.challenges(ListQuery(limit=50), NOW)).items}
    assert left == {long, reserved, newer, never_enrolled}
    assert {expired, used, soon}.isdisjoint(left)
    nothing = OldChallengePasswords(NOTHING_OLD, None)
    assert db.get(db.store.old_challenge_passwords(before, 0, 50, remove=True)) == nothing
