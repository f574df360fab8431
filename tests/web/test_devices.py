"""Devices on pages and over REST (DEV-1)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.core.model.certificates import RevocationReason
from tests.support.deferreds import result_of
from tests.support.rest import csr_pem, make_rest
from tests.support.stack import DEFAULT_EXTENSIONS, Stack, build_core
from tests.support.visitor import Pages, asks_again, make_pages, text_of

DAY = 86400


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path / "core")
    yield made
    made.close()


@pytest.fixture
def pages(stack: Stack) -> Pages:
    return make_pages(stack)


def test_pages(stack: Stack, pages: Pages) -> None:
    """From the list to a device with its certificates, and to a challenge password for its names."""
    alice, root, bob = (pages.visitor(name) for name in ("alice", "root", "bob"))
    owner = pages.accounts["alice"].id
    assert "No devices yet" in alice.get("/devices")
    leaf = stack.issue("pump-1.example.com", owner_id=owner, days=9)
    stack.issue("PUMP-1.example.com", owner_id=owner, days=9)
    stack.issue("pump-2.example.com", owner_id=owner, days=900)
    stack.issue("other.example.com", owner_id=pages.accounts["bob"].id)
    page = text_of(alice.get("/devices?sort=name"))
    assert "PUMP-1.example.com" in page
    assert "pump-2.example.com" in page
    assert "other.example.com" not in page
    assert "other.example.com" in root.get("/devices")
    ending = text_of(alice.get("/devices?expires=30d"))
    assert "PUMP-1.example.com" in ending
    assert "pump-2.example.com" not in ending
    assert "Nothing matches." in text_of(alice.get("/devices?expires=30d&state=overdue"))
    path = f"/devices/{leaf.record.device_id}"
    page = text_of(alice.get(path))
    assert "PUMP-1.example.com" in page
    assert page.count("current") == 1
    assert f'href="{path}"' in alice.get(f"/certificates/{leaf.record.id}")
    assert "Showing 1\u20132 of 2" in text_of(alice.get(f"/certificates?device={leaf.record.device_id}"))
    assert bob.request("GET", path).status == 404
    reply = alice.post(f"{path}/challenge-passwords", {})
    assert "CN=PUMP-1.example.com" in text_of(alice.get(reply.headers["Location"]))
    page = text_of(alice.get(path))
    assert "Available" in page
    assert "challenge password" in page.partition("Timeline")[2]
    for days, state in ((0, "OK"), (7, "Renewal due"), (1, "Overdue")):
        stack.clock.advance(days * DAY)
        alice = pages.visitor("alice")
        assert state in text_of(alice.get(f"/devices?q=pump-1&state={state.split()[-1].lower()}"))
    rows = list(
        csv.DictReader(line for line in alice.get("/devices?format=csv&sort=name").split("\r\n") if "," in line)
    )
    assert [(row["Device"], row["State"], row["Certificates"]) for row in rows] == [
        ("PUMP-1.example.com", "overdue", "2"),
        ("pump-2.example.com", "ok", "1"),
    ]
    assert "Unknown state" in alice.get("/devices?state=lost", status=400)
    assert "has no filter" in alice.get("/devices?owner=bob", status=400)


def test_challenge_passwords_need_a_certificate(stack: Stack, pages: Pages) -> None:
    """Without one, the page says what to do."""
    alice = pages.visitor("alice")
    leaf = stack.issue("pump", owner_id=pages.accounts["alice"].id)
    stack.revoke(leaf, RevocationReason.SUPERSEDED)
    assert alice.post(f"/devices/{leaf.record.device_id}/challenge-passwords", {}).status == 303
    stack.delete(leaf)
    reply = alice.post(f"/devices/{leaf.record.device_id}/challenge-passwords", {})
    assert reply.status == 409
    assert "were deleted" in text_of(reply.body.decode())
    assert "No devices yet" in alice.get("/devices")


def test_retire(stack: Stack, pages: Pages) -> None:
    """DEV-2: with a typed word and a reason; the device can be put back in service."""
    alice, bob = pages.visitor("alice"), pages.visitor("bob")
    owner = pages.accounts["alice"].id
    leaf = stack.issue("pump", owner_id=owner)
    path = f"/devices/{leaf.record.device_id}"
    alice.post(f"{path}/challenge-passwords", {})
    assert "nothing is issued to it any more" in text_of(alice.get(f"{path}/retire"))
    assert asks_again(alice.post(f"{path}/retire", {"confirm": "yes", "reason": "superseded"}))
    assert alice.post(f"{path}/retire", {"confirm": "retire", "reason": "certificateHold"}).status == 400
    assert bob.post(f"{path}/retire", {"confirm": "retire", "reason": "superseded"}, page="/devices").status == 404
    page = text_of(alice.follow(alice.post(f"{path}/retire", {"confirm": "retire", "reason": "keyCompromise"})))
    assert "1 certificate revoked, 1 challenge password ended" in page
    assert "Key compromise" in page
    assert "Expired" in page
    assert alice.post(f"{path}/retire", {"confirm": "retire"}).status == 400
    assert alice.post(f"{path}/retire", {"confirm": "retire", "reason": "superseded"}).status == 409
    record = result_of(stack.app.store.certificate(leaf.record.id))
    assert record.reason is RevocationReason.KEY_COMPROMISE
    assert "Retired" in text_of(alice.get("/devices?state=retired"))
    assert bob.post(f"{path}/reinstate", {}, page="/devices").status == 404
    page = text_of(alice.follow(alice.post(f"{path}/reinstate", {})))
    assert "The device is back in service." in page
    assert "Overdue" in page
    assert alice.post(f"{path}/reinstate", {}).status == 409
    stack.issue("pump", owner_id=owner)
    assert "OK" in text_of(alice.get(path))


def test_rest(stack: Stack) -> None:
    """Listed by state and name, retired, refused, put back in service; OCSP's answer is that of the certificates."""
    rest = make_rest(stack)
    issued = rest.good("POST", "/certificates", {"csr": csr_pem("pump-1.example.com")}, who="alice", status=201)
    path = f"/devices/{issued['device_id']}"
    device = rest.good("GET", path, who="alice")
    assert (device["name"], device["state"], device["owner"]) == ("pump-1.example.com", "ok", "alice")
    assert (device["method"], device["certificates"], device["certificate_id"]) == ("API", 1, issued["id"])
    assert rest.good("GET", "/devices?q=PUMP-1&state=ok&method=API", who="alice")["items"] == [device]
    assert rest.good("GET", f"/certificates?device={device['id']}", who="alice")["items"][0]["id"] == issued["id"]
    rest.bad(404, "GET", path, who="bob")
    rest.bad(403, "GET", "/devices?owner=alice", who="bob")
    rest.bad(400, "POST", f"{path}/retirement", {"reason": "certificateHold"}, who="alice")
    done = rest.good("POST", f"{path}/retirement", {"reason": "keyCompromise"}, who="alice")
    assert done == {"certificates_revoked": 1, "challenge_passwords_ended": 0}
    rest.bad(409, "POST", f"{path}/retirement", {}, who="alice")
    assert rest.good("GET", f"/status/{issued['serial']}")["status"] == "revoked"
    device = rest.good("GET", path, who="alice")
    assert (device["state"], device["retirement_reason"], device["certificate_id"]) == (
        "retired",
        "keyCompromise",
        None,
    )
    again = {"csr": csr_pem("pump-1.example.com", slot=7)}
    refusal = rest.bad(422, "POST", "/certificates", again, who="alice")
    assert "retired" in str(refusal)
    assert rest.good("DELETE", f"{path}/retirement", who="alice")["state"] == "overdue"
    rest.bad(409, "DELETE", f"{path}/retirement", who="alice")
    rest.good("POST", "/certificates", again, who="alice", status=201)
    assert rest.good("GET", path, who="alice")["state"] == "ok"


def test_jobs(stack: Stack) -> None:
    """JOB-1: devices are retired and renewed together, each with its outcome."""
    rest = make_rest(stack)
    for number in range(3):
        rest.good("POST", "/certificates", {"csr": csr_pem(f"pump-{number}", slot=number)}, who="alice", status=201)
    ids = [one["id"] for one in rest.good("GET", "/devices?sort=id", who="alice")["items"]]
    renewal = {"action": "renew", "resource": "devices", "ids": ids[:1]}
    retirement = {
        "action": "retire",
        "resource": "devices",
        "filter": {"q": "pump"},
        "expected": 3,
        "arguments": {"reason": "superseded"},
    }
    rest.bad(409, "POST", "/jobs", {**retirement, "expected": 2}, who="alice")
    rest.bad(400, "POST", "/jobs", {**retirement, "arguments": {"reason": "certificateHold"}}, who="alice")
    for body, failed in ((renewal, 0), (retirement, 0), (renewal, 1)):
        job = rest.good("POST", "/jobs", body, who="alice", status=202)
        rest.clock.pump([1.0] * 5)
        job = rest.good("GET", f"/jobs/{job['id']}", who="alice")
        state = "failed" if failed else "completed"
        assert (job["state"], job["failed"]) == (state, failed)
    device = rest.good("GET", f"/devices/{ids[0]}", who="alice")
    assert (device["state"], device["certificates"]) == ("retired", 2)
    results = rest.good("GET", f"/jobs/{job['id']}/results", who="alice")["items"]
    assert "no valid certificate" in results[0]["message"]


def test_pages_of_identity_lists(pages: Pages) -> None:
    """DEV-3: uploaded, looked up, replaced, deleted."""
    root = pages.visitor("root")
    assert "No lists yet" in root.get("/identity-lists")
    text = "Serial number\n# pumps\nPUMP-1,building 7\n\npump-2\npump-1\n"
    assert root.post("/identity-lists", {"name": "pumps", "identities": "\n"}).status == 400
    path = root.post("/identity-lists", {"name": "pumps", "identities": text}).headers["Location"]
    assert root.post("/identity-lists", {"name": "pumps", "identities": "x"}).status == 409
    assert "Identities 2" in text_of(root.get(path))
    assert "is on this list" in text_of(root.get(f"{path}?identity=Pump-1"))
    assert "is not on this list" in text_of(root.get(f"{path}?identity=pump-3"))
    assert root.post(f"{path}/replace", {"identities": ""}).status == 400
    assert root.post(f"{path}/replace", {"identities": "pump-3"}).status == 303
    assert "is on this list" in text_of(root.get(f"{path}?identity=pump-3"))
    assert "is not on this list" in text_of(root.get(f"{path}?identity=pump-1"))
    mistyped = root.post(f"{path}/delete", {"confirm": "no", "version": "1"})
    assert asks_again(mistyped)
    assert b'name="version" value="1"' in mistyped.body, "the next attempt would delete what nobody has looked at"
    conflict = root.post(f"{path}/delete", {"confirm": "delete", "version": "1"})
    assert conflict.status == 409
    assert b'name="version" value="1"' not in conflict.body
    assert root.post(f"{path}/delete", {"confirm": "delete"}).status == 303
    assert "No lists yet" in root.get("/identity-lists")


def test_required_identities(stack: Stack) -> None:
    """DEV-3: what isn't on the policy's list is refused and recorded, also when the list was deleted."""
    rest = make_rest(stack)
    body = {"name": "pumps", "identities": "PUMP-1\n"}
    path = f"/identity-lists/{rest.good('POST', '/identity-lists', body, who='root', status=201)['id']}"
    policy = {"name": "listed", "validity_days": 10, "extensions": DEFAULT_EXTENSIONS, "system": True}
    bad = rest.bad(400, "POST", "/policies", {**policy, "limits": {"identities": "none"}}, who="root")
    assert "Create it first" in bad["detail"]
    rest.good("POST", "/policies", {**policy, "limits": {"identities": "pumps"}}, who="root", status=201)

    def ask(name: str) -> dict[str, str]:
        return {"csr": csr_pem(name), "policy": "listed"}

    rest.good("POST", "/certificates", ask("pump-1"), who="alice", status=201)
    refusal = rest.bad(422, "POST", "/certificates", ask("pump-3"), who="alice")
    assert "not on the list of identities" in refusal["detail"]
    event = rest.good("GET", "/events?type=reject&limit=1", who="alice")["items"][0]
    assert (event["resource_name"], event["details"]["identities"]) == ("pump-3", "pumps")
    rest.good("PUT", path, {"identities": "pump-3"}, who="root")
    rest.good("POST", "/certificates", ask("pump-3"), who="alice", status=201)
    rest.bad(422, "POST", "/certificates", ask("pump-1"), who="alice")
    rest.good("DELETE", path, who="root", status=204)
    rest.bad(422, "POST", "/certificates", ask("pump-3"), who="alice")


def test_identities_of_approvals(stack: Stack) -> None:
    """DEV-3: an approval looks at the list of that time, and a refused one leaves the request waiting."""
    rest = make_rest(stack)
    body = {"name": "pumps", "identities": "pump-1\n"}
    path = f"/identity-lists/{rest.good('POST', '/identity-lists', body, who='root', status=201)['id']}"
    policy = {"name": "listed", "validity_days": 10, "extensions": DEFAULT_EXTENSIONS, "system": True}
    limits = {"limits": {"identities": "pumps"}, "approval": "manual"}
    rest.good("POST", "/policies", {**policy, **limits}, who="root", status=201)
    asked = {"csr": csr_pem("pump-1"), "policy": "listed"}
    waiting = rest.good("POST", "/certificates", asked, who="alice", status=202)
    approval = f"/approvals/{waiting['id']}/approval"
    rest.good("PUT", path, {"identities": "pump-2"}, who="root")
    assert "not on the list of identities" in rest.bad(422, "POST", approval, {}, who="root")["detail"]
    event = rest.good("GET", "/events?type=reject&limit=1", who="root")["items"][0]
    assert (event["resource_name"], event["details"]["identities"]) == ("pump-1", "pumps")
    rest.good("PUT", path, {"identities": "pump-1"}, who="root")
    rest.good("POST", approval, {}, who="root")
