"""REST: certificates and approvals (INT-2, API-2, CRT-3, CRT-5 to CRT-7, DECISIONS 13, 16, 32 to 34)."""

from __future__ import annotations

import base64
import json

import pytest

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.model import Scope
from pikachu.x509.pem import pem
from tests.support.pki import make_csr, make_key
from tests.support.rest import REST, csr_of, csr_pem

FIELDS = {
    "id",
    "serial",
    "status",
    "subject",
    "common_name",
    "not_before",
    "not_after",
    "issuer",
    "method",
    "pem",
    "chain_pem",
}


def sign(rest: REST, who: str = "alice", name: str = "device.example.com", **more: object) -> dict[str, object]:
    made: dict[str, object] = rest.good("POST", "/certificates", {"csr": csr_pem(name), **more}, who=who, status=201)
    return made


class TestSigning:
    def test_int_2(self, rest: REST) -> None:
        """INT-2: 201 with all fields, and where it is."""
        response = rest.call("POST", "/certificates", {"csr": csr_pem("a.example.com")}, who="alice")
        assert response.status == 201
        made = json.loads(response.body)
        assert made.keys() >= FIELDS
        assert response.headers["Location"] == f"/api/v1/certificates/{made['id']}"
        certificate = x509.load_pem_x509_certificate(made["pem"].encode())
        assert made["serial"] == f"{certificate.serial_number:x}"
        assert (made["status"], made["method"], made["issuer"]) == ("valid", "API", "ec")
        assert (made["subject"], made["common_name"], made["owner"]) == ("CN=a.example.com", "a.example.com", "alice")
        assert made["not_after"] == certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
        chain = x509.load_pem_x509_certificates(made["chain_pem"].encode())
        assert chain[0] == certificate
        assert [one.issuer for one in chain[:-1]] == [one.subject for one in chain[1:]]
        assert chain[-1].issuer == chain[-1].subject
        assert rest.good("GET", f"/certificates/{made['id']}", who="alice") == made

    def test_choices(self, rest: REST) -> None:
        """INT-2: validity, issuer and policy are the caller's to choose."""
        made = sign(rest, validity_days=7, issuer="ec", policy="System")
        certificate = x509.load_pem_x509_certificate(str(made["pem"]).encode())
        assert 6 <= (certificate.not_valid_after_utc - rest.stack.core.authority.now()).days <= 7
        assert made["policy"] == "System"

    @pytest.mark.parametrize("key_type", ["rsa2048", "ed25519", "mldsa44", "mldsa87"])
    def test_key_types(self, rest: REST, key_type: str) -> None:
        """PQC-1: requests of every kind of key are signed."""
        made = rest.good("POST", "/certificates", {"csr": csr_pem(key_type=key_type)}, who="alice", status=201)
        assert made["key"].lower().replace("/", "").endswith(key_type.removeprefix("rsa"))

    def test_base64_der(self, rest: REST) -> None:
        """A request is PEM, with text around it or not, or base64 of DER."""
        der = make_csr()[1]
        for text in (base64.b64encode(der).decode(), f"Müller's request\n{pem('CERTIFICATE REQUEST', der)}\n"):
            rest.good("POST", "/certificates", {"csr": text}, who="alice", status=201)

    def test_challenge_password(self, rest: REST) -> None:
        """DECISIONS 16: a challengePassword counts for nothing, and is copied nowhere."""
        text = csr_pem(challenge="SECRET-OF-DEVICE")
        response = rest.call("POST", "/certificates", {"csr": text}, who="alice")
        assert response.status == 201
        assert b"SECRET-OF-DEVICE" not in response.body
        certificate = x509.load_pem_x509_certificate(json.loads(response.body)["pem"].encode())
        assert b"SECRET" not in certificate.public_bytes(Encoding.DER)

    @pytest.mark.parametrize(
        ("body", "status", "says"),
        [
            ({"csr": "nonsense!"}, 400, "base64"),
            ({"csr": ""}, 400, "no certificate request"),
            ({"csr": "-----BEGIN CERTIFICATE REQUEST-----\n"}, 400, "END"),
            ({"csr": 5}, 400, "csr is a text"),
            ({}, 400, "missing: csr"),
            ({"csr": "x", "password": "y"}, 400, "'password'"),
            ({"csr": "x", "validity_days": "7"}, 400, "validity_days is a whole number"),
            ({"csr": "x", "validity_days": True}, 400, "validity_days"),
            ({"csr": "x", "validity_days": 1.5}, 400, "validity_days"),
            ({"csr": "x", "validity_days": 10**30}, 400, "validity_days"),
            ({"csr": "A" * 200_000}, 413, "64 KiB"),
            ({"csr": "\ud800"}, 400, "csr"),
            ({"csr": "a\0b"}, 400, "csr"),
        ],
    )
    def test_bad_bodies(self, rest: REST, body: object, status: int, says: str) -> None:
        """API-2: what is wrong is named."""
        assert says in rest.bad(status, "POST", "/certificates", body, who="alice")["detail"]

    def test_unprocessable(self, rest: REST) -> None:
        """DECISIONS 4, 21: 422 for bad requests and what the policy forbids; 404 for what is not there."""
        good = csr_pem()
        der = bytearray(make_csr()[1])
        der[-1] ^= 1
        broken = pem("CERTIFICATE REQUEST", bytes(der))
        assert "proof-of-possession" in rest.bad(422, "POST", "/certificates", {"csr": broken}, who="alice")["type"]
        for days in (0, -1, 40_000, 30_000):
            body = {"csr": good, "validity_days": days}
            assert rest.bad(422, "POST", "/certificates", body, who="alice")["title"] == "Policy violation"
        rest.bad(404, "POST", "/certificates", {"csr": good, "policy": "none"}, who="alice")
        rest.bad(404, "POST", "/certificates", {"csr": good, "issuer": "rsa"}, who="alice")
