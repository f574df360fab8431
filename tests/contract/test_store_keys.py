"""Stored keys, and resealing all secrets, in each database (KEY-2, KEY-4, KEY-5)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from pikachu.core.errors import Conflict, MalformedRequest, NotFound, SecretKeyChanged
from pikachu.core.interfaces import Resealed, Sealed
from pikachu.core.model.account_objects import KeyUse, NewKey, NewServiceCredential, StoredKey
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import AccountState, NewAccount, NewChallengePassword, Role
from pikachu.core.model.requests import NewCSR
from pikachu.storage.store import open_store
from tests.support.databases import NOW, Opened, event, opened

PUBLIC = bytes(range(32))


def told(kind: str = "create", name: str = "web") -> Event:
    return Event(kind, "key", name, "someone")


def add(
    db: Opened, name: str = "web", key_type: str = "RSA/2048", owner_id: int | None = 1, **values: Any
) -> StoredKey:
    fields = {"public": PUBLIC, "spki": b"spki", "sealed": b"old " + name.encode(), **values}
    return db.get(
        db.store.add_key(
            NewKey(name, key_type, fields["public"], fields["spki"], lambda _: fields["sealed"], owner_id),
            told(name=name),
            NOW,
        )
    )


def names(db: Opened, **values: object) -> list[str]:
    query = replace(ListQuery(sort="id"), **values)  # type: ignore[arg-type]
    return [one.name for one in db.get(db.store.keys(query)).items]


def test_life(db: Opened) -> None:
    """A key is kept and removed, each with its event; it is found by its id and by its public half."""
    made = add(db)
    assert made == StoredKey(made.id, "web", "RSA/2048", PUBLIC, b"spki", b"old web", 1, NOW)
    assert b"old" not in repr(made).encode()
    again = add(db, "again", owner_id=2)
    assert db.get(db.store.key(made.id)) == made
    assert db.get(db.store.keys_of_public(PUBLIC)) == [made, again]
    assert db.get(db.store.keys_of_public(bytes(32))) == []
    db.get(db.store.delete_key(made.id, lambda *_: told("delete"), NOW))
    for gone in (made.id, 0, -1, 2**70):
        with pytest.raises(NotFound):
            db.get(db.store.key(gone))
        with pytest.raises(NotFound):
            db.get(db.store.key_use(gone))
        with pytest.raises(NotFound):
            db.get(db.store.delete_key(gone, lambda *_: told("delete"), NOW))
    assert [one.event.type for one in db.get(db.store.events(ListQuery(sort="id"))).items] == [
        "create",
        "create",
        "delete",
    ]
    assert db.get(db.store.verify_events()) == 3


def test_use(db: Opened) -> None:
    """KEY-5: stored requests that were made with it, and certificates that certify it and were not deleted."""
    made, other = add(db), add(db, "other", public=bytes(32))
    for key_id in (made.id, made.id, other.id, None):
        csr = db.get(
            db.store.add_csr(NewCSR("r", b"r", "CN=x", "RSA/2048", 1, key_id=key_id, template="tls"), event(), NOW)
        )
        assert (csr.key_id, csr.template) == (key_id, "tls")
    issued = db.issue("a", intent={"key_id": PUBLIC}, key_id=PUBLIC, owner_id=1)
    db.issue("b", intent={"key_id": PUBLIC}, key_id=PUBLIC, owner_id=1)
    assert db.get(db.store.key_use(made.id)) == KeyUse(2, 2)
    assert db.get(db.store.key_use(other.id)) == KeyUse(1, 0)
    db.get(db.store.delete_certificate(issued.id, event("delete"), NOW))
    assert db.get(db.store.key_use(made.id)) == KeyUse(2, 1)


def test_lists(db: Opened) -> None:
    """KEY-2: an owner's own; by type and text; in each order, page by page."""
    types = ("RSA/2048", "EC/prime256v1", "Ed25519", "PQC/mldsa44", "RSA/4096", "EC/secp256k1")
    for number, key_type in enumerate(types):
        add(db, f"key {(number * 5) % 6}", key_type, owner_id=number % 2 + 1)
    assert len(names(db)) == 6
    assert names(db, owner_id=1) == ["key 0", "key 4", "key 2"]
    assert names(db, filters={"type": "RSA"}) == ["key 0", "key 2"]
    assert names(db, filters={"type": "EC"}) == ["key 5", "key 1"]
    assert names(db, filters={"type": "Ed25519"}) == ["key 4"]
    assert names(db, q="mldsa") == ["key 3"]
    assert names(db, q="prime KEY 5") == ["key 5"]
    for sort in ("id", "-id", "name", "-name", "created_at"):
        query = ListQuery(limit=4, sort=sort, count=True)
        first = db.get(db.store.keys(query))
        second = db.get(db.store.keys(replace(query, cursor=first.next_cursor)))
        assert (first.total, len(first.items), len(second.items), second.next_cursor) == (6, 4, 2, None)
        if sort.endswith("name"):
            found = [one.name for one in (*first.items, *second.items)]
            assert found == sorted(found, reverse=sort.startswith("-"))
    for wrong in ({"filters": {"type": "DSA"}}, {"filters": {"owner": "1"}}, {"sort": "sealed"}):
        with pytest.raises(MalformedRequest):
            names(db, **wrong)


def test_a_deleted_account_keeps_its_keys(db: Opened) -> None:
    """Nobody signs in as a deleted account, so only administrators see them."""
    account = db.get(
        db.store.add_account(
            NewAccount("alice", "a@example.com", Role.USER, AccountState.ACTIVE, None), told(name="alice"), NOW
        )
    )
    made = add(db, owner_id=account.id)
    db.get(db.store.delete_account(account.id, lambda _: told("delete"), NOW))
    assert db.get(db.store.key(made.id)).owner_id == account.id


# --- sealing anew ----------------------------------------------------------------------------


def anew(value: Sealed) -> Resealed | None:
    """Seals by another word in front; all but the key of the audit log, which the store has sealed."""
    if value.kind == "audit key":
        return None
    if value.sealed.startswith(b"new"):
        return None
    if not value.sealed.startswith(b"old"):
        raise SecretKeyChanged("a stored secret does not open")
    text = value.sealed.removeprefix(b"old ")
    return Resealed(b"new " + text, text + b" looked up" if value.kind == "challenge password" else None)


def _old(text: bytes, _: int) -> bytes:
    return b"old " + text


def fill(db: Opened, rows: int = 1) -> None:
    """Sealed values of each kind."""
    for number in range(rows):
        add(db, f"key {number}")
    for text in (b"c1", b"c2"):
        end = NOW + timedelta(hours=1)
        db.get(
            db.store.add_challenge(
                NewChallengePassword(b"by " + text, "PREFIX", partial(_old, text), None, end), told(name="c"), NOW
            )
        )
    db.get(
        db.store.put_service_credential(
            NewServiceCredential(b"ski", "ocsp", b"certificate", partial(_old, b"ocsp")), NOW
        )
    )


def resealed(db: Opened, **options: bool) -> Any:
    """Return the result of ``reseal``, called while no other connection is open."""
    db.store.release_connections()
    return db.get(db.store.reseal(anew, told("update", "SECRET_KEY"), NOW, **options))


def test_everything_is_sealed_anew(db: Opened) -> None:
    """KEY-4: keys, challenge passwords with their digests, service keys; a second time changes nothing."""
    fill(db, rows=1201)
    assert {(one.kind, one.sealed) for one in db.store.newest_sealed() if one.kind != "audit key"} == {
        ("key", b"old key 1200"),
        ("challenge password", b"old c2"),
        ("service key", b"old ocsp"),
    }
    count = db.get(db.store.verify_events())
    assert resealed(db).changed == {"key": 1201, "challenge password": 2, "service key": 1}
    sealed = [one.sealed for one in db.get(db.store.keys(ListQuery(limit=1000, sort="id"))).items]
    assert sealed == [b"new key %d" % number for number in range(1000)]
    assert db.get(db.store.challenge_by_lookup(b"by c1")) is None
    found = db.get(db.store.challenge_by_lookup(b"c1 looked up"))
    assert found is not None
    assert found.sealed == b"new c1"
    credential = db.get(db.store.service_credential(b"ski", "ocsp"))
    assert credential is not None
    assert (credential.certificate, credential.sealed) == (b"certificate", b"new ocsp")
    assert resealed(db).changed == {}
    assert db.get(db.store.verify_events()) == count + 1


def test_what_does_not_open_stops_it(db: Opened) -> None:
    """All or nothing, until the operator says that the unreadable may go."""
    fill(db, rows=2)
    lost = add(db, "lost", sealed=b"lost")
    with pytest.raises(Conflict, match="'lost'"):
        resealed(db)
    assert db.get(db.store.key(lost.id - 1)).sealed == b"old key 1"
    assert db.get(db.store.challenge_by_lookup(b"by c1")) is not None
    result = resealed(db, drop=True)
    assert (result.changed["key"], result.dropped) == (2, {"key": 1})
    with pytest.raises(NotFound):
        db.get(db.store.key(lost.id))


def test_not_beside_another_server(database_url: str) -> None:
    """PostgreSQL tells who else is connected; a file has a lock instead (tests/integration/test_rekey.py)."""
    if not database_url.startswith("postgresql"):
        pytest.skip("a server locks a database in a file")
    with opened(database_url) as db:
        fill(db)
        other = open_store(database_url)
        db.get(other.check())
        with pytest.raises(Conflict, match="stop every server"):
            resealed(db)
        db.get(other.close())
        assert resealed(db).changed["key"] == 1
