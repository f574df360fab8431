"""Registering, tokens and passwords with a browser (USR-2 to USR-4, USR-6)."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import NARROW, WIDE, Window, window
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop]
SIZES = pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])


def menu(one: Window, size: tuple[int, int]) -> None:
    """On a phone the navigation is behind a button."""
    if size is NARROW:
        one.page.get_by_role("button", name="Menu").click()


@SIZES
def test_register_approve_sign_in(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """USR-2: a visitor registers, an admin approves, the new user signs in."""
    name = f"person_{size[0]}"
    with window(browser, server, size) as one, window(browser, server, size, "dark") as two:
        one.open("/login")
        one.page.get_by_role("link", name="Register").click()
        one.check()
        one.page.fill("#username", name)
        one.page.fill("#email", f"{name}@example.com")
        one.page.fill("#password", "a good password")
        one.page.fill("#confirmation", "another one")
        one.page.click("main button.primary")
        expect(one.page.get_by_role("alert")).to_contain_text("differ")
        expect(one.page.locator("#username")).to_have_value(name)
        expect(one.page.locator("#password")).to_have_value("")
        one.check()
        one.page.fill("#password", "a good password")
        one.page.fill("#confirmation", "a good password")
        one.page.click("main button.primary")
        expect(one.page.get_by_role("heading", level=1)).to_have_text("Registration received")
        one.check()

        two.sign_in("root", "password of root")
        menu(two, size)
        two.page.get_by_role("navigation", name="Main").get_by_role("link", name="Users").click()
        expect(two.page.get_by_text("(You)")).to_be_visible()
        two.check()
        two.page.get_by_role("link", name=f"Approve {name}").click()
        dialog = two.page.get_by_role("dialog")
        expect(dialog).to_contain_text("becomes active")
        two.check()
        dialog.get_by_role("button", name="Approve").click()
        expect(two.page.get_by_role("status").first).to_contain_text("is approved")
        two.check()

        one.sign_in(name, "a good password")
        one.open("/account")
        one.check()
        two.page.get_by_role("link", name=name, exact=True).click()
        two.page.get_by_role("link", name="Suspend").click()
        two.page.get_by_role("dialog").get_by_role("button", name="Suspend").click()
        expect(two.page.get_by_role("status")).to_contain_text("is suspended")
        one.page.reload()
        expect(one.page).to_have_url(re.compile("/login"))
        two.page.get_by_role("link", name="Delete").click()
        button = two.page.get_by_role("dialog").get_by_role("button", name="Delete")
        expect(button).to_be_disabled()
        two.page.get_by_role("dialog").locator("#confirm").fill("delete")
        two.check()
        button.click()
        expect(two.page.get_by_role("status").first).to_contain_text("is deleted")


@SIZES
def test_a_token_calls_rest(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """USR-6: made on the page, shown once, used by a program, seen there, ended."""
    name = f"laptop {size[0]}"
    with window(browser, server, size) as one:
        one.sign_in("alice", "password of alice")
        one.confirm("password of alice")
        one.open("/account")
        one.page.get_by_role("link", name="Create token").click()
        one.check()
        one.page.fill("#name", name)
        for scope in ("read", "enroll", "revoke"):
            expect(one.page.get_by_role("checkbox", name=re.compile(f"^{scope}"))).to_be_checked(
                checked=scope == "read"
            )
        one.page.fill("#days", "7")
        one.page.click("main button.primary")
        token = one.page.locator("pre").first.inner_text().strip()
        one.check()
        answer = server.ask("https", "/api/v1/certificates", headers={"Authorization": f"Bearer {token}"})
        assert answer.status == 200
        body = b'{"name": "more"}'
        fields = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        assert server.ask("https", "/api/v1/tokens", "POST", body, fields).status == 403
        one.page.get_by_role("link", name="Done").click()
        assert token not in one.page.content()
        row = one.page.get_by_role("row").filter(has_text=name)
        expect(row).not_to_contain_text("never")
        one.check()
        row.get_by_role("link", name=f"Revoke the token {name}").click()
        one.page.get_by_role("dialog").get_by_role("button", name="Revoke token").click()
        expect(one.page.get_by_role("status").first).to_contain_text("has ended")
        answer = server.ask("https", "/api/v1/certificates", headers={"Authorization": f"Bearer {token}"})
        assert answer.status == 401


@SIZES
def test_change_password(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """USR-3: the other session ends, this one goes on; without scripts too."""
    name = f"changer_{size[0]}"
    server.run("user", "add", name, "--email", "c@example.com", "--password-file", str(password_file(server)))
    with window(browser, server, size) as one, window(browser, server, size, java_script_enabled=False) as two:
        one.sign_in(name, "the first one")
        # The dashboard would leave by itself, in the middle of the reload below.
        one.open("/account")
        two.sign_in(name, "the first one")
        two.open("/account")
        two.page.get_by_role("link", name="Change password").click()
        two.page.fill("#current", "a guess")
        two.page.fill("#password", "the second one")
        two.page.fill("#confirmation", "the second one")
        two.page.click("main button.primary")
        expect(two.page.get_by_role("alert")).to_have_text("Wrong password. Try again.")
        two.page.fill("#current", "the first one")
        two.page.fill("#password", "the second one")
        two.page.fill("#confirmation", "the second one")
        two.page.click("main button.primary")
        expect(two.page.get_by_role("status")).to_contain_text("The password is changed")
        one.page.reload()
        expect(one.page).to_have_url(re.compile("/login"))
        one.sign_in(name, "the second one")
        one.open("/account/password")
        one.check()


def password_file(server: Server) -> object:
    """For the command line."""
    path = server.folder / "password"
    path.write_text("the first one\n", encoding="utf-8")
    return path
