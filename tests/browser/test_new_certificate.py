"""From a name to a downloaded certificate with a browser (ISS-1)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography import x509
from playwright.sync_api import Browser, expect

from tests.support.browser import NARROW, WIDE, window
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.mark.parametrize(("name", "size"), [("root", WIDE), ("alice", NARROW)], ids=["admin wide", "user narrow"])
def test_three_clicks(browser: Browser, server: Server, tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    """SANs become chips that are checked while one types; the preview follows; then three clicks in all."""
    host = f"{name}-{size[0]}.example.com"
    with window(browser, server, size, accept_downloads=True) as one:
        one.sign_in(name, f"password of {name}")
        one.page.get_by_role("main").get_by_role("link", name="New certificate").click()
        one.check()
        expect(one.page.get_by_label("Common name", exact=True)).to_be_focused()
        one.page.get_by_label("Common name", exact=True).fill(host)
        gets = one.page.get_by_role("region", name="The certificate gets")
        expect(gets).to_contain_text(f"DNS:{host}")
        entry = one.page.get_by_label("Subject alternative names (SANs)")
        entry.press_sequentially("192.0.2.1 a_b.example.com,ops@example.com")
        chips = one.page.get_by_role("list", name="Entered names").get_by_role("listitem")
        expect(chips).to_have_count(2)
        expect(one.page.get_by_role("status").filter(has_text="Remove the underscore")).to_be_visible()
        one.check()
        # A click on a chip also ends the typing of the next name.
        one.page.get_by_role("button", name="Remove a_b.example.com").click()
        expect(chips).to_have_text([re.compile("^IP:192.0.2.1"), re.compile("^email:ops@example.com")])
        expect(gets).to_contain_text("email:ops@example.com")
        one.check()
        one.page.get_by_role("button", name="Issue certificate").click()
        expect(one.page.get_by_role("heading", level=1)).to_have_text(host)
        with one.page.expect_download() as begun:
            one.page.get_by_role("link", name="Chain (PEM)").click()
        begun.value.save_as(tmp_path / "chain.pem")
        one.check()
    certificate = x509.load_pem_x509_certificates((tmp_path / "chain.pem").read_bytes())[0]
    sans = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(san.value) for san in sans] == [host, "192.0.2.1", "ops@example.com"]


def test_a_pasted_csr_hides_the_names(browser: Browser, server: Server) -> None:
    """Fields that don't apply are hidden, and the preview says what is wrong with the CSR."""
    with window(browser, server) as one:
        one.sign_in("alice", "password of alice")
        one.open("/certificates/new")
        one.page.get_by_label("Use a CSR").check()
        expect(one.page.get_by_label("Common name", exact=True)).to_be_hidden()
        expect(one.page.get_by_label("Key type")).to_be_hidden()
        one.page.get_by_label("CSR", exact=True).fill("nonsense!")
        expect(one.page.locator("#preview .bad")).to_be_visible()
        one.check()
