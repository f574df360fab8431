"""Signing in with a browser (USR-3, UI-4)."""

from __future__ import annotations

import re
import time
from base64 import b32decode
from typing import get_args

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import NARROW, WIDE, Theme, window
from tests.support.server import Server
from tests.support.totp import code_at

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
        expect(one.page.get_by_role("alert")).to_have_text("Wrong username or password.")
        one.check()
        one.sign_in("alice", "password of alice")
        one.check()
        if size is NARROW:
            one.page.get_by_role("button", name="Menu").click()
        navigation = one.page.get_by_role("navigation", name="Main")
        expect(navigation.get_by_role("link", name="Certs")).to_be_visible()
        expect(navigation.get_by_role("link", name="Users")).to_have_count(0)
        one.check()
        one.page.get_by_role("button", name="Sign out").click()
        expect(one.page.get_by_role("status")).to_have_text("You are signed out.")


def test_without_scripts(browser: Browser, server: Server) -> None:
    """UI-4: forms work without scripts."""
    with window(browser, server, NARROW, java_script_enabled=False) as one:
        one.sign_in("root", "password of root")
        expect(one.page.get_by_role("link", name="Users")).to_be_visible()
        one.page.get_by_role("button", name="Sign out").click()
        expect(one.page).to_have_url(re.compile("/login$"))


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "without"])
def test_entries_outlive_a_session(browser: Browser, server: Server, scripts: bool) -> None:
    """ROL-2: a form that is sent after the session has ended comes back with its entries."""
    with window(browser, server, NARROW, java_script_enabled=scripts) as one:
        one.sign_in("alice", "password of alice")
        one.open("/policies/new")
        one.page.fill("#name", "my gateways")
        one.page.fill("#days", "31")
        with window(browser, server) as other:
            other.sign_in("alice", "password of alice")
            other.open("/account")
            # This test's other case may have left sessions behind; the newest but the current one is first.
            other.page.get_by_role("button", name="End the session").first.click()
            expect(other.page.get_by_role("status")).to_contain_text("The session has ended.")
        one.page.get_by_role("button", name="Create policy").click()
        expect(one.page.get_by_role("status")).to_contain_text("ended from another browser")
        if scripts:
            one.check()
        one.page.fill("#username", "alice")
        one.page.fill("#password", "password of alice")
        one.page.click("main button.primary")
        expect(one.page.get_by_role("status")).to_contain_text("Your entries were restored")
        expect(one.page.locator("#name")).to_have_value("my gateways")
        expect(one.page.locator("#days")).to_have_value("31")
        if scripts:
            one.check()


@pytest.mark.parametrize("theme", get_args(Theme))
def test_warning_before_the_end(browser: Browser, server: Server, theme: Theme) -> None:
    """ROL-2: two minutes before a session ends, the page offers to prolong it; afterwards, it says so."""
    with window(browser, server, NARROW, theme) as one:
        one.sign_in("alice", "password of alice")
        one.page.clock.install()
        one.open("/account")
        warning = one.page.get_by_role("alert")
        left = [100, 1200]
        one.page.route("**/session", lambda route: route.fulfill(json={"seconds": left[0]}))
        one.page.clock.fast_forward(1_075_000)
        expect(warning).to_have_count(0)
        one.page.clock.fast_forward(10_000)
        expect(warning).to_contain_text("You will be signed out in 2 minutes.")
        one.check()
        left.pop(0)
        one.page.get_by_role("button", name="Stay signed in").click()
        expect(warning).to_have_count(0)
        one.page.unroute("**/session")
        one.page.route("**/session", lambda route: route.fulfill(status=401))
        one.page.clock.fast_forward(1_085_000)
        expect(warning).to_contain_text("You are signed out.")
        one.check()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "without"])
def test_second_factor(browser: Browser, server: Server, scripts: bool) -> None:
    """ROL-2: a second factor is set up from its QR code's secret, asked for, and removed."""
    with window(browser, server, NARROW, java_script_enabled=scripts) as one:
        one.sign_in("bob", "password of bob")
        one.confirm("password of bob")
        one.open("/account")
        one.page.get_by_role("link", name="Set up").click()
        expect(one.page.get_by_role("img", name="QR code")).to_be_visible()
        secret = b32decode(one.page.locator("code.secret").inner_text().replace(" ", ""))
        if scripts:
            one.check()
        one.page.fill("#code", code_at(secret, time.time()))
        one.page.get_by_role("button", name="Set up").click()
        expect(one.page.get_by_role("heading", name="Recovery codes")).to_be_visible()
        recovery_code = one.page.locator("pre").inner_text().split()[0]
        one.page.get_by_role("button", name="Sign out").click()
        one.page.fill("#username", "bob")
        one.page.fill("#password", "password of bob")
        one.page.click("main button.primary")
        expect(one.page).to_have_url(re.compile("/login/code"))
        one.page.fill("#code", "wrong")
        one.page.click("main button.primary")
        expect(one.page.get_by_role("alert")).to_contain_text("Wrong code")
        if scripts:
            one.check()
        # A code of the app was used for setting up, and is good once.
        one.page.fill("#code", recovery_code)
        one.page.click("main button.primary")
        one.page.wait_for_url(re.compile(r"^(?!.*/login)"))
        one.confirm("password of bob")
        one.open("/account/second-factor/remove")
        one.page.fill("#confirm", "remove")
        one.page.get_by_role("button", name="Remove").click()
        expect(one.page.get_by_role("status")).to_have_text("The second factor was removed.")


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "light"), (NARROW, "dark")], ids=["wide", "narrow"])
def test_passkeys(browser: Browser, server: Server, size: tuple[int, int], theme: Theme) -> None:
    """ROL-2: a passkey is added, signs in alone and after the password, and is removed."""
    with window(browser, server, size, theme) as one:
        devtools = one.context.new_cdp_session(one.page)
        devtools.send("WebAuthn.enable")
        device = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        devtools.send("WebAuthn.addVirtualAuthenticator", {"options": device})
        one.sign_in("alice", "password of alice")
        one.confirm("password of alice")
        one.open("/account")
        one.page.get_by_role("link", name="Add a passkey").click()
        one.page.fill("#name", "phone")
        one.check()
        one.page.get_by_role("button", name="Add passkey").click()
        expect(one.page.get_by_role("heading", name="Recovery codes")).to_be_visible()
        # The same device has one already.
        one.open("/account/passkeys/new")
        one.page.fill("#name", "phone again")
        one.page.get_by_role("button", name="Add passkey").click()
        expect(one.page.get_by_role("alert")).to_contain_text("has a passkey of your account already")
        one.check()
        one.page.get_by_role("button", name="Sign out").click()
        one.page.wait_for_url(re.compile("/login$"))
        one.open("/login?next=/account")
        one.page.get_by_role("button", name="Sign in with a passkey").click()
        expect(one.page.get_by_role("region", name="Passkeys")).to_contain_text("phone")
        one.check()
        one.page.get_by_role("button", name="Sign out").click()
        one.page.wait_for_url(re.compile("/login$"))
        one.page.fill("#username", "alice")
        one.page.fill("#password", "password of alice")
        one.page.get_by_role("button", name="Sign in", exact=True).click()
        one.page.wait_for_url(re.compile("/login/code"))
        one.check()
        one.page.get_by_role("button", name="Use a passkey").click()
        one.page.wait_for_url(re.compile(r"^(?!.*/login)"))
        one.confirm("password of alice")
        one.open("/account")
        one.page.get_by_role("link", name="Remove the passkey phone").click()
        one.page.fill("#confirm", "remove")
        one.page.get_by_role("button", name="Remove").click()
        expect(one.page.get_by_role("status")).to_have_text("The passkey phone was removed.")


def test_passkeys_need_scripts_and_a_name(browser: Browser, server: Server) -> None:
    """ROL-2: the pages say where there are no passkeys."""
    with window(browser, server, NARROW, java_script_enabled=False) as one:
        one.open("/login")
        expect(one.page.get_by_text("Passkeys need JavaScript.")).to_be_visible()
        expect(one.page.get_by_role("button", name="Sign in with a passkey")).to_have_count(0)
    with window(browser, server, NARROW) as one:
        one.address = one.address.replace("localhost", "127.0.0.1")
        one.open("/login")
        expect(one.page.get_by_text("Passkeys need a host name.")).to_be_visible()
        one.check()
