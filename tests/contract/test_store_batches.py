"""Enrollment batches in every kind of database (ENR-1)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.batches import BatchState, NewBatch
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import NewChallengePassword
from tests.support.databases import NOW, Opened, event, seal

DAY = timedelta(days=1)


def new(db: Opened, label: str = "pumps", total: int = 3) -> int:
    """The id of a new batch."""
    return db.get(db.store.add_batch(NewBatch(label, "System", None, NOW + DAY, total, "the names"), event(), NOW)).id


def passwords(batch_id: int, first: int, count: int) -> list[NewChallengePassword]:
    """Challenge passwords of a batch."""
    return [
        NewChallengePassword(
            f"{batch_id} {number}".encode(), f"{number:08}", seal, None, NOW + DAY, "pumps", None, "System", batch_id
        )
        for number in range(first, first + count)
    ]


def test_life(db: Opened) -> None:
    """Filled in parts, of which each is added once; counted as they are consumed; ended."""
    batch_id = new(db)
    assert [(one.id, names) for one, names in db.get(db.store.unfinished_batches())] == [(batch_id, "the names")]
    assert db.get(db.store.fill_batch(batch_id, 0, passwords(batch_id, 0, 2), NOW))
    assert not db.get(db.store.fill_batch(batch_id, 0, passwords(batch_id, 7, 2), NOW))
    assert db.get(db.store.batch(batch_id)).state(NOW) is BatchState.CREATING
    assert db.get(db.store.fill_batch(batch_id, 2, passwords(batch_id, 2, 1), NOW))
    assert db.get(db.store.unfinished_batches()) == []
    batch = db.get(db.store.batch(batch_id))
    assert (batch.created, batch.state(NOW)) == (3, BatchState.OPEN)
    found = db.get(db.store.challenges(ListQuery(sort="id", filters={"batch": str(batch_id)}), NOW)).items
    assert [(one.policy, one.batch_id) for one in found] == [("System", batch_id)] * 3
    db.issue(challenge_id=found[0].id)
    for enrolled, ids in (("true", [found[0].id]), ("false", [found[1].id, found[2].id])):
        of_batch = ListQuery(sort="id", filters={"batch": str(batch_id), "enrolled": enrolled})
        assert [one.id for one in db.get(db.store.challenges(of_batch, NOW)).items] == ids
    assert db.get(db.store.batch(batch_id)).enrolled == 1
    assert db.get(db.store.end_batch(batch_id, lambda _: event("end"), NOW)).state(NOW) is BatchState.ENDED
    found = db.get(db.store.challenges(ListQuery(filters={"status": "available"}), NOW)).items
    assert found == ()
    with pytest.raises(Conflict):
        db.get(db.store.end_batch(batch_id, lambda _: event("end"), NOW))
    with pytest.raises(NotFound):
        db.get(db.store.batch(batch_id + 1))


def test_stopped(db: Opened) -> None:
    """Nothing is added to a batch that has stopped or was ended."""
    batch_id = new(db)
    db.get(db.store.stop_batch(batch_id, "a problem"))
    assert db.get(db.store.unfinished_batches()) == []
    assert not db.get(db.store.fill_batch(batch_id, 0, passwords(batch_id, 0, 1), NOW))
    assert db.get(db.store.batch(batch_id)).problem == "a problem"
    db.get(db.store.continue_batch(batch_id, event("update"), NOW))
    with pytest.raises(Conflict):
        db.get(db.store.continue_batch(batch_id, event("update"), NOW))
    assert db.get(db.store.fill_batch(batch_id, 0, passwords(batch_id, 0, 1), NOW))
    db.get(db.store.end_batch(batch_id, lambda _: event("end"), NOW))
    assert not db.get(db.store.fill_batch(batch_id, 1, passwords(batch_id, 1, 1), NOW))


def test_lists(db: Opened) -> None:
    """Each state is a filter, and finds what has it."""
    names = ("creating", "stopped", "open", "complete", "ended", "expired")
    ids = {name: new(db, name, 1) for name in names}
    db.get(db.store.stop_batch(ids["stopped"], "a problem"))
    for name in ("open", "complete", "expired"):
        db.get(db.store.fill_batch(ids[name], 0, passwords(ids[name], 0, 1), NOW))
    challenge = db.get(db.store.challenges(ListQuery(filters={"batch": str(ids["complete"])}), NOW)).items[0]
    db.issue(challenge_id=challenge.id)
    db.get(db.store.end_batch(ids["ended"], lambda _: event("end"), NOW))
    every = [db.get(db.store.batch(one)) for one in ids.values()]
    for now in (NOW, NOW + 2 * DAY):
        for state in BatchState:
            found = db.get(db.store.batches(ListQuery(sort="id", filters={"state": state.value}), now)).items
            assert list(found) == [one for one in every if one.state(now) is state]
    assert len(db.get(db.store.batches(ListQuery(filters={"state": "expired"}), NOW + 2 * DAY)).items) == 4
    by_label = db.get(db.store.batches(ListQuery(sort="label", limit=2), NOW))
    rest = db.get(db.store.batches(ListQuery(sort="label", cursor=by_label.next_cursor), NOW))
    assert [one.label for one in (*by_label.items, *rest.items)] == sorted(names)
    assert [one.label for one in db.get(db.store.batches(ListQuery(q="OPEN system"), NOW)).items] == ["open"]
    assert db.get(db.store.batches(ListQuery(filters={"policy": "other"}), NOW)).items == ()
