"""REST: stored keys, requests made of them, PKCS#12 (KEY-1 to KEY-5, CSR-1 to CSR-3, CRT-4, INT-2)."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from pikachu.x509.csr import decode_csr_input, parse_csr, verify_csr
from pikachu.x509.keys import describe_private_key, generate_private_key, load_private_key, private_key_pem
from pikachu.x509.pem import pem
from pikachu.x509.pfx import read_file
from tests.support.rest import REST, csr_pem

REQUEST = """\
[ req ]
prompt = no
distinguished_name = dn
attributes = more
req_extensions = asked
[ dn ]
CN = device.example.com
[ more ]
challengePassword = a secret word
[ asked ]
subjectAltName = DNS:device.example.com
"""


def new_key(rest: REST, **body: Any) -> dict[str, Any]:
    """A new stored key."""
    made: dict[str, Any] = rest.good("POST", "/keys", {"name": "mine", **body}, who="alice", status=201)
    return made


@pytest.mark.parametrize(
    ("asked", "text", "parts"),
    [
        ({"type": "RSA"}, "RSA/2048", {"type": "RSA", "size": 2048, "curve": None, "algorithm": None}),
        ({"type": "RSA", "size": 3072}, "RSA/3072", {"type": "RSA", "size": 3072}),
        ({"type": "EC", "curve": "secp384r1"}, "EC/secp384r1", {"type": "EC", "curve": "secp384r1", "size": None}),
        ({"curve": "secp256k1"}, "EC/secp256k1", {"type": "EC", "curve": "secp256k1"}),
        ({"type": "Ed25519"}, "Ed25519", {"type": "Ed25519", "size": None, "curve": None, "algorithm": None}),
        ({"type": "PQC", "algorithm": "mldsa65"}, "PQC/mldsa65", {"type": "PQC", "algorithm": "mldsa65"}),
        ({"algorithm": "mldsa87"}, "PQC/mldsa87", {"type": "PQC"}),
    ],
)
def test_kinds(rest: REST, asked: dict[str, Any], text: str, parts: dict[str, object]) -> None:
    """KEY-1, KEY-2: a key has its type with size, curve or algorithm."""
    made = new_key(rest, **asked)
    assert made["key"] == text
    assert made.items() >= parts.items()
    assert (made["name"], made["owner"]) == ("mine", "alice")
    assert made["public_pem"].startswith("-----BEGIN PUBLIC KEY-----\n")


def test_life(rest: REST) -> None:
    """KEY-2 to KEY-5: made, listed, seen, handed out under a passphrase, deleted; each is in the events."""
    made = new_key(rest, type="EC")
    path = f"/keys/{made['id']}"
    assert rest.good("GET", path, who="alice") == made
    listed = rest.good("GET", "/keys?type=EC&q=mine&sort=name", who="root")["items"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert rest.good("GET", "/keys?type=RSA", who="alice")["items"] == []
    assert "PRIVATE" not in str((listed, made))
    given = rest.good("POST", f"{path}/private-key", {"passphrase": "correct horse"}, who="alice")
    assert given["encrypted"]
    assert (
        pem("PUBLIC KEY", describe_private_key(load_private_key(given["private_pem"], "correct horse")).spki)
        == (made["public_pem"])
    )
    plain = rest.good("POST", f"{path}/private-key", who="root")
    assert plain["private_pem"].startswith("-----BEGIN PRIVATE KEY-----\n")
    rest.bad(400, "POST", f"{path}/private-key", {"passphrase": ""}, who="alice")
    rest.good("DELETE", path, who="alice", status=204)
    rest.bad(404, "GET", path, who="alice")
    events = rest.good("GET", "/events?resource_type=key", who="root")["items"]
    assert [(one["type"], one["actor"]) for one in events] == [
        ("delete", "alice"),
        ("download", "root"),
        ("download", "alice"),
        ("create", "alice"),
    ]


def test_a_private_key_is_not_kept_for_repetitions(rest: REST) -> None:
    """The same Idempotency-Key does not give what is secret a second time."""
    path = f"/keys/{new_key(rest, type='EC')['id']}/private-key"
    headers = {"Idempotency-Key": "once"}
    rest.good("POST", path, who="alice", headers=headers)
    assert b"PRIVATE" not in rest.call("POST", path, who="alice", headers=headers).body


def test_refusals(rest: REST) -> None:
    """Errors name the field."""
    for body in (
        {},
        {"name": "x"},
        {"name": "", "type": "EC"},
        {"name": "x", "type": "DSA"},
        {"name": "x", "type": "RSA", "size": 1024},
        {"name": "x", "type": "EC", "curve": "secp192r1"},
        {"name": "x", "type": "EC", "size": 2048},
        {"name": "x", "size": 2048, "curve": "prime256v1"},
        {"name": "x", "type": "Ed25519", "curve": "prime256v1"},
    ):
        rest.bad(400, "POST", "/keys", body, who="alice")
    rest.bad(400, "GET", "/keys?type=DSA", who="alice")
    rest.bad(404, "GET", "/keys/abc", who="alice")
    assert rest.good("GET", "/keys", who="alice")["items"] == []


@pytest.mark.parametrize("asked", [{"type": "EC"}, {"type": "PQC"}])
def test_request_of_a_stored_key(rest: REST, asked: dict[str, Any]) -> None:
    """CSR-1 to CSR-3: preview, make, see, download, sign."""
    key = new_key(rest, **asked)
    source = {"key_id": key["id"], "template": REQUEST}
    preview = rest.good("POST", "/csrs/preview", source, who="alice")
    assert rest.good("GET", "/csrs", who="alice")["items"] == []
    assert preview["subject"] == "CN=device.example.com"
    assert preview["key"] == key["key"]
    assert [(one["name"], one["lines"]) for one in preview["extensions"]] == [
        ("X509v3 Subject Alternative Name", ["DNS:device.example.com"])
    ]
    made = rest.good("POST", "/csrs", {**source, "name": "first"}, who="alice", status=201)
    assert made.items() >= {"name": "first", "key_id": key["id"], "template": None, "status": "pending"}.items()
    assert made["text"].startswith(preview["text"])
    assert "a secret word" not in str(made).replace(made["pem"], "")
    assert verify_csr(parse_csr(decode_csr_input(made["pem"].encode()))).text == key["key"]
    assert rest.call("GET", f"//requests/{made['id']}/download", who="alice").body == made["pem"].encode()
    rest.good("POST", "/certificates", {"csr": made["pem"]}, who="alice", status=201)
    assert rest.good("GET", f"/keys/{key['id']}", who="alice").items() >= {"requests": 1, "certificates": 1}.items()


def test_request_of_names(rest: REST) -> None:
    """CSR-1: subject and SANs as on the page, alone or in place of those of a template."""
    key = new_key(rest, type="EC")["id"]
    names = {"key_id": key, "subject": "CN=pump-77,O=Example", "sans": ["DNS:pump-77.example.com", "IP:192.0.2.7"]}
    sans = ("X509v3 Subject Alternative Name", ["DNS:pump-77.example.com", "IP:192.0.2.7"])
    for source in (names, {**names, "template": REQUEST}):
        preview = rest.good("POST", "/csrs/preview", source, who="alice")
        made = rest.good("POST", "/csrs", source, who="alice", status=201)
        for one in (preview, made):
            assert one["subject"] == "CN=pump-77,O=Example"
            assert sans in [(extension["name"], extension["lines"]) for extension in one["extensions"]]
        assert made["name"] == "pump-77"
        assert bool(made["attributes"]) == ("template" in source)
    only = rest.good("POST", "/csrs", {"key_id": key, "sans": ["DNS:a.example.com"]}, who="alice", status=201)
    assert only["subject"] == ""
    for wrong in ({"subject": "CN"}, {"sans": ["IP:999.1.1.1"]}, {"subject": "", "sans": []}):
        rest.bad(400, "POST", "/csrs", {"key_id": key, **wrong}, who="alice")
    rest.bad(400, "POST", "/csrs", {"csr": csr_pem(), "subject": "CN=a"}, who="alice")


def test_request_refusals(rest: REST) -> None:
    """A request is sent or made, one of the two; keys of others are not found; a wrong text names its line."""
    key = new_key(rest, type="EC")["id"]
    for body in (
        {},
        {"csr": csr_pem(), "key_id": key},
        {"csr": csr_pem(), "template": REQUEST},
        {"key_id": key},
        {"key_id": key, "template": REQUEST, "template_id": 1},
    ):
        rest.bad(400, "POST", "/csrs", body, who="alice")
    rest.bad(404, "POST", "/csrs", {"key_id": key, "template": REQUEST}, who="bob")
    rest.bad(404, "POST", "/csrs", {"key_id": key, "template_id": 99}, who="alice")
    wrong = {"key_id": key, "template": REQUEST.replace("CN =", "commonNam =")}
    for path in ("/csrs", "/csrs/preview"):
        assert "Line 7" in rest.bad(422, "POST", path, wrong, who="alice")["detail"]


def test_pfx(rest: REST) -> None:
    """CRT-4: PKCS#12 for a key stored here; ML-DSA and a missing key give a clear error."""

    def certificate(**asked: Any) -> int:
        source = {"key_id": new_key(rest, **asked)["id"], "template": REQUEST}
        csr = rest.good("POST", "/csrs", source, who="alice", status=201)["pem"]
        return int(rest.good("POST", "/certificates", {"csr": csr}, who="alice", status=201)["id"])

    body = {"passphrase": "correct horse"}
    path = f"/certificates/{certificate(type='EC')}/pfx"
    response = rest.call("POST", path, body, who="alice")
    assert (response.status, response.headers["Content-Type"]) == (200, "application/x-pkcs12")
    assert response.headers["Content-Disposition"].endswith('.pfx"')
    key, leaf, chain = pkcs12.load_key_and_certificates(response.body, b"correct horse")
    assert key is not None
    assert leaf is not None
    assert len(chain) == 2
    rest.bad(400, "POST", path, {}, who="alice")
    rest.bad(400, "POST", path, {"passphrase": ""}, who="alice")
    rest.bad(404, "POST", path, body, who="bob")
    assert (
        "ML-DSA" in rest.bad(422, "POST", f"/certificates/{certificate(type='PQC')}/pfx", body, who="alice")["detail"]
    )
    other = rest.good("POST", "/certificates", {"csr": csr_pem("other.example.com")}, who="alice", status=201)["id"]
    rest.bad(404, "POST", f"/certificates/{other}/pfx", body, who="alice")


# --- existing keys ---------------------------------------------------------------------------


def test_import(rest: REST) -> None:
    """A key in PEM, open or encrypted, or in PKCS#12; its type is its own, and no secret comes back."""
    first, second = (generate_private_key(kind) for kind in ("prime256v1", "ed25519"))
    encrypted = private_key_pem(first, "secret")
    made = rest.good("POST", "/keys", {"name": "a", "pem": encrypted, "passphrase": "secret"}, who="alice", status=201)
    assert made.items() >= {"name": "a", "key": "EC/prime256v1", "curve": "prime256v1", "owner": "alice"}.items()
    assert made["public_pem"] == pem("PUBLIC KEY", describe_private_key(first).spki)
    assert "PRIVATE" not in str(made)
    protection = serialization.BestAvailableEncryption(b"secret")
    assert isinstance(second, ed25519.Ed25519PrivateKey)
    file = pkcs12.serialize_key_and_certificates(b"Mine", second, None, None, protection)
    body = {"name": "b", "pkcs12": base64.b64encode(file).decode(), "passphrase": "secret", "alias": "mine"}
    assert rest.good("POST", "/keys", body, who="alice", status=201)["key"] == "Ed25519"
    rest.bad(409, "POST", "/keys", body, who="alice")
    assert rest.good("POST", "/keys", body, who="bob", status=201)["owner"] == "bob"


def test_import_refusals(rest: REST) -> None:
    """Errors name the field, and nothing is stored."""
    encrypted = private_key_pem(generate_private_key("prime256v1"), "secret")
    weak = private_key_pem(rsa.generate_private_key(65537, 1024))
    for body, status, named in (
        ({"pem": encrypted}, 400, "passphrase"),
        ({"pem": encrypted, "passphrase": "wrong"}, 400, "passphrase"),
        ({"pem": encrypted, "passphrase": "secret", "type": "EC"}, 400, "must have either"),
        ({"pem": encrypted, "passphrase": "secret", "curve": "prime256v1"}, 400, "must have either"),
        ({"pem": encrypted, "pkcs12": "MAA="}, 400, "either"),
        ({"type": "EC", "passphrase": "secret"}, 400, "must have either"),
        ({"pem": "hello"}, 400, "No private key found"),
        ({"pem": ""}, 400, "No private key found"),
        ({"pkcs12": "?"}, 400, "base64"),
        ({"pkcs12": "MAA="}, 400, ""),
        ({"pem": weak}, 422, "1024"),
    ):
        assert named in rest.bad(status, "POST", "/keys", {"name": "x", **body}, who="alice")["detail"]
    assert rest.good("GET", "/keys", who="alice")["items"] == []


def test_compatible_pfx(rest: REST) -> None:
    """CRT-4: the form is modern or compatible."""
    source = {"key_id": new_key(rest, type="EC")["id"], "template": REQUEST}
    csr = rest.good("POST", "/csrs", source, who="alice", status=201)["pem"]
    path = f"/certificates/{rest.good('POST', '/certificates', {'csr': csr}, who='alice', status=201)['id']}/pfx"
    for form, digest in (("modern", "2.16.840.1.101.3.4.2.1"), ("compatible", "1.3.14.3.2.26")):
        response = rest.call("POST", path, {"passphrase": "secret", "form": form}, who="alice")
        assert response.status == 200
        mac = read_file(response.body).mac
        assert mac is not None
        assert mac.algorithm.sub()[0].oid() == digest
    rest.bad(400, "POST", path, {"passphrase": "secret", "form": "old"}, who="alice")
