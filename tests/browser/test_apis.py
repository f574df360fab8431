"""APIs and the REST reference in a browser (UI-8, API-2)."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import NARROW, WIDE, window
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_copy_a_command(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """It is in the clipboard as it stands there."""
    with window(browser, server, size, permissions=["clipboard-read", "clipboard-write"]) as one:
        one.sign_in("alice", "password of alice")
        one.open("/apis")
        one.check()
        first = one.page.locator(".command").first
        first.get_by_role("button", name="Copy").click()
        expect(first.get_by_role("button")).to_have_text("Copied")
        text = one.page.evaluate("navigator.clipboard.readText()")
        assert (
            text
            == f"curl --fail --silent --show-error --output root.crt http://localhost:{server.ports['http']}/ca/root.crt"
        )


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_reference(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """An operation is opened, and its schema found."""
    with window(browser, server, size, "dark") as one:
        one.sign_in("root", "password of root")
        one.open("/apis/reference")
        one.page.get_by_text("Issue a certificate for a CSR").first.click()
        link = one.page.get_by_role("link", name="SignRequest").first
        expect(link).to_be_visible()
        one.check()
        link.click()
        expect(one.page.locator("#schema-SignRequest")).to_be_in_viewport()
