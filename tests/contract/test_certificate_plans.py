"""How SQLite finds the newest expired certificates, also where most have not expired (CRT-1)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pikachu.core.model.certificates import CertificateRecord
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.storage.settings import StoreSettings
from tests.support.databases import NOW, opened
from tests.support.query_plans import plans_of


def test_the_newest_expired_ones_are_not_sorted(tmp_path: Path) -> None:
    """They stand together below the newest of them, which has any id."""
    query = ListQuery(limit=2, sort="-id", filters={"status": "expired"})
    pages: list[Page[CertificateRecord]] = []
    url, settings = f"sqlite:///{tmp_path / 'pikachu.db'}", StoreSettings(few_certificates=2)
    with opened(url, fsync=False, settings=settings) as db:
        ended = [db.issue(f"old-{n}", intent={"not_after": NOW - timedelta(days=9 - n)}) for n in range(5)]
        for number in range(5):
            db.issue(f"new-{number}")
        plans = plans_of(db, "certificates", lambda: pages.append(db.get(db.store.certificates(query, NOW))))
    assert [one.id for one in pages[0].items] == [ended[4].id, ended[3].id]
    sorted_ones = [plan for plan in plans if "USE TEMP B-TREE FOR ORDER BY" in plan]
    assert not any("certificates_end" in step for plan in sorted_ones for step in plan)
