"""How SQLite finds the few CSRs that wait to be signed, also among a hundred thousand (CSR-2)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.requests import NewCSR
from tests.support.databases import NOW, Opened, event, opened
from tests.support.query_plans import plans_of


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """CSRs of two owners."""
    with opened(f"sqlite:///{tmp_path_factory.mktemp('plans') / 'pikachu.db'}", fsync=False) as one:
        for number in range(6):
            csr = NewCSR(f"csr {number}", b"csr", "CN=device", "RSA/2048", 1 + number % 2)
            one.get(one.store.add_csr(csr, event(), NOW))
        yield one


@pytest.mark.parametrize("owner_id", [None, 2])
def test_the_count_follows_an_index(db: Opened, owner_id: int | None) -> None:
    """UI-3: the dashboard counts them often."""
    (steps,) = plans_of(db, "csrs", lambda: db.get(db.store.count(owner_id, NOW)))
    expected = "SCAN csrs USING INDEX csrs_pending"
    assert steps == {expected if owner_id is None else "SEARCH csrs USING INDEX csrs_pending_owner (owner_id=?)"}


@pytest.mark.parametrize("count", [False, True])
@pytest.mark.parametrize("owner_id", [None, 2])
def test_the_list_follows_an_index(db: Opened, owner_id: int | None, count: bool) -> None:
    """The newest first, without reading those that are signed."""
    query = ListQuery(sort="-id", limit=2, filters={"state": "pending"}, owner_id=owner_id, count=count)
    found = {step for plan in plans_of(db, "csrs", lambda: db.get(db.store.csrs(query))) for step in plan}
    by_id = "SEARCH csrs USING INTEGER PRIMARY KEY (rowid=?)"
    (index,) = {step for step in found if " csrs " in step and step != by_id}
    assert index.startswith(("SCAN csrs USING INDEX csrs_pending", "SEARCH csrs USING INDEX csrs_pending_owner"))
    assert len(db.get(db.store.csrs(query)).items) == 2
