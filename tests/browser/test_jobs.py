"""An action on many rows, and dialogs of a list, with a browser (JOB-1, UI-4)."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.certificates import Method
from tests.support.browser import NARROW, WIDE, window
from tests.support.deferreds import result_of
from tests.support.pki import make_csr
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.interop]


def issue(server: Server, names: list[str]) -> None:
    """Issue certificates for alice."""
    with server.application() as app:
        account = result_of(app.store.account_by_name("alice"))
        assert account is not None
        for name in names:
            csr = make_csr("p256", name, [f"DNS:{name}"])[1]
            result_of(app.registration.sign(account_principal(account, "192.0.2.1"), csr, Method.API))


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_revoke_selected_rows(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """Rows are ticked, the number is typed, and the job's page shows the outcomes when it has ended, by itself."""
    name = f"bulk-{size[0]}"
    issue(server, [f"{name}-{number:02}.example.com" for number in range(12)])
    with window(browser, server, size) as one:
        one.sign_in("alice", "password of alice")
        one.open(f"/certificates?q={name}&limit=10")
        button, rows = one.page.get_by_role("button", name="Revoke…"), one.page.get_by_label("Apply to")
        button.click()
        # The browser says what is missing.
        assert one.page.url.endswith("limit=10")
        every = one.page.get_by_label("Select all rows on this page")
        every.check()
        expect(rows.locator("option").first).to_have_text("10 selected rows")
        one.page.get_by_label(f"Select {name}-11.example.com").uncheck()
        expect(rows.locator("option").first).to_have_text("9 selected rows")
        expect(every).not_to_be_checked()
        one.check()
        rows.select_option("all")
        button.click()
        expect(one.page.get_by_role("heading", level=1)).to_have_text("Revoke 12 certificates")
        one.page.get_by_label("Reason").select_option("superseded")
        submit = one.page.get_by_role("button", name="Revoke")
        expect(submit).to_be_disabled()
        one.page.get_by_label("Type 12").fill("12")
        one.check()
        submit.click()
        expect(one.page.locator(".facts .badge")).to_have_text("Completed")
        expect(one.page.locator("tbody .badge.good")).to_have_count(12)
        one.check()


def test_dialogs_of_a_list(browser: Browser, server: Server) -> None:
    """Cancel closes a dialog; after the action, the list has its filters and a notice."""
    issue(server, ["dialog-1.example.com", "dialog-2.example.com"])
    with window(browser, server, WIDE) as one:
        one.sign_in("alice", "password of alice")
        one.open("/certificates?q=dialog&limit=10&sort=not_after")
        before = one.page.url
        one.page.get_by_role("link", name="Revoke dialog-1.example.com").click()
        dialog = one.page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Close")).to_have_count(0)
        dialog.get_by_role("link", name="Cancel").click()
        expect(dialog).to_have_count(0)
        assert one.page.url == before
        one.page.get_by_role("link", name="Revoke dialog-1.example.com").click()
        dialog.get_by_label("Type revoke").fill("revoke")
        dialog.get_by_role("button", name="Revoke").click()
        expect(one.page.locator(".notice.good")).to_contain_text("dialog-1.example.com was revoked")
        assert one.page.url == before
        expect(one.page.locator("tbody tr")).to_have_count(2)
        expect(one.page.get_by_role("searchbox")).to_have_value("dialog")
