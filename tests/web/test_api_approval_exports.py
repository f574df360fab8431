"""REST: exports of approvals (JOB-1)."""

from __future__ import annotations

import csv
import io

from tests.support.rest import REST, csr_pem
from tests.support.stack import DEFAULT_EXTENSIONS
from tests.web.test_api_jobs import create, dechunked, finish


def test_export_of_approvals(rest: REST) -> None:
    """Approvals as their lists show them: one's own, and the staff's all; a reason is no formula."""
    policy = {"name": "manual", "validity_days": 5, "extensions": DEFAULT_EXTENSIONS, "approval": "manual"}
    rest.good("POST", "/policies", {**policy, "system": True}, who="root", status=201)
    ids = [
        rest.good(
            "POST", "/certificates", {"csr": csr_pem(f"{who}.example.com"), "policy": "manual"}, who=who, status=202
        )["id"]
        for who in ("alice", "bob")
    ]
    rest.good("POST", f"/approvals/{ids[1]}/rejection", {"reason": "=not ours"}, who="root")
    for who, expected in (("alice", ids[:1]), ("root", ids)):
        job = create(rest, who, action="export", resource="approvals", ids=ids, arguments={"format": "csv"})
        finish(rest)
        body = dechunked(rest.call("GET", f"/jobs/{job['id']}/file", who=who).body)
        heading, *rows = csv.reader(io.StringIO(body.decode()))
        assert [int(row[0]) for row in rows] == expected
        assert {row[heading.index("Policy")] for row in rows} == {"manual"}
    assert rows[1][heading.index("Status")] == "rejected"
    assert rows[1][-2:] == ["root", "'=not ours"]
