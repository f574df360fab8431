"""Files of pages, and addresses beside them."""

from __future__ import annotations

import re

import pytest

from tests.support.visitor import Pages, text_of

HTML = {"Accept": "text/html"}


def test_files(pages: Pages) -> None:
    """A file of the current version may be kept for a year, any other address of it may not."""
    visitor = pages.visitor()
    page = visitor.get("/login")
    (path,) = re.findall(r'href="(/static/style\.css\?v=[0-9a-f]+)"', page)
    for address, kept in ((path, "public, max-age=31536000, immutable"), ("/static/style.css", "no-cache")):
        answer = visitor.request("GET", address)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, kept)
        assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert visitor.request("POST", path).status == 405


@pytest.mark.parametrize("name", ["", "nothing.css", "icon.svg/more", "../style.css", "%3Cscript%3E", "style.css%00"])
def test_unknown_address(pages: Pages, name: str) -> None:
    """A person gets a page with a way back, in the menu when signed in; a program one line."""
    path = f"/static/{name}"
    for visitor in (pages.visitor(), pages.visitor("alice")):
        answer = visitor.request("GET", path, headers=HTML)
        page = answer.body.decode()
        assert answer.status == 404
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert text_of(page).startswith("Not found ")
        assert "Check the address." in text_of(page)
        assert "Go to dashboard" in text_of(page)
        assert "<script>" not in page
    plain = pages.visitor().request("GET", path, headers={"Accept": "text/css"})
    assert (plain.status, plain.body) == (404, b"There is nothing at this address.\n")
