"""The dashboard and the audit log in Chromium (UI-3, AUD-1, UI-4)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import get_args

import pytest
from playwright.sync_api import Browser, Route, expect

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from tests.support.browser import NARROW, WIDE, Theme, Window, window
from tests.support.deferreds import result_of
from tests.support.rest import csr_pem
from tests.support.server import Server, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.interop]


def issue(server: Server, name: str, common_name: str) -> str:
    """A certificate of somebody's, by the running server; its serial."""
    with server.application() as app:
        account = result_of(app.store.account_by_name(name))
        assert account is not None
        token = result_of(app.tokens.create(SYSTEM, account.id, common_name))[1]
    body = json.dumps({"csr": csr_pem(common_name)}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = server.ask("https", "/api/v1/certificates", "POST", body, headers)
    assert answer.status == 201
    serial: str = json.loads(answer.body)["serial"]
    return serial


def issued_to(server: Server, name: str) -> int:
    """How many certificates the store has for somebody."""
    with server.application() as app:
        account = result_of(app.store.account_by_name(name))
        assert account is not None
        query = ListQuery(limit=1000, owner_id=account.id)
        return len(result_of(app.store.certificates(query, app.authority.now())).items)


def valid(one: Window) -> int:
    """How many valid certificates the dashboard shows."""
    return int(one.page.locator(".tile.good strong").inner_text().replace(",", ""))


def test_it_lives(browser: Browser, server: Server) -> None:
    """UI-3: counts and events update by themselves after an issuance; other users' objects do not show."""
    # Without a certificate there are no charts.
    issue(server, "alice", "before.example.com")
    with window(browser, server) as alice, window(browser, server, NARROW, "dark") as bob:
        for one, name in ((alice, "alice"), (bob, "bob")):
            one.sign_in(name, f"password of {name}")
            expect(one.page.get_by_text("Live", exact=True)).to_be_visible()
        expect(alice.page.locator(".tile.good strong")).to_have_text(str(issued_to(server, "alice")))
        before, bobs = valid(alice), valid(bob)
        alice.page.locator("details.numbers summary").first.click()
        serial = issue(server, "alice", "live.example.com")
        expect(alice.page.locator(".tile.good strong")).to_have_text(str(before + 1))
        expect(alice.page.get_by_role("link", name=serial)).to_be_visible()
        # What was open stays open.
        expect(alice.page.locator("details.numbers").first).to_have_attribute("open", "")
        assert alice.page.locator("time[title]").count() > 0
        alice.check()
        assert valid(bob) == bobs
        told = bob.page.locator("main").inner_text()
        assert "alice" not in told
        assert serial not in told
        bob.check()


def test_count_that_was_late(browser: Browser, server: Server) -> None:
    """A count that ended between the page and its event stream shows without another event."""
    with window(browser, server) as one:
        one.sign_in("bob", "password of bob")

        def uncounted(route: Route) -> None:
            answer = route.fetch()
            body = re.sub(r'<ul class="tiles">.*?</ul>', "<p data-uncounted>Counting</p>", answer.text(), flags=re.S)
            route.fulfill(response=answer, body=body)

        one.page.route(one.address + "/", uncounted)
        one.open("/")
        expect(one.page.locator(".tile.good strong")).to_be_visible()
        expect(one.page.get_by_text("Counting", exact=True)).to_have_count(0)


def test_bars_by_touch_and_keys(browser: Browser, server: Server) -> None:
    """UI-4: the numbers of a mouse's tooltips show for fingers and keyboards, too, which open the same lists."""
    issue(server, "bob", "bars.example.com")
    with window(browser, server, NARROW, has_touch=True) as one:
        one.sign_in("bob", "password of bob")
        chart = one.page.locator("svg.chart").nth(1)
        bar = chart.locator("a rect").first
        bar.tap()
        number = chart.locator("xpath=following-sibling::p[@data-bar]")
        expect(number).to_have_text(bar.locator("title").text_content() or "")
        expect(one.page).to_have_url(re.compile("/$"))
        one.check()
        bar.tap()
        expect(one.page).to_have_url(re.compile("/certificates"))
        one.open("/")
        chart.focus()
        one.page.keyboard.press("End")
        expect(number).to_be_visible()
        last = number.inner_text()
        one.page.keyboard.press("Home")
        assert last == chart.locator("rect title").last.text_content()
        expect(number).to_have_text(chart.locator("rect title").first.text_content() or "")
        one.page.keyboard.press("Enter")
        expect(one.page).to_have_url(re.compile("/certificates"))


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("theme", get_args(Theme))
def test_pages(browser: Browser, server: Server, size: tuple[int, int], theme: Theme) -> None:
    """The dashboard of an admin and the pages of the audit log."""
    issue(server, "alice", f"{theme}{size[0]}.example.com")
    with window(browser, server, size, theme) as one:
        one.sign_in("root", "password of root")
        expect(one.page.get_by_role("heading", name="Dashboard")).to_be_visible()
        one.check()
        for path in ("/users/events", "/events"):
            one.open(path)
            one.check()
        one.page.get_by_role("combobox", name="Resource").select_option("certificate")
        expect(one.page).to_have_url(re.compile("resource_type=certificate"))
        one.page.get_by_role("link", name=re.compile("^View event")).first.click()
        expect(one.page.get_by_role("heading", name=re.compile("^Event "))).to_be_visible()
        one.check()
        one.open("/events")
        one.page.get_by_role("button", name="Verify audit log").click()
        expect(one.page.get_by_text("none changed or removed")).to_be_visible()
        one.check()


def test_without_scripts(browser: Browser, server: Server) -> None:
    """UI-4: the dashboard is whole without a script, and right again when it is loaded again."""
    with window(browser, server, java_script_enabled=False) as one:
        one.sign_in("alice", "password of alice")

        def again(condition: Callable[[], bool]) -> bool:
            one.open("/")
            return condition()

        # Without a certificate there is no chart of keys; the first count is made in the background.
        issue(server, "alice", "first.example.com")
        wait_until(lambda: again(lambda: one.page.locator("svg.chart").count() == 3), "all is counted")
        wait_until(lambda: again(lambda: valid(one) == issued_to(server, "alice")), "the first certificate is counted")
        expect(one.page.get_by_text("Live", exact=True)).to_be_hidden()
        issue(server, "alice", "plain.example.com")
        wait_until(lambda: again(lambda: valid(one) == issued_to(server, "alice")), "the new certificate is counted")
