"""Certificate templates in each database (TPL-1, TPL-3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.model.account_objects import CertificateTemplate
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import AccountState, NewAccount, Role
from tests.support.databases import NOW, Opened, event

LATER = NOW + timedelta(hours=1)


def draft(name: str = "web", **values: object) -> CertificateTemplate:
    made = CertificateTemplate(0, name, "TLS server", "manually", "[ v3_ext ]\n", False, True, 1, NOW, NOW)
    return replace(made, **values)  # type: ignore[arg-type]


def told(kind: str = "create", name: str = "web") -> Event:
    return Event(kind, "template", name, "someone")


def names(db: Opened, **values: object) -> list[str]:
    query = replace(ListQuery(sort="id"), **values)  # type: ignore[arg-type]
    return [one.name for one in db.get(db.store.templates(query)).items]


def test_life(db: Opened) -> None:
    """A template is kept, changed and removed, each time with its event; its first time stays."""
    made = db.get(db.store.add_template(draft(content="[ v3_ext ]\n# ü\0"), told(), NOW))
    assert made.id > 0
    assert made == draft(id=made.id, content="[ v3_ext ]\n# ü\ufffd", version=1, updated_by="someone")
    assert db.get(db.store.template(made.id)) == made
    changed = replace(made, name="other", for_requests=True, owner_id=None, origin="x.cnf.j2", created_at=LATER)
    found = db.get(db.store.update_template(changed, told("update"), LATER))
    assert found == replace(changed, created_at=NOW, updated_at=LATER, version=2)
    db.get(db.store.delete_template(made.id, lambda _: told("delete"), LATER))
    kinds = [one.event.type for one in db.get(db.store.events(ListQuery(sort="id"))).items]
    assert kinds == ["create", "update", "delete"]
    for gone in (made.id, 0, -1, 2**70):
        with pytest.raises(NotFound):
            db.get(db.store.template(gone))
        with pytest.raises(NotFound):
            db.get(db.store.update_template(replace(made, id=gone), told("update"), NOW))
        with pytest.raises(NotFound):
            db.get(db.store.delete_template(gone, lambda _: told("delete"), NOW))
    # What failed left no event.
    assert len(db.get(db.store.events(ListQuery())).items) == 3
    assert db.get(db.store.verify_events()) == 3


def test_lists(db: Opened) -> None:
    """TPL-3: an owner's own and everybody's; by usage, type and text; in each order, page by page."""
    for number in range(6):
        one = draft(
            f"template {number}",
            owner_id=(None, 1, 2)[number % 3],
            for_requests=number % 2 == 0,
            for_extensions=number > 1,
            profile_type="Device" if number == 5 else "TLS server",
            origin="device.cnf.j2" if number == 5 else "manually",
        )
        db.get(db.store.add_template(one, told(name=one.name), NOW))
    assert names(db) == [f"template {number}" for number in range(6)]
    assert names(db, owner_id=1) == ["template 0", "template 1", "template 3", "template 4"]
    assert names(db, owner_id=9) == ["template 0", "template 3"]
    assert names(db, filters={"usage": "req"}) == ["template 0", "template 2", "template 4"]
    assert names(db, filters={"usage": "ext"}, owner_id=2) == ["template 2", "template 3", "template 5"]
    assert names(db, filters={"profile_type": "Device"}) == ["template 5"]
    assert names(db, q="TEMPLATE 4") == ["template 4"]
    assert names(db, q=".cnf.j2") == ["template 5"]
    for sort in ("id", "created_at", "name", "profile_type", "origin", "updated_at"):
        for order in (sort, f"-{sort}"):
            query, seen = ListQuery(limit=2, sort=order, count=True), []
            while True:
                page = db.get(db.store.templates(query))
                seen += [one.id for one in page.items]
                assert page.total == 6
                if page.next_cursor is None:
                    break
                query = replace(query, cursor=page.next_cursor)
            assert sorted(seen) == sorted(set(seen))
            assert len(seen) == 6
    for bad in ({"usage": "x"}, {"owner": "1"}):
        with pytest.raises(MalformedRequest):
            names(db, filters=bad)
    with pytest.raises(MalformedRequest):
        names(db, sort="content")


def test_a_deleted_account_s_templates_are_not_everybodys(db: Opened) -> None:
    """USR-4: a deleted account's own templates stay hidden from others."""
    admin = db.get(db.store.add_account(NewAccount("root", "", Role.ADMIN, AccountState.ACTIVE, None), event(), NOW))
    alice = db.get(db.store.add_account(NewAccount("alice", "", Role.USER, AccountState.ACTIVE, None), event(), NOW))
    db.get(db.store.add_template(draft(owner_id=alice.id), told(), NOW))
    db.get(db.store.delete_account(alice.id, lambda _: event("delete"), NOW))
    assert names(db, owner_id=admin.id) == []
    assert names(db) == ["web"]
