"""Rules, marks and the outbox of notices in every kind of database (OPS-5)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pikachu.core.errors import Conflict, EditConflict, NotFound
from pikachu.core.model.batches import NewBatch
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.notices import MessageState, Notable, NoticeKind, NoticeOrder, NoticeRule
from pikachu.core.notice_interfaces import Window
from tests.support.databases import NOW, Opened, event, execute

DAY = timedelta(days=1)
FIRST = (0, 0)
ORDER = NoticeOrder("pumps", NoticeKind.CERTIFICATES, (7,), device="pump-*", addresses=("ops@example.com",))


def rule(db: Opened, order: NoticeOrder = ORDER) -> NoticeRule:
    """Store a rule."""
    return db.get(db.store.notice_rule(db.get(db.store.put_notice_rule(None, order, "root", event(), NOW))))


def test_rules(db: Opened) -> None:
    """A rule is read as it was written; names are unique, and an edit of another version is refused."""
    made = rule(db)
    assert (made.order, made.version, made.updated_by) == (ORDER, 1, "root")
    with pytest.raises(Conflict):
        rule(db)
    changed = NoticeOrder("own", NoticeKind.AUTHORITY, (90, 30), webhook="https://example.com/", mqtt=True)
    db.get(db.store.put_notice_rule(made, changed, "alice", event(), NOW + DAY))
    with pytest.raises(EditConflict):
        db.get(db.store.put_notice_rule(made, ORDER, "root", event(), NOW))
    (read,) = db.get(db.store.active_notice_rules())
    assert (read.order, read.version, read.updated_by) == (changed, 2, "alice")
    for kind, count in (("authority", 1), ("crls", 0)):
        assert len(db.get(db.store.notice_rules(ListQuery(filters={"kind": kind}))).items) == count
    db.get(db.store.delete_notice_rule(made.id, event(), NOW))
    with pytest.raises(NotFound):
        db.get(db.store.delete_notice_rule(made.id, event(), NOW))


def test_what_is_found(db: Opened) -> None:
    """Certificates, overdue devices and batches are found once each, by the rule's filters, in parts."""
    certificates = rule(db)
    devices = rule(db, NoticeOrder("late", NoticeKind.DEVICES, addresses=("ops@example.com",)))
    batches = rule(db, NoticeOrder("rest", NoticeKind.BATCHES, (7,), addresses=("ops@example.com",)))
    for name in ("pump-1", "pump-2", "valve"):
        db.issue(name)
    window = Window(7, NOW + 85 * DAY, NOW + 92 * DAY)
    later = NOW + 85 * DAY
    for count in (2, 0):
        progress = db.get(db.store.notice_certificates(certificates, window, FIRST, later))
        assert (progress.noticed, progress.last) == (count, None)
    if db.url != "sqlite://":  # each connection of which is a database of its own
        execute(db.url, f"UPDATE devices SET overdue_at = {int(NOW.timestamp())}")
        assert [db.get(db.store.notice_devices(devices, FIRST, later)).noticed for _ in range(2)] == [3, 0]
    db.get(db.store.add_batch(NewBatch("pumps", "System", None, NOW + 90 * DAY, 3, "names"), event(), NOW))
    assert [db.get(db.store.notice_batches(batches, window, FIRST, later)).noticed for _ in range(2)] == [1, 0]


def test_outbox(db: Opened) -> None:
    """One message a recipient and run; claimed by one process at a time, sent once, and forgotten later."""
    made = rule(db, NoticeOrder("own", NoticeKind.AUTHORITY, (30,), addresses=("a@example.com", "b@example.com")))
    found = [Notable(number, NOW + DAY, 30, f"CA {number}") for number in (2**56 - 1, 7)]
    assert [db.get(db.store.record_notices(made, found, NOW)) for _ in range(2)] == [2, 0]
    assert db.get(db.store.claim_messages(NOW, 10)) == []
    while db.get(db.store.close_notices(NOW)):
        pass
    first, second = db.get(db.store.claim_messages(NOW, 10))
    assert [(one.recipient, one.count, one.entries[0]["name"]) for one in (first, second)] == [
        (recipient, 2, f"CA {2**56 - 1}") for recipient in ("a@example.com", "b@example.com")
    ]
    assert db.get(db.store.claim_messages(NOW, 10)) == []
    db.get(db.store.finish_message(first.id, MessageState.SENT, "250", None, NOW))
    db.get(db.store.finish_message(second.id, MessageState.WAITING, "450 later", None, NOW))
    (again,) = db.get(db.store.claim_messages(NOW + timedelta(hours=1), 10))
    assert (again.id, again.uid, again.attempts, again.answer) == (second.id, second.uid, 1, "450 later")
    db.get(db.store.finish_message(second.id, MessageState.FAILED, "550", event("fail"), NOW + DAY))
    # The process that had claimed it before ends late, and changes nothing.
    db.get(db.store.finish_message(second.id, MessageState.SENT, "250", event("fail"), NOW + DAY))
    states = {one.state for one in db.get(db.store.notice_messages(ListQuery(q="b@example"))).items}
    assert states == {MessageState.FAILED}
    while db.get(db.store.forget_notices(NOW + 2 * DAY)):
        pass
    assert db.get(db.store.notice_messages(ListQuery())).items == ()
    assert db.get(db.store.record_notices(made, found, NOW)) == 0
