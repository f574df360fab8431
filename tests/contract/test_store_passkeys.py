"""Passkeys in each database (ROL-2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.passkeys import NewPasskey
from pikachu.core.model.people import Account, AccountState, NewAccount, Role
from pikachu.core.model.second_factors import NewTOTP
from tests.support.databases import NOW, Opened, event

LATER = NOW + timedelta(hours=1)


def add(db: Opened, name: str = "alice") -> Account:
    account = NewAccount(name, f"{name}@example.com", Role.USER, AccountState.ACTIVE, "hash")
    return db.get(db.store.add_account(account, event(), NOW))


def new(account: Account, name: str, at: int) -> NewPasskey:
    credential = f"{account.id} {name}".encode()
    return NewPasskey(account.id, name, "ca.example.com", credential, b"key", 7, b"handle", at, (b"1", b"2"))


def test_names_and_numbers(db: Opened) -> None:
    """Names are unique for an account, credentials everywhere, and challenges are newer than the last one."""
    alice, bob = add(db), add(db, "bob")
    assert db.get(db.store.add_passkey(new(alice, "Phone", 10), 3, event(), NOW)) is True
    assert db.get(db.store.add_passkey(new(bob, "phone", 10), 3, event(), NOW)) is True
    assert db.get(db.store.add_passkey(new(alice, "key", 11), 3, event(), NOW)) is False
    for wrong in (
        new(alice, "PHONE", 12),
        new(alice, "another", 11),
        replace(new(alice, "another", 12), credential_id=f"{bob.id} phone".encode()),
    ):
        with pytest.raises(Conflict):
            db.get(db.store.add_passkey(wrong, 3, event(), NOW))
    with pytest.raises(Conflict):
        db.get(db.store.add_passkey(new(alice, "another", 12), 2, event(), NOW))
    with pytest.raises(NotFound):
        db.get(db.store.add_passkey(new(replace(alice, id=99), "x", 1), 2, event(), NOW))
    key, phone = db.get(db.store.passkeys_of(alice.id))
    assert (key.name, phone.name, phone.host, phone.public_key) == ("key", "Phone", "ca.example.com", b"key")
    assert (phone.sign_count, phone.user_handle, phone.created_at, phone.last_used_at) == (7, b"handle", NOW, None)
    found = db.get(db.store.passkey_by_credential(phone.credential_id))
    assert found is not None
    assert (found[0], found[1].id) == (phone, alice.id)
    assert db.get(db.store.passkey(key.id)) == key
    assert db.get(db.store.passkey_by_credential(b"unknown")) is None
    assert db.get(db.store.passkeys_of(2**70)) == []
    with pytest.raises(NotFound):
        db.get(db.store.passkey(2**70))


def test_use(db: Opened) -> None:
    """The counter increases or is always 0, and a challenge is accepted once."""
    alice = add(db)
    db.get(db.store.add_passkey(new(alice, "phone", 10), 3, event(), NOW))
    db.get(db.store.add_passkey(replace(new(alice, "none", 11), sign_count=0), 3, event(), NOW))
    none, phone = db.get(db.store.passkeys_of(alice.id))

    def used(number: int, count: int, at: int) -> bool:
        return db.get(db.store.use_passkey(number, count, at, LATER))

    assert [used(phone.id, *values) for values in ((7, 12), (0, 12), (8, 10), (8, 12), (9, 12), (9, 13))] == [
        *(False, False, False, True, False, True)
    ]
    assert [used(none.id, *values) for values in ((0, 12), (0, 12), (0, 13), (1, 14), (0, 15))] == [
        *(True, False, True, True, False)
    ]
    assert used(99, 1, 99) is False
    assert db.get(db.store.passkey(phone.id)) == replace(phone, sign_count=9, last_used_at=LATER)


def test_second_factors(db: Opened) -> None:
    """An account has one as long as any is left, and recovery codes as long."""
    alice, bob = add(db), add(db, "bob")
    db.get(db.store.add_passkey(new(bob, "phone", 10), 3, event(), NOW))

    def state() -> tuple[bool, int]:
        account = db.get(db.store.account(alice.id))
        return account.has_second_factor, db.get(db.store.recovery_codes_left(alice.id))

    assert state() == (False, 0)
    db.get(db.store.add_passkey(new(alice, "phone", 10), 3, event(), NOW))
    assert state() == (True, 2)
    totp = NewTOTP(alice.id, lambda _: b"sealed", 1, (b"3",))
    db.get(db.store.put_totp(totp, event(), NOW))
    assert state() == (True, 1)
    [phone] = db.get(db.store.passkeys_of(alice.id))
    db.get(db.store.remove_passkey(phone.id, lambda one, account: event(), NOW))
    assert state() == (True, 1)
    db.get(db.store.add_passkey(new(alice, "phone", 20), 3, event(), NOW))
    db.get(db.store.remove_second_factors(alice.id, lambda _: event(), NOW, with_passkeys=False))
    assert state() == (True, 1)
    db.get(db.store.remove_second_factors(alice.id, lambda _: event(), NOW))
    assert state() == (False, 0)
    assert db.get(db.store.passkeys_of(alice.id)) == []
    with pytest.raises(NotFound):
        db.get(db.store.remove_passkey(phone.id, lambda one, account: event(), NOW))
    assert len(db.get(db.store.passkeys_of(bob.id))) == 1
    assert db.get(db.store.recovery_codes_left(bob.id)) == 2
