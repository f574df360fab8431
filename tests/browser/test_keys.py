"""A key, a request of it with a live preview, PKCS#12, in a browser (KEY-1 to KEY-5, CSR-1 to CSR-3, CRT-4)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from pikachu.core.model.certificates import Method
from pikachu.core.model.people import SYSTEM
from pikachu.inventory.csrs import RequestSource
from pikachu.ra.enrollment import Issued
from pikachu.web.ui.csrs import EXAMPLE
from pikachu.x509.csr import decode_csr_input, parse_csr, verify_csr
from tests.support.browser import NARROW, WIDE, Window, window
from tests.support.deferreds import result_of
from tests.support.interop import require
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop]


def saved(one: Window, button: Locator, path: Path) -> Path:
    """The file that a button or a link gives."""
    with one.page.expect_download() as download:
        button.click()
    download.value.save_as(path)
    return path


def new_key(one: Window, name: str, family: str, label: str, choice: str) -> None:
    """Fill the form, which shows the choices of the selected type only."""
    page = one.page
    one.open("/keys")
    page.get_by_role("link", name="Generate new key").first.click()
    page.get_by_label("Name").fill(name)
    expect(page.get_by_label("Curve (EC)")).to_be_visible()
    page.get_by_label(family, exact=True).check()
    for other in ("Size (RSA)", "Curve (EC)", "Algorithm (PQC)"):
        expect(page.get_by_label(other)).to_be_visible(visible=other == label)
    if label:
        page.get_by_label(label).select_option(choice)
    one.check()
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Key {name}")
    one.check()


@pytest.mark.parametrize(
    ("who", "size", "family", "label", "choice"),
    [
        ("alice", WIDE, "EC", "Curve (EC)", "secp384r1"),
        ("alice", NARROW, "Ed25519", "", ""),
        ("root", WIDE, "PQC", "Algorithm (PQC)", "mldsa65"),
        ("root", NARROW, "RSA", "Size (RSA)", "2048"),
    ],
)
def test_from_key_to_request(
    browser: Browser,
    server: Server,
    tmp_path: Path,
    who: str,
    size: tuple[int, int],
    family: str,
    label: str,
    choice: str,
) -> None:
    """The main job: a key, a preview that follows what is typed, the request, its file, which openssl verifies."""
    name = f"key of {who} {size[0]}"
    with window(browser, server, size) as one:
        page = one.page
        one.sign_in(who, f"password of {who}")
        one.confirm(f"password of {who}")
        new_key(one, name, family, label, choice)
        page.get_by_role("link", name="Generate CSR").click()
        preview = page.locator("#preview")
        page.get_by_label("Configuration (advanced)").check()
        expect(preview).to_contain_text("CN=device.example.com,O=Example")
        text = page.get_by_label("Configuration", exact=True)
        text.fill(text.input_value().replace("CN = device", f"CN = {who}"))
        expect(preview).to_contain_text(f"CN={who}.example.com,O=Example")
        text.fill(text.input_value().replace("subjectAltName", "subjectAltNam"))
        expect(preview).to_contain_text("line 11")
        one.check()
        text.fill(text.input_value().replace("subjectAltNam ", "subjectAltName "))
        expect(preview).to_contain_text("DNS:device.example.com")
        one.check()
        page.get_by_role("button", name="Generate").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"CSR {who}.example.com")
        one.check()
        file = saved(one, page.locator(".title").get_by_role("link", name="Download"), tmp_path / "request.csr")
        verify_csr(parse_csr(decode_csr_input(file.read_bytes())))
        # At the address that programs use, too, by the cookie.
        number = page.url.rpartition("/")[2]
        answer = one.context.request.get(f"{one.address}/requests/{number}/download")
        assert (answer.status, answer.body()) == (200, file.read_bytes())
        if family != "PQC":
            require("openssl")
            done = subprocess.run(
                ["openssl", "req", "-verify", "-noout", "-in", file], capture_output=True, text=True, check=True
            )
            assert "verify OK" in done.stdout + done.stderr
        one.open("/csrs")
        one.check()


def test_secrets_are_asked_for(browser: Browser, server: Server, tmp_path: Path) -> None:
    """KEY-3, KEY-4, CRT-4: the private key by an explicit click, its file and PKCS#12 in dialogs."""
    with window(browser, server) as one:
        page = one.page
        one.sign_in("alice", "password of alice")
        one.confirm("password of alice")
        new_key(one, "secret", "EC", "Curve (EC)", "prime256v1")
        number = int(page.url.rpartition("/")[2])
        expect(page.get_by_text("BEGIN PRIVATE KEY")).to_have_count(0)
        page.get_by_role("link", name="Show the private key").click()
        one.check()
        page.get_by_role("button", name="Show the private key").click()
        expect(page.get_by_text("BEGIN PRIVATE KEY")).to_be_visible()
        one.check()
        one.open(f"/keys/{number}")
        page.locator(".title").get_by_role("link", name="Download").click()
        dialog = page.get_by_role("dialog")
        dialog.locator("#passphrase").fill("correct horse")
        dialog.get_by_label("Repeat passphrase").fill("correct horse")
        file = saved(one, dialog.get_by_role("button", name="Download"), tmp_path / "key.pem")
        assert file.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        with server.application() as app:
            key = result_of(app.store.key(number))
            csr = result_of(app.requests.generate(SYSTEM, "", RequestSource(number, text=EXAMPLE)))
            owner = result_of(app.authenticator.basic("alice", "password of alice", "192.0.2.1"))
            issued = result_of(app.registration.sign(owner, csr.der, Method.UI))
            assert isinstance(issued, Issued)
            assert issued.record.key_id == key.key_id
        one.open(f"/certificates/{issued.record.id}")
        page.get_by_role("link", name="PFX").click()
        dialog.locator("#passphrase").fill("correct horse")
        dialog.get_by_label("Repeat passphrase").fill("correct horse")
        file = saved(one, dialog.get_by_role("button", name="Download PFX"), tmp_path / "file.pfx")
        require("openssl")
        done = subprocess.run(
            ["openssl", "pkcs12", "-in", file, "-passin", "pass:correct horse", "-nodes"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.count("BEGIN CERTIFICATE") == 3
        one.open("/keys")
        page.get_by_role("link", name=f"Delete key {number}").click()
        expect(dialog).to_contain_text("This key is in use")
        delete = dialog.get_by_role("button", name="Delete")
        expect(delete).to_be_disabled()
        dialog.get_by_label(re.compile("Type delete")).fill("delete")
        one.check()
        delete.click()
        expect(page.get_by_role("status").first).to_have_text("The key was deleted.")


def test_without_scripts(browser: Browser, server: Server) -> None:
    """KEY-1, CSR-1, UI-4: forms work without scripts; the preview has a button then."""
    with window(browser, server, NARROW, java_script_enabled=False) as one:
        page = one.page
        one.sign_in("bob", "password of bob")
        one.confirm("password of bob")
        one.open("/generate")
        page.get_by_label("Name").fill("plain")
        page.get_by_label("PQC", exact=True).check()
        expect(page.get_by_label("Size (RSA)")).to_be_hidden()
        page.get_by_label("Algorithm (PQC)").select_option("mldsa44")
        page.get_by_role("button", name="Generate").click()
        page.get_by_role("link", name="Generate CSR").click()
        page.get_by_label("Configuration (advanced)").check()
        text = page.get_by_label("Configuration", exact=True)
        text.fill(text.input_value().replace("O = Example", "O = Another"))
        page.get_by_role("button", name="Preview").click()
        expect(page.locator("#preview")).to_contain_text("O=Another")
        page.get_by_role("button", name="Generate").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("CSR device.example.com")


def test_password_in_a_dialog(browser: Browser, server: Server) -> None:
    """KEY-3, KEY-4: the password is asked for in a dialog, which says when it is wrong, and leads on."""
    with window(browser, server) as one:
        page = one.page
        dialog = page.get_by_role("dialog")
        one.sign_in("bob", "password of bob")
        new_key(one, "behind a password", "EC", "Curve (EC)", "prime256v1")
        path = page.url.removeprefix(one.address)
        download = page.locator(".title").get_by_role("link", name="Download")
        download.click()
        expect(dialog).to_contain_text("This action reveals secrets")
        dialog.get_by_role("link", name="Cancel").click()
        expect(dialog).to_have_count(0)
        expect(download).to_be_focused()
        download.click()
        dialog.get_by_label("Password").fill("not that of bob")
        dialog.get_by_role("button", name="Continue").click()
        expect(dialog.get_by_role("alert")).to_be_visible()
        expect(dialog.get_by_label("Password")).to_be_focused()
        one.check()
        dialog.get_by_label("Password").fill("password of bob")
        dialog.get_by_role("button", name="Continue").click()
        expect(dialog.get_by_label("Repeat passphrase")).to_be_visible()
        assert page.url == one.address + path
        # A page that is no dialog follows the password, too; another session asks for it again.
        one.context.clear_cookies()
        one.sign_in("bob", "password of bob")
        one.open(path)
        page.get_by_role("link", name="Show the private key").click()
        dialog.get_by_label("Password").fill("password of bob")
        dialog.get_by_role("button", name="Continue").click()
        page.wait_for_url(f"{one.address}{path}/private")
        one.open(path)
        page.get_by_role("link", name="Show the private key").click()
        page.wait_for_url(f"{one.address}{path}/private")
