"""Requests, intents and certificates in each database."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pikachu.core.errors import Conflict, IssuanceFailed, NotFound, PolicyViolation, UnknownSerial
from pikachu.core.interfaces import Begun, Repeated
from pikachu.core.model.certificates import Method, RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import NewChallengePassword
from pikachu.core.model.requests import RequestState
from tests.support.databases import CONSOLE, NOW, Opened, event, seal


def test_issued_certificate_is_found_again(db: Opened) -> None:
    """Steps 6 and 9 of issuance: the record matches the intent."""
    request_id, intent = db.begin("sensor", owner_id=7)
    record = db.complete(request_id, b"DER")
    assert (record.serial, record.common_name, record.owner_id, record.der) == (intent.serial, "sensor", 7, b"DER")
    assert db.get(db.store.certificate(record.id)) == record
    assert db.get(db.store.certificate_by_serial(intent.serial)) == record
    request = db.get(db.store.request(request_id))
    assert (request.state, request.serial, request.certificate_id) == (RequestState.ISSUED, intent.serial, record.id)
    assert request.csr == b""
    status = db.get(db.store.status(db.issuer.id, intent.serial))
    assert status is not None
    assert (status.revoked_at, status.deleted, status.not_after) == (None, False, intent.not_after)
    assert db.get(db.store.status(db.issuer.id + 1, intent.serial)) is None
    events = db.get(db.store.events(ListQuery(filters={"resource_type": "certificate"}))).items
    assert [one.event.type for one in events] == ["create"]


def test_what_is_not_there(db: Opened) -> None:
    """Ids and serials of nothing, also such as no column can hold."""
    for nothing in (1, 0, -1, 2**63, 10**40):
        with pytest.raises(NotFound):
            db.get(db.store.certificate(nothing))
        with pytest.raises(NotFound):
            db.get(db.store.request(nothing))
        with pytest.raises(UnknownSerial):
            db.get(db.store.certificate_by_serial(nothing))
    with pytest.raises(IssuanceFailed):
        db.get(db.store.complete(99, b"x", Method.EST, event(), NOW))
    assert db.get(db.store.status(1, 5)) is None


def test_repeated_request_gives_the_same_certificate(db: Opened) -> None:
    """EST within ten minutes, SCEP for ever (the digest decides); after the window the request is a new one."""
    key = b"k" * 32
    request = db.request(key_id=key, dedupe=b"digest", dedupe_seconds=600, transaction=b"transaction")
    first = db.get(db.store.begin(request, db.intent(request), NOW))
    assert isinstance(first, Begun)
    again = db.get(db.store.begin(request, db.intent(request), NOW + timedelta(seconds=1)))
    assert isinstance(again, Repeated)
    assert (again.request.state, again.certificate) == (RequestState.ISSUING, None)
    record = db.complete(first.request_id)
    again = db.get(db.store.begin(request, db.intent(request), NOW + timedelta(seconds=599)))
    assert isinstance(again, Repeated)
    assert again.certificate == record
    polled = db.get(db.store.request_by_transaction(b"transaction"))
    assert polled is not None
    assert polled.certificate == record
    assert db.get(db.store.request_by_transaction(b"other")) is None
    late = db.get(db.store.begin(request, db.intent(request), NOW + timedelta(seconds=600)))
    assert isinstance(late, Begun)
    polled = db.get(db.store.request_by_transaction(b"transaction"))
    assert polled is not None
    assert polled.request.id == late.request_id


def test_failed_request_may_be_repeated(db: Opened) -> None:
    """The signer gave no signature: the challenge password and the digest are free again, the serial is not."""
    challenge = db.get(
        db.store.add_challenge(
            NewChallengePassword(b"hmac", "12345678", seal, None, NOW + timedelta(hours=1)), event(), NOW
        )
    )
    request = db.request(dedupe=b"digest", challenge_id=challenge.id)
    intent = db.intent(request)
    first = db.get(db.store.begin(request, intent, NOW))
    assert isinstance(first, Begun)
    db.get(db.store.fail(first.request_id, "Vault is down", event("fail"), NOW))
    failed = db.get(db.store.request(first.request_id))
    assert (failed.state, failed.reason) == (RequestState.FAILED, "Vault is down")
    with pytest.raises(IssuanceFailed):
        db.complete(first.request_id)
    with pytest.raises(IssuanceFailed):
        db.get(db.store.begin(request, intent, NOW))
    second = db.get(db.store.begin(request, db.intent(request), NOW))
    assert isinstance(second, Begun)
    record = db.complete(second.request_id)
    used = db.get(db.store.challenge(challenge.id))
    assert (used.consumed_at, used.consumed_serial) == (NOW, record.serial)


def test_approval(db: Opened) -> None:
    """Pending → issuing by an admin; a repetition meanwhile finds the request waiting; nobody decides twice."""
    request = db.request(dedupe=b"digest", transaction=b"t")
    begun = db.get(db.store.begin(request, None, NOW))
    assert isinstance(begun, Begun)
    waiting = db.get(db.store.begin(request, None, NOW))
    assert isinstance(waiting, Repeated)
    assert waiting.request.state is RequestState.PENDING
    assert waiting.request.csr == request.csr
    pending = ListQuery(filters={"state": "pending"})
    assert [one.id for one in db.get(db.store.requests(pending)).items] == [begun.request_id]
    with pytest.raises(IssuanceFailed):
        db.complete(begun.request_id)
    intent = db.intent(request, subject="CN=approved")
    approved = db.get(db.store.approve(begun.request_id, intent, CONSOLE, event("approve"), NOW))
    assert (approved.state, approved.decided_by, approved.serial) == (RequestState.ISSUING, CONSOLE.name, intent.serial)
    assert db.get(db.store.requests(pending)).items == ()
    with pytest.raises(Conflict):
        db.get(db.store.approve(begun.request_id, intent, CONSOLE, event("approve"), NOW))
    with pytest.raises(Conflict):
        db.get(db.store.reject(begun.request_id, "admin", "no", event("reject"), NOW))
    assert db.complete(begun.request_id).subject == "CN=approved"
    with pytest.raises(NotFound):
        db.get(db.store.approve(99, intent, CONSOLE, event("approve"), NOW))


def test_rejection_frees_the_challenge(db: Opened) -> None:
    """A challenge password is reserved when the request is accepted and freed on rejection."""
    challenge = db.get(
        db.store.add_challenge(
            NewChallengePassword(b"hmac", "12345678", seal, None, NOW + timedelta(hours=1)), event(), NOW
        )
    )
    request = db.request(dedupe=b"digest", challenge_id=challenge.id)
    begun = db.get(db.store.begin(request, None, NOW))
    assert isinstance(begun, Begun)
    assert db.get(db.store.challenge(challenge.id)).reserved_by == begun.request_id
    rejected = db.get(db.store.reject(begun.request_id, "admin", "who is this?", event("reject"), NOW))
    assert (rejected.state, rejected.reason) == (RequestState.REJECTED, "who is this?")
    assert db.get(db.store.challenge(challenge.id)).reserved_by is None
    again = db.get(db.store.begin(request, None, NOW))
    assert isinstance(again, Repeated)
    assert again.request.state is RequestState.REJECTED


def test_expired_or_used_challenge_is_refused(db: Opened) -> None:
    """CHP-2: once, and in its time (judged when the request arrives)."""
    end = NOW + timedelta(minutes=5)
    challenge = db.get(db.store.add_challenge(NewChallengePassword(b"hmac", "12345678", seal, None, end), event(), NOW))
    request = db.request(challenge_id=challenge.id)
    with pytest.raises(Conflict):
        db.get(db.store.begin(request, db.intent(request), end))
    begun = db.get(db.store.begin(request, db.intent(request), end - timedelta(seconds=1)))
    assert isinstance(begun, Begun)
    with pytest.raises(Conflict):
        db.begin("other", challenge_id=challenge.id)
    db.get(db.store.complete(begun.request_id, b"x", Method.SCEP, event(), end + timedelta(days=1)))
    with pytest.raises(Conflict):
        db.begin("other", challenge_id=challenge.id)


def test_one_challenge_and_a_hundred_requests(db: Opened) -> None:
    """CHP-2: exactly one of them is accepted."""
    challenge = db.get(
        db.store.add_challenge(
            NewChallengePassword(b"hmac", "12345678", seal, None, NOW + timedelta(hours=1)), event(), NOW
        )
    )
    outcomes: list[object] = []
    for index in range(100):
        request = db.request(f"device-{index}", challenge_id=challenge.id)
        db.store.begin(request, db.intent(request), NOW).addBoth(outcomes.append)
    while len(outcomes) < 100:
        db.calls.make_one()
    assert sum(isinstance(one, Begun) for one in outcomes) == 1
    assert sum(getattr(one, "type", None) is Conflict for one in outcomes) == 99
    assert len(db.get(db.store.requests(ListQuery())).items) == 1


def test_a_key_belongs_to_its_owner(db: Opened) -> None:
    """The same owner or the same subject may have a key certified again, nobody else; the authority's
    own certificates don't count.
    """
    key = b"k" * 32
    db.issue("first", key_id=key, owner_id=1)
    db.issue("second", key_id=key, owner_id=1)
    db.issue("first", key_id=key, owner_id=1)
    with pytest.raises(PolicyViolation):
        db.begin("third", key_id=key, owner_id=2)
    with pytest.raises(PolicyViolation):
        db.begin("third", key_id=key, owner_id=None)
    db.issue("ca", key_id=key, owner_id=2, method=Method.CA)
    other = b"o" * 32
    db.begin("waiting", key_id=other, owner_id=1)
    with pytest.raises(PolicyViolation):
        db.begin("thief", key_id=other, owner_id=2)


def test_serials_are_given_once(db: Opened) -> None:
    """A serial is unique in the whole database, whatever becomes of its request."""
    _, intent = db.begin()
    request = db.request()
    with pytest.raises(IssuanceFailed):
        db.get(db.store.begin(request, db.intent(request, serial=intent.serial), NOW))
    issued = db.issue("issued")
    with pytest.raises(IssuanceFailed):
        db.get(db.store.begin(request, db.intent(request, serial=issued.serial), NOW))


def test_orphans(db: Opened) -> None:
    """Intents without a certificate: of a process that started again, and old ones of others."""
    mine, _ = db.begin("mine", intent={"process": "me"})
    other, _ = db.begin("other", intent={"process": "other"})
    old, intent = db.begin("old", intent={"process": "gone"}, created_at=NOW - timedelta(days=1))
    db.issue("done", intent={"process": "me"})

    def orphans(process: str | None) -> set[int]:
        return {one.id for one in db.get(db.store.orphans(process, NOW - timedelta(hours=1)))}

    assert orphans("me") == {mine, old}
    assert orphans("other") == {other, old}
    assert orphans(None) == {old}
    db.get(db.store.abandon(old, event("abandon"), NOW))
    assert orphans(None) == set()
    abandoned = db.get(db.store.request(old))
    assert (abandoned.state, abandoned.serial) == (RequestState.FAILED, intent.serial)


def test_orphaned_serial_can_be_revoked(db: Opened) -> None:
    """Nothing that may have been signed is beyond revocation: OCSP and the CRL know the serial."""
    request_id, intent = db.begin()
    db.get(db.store.abandon(request_id, event("abandon"), NOW))
    with pytest.raises(UnknownSerial):
        db.get(db.store.certificate_by_serial(intent.serial, deleted=True))
    record, changed = db.get(db.store.revoke(intent.serial, NOW, RevocationReason.KEY_COMPROMISE, event("revoke")))
    assert changed
    assert (record.id, record.der, record.revoked_at) == (0, b"", NOW)
    status = db.get(db.store.status(db.issuer.id, intent.serial))
    assert status is not None
    assert (status.revoked_at, status.reason) == (NOW, RevocationReason.KEY_COMPROMISE)
    entries = db.get(db.store.crl_entries(db.issuer.id, 0))
    assert entries is not None
    assert entries[1] == 1
    assert db.get(db.store.certificate_by_serial(intent.serial, deleted=True)) == record
    assert db.get(db.store.revoke(intent.serial, NOW, RevocationReason.SUPERSEDED, event("revoke"))) == (record, False)


def test_revoked_intent_gives_a_revoked_certificate(db: Opened) -> None:
    """A late signature does not undo a revocation."""
    request_id, intent = db.begin()
    db.get(db.store.revoke(intent.serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
    record = db.complete(request_id)
    assert (record.revoked_at, record.reason) == (NOW, RevocationReason.SUPERSEDED)
    assert db.get(db.store.certificate(record.id)) == record


def test_a_compromised_key_is_certified_for_nobody_again(db: Opened) -> None:
    """Others know it, so that a certificate for it would let them in; other reasons leave the key to its owner."""
    record = db.issue("device", owner_id=3)
    again = db.request("device", owner_id=3, key_id=record.key_id)
    db.get(db.store.revoke(record.serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
    assert isinstance(db.get(db.store.begin(again, db.intent(again), NOW)), Begun)
    stolen = db.issue("stolen", owner_id=3)
    db.get(db.store.revoke(stolen.serial, NOW, RevocationReason.KEY_COMPROMISE, event("revoke")))
    again = db.request("stolen", owner_id=3, key_id=stolen.key_id)
    with pytest.raises(PolicyViolation, match="compromised"):
        db.get(db.store.begin(again, db.intent(again), NOW))
