"""Pages: signing, and what waits for approval (RA-1 to RA-4, EST-4)."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from pikachu.core.model.certificates import CertificateRecord, RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.policies import Policy
from pikachu.x509.csr import parse_csr
from pikachu.x509.pem import pem
from tests.support.deferreds import result_of
from tests.support.odd_requests import vector
from tests.support.pki import make_csr
from tests.support.ra import MANUAL, stored_request, waiting_request
from tests.support.stack import DEFAULT_EXTENSIONS, Response, build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"), key_types=("p256", "rsa2048", "mldsa44"))
    made = make_pages(stack)
    rules = stack.app.policy_administration
    result_of(rules.add(SYSTEM, Policy(0, "servers", 90, DEFAULT_EXTENSIONS, system=True)))
    for name in ("alice", "bob"):
        own = Policy(0, f"only {name}", 60, DEFAULT_EXTENSIONS, owner_id=made.accounts[name].id)
        result_of(rules.add(SYSTEM, own))
    yield made
    stack.close()


def csr_text(common_name: str = "device.example.com", key_type: str = "p256", **more: Any) -> str:
    return pem("CERTIFICATE REQUEST", make_csr(key_type, common_name, [f"DNS:{common_name}"], **more)[1])


def value(page: str, name: str) -> str:
    """The value of an input of the page."""
    found = re.search(rf'<input[^>]* name="{name}"[^>]*? value="([^"]*)"', page)
    assert found, name
    return html.unescape(found[1])


def newest(pages: Pages) -> CertificateRecord:
    return result_of(pages.stack.app.store.certificates(ListQuery(limit=1), pages.stack.app.authority.now())).items[0]


def sign(visitor: Visitor, csr: str, **more: str) -> Response:
    return visitor.post("/ra/sign", {"csr": csr, **more}, page="/ra")


def body_of(response: Response) -> str:
    return response.body.decode()


def test_the_form(alice: Visitor, root: Visitor) -> None:
    """RA-1, RA-4: the sources that one may use, the issuing CAs with what each is, the default validity."""
    page = alice.get("/ra")
    assert value(page, "days") == "365"
    options = re.findall(r'<option value="([^"]*)"', page)
    assert {"System", "None", "servers", "only alice", "ec", "rsa", "mldsa"} <= set(options)
    assert "only bob" not in options
    assert "PQC/mldsa44, until" in page
    assert 'href="/policies"' in page
    assert "only bob" in root.get("/ra")


class TestCheck:
    """RA-3: both sides, before anything is signed."""

    def test_sides(self, pages: Pages, alice: Visitor) -> None:
        purposes = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING])
        csr = csr_text("both.example.com", extensions=[purposes], challenge="a secret word")
        response = alice.post("/ra", {"csr": csr, "policy": "servers", "days": "30", "issuer": "rsa"}, page="/ra")
        assert response.status == 200
        text = text_of(body_of(response))
        for said in ("asks for", "gets", "DNS:both.example.com", "replaced", "Code Signing", "30 days", "rsa :"):
            assert said in text
        assert "secret word" not in text.replace(csr, "")
        page = body_of(response)
        assert html.unescape(page).count(csr.strip()) == 1
        assert value(page, "days") == "30"
        assert re.search(r'value="servers"[^>]* selected', page)
        certificates = result_of(
            pages.stack.app.store.certificates(ListQuery(q="both.example.com"), pages.stack.app.authority.now())
        )
        assert not certificates.items

    def test_ignored_parts(self, alice: Visitor) -> None:
        """The page marks ignored attributes and a re-encoded subject; it shows no secret."""
        text = pem("CERTIFICATE REQUEST", vector("cisco-ios-t61string"))
        page = text_of(body_of(alice.post("/ra", {"csr": text, "policy": "System", "days": "30"}, page="/ra")))
        assert "Extension Request ignored The value of the attribute is no list of extensions." in page
        assert "secret1234" not in page
        text = pem("CERTIFICATE REQUEST", vector("node-forge-star"))
        page = text_of(body_of(alice.post("/ra", {"csr": text, "policy": "System", "days": "30"}, page="/ra")))
        assert "the subject is encoded again" in page

    def test_base64_and_file(self, alice: Visitor) -> None:
        """RA-1: base64 of DER, or a file in DER, is accepted and shown again as PEM."""
        _, der = make_csr("p256", "file.example.com")
        encoded = "".join(pem("X", der).splitlines()[1:-1])
        assert "CN=file.example.com" in text_of(body_of(alice.post("/ra", {"csr": encoded}, page="/ra")))
        parts = {"csrf": alice.csrf("/ra").encode(), "policy": b"System", "days": b"", "csr": b"", "file": der}
        body = b"".join(
            b'--limit\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
            % (name.encode(), b'; filename="a.csr"' if name == "file" else b"", content)
            for name, content in parts.items()
        )
        headers = {"Content-Type": "multipart/form-data; boundary=limit"}
        page = body_of(alice.request("POST", "/ra", body + b"--limit--\r\n", headers))
        assert "CN=file.example.com" in text_of(page)
        assert pem("CERTIFICATE REQUEST", der).splitlines()[1] in html.unescape(page)

    @pytest.mark.parametrize(
        ("fields", "status", "says"),
        [
            ({"csr": ""}, 400, "paste one, upload a file, or load one"),
            ({"csr": "nonsense!"}, 400, "base64"),
            ({"csr": "<script>alert(1)</script>"}, 400, "base64"),
            ({"days": "soon"}, 400, "whole number of days"),
            ({"days": "99999999999"}, 400, "whole number of days"),
            ({"policy": "nothing"}, 404, "policy"),
            ({"policy": "only bob"}, 404, "policy"),
            ({"issuer": "nothing"}, 404, "issuing CA"),
        ],
    )
    def test_wrong_forms(self, alice: Visitor, fields: dict[str, str], status: int, says: str) -> None:
        """Errors are shown above the form, which keeps the typed values."""
        for path in ("/ra", "/ra/sign"):
            response = alice.post(path, {"csr": csr_text(), **fields}, page="/ra")
            assert response.status == status
            page = body_of(response)
            assert re.search(r'role="alert">[^<]*' + says, page)
            assert "<script>alert" not in page
            if "days" in fields:
                assert value(page, "days") == fields["days"]

    def test_refusals(self, alice: Visitor) -> None:
        """RA-2: checking shows the reason beside the requested fields; signing refuses with the same."""
        weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        broken = bytearray(make_csr("p256")[1])
        broken[-1] ^= 1
        for csr, days, says in (
            (csr_text(key=weak), "", "1024 bits"),
            (pem("CERTIFICATE REQUEST", bytes(broken)), "", "signature"),
            (csr_text(), "30000", "outlive the issuing CA"),
        ):
            checked = alice.post("/ra", {"csr": csr, "days": days}, page="/ra")
            assert checked.status == 200
            assert says in text_of(body_of(checked))
            assert "asks for" in text_of(body_of(checked))
            signed = sign(alice, csr, days=days)
            assert signed.status == 422
            assert body_of(signed).count('role="alert"') == 1
            assert says in text_of(body_of(signed))


class TestSign:
    """RA-1."""

    @pytest.mark.parametrize("key_type", ["p256", "rsa2048", "ed25519", "mldsa44", "mldsa87"])
    @pytest.mark.parametrize("issuer", ["", "ec", "rsa", "mldsa"])
    def test_keys_and_issuers(self, pages: Pages, alice: Visitor, key_type: str, issuer: str) -> None:
        """Every kind of key, by every issuing CA; the event has the UI as its method."""
        name = f"{key_type}-{issuer or 'any'}.example.com"
        csr = csr_text(name, key_type, slot=5)
        response = sign(alice, csr, issuer=issuer, policy="servers")
        record = newest(pages)
        assert response.headers["Location"] == f"/certificates/{record.id}"
        assert record.common_name == name
        assert (record.method.value, record.owner_id) == ("UI", pages.accounts["alice"].id)
        assert record.issuer_id == pages.stack.issuer(issuer or None).id
        event = result_of(pages.stack.app.store.events(ListQuery(limit=1))).items[0].event
        assert (event.type, event.resource_type, event.details["issued_via"]) == ("create", "certificate", "UI")
        assert record.common_name in text_of(alice.get("/ra"))

    def test_sources(self, pages: Pages, alice: Visitor) -> None:
        """None, a system policy, one's own; the validity that the form is filled with counts as the policy's."""
        for policy, days in (("None", 365), ("System", 365), ("servers", 90), ("only alice", 60)):
            assert sign(alice, csr_text(), policy=policy, days=str(days)).status == 303
            record = newest(pages)
            assert record.policy == policy
            assert (record.not_after - pages.stack.app.authority.now()).days == days - 1
            purposes = x509.load_der_x509_certificate(record.der).extensions
            assert (policy == "None") != any(isinstance(one.value, x509.ExtendedKeyUsage) for one in purposes)

    def test_a_validity_past_the_end(self, pages: Pages, alice: Visitor, root: Visitor) -> None:
        """The policy's is shortened though the form repeats it; a wish is refused."""
        assert root.post("/ra/validity", {"default_days": "30000"}, page="/ra").status == 303
        try:
            assert value(alice.get("/ra"), "days") == "30000"
            assert sign(alice, csr_text(), days="30000").status == 303
            assert newest(pages).not_after == pages.stack.issuer().certificate.not_after
            assert sign(alice, csr_text(), days="29999").status == 422
        finally:
            root.post("/ra/validity", {"default_days": "365"}, page="/ra")

    def test_sent_twice(self, pages: Pages, alice: Visitor) -> None:
        """A form that is sent again signs nothing more."""
        csr = csr_text()
        fields = {"once": value(alice.get("/ra"), "once"), "policy": "System"}
        assert sign(alice, csr, **fields).headers["Location"] == sign(alice, csr, **fields).headers["Location"]
        assert value(alice.get("/ra"), "once") != fields["once"]

    def test_manual(self, pages: Pages, alice: Visitor) -> None:
        """EST-4: under a policy with manual approval it waits, and the page says so."""
        waiting_request(pages)
        page = alice.follow(sign(alice, csr_text("later.example.com"), policy=MANUAL))
        assert "waits until an admin" in text_of(page)
        assert "later.example.com" in text_of(page)

    def test_form_of_another_site(self, alice: Visitor) -> None:
        """UI-5."""
        assert alice.post("/ra/sign", {"csr": csr_text()}, csrf="x").status == 403


class TestStoredRequests:
    """RA-1: a pending one can be loaded."""

    def test_load_and_sign(self, pages: Pages, alice: Visitor, root: Visitor) -> None:
        """Its owner owns the certificate; the request is signed then, and not in the list any more."""
        stored = stored_request(pages, common_name="kept.example.com")
        page = root.get(f"/ra?csr={stored.id}")
        assert value(page, "csr_id") == str(stored.id)
        assert "kept by alice, who will own the certificate" in text_of(page)
        csr = html.unescape(re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)[0])
        checked = body_of(root.post("/ra", {"csr": csr, "csr_id": str(stored.id)}, page="/ra"))
        assert value(checked, "csr_id") == str(stored.id)
        assert sign(root, csr, csr_id=str(stored.id)).status == 303
        record = newest(pages)
        assert record.owner_id == pages.accounts["alice"].id
        after = result_of(pages.stack.app.store.csr(stored.id))
        assert (after.state, after.certificate_id) == ("signed", record.id)
        assert f'<option value="{stored.id}"' not in alice.get("/ra")
        again = alice.get(f"/ra?csr={stored.id}")
        assert f"signed before: certificate {record.id}" in text_of(again)
        assert "who will own" not in again

    def test_changed_text(self, pages: Pages, alice: Visitor) -> None:
        """A loaded request that was then overwritten leaves the stored one pending."""
        stored = stored_request(pages)
        assert sign(alice, csr_text("new.example.com"), csr_id=str(stored.id)).status == 303
        assert newest(pages).common_name == "new.example.com"
        assert result_of(pages.stack.app.store.csr(stored.id)).state == "pending"

    def test_others(self, pages: Pages, root: Visitor) -> None:
        """CRT-7: other users' requests are neither found nor listed; admins see the owner."""
        stored = stored_request(pages, common_name="hidden.example.com")
        bob = pages.visitor("bob")
        for wrong in (stored.id, 10**6, "x", "9" * 30):
            bob.get(f"/ra?csr={wrong}", status=404)
        assert "hidden.example.com" not in bob.get("/ra")
        assert "hidden.example.com (EC/prime256v1, alice)" in root.get("/ra")

    def test_reject(self, pages: Pages, root: Visitor) -> None:
        """By an admin, with a reason, after a question."""
        stored = stored_request(pages)
        assert f"/ra/csrs/{stored.id}/reject" in root.get(f"/ra?csr={stored.id}")
        path = f"/ra/csrs/{stored.id}/reject"
        assert "marked as rejected" in root.get(path)
        assert root.post(path, {"reason": "x" * 501}).status == 400
        assert "was rejected" in root.follow(root.post(path, {"reason": "not ours"}))
        assert result_of(pages.stack.app.store.csr(stored.id)).state == "rejected"
        assert root.post(path).status == 409
        root.get("/ra/csrs/1000000/reject", status=404)


def test_find_a_pending_csr(pages: Pages, alice: Visitor) -> None:
    """RA-1: where many CSRs wait, a search narrows the choice, without a script."""
    assert 'name="pending"' not in alice.get("/ra")
    for number in range(12):
        stored_request(pages, common_name=f"pump-{number:02}")
    page = alice.get("/ra")
    assert 'name="pending"' in page
    assert "pump-03" in page
    page = alice.get("/ra?pending=pump-11")
    assert "pump-11 (" in page
    assert "pump-03" not in page
    page = alice.get("/ra?pending=%3Cscript%3Enothing")
    assert "No pending CSR matches “<script>nothing”" in text_of(page)
    assert "<script>nothing" not in page


def test_default_validity(pages: Pages, alice: Visitor, root: Visitor) -> None:
    """RA-4: an admin sets it on the page, it is kept in validity_conf; users read it."""
    assert 'name="default_days"' not in alice.get("/ra")
    assert "an administrator can change it" in alice.get("/ra")
    assert alice.post("/ra/validity", {"default_days": "9"}).status == 403
    assert "17 days now" in root.follow(root.post("/ra/validity", {"default_days": "17"}))
    assert pages.stack.app.policies.files.validity.read_text() == "17\n"
    assert value(alice.get("/ra"), "days") == "17"
    for wrong, status in (("0", 422), ("x", 400), ("", 400), ("36501", 422)):
        assert root.post("/ra/validity", {"default_days": wrong}).status == status
    root.post("/ra/validity", {"default_days": "365"})


def test_sign_another(pages: Pages, alice: Visitor) -> None:
    """After *Sign* the page of the certificate leads to the next CSR, and the RA's form is empty again."""
    for name in ("first.example.com", "second.example.com"):
        csr = csr_text(name)
        page = alice.follow(sign(alice, csr))
        assert name in text_of(page)
        assert '<a class="button" href="/ra">Sign another CSR</a>' in page
        assert csr.splitlines()[1] not in alice.get("/ra")


def test_issued_list(pages: Pages, alice: Visitor) -> None:
    """RA-1: certificates signed by pages are listed below, filtered by the server; as CSV too."""
    assert sign(alice, csr_text("other.example.com")).status == 303
    assert sign(alice, csr_text("findme.example.com")).status == 303
    found = newest(pages)
    page = text_of(alice.get("/ra?q=findme"))
    assert "findme.example.com" in page
    assert "other.example.com" not in page
    assert "findme" in alice.get("/ra?format=csv&q=findme")
    assert "findme" not in pages.visitor("bob").get("/ra")
    pages.stack.revoke(found.serial, RevocationReason.CERTIFICATE_HOLD)
    assert "On hold" in text_of(alice.get("/ra?q=findme"))


class TestApprovals:
    """EST-4."""

    def test_list(self, pages: Pages, alice: Visitor, root: Visitor) -> None:
        """Each sees their own, admins all; filters; the number that waits stands on the page for signing."""
        request = waiting_request(pages, common_name="mine.example.com")
        for visitor in (alice, root):
            assert "mine.example.com" in visitor.get("/ra/approvals?state=pending")
        assert "mine.example.com" not in pages.visitor("bob").get("/ra/approvals")
        assert "mine.example.com" not in root.get("/ra/approvals?state=rejected")
        assert f"/ra/approvals/{request}/approve" not in alice.get("/ra/approvals")
        assert re.search(r'Approvals <span class="badge warn">\d+</span>', root.get("/ra"))
        assert 'Approvals <span class="badge mute">0</span>' in pages.visitor("bob").get("/ra")
        navigation = r'<a href="/ra/approvals"[^>]*>Approvals <span class="badge warn">\d+<span class="sr"> waiting'
        assert re.search(navigation, root.get("/"))
        assert not re.search(navigation, alice.get("/"))

    def test_nothing_else_is_listed(self, pages: Pages, alice: Visitor) -> None:
        """Certificates issued without approval are not listed."""
        assert sign(alice, csr_text("at-once.example.com")).status == 303
        assert "at-once.example.com" not in alice.get("/ra/approvals?q=at-once")

    def test_approve(self, pages: Pages, alice: Visitor, root: Visitor) -> None:
        """The preview, the requester, address and method; a confirmation; the certificate."""
        request = waiting_request(pages, common_name="yes.example.com")
        text = text_of(root.get(f"/ra/approvals/{request}"))
        for said in ("asks for", "gets", "DNS:yes.example.com", "alice", "192.0.2.3", "API", MANUAL, "20 days"):
            assert said in text
        assert f"/ra/approvals/{request}/approve" not in alice.get(f"/ra/approvals/{request}")
        path = f"/ra/approvals/{request}/approve"
        assert "Approve and sign" in root.get(path)
        assert alice.post(path).status == 403
        page = root.follow(root.post(path))
        record = newest(pages)
        assert record.common_name == "yes.example.com"
        assert f"/certificates/{record.id}" in page
        assert "by root" in text_of(page)
        assert root.post(path).status == 409
        assert "has already been decided" in root.get(path)
        assert "yes.example.com" in alice.get("/ra/approvals?state=issued")

    def test_reject(self, pages: Pages, alice: Visitor, root: Visitor) -> None:
        """With a reason, which its owner reads."""
        request = waiting_request(pages, common_name="no.example.com")
        path = f"/ra/approvals/{request}/reject"
        assert "Reason" in root.get(path)
        assert root.post(path, {"reason": "x" * 501}).status == 400
        assert alice.post(path, {"reason": "x"}).status == 403
        assert "was rejected" in root.follow(root.post(path, {"reason": "not ours"}))
        text = text_of(alice.get(f"/ra/approvals/{request}"))
        assert "Rejected" in text
        assert "not ours" in text
        assert root.post(path).status == 409

    def test_policy_gone(self, pages: Pages, root: Visitor) -> None:
        """A request whose policy was deleted can't be approved, says why, and can be rejected."""
        request = waiting_request(pages, common_name="orphan.example.com")
        policy = result_of(pages.stack.app.store.policy_by_name(MANUAL))
        assert policy is not None
        result_of(pages.stack.app.policy_administration.delete(SYSTEM, policy.id))
        page = root.get(f"/ra/approvals/{request}")
        assert "was deleted; reject it" in text_of(page)
        assert "/approve" not in page
        assert root.post(f"/ra/approvals/{request}/approve").status == 404
        assert root.post(f"/ra/approvals/{request}/reject").status == 303


def test_names_are_escaped(alice: Visitor) -> None:
    """UI-5: values of a request are escaped."""
    name = "<b>x</b>"
    assert parse_csr(make_csr("p256", name)[1]).subject == r"CN=\<b\>x\</b\>"
    csr = pem("CERTIFICATE REQUEST", make_csr("p256", name)[1])
    page = body_of(alice.post("/ra", {"csr": csr}, page="/ra"))
    assert "<b>x" not in page
