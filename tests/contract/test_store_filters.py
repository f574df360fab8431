"""Filters of the list of certificates, and numbers in its search, in each database (CRT-1)."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.list_queries import ListQuery
from tests.contract.test_store_lists import HOLD, fill, names
from tests.support.databases import NOW, Opened, event, opened


def test_more_filters(db: Opened) -> None:
    """CRT-1: hold, expiry, issuance, policy, key and owner, with the same results in each database."""
    records = fill(db)
    db.get(db.store.revoke(records[2].serial, NOW, HOLD, event("revoke")))
    db.get(db.store.revoke(records[3].serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
    day = timedelta(days=1)
    soon = db.issue("soon", intent={"not_after": NOW + 9 * day}, policy="Pumps", key_type="RSA/3072")
    assert names(db, filters={"status": "on_hold"}) == ["Device-2"]
    assert names(db, filters={"status": "revoked"}) == ["Device-2", "Device-3"]
    assert names(db, filters={"expires": "9d"}) == []
    assert names(db, filters={"expires": "10d"}) == names(db, filters={"expires": "217h"}) == ["soon"]
    assert names(db, filters={"expires_to": f"{NOW:%Y-%m-%d}", "expires_from": "2025-12-31"}) == ["old"]
    assert names(db, filters={"expires_to": f"{NOW - day:%Y-%m-%dT%H:%M:%SZ}"}) == []
    assert names(db, filters={"expires_to": f"{NOW - day + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"}) == ["old"]
    assert names(db, filters={"expires_from": f"{soon.not_after:%Y-%m-%d}", "expires": "2w"}) == ["soon"]
    assert names(db, filters={"expires": "2w", "status": "expired"}) == []
    assert len(names(db, filters={"issued": "1h"})) == len(names(db, filters={"issued_to": f"{NOW:%Y-%m-%d}"})) == 11
    assert names(db, filters={"issued_from": f"{NOW + day:%Y-%m-%d}"}) == []
    assert names(db, filters={"policy": "Pumps"}) == ["soon"]
    assert names(db, filters={"policy": "pump"}) == []
    assert names(db, filters={"key": "RSA"}) == names(db, filters={"key": "RSA/3072"}) == ["soon"]
    assert len(names(db, filters={"key": "EC", "method": "EST"})) == 10
    assert names(db, filters={"key": "PQC"}) == []
    assert names(db, filters={"key_sha256": soon.key_id.hex().upper()}) == ["soon"]
    assert names(db, filters={"owner": "OWNER-2"}) == names(db, owner_id=2)
    assert len(names(db, sort="-method", limit=100)) == 11


def test_numbers_in_any_spelling(db: Opened) -> None:
    """Serial numbers and fingerprints are found as programs print them."""
    fill(db)
    found = db.complete(db.begin("pump")[0], b"another certificate")
    serial = f"{found.serial:x}".zfill(40)
    pairs = [serial[index : index + 2] for index in range(0, 40, 2)]
    digest = hashlib.sha256(found.der).hexdigest()
    for text in (
        ":".join(pairs),
        " ".join(pairs).upper(),
        "-".join(pairs),
        f"serial={serial.upper()}",
        f"Serial Number: {':'.join(pairs)}",
        digest,
        digest[:20],
        ":".join(digest[index : index + 2] for index in range(0, 64, 2)).upper(),
        "SHA256 Fingerprint=" + ":".join(digest[index : index + 2] for index in range(0, 64, 2)),
        " ".join(digest[index : index + 8] for index in range(0, 64, 8)),
        found.key_id.hex(),
    ):
        assert names(db, q=text)[:1] == ["pump"], text
    assert names(db, q=f"pump {digest}") == ["pump"]
    assert names(db, q=f"nothing {digest}") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("issuer", "none"),
        ("owner", "nobody"),
        ("key", "DSA"),
        ("key", "RSA/%"),
        ("key_sha256", "ab"),
        ("expires", "30"),
        ("expires", "-1d"),
        ("expires", "999999d"),
        ("expires_from", "2026-02-30"),
        ("expires_to", "2026-01-01T00:00:00"),
        ("issued_from", "yesterday"),
        ("issued_to", "9999-12-31"),
        ("status", "hold"),
    ],
)
def test_values_that_no_certificate_has(name: str, value: str) -> None:
    """An unknown value is an error, and never selects everything or nothing without a word."""
    with opened("sqlite://") as db, pytest.raises(MalformedRequest):
        db.get(db.store.certificates(ListQuery(filters={name: value}), NOW))
