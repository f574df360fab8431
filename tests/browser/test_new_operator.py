"""Somebody's first day: from a key to a certificate, its end, and what is on record of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography import x509
from playwright.sync_api import Browser, expect

from pikachu.core.model.people import SYSTEM, AccountState, Role
from tests.support.browser import NARROW, WIDE, Window, window
from tests.support.deferreds import result_of
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop, pytest.mark.slow]

TEMPLATE = """\
[ req ]
prompt = no
distinguished_name = dn
req_extensions = names

[ dn ]
CN = {name}
O = Example Works

[ names ]
subjectAltName = DNS:{name}
"""


def make_template(one: Window, name: str) -> None:
    """TPL-3: a template of one's own."""
    one.open("/templates/new")
    one.page.get_by_label("Name").fill(f"template of {name}")
    one.page.get_by_label("Profile type").fill("device")
    one.page.get_by_label("Content").fill(TEMPLATE.format(name=name))
    one.check()
    one.page.get_by_role("button", name="Save").click()
    expect(one.page).to_have_url(re.compile(r"/templates/\d+$"))


def make_key(one: Window, name: str) -> None:
    """KEY-1."""
    one.open("/keys")
    one.page.get_by_role("link", name="Generate new key").first.click()
    one.page.get_by_label("Name").fill(f"key of {name}")
    one.page.get_by_label("EC", exact=True).check()
    one.check()
    one.page.get_by_role("button", name="Generate").click()
    expect(one.page).to_have_url(re.compile(r"/keys/\d+$"))


def make_request(one: Window, name: str) -> None:
    """CSR-1: of that key and that template."""
    one.page.get_by_role("link", name="Generate CSR").click()
    one.page.get_by_label("Name of the CSR").fill(f"request of {name}")
    template = one.page.get_by_label("Certificate template")
    template.select_option(label=template.get_by_role("option").filter(has_text=f"template of {name}").inner_text())
    expect(one.page.get_by_label("Common name", exact=True)).to_have_value(name)
    expect(one.page.get_by_role("list", name="Entered names")).to_contain_text(f"DNS:{name}")
    expect(one.page.locator("#preview")).to_contain_text(f"DNS:{name}")
    one.check()
    one.page.get_by_role("button", name="Generate").click()
    expect(one.page).to_have_url(re.compile(r"/csrs/\d+$"))
    one.check()


def sign(one: Window, name: str) -> str:
    """RA-1, RA-3: looked at, then signed; the path of the certificate."""
    one.page.get_by_role("main").get_by_role("link", name="Sign", exact=True).click()
    one.page.get_by_role("button", name="Preview").click()
    expect(one.page.get_by_role("region", name="The certificate gets")).to_contain_text(f"DNS:{name}")
    one.check()
    one.page.get_by_role("button", name="Sign", exact=True).click()
    expect(one.page).to_have_url(re.compile(r"/certificates/\d+$"))
    expect(one.page.get_by_role("heading", level=1)).to_contain_text(name)
    one.check()
    return one.page.url.removeprefix(one.address)


def download(one: Window, server: Server, folder: Path) -> x509.Certificate:
    """CRT-3: the chain, whose first certificate it is and whose last is the root."""
    with one.page.expect_download() as begun:
        one.page.get_by_role("link", name="Chain (PEM)").click()
    path = folder / "chain.pem"
    begun.value.save_as(path)
    chain = x509.load_pem_x509_certificates(path.read_bytes())
    assert len(chain) == 3
    assert chain[-1] == server.files.root.certificate
    chain[0].verify_directly_issued_by(chain[1])
    return chain[0]


def revoke(one: Window) -> None:
    """CRT-5."""
    one.page.get_by_role("link", name="Revoke").click()
    dialog = one.page.get_by_role("dialog")
    dialog.get_by_label("Reason").select_option("superseded")
    dialog.get_by_label(re.compile("^Type revoke")).fill("revoke")
    dialog.get_by_role("button", name="Revoke").click()
    expect(one.page.get_by_role("main")).to_contain_text("Revoked")
    one.check()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("role", [role for role in Role if role is not Role.AUDITOR])
def test_new_operator(browser: Browser, server: Server, tmp_path: Path, size: tuple[int, int], role: Role) -> None:
    """A key, a request from a template, its certificate and chain; revoked, seen in VA, found in Events."""
    person = f"{role}-{size[0]}"
    name = f"{person}.example.com"
    with server.application() as app:
        adding = app.accounts.add_user(SYSTEM, person, f"a@{name}", role, AccountState.ACTIVE, "a new password")
        result_of(adding)
    with window(browser, server, size, accept_downloads=True) as one:
        one.sign_in(person, "a new password")
        make_template(one, name)
        make_key(one, name)
        make_request(one, name)
        path = sign(one, name)
        certificate = download(one, server, tmp_path)
        serial = f"{certificate.serial_number:x}"
        revoke(one)
        one.open(f"/va?q={serial}")
        expect(one.page.get_by_role("link", name=name).first).to_be_visible()
        one.check()
        one.open(f"/events?q={serial}")
        table = one.page.get_by_role("region", name="Events", exact=True)
        for kind in ("create", "revoke", "sign"):
            expect(table).to_contain_text(kind)
        one.check()
        one.open(path)
        expect(one.page.get_by_role("link", name="Revoke")).to_have_count(0)
    status = server.ask("https", f"/status/{serial}")
    assert '"revoked"' in status.text
