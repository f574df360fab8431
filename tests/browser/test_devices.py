"""A device is retired with a browser (DEV-2, UI-4)."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.test_jobs import issue
from tests.support.browser import NARROW, WIDE, window
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_retire(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """From the list to the device, in a dialog with a reason and a typed word; and back in service."""
    name = f"stolen-{size[0]}.example.com"
    issue(server, [name])
    with window(browser, server, size) as one:
        one.sign_in("alice", "password of alice")
        one.open("/devices")
        one.page.get_by_label("Name, SAN, serial or date").fill(name[:11])
        one.page.get_by_role("button", name="Filter").click()
        one.page.get_by_role("link", name=name, exact=True).click()
        one.check()
        one.page.get_by_role("link", name="Retire").click()
        dialog = one.page.get_by_role("dialog")
        dialog.get_by_label("Key compromise").check()
        submit = dialog.get_by_role("button", name="Retire")
        expect(submit).to_be_disabled()
        dialog.get_by_label("Type retire").fill("retire")
        one.check()
        submit.click()
        expect(one.page.get_by_role("status").first).to_contain_text("1 certificate revoked")
        expect(one.page.locator(".facts .badge").first).to_have_text("Retired")
        expect(one.page.locator("tbody").first).to_contain_text("Revoked")
        one.check()
        one.page.get_by_role("link", name="Put back in service").click()
        one.page.get_by_role("dialog").get_by_role("button", name="Put back in service").click()
        expect(one.page.locator(".facts .badge").first).to_have_text("Overdue")
