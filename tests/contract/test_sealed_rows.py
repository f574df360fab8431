"""KEY-4: a sealed value opens in its own row only; those of an earlier version are bound to their rows once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from pikachu.core.errors import SecretKeyChanged
from pikachu.core.interfaces import Sealed
from pikachu.core.model.account_objects import NewKey, NewServiceCredential
from pikachu.core.model.people import NewChallengePassword, SealFor
from pikachu.core.sealing import Sealer, challenge_row, credential_row, key_row
from tests.support.databases import AS_0008, NOW, SEALER, Opened, event, execute, opened

SECRET = b"secret"


def add_key(db: Opened, number: int, sealing: Callable[[int], SealFor]) -> None:
    key = NewKey(f"key {number}", "Ed25519", bytes([number]) * 32, b"spki", sealing(number), None)
    db.get(db.store.add_key(key, event(), NOW))


def add_challenge(db: Opened, number: int, sealing: Callable[[int], SealFor]) -> None:
    lookup, end = bytes([number]) * 32, NOW + timedelta(hours=1)
    db.get(
        db.store.add_challenge(NewChallengePassword(lookup, f"{number:08}", sealing(number), None, end), event(), NOW)
    )


def add_credential(db: Opened, number: int, sealing: Callable[[int], SealFor]) -> None:
    credential = NewServiceCredential(b"issuer", "ocsp", b"certificate %d" % number, sealing(number))
    db.get(db.store.put_service_credential(credential, NOW))


def bindings(kind: str, row: int, number: int) -> bytes:
    if kind == "key":
        return key_row(row, bytes([number]) * 32)
    if kind == "challenge password":
        return challenge_row(row, f"{number:08}")
    return credential_row(row, b"issuer", b"certificate %d" % number)


#: kind → how one is added, its purpose, its table, the column
KINDS: dict[str, tuple[Callable[[Opened, int, Callable[[int], SealFor]], None], str, str, str]] = {
    "key": (add_key, "key", "keys", "sealed"),
    "challenge password": (add_challenge, "challenge", "challenges", "sealed"),
    "service key": (add_credential, "service key ocsp", "service_credentials", "sealed_key"),
}


def bound(kind: str) -> Callable[[int], SealFor]:
    """Seal as this version does."""
    purpose = KINDS[kind][1]
    return lambda number: lambda row: SEALER.seal(purpose, SECRET, bindings(kind, row, number))


def unbound(kind: str) -> Callable[[int], SealFor]:
    """Seal as an earlier version did."""
    return lambda _: lambda _: SEALER.seal(KINDS[kind][1], SECRET)


def newest(db: Opened, kind: str) -> Sealed:
    return next(value for value in db.store.newest_sealed() if value.kind == kind)


def opens(value: Sealed, sealer: Sealer = SEALER) -> bool:
    try:
        return sealer.open(value.purpose, value.sealed, value.row) == SECRET
    except SecretKeyChanged:
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_does_not_open(database_url: str, kind: str) -> None:
    """Neither another row's value nor that of the same row for another object."""
    add, _, table, column = KINDS[kind]
    with opened(database_url, fsync=False) as db:
        add(db, 1, bound(kind))
        add(db, 2, bound(kind))
        assert opens(newest(db, kind))
    execute(
        database_url,
        f"UPDATE {table} SET {column} = (SELECT {column} FROM {table} WHERE id = 1) WHERE id = 2",
    )
    for _ in range(2):
        with opened(database_url, fsync=False) as db:
            assert not opens(newest(db, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_an_earlier_version_are_bound(database_url: str, kind: str) -> None:
    """Once, at the first start; afterwards no value without a binding is accepted."""
    add, _, table, _ = KINDS[kind]
    with opened(database_url, fsync=False) as db:
        for number in range(1, 4):
            add(db, number, unbound(kind))
        assert not opens(newest(db, kind))
    execute(database_url, *AS_0008)
    with opened(database_url, fsync=False) as db:
        first = newest(db, kind)
        assert opens(first)
        add(db, 4, unbound(kind))
    with opened(database_url, fsync=False) as db:
        assert not opens(newest(db, kind))
    with opened(database_url, fsync=False) as db:
        # Bound already: not sealed again.
        execute(database_url, f"DELETE FROM {table} WHERE id = 4")
        assert newest(db, kind) == first


def test_what_opens_and_what_does_not(database_url: str) -> None:
    """A value under another SECRET_KEY stays as it is, and stops nobody; when none opens, the SECRET_KEY is wrong."""
    other = Sealer(b"another")
    with opened(database_url, fsync=False) as db:
        add_key(db, 1, lambda _: lambda _: other.seal("key", SECRET))
    execute(database_url, *AS_0008)
    with pytest.raises(SecretKeyChanged), opened(database_url, fsync=False):
        pass
    with opened(database_url, fsync=False, unlock=False) as db:
        db.store.unlock(other, NOW)
        assert opens(newest(db, "key"), other)
