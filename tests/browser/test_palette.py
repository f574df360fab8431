"""The palette, keyboard shortcuts, saved filters, columns and the set-up checklist in Chromium (UI-2, UI-4)."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.test_certificates import sign_by_rest
from tests.support.browser import NARROW, WIDE, Window, window
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop]


def chosen(one: Window) -> str:
    """Return the text of the option that Enter would open, as a screen reader is told it."""
    box = one.page.get_by_role("combobox", name="Search certificates")
    option = box.get_attribute("aria-activedescendant")
    assert option is not None
    expect(one.page.locator(f"#{option}")).to_have_attribute("aria-selected", "true")
    return one.page.locator(f"#{option} span").inner_text()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_palette(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """Ctrl+K opens it; the arrows choose, Enter opens, Esc closes and gives the focus back."""
    name = f"palette-{size[0]}.example.com"
    sign_by_rest(server, "alice", name)
    with window(browser, server, size) as one:
        one.sign_in("alice", "password of alice")
        button = one.page.get_by_role("link", name="Search")
        button.focus()
        one.page.keyboard.press("Control+k")
        box = one.page.get_by_role("combobox", name="Search certificates")
        expect(box).to_be_focused()
        expect(one.page.get_by_role("option", name="Dashboard")).to_be_visible()
        first = chosen(one)
        one.page.keyboard.press("ArrowDown")
        assert chosen(one) != first
        one.page.keyboard.press("ArrowUp")
        assert chosen(one) == first
        one.check()
        one.page.keyboard.press("Escape")
        expect(box).to_be_hidden()
        expect(button).to_be_focused()
        button.click()
        box.fill(name)
        for list_path in ("/devices", "/certificates"):
            expect(one.page.locator(f"[role=option][href^='{list_path}/']", has_text=name)).to_be_visible()
        expect(one.page.locator("dialog [role=status]")).to_have_text(re.compile(r"^\d+ results?$"))
        one.check()
        one.page.keyboard.press("Enter")
        expect(one.page.get_by_role("heading", level=1)).to_have_text(name)
        one.page.keyboard.press("Control+k")
        box.fill("zzzz")
        expect(one.page.get_by_text("Nothing matches.")).to_be_visible()
        one.check()


def test_shortcuts(browser: Browser, server: Server) -> None:
    """UI-4: keys lead to pages, not while somebody types, and an account can turn them off."""
    with window(browser, server, WIDE, "dark") as one:
        one.sign_in("bob", "password of bob")
        one.page.keyboard.press("g")
        one.page.keyboard.press("k")
        one.page.wait_for_url("**/keys")
        one.page.keyboard.press("/")
        expect(one.page.locator("#q")).to_be_focused()
        one.page.keyboard.type("gc?/")
        expect(one.page.locator("#q")).to_have_value("gc?/")
        one.page.locator("h1").click()
        one.page.keyboard.press("?")
        dialog = one.page.get_by_role("dialog", name="Keyboard shortcuts")
        expect(dialog).to_contain_text("Certs")
        expect(dialog).not_to_contain_text("Users")
        one.check()
        one.page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        one.open("/account")
        one.page.get_by_label("Keyboard shortcuts").select_option("Off")
        one.page.get_by_label("Show times in").select_option("Local time of this browser")
        one.page.locator("form[action='/account/display'] button").click()
        expect(one.page.get_by_text("Display settings saved.")).to_be_visible()
        expect(one.page.locator("time .utc").first).to_have_text(" local")
        one.page.keyboard.press("?")
        expect(dialog).to_be_hidden()
        one.check()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
def test_filters_and_columns(browser: Browser, server: Server, size: tuple[int, int], scripts: bool) -> None:
    """UI-2, UI-4: a filter is saved and used again, and columns are chosen, with and without JavaScript."""
    name = f"view-{size[0]}-{scripts}".lower()
    sign_by_rest(server, "alice", f"{name}.example.com")
    with window(browser, server, size, java_script_enabled=scripts) as one:
        one.sign_in("alice", "password of alice")
        one.open(f"/certificates?q={name}&status=valid")
        one.page.get_by_text("Save filter").click()
        one.page.get_by_label("Name", exact=True).fill(name)
        if scripts:
            one.check()
        one.page.get_by_role("button", name="Save", exact=True).click()
        expect(one.page.get_by_text(f"Filter “{name}” saved.")).to_be_visible()
        one.open("/certificates")
        one.page.get_by_role("link", name=name, exact=True).click()
        expect(one.page.locator("tbody tr")).to_have_count(1)
        one.page.get_by_text("Columns", exact=True).click()
        one.page.get_by_role("checkbox", name="Policy").check()
        one.page.get_by_role("checkbox", name="Key", exact=True).uncheck()
        if scripts:
            one.check()
        one.page.get_by_role("button", name="Apply").click()
        expect(one.page.locator("td[data-label='Policy']")).to_be_visible()
        expect(one.page.locator("td[data-label='Key']")).to_have_count(0)
        expect(one.page).to_have_url(re.compile(f"q={name}"))
        one.page.get_by_text("Columns", exact=True).click()
        one.page.get_by_role("button", name="Default columns").click()
        expect(one.page.locator("td[data-label='Key']")).to_be_visible()
        one.page.get_by_role("link", name="Manage").click()
        one.page.get_by_role("button", name=f"Delete {name}").click()
        expect(one.page.get_by_text("Filter deleted.")).to_be_visible()
        if scripts:
            one.check()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_set_up(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """An administrator finds the checklist on the dashboard, follows it, confirms a step and reopens it."""
    with window(browser, server, size) as one:
        one.sign_in("root", "password of root")
        one.page.get_by_role("link", name="Continue set-up").click()
        expect(one.page.get_by_role("heading", level=1)).to_have_text("Set-up")
        one.page.get_by_text("Debian, Ubuntu").click()
        expect(one.page.get_by_text("sudo update-ca-certificates")).to_be_visible()
        one.check()
        one.page.get_by_role("button", name="I have done this: Back up").click()
        expect(one.page.get_by_text("Confirmed by root")).to_be_visible()
        one.page.get_by_role("button", name="Reopen: Back up").click()
        expect(one.page.get_by_role("button", name="I have done this: Back up")).to_be_visible()
        one.check()
