"""Signing and approving with a browser (RA-1, RA-3, EST-4)."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs7
from playwright.sync_api import Browser, expect

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.policies import Approval, Policy
from pikachu.x509.pem import pem
from tests.support.browser import NARROW, WIDE, window
from tests.support.deferreds import result_of
from tests.support.pki import make_csr
from tests.support.server import Server
from tests.support.stack import DEFAULT_EXTENSIONS

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", ["alice", "root"])
def test_paste_check_sign(browser: Browser, server: Server, size: tuple[int, int], name: str) -> None:
    """A request is pasted, both sides are looked at, and it is signed."""
    common_name = f"{name}-{size[0]}.example.com"
    csr = pem("CERTIFICATE REQUEST", make_csr("p256", common_name, [f"DNS:{common_name}"])[1])
    with window(browser, server, size) as one:
        one.sign_in(name, f"password of {name}")
        one.open("/ra")
        one.check()
        one.page.get_by_label("CSR", exact=True).fill(csr)
        one.page.get_by_role("combobox", name="Policy").select_option("None")
        one.page.get_by_label("Validity (days)").fill("30")
        one.page.get_by_role("button", name="Preview").click()
        gets = one.page.get_by_role("region", name="The certificate gets")
        expect(gets).to_contain_text(f"DNS:{common_name}")
        expect(gets).to_contain_text("30 days")
        one.check()
        one.page.get_by_role("button", name="Sign", exact=True).click()
        expect(one.page).to_have_url(re.compile(r"/certificates/\d+$"))
        one.open("/ra")
        expect(one.page.get_by_role("link", name=common_name)).to_be_visible()
        one.check()


def test_upload_and_policy(browser: Browser, server: Server, tmp_path: Path) -> None:
    """A DER file is uploaded; the validity follows the policy; a refused CSR stays in the form, with the reason."""
    with server.application() as app:
        result_of(app.policy_administration.add(SYSTEM, Policy(0, "short", 7, DEFAULT_EXTENSIONS, system=True)))
    path = tmp_path / "device.csr"
    path.write_bytes(make_csr("mldsa44", "pqc.example.com")[1])
    with window(browser, server) as one:
        one.sign_in("alice", "password of alice")
        one.open("/ra")
        one.page.get_by_label("or upload a file").set_input_files(path)
        one.page.get_by_role("combobox", name="Policy").select_option("short")
        expect(one.page.get_by_label("Validity (days)")).to_have_value("7")
        one.page.get_by_label("Validity (days)").fill("30000")
        one.page.get_by_role("button", name="Preview").click()
        expect(one.page.get_by_role("alert")).to_contain_text("outlive the issuing CA")
        expect(one.page.get_by_role("region", name="The request asks for")).to_contain_text("PQC/mldsa44")
        one.check()
        one.page.get_by_label("Validity (days)").fill("7")
        one.page.get_by_role("button", name="Sign", exact=True).click()
        expect(one.page).to_have_url(re.compile(r"/certificates/\d+$"))


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_est_waits_for_approval(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """EST-4: 202 until an admin approves on the page; then the client's next request gets the certificate."""
    label = f"manual-{size[0]}"
    with server.application() as app:
        account = result_of(app.store.account_by_name("alice"))
        assert account is not None
        # One policy per owner holds the flag.
        for one_policy in result_of(app.policy_administration.list(SYSTEM, ListQuery(limit=1000))).items:
            if one_policy.use_for_est:
                result_of(app.policy_administration.delete(SYSTEM, one_policy.id))
        own = Policy(0, label, 7, DEFAULT_EXTENSIONS, owner_id=account.id, use_for_est=True, approval=Approval.MANUAL)
        result_of(app.policy_administration.add(SYSTEM, own))
    common_name = f"{label}.example.com"
    csr = make_csr("p256", common_name, [f"DNS:{common_name}"])[1]
    login = base64.b64encode(b"alice:password of alice").decode()
    headers = {"Content-Type": "application/pkcs10", "Authorization": f"Basic {login}"}

    def enroll() -> tuple[int, bytes]:
        # By its label: the server knows an owner's policy for a second after another process has changed it.
        path = f"/.well-known/est/{label}/simpleenroll"
        answer = server.ask("https", path, "POST", base64.b64encode(csr), headers)
        return answer.status, answer.body

    assert enroll()[0] == 202
    with window(browser, server, size) as one:
        one.sign_in("alice", "password of alice")
        one.open("/ra/approvals?state=pending")
        expect(one.page.get_by_role("link", name=f"CN={common_name}", exact=True)).to_be_visible()
        expect(one.page.get_by_role("link", name="Approve", exact=True)).to_have_count(0)
        one.check()
    with window(browser, server, size) as one:
        one.sign_in("root", "password of root")
        one.open("/ra")
        one.page.get_by_role("main").get_by_role("link", name=re.compile("Approvals .*waiting")).click()
        one.page.get_by_role("link", name=f"CN={common_name}").click()
        expect(one.page.get_by_role("main")).to_contain_text("EST")
        expect(one.page.get_by_role("region", name="The certificate gets")).to_contain_text(f"DNS:{common_name}")
        one.check()
        one.page.get_by_role("link", name="Approve").click()
        dialog = one.page.get_by_role("dialog", name="Approve request")
        expect(dialog).to_contain_text(f"CN={common_name}")
        one.check()
        dialog.get_by_role("button", name="Approve and sign").click()
        expect(one.page.locator("p[role=status]")).to_contain_text("was approved")
        one.check()
    status, body = enroll()
    assert status == 200
    (certificate,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))
    assert certificate.subject.rfc4514_string() == f"CN={common_name}"


def test_reject(browser: Browser, server: Server) -> None:
    """A stored request is turned down, without scripts."""
    with server.application() as app:
        principal = result_of(app.authenticator.basic("alice", "password of alice", "127.0.0.1"))
        csr = make_csr("p256", "unwanted.example.com")[1]
        stored = result_of(app.requests.store(principal, "unwanted", csr))
    with window(browser, server, NARROW, java_script_enabled=False) as one:
        one.sign_in("root", "password of root")
        one.open(f"/ra?csr={stored.id}")
        one.page.get_by_role("link", name="Reject").click()
        one.page.get_by_label("Reason").fill("not ours")
        one.page.get_by_role("button", name="Reject").click()
        expect(one.page.locator("p[role=status]")).to_contain_text("was rejected")
    with server.application() as app:
        assert result_of(app.store.csr(stored.id)).state == "rejected"


def test_search_among_many_policies(browser: Browser, server: Server) -> None:
    """RA-1: the options with all words stay, the first of them is chosen, and the validity follows it."""
    with server.application() as app:
        for number in range(20):
            policy = Policy(0, f"line {number:02} of the works", 40 + number, DEFAULT_EXTENSIONS, system=True)
            result_of(app.policy_administration.add(SYSTEM, policy))
    with window(browser, server) as one:
        one.sign_in("root", "password of root")
        one.open("/ra")
        policies = one.page.get_by_role("combobox", name="Policy", exact=True)
        search = one.page.get_by_role("searchbox", name="Find in Policy")
        count = policies.locator("option").count()
        search.fill("WORKS 17")
        expect(policies.locator("option")).to_have_count(1)
        expect(policies).to_have_value("line 17 of the works")
        expect(one.page.get_by_label("Validity (days)")).to_have_value("57")
        search.fill("works")
        expect(policies).to_have_value("line 17 of the works")
        search.fill("nothing like it")
        expect(one.page.get_by_text("Nothing matches.", exact=True)).to_be_visible()
        expect(policies.locator("option")).to_have_count(count)
        expect(policies).to_have_value("line 17 of the works")
        search.press("Enter")
        search.fill("")
        expect(one.page.get_by_text("Nothing matches.", exact=True)).to_have_count(0)
        one.check()
        one.page.get_by_label("CSR", exact=True).fill(
            pem("CERTIFICATE REQUEST", make_csr("p256", "line-17.example.com", ["DNS:line-17.example.com"])[1])
        )
        one.page.get_by_role("button", name="Sign", exact=True).click()
        expect(one.page.locator("main")).to_contain_text("line 17 of the works")
