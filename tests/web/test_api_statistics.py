"""REST: counts (UI-3, API-1)."""

from __future__ import annotations

from pikachu.core.model.certificates import RevocationReason
from tests.support.rest import REST


def test_statistics(rest: REST) -> None:
    """A user's are about their own, an admin's about everything."""
    owner = rest.accounts["alice"].id
    rest.stack.issue("a.example.com", owner_id=owner, days=3)
    rest.stack.revoke(rest.stack.issue("b.example.com", owner_id=owner), RevocationReason.SUPERSEDED)
    rest.stack.issue("c.example.com", owner_id=rest.accounts["bob"].id, days=40)
    mine = rest.good("GET", "/statistics", who="alice")
    assert mine["everything"] is False
    assert mine["certificates"] == {
        "total": 2,
        "valid": 1,
        "revoked": 1,
        "expired": 0,
        "expiring_7_days": 1,
        "expiring_30_days": 1,
        "expiring_90_days": 1,
        "expiring_by_week": [1] + [0] * 12,
    }
    assert mine["issued"][-1]["methods"] == {"EST": 2}
    assert len(mine["issued"]) == 30
    assert mine["keys"] == {"EC/prime256v1": 2}
    assert mine["keys_complete"] is True
    assert mine["accounts_pending"] is None
    every = rest.good("GET", "/statistics", who="root")
    assert every["everything"] is True
    assert every["certificates"]["total"] == 3
    assert (every["accounts_pending"], every["approvals_waiting"]) == (0, 0)
    assert every["as_of"].endswith("Z")
