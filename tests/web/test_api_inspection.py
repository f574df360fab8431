"""REST: inspection (UI-7, INT-2)."""

from __future__ import annotations

import base64

import pytest

from pikachu.x509.pem import pem
from tests.support.objects import CHALLENGE, OBJECTS, PASSPHRASE, leaf
from tests.support.pki import make_csr
from tests.support.rest import REST, csr_pem


@pytest.mark.parametrize("name", OBJECTS)
def test_kinds(rest: REST, name: str) -> None:
    """PEM as it is, DER in base64."""
    kind, make = OBJECTS[name]
    data = make()
    text = base64.b64encode(data).decode() if data.startswith(b"\x30") else data.decode()
    found = rest.good("POST", "/inspect", {"data": text}, who="alice")
    assert found.keys() == {"type", "summary", "text"}
    assert found["type"] == kind
    assert found["text"]


def test_summary(rest: REST) -> None:
    """Names in snake_case, times RFC 3339, serials as everywhere."""
    summary = rest.good("POST", "/inspect", {"data": leaf().pem.decode()}, who="alice")["summary"]
    assert summary["serial"] == "1234567890"
    assert summary["subject"] == "CN=device.example.com"
    assert summary["not_after"].endswith("Z")
    assert summary["subject_alternative_names"] == ["DNS:device.example.com"]


def test_certificates_of_this_authority(rest: REST) -> None:
    """They are found in the list, by those who see them there."""
    new = rest.good("POST", "/certificates", {"csr": csr_pem()}, who="alice", status=201)
    for who, known in (("alice", True), ("root", True), ("bob", False)):
        summary = rest.good("POST", "/inspect", {"data": new["chain_pem"]}, who=who)["summary"]
        assert summary.get("certificate_id") == (new["id"] if known else None)
        assert ("status" in summary) is known
    rest.good("POST", f"/certificates/{new['id']}/revocation", {"reason": "superseded"}, who="alice")
    assert rest.good("POST", "/inspect", {"data": new["pem"]}, who="alice")["summary"]["status"] == "revoked"
    rest.call("DELETE", f"/certificates/{new['id']}", who="alice")
    assert "status" not in rest.good("POST", "/inspect", {"data": new["pem"]}, who="alice")["summary"]


def test_passphrases(rest: REST) -> None:
    """Told that one is needed, refused when it is wrong."""
    data = base64.b64encode(OBJECTS["PKCS#12"][1]()).decode()
    assert rest.good("POST", "/inspect", {"data": data}, who="alice")["summary"]["passphrase"] == "needed"
    found = rest.good("POST", "/inspect", {"data": data, "passphrase": PASSPHRASE}, who="alice")
    assert found["summary"]["friendly_names"] == ["my device"]
    problem = rest.bad(400, "POST", "/inspect", {"data": data, "passphrase": "wrong"}, who="alice")
    assert "passphrase" in problem["detail"]


def test_a_challenge_password_stays_secret(rest: REST) -> None:
    """It is in no answer."""
    data = pem("CERTIFICATE REQUEST", make_csr(challenge=CHALLENGE)[1])
    response = rest.call("POST", "/inspect", {"data": data}, who="alice")
    assert response.status == 200
    assert CHALLENGE.encode() not in response.body


def test_refusals(rest: REST) -> None:
    """Unreadable input gives 400, a request without credentials 401."""
    assert "neither PEM" in rest.bad(400, "POST", "/inspect", {"data": "hello, world"}, who="alice")["detail"]
    assert "nothing" in rest.bad(400, "POST", "/inspect", {"data": ""}, who="alice")["detail"]
    rest.bad(400, "POST", "/inspect", {}, who="alice")
    rest.bad(401, "POST", "/inspect", {"data": "x"})


def test_nothing_is_stored(rest: REST) -> None:
    """No event is recorded, and a repeated Idempotency-Key is inspected again."""
    before = rest.good("GET", "/events?limit=1000", who="root")["items"]
    headers = {"Idempotency-Key": "inspect-1"}
    for _ in range(2):
        response = rest.call("POST", "/inspect", {"data": leaf().pem.decode()}, who="alice", headers=headers)
        assert response.status in (200, 409)
    assert rest.good("GET", "/events?limit=1000", who="root")["items"] == before
