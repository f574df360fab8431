"""Lists on a phone and on a desk (UI-2, UI-4): cards, and headings that stay in sight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from pikachu.core.model.certificates import Method
from tests.support.browser import NARROW, WIDE, window
from tests.support.deferreds import result_of
from tests.support.demo import PASSWORD
from tests.support.pki import make_csr
from tests.support.tour import Tour, tour

pytestmark = [pytest.mark.browser, pytest.mark.interop]

LISTS = (
    "/certificates",
    "/keys",
    "/csrs",
    "/ra/approvals",
    "/policies",
    "/templates",
    "/challenge-passwords",
    "/users",
)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    with tour(tmp_path_factory.mktemp("lists")) as found:
        yield found


def box(one: Locator) -> Any:
    """Return the place of an element in the window."""
    place = one.bounding_box()
    assert place is not None
    return place


def test_cards(browser: Browser, used: Tour) -> None:
    """UI-4: on a phone a row shows its name, its state and its actions together, without scrolling sideways."""
    with window(browser, used.server, NARROW) as one:
        one.sign_in("administrator", PASSWORD)
        for path in LISTS:
            one.open(path)
            row = one.page.locator("table.cards tbody tr").first
            row.scroll_into_view_if_needed()
            title = box(row.locator("[data-part=title]"))
            for cell in row.locator("td").all():
                place = box(cell)
                assert place["x"] >= 0, path
                assert place["x"] + place["width"] <= NARROW[0], path
                assert place["y"] >= title["y"] - 8, path
            for status in row.locator("[data-part=status]").all():
                assert box(status)["y"] - title["y"] < 120, path
            actions = row.locator("[data-part=actions] :is(a, button):visible")
            for target in actions.all():
                assert min(box(target)["height"], box(target)["width"]) >= 24, path
        # The labels of the cells are those of the columns, which a card does not show.
        one.open("/certificates")
        first = one.page.locator("table.cards tbody tr").first
        label = "el => getComputedStyle(el, '::before').content"
        assert first.locator("td", has=one.page.locator("code.serial")).evaluate(label) == '"Serial"'
        # Without headings a phone sorts by a choice.
        one.page.get_by_label("Sort by").select_option("Common name, ascending")
        one.page.wait_for_url("**/certificates?*sort=common_name*")
        expect(one.page.get_by_label("Sort by")).to_have_value("common_name")
        one.check()


def test_headings_stay(browser: Browser, used: Tour) -> None:
    """The headings of a long list, and the menu, stay in sight while it scrolls."""
    with window(browser, used.server, WIDE) as one:
        one.sign_in("administrator", PASSWORD)
        one.open("/certificates?limit=50")
        expect(one.page.locator(".scroll.fits")).to_be_visible()
        expect(one.page.get_by_label("Sort by")).to_be_hidden()
        one.page.evaluate("scrollTo(0, 900)")
        expect(one.page.get_by_role("columnheader", name="Common name")).to_be_in_viewport()
        expect(one.page.get_by_role("link", name="Dashboard")).to_be_in_viewport()
        # The headings stand over the box of a row now and then.
        one.page.evaluate("scrollTo(0, 0)")
        one.check()
    with window(browser, used.server, NARROW) as one:
        one.sign_in("administrator", PASSWORD)
        one.open("/certificates?limit=50")
        one.page.evaluate("scrollTo(0, 3000)")
        expect(one.page.get_by_role("button", name="Menu")).to_be_in_viewport()


# The widest content of rows, whether anything stands outside of the frame, and the heights of rows in lines.
_MEASURE = """() => {
  const frame = document.querySelector(".scroll"), place = frame.getBoundingClientRect();
  const heights = [...frame.querySelectorAll("tbody tr")].map(row => row.getBoundingClientRect().height);
  const actions = [...frame.querySelectorAll("[data-part=actions] a")].map(one => one.getBoundingClientRect().right);
  return [frame.scrollWidth - frame.clientWidth, Math.max(...heights), Math.max(0, ...actions) - place.right];
}"""


def test_long_names_fit(browser: Browser, used: Tour) -> None:
    """UI-2: at 1280 pixels lists with names of 36 and 64 characters fit their frame, each row one line high."""
    with used.server.application() as app:
        admin = used.demo.principal(app, "administrator")
        for size in (36, 64):
            name = f"pump-{'x' * (size - 17)}.example.com"
            csr = make_csr("p256", name, [f"DNS:{name}"], slot=300 + size)[1]
            result_of(app.registration.sign(admin, csr, Method.UI, days=200))
            result_of(app.requests.store(admin, name, csr))
            result_of(app.keys.generate(admin, name, "prime256v1"))
    with window(browser, used.server, WIDE) as one:
        one.sign_in("administrator", PASSWORD)
        for path in ("/certificates", "/csrs", "/keys", "/devices", "/events", "/users"):
            one.open(path)
            over, height, cut = one.page.evaluate(_MEASURE)
            assert over <= 0, (path, over)
            assert height < 40, (path, height)
            assert cut <= 0, (path, cut)
        one.open("/certificates")
        expect(one.page.get_by_title(f"pump-{'x' * 47}.example.com").first).to_be_visible()
        expect(one.page.get_by_role("button", name="Revoke…")).to_have_class("danger")
        expect(one.page.get_by_role("button", name="Delete…")).to_have_class("plain")
        one.check()


def test_without_scripts(browser: Browser, used: Tour) -> None:
    """UI-4: the cards and the choice of the order are plain HTML."""
    with window(browser, used.server, NARROW, java_script_enabled=False) as one:
        one.sign_in("administrator", PASSWORD)
        one.open("/keys")
        one.page.get_by_label("Sort by").select_option("Name, descending")
        one.page.get_by_role("button", name="Filter").click()
        names = one.page.locator("[data-part=title] a").all_inner_texts()
        assert names == sorted(names, reverse=True)
        one.open("/keys?sort=&limit=25&q=")
        expect(one.page.locator("table.cards")).to_be_visible()
