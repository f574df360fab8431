"""Certificates, revocation and the CAs with a browser (CRT-1 to CRT-3, CRT-5, CRT-6, VA-1, UI-6)."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from playwright.sync_api import Browser, expect

from pikachu.core.model.certificates import Method
from pikachu.core.model.people import Scope
from pikachu.x509.pem import pem
from tests.support.browser import NARROW, WIDE, Window, window
from tests.support.deferreds import result_of
from tests.support.pki import make_csr
from tests.support.server import Client, Server, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.interop]


def sign_by_rest(server: Server, name: str, common_name: str) -> x509.Certificate:
    """Sign a CSR over REST with a token of *name*'s and return the certificate."""
    with server.application() as app:
        account = result_of(app.store.account_by_name(name))
        assert account is not None
        acting = result_of(app.authenticator.basic(name, f"password of {name}", "127.0.0.1"))
        _, token = result_of(app.tokens.create(acting, account.id, common_name, frozenset({Scope.ENROLL})))
    csr = pem("CERTIFICATE REQUEST", make_csr("p256", common_name, [f"DNS:{common_name}"])[1])
    with server.client("https") as client:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = client.ask("/api/v1/certificates", "POST", json.dumps({"csr": csr}).encode(), headers)
    assert answer.status == 201, answer.text
    return x509.load_pem_x509_certificate(json.loads(answer.body)["pem"].encode())


def ocsp(server: Server, serial: int, folder: Path) -> str:
    """Return the status ``openssl ocsp`` prints for a certificate; the response's signature must verify."""
    issuer, root = server.files.issuers["ec"], server.files.root
    (folder / "issuer.pem").write_bytes(issuer.pem)
    (folder / "trusted.pem").write_bytes(issuer.pem + root.pem)
    command = ["openssl", "ocsp", "-issuer", "issuer.pem", "-CAfile", "trusted.pem", "-serial", f"0x{serial:x}"]
    command += ["-url", f"http://127.0.0.1:{server.ports['http']}/ocsp", "-no_nonce"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    assert "Response verify OK" in done.stderr, done.stderr
    return done.stdout


def listed(server: Server, serial: int) -> x509.RevokedCertificate | None:
    """The entry of a certificate on the CRL that anyone can download."""
    with Client(server.ports["http"]) as client:
        return x509.load_der_x509_crl(client.ask("/crl/ec.crl").body).get_revoked_certificate_by_serial_number(serial)


def row(one: Window, name: str) -> None:
    """The list with that certificate only."""
    one.open(f"/certificates?q={name}")
    expect(one.page.locator("tbody tr")).to_have_count(1)


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_sign_revoke_and_ask(browser: Browser, server: Server, tmp_path: Path, size: tuple[int, int]) -> None:
    """CRT-5: signed by REST, revoked in the page; OCSP says so with the next answer, and the CRL within a second."""
    name = f"gate-{size[0]}.example.com"
    certificate = sign_by_rest(server, "alice", name)
    serial = certificate.serial_number
    assert ": good" in ocsp(server, serial, tmp_path)
    assert listed(server, serial) is None
    with window(browser, server, size) as one:
        one.sign_in("alice", "password of alice")
        row(one, name)
        one.check()
        one.page.get_by_role("link", name=name, exact=True).click()
        expect(one.page.get_by_role("heading", level=1)).to_have_text(name)
        expect(one.page.get_by_label("Decoded certificate")).to_contain_text(f"DNS:{name}")
        one.check()
        one.page.get_by_role("link", name="Revoke").click()
        dialog = one.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        one.check()
        dialog.get_by_label("Reason").select_option("keyCompromise")
        button = dialog.get_by_role("button", name="Revoke")
        expect(button).to_be_disabled()
        dialog.get_by_label("Type revoke").fill("revoke")
        button.click()
        expect(one.page.get_by_role("status")).to_contain_text("was revoked")
        said = ocsp(server, serial, tmp_path)
        assert ": revoked" in said
        assert "keyCompromise" in said
        entry = wait_until(lambda: listed(server, serial), "the certificate is on the CRL", 3)
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        assert reason is x509.ReasonFlags.key_compromise
        expect(one.page.locator("main .badge.bad")).to_have_text("Revoked")
        one.check()
        one.open("/va")
        expect(one.page.get_by_role("link", name=f"CN={name}")).to_be_visible()
        expect(one.page.get_by_label("Decoded CRL of ec")).to_contain_text(f"{serial:x}")
        one.check()


def test_hold_release_delete_without_scripts(browser: Browser, server: Server, tmp_path: Path) -> None:
    """UI-4, CRT-5, CRT-6: all of it by plain forms."""
    name = "plain.example.com"
    serial = sign_by_rest(server, "alice", name).serial_number
    with window(browser, server, NARROW, java_script_enabled=False) as one:
        one.sign_in("alice", "password of alice")
        row(one, name)
        one.page.get_by_role("link", name=f"Revoke {name}").click()
        one.page.get_by_label("Reason").select_option("certificateHold")
        one.page.get_by_label("Type revoke").fill("revoke")
        one.page.get_by_role("button", name="Revoke").click()
        expect(one.page.get_by_role("status").first).to_contain_text("put on hold")
        # The list as it was before.
        expect(one.page).to_have_url(re.compile(f"q={name}$"))
        assert "certificateHold" in ocsp(server, serial, tmp_path)
        one.page.get_by_role("link", name="Release").click()
        one.page.get_by_role("button", name="Release").click()
        expect(one.page.get_by_role("status").first).to_contain_text("released")
        assert ": good" in ocsp(server, serial, tmp_path)
        one.page.get_by_role("link", name=name, exact=True).click()
        one.page.get_by_role("link", name="Delete").click()
        expect(one.page.get_by_label("Revocation")).to_have_value("unspecified")
        one.page.get_by_label("Revocation").select_option("")
        one.page.get_by_label("Type delete").fill("delete")
        one.page.get_by_role("button", name="Delete").click()
        expect(one.page.get_by_text(f"The certificate {name} was deleted.")).to_be_visible()
        expect(one.page).to_have_url(re.compile("/certificates$"))
    assert ": unknown" in ocsp(server, serial, tmp_path)


def test_lists_and_files(browser: Browser, server: Server) -> None:
    """CRT-1, CRT-3, CRT-7: an admin sees whose each is, filters and sorts; a chain is a file; bob sees nothing."""
    for number in range(3):
        sign_by_rest(server, "alice", f"list-{number}.example.com")
    with window(browser, server) as one:
        one.sign_in("root", "password of root")
        one.open("/certificates")
        one.page.get_by_label("Name, SAN, serial, key, date, policy or user").fill("list-")
        one.page.get_by_role("button", name="Filter").click()
        expect(one.page.locator("tbody tr")).to_have_count(3)
        expect(one.page.locator("tbody tr").first).to_contain_text("alice")
        one.page.get_by_role("link", name="Common name").click()
        expect(one.page.locator("tbody tr").first).to_contain_text("list-0.example.com")
        one.page.get_by_role("combobox", name="Method").select_option(Method.EST.value)
        expect(one.page.get_by_text("Nothing matches.")).to_be_visible()
        one.page.get_by_role("link", name="Show all").click()
        with one.page.expect_download() as download:
            one.page.get_by_role("link", name=re.compile("^Chain of list-2")).click()
        assert download.value.suggested_filename.endswith("-chain.pem")
        assert len(x509.load_pem_x509_certificates(Path(download.value.path()).read_bytes())) == 3
    with window(browser, server) as one:
        one.sign_in("bob", "password of bob")
        one.open("/certificates")
        expect(one.page.get_by_text("No certificates yet.")).to_be_visible()
        one.check()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_ca_and_va(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """UI-6, VA-1: both CAs and the root, each decoded; an admin has a CRL made."""
    with window(browser, server, size, "dark") as one:
        one.sign_in("root", "password of root")
        one.open("/ca")
        one.check()
        for name in ("ec", "rsa", "root"):
            expect(one.page.get_by_role("heading", level=2, name=name)).to_be_visible()
        with one.page.expect_download() as download:
            one.page.get_by_role("link", name="Download the CA chain").click()
        assert len(x509.load_pem_x509_certificates(Path(download.value.path()).read_bytes())) == 2
        one.page.get_by_role("link", name="View the certificate of rsa").click()
        expect(one.page.get_by_label("Decoded certificate")).to_contain_text("CA:TRUE")
        expect(one.page).to_have_url(re.compile("/ca/rsa$"))
        one.check()
        one.open("/va")
        one.page.get_by_role("button", name="Publish a CRL of rsa now").click()
        expect(one.page.get_by_role("status")).to_contain_text(re.compile(r"CRL \d+ of rsa was published"))
        expect(one.page.get_by_label("Decoded CRL")).to_contain_text("X509v3 CRL Number")
        one.check()
