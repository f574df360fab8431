"""REST: counts (UI-3, API-1)."""

from __future__ import annotations

from pikachu.core.model.certificates import RevocationReason
from tests.support.rest import REST, csr_pem


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
    assert (every["accounts_pending"], every["approvals_waiting"], every["csrs_to_sign"]) == (0, 0, 0)
    assert every["as_of"].endswith("Z")


def test_csrs_to_sign(rest: REST) -> None:
    """Stored CSRs wait until they are signed or rejected, and are no approvals."""
    kept = [
        rest.good("POST", "/csrs", {"csr": csr_pem(f"{name}.example.com")}, who=name, status=201)
        for name in ("alice", "alice", "alice", "bob")
    ]
    rest.good("POST", "/certificates", {"csr_id": kept[0]["id"]}, who="alice", status=201)
    rest.good("POST", f"/csrs/{kept[1]['id']}/rejection", {"reason": "no"}, who="root")
    for name, number in (("alice", 1), ("bob", 1), ("root", 2)):
        counts = rest.good("GET", "/statistics", who=name)
        assert (counts["csrs_to_sign"], counts["approvals_waiting"]) == (number, 0), name
        assert len(rest.good("GET", "/csrs?status=pending", who=name)["items"]) == number
