"""Sessions, client certificates of accounts, and changes of accounts in each database (USR-3, USR-4)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

import pytest

from pikachu.accounts.accounts import Accounts, AccountSettings
from pikachu.auth.passwords import PasswordHasher
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.account_objects import NewAccountCertificate, NewSession, Session
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, Account, AccountState, NewAccount, NewToken, Role, Scope
from pikachu.storage.migrate import migrate
from pikachu.storage.store import Store
from tests.support.databases import NOW, SEALER, Opened
from tests.support.deferreds import result_of
from tests.support.people import CHEAP, HeldPool, holdings_of

LATER = NOW + timedelta(hours=1)


def told(kind: str = "login", name: str = "alice") -> Event:
    return Event(kind, "user", name, name, {"ip": "192.0.2.7"}, about_account=True)


def add(db: Opened, name: str = "alice", role: Role = Role.USER) -> Account:
    return db.get(
        db.store.add_account(NewAccount(name, "a@example.com", role, AccountState.ACTIVE, "hash"), told("add"), NOW)
    )


def sign_in(db: Opened, account: Account, digest: bytes, at: datetime = NOW, agent: str = "a browser") -> Session:
    return db.get(db.store.add_session(NewSession(digest, account, True, "192.0.2.7", agent), told(), at))


def kinds(db: Opened) -> list[str]:
    return [one.event.type for one in db.get(db.store.events(ListQuery(sort="id", limit=1000))).items]


def test_life_of_a_session(db: Opened) -> None:
    """It begins with the account's last login, is found by its digest, seen, confirmed and ended."""
    alice = add(db)
    made = sign_in(db, alice, b"digest", agent="b\0\ud800")
    assert (made.created_at, made.last_seen_at, made.confirmed_at) == (NOW, NOW, NOW)
    assert made.agent == "b\ufffd?"
    found = db.get(db.store.session_by_digest(b"digest"))
    assert found == (made, replace(alice, last_login_at=NOW))
    assert db.get(db.store.session_by_digest(b"other")) is None
    for seen_at in (LATER, NOW, LATER):
        # Also at an earlier time: the clock may have been ahead.
        db.get(db.store.touch_session(made.id, seen_at))
        assert db.get(db.store.last_seen([alice.id])) == {alice.id: seen_at}
    db.get(db.store.confirm_session(made.id, LATER))
    (seen,) = db.get(db.store.sessions_of(alice.id))
    assert seen == replace(made, last_seen_at=LATER, confirmed_at=LATER)
    assert db.get(db.store.last_seen([alice.id, 77])) == {alice.id: LATER}
    db.get(db.store.end_session(made.id, told("logout"), LATER))
    for gone in (made.id, 0, -1, 2**70):
        with pytest.raises(NotFound):
            db.get(db.store.end_session(gone, told("logout"), LATER))
    assert db.get(db.store.session_by_digest(b"digest")) is None
    assert kinds(db) == ["add", "login", "logout"]
    with pytest.raises(NotFound):
        db.get(db.store.add_session(NewSession(b"x", replace(alice, id=77), True, "", ""), told(), NOW))
    assert db.get(db.store.verify_events()) == 3


def test_twenty_sessions(db: Opened) -> None:
    """An account keeps its twenty newest sessions."""
    alice, bob = add(db), add(db, "bob")
    sign_in(db, bob, b"bob")
    made = [sign_in(db, alice, bytes([number])) for number in range(25)]
    assert [one.id for one in db.get(db.store.sessions_of(alice.id))] == [one.id for one in reversed(made[5:])]
    assert len(db.get(db.store.sessions_of(bob.id))) == 1


def test_all_sessions_of_an_account(db: Opened) -> None:
    """USR-4: force logout is one event, and leaves others alone."""
    alice, bob = add(db), add(db, "bob")
    for number in range(3):
        sign_in(db, alice, bytes([number]))
    sign_in(db, bob, b"bob")
    assert db.get(db.store.end_sessions(alice.id, told("force logout"), NOW)) == 3
    assert db.get(db.store.end_sessions(alice.id, told("force logout"), NOW)) == 0
    assert db.get(db.store.sessions_of(alice.id)) == []
    assert len(db.get(db.store.sessions_of(bob.id))) == 1
    assert kinds(db)[-2:] == ["force logout"] * 2
    with pytest.raises(NotFound):
        db.get(db.store.end_sessions(77, told("force logout"), NOW))


def test_idle_sessions_end_with_an_event_each(db: Opened) -> None:
    """AUD-2: some at a time, the longest silent first."""
    alice = add(db)
    for number in range(5):
        sign_in(db, alice, bytes([number]), NOW + timedelta(seconds=number))

    def end() -> int:
        before = NOW + timedelta(seconds=4)
        return db.get(db.store.end_idle_sessions(before, lambda _, account: told("logout", account.username), LATER, 3))

    assert [end(), end(), end()] == [3, 1, 0]
    assert len(db.get(db.store.sessions_of(alice.id))) == 1
    assert kinds(db).count("logout") == 4


@pytest.mark.parametrize("state", [AccountState.SUSPENDED, AccountState.PENDING])
def test_what_ends_with_the_state_active(db: Opened, state: AccountState) -> None:
    """USR-4: sessions and tokens are gone in the same transaction, with an event of each token."""
    add(db, "root", Role.ADMIN)
    alice = add(db)
    sign_in(db, alice, b"digest")
    db.get(db.store.add_token(NewToken(alice.id, "ci", b"token", frozenset({Scope.READ}), None), told("create"), NOW))
    changed = db.get(db.store.change_account(alice.id, lambda now: (replace(now, state=state), told("suspend")), NOW))
    assert changed.state is state
    assert db.get(db.store.sessions_of(alice.id)) == []
    assert db.get(db.store.token_by_digest(b"token")) is None
    last = db.get(db.store.events(ListQuery(limit=1))).items[0].event
    assert (last.type, last.resource_type, last.resource_name) == ("delete", "token", "ci")
    assert last.details == {"ip": "192.0.2.7", "reason": "suspend"}
    with pytest.raises(Conflict, match="only an active one"):
        db.get(db.store.add_token(NewToken(alice.id, "ci", b"t", frozenset({Scope.READ}), None), told("create"), NOW))


def test_what_ends_with_the_password(db: Opened) -> None:
    """USR-4: sessions do, tokens stay; another role or address ends nothing."""
    alice = add(db)
    sign_in(db, alice, b"digest")
    db.get(db.store.add_token(NewToken(alice.id, "ci", b"token", frozenset({Scope.READ}), None), told("create"), NOW))
    for change in ({"email": "new@example.com"}, {"role": Role.ADMIN}):
        db.get(db.store.change_account(alice.id, lambda now, c=change: (replace(now, **c), told("update")), NOW))  # type: ignore[misc]
        assert len(db.get(db.store.sessions_of(alice.id))) == 1
    db.get(db.store.change_account(alice.id, lambda now: (replace(now, password_hash="x"), told()), NOW))
    assert db.get(db.store.sessions_of(alice.id)) == []
    assert db.get(db.store.token_by_digest(b"token")) is not None
    found = db.get(db.store.account(alice.id))
    assert (found.email, found.role, found.password_hash, found.last_login_at) == (
        "new@example.com",
        Role.ADMIN,
        "x",
        NOW,
    )


def test_decisions_that_change_nothing(db: Opened) -> None:
    """None is recorded, and what a decision raises is raised."""
    alice = add(db)

    def refuse(_: Account) -> tuple[Account, Event]:
        raise Conflict("no")

    assert db.get(db.store.change_account(alice.id, lambda now: (now, None), NOW)) == alice
    with pytest.raises(Conflict, match="no"):
        db.get(db.store.change_account(alice.id, refuse, NOW))
    with pytest.raises(NotFound):
        db.get(db.store.change_account(77, refuse, NOW))
    assert kinds(db) == ["add"]


def test_tokens_are_seen(db: Opened) -> None:
    """USR-6: when a token was used last."""
    alice = add(db)
    made = db.get(db.store.add_token(NewToken(alice.id, "ci", b"token", frozenset({Scope.READ}), None), told(), NOW))
    assert made.last_used_at is None
    db.get(db.store.touch_token(made.id, LATER))
    db.get(db.store.touch_token(77, LATER))
    assert db.get(db.store.token(made.id)).last_used_at == LATER


def test_client_certificates(db: Opened) -> None:
    """One signs in one account only; it ends with the account."""
    alice, bob = add(db), add(db, "bob")
    made = db.get(
        db.store.bind_certificate(NewAccountCertificate(alice.id, b"f" * 32, "CN=\0x", 0xABC, LATER), told("bind"), NOW)
    )
    assert (made.account_id, made.serial, made.subject, made.not_after) == (alice.id, 0xABC, "CN=\ufffdx", LATER)
    assert db.get(db.store.account_certificate(made.id)) == made
    assert db.get(db.store.account_certificates(alice.id)) == [made]
    assert db.get(db.store.account_certificates(bob.id)) == []
    for account in (alice, bob):
        with pytest.raises(Conflict, match="already"):
            db.get(
                db.store.bind_certificate(
                    NewAccountCertificate(account.id, b"f" * 32, "CN=x", 1, LATER), told("bind"), NOW
                )
            )
    assert db.get(db.store.account_by_certificate(b"f" * 32)) == alice
    assert db.get(db.store.account_by_certificate(b"g" * 32)) is None
    db.get(db.store.unbind_certificate(made.id, lambda *_: told("unbind"), NOW))
    with pytest.raises(NotFound):
        db.get(db.store.unbind_certificate(made.id, lambda *_: told("unbind"), NOW))
    db.get(db.store.bind_certificate(NewAccountCertificate(bob.id, b"f" * 32, "CN=x", 1, LATER), told("bind"), NOW))
    sign_in(db, bob, b"bob")
    db.get(db.store.delete_account(bob.id, lambda _: told("delete"), NOW))
    assert db.get(db.store.account_by_certificate(b"f" * 32)) is None
    assert db.get(db.store.session_by_digest(b"bob")) is None


@dataclass
class Process:
    """The rules over one database, in a process of its own as far as that can tell."""

    store: Store
    accounts: Accounts
    writes: HeldPool

    def go(self) -> None:
        """Run the writes that are queued."""
        while self.writes.waiting:
            self.writes.waiting.pop(0).callback(None)


@contextmanager
def process(url: str) -> Iterator[Process]:
    writes, clock = HeldPool(), Clock()
    store = Store(url, ImmediatePool(), writes)
    store.unlock(SEALER, NOW)
    hasher = PasswordHasher(ImmediatePool(), clock, CHEAP)
    accounts = Accounts(
        store=store, hasher=hasher, clock=clock, settings=AccountSettings(), holdings=holdings_of(store, clock)
    )
    one = Process(store, accounts, writes)
    yield one
    closing: Deferred[None] = store.close()
    one.go()
    result_of(closing)


def test_two_processes_change_one_account(database_url: str) -> None:
    """USR-4: a server's write does not undo a concurrent command, and the last admin stays."""
    migrate(database_url)
    with process(database_url) as server, process(database_url) as command:
        adding = [
            command.accounts.add_user(SYSTEM, name, "a@example.com", Role.ADMIN, AccountState.ACTIVE, "password")
            for name in ("alice", "carol")
        ]
        command.go()
        alice, carol = (result_of(one) for one in adding)
        change = server.accounts.update(SYSTEM, alice.id, role=Role.USER)
        suspension = command.accounts.suspend(SYSTEM, alice.id)
        command.go()
        assert result_of(suspension).state is AccountState.SUSPENDED
        server.go()
        found = result_of(change)
        assert (found.role, found.state) == (Role.USER, AccountState.SUSPENDED)
        password = server.accounts.reset_password(SYSTEM, alice.id, "another password")
        update = command.accounts.update(SYSTEM, alice.id, email="new@example.com")
        server.go()
        command.go()
        assert result_of(update).password_hash == result_of(password).password_hash != alice.password_hash
        demotion = command.accounts.update(SYSTEM, carol.id, role=Role.USER)
        command.go()
        with pytest.raises(Conflict, match="last active"):
            result_of(demotion)


def test_no_session_outlives_what_ends_sessions(db: Opened) -> None:
    """USR-4: a sign-in in progress fails if the password is changed meanwhile."""
    alice = add(db)
    for changed in (replace(alice, password_hash="another"), replace(alice, state=AccountState.SUSPENDED)):
        present = db.get(db.store.account(alice.id))
        db.get(db.store.change_account(alice.id, functools.partial(_becomes, changed), NOW))
        with pytest.raises(Conflict):
            sign_in(db, present, b"late")
        assert db.get(db.store.sessions_of(alice.id)) == []


def _becomes(changed: Account, _: Account) -> tuple[Account, Event]:
    return changed, told("change")


def test_accounts_by_idle_time(db: Opened) -> None:
    """USR-4: who was active last comes first, those without a session last, page by page."""
    people = [add(db, f"person{number}") for number in range(5)]
    for number, ago in ((3, 9), (0, 600), (4, 5), (4, 900)):
        sign_in(db, people[number], f"{number} {ago}".encode(), NOW - timedelta(seconds=ago))
    expected = [people[number].id for number in (4, 3, 0, 1, 2)]
    for sort, wanted in (("idle", expected), ("-idle", expected[::-1])):
        found: list[int] = []
        query = ListQuery(limit=2, sort=sort)
        while True:
            page = db.get(db.store.accounts(query))
            found += [one.id for one in page.items]
            if page.next_cursor is None:
                break
            query = replace(query, cursor=page.next_cursor)
        assert found == wanted
