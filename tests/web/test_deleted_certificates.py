"""Revocation of certificates that are deleted, before it or afterwards (CRT-5, CRT-6)."""

from __future__ import annotations

import pytest

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.people import SYSTEM, AccountState
from tests.support.deferreds import result_of
from tests.support.rest import REST, csr_pem
from tests.support.stack import Leaf, Stack
from tests.support.visitor import Pages, Visitor, text_of


def sign(rest: REST) -> dict[str, str]:
    """A new certificate of alice."""
    made: dict[str, str] = rest.good("POST", "/certificates", {"csr": csr_pem()}, who="alice", status=201)
    return made


def listed(stack: Stack) -> bytes:
    """The entries of the next CRL."""
    entries = result_of(stack.app.store.crl_entries(stack.issuer().id, 0))
    assert entries is not None
    return entries[2]


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ("", "not found", None),
        ("?revoke=false", "not found", None),
        ("?revoke=true", "revoked", "unspecified"),
        ("?revoke=superseded", "revoked", "superseded"),
        ("?revoke=certificateHold", "revoked", "certificateHold"),
    ],
)
def test_deleting_with_a_revocation(rest: REST, query: str, status: str, reason: str | None) -> None:
    """REST: ``revoke`` says whether a valid certificate is revoked first, and why."""
    made = sign(rest)
    rest.good("DELETE", f"/certificates/{made['id']}{query}", who="alice", status=204)
    answer = rest.good("GET", f"/status/{made['serial']}")
    assert (answer["status"], answer.get("reason")) == (status, reason)
    assert bool(listed(rest.stack)) is (status == "revoked")
    rest.bad(404, "GET", f"/certificates/{made['id']}", who="alice")


@pytest.mark.parametrize(
    "query", ["?revoke=", "?revoke=1", "?revoke=TRUE", "?revoke=removeFromCRL", "?reason=superseded"]
)
def test_a_deletion_with_another_word(rest: REST, query: str) -> None:
    """A word that is no reason is refused, and nothing is deleted."""
    made = sign(rest)
    rest.bad(400, "DELETE", f"/certificates/{made['id']}{query}", who="alice")
    assert rest.good("GET", f"/certificates/{made['id']}", who="alice")["status"] == "valid"


@pytest.mark.parametrize(("reason", "kept"), [("superseded", "superseded"), ("certificateHold", "keyCompromise")])
def test_deleting_what_is_revoked(rest: REST, reason: str, kept: str) -> None:
    """A hold, which could be released, becomes a revocation; the reason of what is revoked for good stays."""
    made = sign(rest)
    rest.good("POST", f"/certificates/{made['id']}/revocation", {"reason": reason}, who="alice")
    rest.good("DELETE", f"/certificates/{made['id']}?revoke=keyCompromise", who="alice", status=204)
    assert rest.good("GET", f"/status/{made['serial']}")["reason"] == kept


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize(("who", "status"), [("alice", 200), ("root", 200), ("bob", 404), (None, 401)])
def test_revoking_by_serial(rest: REST, who: str | None, status: int, deleted: bool) -> None:
    """Its owner and administrators, whether it is in the lists or not; to others it is unknown."""
    made = sign(rest)
    if deleted:
        rest.good("DELETE", f"/certificates/{made['id']}", who="alice", status=204)
    body = {"serial": made["serial"].upper(), "reason": "keyCompromise"}
    response = rest.call("POST", "/revocations", body, who=who)
    assert response.status == status, response.body
    assert bool(listed(rest.stack)) is (status == 200)
    answer = rest.good("GET", f"/status/{made['serial']}")
    if status != 200:
        assert answer["status"] == ("not found" if deleted else "valid")
        return
    assert (answer["status"], answer["reason"]) == ("revoked", "keyCompromise")
    # Repeating it changes nothing; the certificate does not come back into the lists.
    assert rest.good("POST", "/revocations", {"serial": made["serial"]}, who=who)["reason"] == "keyCompromise"
    found = rest.good("GET", "/certificates", who="root")["items"]
    assert [one["serial"] for one in found] == ([] if deleted else [made["serial"]])


@pytest.mark.parametrize(
    ("serial", "status"), [("abc", 404), ("", 400), ("xyz", 400), ("0", 400), ("-1", 400), ("f" * 41, 404)]
)
def test_serials_of_no_certificate(rest: REST, serial: str, status: int) -> None:
    """A serial number that nobody has is not found, what is none is malformed."""
    rest.bad(status, "POST", "/revocations", {"serial": serial}, who="root")


def test_revoking_a_deleted_one_and_releasing_it(stack: Stack) -> None:
    """The command line does the same; a hold ends as the deletion left it."""
    leaf = stack.issue()
    stack.delete(leaf)
    assert stack.revoke(leaf, RevocationReason.CERTIFICATE_HOLD).reason is RevocationReason.CERTIFICATE_HOLD
    assert listed(stack)
    stack.release(leaf)
    assert not listed(stack)
    assert stack.revoke(leaf, RevocationReason.SUPERSEDED).reason is RevocationReason.SUPERSEDED
    assert listed(stack)


def _issue(pages: Pages) -> Leaf:
    return pages.stack.issue(owner_id=pages.accounts["alice"].id)


def _status(pages: Pages, leaf: Leaf) -> str:
    found = result_of(pages.stack.app.store.certificate_by_serial(leaf.serial, deleted=True))
    return found.status(pages.stack.app.authority.now()).value


def test_the_dialog_offers_the_revocation(pages: Pages, alice: Visitor) -> None:
    """Deleting a valid certificate asks to revoke it first, which is selected; a refusal keeps the choice."""
    leaf = _issue(pages)
    path = f"/certificates/{leaf.record.id}/delete"
    dialog = alice.get(path)
    assert '<option value="unspecified" selected>' in dialog
    assert "Do not revoke it" in text_of(dialog)
    again = alice.post(path, {"confirm": "no", "revoke": ""})
    assert '<option value="" selected>' in again.body.decode()
    assert alice.post(path, {"confirm": "delete", "revoke": "nonsense"}).status == 400
    assert _status(pages, leaf) == "valid"
    page = alice.follow(alice.post(path, {"confirm": "delete", "revoke": "superseded"}))
    assert "was revoked and deleted" in text_of(page)
    assert _status(pages, leaf) == "revoked"
    assert listed(pages.stack)
    alice.get(f"/certificates/{leaf.record.id}", status=404)


def test_the_dialog_without_a_revocation(pages: Pages, alice: Visitor) -> None:
    """A certificate may be deleted alone; there is nothing to choose for one that is revoked."""
    leaf, revoked = _issue(pages), _issue(pages)
    alice.follow(alice.post(f"/certificates/{leaf.record.id}/delete", {"confirm": "delete", "revoke": ""}))
    assert _status(pages, leaf) == "valid"
    pages.stack.revoke(revoked)
    assert 'name="revoke"' not in alice.get(f"/certificates/{revoked.record.id}/delete")


@pytest.mark.parametrize(
    ("chosen", "status", "notice"),
    [
        ("", RevocationReason.CERTIFICATE_HOLD, "was deleted"),
        ("superseded", RevocationReason.SUPERSEDED, "was revoked and deleted"),
    ],
)
def test_the_dialog_of_one_on_hold(
    pages: Pages, alice: Visitor, chosen: str, status: RevocationReason, notice: str
) -> None:
    """A hold can be made final with the deletion, or stays."""
    leaf = _issue(pages)
    pages.stack.revoke(leaf, RevocationReason.CERTIFICATE_HOLD)
    path = f"/certificates/{leaf.record.id}/delete"
    dialog = alice.get(path)
    assert "Keep it on hold" in text_of(dialog)
    assert "Do not revoke it" not in text_of(dialog)
    assert notice in text_of(alice.follow(alice.post(path, {"confirm": "delete", "revoke": chosen})))
    found = result_of(pages.stack.app.store.certificate_by_serial(leaf.serial, deleted=True))
    assert found.reason is status


@pytest.mark.parametrize("state", ["pending", "suspended", "deleted"])
def test_revoking_what_an_account_holds(rest: REST, state: str) -> None:
    """REST revokes the certificates of an account that is not active, as often as it is asked to."""
    bob = rest.accounts["bob"].id
    leaf = rest.stack.issue(owner_id=bob)
    rest.bad(400, "POST", f"/users/{bob}/revocation", {}, who="root")
    rest.bad(404, "POST", "/users/999/revocation", {}, who="root")
    if state == "deleted":
        rest.good("DELETE", f"/users/{bob}", who="root", status=204)
    else:
        rest.good("PATCH", f"/users/{bob}", {"state": state}, who="root")
    assert rest.good("GET", f"/status/{leaf.serial:x}")["status"] == "valid"
    path = f"/users/{bob}/revocation"
    assert rest.good("POST", path, {"reason": "superseded"}, who="root") == {"certificates": 1}
    assert rest.good("GET", f"/status/{leaf.serial:x}")["reason"] == "superseded"
    assert rest.good("POST", path, {"reason": "superseded"}, who="root") == {"certificates": 0}


@pytest.mark.parametrize("state", ["pending", "suspended", "deleted"])
def test_page_of_what_an_account_holds(pages: Pages, state: str) -> None:
    """The page of an account that is not active offers to revoke its certificates."""
    bob = pages.accounts["bob"].id
    leaf = pages.stack.issue(owner_id=bob)
    accounts, root = pages.stack.app.accounts, pages.visitor("root")
    if state == "deleted":
        result_of(accounts.delete(SYSTEM, bob))
    else:
        result_of(accounts.update(SYSTEM, bob, state=AccountState(state)))
    assert f"/users/{bob}/revoke" in root.get(f"/users/{bob}")
    fields = {"confirm": "revoke", "revoke": "superseded"}
    assert root.post(f"/users/{bob}/revoke", {"confirm": "revoke", "revoke": ""}).status == 400
    assert "Revoked 1 valid certificate." in text_of(root.follow(root.post(f"/users/{bob}/revoke", fields)))
    assert _status(pages, leaf) == "revoked"
