"""Owners in every database: a transaction refuses writes for an inactive owner; orphans get their owner back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred

import pytest

from pikachu.core.approvals import Approver
from pikachu.core.errors import AccountChanged, Conflict, InactiveOwner, UnknownSerial
from pikachu.core.interfaces import Begun, Repeated
from pikachu.core.model.account_objects import NewAccountCertificate, NewKey, NewSession
from pikachu.core.model.certificates import CertificateRecord
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Account, AccountState, NewAccount, NewChallengePassword, NewToken, Role
from pikachu.core.model.requests import NewCSR
from pikachu.storage.migrate import SchemaState, migrate
from tests.support.databases import AS_0002, CONSOLE, NOW, Opened, event, execute, opened, seal

HOUR = timedelta(hours=1)
INACTIVE = [state for state in AccountState if state is not AccountState.ACTIVE]


def about(kind: str, account: Account) -> Event:
    """Return an event of an account's life."""
    return Event(kind, "user", account.username, "root", owner_id=account.id, about_account=True)


def add(db: Opened, name: str = "alice", role: Role = Role.USER) -> Account:
    """Add an active account."""
    added = Event("add", "user", name, "root", about_account=True)
    email = f"{name}@example.com"
    return db.get(db.store.add_account(NewAccount(name, email, role, AccountState.ACTIVE, "hash"), added, NOW))


def put_into(db: Opened, account: Account, state: AccountState) -> None:
    """Change an account's state."""
    if state is AccountState.DELETED:
        db.get(db.store.delete_account(account.id, lambda one: about("delete", one), NOW))
    else:
        db.get(db.store.change_account(account.id, lambda one: (replace(one, state=state), about("x", one)), NOW))


# --- decided where it is written ---------------------------------------------------------------


@pytest.mark.parametrize("state", INACTIVE)
@pytest.mark.parametrize("role", ["owner", "presented certificate's owner"])
@pytest.mark.parametrize("waits", [False, True])
def test_no_intent_for_an_inactive_account(db: Opened, state: AccountState, role: str, waits: bool) -> None:
    """An account that was active when it authenticated may have been suspended before the intent is stored."""
    alice, bob = add(db), add(db, "bob")
    owner, actors = (alice.id, frozenset[int]()) if role == "owner" else (bob.id, frozenset({alice.id, bob.id}))
    request = db.request(owner_id=owner, actor_ids=actors)
    put_into(db, alice, state)
    with pytest.raises(InactiveOwner):
        db.get(db.store.begin(request, None if waits else db.intent(request), NOW))
    assert db.get(db.store.requests(ListQuery())).items == ()


@pytest.mark.parametrize("waits", [False, True])
def test_no_intent_by_a_changed_account(db: Opened, waits: bool) -> None:
    """A cached account that was changed since records nothing, nor gets an earlier result."""
    alice = add(db)
    request = db.request(owner_id=alice.id, cached_account=alice, dedupe=b"one")
    intent = None if waits else db.intent(request)
    assert isinstance(db.get(db.store.begin(request, intent, NOW)), Begun)
    again = replace(request, cached_account=db.get(db.store.account(alice.id)))
    assert isinstance(db.get(db.store.begin(again, intent, NOW)), Repeated)
    db.get(db.store.change_account(alice.id, lambda one: (replace(one, password_hash="new"), about("x", one)), NOW))
    with pytest.raises(AccountChanged):
        db.get(db.store.begin(again, intent, NOW))
    with pytest.raises(AccountChanged):
        db.get(db.store.begin(replace(db.request(owner_id=alice.id), cached_account=alice), None, NOW))
    assert len(db.get(db.store.requests(ListQuery())).items) == 1


@pytest.mark.parametrize("state", INACTIVE)
def test_no_repetition_for_an_inactive_account(db: Opened, state: AccountState) -> None:
    """By its digest, by its transaction, by sending it again."""
    alice = add(db)
    request = db.request(owner_id=alice.id, dedupe=b"digest", transaction=b"transaction")
    begun = db.get(db.store.begin(request, db.intent(request), NOW))
    assert isinstance(begun, Begun)
    db.complete(begun.request_id)
    put_into(db, alice, state)
    asking: list[Callable[[], Deferred[Any]]] = [
        lambda: db.store.repeated(b"digest", NOW),
        lambda: db.store.request_by_transaction(b"transaction"),
        lambda: db.store.begin(request, db.intent(request), NOW),
    ]
    for ask in asking:
        with pytest.raises(InactiveOwner):
            db.get(ask())


@pytest.mark.parametrize("state", [None, *INACTIVE])
def test_the_repetition_of_a_request_without_an_owner(db: Opened, state: AccountState | None) -> None:
    """An earlier version took the owner from issued requests; that of the certificate counts as well.

    What never had an owner, such as the first enrollment of a device, is answered.
    """
    alice = add(db)
    request = db.request(dedupe=b"digest", transaction=b"transaction")
    begun = db.get(db.store.begin(request, db.intent(request), NOW))
    assert isinstance(begun, Begun)
    record = db.complete(begun.request_id)
    asking: list[Callable[[], Deferred[Any]]] = [
        lambda: db.store.repeated(b"digest", NOW),
        lambda: db.store.request_by_transaction(b"transaction"),
        lambda: db.store.begin(request, db.intent(request), NOW),
    ]
    if state is not None:
        with db.store.database.writer.begin() as connection:
            connection.exec_driver_sql(f"UPDATE certificates SET owner_id = {alice.id} WHERE id = {record.id}")
        put_into(db, alice, state)
    for ask in asking:
        if state is None:
            assert db.get(ask()).certificate == record
            continue
        with pytest.raises(InactiveOwner):
            db.get(ask())


@pytest.mark.parametrize("state", INACTIVE)
def test_no_approval_for_or_by_an_inactive_account(db: Opened, state: AccountState) -> None:
    """The requester's is a conflict that the administrator can solve; the approver's own is a refusal."""
    add(db, "root", Role.ADMIN)
    alice, approver = add(db), add(db, "approver", Role.ADMIN)
    request = db.request(owner_id=alice.id)
    begun = db.get(db.store.begin(request, None, NOW))
    assert isinstance(begun, Begun)
    approving = Event("approve", "request", "1", "approver", actor_id=approver.id)
    who = Approver("approver", approver.id, allows_own=False)
    put_into(db, approver, state)
    with pytest.raises(InactiveOwner):
        db.get(db.store.approve(begun.request_id, db.intent(request), who, approving, NOW))
    put_into(db, alice, state)
    with pytest.raises(Conflict, match="reject the request"):
        db.get(db.store.approve(begun.request_id, db.intent(request), CONSOLE, event("approve"), NOW))


@pytest.mark.parametrize("state", INACTIVE)
def test_an_inactive_account_is_given_nothing(db: Opened, state: AccountState) -> None:
    """No challenge password, token or bound certificate that was under way while the account was suspended."""
    alice = add(db)
    put_into(db, alice, state)
    with pytest.raises(InactiveOwner):
        db.get(
            db.store.add_challenge(NewChallengePassword(b"hmac", "12345678", seal, alice.id, NOW + HOUR), event(), NOW)
        )
    with pytest.raises(Conflict):
        db.get(db.store.add_token(NewToken(alice.id, "ci", b"digest", frozenset(), None), event(), NOW))
    with pytest.raises(Conflict):
        db.get(
            db.store.bind_certificate(NewAccountCertificate(alice.id, b"f" * 32, "CN=x", 7, NOW + HOUR), event(), NOW)
        )
    with pytest.raises(Conflict):
        db.get(db.store.add_session(NewSession(b"digest", alice, False, "", ""), event(), NOW))


def test_who_may_act(db: Opened) -> None:
    """An object without an owner needs none; a missing owner is refused."""
    alice = add(db)
    assert db.get(db.store.require_active_owner(None)) is None
    assert db.get(db.store.require_active_owner(alice.id)) is None
    for nobody in (alice.id + 1, 0, -1, 2**63):
        with pytest.raises(InactiveOwner):
            db.get(db.store.require_active_owner(nobody))


def test_a_certificate_comes_with_its_owner(db: Opened) -> None:
    """One read gives a certificate and its owner as it is, also an inactive one, or none."""
    alice = add(db)
    owned, device = db.issue(owner_id=alice.id), db.issue("device-2")
    assert db.get(db.store.certificate_with_owner(owned.serial)) == (owned, alice)
    assert db.get(db.store.certificate_with_owner(device.serial)) == (device, None)
    put_into(db, alice, AccountState.SUSPENDED)
    _, owner = db.get(db.store.certificate_with_owner(owned.serial))
    assert owner == replace(alice, state=AccountState.SUSPENDED)
    db.get(db.store.delete_certificate(owned.id, event("delete"), NOW))
    for unknown in (owned.serial, 7):
        with pytest.raises(UnknownSerial):
            db.get(db.store.certificate_with_owner(unknown))


# --- what an earlier version left without an owner ----------------------------------------------


def issue(db: Opened, name: str, owner_id: int | None) -> CertificateRecord:
    """Issue a certificate whose create event names its owner."""
    request_id, intent = db.begin(name, owner_id=owner_id)
    created = Event("create", "certificate", f"{intent.serial:x}", "someone", owner_id=owner_id)
    return db.get(db.store.complete(request_id, b"certificate " + name.encode(), db.request().method, created, NOW))


def forget(url: str, *account_ids: int) -> None:
    """Delete accounts as the version before this one did, in a database of that version."""
    owned = ("certificates", "requests", "policies", "challenges", "csrs", "keys")
    execute(
        url,
        *(f"UPDATE {table} SET owner_id = NULL WHERE owner_id = {one}" for table in owned for one in account_ids),
        *(f"DELETE FROM accounts WHERE id = {one}" for one in account_ids),
        *AS_0002,
    )


def test_orphans_get_their_owner_back(database_url: str) -> None:
    """Two deleted accounts of one name, one whose events lack the name, and objects that never had an owner."""
    found: dict[str, Any] = {}
    with opened(database_url) as db:
        people = [add(db), add(db, "bob"), add(db, "carol")]
        for number, one in enumerate(people):
            found[f"certificate {number}"] = issue(db, f"device-{number}", one.id).id
            key = Event("create", "key", "web", "someone", owner_id=one.id)
            at = NOW + timedelta(seconds=number)
            made = db.store.add_key(NewKey("web", "RSA/2048", bytes([number]) * 32, b"spki", seal, one.id), key, at)
            found[f"key {number}"] = db.get(made).id
            stored = Event("create", "CSR", "web", "someone", owner_id=one.id)
            adding = db.store.add_csr(NewCSR("web", b"der", "CN=x", "RSA/2048", one.id), stored, at)
            found[f"csr {number}"] = db.get(adding).id
        lonely = issue(db, "lonely", None)
        challenged = Event("create", "challenge password", "12345678", "alice", owner_id=people[0].id)
        db.get(
            db.store.add_challenge(
                NewChallengePassword(b"hmac", "12345678", seal, people[0].id, NOW + HOUR), challenged, NOW
            )
        )
        serial = db.get(db.store.certificate(found["certificate 1"])).serial
        waiting = {
            "challenge password 12345678": people[0].id,
            f"certificate {serial:x}": people[1].id,
            "alice": people[0].id,
            "anonymous": None,
        }
        for principal in waiting:
            begun = db.get(db.store.begin(db.request(principal, principal=principal), None, NOW))
            assert isinstance(begun, Begun)
            found[principal] = begun.request_id
        for one in people[:2]:
            db.get(db.store.add_event(about("delete", one), NOW))
    alice, bob, carol = people
    forget(database_url, alice.id, bob.id)
    with opened(database_url) as db:
        # It was migrated when it was opened.
        for number, one in enumerate(people):
            assert db.get(db.store.certificate(found[f"certificate {number}"])).owner_id == one.id
            assert db.get(db.store.key(found[f"key {number}"])).owner_id == one.id
            assert db.get(db.store.csr(found[f"csr {number}"])).owner_id == one.id
        assert db.get(db.store.certificate(lonely.id)).owner_id is None
        for principal, owner_id in waiting.items():
            assert db.get(db.store.request(found[principal])).owner_id == owner_id, principal
        for one in (alice, bob):
            tombstone = db.get(db.store.account(one.id))
            assert (tombstone.state, tombstone.username) == (AccountState.DELETED, one.username)
            assert (tombstone.email, tombstone.password_hash) == ("", None)
            with pytest.raises(InactiveOwner):
                db.get(db.store.require_active_owner(one.id))
        assert db.get(db.store.account(carol.id)) == carol
        assert add(db).id > carol.id
        events = len(db.get(db.store.events(ListQuery(limit=1000))).items)
    execute(database_url, *AS_0002)
    assert migrate(database_url) is SchemaState.OLDER
    with opened(database_url) as db:
        assert len(db.get(db.store.accounts(ListQuery(filters={"state": "deleted"}))).items) == 2
        # The first event after the migration tells of the key of the audit log.
        (newest, *older) = db.get(db.store.events(ListQuery(limit=1000))).items
        assert (newest.event.type, len(older)) == ("seal", events)


def test_more_orphans_than_are_read_at_once(database_url: str) -> None:
    with opened(database_url) as db:
        alice = add(db)
        issued = [issue(db, f"device-{number}", alice.id) for number in range(501)]
        db.get(db.store.add_event(about("delete", alice), NOW))
    forget(database_url, alice.id)
    with opened(database_url) as db:
        assert {db.get(db.store.certificate(one.id)).owner_id for one in issued} == {alice.id}


def test_a_former_owner_without_a_name(database_url: str) -> None:
    """Its own events were cleared: its certificate's create event is enough."""
    with opened(database_url) as db:
        alice = add(db)
        record = issue(db, "device", alice.id)
    forget(database_url, alice.id)
    with opened(database_url) as db:
        assert db.get(db.store.certificate(record.id)).owner_id == alice.id
        assert db.get(db.store.account(alice.id)).display_name == f"account-{alice.id} (deleted)"


def test_requests_of_stored_csrs_and_what_was_approved_late(database_url: str) -> None:
    """An administrator handed in what alice keeps here, and approved a request after alice was deleted."""
    with opened(database_url) as db:
        add(db, "root", Role.ADMIN)
        alice = add(db)
        stored = Event("create", "CSR", "kept", "alice", owner_id=alice.id)
        csr = db.get(db.store.add_csr(NewCSR("kept", b"der", "CN=x", "RSA/2048", alice.id), stored, NOW))
        handed_in = db.request("kept", owner_id=alice.id, principal="root", csr_id=csr.id)
        late = db.request("late", owner_id=alice.id, principal="alice")
        anonymous = db.request("lonely", principal="anonymous")
        ids = []
        for request in (handed_in, late, anonymous):
            begun = db.get(db.store.begin(request, None, NOW))
            assert isinstance(begun, Begun)
            ids.append(begun.request_id)
        db.get(db.store.add_event(about("delete", alice), NOW))
        execute(database_url, "UPDATE requests SET owner_id = NULL")
        issued = []
        for request, request_id in ((late, ids[1]), (anonymous, ids[2])):
            db.get(db.store.approve(request_id, db.intent(request), CONSOLE, event("approve"), NOW + HOUR))
            issued.append(db.complete(request_id, at=NOW + HOUR).id)
    forget(database_url, alice.id)
    with opened(database_url) as db:
        assert [db.get(db.store.request(one)).owner_id for one in ids] == [alice.id, alice.id, None]
        assert [db.get(db.store.certificate(one)).owner_id for one in issued] == [alice.id, None]
