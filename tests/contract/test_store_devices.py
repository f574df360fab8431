"""Devices in every kind of database (DEV-1)."""

from __future__ import annotations

from datetime import timedelta
from secrets import token_bytes
from typing import Any

import pytest

from pikachu.core.errors import Conflict, MalformedRequest, NotFound, RetiredDevice
from pikachu.core.interfaces import Begun
from pikachu.core.model.certificates import Method, PublishedRevocation, RevocationReason
from pikachu.core.model.devices import Device, DeviceState, renewal_times
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import NewChallengePassword
from pikachu.core.recovery_interfaces import RecoveryDecision
from pikachu.storage.settings import StoreSettings
from pikachu.x509.bound_names import read_bound_names
from pikachu.x509.crl import crl_entry
from tests.support.databases import CONSOLE, NOW, Opened, event, execute, opened, seal

DAY = timedelta(days=1)
HOLD = RevocationReason.CERTIFICATE_HOLD


def devices(db: Opened, at: timedelta = timedelta(0), **values: Any) -> list[Device]:
    """The devices of a list."""
    return list(db.get(db.store.devices(ListQuery(**({"sort": "id"} | values)), NOW + at)).items)


def names(db: Opened, at: timedelta = timedelta(0), **values: Any) -> list[str]:
    """The names of the devices of a list."""
    return [one.name for one in devices(db, at, **values)]


def test_times() -> None:
    """Renewal is due in the last third, but at most 30 days before the end; half of that later it is overdue."""
    day = 86400
    assert renewal_times(0, 9 * day) == (6 * day, 7.5 * day)
    assert renewal_times(0, 365 * day) == (335 * day, 350 * day)


def test_certificates_join_their_device(db: Opened) -> None:
    """One of each name and owner, in any spelling, with what the last enrollment said."""
    first = db.issue("Pump-1", owner_id=1, address="192.0.2.1")
    db.issue("pump-1", owner_id=2)
    db.issue("pump-1")
    second = db.complete(
        db.begin(
            "PUMP-1",
            owner_id=1,
            address="192.0.2.2",
            policy="other",
            intent={"not_after": NOW + 9 * DAY, "policy": "other"},
        )[0],
        b"renewal",
        NOW + DAY,
    )
    assert first.device_id == second.device_id is not None
    device, *others = devices(db)
    assert [(one.name, one.owner_id) for one in others] == [("pump-1", 2), ("pump-1", None)]
    assert device == db.get(db.store.device(device.id))
    assert (device.name, device.owner_id, device.certificates) == ("PUMP-1", 1, 2)
    assert (device.policy, device.method, device.address) == ("other", Method.EST, "192.0.2.2")
    assert (device.created_at, device.enrolled_at, device.not_after) == (NOW, NOW + DAY, NOW + 9 * DAY)
    assert device.certificate_id == second.id
    assert device.due_at == NOW + 6 * DAY
    found = db.get(db.store.certificates(ListQuery(filters={"device": str(device.id)}), NOW)).items
    assert [one.id for one in found] == [second.id, first.id]
    with pytest.raises(NotFound):
        db.get(db.store.device(99))


def test_the_cas_own_are_no_devices(db: Opened) -> None:
    """Neither are certificates without any name."""
    request_id, _ = db.begin("ca", method=Method.CA)
    db.get(db.store.complete(request_id, b"x", Method.CA, event(), NOW))
    assert db.issue("", subject="O=Acme").device_id is None
    assert devices(db) == []


def test_states(db: Opened) -> None:
    """Each state is a filter, and finds what has it."""
    for days, name in ((90, "ninety"), (9, "nine"), (400, "long")):
        db.issue(name, intent={"not_after": NOW + days * DAY, "not_before": NOW})
    revoked = db.issue("revoked")
    db.get(db.store.revoke(revoked.serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
    for days in (0, 6, 8, 59, 61, 76, 90, 371, 386, 500):
        every = devices(db, days * DAY)
        for state in DeviceState:
            found = devices(db, days * DAY, filters={"state": state.value})
            assert found == [one for one in every if one.state(NOW + days * DAY) is state], (days, state)
    assert names(db, 6 * DAY, filters={"state": "due"}) == ["nine"]
    assert names(db, 8 * DAY, filters={"state": "overdue"}) == ["nine", "revoked"]


def test_expiry(db: Opened) -> None:
    """By the end of the current certificate, also together with a state; not by that of an earlier certificate."""
    for days, name in ((9, "nine"), (40, "forty"), (400, "long"), (20, "forty"), (40, "forty")):
        db.issue(name, intent={"not_after": NOW + days * DAY, "not_before": NOW})
    assert names(db, filters={"expires": "10d"}) == ["nine"]
    assert names(db, filters={"expires": "30d"}) == ["nine"]
    assert names(db, filters={"expires": "60d"}) == ["nine", "forty"]
    assert names(db, 8 * DAY, filters={"expires": "30d", "state": "overdue"}) == ["nine"]
    assert names(db, 8 * DAY, filters={"expires": "60d", "state": "ok"}) == ["forty"]
    end = f"{NOW + 40 * DAY:%Y-%m-%d}"
    assert names(db, filters={"expires_from": end, "expires_to": end}) == ["forty"]
    with pytest.raises(MalformedRequest):
        names(db, filters={"expires": "soon"})


def test_status_changes(db: Opened) -> None:
    """The current certificate is the newest that is in force."""
    old = db.issue("pump", intent={"not_after": NOW + 90 * DAY})
    new = db.issue("pump", intent={"not_after": NOW + 99 * DAY})
    db.get(db.store.revoke(new.serial, NOW, HOLD, event("revoke")))
    (device,) = devices(db)
    assert (device.certificate_id, device.not_after, device.certificates) == (old.id, old.not_after, 2)
    db.get(db.store.revoke(old.serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
    (device,) = devices(db)
    assert (device.certificate_id, device.due_at) == (None, None)
    assert device.state(NOW) is DeviceState.OVERDUE
    db.get(db.store.release(new.serial, event("release"), NOW))
    (device,) = devices(db)
    assert (device.certificate_id, device.not_after) == (new.id, new.not_after)
    db.get(db.store.delete_certificate(new.id, event("delete"), NOW))
    (device,) = devices(db)
    assert (device.certificate_id, device.certificates) == (None, 1)
    db.get(db.store.delete_certificate(old.id, event("delete"), NOW))
    assert devices(db) == []
    assert db.issue("pump").device_id == device.id
    assert [one.certificates for one in devices(db)] == [1]


def fill(db: Opened) -> None:
    """Devices of two owners and two policies."""
    for number in range(8):
        db.issue(
            f"Gerät-{number}",
            owner_id=1 + number % 2,
            policy="even" if number % 2 else "odd",
            intent={"not_after": NOW + timedelta(days=90 - number), "policy": "even" if number % 2 else "odd"},
        )


def test_filters_and_pages(db: Opened) -> None:
    """By policy, method, owner and name in any script; every order; pages in both directions."""
    fill(db)
    even = [f"Gerät-{number}" for number in (1, 3, 5, 7)]
    assert names(db, filters={"policy": "even"}) == names(db, owner_id=2) == even
    assert names(db, filters={"policy": "even", "method": "EST"}) == names(db, filters={"owner": "OWNER-2"}) == even
    assert names(db, filters={"method": "SCEP"}) == names(db, filters={"policy": "none"}) == []
    assert names(db, q="GERÄT-3") == names(db, q="rät-3 acme") == ["Gerät-3"]
    assert names(db, q="rät-3", filters={"policy": "odd"}) == names(db, q="nothing") == []
    for sort in ("id", "name", "due_at", "enrolled_at", "created_at"):
        expected = names(db, sort=sort)
        assert names(db, sort=f"-{sort}") == expected[::-1], sort
        first = db.get(db.store.devices(ListQuery(sort=sort, limit=3, count=True), NOW))
        then = db.get(db.store.devices(ListQuery(sort=sort, limit=3, cursor=first.next_cursor), NOW))
        assert [one.name for one in (*first.items, *then.items)] == expected[:6]
        assert first.total == 8
        back = db.get(db.store.devices(ListQuery(sort=sort, limit=3, cursor=then.previous_cursor), NOW))
        assert back.items == first.items
    for filters in ({"state": "new"}, {"method": "x"}, {"owner": "nobody"}, {"shape": "x"}):
        with pytest.raises(MalformedRequest):
            devices(db, filters=filters)
    with pytest.raises(MalformedRequest):
        devices(db, sort="serial")


def test_many(database_url: str) -> None:
    """Where filters select many rows, the list is read along an index, with the same results."""
    with opened(database_url, fsync=False, settings=StoreSettings(few_certificates=2)) as db:
        fill(db)
        even = [f"Gerät-{number}" for number in (1, 3, 5, 7)]
        for sort in ("id", "name", "enrolled_at"):
            found = db.get(db.store.devices(ListQuery(sort=sort, filters={"policy": "even"}, count=True), NOW))
            assert ([one.name for one in found.items], found.total) == (even, 4)
        found = db.get(db.store.devices(ListQuery(sort="due_at", owner_id=2, limit=2), NOW))
        assert [one.name for one in found.items] == even[:1:-1]
        found = db.get(db.store.devices(ListQuery(sort="due_at", owner_id=2, limit=2, cursor=found.next_cursor), NOW))
        assert [one.name for one in found.items] == even[1::-1]
        assert len(names(db, q="gerät-")) == 8
        assert len(names(db, filters={"state": "ok", "method": "EST"})) == 8


def test_backfill(database_url: str) -> None:
    """Certificates of an earlier version are assigned, the newest first, in parts, whatever happens in between."""
    with opened(database_url, fsync=False) as db:
        old = [db.issue("pump", address="192.0.2.1") for _ in range(5)]
        gone = db.issue("gone")
        db.get(db.store.revoke(old[-1].serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
        db.get(db.store.delete_certificate(gone.id, event("delete"), NOW))
        expected = devices(db)
    execute(
        database_url,
        "UPDATE certificates SET device_id = NULL",
        "DELETE FROM devices",
        f"INSERT INTO backfills (name, before, total) VALUES ('devices', {gone.id + 1}, 6)",
    )
    with opened(database_url, fsync=False) as db:
        assert db.get(db.store.devices(ListQuery(), NOW)).unindexed == 6
        backlog = db.get(db.store.assign_devices(2, NOW))
        assert backlog is not None
        assert (backlog.before, backlog.total) == (old[-1].id, 6)
        newest = db.issue("PUMP")
        while db.get(db.store.assign_devices(2, NOW)) is not None:
            pass
        assert db.get(db.store.assign_devices(2, NOW)) is None
        (device,) = devices(db)
        assert (device.certificates, device.name, device.certificate_id) == (6, "PUMP", newest.id)
        assert device.certificates == expected[0].certificates + 1
        assert db.get(db.store.devices(ListQuery(), NOW)).unindexed == 0
        found = db.get(db.store.certificates(ListQuery(filters={"device": str(device.id)}), NOW)).items
        assert len(found) == 6


def named_challenge(db: Opened, name: str, owner_id: int | None) -> int:
    """The id of a challenge password that is bound to a name."""
    number = token_bytes(8)
    names = read_bound_names(f"CN={name}", [])
    challenge = NewChallengePassword(number, number.hex()[:8], seal, owner_id, NOW + DAY, "", names)
    return db.get(db.store.add_challenge(challenge, event(), NOW)).id


def retired_event(device: Device) -> Event:
    """The event of a retirement."""
    return Event("retire", "device", device.name, "someone", owner_id=device.owner_id)


def test_retirement(db: Opened) -> None:
    """DEV-2: its certificates are revoked, its challenge passwords ended, and nothing is issued any more."""
    records = [db.issue("pump", owner_id=1, intent={"not_after": NOW + days * DAY}) for days in (-1, 9, 9, 9)]
    other = db.issue("pump", owner_id=2)
    db.get(db.store.revoke(records[1].serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
    db.get(db.store.revoke(records[2].serial, NOW, HOLD, event("revoke")))
    db.get(db.store.delete_certificate(records[3].id, event("delete"), NOW))
    ids = [named_challenge(db, name, owner_id) for name, owner_id in (("PUMP", 1), ("pump", 2), ("pumps", 1))]
    device_id = records[0].device_id or 0
    listed = db.get(db.store.challenges(ListQuery(filters={"device": str(device_id)}), NOW)).items
    assert [one.id for one in listed] == ids[:1]
    begun, _ = db.begin("pump", owner_id=1, device="pump")
    compromise = RevocationReason.KEY_COMPROMISE
    done = db.get(db.store.retire_device(device_id, compromise, retired_event, NOW))
    assert (done.certificates, done.challenge_passwords) == (2, 1)
    assert done.device.state(NOW) is DeviceState.RETIRED
    assert [one.id for one in devices(db, filters={"state": "retired"})] == [device_id]
    reasons = [db.get(db.store.certificate_by_serial(one.serial, deleted=True)).reason for one in records]
    assert reasons == [None, RevocationReason.SUPERSEDED, compromise, compromise]
    assert db.get(db.store.certificate(other.id)).revoked_at is None
    available = db.get(db.store.challenges(ListQuery(sort="id", filters={"status": "available"}), NOW)).items
    assert [one.id for one in available] == ids[1:]
    # What was being signed is revoked with it.
    late = db.complete(begun, b"late")
    assert (late.reason, late.device_id) == (compromise, device_id)
    assert db.get(db.store.crl_entries(db.issuer.id, 0))[1] == 4  # type: ignore[index]
    with pytest.raises(RetiredDevice):
        db.begin("PUMP", owner_id=1, device="PUMP")
    db.begin("pump", owner_id=2, device="pump")
    with pytest.raises(Conflict):
        db.get(db.store.retire_device(device_id, compromise, retired_event, NOW))
    events = [record.event for record in db.get(db.store.device_events(device_id, 50))]
    assert [one.type for one in events if one.resource_type == "device"] == ["retire"]
    assert len([one for one in events if one.type == "revoke" and one.details.get("subject")]) == 2
    device = db.get(db.store.reinstate_device(device_id, retired_event, NOW))
    assert device.state(NOW) is DeviceState.OVERDUE
    with pytest.raises(Conflict):
        db.get(db.store.reinstate_device(device_id, retired_event, NOW))
    assert db.issue("pump", owner_id=1, device="pump").device_id == device_id
    assert db.get(db.store.device(device_id)).state(NOW) is DeviceState.OK


def test_a_retired_device_is_not_approved(db: Opened) -> None:
    """Neither does a repetition get the certificate from before."""
    record = db.issue("pump", dedupe=b"repeated")
    pending = db.get(db.store.begin(db.request("pump"), None, NOW))
    assert isinstance(pending, Begun)
    db.get(db.store.retire_device(record.device_id or 0, RevocationReason.SUPERSEDED, retired_event, NOW))
    intent = db.intent(db.request("pump"), "pump", device="pump")
    with pytest.raises(RetiredDevice):
        db.get(db.store.approve(pending.request_id, intent, CONSOLE, event(), NOW))
    with pytest.raises(RetiredDevice):
        db.get(db.store.begin(db.request("pump", dedupe=b"repeated"), None, NOW))


def in_force(db: Opened, device_id: int | None) -> list[int]:
    """The serial numbers of a device's certificates that are not revoked."""
    found = db.get(db.store.certificates(ListQuery(filters={"device": str(device_id)}), NOW)).items
    return [one.serial for one in found if one.revoked_at is None]


def test_the_backfill_revokes_for_a_retired_device(database_url: str) -> None:
    """DEV-2: what belonged to no device yet when that was retired is revoked when it is assigned to it."""
    with opened(database_url, fsync=False) as db:
        valid = db.issue("pump", owner_id=1)
        expired = db.issue("pump", owner_id=1, intent={"not_after": NOW - DAY})
        deleted = db.issue("pump", owner_id=1)
        db.get(db.store.delete_certificate(deleted.id, event("delete"), NOW))
        held = db.issue("pump", owner_id=1)
        db.get(db.store.revoke(held.serial, NOW, HOLD, event("revoke")))
        other = db.issue("pump", owner_id=2)
    execute(
        database_url,
        "UPDATE certificates SET device_id = NULL",
        "DELETE FROM devices",
        f"INSERT INTO backfills (name, before, total) VALUES ('devices', {other.id + 1}, 5)",
    )
    with opened(database_url, fsync=False) as db:
        newest = db.issue("pump", owner_id=1)
        compromise = RevocationReason.KEY_COMPROMISE
        db.get(db.store.retire_device(newest.device_id or 0, compromise, retired_event, NOW))
        while db.get(db.store.assign_devices(2, NOW)) is not None:
            pass
        one = db.get(db.store.device(newest.device_id or 0))
        assert (one.certificates, one.certificate_id) == (4, expired.id)
        reasons = [
            db.get(db.store.certificate_by_serial(each.serial, deleted=True)).reason
            for each in (valid, expired, deleted, held, other)
        ]
        assert reasons == [compromise, None, compromise, compromise, None]
        events = [record.event for record in db.get(db.store.device_events(one.id, 50))]
        assert len([each for each in events if each.type == "revoke" and each.actor == "Pikachu CA"]) == 3


def test_a_dropped_revocation_leaves_a_retired_device_revoked(db: Opened) -> None:
    """DEV-2: what was revoked until a decision when its device was retired does not get in force again."""
    valid, held = db.issue("pump"), db.issue("pump")
    db.get(db.store.revoke(held.serial, NOW, HOLD, event("revoke")))
    compromise, ceased = RevocationReason.KEY_COMPROMISE, RevocationReason.CESSATION_OF_OPERATION
    entries = [
        PublishedRevocation(one.serial, NOW, compromise, crl_entry(one.serial, NOW, compromise))
        for one in (valid, held)
    ]
    db.get(db.store.recover_revocations(db.issuer.id, entries, (NOW, NOW + DAY), event("recover"), NOW))
    db.get(db.store.retire_device(valid.device_id or 0, ceased, retired_event, NOW))
    serials = [valid.serial, held.serial]
    db.get(db.store.decide_recovered(serials, RecoveryDecision.DROP, event("drop"), NOW))
    assert [db.get(db.store.certificate(one.id)).reason for one in (valid, held)] == [ceased, ceased]
    assert in_force(db, valid.device_id) == []


def test_a_revoked_intent_leaves_the_times_of_its_device(db: Opened) -> None:
    """A certificate that is revoked when it is stored does not become the current one of its device."""
    first = db.issue("pump")
    request_id, intent = db.begin("pump")
    db.get(db.store.revoke(intent.serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
    late = db.complete(request_id, b"late")
    assert late.revoked_at is not None
    device = db.get(db.store.device(first.device_id or 0))
    assert (device.certificates, device.certificate_id, device.state(NOW)) == (2, first.id, DeviceState.OK)
    assert names(db, filters={"state": "ok"}) == ["pump"]


def test_check_device(db: Opened) -> None:
    """A retired device of that name and owner is refused, however it is spelled; an unknown one is not."""
    db.issue("Pump-1")
    (device,) = devices(db)
    db.get(db.store.check_device("pump-1", device.owner_id))
    db.get(db.store.retire_device(device.id, RevocationReason.SUPERSEDED, lambda _: event(), NOW))
    with pytest.raises(RetiredDevice):
        db.get(db.store.check_device("PUMP-1", device.owner_id))
    for name, owner_id in (("pump-1", 99), ("pump-2", device.owner_id), ("", device.owner_id)):
        db.get(db.store.check_device(name, owner_id))


def test_a_rare_method(db: Opened) -> None:
    """Its devices are found under each policy."""
    for number, policy in enumerate(("a", "b", "b", "c")):
        method = Method.SCEP if number in (0, 2) else Method.EST
        request_id, _ = db.begin(f"{policy}-{number}", method=method, policy=policy)
        db.get(db.store.complete(request_id, b"certificate", method, event(), NOW))
    assert names(db, filters={"method": "SCEP"}) == ["a-0", "b-2"]
    assert names(db, filters={"method": "EST"}) == ["b-1", "c-3"]
    assert names(db, filters={"method": "UI"}) == []
