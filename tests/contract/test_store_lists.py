"""Lists, revocation, people and the audit log in each database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from twisted.internet.defer import Deferred

import pytest

from pikachu.core.errors import Conflict, MalformedRequest, NotFound, PikachuError, UnknownSerial
from pikachu.core.model.account_objects import NewServiceCredential
from pikachu.core.model.certificates import CertificateRecord, Method, RevocationReason, StatusChange
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import (
    AccountSource,
    AccountState,
    NewAccount,
    NewChallengePassword,
    NewToken,
    Role,
    Scope,
)
from pikachu.core.model.policies import Policy, PolicyLimits
from pikachu.core.model.requests import NewCSR
from pikachu.storage.settings import StoreSettings
from pikachu.storage.store import open_store
from pikachu.x509.crl import crl_entry
from tests.support.databases import NOW, SEALER, Opened, event, opened, seal
from tests.support.owners import add_owner

HOLD = RevocationReason.CERTIFICATE_HOLD


def names(db: Opened, **values: object) -> list[str]:
    """Common names on the page that this query gives."""
    query = replace(ListQuery(sort="id"), **values)  # type: ignore[arg-type]
    return [one.common_name for one in db.get(db.store.certificates(query, NOW)).items]


def fill(db: Opened) -> list[CertificateRecord]:
    """Ten certificates of several kinds."""
    records = [db.issue(f"Device-{index}", owner_id=index % 3 or None, method=Method.EST) for index in range(8)]
    records.append(db.issue("old", intent={"not_after": NOW - timedelta(days=1)}, subject="CN=old,O=50% \\_Corp"))
    records.append(db.issue("Ünïcode", subject="CN=Ünïcode,O=Umlaut"))
    return records


@pytest.mark.parametrize("sort", ["id", "created_at", "serial", "common_name", "not_after"])
def test_pages_forward_and_back(db: Opened, sort: str) -> None:
    """UI-2: each row once in each order, also while rows come and go; *previous* gives the page before."""
    fill(db)
    for order in (sort, f"-{sort}"):
        query = ListQuery(limit=3, sort=order, count=True)
        pages: list[Page[CertificateRecord]] = [db.get(db.store.certificates(query, NOW))]
        while pages[-1].next_cursor is not None:
            pages.append(db.get(db.store.certificates(replace(query, cursor=pages[-1].next_cursor), NOW)))
        ids = [record.id for page in pages for record in page.items]
        assert sorted(ids) == sorted(set(ids))
        assert len(ids) == pages[0].total
        assert pages[0].previous_cursor is None
        for before, page in pairwise(pages):
            back = db.get(db.store.certificates(replace(query, cursor=page.previous_cursor), NOW))
            assert back.items == before.items
        if sort == "common_name":
            keys = [record.common_name.casefold() for page in pages for record in page.items]
            assert keys == sorted(keys, reverse=order.startswith("-"))
    query = ListQuery(limit=4, sort="-id")
    first = db.get(db.store.certificates(query, NOW))
    db.get(db.store.delete_certificate(first.items[-1].id, event("delete"), NOW))
    new = db.issue("new")
    second = db.get(db.store.certificates(replace(query, cursor=first.next_cursor), NOW))
    assert {one.id for one in first.items} | {new.id} & {one.id for one in second.items} == {
        one.id for one in first.items
    }
    assert second.items[0].id == first.items[-1].id - 1


def test_filters(db: Opened) -> None:
    """CRT-1: status (computed), method, issuer, owner, and free text over subject, name and serial."""
    records = fill(db)
    db.get(db.store.revoke(records[2].serial, NOW, HOLD, event("revoke")))
    db.get(db.store.delete_certificate(records[7].id, event("delete"), NOW))
    assert names(db, filters={"status": "revoked"}) == ["Device-2"]
    assert names(db, filters={"status": "expired"}) == ["old"]
    assert len(names(db, filters={"status": "valid"})) == 7
    assert names(db, filters={"status": "expired"}, sort="-common_name") == ["old"]
    assert len(names(db, filters={"method": "EST"})) == 9
    assert names(db, filters={"method": "SCEP"}) == []
    assert len(names(db, filters={"issuer": "ec"})) == 9
    assert names(db, owner_id=1) == ["Device-1", "Device-4"]
    assert names(db, q="device-3") == ["Device-3"]
    assert len(names(db, q="DEVICE")) == 7
    assert names(db, q="device", sort="-not_after", limit=2, filters={"status": "revoked"}) == ["Device-2"]
    assert names(db, q=f"{records[4].serial:x}"[:12]) == ["Device-4"]
    assert names(db, q=f"0x{records[4].serial:X}") == ["Device-4"]
    assert names(db, q="de")[0] == "Device-0"
    assert names(db, q="nothing") == []
    assert names(db, q='"x" OR NEAR(') == []
    assert db.get(db.store.certificates(ListQuery(q="device", count=True), NOW)).total == 7
    # Part of the subject: where the database can index it.
    assert names(db, q="50% \\_") == ["old"]
    assert names(db, q="0_ ") == []
    assert names(db, q="Umlaut") == ["Ünïcode"]


def test_many_matches_and_other_filters(database_url: str) -> None:
    """A list gives the same where every filter leaves many and it walks along its order."""
    queries = [
        ListQuery(limit=2, q=q, sort=sort, filters=filters, owner_id=owner, count=True)
        for q in (None, "device", "device-")
        for sort in ("id", "-id", "common_name", "-common_name", "serial", "not_after", "-revoked_at")
        for filters in (
            *({}, {"status": "valid"}, {"status": "expired"}, {"status": "revoked"}, {"method": "EST"}),
            *({"issued": "1d", "key": "EC"}, {"status": "on_hold"}, {"expires": "5200w", "policy": "default"}),
        )
        for owner in (None, 2)
        if sort != "-revoked_at" or filters.get("status") in ("revoked", "on_hold")
    ]

    def answers(db: Opened) -> list[tuple[list[int], int | None]]:
        found = []
        for query in queries:
            page = db.get(db.store.certificates(query, NOW))
            ids = [one.id for one in page.items]
            if page.next_cursor is not None:
                page = db.get(db.store.certificates(replace(query, cursor=page.next_cursor), NOW))
                ids += [one.id for one in page.items]
            found.append((ids, page.total))
        return found

    with opened(database_url) as db:
        records = fill(db)
        db.get(db.store.revoke(records[2].serial, NOW, HOLD, event("revoke")))
        expected = answers(db)
    # No attempt finds a page, some find it, and all names that begin with the text are listed by id.
    for few, alike in ((0, 0), (3, 0), (0, 1000)):
        settings = StoreSettings(few_certificates=few, common_names=alike)
        with opened(database_url, settings=settings) as db:
            assert answers(db) == expected


def test_text_that_many_hold(database_url: str) -> None:
    """CRT-1: it is looked for at the beginning of all names, and elsewhere in the newest few thousand."""
    with opened(database_url) as db:
        fill(db)
        first = db.issue("first", subject="CN=first,O=Acme Works")
        for index in range(6):
            db.issue(f"gate-{index}", subject=f"CN=gate-{index},O=Acme Works")
        db.issue("Acme", subject="CN=Acme,O=Other")
        assert len(names(db, q="acme wo")) == 7
    with opened(database_url, settings=StoreSettings(few_certificates=4)) as db:
        assert names(db, q="acme works") == ["gate-2", "gate-3", "gate-4", "gate-5"]
        assert names(db, q="acme works", sort="-common_name", limit=2) == ["gate-5", "gate-4"]
        assert names(db, q=f"{first.serial:x}"[:20]) == ["first"]
        assert "Acme" in names(db, q="acme")
    with opened(database_url, settings=StoreSettings(few_certificates=4, common_names=3)) as db:
        assert names(db, q="gate") == [f"gate-{index}" for index in range(6)]
        assert names(db, q="gate", filters={"status": "expired"}) == []


def test_revoked_by_date(db: Opened) -> None:
    """VA-1: revoked certificates in the order of their revocation; others have none."""
    records = fill(db)
    for minutes, index in enumerate((4, 1, 6, 2)):
        at = NOW + timedelta(minutes=minutes)
        db.get(db.store.revoke(records[index].serial, at, HOLD, event("revoke")))
    asked: dict[str, object] = {"filters": {"status": "revoked"}, "sort": "-revoked_at"}
    assert names(db, **asked) == ["Device-2", "Device-6", "Device-1", "Device-4"]
    assert names(db, **asked, owner_id=1) == ["Device-1", "Device-4"]
    query = ListQuery(limit=3, sort="revoked_at", filters={"status": "revoked"}, count=True)
    page = db.get(db.store.certificates(query, NOW))
    assert page.total == 4
    rest = db.get(db.store.certificates(replace(query, cursor=page.next_cursor), NOW))
    assert [one.common_name for one in (*page.items, *rest.items)] == ["Device-4", "Device-1", "Device-6", "Device-2"]
    for filters in ({}, {"status": "valid"}):
        with pytest.raises(MalformedRequest, match="status=revoked"):
            db.get(db.store.certificates(ListQuery(sort="revoked_at", filters=filters), NOW))


def test_queries_that_can_not_be_answered(db: Opened) -> None:
    """Bad input gives MalformedRequest, whatever it is."""
    fill(db)
    cursor = db.get(db.store.certificates(ListQuery(limit=2), NOW)).next_cursor
    assert cursor is not None
    bad = [
        ListQuery(limit=0),
        ListQuery(limit=1001),
        ListQuery(sort="der"),
        ListQuery(sort=""),
        ListQuery(cursor="x"),
        ListQuery(cursor=cursor, sort="serial"),
        ListQuery(cursor=cursor[:-3]),
        # ["-id",5,5,[]]: a list can't be looked up in a set.
        ListQuery(cursor="WyItaWQiLDUsNSxbXV0"),
        ListQuery(cursor="WyItaWQiLDEsMSwwXQ"[:-1] + "é"),
        ListQuery(q="\0"),
        ListQuery(q="\ud800"),
        ListQuery(q="x" * 201),
        ListQuery(filters={"status": "lost"}),
        ListQuery(filters={"colour": "red"}),
        ListQuery(filters={"issuer": "\0"}),
    ]
    for query in bad:
        with pytest.raises(MalformedRequest):
            db.get(db.store.certificates(query, NOW))


def test_expired_ids(db: Opened) -> None:
    """CRT-8: ids of what has ended, ascending, in pages."""
    ended = [db.issue(f"old-{index}", intent={"not_after": NOW - timedelta(days=index + 1)}).id for index in range(4)]
    db.issue("new")
    assert db.get(db.store.expired_ids(NOW, 0, 3)) == ended[:3]
    assert db.get(db.store.expired_ids(NOW, ended[2], 3)) == ended[3:]
    assert db.get(db.store.expired_ids(NOW, 10**30, 3)) == []


def test_revocation(db: Opened) -> None:
    """CRT-5: once; a hold ends in release or a final revocation that keeps its time."""
    told: list[list[StatusChange]] = []
    db.store.subscribe(told.append)
    one, two = db.issue("one"), db.issue("two")
    issuer = db.issuer.id
    assert db.store.latest_change() == 0
    assert db.get(db.store.crl_entries(issuer, 0)) == (0, 0, b"")
    record, changed = db.get(db.store.revoke(one.serial, NOW, HOLD, event("revoke")))
    assert changed
    assert (record.revoked_at, record.reason) == (NOW, HOLD)
    later = NOW + timedelta(hours=1)
    assert db.get(db.store.revoke(one.serial, later, HOLD, event("revoke"))) == (record, False)
    db.get(db.store.revoke(two.serial, later, RevocationReason.SUPERSEDED, event("revoke")))
    held = crl_entry(one.serial, NOW, HOLD)
    other = crl_entry(two.serial, later, RevocationReason.SUPERSEDED)
    assert db.get(db.store.crl_entries(issuer, 0)) == (2, 2, held + other)
    assert db.get(db.store.crl_entries(issuer, 1)) == (2, 1, other)
    record, changed = db.get(db.store.revoke(one.serial, later, RevocationReason.KEY_COMPROMISE, event("revoke")))
    assert changed
    assert (record.revoked_at, record.reason) == (NOW, RevocationReason.KEY_COMPROMISE)
    final = crl_entry(one.serial, NOW, RevocationReason.KEY_COMPROMISE)
    assert db.get(db.store.crl_entries(issuer, 2)) is None
    assert db.get(db.store.crl_entries(issuer, 0)) == (3, 2, other + final)
    assert db.get(db.store.crl_entries(issuer, 3)) == (3, 0, b"")
    with pytest.raises(Conflict):
        db.get(db.store.release(one.serial, event("release"), NOW))
    with pytest.raises(UnknownSerial):
        db.get(db.store.revoke(12345, NOW, HOLD, event("revoke")))
    three = db.issue("three")
    db.get(db.store.revoke(three.serial, NOW, HOLD, event("revoke")))
    released = db.get(db.store.release(three.serial, event("release"), later))
    assert (released.revoked_at, released.reason) == (None, None)
    assert db.get(db.store.crl_entries(issuer, 0)) == (5, 2, other + final)
    serials = [change.serial for change in db.get(db.store.changes_since(0))]
    assert serials == [one.serial, two.serial, one.serial, three.serial, three.serial]
    assert [change.serial for changes in told for change in changes] == serials
    assert [change.id for change in db.get(db.store.changes_since(3, limit=1))] == [4]
    assert db.store.latest_change() == 5


def test_subscribers_are_told_before_the_caller(db: Opened) -> None:
    """No stale OCSP response is served once a revocation has been reported as done."""
    order: list[str] = []
    db.store.subscribe(lambda changes: order.append("caches dropped"))
    record = db.issue()
    revoked = db.store.revoke(record.serial, NOW, HOLD, event("revoke"))
    revoked.addCallback(lambda _: order.append("caller told"))
    db.get(revoked)
    assert order == ["caches dropped", "caller told"]


def entries(db: Opened) -> tuple[int, int, bytes]:
    """All CRL entries."""
    listed = db.get(db.store.crl_entries(db.issuer.id, 0))
    assert listed is not None
    return listed


def test_deleted_certificates(db: Opened) -> None:
    """CRT-6: a deleted certificate is hidden; a revoked one stays revoked."""
    plain, revoked = db.issue("plain"), db.issue("revoked")
    db.get(db.store.revoke(revoked.serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
    for record in (plain, revoked):
        db.get(db.store.delete_certificate(record.id, event("delete"), NOW))
        with pytest.raises(NotFound):
            db.get(db.store.certificate(record.id))
        with pytest.raises(UnknownSerial):
            db.get(db.store.certificate_by_serial(record.serial))
        assert db.get(db.store.certificate_by_serial(record.serial, deleted=True)).deleted_at == NOW
        status = db.get(db.store.status(db.issuer.id, record.serial))
        assert status is not None
        assert status.deleted
        assert (status.revoked_at is not None) == (record is revoked)
    assert names(db) == []
    # A deleted certificate can still be revoked, and is then on the CRL.
    assert entries(db)[1] == 1
    record, changed = db.get(db.store.revoke(plain.serial, NOW, HOLD, event("revoke")))
    assert (changed, record.revoked_at, record.deleted_at) == (True, NOW, NOW)
    assert entries(db)[1] == 2
    assert names(db) == []
    with pytest.raises(NotFound):
        db.get(db.store.delete_certificate(plain.id, event("delete"), NOW))


def test_crl_numbers_and_records(db: Opened) -> None:
    """VA-2: numbers rise strictly, past what a CRL file says; entries of ended certificates are forgotten."""
    issuer = db.issuer.id
    assert [db.get(db.store.next_crl_number(issuer, above)) for above in (0, 0, 10, 3)] == [1, 2, 11, 12]
    assert db.get(db.store.last_crl(issuer)) is None
    ended = db.issue("ended", intent={"not_after": NOW - timedelta(days=1)})
    db.get(db.store.revoke(ended.serial, NOW, HOLD, event("revoke")))
    assert db.get(db.store.drop_listed_expired(issuer, NOW - timedelta(days=2))) == 0
    assert db.get(db.store.drop_listed_expired(issuer, NOW)) == 1
    assert db.get(db.store.crl_entries(issuer, 0)) == (1, 0, b"")
    status = db.get(db.store.status(issuer, ended.serial))
    assert status is not None
    assert status.revoked_at == NOW


def test_issuers_and_service_credentials(db: Opened) -> None:
    """One record for each key, kept over restarts; the newest credential is the one in use."""
    issuer = db.issuer
    assert db.store.register_issuer("ec", issuer.key_identifier, issuer.certificate, NOW) == issuer
    renewed = db.store.register_issuer("ec", issuer.key_identifier, b"renewed", NOW)
    assert (renewed.id, renewed.certificate) == (issuer.id, b"renewed")
    assert db.store.register_issuer("ec", b"other", b"x", NOW).id != issuer.id
    assert db.get(db.store.service_credential(b"key", "ocsp")) is None
    for certificate in (b"1", b"2"):
        db.get(db.store.put_service_credential(NewServiceCredential(b"key", "ocsp", certificate, seal), NOW))
    newest = db.get(db.store.service_credential(b"key", "ocsp"))
    assert newest is not None
    assert (newest.certificate, SEALER.open("key", newest.sealed)) == (b"2", b"secret")
    assert len(db.get(db.store.service_credentials(b"key", "ocsp"))) == 2
    assert db.get(db.store.service_credential(b"key", "ra")) is None


def test_policies(db: Opened) -> None:
    """POL-1: unique names, one default for each owner and protocol."""
    limits = PolicyLimits(keys=("EC",), subject="CN=.*", own_subject=True)
    mine = Policy(0, "mine", 30, "[ v3_ext ]\n", use_for_est=True, owner_id=1, limits=limits)
    mine = db.get(db.store.add_policy(mine, event(), NOW))
    assert mine.limits == limits
    assert db.get(db.store.policy(mine.id)) == mine == db.get(db.store.policy_by_name("mine"))
    assert db.get(db.store.policy_by_name("Mine")) is None
    with pytest.raises(Conflict, match="mine"):
        db.get(db.store.add_policy(replace(mine, use_for_est=False), event(), NOW))
    system = db.get(db.store.add_policy(replace(mine, name="system", system=True), event(), NOW))
    other = db.get(db.store.add_policy(replace(mine, name="other", owner_id=2), event(), NOW))
    assert mine.default_for_est
    assert not mine.default_for_scep
    assert db.get(db.store.default_policy(Method.EST, 1)) == mine
    assert db.get(db.store.default_policy(Method.EST, None)) == system
    assert db.get(db.store.default_policy(Method.SCEP, 1)) is None
    visible = db.get(db.store.policies(ListQuery(owner_id=1, sort="name"))).items
    assert [one.name for one in visible] == ["mine", "system"]
    moved = db.get(db.store.update_policy(replace(other, days=5, use_for_scep=True), event(), NOW + timedelta(days=1)))
    assert (moved.days, moved.created_at, moved.updated_at) == (5, NOW, NOW + timedelta(days=1))
    db.get(db.store.delete_policy(other.id, lambda _: event("delete"), NOW))
    with pytest.raises(NotFound):
        db.get(db.store.policy(other.id))
    with pytest.raises(NotFound):
        db.get(db.store.update_policy(moved, event(), NOW))


def test_accounts_and_tokens(db: Opened) -> None:
    """USR-4, USR-6: names without case, the last admin stays, tokens end with their account."""

    def add(name: str, role: Role = Role.USER, source: AccountSource = AccountSource.LOCAL) -> int:
        state = AccountState.ACTIVE
        promise = db.store.add_account(NewAccount(name, "a@example.com", role, state, "hash", source), event(), NOW)
        return db.get(promise).id

    admin, user = add("Admin", Role.ADMIN), add("someone", source=AccountSource.LDAP)
    with pytest.raises(Conflict):
        add("ADMIN")
    found = db.get(db.store.account_by_name("aDmin"))
    assert found is not None
    assert found == db.get(db.store.account(admin))
    assert db.get(db.store.account_by_name("x\0")) is None
    assert db.get(db.store.account(user)).source is AccountSource.LDAP
    for lost in (replace(found, role=Role.USER), replace(found, state=AccountState.SUSPENDED)):
        with pytest.raises(Conflict, match="last active"):
            db.get(db.store.change_account(admin, lambda _, lost=lost: (lost, event()), NOW))  # type: ignore[misc]
    with pytest.raises(Conflict):
        db.get(db.store.delete_account(admin, lambda _: event(), NOW))
    scopes = frozenset({Scope.READ, Scope.ENROLL})
    token = db.get(db.store.add_token(NewToken(user, "laptop", b"digest", scopes, None), event(), NOW))
    assert token.scopes == scopes
    with pytest.raises(Conflict):
        db.get(db.store.add_token(NewToken(user, "laptop", b"other", scopes, None), event(), NOW))
    assert db.get(db.store.token_by_digest(b"digest")) == (token, db.get(db.store.account(user)))
    assert db.get(db.store.tokens(ListQuery(owner_id=user))).items == (token,)
    assert db.get(db.store.tokens(ListQuery(owner_id=admin))).items == ()
    record = db.issue("owned", owner_id=user)
    db.get(
        db.store.add_challenge(
            NewChallengePassword(b"hmac", "12345678", seal, user, NOW + timedelta(hours=1)), event(), NOW
        )
    )
    db.get(db.store.delete_account(user, lambda _: event("delete"), NOW))
    assert db.get(db.store.token_by_digest(b"digest")) is None
    assert [db.get(db.store.delete_unused_challenges(user, 5)) for _ in range(2)] == [1, 0]
    assert db.get(db.store.challenge_by_lookup(b"hmac")) is None
    assert db.get(db.store.certificate(record.id)).owner_id == user
    gone = db.get(db.store.account(user))
    assert (gone.state, gone.display_name, gone.email) == (AccountState.DELETED, "someone (deleted)", "")
    assert gone.password_hash is None
    assert db.get(db.store.account_by_name("someone")) is None
    assert db.get(db.store.accounts(ListQuery(filters={"state": "deleted"}))).items == (gone,)
    with pytest.raises(NotFound, match="deleted"):
        db.get(db.store.delete_account(user, lambda _: event("delete"), NOW))
    with pytest.raises(NotFound, match="deleted"):
        db.get(db.store.change_account(user, lambda one: (replace(one, state=AccountState.ACTIVE), event()), NOW))
    assert add("Someone") > user
    assert [one.username for one in db.get(db.store.accounts(ListQuery(q="ADM", sort="username"))).items] == ["Admin"]
    assert len(db.get(db.store.accounts(ListQuery(filters={"role": "user"}))).items) == 1


def test_challenges_and_csrs(db: Opened) -> None:
    """CHP-1, CSR-2: lists by status and owner; expired ones are deleted together."""
    hour = timedelta(hours=1)
    add_owner(db.store, db.get, 1, NOW)
    made = [
        db.get(
            db.store.add_challenge(
                NewChallengePassword(bytes([index]), f"{index:08}", seal, index % 2 or None, NOW + end), event(), NOW
            )
        )
        for index, end in enumerate((hour, hour, -hour, -hour))
    ]
    db.issue(challenge_id=made[0].id)
    by_status = {
        status: [one.id for one in db.get(db.store.challenges(ListQuery(filters={"status": status}), NOW)).items]
        for status in ("available", "consumed", "expired")
    }
    assert by_status == {"available": [made[1].id], "consumed": [made[0].id], "expired": [made[3].id, made[2].id]}
    assert db.get(db.store.challenge_by_lookup(b"\x01")) == made[1]
    assert [one.id for one in db.get(db.store.challenges(ListQuery(q="00000003"), NOW)).items] == [made[3].id]
    assert db.get(db.store.delete_expired_challenges(1, event("delete"), NOW)) == 1
    assert db.get(db.store.delete_expired_challenges(None, event("delete"), NOW)) == 1
    db.get(db.store.delete_challenge(made[1].id, lambda _: event("delete"), NOW))
    with pytest.raises(NotFound):
        db.get(db.store.challenge(made[1].id))
    csr = db.get(db.store.add_csr(NewCSR("name", b"der", "CN=x", "RSA/2048", 1), event(), NOW))
    assert db.get(db.store.csr(csr.id)) == csr
    certificate = db.issue(csr_id=csr.id)
    assert db.get(db.store.csrs(ListQuery(filters={"state": "pending"}))).items == ()
    signed = replace(csr, state="signed", certificate_id=certificate.id)
    assert db.get(db.store.csrs(ListQuery(owner_id=1, q="NAM"))).items == (signed,)
    last = db.get(db.store.events(ListQuery(limit=1))).items[0].event
    assert (last.type, last.resource_type, last.resource_name, last.owner_id) == ("sign", "CSR", "name", 1)
    with pytest.raises(Conflict, match="signed already"):
        db.get(db.store.reject_csr(csr.id, event("reject"), NOW))
    other = db.get(db.store.add_csr(NewCSR("other", b"der", "CN=x", "RSA/2048", 1), event(), NOW))
    assert db.get(db.store.reject_csr(other.id, event("reject"), NOW)) == replace(other, state="rejected")
    db.get(db.store.delete_csr(csr.id, lambda _: event("delete"), NOW))
    with pytest.raises(NotFound):
        db.get(db.store.csr(csr.id))


def test_events_by_kind(db: Opened) -> None:
    """All pages in each direction are what the filters leave of all events, in order, whatever kinds there are."""
    kinds = [("create", "certificate"), ("create", "token"), ("revoke", "certificate"), ("add", "user"), ("a", "z")]
    for number in range(40):
        type_, resource = kinds[number * number % 7 % len(kinds)]
        db.get(db.store.add_event(replace(event(type_), type=type_, resource_type=resource), NOW))
    everything = db.get(db.store.events(ListQuery(limit=1000, sort="id"))).items
    filters = [
        {"type": "create"},
        {"type": "rotate"},
        {"type": "create", "resource_type": "token"},
        {"resource_type": "certificate"},
        {"resource_type": "audit log"},
        {"resource_type": "!certificate,user"},
        {"resource_type": "!none"},
        {"type": "create", "resource_type": "!token"},
    ]
    for one in filters:
        resources = one.get("resource_type", "!")
        wanted = [
            found.id
            for found in everything
            if one.get("type", found.event.type) == found.event.type
            and (
                found.event.resource_type not in resources[1:].split(",")
                if resources.startswith("!")
                else found.event.resource_type == resources
            )
        ]
        for sort in ("id", "-id"):
            query = ListQuery(limit=3, sort=sort, filters=one, count=True)
            page = db.get(db.store.events(query))
            assert page.total == len(wanted)
            ids = [found.id for found in page.items]
            before = page
            while page.next_cursor is not None:
                before, page = page, db.get(db.store.events(replace(query, cursor=page.next_cursor)))
                ids += [found.id for found in page.items]
            assert ids == (wanted if sort == "id" else wanted[::-1])
            if page is not before:
                back = db.get(db.store.events(replace(query, cursor=page.previous_cursor)))
                assert [found.id for found in back.items] == [found.id for found in before.items]


def test_events_are_listed(db: Opened) -> None:
    """AUD-1, AUD-2: filters, free text, owner; text that no database can store is made storable."""
    db.get(db.store.add_event(event("login", "bad\0name\ud800", about_account=True), NOW))
    db.get(db.store.add_event(event("create", "device-7", owner_id=3), NOW))
    everything = db.get(db.store.events(ListQuery())).items
    assert [one.event.resource_name for one in everything] == ["device-7", "bad�name?"]
    assert everything[0].previous == everything[1].hash

    def found(**values: object) -> list[int]:
        return [one.id for one in db.get(db.store.events(replace(ListQuery(), **values))).items]  # type: ignore[arg-type]

    assert found(q="DEVICE") == [2]
    assert found(q="device-7") == [2]
    assert found(q="test") == [2, 1]
    assert found(owner_id=3) == [2]
    assert found(filters={"about_account": "true"}) == [1]
    assert found(filters={"type": "create", "resource_type": "certificate"}) == [2]
    assert found(filters={"resource_type": "!certificate,key"}) == []
    assert found(filters={"resource_type": "!key"}) == [2, 1]


TAMPERINGS: dict[str, tuple[str, int]] = {
    "changed": ("UPDATE audit_events SET actor = 'nobody' WHERE id = 3", 3),
    "changed details": ("UPDATE audit_events SET details = '{}' WHERE id = 1", 1),
    "removed": ("DELETE FROM audit_events WHERE id = 3", 3),
    "first removed": ("DELETE FROM audit_events WHERE id = 1", 1),
    "last removed": ("DELETE FROM audit_events WHERE id > 4", 5),
    "all removed": ("DELETE FROM audit_events", 1),
    "added": (
        "INSERT INTO audit_events SELECT 6, at, type, resource_type, resource_name, actor, details, owner_id,"
        " actor_id, about_account, previous, hash FROM audit_events WHERE id = 5",
        6,
    ),
    "swapped": (
        "UPDATE audit_events SET id = CASE id WHEN 2 THEN -3 ELSE -2 END WHERE id IN (2, 3);"
        "UPDATE audit_events SET id = -id WHERE id < 0",
        2,
    ),
    "head forgotten": ("DELETE FROM audit_head", 6),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_audit_log_shows_tampering(tmp_path: Path, what: str) -> None:
    """AUD-3: any row changed, removed, added or moved is found, and the first one is named."""
    script, first = TAMPERINGS[what]
    path = tmp_path / "pikachu.db"
    with opened(f"sqlite:///{path}") as db:
        for index in range(5):
            db.get(db.store.add_event(event("create", f"thing {index}"), NOW))
        assert db.get(db.store.verify_events()) == 5
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executescript(script)
        connection.close()
        with pytest.raises(Conflict, match=f"event {first} "):
            db.get(db.store.verify_events())


def test_closed_store_says_so(tmp_path: Path) -> None:
    """Nothing is lost silently after the end."""
    with opened(f"sqlite:///{tmp_path / 'pikachu.db'}") as db:
        db.issue()
    calls: list[Callable[[], Deferred[object]]] = [db.store.nodes, db.store.check]  # type: ignore[list-item]
    for call in calls:
        with pytest.raises(PikachuError):
            db.get(call())
    open_store(db.url).close()


def test_a_subscriber_that_fails_stops_no_writes(db: Opened) -> None:
    """The commit is made: those who wrote hear of it, and the next ones have their turn."""

    def broken(changes: list[StatusChange]) -> None:
        raise RuntimeError("a subscriber's fault")

    record = db.issue("a")
    told: list[list[StatusChange]] = []
    db.store.subscribe(broken)
    db.store.subscribe(told.append)
    db.get(db.store.revoke(record.serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
    assert len(told) == 1
    assert db.issue("b").common_name == "b"
