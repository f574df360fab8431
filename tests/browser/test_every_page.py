"""UI-4 and UI-5 on every page: axe, both themes, both widths, no complaint of the console, nothing from elsewhere."""

from __future__ import annotations

import itertools
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


#: On each push every page is seen by an admin in one look and by a user in the opposite one; the soak has them all.
_PUSHED = {("administrator", NARROW, "dark"), ("fleet_operator", WIDE, "light")}


@pytest.mark.parametrize(
    ("name", "size", "theme"),
    [
        pytest.param(*look, marks=() if look in _PUSHED else pytest.mark.soak)
        for look in itertools.product(("administrator", "fleet_operator"), (WIDE, NARROW), ("light", "dark"))
    ],
)
def test_every_page(browser: Browser, everything: Tour, name: str, size: tuple[int, int], theme: Theme) -> None:
    """Every page that the person may see, in that width and theme."""
    seen = []
    with window(browser, everything.server, size, theme) as one:
        one.sign_in(name, PASSWORD)
        one.open("/confirm")
        one.check()
        one.confirm(PASSWORD)
        for route, path in everything.pages(one):
            one.open(path)
            one.check()
            seen.append(route)
    assert "/" in seen
