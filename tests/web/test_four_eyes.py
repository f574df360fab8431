"""ROL-1: two people approve, and nobody their own request, by REST, pages and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pikachu.core.model.people import Role
from tests.support.rest import REST, csr_pem, make_rest
from tests.support.stack import DEFAULT_EXTENSIONS, build_core
from tests.support.visitor import Pages, make_pages, text_of

STAFF = {"olga": Role.OPERATOR, "otto": Role.OPERATOR, "audrey": Role.AUDITOR}
REFUSE_OWN = {("RA", "self_approval"): "false"}


@pytest.fixture
def rest(tmp_path: Path) -> Iterator[REST]:
    """REST with operators, where nobody approves their own requests."""
    stack = build_core(tmp_path, changes=REFUSE_OWN)
    rest = make_rest(stack)
    for name, role in STAFF.items():
        rest.add(name, role)
    for approval in ("manual", "four-eyes"):
        policy = {"name": approval, "validity_days": 9, "extensions": DEFAULT_EXTENSIONS, "approval": approval}
        rest.good("POST", "/policies", {**policy, "system": True}, who="root", status=201)
    yield rest
    stack.close()


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    """The pages with the same people and policies."""
    stack = build_core(tmp_path, changes=REFUSE_OWN)
    pages = make_pages(stack)
    for name, role in STAFF.items():
        pages.add(name, role)
    yield pages
    stack.close()


def waiting(rest: REST, policy: str = "four-eyes", who: str = "alice") -> dict[str, Any]:
    """A request that awaits approval."""
    answer: dict[str, Any] = rest.good(
        "POST", "/certificates", {"csr": csr_pem(), "policy": policy}, who=who, status=202
    )
    return answer


def test_two_approvals(rest: REST) -> None:
    """The answers say which approval it was; one account gives one, whichever token it uses."""
    request = waiting(rest)
    path = f"/approvals/{request['id']}"
    assert (request["approvals_needed"], request["first_approved_by"]) == (2, None)
    first = rest.good("POST", f"{path}/approval", who="olga")
    assert (first["status"], first["first_approved_by"], first["certificate_id"]) == ("pending", "olga", None)
    assert first == rest.good("GET", path, who="alice")
    again = rest.bad(409, "POST", f"{path}/approval", who="olga")
    assert again["detail"].startswith("You have approved this request.")
    rest.bad(403, "POST", f"{path}/approval", who="audrey")
    second = rest.good("POST", f"{path}/approval", who="otto")
    assert (second["status"], second["first_approved_by"], second["decided_by"]) == ("issued", "olga", "otto")
    events = rest.good("GET", "/events?type=approve", who="root")["items"]
    assert [one["details"].get("approvals") for one in events] == ["2 of 2", "1 of 2"]


@pytest.mark.parametrize("policy", ["manual", "four-eyes"])
def test_own_requests(rest: REST, policy: str) -> None:
    """A person, their token and their jobs: none approves what the person has requested."""
    request = waiting(rest, policy, who="olga")
    path = f"/approvals/{request['id']}"
    refusal = rest.bad(403, "POST", f"{path}/approval", who="olga")
    assert "[RA] self_approval" in refusal["detail"]
    job = {"action": "approve", "resource": "approvals", "ids": [request["id"]]}
    number = rest.good("POST", "/jobs", job, who="olga", status=202)["id"]
    rest.clock.pump([1.0] * 10)
    (row,) = rest.good("GET", f"/jobs/{number}/results", who="olga")["items"]
    assert row["state"] == "failed"
    assert "your own request" in row["message"]
    assert rest.good("GET", path, who="otto")["status"] == "pending"
    rest.good("POST", f"{path}/approval", who="otto")
    if policy == "four-eyes":
        rest.bad(403, "POST", f"{path}/approval", who="olga")
        rest.good("POST", f"{path}/approval", who="root")
    assert rest.good("GET", path, who="olga")["status"] == "issued"


def test_jobs(rest: REST) -> None:
    """The results say that one approval is missing; a second job of the same account does not give it."""
    ids = [waiting(rest)["id"] for _ in range(2)]
    body = {"action": "approve", "resource": "approvals", "ids": ids}
    rows = {}
    for who in ("olga", "olga", "otto"):
        number = rest.good("POST", "/jobs", body, who=who, status=202)["id"]
        rest.clock.pump([1.0] * 10)
        rows[number] = rest.good("GET", f"/jobs/{number}/results", who=who)["items"]
    first, repeated, second = rows.values()
    assert {(row["state"], row["message"].partition(".")[0]) for row in first} == {
        ("done", "The first of two approvals was recorded")
    }
    assert {row["state"] for row in repeated} == {"failed"}
    assert {row["message"].partition(" ")[0] for row in second} == {"Certificate"}


def test_pages(pages: Pages) -> None:
    """The pages say who has approved, and offer no button that would be refused."""
    root, olga, otto = (pages.visitor(name) for name in ("root", "olga", "otto"))
    form = {"name": "both", "days": "9", "extensions": DEFAULT_EXTENSIONS, "approval": "four-eyes", "system": "1"}
    assert root.post("/policies/new", form).status == 303
    assert root.post("/policies/new", {**form, "name": "other", "approval": "three"}).status == 400
    edit = root.get("/policies/1/edit")
    assert '<option value="four-eyes" selected>' in edit
    assert olga.post("/ra", {"csr": csr_pem(), "policy": "both"}, page="/ra").status == 200
    signed = olga.post("/ra/sign", {"csr": csr_pem(), "policy": "both"}, page="/ra")
    path = signed.headers["Location"].partition("?")[0]
    listing = olga.get("/ra/approvals")
    assert f"{path}/approve" not in listing
    assert "0 of 2" in text_of(listing)
    view = olga.get(path)
    assert f"{path}/approve" not in view
    assert "This is your own request." in text_of(view)
    assert olga.post(f"{path}/approve").status == 403
    assert f"{path}/approve" in otto.get(path)
    assert "Yours is the first approval" in text_of(otto.get(f"{path}/approve"))
    assert "first of two approvals" in text_of(otto.follow(otto.post(f"{path}/approve")))
    view = otto.get(path)
    assert f"{path}/approve" not in view
    assert "1 of 2" in text_of(view)
    assert "by otto" in text_of(view)
    assert "otto approved it first" in text_of(root.get(f"{path}/approve"))
    assert root.post(f"{path}/approve").status == 303
    assert "Issued" in text_of(root.get(path))
