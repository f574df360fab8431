"""REST: certificates and approvals (INT-2, API-2, CRT-3, CRT-5 to CRT-7)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from pikachu.core.model.people import Scope
from pikachu.x509.pem import pem
from tests.support.pki import make_csr
from tests.support.rest import REST, csr_pem
from tests.support.stack import DEFAULT_EXTENSIONS
from tests.support.text_forms import TEXT_FORMS

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
        assert 6 <= (certificate.not_valid_after_utc - rest.stack.app.authority.now()).days <= 7
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
        """A challengePassword counts for nothing, and is copied nowhere."""
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
            ({"csr": 5}, 400, "“csr” must be a string."),
            ({}, 400, "either csr, or csr_id"),
            ({"csr": "x", "password": "y"}, 400, "'password'"),
            ({"csr": "x", "validity_days": "7"}, 400, "“validity_days” must be a whole number."),
            ({"csr": "x", "validity_days": True}, 400, "validity_days"),
            ({"csr": "x", "validity_days": 1.5}, 400, "validity_days"),
            ({"csr": "x", "validity_days": 10**19}, 400, "validity"),
            ({"csr": "x", "validity_days": 10**30}, 400, "validity"),
            ({"csr": "A" * 200_000}, 413, "64 KiB"),
            ({"csr": "\ud800"}, 400, "csr"),
            ({"csr": "a\0b"}, 400, "csr"),
        ],
    )
    def test_bad_bodies(self, rest: REST, body: object, status: int, says: str) -> None:
        """API-2: the error names the field."""
        assert says in rest.bad(status, "POST", "/certificates", body, who="alice")["detail"]

    def test_unprocessable(self, rest: REST) -> None:
        """422 for bad CSRs and requests the policy forbids; 404 for missing objects."""
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


class TestRevocation:
    def test_revoke_hold_release(self, rest: REST) -> None:
        """CRT-5: hold, release, final; repeating changes nothing."""
        made = sign(rest)
        path = f"/certificates/{made['id']}/revocation"
        held = rest.good("POST", path, {"reason": "certificateHold"}, who="alice")
        assert (held["status"], held["reason"]) == ("revoked", "certificateHold")
        assert rest.good("DELETE", path, who="alice")["status"] == "valid"
        rest.bad(409, "DELETE", path, who="alice")
        revoked = rest.good("POST", path, {"reason": "keyCompromise"}, who="alice")
        assert revoked["revoked_at"] is not None
        rest.clock.advance(100)
        assert rest.good("POST", path, {"reason": "superseded"}, who="alice") == revoked
        rest.bad(409, "DELETE", path, who="alice")
        status = rest.good("GET", f"/status/0x{str(made['serial']).upper()}")
        expected = {"serial": made["serial"], "status": "revoked", "reason": "keyCompromise"}
        assert status == {**expected, "revoked_at": revoked["revoked_at"]}

    def test_reasons(self, rest: REST) -> None:
        """RFC 5280's names; without one, unspecified; 7 and 8 are refused."""
        made = sign(rest)
        path = f"/certificates/{made['id']}/revocation"
        for reason in ("removeFromCRL", "keycompromise", "", "1"):
            rest.bad(400, "POST", path, {"reason": reason}, who="alice")
        rest.bad(400, "POST", path, {"reason": 1}, who="alice")
        assert rest.good("POST", path, who="alice")["reason"] == "unspecified"

    def test_delete(self, rest: REST) -> None:
        """CRT-6: a deleted certificate is not found any more; the status of a revoked one stays revoked."""
        kept, gone = sign(rest), sign(rest)
        rest.good("POST", f"/certificates/{kept['id']}/revocation", {}, who="alice")
        for one in (kept, gone):
            rest.good("DELETE", f"/certificates/{one['id']}", who="alice", status=204)
            rest.bad(404, "GET", f"/certificates/{one['id']}", who="root")
            rest.bad(404, "DELETE", f"/certificates/{one['id']}", who="root")
        assert rest.good("GET", f"/status/{kept['serial']}")["status"] == "revoked"
        assert rest.good("GET", f"/status/{gone['serial']}") == {"serial": gone["serial"], "status": "not found"}
        assert rest.good("GET", "/certificates", who="alice")["items"] == []


class TestDownload:
    def test_formats(self, rest: REST) -> None:
        """CRT-3."""
        made = sign(rest)
        path = f"/certificates/{made['id']}/download"
        plain = rest.call("GET", path, who="alice")
        assert plain.body.decode() == made["pem"]
        assert (
            plain.headers["Content-Disposition"]
            == f'attachment; filename="{made["common_name"]}-{str(made["serial"])[:8]}.pem"'
        )
        assert rest.call("GET", f"{path}?format=pem", who="alice").body == plain.body
        assert rest.call("GET", f"{path}?format=chain", who="alice").body.decode() == made["chain_pem"]
        der = rest.call("GET", f"{path}?format=der", who="alice")
        assert x509.load_der_x509_certificate(der.body) == x509.load_pem_x509_certificate(plain.body)
        assert der.headers["Content-Type"] == "application/pkix-cert"
        bundle = rest.call("GET", f"{path}?format=p7b", who="alice")
        assert bundle.headers["Content-Type"] == "application/x-pkcs7-certificates"
        assert len(pkcs7.load_der_pkcs7_certificates(bundle.body)) == 3
        rest.bad(400, "GET", f"{path}?format=pfx", who="alice")
        head = rest.call("HEAD", f"{path}?format=der", who="alice")
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(der.body)))


class TestApprovals:
    @pytest.fixture
    def waiting(self, rest: REST) -> dict[str, Any]:
        """A request of alice's that waits."""
        policy = {"name": "manual", "validity_days": 10, "extensions": DEFAULT_EXTENSIONS, "approval": "manual"}
        rest.good("POST", "/policies", {**policy, "system": True}, who="root", status=201)
        response = rest.call("POST", "/certificates", {"csr": csr_pem(), "policy": "manual"}, who="alice")
        assert response.status == 202
        found: dict[str, Any] = json.loads(response.body)
        assert response.headers["Location"] == f"/api/v1/approvals/{found['id']}"
        assert int(response.headers["Retry-After"]) > 0
        assert (found["status"], found["requested_by"], found["certificate_id"]) == ("pending", "alice", None)
        return found

    def test_approve(self, rest: REST, waiting: dict[str, Any]) -> None:
        """202, then an admin approves, and the requester finds the certificate."""
        path = f"/approvals/{waiting['id']}"
        assert [one["id"] for one in rest.good("GET", "/approvals", who="alice")["items"]] == [waiting["id"]]
        done = rest.good("POST", f"{path}/approval", who="root")
        assert (done["status"], done["decided_by"]) == ("issued", "root")
        assert rest.good("GET", path, who="alice") == done
        certificate = rest.good("GET", f"/certificates/{done['certificate_id']}", who="alice")
        assert (certificate["owner"], certificate["policy"]) == ("alice", "manual")
        assert rest.good("GET", "/approvals", who="root")["items"] == []
        assert rest.good("GET", "/approvals?status=issued", who="root")["items"] == [done]
        rest.bad(409, "POST", f"{path}/approval", who="root")
        rest.bad(409, "POST", f"{path}/rejection", {"reason": "late"}, who="root")

    def test_reject(self, rest: REST, waiting: dict[str, Any]) -> None:
        """For admins, with a reason of one line; then it waits no more."""
        path = f"/approvals/{waiting['id']}"
        rest.bad(400, "POST", f"{path}/rejection", {"reason": "two\nlines"}, who="root")
        done = rest.good("POST", f"{path}/rejection", {"reason": "unknown device"}, who="root")
        assert (done["status"], done["reason"]) == ("rejected", "unknown device")
        rest.bad(409, "POST", f"{path}/approval", who="root")
        assert rest.good("GET", "/certificates", who="alice")["items"] == []

    def test_enroll_only(self, rest: REST, waiting: dict[str, Any]) -> None:
        """A token that may only enroll can repeat a request and sees that it is pending."""
        token = rest.token("alice", Scope.ENROLL)
        again = rest.good("POST", "/certificates", {"csr": csr_pem(), "policy": "manual"}, token=token, status=202)
        assert again["status"] == "pending"


class TestPreview:
    """RA-3: looking before signing."""

    def test_both_sides(self, rest: REST) -> None:
        """The same body gives the preview and the certificate; nothing is kept of the former."""
        body = {"csr": csr_pem("a.example.com", sans=["DNS:a.example.com"]), "policy": "None", "validity_days": 9}
        preview = rest.good("POST", "/certificates/preview", body, who="alice")
        assert preview["refusal"] is None
        assert [one["outcome"] for one in preview["asked"]["extensions"]] == ["granted"]
        assert rest.good("GET", "/certificates", who="alice")["items"] == []
        made = rest.good("POST", "/certificates", body, who="alice", status=201)
        given = preview["given"]
        for name in ("subject", "key", "policy", "issuer", "not_before", "not_after"):
            assert given[name] == made[name]
        certificate = x509.load_pem_x509_certificate(made["pem"].encode())
        assert [one["oid"] for one in given["extensions"]] == [one.oid.dotted_string for one in certificate.extensions]

    def test_refusal(self, rest: REST) -> None:
        """A preview shows the refusal that signing would give, and the requested fields."""
        body = {"csr": csr_pem(), "validity_days": 30000}
        preview = rest.good("POST", "/certificates/preview", body, who="alice")
        problem = rest.bad(422, "POST", "/certificates", body, who="alice")
        assert preview["given"] is None
        assert preview["asked"]["subject"] == "CN=device.example.com"
        refused = {name: problem[name] for name in ("status", "title", "detail")}
        assert preview["refusal"] == {**refused, "findings": problem.get("findings", [])}
        rest.bad(404, "POST", "/certificates/preview", {"csr": csr_pem(), "policy": "nothing"}, who="alice")
        rest.bad(400, "POST", "/certificates/preview", {"csr": "nonsense!"}, who="alice")


class TestStoredRequests:
    """RA-1: signing what is kept here, by its id."""

    def test_signing(self, rest: REST) -> None:
        """The CSR is marked as signed, with its certificate, which belongs to the CSR's owner."""
        stored = rest.good("POST", "/csrs", {"csr": csr_pem()}, who="alice", status=201)
        assert (stored["status"], stored["certificate_id"]) == ("pending", None)
        rest.bad(404, "POST", "/certificates", {"csr_id": stored["id"]}, who="bob")
        made = rest.good("POST", "/certificates", {"csr_id": stored["id"]}, who="root", status=201)
        assert made["owner"] == "alice"
        stored = rest.good("GET", f"/csrs/{stored['id']}", who="alice")
        assert (stored["status"], stored["certificate_id"]) == ("signed", made["id"])
        rest.bad(409, "POST", f"/csrs/{stored['id']}/rejection", {"reason": "late"}, who="root")
        both = {"csr": csr_pem(), "csr_id": stored["id"]}
        assert "either csr, or csr_id" in rest.bad(400, "POST", "/certificates", both, who="alice")["detail"]

    def test_rejecting(self, rest: REST) -> None:
        """For admins; its owner reads the reason in the events."""
        stored = rest.good("POST", "/csrs", {"csr": csr_pem()}, who="alice", status=201)
        rest.bad(403, "POST", f"/csrs/{stored['id']}/rejection", {}, who="alice")
        rest.bad(400, "POST", f"/csrs/{stored['id']}/rejection", {"reason": "x" * 501}, who="root")
        path = f"/csrs/{stored['id']}/rejection"
        assert rest.good("POST", path, {"reason": "no"}, who="root")["status"] == "rejected"
        rest.bad(409, "POST", "/certificates", {"csr_id": stored["id"]}, who="alice")
        event = rest.good("GET", "/events?resource_type=CSR&type=reject", who="alice")["items"][0]
        assert event["details"] == {"reason": "no", "subject": "CN=device.example.com", "ip": "192.0.2.7"}
        assert rest.good("GET", "/csrs?status=rejected", who="alice")["items"][0]["id"] == stored["id"]


def test_approval_preview(rest: REST) -> None:
    """EST-4: the preview of a pending request, with its requester and address."""
    policy = {"name": "manual", "validity_days": 9, "extensions": DEFAULT_EXTENSIONS, "approval": "manual"}
    rest.good("POST", "/policies", policy, who="alice", status=201)
    waiting = rest.good("POST", "/certificates", {"csr": csr_pem(), "policy": "manual"}, who="alice", status=202)
    assert waiting["address"]
    path = f"/approvals/{waiting['id']}"
    preview = rest.good("GET", f"{path}/preview", who="root")
    assert preview["given"]["policy"] == "manual"
    rest.good("POST", f"{path}/approval", who="root")
    rest.bad(404, "GET", f"{path}/preview", who="root")


def test_default_validity(rest: REST) -> None:
    """RA-4: everybody reads it, an admin sets it; it prefills the page and is kept in ``validity_conf``."""
    rest.bad(403, "PATCH", "/policies/0", {"validity_days": 7}, who="alice")
    rest.good("PATCH", "/policies/0", {"validity_days": 7}, who="root")
    assert rest.good("GET", "/policies/0", who="alice")["validity_days"] == 7
    assert rest.stack.app.policies.files.validity.read_text() == "7\n"


def test_what_became_of_ones_own_is_in_ones_events(rest: REST) -> None:
    """Also what an admin did with it."""
    made = sign(rest)
    path = f"/certificates/{made['id']}/revocation"
    rest.good("POST", path, {"reason": "certificateHold"}, who="root")
    rest.good("DELETE", path, who="root")
    rest.good("POST", path, {"reason": "superseded"}, who="alice")
    query = f"/events?resource_type=certificate&q={made['serial']}"
    kinds = [(one["type"], one["actor"]) for one in rest.good("GET", query, who="alice")["items"]]
    assert kinds == [("revoke", "alice"), ("release", "root"), ("revoke", "root"), ("create", "alice")]
    assert rest.good("GET", query, who="bob")["items"] == []


@pytest.mark.parametrize("form", [form for form in TEXT_FORMS if "UTF-16" not in form])
def test_text_forms(rest: REST, form: str) -> None:
    """Every form of a text, to preview, to sign, to store and to inspect."""
    for label in ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"):
        text = TEXT_FORMS[form](label, make_csr()[1]).decode()
        rest.good("POST", "/certificates/preview", {"csr": text}, who="alice")
        rest.good("POST", "/certificates", {"csr": text}, who="alice", status=201)
        rest.good("POST", "/csrs", {"csr": text, "name": "x"}, who="alice", status=201)
        assert rest.good("POST", "/inspect", {"data": text}, who="alice")["type"] == "csr"
