"""Signing in with a client certificate, on the trusted port."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.bound import SERVERS_ONLY, Bound, bound_server
from tests.support.browser import NARROW, WIDE, Window, window
from tests.support.pki import Identity

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bound]:
    with bound_server(tmp_path_factory.mktemp("server")) as found:
        yield found


def certificates(bound: Bound, identity: Identity) -> list[dict[str, str]]:
    """Return Playwright's client certificate settings for the trusted port."""
    crt, key = identity.write(bound.server.folder, f"browser-{identity.certificate.serial_number:x}")
    origin = f"https://localhost:{bound.server.ports['trusted_https']}"
    return [{"origin": origin, "certPath": str(crt), "keyPath": str(key)}]


def go_to_trusted_port(bound: Bound, one: Window) -> None:
    one.address = f"https://localhost:{bound.server.ports['trusted_https']}"
    one.open("/login")


def use(one: Window) -> None:
    one.page.get_by_role("button", name="Sign in with this certificate").click()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_bind_and_sign_in(browser: Browser, bound: Bound, size: tuple[int, int]) -> None:
    """API-1: bound on the page Account, it signs in on the trusted port, until it is unbound."""
    alice, number = bound.issue("alice")
    with window(browser, bound.server, size, client_certificates=certificates(bound, alice)) as one:
        go_to_trusted_port(bound, one)
        one.check()
        use(one)
        expect(one.page.get_by_role("alert")).to_contain_text("signs in no account")
        one.sign_in("alice", "password of alice")
        one.confirm("password of alice")
        one.open("/account/certificates/new")
        one.page.select_option("#certificate", str(number))
        one.check()
        one.page.get_by_role("button", name="Bind").click()
        expect(one.page.get_by_role("status").first).to_contain_text("You can now sign in with this certificate")
        one.check()
        one.page.get_by_role("button", name="Sign out").click()
        use(one)
        expect(one.page).to_have_url(re.compile(r"/$"))
        one.open("/account")
        one.page.get_by_role("link", name="Unbind").last.click()
        one.page.get_by_role("dialog").get_by_role("button", name="Unbind").click()
        expect(one.page.get_by_role("status").first).to_contain_text("can no longer be used to sign in")
        one.page.get_by_role("button", name="Sign out").click()
        use(one)
        expect(one.page.get_by_role("alert")).to_contain_text("signs in no account")


def test_refusals(browser: Browser, bound: Bound) -> None:
    """Revoked, of a suspended account, not meant for clients."""
    revoked, number = bound.bind("alice")
    bound.good("POST", f"/certificates/{number}/revocation", {}, who="alice")
    bound.add("carol")
    suspended, _ = bound.bind("carol")
    bound.good("PATCH", f"/users/{bound.ids['carol']}", {"state": "suspended"}, who="root")
    bound.good("POST", "/policies", {"name": "servers", "validity_days": 9, "extensions": SERVERS_ONLY}, who="alice")
    server, _ = bound.issue("alice", "servers")
    bound.bind_anyway("alice", server)
    for identity, told in ((revoked, "revoked"), (suspended, "not active"), (server, "clientAuth")):
        with window(browser, bound.server, client_certificates=certificates(bound, identity)) as one:
            go_to_trusted_port(bound, one)
            use(one)
            expect(one.page.get_by_role("alert")).to_contain_text(told)
            one.check()
