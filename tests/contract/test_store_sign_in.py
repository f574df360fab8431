"""Ended sessions and form drafts in each database (ROL-2)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pikachu.core.errors import SecretKeyChanged
from pikachu.core.interfaces import Resealed, Sealed
from pikachu.core.model.account_objects import NewSession
from pikachu.core.model.people import Account, AccountState, NewAccount, Role, SealFor
from pikachu.core.model.sign_in import EndedSession, SessionEnd
from pikachu.core.sealing import Sealer, draft_row
from tests.support.databases import NOW, SEALER, Opened, event

LATER = NOW + timedelta(hours=1)


def add(db: Opened) -> Account:
    account = NewAccount("alice", "a@example.com", Role.USER, AccountState.ACTIVE, "hash")
    return db.get(db.store.add_account(account, event(), NOW))


def sealing(account_id: int, sealer: Sealer = SEALER) -> SealFor:
    return lambda row: sealer.seal("draft", b"entries", draft_row(row, account_id))


def test_reasons_of_ended_sessions(db: Opened) -> None:
    """A session that an account's user ends leaves no reason; the others do, until they are forgotten."""
    alice = add(db)
    sessions = [
        db.get(db.store.add_session(NewSession(b"%d" % number, alice, False, "", ""), event(), NOW))
        for number in range(23)
    ]
    assert db.get(db.store.ended_session(b"0")) == EndedSession(alice.id, SessionEnd.LIMIT, NOW)
    db.get(db.store.end_session(sessions[22].id, event(), NOW))
    assert db.get(db.store.ended_session(b"22")) is None
    db.get(db.store.end_session(sessions[21].id, event(), LATER, SessionEnd.ELSEWHERE))
    assert db.get(db.store.ended_session(b"21")) == EndedSession(alice.id, SessionEnd.ELSEWHERE, LATER)
    assert db.get(db.store.end_idle_sessions(LATER, lambda _, account: event(), LATER, 1)) == 1
    assert db.get(db.store.ended_session(b"3")) == EndedSession(alice.id, SessionEnd.IDLE, LATER)
    assert db.get(db.store.end_sessions(alice.id, event(), LATER)) == 17
    assert db.get(db.store.ended_session(b"4")) == EndedSession(alice.id, SessionEnd.ADMINISTRATOR, LATER)
    # Three sessions beyond the limit have ended before the others.
    assert db.get(db.store.forget_ended(LATER)) == 3
    assert db.get(db.store.ended_session(b"0")) is None
    assert db.get(db.store.ended_session(b"4")) is not None


def test_drafts(db: Opened) -> None:
    """Of each account, the newest; nobody else's are touched."""
    alice = add(db)
    other = db.get(db.store.add_draft(77, sealing(77), NOW, 2))
    first, second, third = (
        db.get(db.store.add_draft(alice.id, sealing(alice.id), NOW + timedelta(seconds=number), 2))
        for number in range(3)
    )
    assert db.get(db.store.draft(first)) is None
    for number, account_id in ((second, alice.id), (third, alice.id), (other, 77)):
        draft = db.get(db.store.draft(number))
        assert draft is not None
        assert draft.account_id == account_id
        assert SEALER.open("draft", draft.sealed, draft_row(number, account_id)) == b"entries"
    assert db.get(db.store.draft(2**70)) is None
    assert db.get(db.store.forget_ended(NOW + timedelta(seconds=2))) == 2
    assert db.get(db.store.draft(third)) is not None


def test_another_secret_key(db: Opened) -> None:
    """KEY-4: drafts are sealed again with everything else, each bound to its row."""
    alice = add(db)
    number = db.get(db.store.add_draft(alice.id, sealing(alice.id), NOW, 5))
    new = Sealer(b"another SECRET_KEY")

    def reseal(value: Sealed) -> Resealed:
        return Resealed(new.seal(value.purpose, SEALER.open(value.purpose, value.sealed, value.row), value.row))

    assert db.get(db.store.reseal(reseal, None, NOW)).changed["draft"] == 1
    draft = db.get(db.store.draft(number))
    assert draft is not None
    assert new.open("draft", draft.sealed, draft_row(number, alice.id)) == b"entries"
    with pytest.raises(SecretKeyChanged):
        new.open("draft", draft.sealed, draft_row(number, alice.id + 1))
