"""Renewals over REST and on the page: the same names and policy (ISS-2)."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.policies import Policy, PolicyLimits
from tests.support.deferreds import result_of
from tests.support.rest import REST, csr_pem
from tests.support.stack import DEFAULT_EXTENSIONS, Stack
from tests.support.visitor import Pages, Visitor, text_of

BODY: dict[str, Any] = {
    "subject": "CN=pump.example.com,O=Example",
    "sans": ["DNS:pump.example.com", "IP:192.0.2.1"],
    "key": {"type": "Ed25519"},
    "policy": "servers",
}


def add_policy(stack: Stack, name: str = "servers", *, same_key: bool = True) -> None:
    limits = PolicyLimits(same_key=same_key)
    policy = Policy(0, name, 90, DEFAULT_EXTENSIONS, system=True, limits=limits)
    result_of(stack.app.policy_administration.add(SYSTEM, policy))


def issue(rest: REST, who: str = "alice", **more: object) -> dict[str, Any]:
    made: dict[str, Any] = rest.good("POST", "/certificates", {**BODY, **more}, who=who, status=201)
    return made


def test_a_new_key(rest: REST) -> None:
    """Names and policy are the same, the key is new and of the same type; the audit log links them."""
    add_policy(rest.stack)
    old = issue(rest)
    headers = {"Idempotency-Key": "k"}
    path = f"/certificates/{old['id']}/renewal"
    new = rest.good("POST", path, {}, who="alice", headers=headers, status=201)
    for name in ("subject", "sans", "policy", "issuer", "key", "owner"):
        assert new[name] == old[name], name
    assert (new["id"] != old["id"], new["key_id"] != old["key_id"]) == (True, True)
    first, second = (x509.load_pem_x509_certificate(one["pem"].encode()) for one in (old, new))
    assert first.subject.public_bytes() == second.subject.public_bytes()
    assert rest.good("POST", path, {}, who="alice", headers=headers, status=201) == new
    assert rest.good("GET", f"/certificates/{old['id']}", who="alice")["status"] == "valid"
    events = result_of(rest.stack.app.store.events(ListQuery(filters={"resource_name": new["serial"]}))).items
    assert [record.event.details.get("renews") for record in events] == [old["serial"]]


def test_the_same_key(rest: REST) -> None:
    """Where it is stored here and the policy allows it."""
    add_policy(rest.stack)
    add_policy(rest.stack, "rotating", same_key=False)
    old = issue(rest)
    new = rest.good("POST", f"/certificates/{old['id']}/renewal", {"key": "same"}, who="alice", status=201)
    assert new["key_id"] == old["key_id"]
    elsewhere = rest.good("POST", "/certificates", {"csr": csr_pem()}, who="alice", status=201)
    problem = rest.bad(404, "POST", f"/certificates/{elsewhere['id']}/renewal", {"key": "same"}, who="alice")
    assert "Renew with a new key." in problem["detail"]
    rotating = issue(rest, policy="rotating")
    problem = rest.bad(422, "POST", f"/certificates/{rotating['id']}/renewal", {"key": "same"}, who="alice")
    assert "does not allow key reuse" in problem["detail"]
    assert rest.good("POST", f"/certificates/{rotating['id']}/renewal", {}, who="alice", status=201)


def test_by_an_administrator(rest: REST) -> None:
    """The owner of the certificate gets the new one and its key."""
    add_policy(rest.stack)
    old = issue(rest)
    for key in ("new", "same"):
        new = rest.good("POST", f"/certificates/{old['id']}/renewal", {"key": key}, who="root", status=201)
        assert new["owner"] == "alice"
        assert rest.good("GET", f"/keys/{new['key_id']}", who="alice")["owner"] == "alice"


def test_not_every_certificate(rest: REST) -> None:
    """Neither a revoked one nor the CA's own."""
    add_policy(rest.stack)
    old = issue(rest)
    serial = int(old["serial"], 16)
    result_of(rest.stack.app.authority.revoke(serial, RevocationReason.SUPERSEDED, SYSTEM))
    assert "revoked" in rest.bad(409, "POST", f"/certificates/{old['id']}/renewal", {}, who="alice")["detail"]
    own = rest.good("GET", "/certificates?infrastructure=only", who="root")["items"][0]
    assert "CA renews it" in rest.bad(409, "POST", f"/certificates/{own['id']}/renewal", {}, who="root")["detail"]


def test_a_deleted_policy(rest: REST) -> None:
    """A certificate can't be renewed without its policy; the message names it."""
    add_policy(rest.stack)
    old = issue(rest)
    policy = result_of(rest.stack.app.store.policy_by_name("servers"))
    assert policy is not None
    result_of(rest.stack.app.policy_administration.delete(SYSTEM, policy.id))
    assert "'servers'" in rest.bad(404, "POST", f"/certificates/{old['id']}/renewal", {}, who="alice")["detail"]


def test_the_page(pages: Pages, alice: Visitor) -> None:
    """One click from the certificate; the new one is shown before it is issued."""
    add_policy(pages.stack)
    fields = {"source": "new", "kind": "ed25519", "common_name": "a.example.com", "adds_name": "1", "policy": "servers"}
    here = alice.post("/certificates/new", fields).headers["Location"]
    assert f'href="{here}/renew"' in alice.get(here)
    page = alice.get(f"{here}/renew")
    for said in ("DNS:a.example.com", "servers", "of the new key", "90 days", "Use the same key"):
        assert said in page
    preview = alice.post(f"{here}/renew/preview", {"key": "same", "days": "9"})
    assert b"9 days" in preview.body
    assert b"of the new key" not in preview.body
    assert "Enter a whole number" in text_of(alice.post(f"{here}/renew", {"days": "x"}).body.decode())
    response = alice.post(f"{here}/renew", {"key": "same", "days": "9"})
    assert response.headers["Location"] != here
    assert "Certificate renewed." in alice.follow(response)
    certificates = pages.stack.app.store.certificates(ListQuery(limit=2), pages.stack.app.authority.now())
    new, old = result_of(certificates).items
    assert (new.key_id, new.sans, new.policy) == (old.key_id, old.sans, old.policy)


@pytest.mark.parametrize("own", [True, False])
def test_the_page_without_a_stored_key(pages: Pages, alice: Visitor, *, own: bool) -> None:
    """The page says what to do to keep a key that is elsewhere; of others' certificates there is no page."""
    leaf = pages.stack.issue(owner_id=pages.accounts["alice" if own else "bob"].id)
    page = alice.get(f"/certificates/{leaf.record.id}/renew", status=200 if own else 404)
    assert ("isn&#39;t stored here" in page or "isn't stored here" in page) is own


def test_a_policy_of_somebody_else(rest: REST) -> None:
    """A policy that another account has created since, with the same name, is not that of the certificate."""
    policies, store = rest.stack.app.policy_administration, rest.stack.app.store
    mine, theirs = (
        Policy(0, "pumps", 30, DEFAULT_EXTENSIONS, owner_id=rest.accounts[name].id) for name in ("alice", "bob")
    )
    result_of(policies.add(SYSTEM, mine))
    old = issue(rest, policy="pumps")
    path = f"/certificates/{old['id']}/renewal"
    assert rest.good("POST", path, {}, who="root", status=201)["owner"] == "alice"
    policy = result_of(store.policy_by_name("pumps"))
    assert policy is not None
    result_of(policies.delete(SYSTEM, policy.id))
    result_of(policies.add(SYSTEM, theirs))
    for who in ("alice", "root"):
        assert "'pumps'" in rest.bad(404, "POST", path, {}, who=who)["detail"]
