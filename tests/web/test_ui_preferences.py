"""Saved filters and chosen columns of lists (UI-2)."""

from __future__ import annotations

import re

import pytest

from pikachu.core.model.list_queries import ListQuery
from tests.support.deferreds import result_of
from tests.support.visitor import Pages, Visitor, text_of


def headings(page: str) -> list[str]:
    """Return the headings of the list."""
    return [re.sub(r"<[^>]*>|[ ▲▼]", "", one) for one in re.findall(r'<th scope="col" class="c-.*?</th>', page)]


def chips(page: str) -> dict[str, str]:
    """Return the saved filters above a list, with their addresses."""
    found = re.findall(r'<a class="chip" href="([^"]*)"[^>]*>([^<]*)</a>', page)
    return {name: address.replace("&amp;", "&") for address, name in found}


def save(visitor: Visitor, name: str, query: str = "q=pump&limit=10", list_name: str = "certificates") -> str:
    """Save a filter of a list and return the page that follows."""
    fields = {"name": name, "query": query, "path": f"/{list_name}"}
    return visitor.follow(visitor.post(f"/views/{list_name}/filters", fields))


def events(pages: Pages) -> list[tuple[str, str]]:
    """Return type and name of the events about choices, oldest first."""
    query = ListQuery(limit=100, sort="id", filters={"resource_type": "preferences"})
    return [(one.event.type, one.event.resource_name) for one in result_of(pages.stack.app.store.events(query)).items]


def test_a_saved_filter(pages: Pages) -> None:
    """A filter is saved with its order under a name, and is a link above the list of that account only."""
    pages.stack.issue("pump-1.example.com", owner_id=pages.accounts["alice"].id)
    alice = pages.visitor("alice")
    page = alice.get("/certificates?q=pump&sort=not_after&limit=10&cursor=broken&at=11")
    query = re.findall(r'name="query" value="([^"]+)"', page)[0].replace("&amp;", "&")
    page = save(alice, " My  pumps ", query + "&cursor=x&at=3&format=csv")
    assert "Filter “My pumps” saved." in text_of(page)
    assert "pump-1.example.com" in page
    address = chips(page)["My pumps"]
    assert 'aria-current="true">My pumps' in page
    assert set(address.partition("?")[2].split("&")) == {"q=pump", "sort=not_after", "limit=10"}
    assert "My pumps" in alice.get("/certificates")
    assert chips(alice.get("/keys")) == {}
    assert chips(pages.visitor("bob").get("/certificates")) == {}
    # Without a filter there is nothing to save.
    assert "Save filter" not in alice.get("/certificates")
    assert events(pages) == [("create", "certificates")]


def test_rename_and_delete(pages: Pages) -> None:
    """Filters are renamed and deleted on a page of their own; errors keep the page."""
    alice = pages.visitor("alice")
    save(alice, "one")
    save(alice, "two")
    page = alice.get("/views/certificates/filters?path=/certificates")
    ids = re.findall(r"/filters/(\d+)/rename", page)
    assert len(ids) == 2
    renamed = alice.post(f"/views/certificates/filters/{ids[0]}/rename", {"name": "three", "path": "/certificates"})
    assert "Filter renamed." in alice.follow(renamed)
    assert set(chips(alice.get("/certificates"))) == {"three", "two"}
    for name, status in (("two", 409), ("", 400), ("x" * 61, 400)):
        fields = {"name": name, "path": "/certificates"}
        response = alice.post(f"/views/certificates/filters/{ids[0]}/rename", fields)
        assert response.status == status
        assert "Saved filters" in response.body.decode()
    bob = pages.visitor("bob")
    for action in ("rename", "delete"):
        for path in (f"/views/certificates/filters/{ids[0]}/{action}", f"/views/certificates/filters/999/{action}"):
            assert bob.post(path, {"name": "stolen"}).status == 404
        # Another list's filters are not found through this one.
        assert alice.post(f"/views/keys/filters/{ids[0]}/{action}", {"name": "x"}).status == 404
    alice.post(f"/views/certificates/filters/{ids[1]}/delete", {"path": "/certificates"})
    assert set(chips(alice.get("/certificates"))) == {"three"}
    assert [kind for kind, _ in events(pages)] == ["create", "create", "update", "delete"]


@pytest.mark.parametrize(
    ("name", "query", "status"),
    [("", "q=x", 400), ("x" * 61, "q=x", 400), ("x", "q=" + "y" * 2000, 400), ("x", "&".join(["a=1"] * 99), 400)],
)
def test_what_can_not_be_saved(pages: Pages, name: str, query: str, status: int) -> None:
    """Names and queries are bounded."""
    response = pages.visitor("alice").post(
        "/views/certificates/filters", {"name": name, "query": query, "path": "/certificates"}
    )
    assert response.status == status
    assert events(pages) == []


def test_no_other_site(pages: Pages) -> None:
    """UI-5: the way back leads to a page of this server only."""
    alice = pages.visitor("alice")
    fields = {"name": "x", "query": "q=x", "path": "//evil.example.org/", "back": "//evil.example.org/"}
    for path in ("/views/certificates/filters", "/views/certificates/columns"):
        assert "evil" not in alice.post(path, fields).headers["Location"]
    assert 'href="//evil' not in alice.get("/views/certificates/filters?path=//evil.example.org/")
    assert alice.post("/views/No%20List/columns", fields).status == 404


def test_columns(pages: Pages) -> None:
    """Columns are hidden and shown per account and list, also those that only the CSV had."""
    pages.stack.issue("pump-1.example.com", owner_id=pages.accounts["alice"].id)
    alice = pages.visitor("alice")
    usual = headings(alice.get("/certificates"))
    assert "Key" in usual
    assert "Policy" not in usual
    shown = alice.get("/certificates")
    names = re.findall(r'name="usual" value="([^"]+)"', shown)
    # The name of a row and its actions can't be hidden.
    assert "name" not in names
    assert "actions" not in names
    body = [("shown", one) for one in [*names, "policy"] if one != "key"] + [("usual", one) for one in names]
    back = alice.post_pairs("/views/certificates/columns", [*body, ("back", "/certificates?status=valid")])
    assert back.headers["Location"] == "/certificates?status=valid"
    page = alice.get("/certificates")
    assert set(headings(page)) ^ set(usual) == {"Key", "Policy"}
    assert 'data-label="Policy"' in page
    assert 'data-label="Key"' not in page
    # The CSV has all columns, and others have theirs.
    assert ",Key," in alice.get("/certificates?format=csv")
    assert "Policy" not in headings(pages.visitor("bob").get("/certificates"))
    alice.post("/views/certificates/columns", {"action": "reset", "back": "/certificates"})
    assert headings(alice.get("/certificates")) == usual
    assert events(pages) == [("update", "certificates")] * 2
    too_many = [("shown", f"column{number}") for number in range(99)]
    assert alice.post_pairs("/views/certificates/columns", too_many).status == 400


def test_display(pages: Pages) -> None:
    """Each account chooses how times are shown, and whether there are shortcuts."""
    alice = pages.visitor("alice")
    assert 'data-times="local"' not in alice.get("/keys")
    assert "Display settings saved." in alice.follow(alice.post("/account/display", {"times": "local"}))
    assert 'data-times="local"' in alice.get("/keys")
    assert '<option value="local" selected>' in alice.get("/account")
    assert 'data-times="local"' not in pages.visitor("bob").get("/keys")
    assert 'data-shortcuts="off"' not in alice.get("/keys")
    assert alice.post("/account/display", {"times": "moon"}).status == 400
    alice.post("/account/display", {"times": "utc", "shortcuts": "off"})
    assert 'data-shortcuts="off"' in alice.get("/keys")
    assert 'data-times="local"' not in alice.get("/keys")
    assert events(pages) == [("update", "times"), ("update", "times"), ("update", "shortcuts")]
