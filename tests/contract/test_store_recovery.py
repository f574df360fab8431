"""Revocations recovered from a published CRL, in each database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.model.certificates import PublishedRevocation, RevocationReason, format_serial
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.recovery_interfaces import RecoveryDecision
from pikachu.x509.crl import crl_entry, parse_crl_entry
from tests.support.databases import NOW, Opened, event

HOLD = RevocationReason.CERTIFICATE_HOLD
COMPROMISED = RevocationReason.KEY_COMPROMISE
KEEP, DROP = RecoveryDecision.KEEP, RecoveryDecision.DROP
PERIOD = (NOW, NOW + timedelta(days=3650))


def published(serial: int, reason: RevocationReason = COMPROMISED) -> PublishedRevocation:
    """An entry of a CRL."""
    return PublishedRevocation(serial, NOW, reason, crl_entry(serial, NOW, reason) if serial > 0 else b"")


def recover(db: Opened, *entries: PublishedRevocation) -> int:
    """Recover from a CRL with these entries."""
    return db.get(db.store.recover_revocations(db.issuer.id, entries, PERIOD, event("recover"), NOW))


def listed(db: Opened) -> tuple[int, bytes]:
    """Number and concatenation of the CRL entries."""
    entries = db.get(db.store.crl_entries(db.issuer.id, 0))
    assert entries is not None
    return entries[1:]


def undecided(db: Opened) -> list[tuple[int, str]]:
    """Serial number and subject of what waits for a decision."""
    query = ListQuery(limit=100, sort="id", filters={"decision": "undecided"})
    return [(one.serial, one.subject) for one in db.get(db.store.recovered_revocations(query)).items]


def test_crl_numbers(db: Opened) -> None:
    """The highest number that was reserved."""
    assert db.get(db.store.crl_number(db.issuer.id)) == 0
    db.get(db.store.next_crl_number(db.issuer.id, 41))
    assert db.get(db.store.crl_number(db.issuer.id)) == 42
    assert db.get(db.store.crl_number(999)) == 0


def test_recovery(db: Opened) -> None:
    """Recorded once, with one event a batch; what is revoked, expired, or not a certificate of this issuer stays."""
    lost, revoked, held = db.issue("lost"), db.issue("revoked"), db.issue("held")
    expired = db.issue("expired", intent={"not_after": NOW - timedelta(days=1)})
    db.get(db.store.revoke(revoked.serial, NOW, COMPROMISED, event("revoke")))
    db.get(db.store.revoke(held.serial, NOW, HOLD, event("revoke")))
    other = db.store.register_issuer("rsa", b"the key of rsa", b"certificate", NOW)
    entries = [published(one.serial) for one in (lost, revoked, expired)]
    entries += [published(held.serial, HOLD), published(0x77), published(0), published(-5), published(1 << 170)]
    by_serial = {format_serial(one.serial): one.der for one in entries if one.der}
    missing = db.get(db.store.missing_revocations(db.issuer.id, by_serial))
    assert [parse_crl_entry(one).serial for one in missing] == [lost.serial, expired.serial, 0x77, 1 << 170]
    assert db.get(db.store.recover_revocations(other.id, [entries[0]], PERIOD, event("recover"), NOW)) == 0
    assert [recover(db, *entries) for _ in range(2)] == [2, 0]
    assert undecided(db) == [(lost.serial, lost.subject), (0x77, "")]
    assert db.get(db.store.undecided_revocations()) == {db.issuer.id: 2}
    assert listed(db)[0] == 4
    for serial in (lost.serial, 0x77):
        status = db.get(db.store.status(db.issuer.id, serial))
        assert status is not None
        assert (status.revoked_at, status.reason) == (NOW, COMPROMISED)
        assert db.get(db.store.status(other.id, serial)) is None
        record = db.get(db.store.certificate_by_serial(serial, deleted=True))
        assert (record.revoked_at, record.reason) == (NOW, COMPROMISED)
    events = [one.event for one in db.get(db.store.events(ListQuery(sort="id", limit=100))).items]
    assert [one.details["count"] for one in events if one.type == "recover"] == [2]


def test_decisions(db: Opened) -> None:
    """Once each: kept for good, or dropped to what the database had; then neither is recovered again."""
    records = [db.issue(name) for name in ("kept", "dropped", "held")]
    kept, dropped, held = (one.serial for one in records)
    db.get(db.store.revoke(held, NOW, HOLD, event("revoke")))
    entries = [published(serial) for serial in (kept, dropped, held, 0x77, 0x78)]
    assert recover(db, *entries) == 5

    def decide(decision: RecoveryDecision, *serials: int) -> list[int]:
        return db.get(db.store.decide_recovered(serials, decision, event("decide"), NOW))

    before = db.store.latest_change()
    assert decide(KEEP, kept, 0x77, 0x99) == [kept, 0x77]
    assert db.store.latest_change() == before
    assert decide(DROP, dropped, held, 0x78, kept) == [dropped, held, 0x78]
    changed = [one.serial for one in db.get(db.store.changes_since(before))]
    assert changed == [dropped, held, 0x78]
    assert decide(DROP, kept, dropped, held, 0x77, 0x78) == []
    expected = [published(kept).der, published(0x77).der, published(held, HOLD).der]
    assert listed(db) == (3, b"".join(expected))
    statuses = [db.get(db.store.status(db.issuer.id, one.serial)) for one in entries]
    assert [one and one.reason for one in statuses] == [COMPROMISED, None, HOLD, COMPROMISED, None]
    assert [one is None for one in statuses] == [False, False, False, False, True]
    assert undecided(db) == []
    assert db.get(db.store.undecided_revocations()) == {}
    assert recover(db, *entries) == 0
    assert listed(db)[0] == 3


def test_stored_entries(db: Opened) -> None:
    """In the order of CRLs, in parts."""
    serials = [db.issue(name).serial for name in ("a", "b", "c")]
    for serial in serials:
        db.get(db.store.revoke(serial, NOW, COMPROMISED, event("revoke")))
    first = db.get(db.store.stored_crl_entries(db.issuer.id, 0, 2))
    rest = db.get(db.store.stored_crl_entries(db.issuer.id, first[-1][0], 2))
    assert [entry for _, entry in (*first, *rest)] == [published(serial).der for serial in serials]
    assert db.get(db.store.stored_crl_entries(db.issuer.id, rest[-1][0], 2)) == []
    assert db.get(db.store.stored_crl_entries(999, 0, 2)) == []


def test_lists(db: Opened) -> None:
    """Filters, order, search and pages; a deleted certificate has no id, an unknown one no subject."""
    known, deleted = db.issue("Ärzte"), db.issue("gone")
    db.get(db.store.delete_certificate(deleted.id, event("delete"), NOW))
    serials = [known.serial, deleted.serial, 0x77AA, 0x77AB, 0x88]
    entries = [
        PublishedRevocation(serial, at, reason, crl_entry(serial, at, reason))
        for index, serial in enumerate(serials)
        for at, reason in [(NOW - timedelta(days=index), HOLD if index == 4 else COMPROMISED)]
    ]
    db.get(db.store.recover_revocations(db.issuer.id, entries, PERIOD, event("recover"), NOW))
    db.get(db.store.decide_recovered([0x77AA], KEEP, event("keep"), NOW))
    db.get(db.store.decide_recovered([0x88], DROP, event("drop"), NOW))

    def found(q: str | None = None, sort: str = "id", **filters: str) -> list[int]:
        serials: list[int] = []
        query = ListQuery(limit=2, sort=sort, q=q, filters=filters, count=True)
        while True:
            page = db.get(db.store.recovered_revocations(query))
            serials += [one.serial for one in page.items]
            if page.next_cursor is None:
                assert page.total == len(serials)
                return serials
            query = replace(query, cursor=page.next_cursor)

    assert found() == found(sort="recovered_at") == found(sort="-revoked_at") == serials
    assert found(sort="-id") == found(sort="revoked_at") == serials[::-1]
    assert found(decision="undecided") == [known.serial, deleted.serial, 0x77AB]
    assert (found(decision="keep"), found(decision="drop")) == ([0x77AA], [0x88])
    assert found(reason="certificateHold") == [0x88]
    assert found(issuer="ec") == serials
    assert found(reason="keyCompromise", decision="keep", issuer="ec", q="77") == [0x77AA]
    assert (found(q="77A"), found(q="ärzte"), found(q="nothing")) == ([0x77AA, 0x77AB], [known.serial], [])
    for query in (
        ListQuery(sort="serial"),
        *(ListQuery(filters={name: "x"}) for name in ("decision", "issuer", "reason", "x")),
    ):
        with pytest.raises(MalformedRequest):
            db.get(db.store.recovered_revocations(query))
    rows = [db.get(db.store.recovered_revocation(identity)) for identity in range(1, 6)]
    assert [(one.subject, one.certificate_id) for one in rows[:3]] == [
        (known.subject, known.id),
        (deleted.subject, None),
        ("", None),
    ]
    assert [one.decision for one in rows] == [None, None, KEEP, None, DROP]
    for identity in (0, 6, 1 << 70):
        with pytest.raises(NotFound):
            db.get(db.store.recovered_revocation(identity))


def test_release(db: Opened) -> None:
    """Decides as well."""
    record = db.issue()
    assert recover(db, published(record.serial, HOLD)) == 1
    db.get(db.store.release(record.serial, event("release"), NOW))
    assert undecided(db) == []
    assert recover(db, published(record.serial, HOLD)) == 0
