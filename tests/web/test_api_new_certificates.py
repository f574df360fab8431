"""REST: certificates for names and a key (ISS-1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from pikachu.core.model.people import Scope
from tests.support.rest import REST, csr_pem, make_rest
from tests.support.stack import DEFAULT_EXTENSIONS, build_core

BODY: dict[str, Any] = {
    "subject": "CN=pump.example.com,O=Example",
    "sans": ["DNS:pump.example.com", "DNS:PUMP.example.com", "IP:2001:db8::1", "email:a@example.com", "URI:urn:a:b"],
    "key": {"type": "Ed25519"},
}


def names_of(document: dict[str, Any]) -> list[str]:
    certificate = x509.load_pem_x509_certificate(document["pem"].encode())
    return [
        str(name.value) for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ]


def test_iss_1(rest: REST) -> None:
    """201 with the id of the key, which is the account's own; an identical name twice is one."""
    response = rest.call("POST", "/certificates", BODY, who="alice")
    assert response.status == 201, response.body
    made = json.loads(response.body)
    assert b"PRIVATE KEY" not in response.body
    assert response.headers["Location"] == f"/api/v1/certificates/{made['id']}"
    assert names_of(made) == ["pump.example.com", "2001:db8::1", "a@example.com", "urn:a:b"]
    assert (made["subject"], made["key"], made["policy"]) == (BODY["subject"], "Ed25519", "System")
    key = rest.good("GET", f"/keys/{made['key_id']}", who="alice")
    assert (key["name"], key["certificates"], key["owner"]) == ("pump.example.com", 1, "alice")
    assert rest.good("GET", f"/certificates/{made['id']}", who="alice") == made
    rest.bad(404, "GET", f"/keys/{made['key_id']}", who="bob")
    assert rest.call("POST", f"/certificates/{made['id']}/pfx", {"passphrase": "correct"}, who="alice").status == 200


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ({"type": "EC"}, "EC/prime256v1"),
        ({"curve": "secp384r1", "name": "mine"}, "EC/secp384r1"),
        ({"type": "PQC", "algorithm": "mldsa65"}, "PQC/mldsa65"),
    ],
)
def test_new_keys(rest: REST, key: dict[str, Any], text: str) -> None:
    """As in POST /keys; a name is optional."""
    made = rest.good("POST", "/certificates", {"subject": "CN=a", "key": key}, who="alice", status=201)
    stored = rest.good("GET", f"/keys/{made['key_id']}", who="alice")
    assert (made["key"], stored["key"], stored["name"]) == (text, text, key.get("name", "a"))


def test_a_stored_key(rest: REST) -> None:
    """One's own by its id; not another account's."""
    key = rest.good("POST", "/keys", {"name": "mine", "type": "EC"}, who="alice", status=201)
    body = {**BODY, "key": {"id": key["id"]}}
    assert rest.good("POST", "/certificates", body, who="alice", status=201)["key_id"] == key["id"]
    rest.bad(404, "POST", "/certificates", body, who="bob")
    rest.bad(403, "POST", "/certificates", body, who="root")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({**BODY, "csr": "x"}, "The body must have either csr"),
        ({"subject": "CN=a"}, "The body must have either csr"),
        ({"csr": "x", "sans": []}, "The body must have either csr"),
        ({"key": {"type": "EC"}}, "Enter a subject or"),
        ({**BODY, "subject": "a"}, "type=value pairs"),
        ({**BODY, "key": {}}, "“key” must have either id"),
        ({**BODY, "key": {"id": 1, "type": "EC"}}, "“key” must have either id"),
        ({**BODY, "key": {"type": "DSA"}}, "“key.type” must be one of"),
        ({**BODY, "key": {"type": "EC", "size": 2048}}, "“key” must have either id"),
        ({**BODY, "sans": ["a.example.com"]}, "Write a subject alternative name as"),
        ({**BODY, "sans": ["DNS:a.example.com.", "IP:192.0.2.0/24"]}, "Remove the dot at the end. “IP:192.0.2.0/24”"),
        ({**BODY, "validity_days": 0}, "validity_days"),
    ],
)
def test_wrong_bodies(rest: REST, body: dict[str, Any], message: str) -> None:
    """A message for each wrong name; nothing is generated."""
    answer = rest.call("POST", "/certificates", body, who="alice")
    assert answer.status in (400, 422)
    assert message in json.loads(answer.body)["detail"]
    assert rest.good("GET", "/keys", who="alice")["items"] == []


def test_idempotency(rest: REST) -> None:
    """The same certificate and key once; another request with that key: 422."""
    headers = {"Idempotency-Key": "k"}
    first = rest.good("POST", "/certificates", BODY, who="alice", headers=headers, status=201)
    assert rest.good("POST", "/certificates", BODY, who="alice", headers=headers, status=201) == first
    rest.bad(422, "POST", "/certificates", {**BODY, "subject": "CN=b"}, who="alice", headers=headers)
    assert len(rest.good("GET", "/keys", who="alice")["items"]) == 1


def test_approval(rest: REST) -> None:
    """202 with the id of the key; a repetition gets the same; the certificate appears with the approval."""
    policy = {"name": "manual", "validity_days": 5, "extensions": DEFAULT_EXTENSIONS, "approval": "manual"}
    rest.good("POST", "/policies", {**policy, "system": True}, who="root", status=201)
    body, headers = {**BODY, "policy": "manual"}, {"Idempotency-Key": "k"}
    waiting = rest.good("POST", "/certificates", body, who="alice", headers=headers, status=202)
    assert rest.good("POST", "/certificates", body, who="alice", headers=headers, status=202) == waiting
    assert rest.good("GET", f"/keys/{waiting['key_id']}", who="alice")["key"] == "Ed25519"
    made = rest.good("POST", f"/approvals/{waiting['id']}/approval", {}, who="root")
    certificate = rest.good("GET", f"/certificates/{made['certificate_id']}", who="alice")
    assert certificate["key_id"] == waiting["key_id"]


def test_preview(rest: REST) -> None:
    """The certificate or its refusal; nothing is generated."""
    preview = rest.good("POST", "/certificates/preview", BODY, who="alice")
    assert preview["given"]["subject"] == BODY["subject"]
    assert preview["given"]["key"] == "Ed25519"
    refused = rest.good("POST", "/certificates/preview", {**BODY, "validity_days": 36500}, who="alice")
    assert refused["refusal"]
    assert rest.good("GET", "/keys", who="alice")["items"] == []


def test_scopes(rest: REST) -> None:
    """A token for enrolling suffices; one for reading doesn't."""
    rest.good("POST", "/certificates", BODY, token=rest.token("alice", Scope.ENROLL), status=201)
    rest.bad(403, "POST", "/certificates", BODY, token=rest.token("alice", Scope.READ))


def test_certificates_of_csrs_name_a_stored_key(rest: REST) -> None:
    """key_id is null where the key is elsewhere."""
    assert rest.good("POST", "/certificates", {"csr": csr_pem()}, who="alice", status=201)["key_id"] is None


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[REST]:
    """REST with a quota of one key."""
    stack = build_core(tmp_path, changes={("LIMITS", "keys"): "1"})
    yield make_rest(stack)
    stack.close()


def test_quota(narrow: REST) -> None:
    """[LIMITS] keys counts the keys that are generated here."""
    narrow.good("POST", "/certificates", BODY, who="alice", status=201)
    problem = narrow.bad(409, "POST", "/certificates", BODY, who="alice")
    assert "limit of 1 keys" in problem["detail"] or "limit of 1 key" in problem["detail"]
    assert len(narrow.good("GET", "/certificates", who="alice")["items"]) == 1
