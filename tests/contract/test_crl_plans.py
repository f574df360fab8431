"""How SQLite finds the few entries of a CRL that have to leave it, also among a million (VA-2)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pikachu.core.model.certificates import RevocationReason
from tests.support.databases import NOW, event, opened
from tests.support.query_plans import plans_of


@pytest.mark.parametrize("number", [None, 1])
def test_expired_entries_follow_their_index(tmp_path: Path, number: int | None) -> None:
    """Revocations wait for the transaction that drops them, with or without delta CRLs."""
    with opened(f"sqlite:///{tmp_path / 'pikachu.db'}", fsync=False) as db:
        ended = db.issue("ended", intent={"not_after": NOW - timedelta(days=1)})
        db.get(db.store.revoke(ended.serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
        plans = plans_of(db, "crl_entries", lambda: db.get(db.store.drop_listed_expired(db.issuer.id, NOW, 1, number)))
    expected = "SEARCH crl_entries USING INDEX crl_entries_end (issuer_id=? AND not_after<?)"
    assert [step for plan in plans for step in plan if " crl_entries " in step] == [expected] * (1 + bool(number))


def test_all_entries_need_no_look_at_the_changes(tmp_path: Path) -> None:
    """The first CRL after a start has no earlier one that an entry could have been taken from."""
    with opened(f"sqlite:///{tmp_path / 'pikachu.db'}", fsync=False) as db:
        (plan,) = plans_of(db, "status_changes", lambda: db.get(db.store.crl_entries(db.issuer.id, 0)))
    assert plan == {"SEARCH status_changes USING INDEX status_changes_issuer (issuer_id=?)"}
