"""Each role with a browser: its menu, what it may do, and what it is refused (ROL-1)."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from pikachu.core.model.people import SYSTEM, AccountState, Role
from tests.support.browser import NARROW, WIDE, window
from tests.support.deferreds import result_of
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop]

ROLES = {
    "alice": ("", ["/keys", "/certificates/new", "/ra"], ["/users", "/config", "/logs", "/ra/approvals/1/approve"]),
    "olga": ("Operator", ["/ra", "/ra/approvals", "/devices"], ["/users", "/config", "/logs", "/users/events"]),
    "audrey": ("Auditor", ["/users", "/config", "/events"], ["/certificates/new", "/ra", "/generate", "/users/new"]),
    "root": ("Admin", ["/users", "/config", "/certificates/new"], []),
}


@pytest.fixture(scope="module")
def staffed(server: Server) -> Server:
    """The server with an operator and an auditor."""
    with server.application() as app:
        for name, role in (("olga", Role.OPERATOR), ("audrey", Role.AUDITOR)):
            adding = app.accounts.add_user(
                SYSTEM, name, f"{name}@example.com", role, AccountState.ACTIVE, f"password of {name}"
            )
            result_of(adding)
    return server


@pytest.mark.parametrize("name", ROLES)
def test_roles(browser: Browser, staffed: Server, name: str) -> None:
    """The menu leads to pages of the role; other addresses answer 403, on wide and narrow screens."""
    label, links, refused = ROLES[name]
    size = NARROW if name in ("olga", "root") else WIDE
    with window(browser, staffed, size, "dark" if size is NARROW else "light") as one:
        one.sign_in(name, f"password of {name}")
        if label:
            expect(one.page.locator("header .badge")).to_have_text(label)
        if size is NARROW:
            one.page.get_by_role("button", name="Menu").click()
        menu = one.page.get_by_role("navigation", name="Main")
        for path in links:
            expect(menu.locator(f'a[href="{path}"]')).to_be_visible()
        for path in refused:
            expect(menu.locator(f'a[href="{path}"]')).to_have_count(0)
            one.open(path, status=403)
            expect(one.page.locator("main")).to_contain_text("can't use this page")
        one.open("/certificates")
        one.check()
