"""UI-4 and UI-5 on every page: axe, both themes, both widths, no complaint of the console, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import NARROW, WIDE, Theme, window
from tests.support.demo import PASSWORD
from tests.support.tour import Tour, tour

pytestmark = [pytest.mark.browser, pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    with tour(tmp_path_factory.mktemp("tour")) as found:
        yield found


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "light"), (NARROW, "dark")], ids=["wide light", "narrow dark"])
@pytest.mark.parametrize("name", ["administrator", "fleet_operator"])
def test_every_page(browser: Browser, everything: Tour, size: tuple[int, int], theme: Theme, name: str) -> None:
    """As an admin and as a user."""
    seen = []
    with window(browser, everything.server, size, theme) as one:
        one.sign_in(name, PASSWORD)
        one.confirm(PASSWORD)
        for route, path in everything.pages(one):
            one.open(path)
            one.check()
            seen.append(route)
    assert "/" in seen
