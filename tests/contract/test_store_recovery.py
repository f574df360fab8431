"""Revocations recovered from a published CRL, in each database."""

from __future__ import annotations

from datetime import timedelta

from pikachu.core.model.certificates import PublishedRevocation, RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.recovery_interfaces import RecoveryDecision
from pikachu.x509.crl import crl_entry
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
    missing = db.get(db.store.missing_revocations(db.issuer.id, entries))
    return db.get(db.store.recover_revocations(db.issuer.id, missing, PERIOD, event("recover"), NOW))


def listed(db: Opened) -> tuple[int, bytes]:
    """Number and concatenation of the CRL entries."""
    entries = db.get(db.store.crl_entries(db.issuer.id, 0))
    assert entries is not None
    return entries[1:]


def undecided(db: Opened) -> list[tuple[int, str]]:
    """Serial number and subject of what waits for a decision."""
    return [(one.serial, one.subject) for one in db.get(db.store.recovered_revocations(0, 100))]


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
    missing = db.get(db.store.missing_revocations(db.issuer.id, entries))
    assert [one.serial for one in missing] == [lost.serial, expired.serial, 0x77, 0, -5, 1 << 170]
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

    before = db.get(db.store.latest_change())
    assert decide(KEEP, kept, 0x77, 0x99) == [kept, 0x77]
    assert db.get(db.store.latest_change()) == before
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


def test_release(db: Opened) -> None:
    """Decides as well."""
    record = db.issue()
    assert recover(db, published(record.serial, HOLD)) == 1
    db.get(db.store.release(record.serial, event("release"), NOW))
    assert undecided(db) == []
    assert recover(db, published(record.serial, HOLD)) == 0
