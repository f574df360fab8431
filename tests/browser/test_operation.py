"""Config and Logs in a browser (CFG-11, UI-9)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from pikachu.core.model.people import SYSTEM, AccountState, Role
from tests.support.browser import NARROW, WIDE, Window, window
from tests.support.deferreds import result_of
from tests.support.server import Server, running_server

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a log file, and the admin root."""
    changes = {("LOGGING", "log_file"): "pikachu.log"}
    with running_server(tmp_path_factory.mktemp("server"), ("p256",), changes=changes) as running:
        with running.application() as app:
            adding = app.accounts.add_user(
                SYSTEM, "root", "root@example.com", Role.ADMIN, AccountState.ACTIVE, "password of root"
            )
            result_of(adding)
        yield running


def make_line(one: Window, name: str) -> None:
    """Request a missing page, so that the log gets a line."""
    assert one.context.request.get(f"{one.address}/{name}").status == 404


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_logs(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """Lines come by themselves, wait while paused, and are filtered by a keyword."""
    with window(browser, server, size) as one:
        one.sign_in("root", "password of root")
        one.confirm("password of root")
        one.open("/logs?every=1")
        log = one.page.get_by_label("Log", exact=True)
        make_line(one, f"the-first-of-{size[0]}")
        expect(log).to_contain_text(f"the-first-of-{size[0]}")
        one.check()
        follow = one.page.locator("[data-log-follow]")
        expect(follow).to_have_text("Following")
        one.page.get_by_role("button", name="Pause").click()
        expect(one.page.get_by_role("status")).to_have_text("Paused")
        make_line(one, f"the-second-of-{size[0]}")
        expect(follow).to_have_text("Paused")
        one.page.wait_for_timeout(1500)
        expect(log).not_to_contain_text(f"the-second-of-{size[0]}")
        one.page.get_by_role("button", name="Resume").click()
        expect(log).to_contain_text(f"the-second-of-{size[0]}")
        expect(follow).to_have_text("Following")
        one.page.select_option("#level", "CRITICAL")
        expect(log).to_contain_text("No lines match")
        one.page.select_option("#level", "")
        one.page.fill("#q", "FIRST-OF")
        one.page.get_by_role("button", name="Refresh now").click()
        expect(log).not_to_contain_text("the-second")
        expect(log).to_contain_text("the-first-of")
        one.page.get_by_role("link", name="Clear filter").click()
        expect(log).to_contain_text("the-second-of")
        expect(one.page.locator("#q")).to_have_value("")


def test_logs_without_scripts(browser: Browser, server: Server) -> None:
    """The form refreshes."""
    with window(browser, server, NARROW, java_script_enabled=False) as one:
        one.sign_in("root", "password of root")
        one.confirm("password of root")
        one.open("/logs")
        make_line(one, "for-those-without-scripts")
        one.page.get_by_role("button", name="Refresh now").click()
        expect(one.page.get_by_label("Log", exact=True)).to_contain_text("for-those-without-scripts")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_config(browser: Browser, server: Server, size: tuple[int, int]) -> None:
    """Values and where they come from."""
    with window(browser, server, size, "dark") as one:
        one.sign_in("root", "password of root")
        one.confirm("password of root")
        one.open("/config")
        one.check()
        row = one.page.get_by_role("row", name="log_file")
        expect(row).to_contain_text("pikachu.log")
        expect(row).to_contain_text("file")
        one.page.get_by_role("button", name="Read files again").click()
        expect(one.page.locator("main")).to_contain_text("were read again")
        assert "Reloaded" in server.log
        one.check()
