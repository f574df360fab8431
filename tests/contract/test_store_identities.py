"""Lists of identities in every kind of database (DEV-3)."""

from __future__ import annotations

import pytest

from pikachu.core.errors import Conflict, EditConflict, NotFound
from pikachu.core.model.identity_lists import IdentityList
from pikachu.core.model.list_queries import ListQuery
from tests.support.databases import NOW, Opened, event


def test_life(db: Opened) -> None:
    """Uploaded in parts, of which nothing counts before the list has their version; replaced; deleted."""
    db.get(db.store.add_identities(7, [f"a{number}" for number in range(1500)]))
    assert not db.get(db.store.is_listed("pumps", "a1"))
    new = IdentityList(0, "pumps", 1500, NOW, "root", 7)
    identity = db.get(db.store.put_identity_list(None, new, event(), NOW))
    with pytest.raises(Conflict):
        db.get(db.store.put_identity_list(None, new, event(), NOW))
    found = db.get(db.store.identity_list(identity))
    assert found == db.get(db.store.identity_list_by_name("pumps"))
    assert (found.entries, found.version) == (1500, 7)
    assert db.get(db.store.is_listed("pumps", "a1499"))
    assert not db.get(db.store.is_listed("pumps", "b"))
    assert not db.get(db.store.is_listed("pump", "a1"))
    db.get(db.store.add_identities(8, ["b"]))
    second = IdentityList(0, "pumps", 1, NOW, "root", 8)
    db.get(db.store.put_identity_list(found, second, event(), NOW))
    with pytest.raises(Conflict):
        db.get(db.store.put_identity_list(found, second, event(), NOW))
    assert db.get(db.store.is_listed("pumps", "b"))
    assert not db.get(db.store.is_listed("pumps", "a1"))
    assert db.get(db.store.delete_identities(7))
    assert not db.get(db.store.delete_identities(7))
    assert [one.name for one in db.get(db.store.identity_lists(ListQuery(q="PUM"))).items] == ["pumps"]
    with pytest.raises(EditConflict, match="changed by root on "):
        db.get(db.store.delete_identity_list(found, event("delete"), NOW))
    assert db.get(db.store.is_listed("pumps", "b"))
    current = db.get(db.store.identity_list(identity))
    db.get(db.store.delete_identity_list(current, event("delete"), NOW))
    assert not db.get(db.store.is_listed("pumps", "b"))
    assert db.get(db.store.identity_list_by_name("pumps")) is None
    with pytest.raises(NotFound):
        db.get(db.store.identity_list(identity))
    with pytest.raises(NotFound):
        db.get(db.store.delete_identity_list(current, event("delete"), NOW))
