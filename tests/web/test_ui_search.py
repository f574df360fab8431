"""The search over objects, pages, actions and the guide (UI-1, UI-2)."""

from __future__ import annotations

import html
import re

import pytest

from tests.support.visitor import Pages, text_of


def hits(page: str) -> dict[str, list[str]]:
    """Return the paths of the results, by group."""
    groups = re.findall(r'role="presentation">([^<]+)</p>(.*?)</div>', page, re.S)
    return {name: [html.unescape(one) for one in re.findall(r'href="([^"]+)"', body)] for name, body in groups}


def test_results(pages: Pages) -> None:
    """Each kind has its group; only administrators find users and pages of theirs."""
    mine = pages.stack.issue("pump-7.example.com", owner_id=pages.accounts["alice"].id).record.id
    theirs = pages.stack.issue("pump-8.example.com", owner_id=pages.accounts["bob"].id).record.id
    alice, root = pages.visitor("alice"), pages.visitor("root")
    assert hits(alice.get("/search/results?q=pump"))["Certificates"] == [f"/certificates/{mine}"]
    assert hits(root.get("/search/results?q=pump"))["Certificates"] == [
        f"/certificates/{theirs}",
        f"/certificates/{mine}",
    ]
    # Each name is a device too, whose owner alone finds it.
    assert len(hits(alice.get("/search/results?q=pump"))["Devices"]) == 1
    assert len(hits(root.get("/search/results?q=pump"))["Devices"]) == 2
    assert hits(root.get("/search/results?q=alic"))["Users"] == [f"/users/{pages.accounts['alice'].id}"]
    assert "Users" not in hits(alice.get("/search/results?q=alic"))
    assert hits(alice.get("/search/results?q=user")).get("Pages") is None
    assert hits(root.get("/search/results?q=user"))["Pages"] == ["/users"]
    assert hits(root.get("/search/results?q=user"))["Actions"] == ["/users/new"]
    assert hits(alice.get("/search/results?q=NEW+cert"))["Actions"][0] == "/certificates/new"
    assert any(path.startswith("/help/scep") for path in hits(alice.get("/search/results?q=SCEP"))["Guide"])
    # Without a text it is the menu.
    assert set(hits(alice.get("/search/results"))) == {"Pages"}
    assert "/logs" not in hits(alice.get("/search/results"))["Pages"]


@pytest.mark.parametrize("text", ["%00", "%ff", "x" * 500, "%25_", "'%22%3Cscript%3E", "a", "%F0%9F%98%80"])
def test_any_text(pages: Pages, text: str) -> None:
    """Nothing that is typed is an error."""
    alice = pages.visitor("alice")
    assert "<script>" not in text_of(alice.get(f"/search?q={text}"))
    alice.get(f"/search/results?q={text}")


def test_the_page(pages: Pages) -> None:
    """Without a script the same is a page, which also lists the shortcuts of the visitor's own menu."""
    pages.stack.issue("pump-7.example.com", owner_id=pages.accounts["alice"].id)
    alice = pages.visitor("alice")
    page = alice.get("/search?q=pump")
    assert "pump-7.example.com" in text_of(page)
    assert 'href="/certificates?q=pump"' in page
    assert "Nothing matches “zzzz”" in text_of(alice.get("/search?q=zzzz"))
    for visitor, there in ((alice, False), (pages.visitor("root"), True)):
        page = visitor.get("/search")
        assert ("<kbd>g</kbd> <kbd>u</kbd>" in page) is there
        assert ('data-key="u"' in page) is there
        assert "<kbd>g</kbd> <kbd>c</kbd>" in page
        assert 'href="/search" data-palette' in page


def test_it_is_no_activity(pages: Pages) -> None:
    """USR-3: what a script looks up while somebody types does not count, but opening a page does."""
    anonymous = pages.visitor()
    assert anonymous.request("GET", "/search/results?q=x").status == 302
    assert anonymous.request("GET", "/search").status == 302
