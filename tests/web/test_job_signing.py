"""CSRs are signed together (JOB-1): over REST and on pages, as single ones are."""

from __future__ import annotations

from typing import Any

from pikachu.core.model.people import Scope
from tests.support.ra import stored_request
from tests.support.rest import REST, csr_pem
from tests.support.visitor import Pages, Visitor, text_of
from tests.web.test_api_jobs import create, finish, results


def test_signing(rest: REST) -> None:
    """Pending CSRs are signed under one policy as single ones are: with its rights, and each once."""
    rest.good("POST", "/policies", {"name": "pumps", "validity_days": 30, "extensions": "[ v3_ext ]\n", "system": True},
              who="root", status=201)  # fmt: skip
    name = "pump-{}.example.com"
    mine = [rest.good("POST", "/csrs", {"csr": csr_pem(name.format(n), slot=n)}, who="alice", status=201)["id"]
            for n in range(3)]  # fmt: skip
    others = rest.good("POST", "/csrs", {"csr": csr_pem(name.format(9), slot=9)}, who="bob", status=201)["id"]
    rest.good("POST", "/certificates", {"csr_id": mine[0]}, who="alice", status=201)
    what: dict[str, Any] = {"action": "sign", "resource": "csrs", "arguments": {"policy": "pumps"}}
    job = create(rest, ids=[*mine, others], **what)
    assert job["arguments"]["policy"] == "pumps"
    finish(rest)
    outcome = results(rest, job)
    assert outcome[mine[0]] == ("failed", "This CSR was signed before.")
    assert [outcome[one][0] for one in mine[1:]] == ["done", "done"]
    assert outcome[others][0] == "failed"
    signed = rest.good("GET", "/certificates?policy=pumps", who="alice")["items"]
    assert sorted(one["common_name"] for one in signed) == [name.format(1), name.format(2)]
    assert rest.good("GET", f"/csrs/{others}", who="bob")["status"] == "pending"
    everybody = create(rest, "root", filter={"status": "pending"}, expected=1, **what)
    finish(rest)
    assert results(rest, everybody, "root")[others][0] == "done"
    [last] = rest.good("GET", "/certificates?policy=pumps", who="bob")["items"]
    assert last["common_name"] == name.format(9)
    unknown = rest.good("POST", "/csrs", {"csr": csr_pem(name.format(10), slot=10)}, who="alice", status=201)["id"]
    # What no row could be signed under is refused before the job begins.
    rest.good("POST", "/policies", {"name": "of bob", "validity_days": 30, "extensions": "[ v3_ext ]\n"}, who="bob",
              status=201)  # fmt: skip
    for policy in ("none such", "of bob"):
        body = {**what, "ids": [unknown], "arguments": {"policy": policy}}
        assert policy in rest.bad(404, "POST", "/jobs", body, who="alice")["detail"]
    rest.bad(400, "POST", "/jobs", {**what, "action": "delete", "ids": [unknown]}, who="alice")
    token = rest.token("alice", Scope.READ)
    rest.bad(403, "POST", "/jobs", {**what, "ids": [unknown]}, token=token)


def test_pages(pages: Pages, alice: Visitor) -> None:
    """The pending CSRs that are selected are signed under one policy."""
    ids = [stored_request(pages, common_name=f"pump-{number}.example.com").id for number in range(3)]
    assert 'value="sign"' in alice.get("/csrs?state=pending")
    fields = {"resource": "csrs", "action": "sign", "rows": "page", "page": ",".join(map(str, ids)), "back": "/csrs"}
    question = alice.post("/jobs/new", fields).body.decode()
    assert "Sign 3 CSRs" in text_of(question)
    assert '<option value="System"' in question
    job = alice.follow(alice.post("/jobs", {**fields, "policy": "None", "confirm": "3"}))
    assert "Sign 3 CSRs" in text_of(job)
    pages.clock.pump([1.0] * 10)
    assert text_of(alice.get("/csrs?state=signed")).count("pump-") == 3
