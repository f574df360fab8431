"""Signing in with a browser (USR-3, UI-4)."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import NARROW, WIDE, Theme, window
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("theme", get_args(Theme))
def test_sign_in_and_out(browser: Browser, server: Server, size: tuple[int, int], theme: Theme) -> None:
    """The form, a wrong password, the navigation, the way out."""
    with window(browser, server, size, theme) as one:
        one.open("/")
        expect(one.page).to_have_url(re.compile("/login$"))
        one.check()
        one.page.fill("#username", "alice")
        one.page.fill("#password", "a guess")
        one.page.click("main button.primary")
        expect(one.page.get_by_role("alert")).to_have_text("wrong username or password")
        one.check()
        one.sign_in("alice", "password of alice")
        one.check()
        if size is NARROW:
            one.page.get_by_role("button", name="Menu").click()
        navigation = one.page.get_by_role("navigation", name="Main")
        expect(navigation.get_by_role("link", name="Certs")).to_be_visible()
        expect(navigation.get_by_role("link", name="Users")).to_have_count(0)
        one.check()
        one.page.get_by_role("button", name="Log out").click()
        expect(one.page.get_by_role("status")).to_have_text("You are signed out.")


def test_without_scripts(browser: Browser, server: Server) -> None:
    """UI-4: forms work without scripts."""
    with window(browser, server, NARROW, java_script_enabled=False) as one:
        one.sign_in("root", "password of root")
        expect(one.page.get_by_role("link", name="Users")).to_be_visible()
        one.page.get_by_role("button", name="Log out").click()
        expect(one.page).to_have_url(re.compile("/login$"))
