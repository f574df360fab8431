"""The guide and ChatPikachu in Chromium (UI-10, UI-11, UI-4)."""

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
def test_reading_and_asking(browser: Browser, server: Server, size: tuple[int, int], theme: Theme) -> None:
    """Somebody searches the guide, reads what was found, and asks."""
    with window(browser, server, size, theme) as one:
        one.open("/help")
        one.check()
        one.page.get_by_label("Search the guide").fill("challenge password")
        one.page.get_by_role("button", name="Search").click()
        one.page.get_by_role("link", name="SCEP · Challenge passwords").click()
        expect(one.page).to_have_url(re.compile("/help/scep#challenge-passwords$"))
        expect(one.page.get_by_role("heading", name="Challenge passwords")).to_be_in_viewport()
        one.check()
        one.sign_in("alice", "password of alice")
        one.open("/chat")
        one.page.get_by_label("Ask about this CA").fill("How many certificates do I have, and how are they revoked?")
        one.page.get_by_role("button", name="Ask").click()
        expect(one.page.get_by_text(re.compile("^You have .* valid"))).to_be_visible()
        expect(one.page.get_by_role("link", name=re.compile("Certificates and signing")).first).to_be_visible()
        one.check()
