"""Inspecting in a browser (UI-7)."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import NARROW, WIDE, window
from tests.support.objects import PASSPHRASE, leaf, pfx
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_paste_and_clear(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """A pasted chain is described, then cleared."""
    with window(browser, server, size) as one:
        one.sign_in("alice", "password of alice")
        one.open("/inspect")
        one.check()
        one.page.fill("#data", leaf().chain_pem.decode())
        one.page.get_by_role("button", name="Inspect").click()
        expect(one.page.get_by_role("heading", name="Detected: Certificate")).to_be_visible()
        expect(one.page.get_by_label("OpenSSL output")).to_contain_text("Example Issuing CA")
        expect(one.page.get_by_text("Certificate: CN=Example Issuing CA")).to_be_visible()
        one.check()
        one.page.get_by_role("link", name="Clear").click()
        expect(one.page.locator("#data")).to_have_value("")


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_upload_with_passphrase(browser: Browser, server: Server, tmp_path: Path, scripts: bool) -> None:
    """A PKCS#12 file is uploaded, its passphrase asked for, and nothing secret comes back."""
    (tmp_path / "device.p12").write_bytes(pfx())
    with window(browser, server, WIDE, "dark", java_script_enabled=scripts) as one:
        one.sign_in("alice", "password of alice")
        one.open("/inspect")
        one.page.set_input_files("#file", tmp_path / "device.p12")
        one.page.get_by_role("button", name="Inspect").click()
        expect(one.page.get_by_text("enter its passphrase below")).to_be_visible()
        one.page.fill("#passphrase", "wrong")
        one.page.get_by_role("button", name="Inspect").click()
        expect(one.page.get_by_role("alert")).to_contain_text("does not open")
        one.page.fill("#passphrase", PASSPHRASE)
        one.page.get_by_role("button", name="Inspect").click()
        expect(one.page.get_by_text("my device").first).to_be_visible()
        expect(one.page.locator("#data")).to_have_value("")
        if scripts:
            one.check()
