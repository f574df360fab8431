"""Issuance by engines in each database: serial numbers that somebody else picks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pikachu.core.errors import Conflict, IssuanceFailed
from pikachu.core.model.certificates import RevocationReason
from tests.support.databases import NOW, Opened, event

BUILT = 0x1234 << 120


def test_the_built_certificate_takes_the_place_of_the_intent(db: Opened) -> None:
    """Its serial number counts from then on, and that of the intent is nobody's."""
    request_id, intent = db.begin("sensor")
    assert db.get(db.store.intended([request_id, 99])) == {request_id: intent.tbs}
    assert not db.get(db.store.known_serials([intent.serial, BUILT]))
    began = intent.not_before + timedelta(minutes=4)
    db.get(db.store.record_signed(request_id, BUILT, b"built", began))
    assert db.get(db.store.intended([request_id])) == {request_id: b"built"}
    record = db.complete(request_id)
    assert (record.serial, record.not_before) == (BUILT, began)
    assert db.get(db.store.known_serials([intent.serial, BUILT])) == {BUILT}
    assert not db.get(db.store.intended([request_id]))


def test_what_is_not_recorded(db: Opened) -> None:
    """A serial number that a certificate or another intent has, a request that is over, and a revoked intent."""
    first, _ = db.begin("first")
    other, intent = db.begin("other")
    db.get(db.store.record_signed(first, BUILT, b"built", NOW))
    with pytest.raises(IssuanceFailed):
        db.get(db.store.record_signed(other, BUILT, b"built", NOW))
    db.complete(first)
    with pytest.raises(IssuanceFailed):
        db.get(db.store.record_signed(other, BUILT, b"built", NOW))
    for nothing in (first, 99):
        with pytest.raises(IssuanceFailed):
            db.get(db.store.record_signed(nothing, BUILT + 1, b"built", NOW))
    db.get(db.store.revoke(intent.serial, NOW, RevocationReason.UNSPECIFIED, event("revoke")))
    with pytest.raises(Conflict):
        db.get(db.store.record_signed(other, BUILT + 1, b"built", NOW))
