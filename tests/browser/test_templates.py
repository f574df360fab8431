"""Certificate templates, enrollment policies and challenge passwords in a browser (TPL-3, TPL-4, POL-1, CHP-1)."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import NARROW, WIDE, window
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop]

SIZES = pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])


@SIZES
def test_a_template_of_ones_own(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """TPL-3: an error is shown beside its line; a correct text is saved, used in a policy and deleted."""
    name = f"mine {size[0]}"
    with window(browser, server, size) as one:
        one.sign_in("alice", "password of alice")
        one.open("/templates")
        one.check()
        one.page.get_by_role("link", name="New certificate template").first.click()
        one.page.get_by_label("Name").fill(name)
        one.page.get_by_label("Profile type").fill("TLS client")
        content = one.page.get_by_label("Content")
        content.fill("[ v3_ext ]\nextendedKeyUsage = clientAut\n")
        one.page.get_by_role("button", name="Save").click()
        wrong = one.page.locator("#wrong-line")
        expect(wrong).to_contain_text('unknown purpose "clientAut", did you mean "clientAuth"?')
        expect(wrong.locator("th")).to_have_text("2")
        one.check()
        content.fill("[ v3_ext ]\nextendedKeyUsage = clientAuth\n")
        one.page.get_by_role("button", name="Check").click()
        expect(one.page.get_by_role("status")).to_contain_text("Valid configuration")
        one.page.get_by_role("button", name="Save").click()
        expect(one.page.get_by_role("status")).to_have_text("The certificate template was saved.")
        expect(one.page.locator("pre")).to_contain_text("extendedKeyUsage = clientAuth")
        one.check()
        one.page.get_by_role("link", name="Use in a policy").click()
        one.page.locator("#name").fill(f"policy {size[0]}")
        one.check()
        # Enter makes the policy; it does not press the button that loads a template.
        one.page.locator("#days").press("Enter")
        expect(one.page.get_by_role("status")).to_have_text(f"The policy policy {size[0]} was created.")
        one.check()
        one.open("/policies")
        one.check()
        one.page.get_by_role("link", name=f"Delete policy {size[0]}").click()
        one.page.locator("dialog #confirm").fill("delete")
        one.page.locator("dialog button.danger").click()
        expect(one.page.get_by_role("status").first).to_have_text("The policy was deleted.")
        one.open("/templates?q=mine")
        one.page.get_by_role("link", name=f"Delete {name}").click()
        button = one.page.locator("dialog button.danger")
        expect(button).to_be_disabled()
        one.page.locator("dialog #confirm").fill("delete")
        button.click()
        expect(one.page.get_by_role("status").first).to_have_text("The certificate template was deleted.")
        expect(one.page.get_by_role("link", name=f"View {name}")).to_have_count(0)


@SIZES
def test_render_a_file(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """TPL-4: an admin fills in a file's variables, looks at the result, and has a certificate template."""
    with window(browser, server, size) as one:
        one.sign_in("root", "password of root")
        one.open("/x509-templates")
        one.check()
        one.page.get_by_role("link", name="Use tls_server_request.cnf.j2").click()
        one.page.get_by_label("Common name").fill("shop.example.org")
        one.page.get_by_role("button", name="Preview").click()
        expect(one.page.locator("pre")).to_contain_text("CN = shop.example.org")
        one.check()
        one.page.get_by_label("Profile name").fill("Shop")
        one.page.get_by_role("button", name="Render").click()
        expect(one.page.get_by_role("status")).to_have_text("Rendered from tls_server_request.cnf.j2.")
        expect(one.page.locator("dl.facts")).to_contain_text("tls_server_request.cnf.j2")
        one.check()
        one.page.get_by_role("link", name="View all").click()
        expect(one.page.get_by_role("link", name="View Shop").first).to_be_visible()
        one.check()


@SIZES
def test_load_a_template_without_scripts(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """POL-1, POL-2: an admin edits the default policy with a template's text, also without JavaScript."""
    with window(browser, server, size, java_script_enabled=False) as one:
        one.sign_in("root", "password of root")
        one.open("/x509-templates/tls_client_extensions.cnf.j2")
        one.page.get_by_label("Profile name").fill(f"clients {size[0]}")
        one.page.get_by_role("button", name="Render").click()
        one.open("/policies/0/edit")
        one.page.get_by_label("Load from a certificate template").select_option(label=f"clients {size[0]} (TLS client)")
        one.page.get_by_role("button", name="Load").click()
        expect(one.page.get_by_label("Extension configuration")).to_have_value(re.compile("= clientAuth\n"))
        one.page.get_by_role("button", name="Save").click()
        expect(one.page.get_by_role("status")).to_have_text("The policy System was saved.")


@SIZES
def test_challenge_passwords(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """CHP-1: generated, copied by a click, listed, deleted."""
    with window(browser, server, size, permissions=["clipboard-read", "clipboard-write"]) as one:
        one.sign_in("alice", "password of alice")
        one.open("/challenge-passwords")
        one.check()
        one.page.get_by_role("link", name="Create challenge password").click()
        one.page.get_by_label("Label").fill("pump 1")
        one.page.get_by_label("Subject", exact=True).fill("CN=pump-001")
        one.page.get_by_label("Subject alternative names").fill("pump-001.example.com")
        one.check()
        one.page.get_by_role("button", name="Create challenge password").click()
        shown = one.page.locator(".secret code")
        text = shown.inner_text()
        assert re.fullmatch("[0-9A-F]{32}", text)
        shown.click()
        expect(one.page.locator(".told")).to_have_text("Copied")
        assert one.page.evaluate("navigator.clipboard.readText()") == text
        one.check()
        one.page.get_by_role("link", name="View all").click()
        expect(one.page.get_by_role("link", name=f"View {text[:8]}")).to_be_visible()
        one.page.evaluate("navigator.clipboard.writeText('')")
        one.page.get_by_role("button", name=f"Copy {text[:8]}").click()
        expect(one.page.get_by_role("button", name=f"Copy {text[:8]}")).to_have_text("Copied")
        assert one.page.evaluate("navigator.clipboard.readText()") == text
        one.check()
        one.page.get_by_role("link", name=f"Delete {text[:8]}").click()
        one.page.locator("dialog #confirm").fill("delete")
        one.page.locator("dialog button.danger").click()
        expect(one.page.get_by_role("status").first).to_have_text("The challenge password was deleted.")
        one.page.get_by_role("link", name="Delete all my expired").click()
        one.page.locator("dialog #confirm").fill("delete")
        one.page.locator("dialog button.danger").click()
        expect(one.page.get_by_role("status").first).to_have_text("0 expired challenge passwords were deleted.")
