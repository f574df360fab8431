"""REST: lists (API-2, INT-2): pages by cursor, filters, order, search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pikachu.core.model.certificates import RevocationReason
from tests.support.rest import REST


def pages(rest: REST, path: str, who: str = "alice") -> Iterator[list[dict[str, Any]]]:
    """All pages of a list."""
    cursor = ""
    while True:
        page = rest.good("GET", f"{path}{cursor and '&cursor=' + cursor}", who=who)
        yield page["items"]
        if page["next_cursor"] is None:
            return
        cursor = page["next_cursor"]


def ids(items: list[dict[str, Any]]) -> list[int]:
    return [one["id"] for one in items]


@pytest.fixture
def ten(rest: REST) -> REST:
    """Ten certificates of alice's, of which 3 are revoked and 2 have expired."""
    owner = rest.accounts["alice"].id
    for number in range(10):
        days = 1 if number in (4, 5) else 30
        leaf = rest.stack.issue(f"device{number}.example.com", days=days, owner_id=owner)
        if number < 3:
            rest.stack.revoke(leaf, RevocationReason.SUPERSEDED)
    rest.clock.advance(2 * 86400)
    return rest


def test_pages(ten: REST) -> None:
    """Pages hold each certificate once, newest first, and the last has no cursor."""
    found = list(pages(ten, "/certificates?limit=3"))
    assert [len(one) for one in found] == [3, 3, 3, 1]
    together = [one for page in found for one in page]
    assert ids(together) == sorted(ids(together), reverse=True)
    assert len(set(ids(together))) == 10
    assert "pem" not in together[0]


def test_pages_stay_right(ten: REST) -> None:
    """A cursor goes on where its page ended, whatever comes and goes meanwhile."""
    first = ten.good("GET", "/certificates?limit=4", who="alice")
    ten.stack.issue("late.example.com", owner_id=ten.accounts["alice"].id)
    last = first["items"][-1]["id"]
    ten.good("DELETE", f"/certificates/{last}", who="alice", status=204)
    second = ten.good("GET", f"/certificates?limit=1000&cursor={first['next_cursor']}", who="alice")
    assert ids(second["items"]) == list(range(last - 1, last - 7, -1))


def test_filters(ten: REST) -> None:
    """INT-2: status, method, issuer and free text."""

    def count(query: str) -> int:
        return len(ten.good("GET", f"/certificates?{query}", who="alice")["items"])

    assert count("status=revoked") == 3
    assert count("status=expired") == 2
    assert count("status=valid") == 5
    assert (count("method=EST"), count("method=API"), count("issuer=ec")) == (10, 0, 10)
    assert (count("key=EC"), count("key=RSA"), count("policy=none")) == (10, 0, 0)
    assert (count("status=on_hold"), count("expires=5000w"), count("issued=3d")) == (0, 8, 10)
    ten.bad(403, "GET", "/certificates?owner=alice", who="alice")
    assert len(ten.good("GET", "/certificates?owner=alice", who="root")["items"]) == 10
    assert (count("q=device7"), count("q=example.com"), count("q=DEVICE7"), count("q=nothing")) == (1, 10, 1, 0)
    assert count("q=example&status=revoked&limit=2") == 2
    assert count("status=&q=&method=") == 10
    serial = ten.good("GET", "/certificates?limit=1", who="alice")["items"][0]["serial"]
    assert count(f"q={serial}") == 1


@pytest.mark.parametrize("sort", ["id", "-id", "common_name", "-common_name", "serial", "-not_after", "created_at"])
def test_sorts(ten: REST, sort: str) -> None:
    """Any of these orders, paged."""
    items = [one for page in pages(ten, f"/certificates?limit=4&sort={sort}") for one in page]
    name = sort.removeprefix("-")
    values = [one[name] for one in items]
    assert len(items) == 10
    assert values == sorted(values, reverse=sort.startswith("-"))


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=99999999999999999999",
        "limit=%EF%BC%91",
        "cursor=x",
        "cursor=e30",
        "cursor=%00",
        "cursor=WyItaWQiLDEsMSwwXQ&sort=id",
        "sort=password",
        "sort=-",
        "sort=--id",
        "status=good",
        "method=est",
        "issuer=none",
        "owner=none",
        "key=DSA",
        "key_sha256=00",
        "expires=30",
        "expires_to=tomorrow",
        "colour=red",
        "limit=1&limit=2",
        "q=" + "x" * 201,
        "q=%00",
        "q=%ff",
        "&".join(f"a{number}=1" for number in range(50)),
        "owner_id=x",
        "owner_id=",
    ],
)
def test_bad_queries(rest: REST, query: str) -> None:
    """API-2: an invalid query gives 400, quickly."""
    rest.bad(400, "GET", f"/certificates?{query}", who="root")


def test_events(ten: REST) -> None:
    """AUD-1: events by type, resource and name; users see those about their own."""
    ten.good("POST", "/challenge-passwords", {}, who="bob", status=201)
    everything = ten.good("GET", "/events?limit=1000", who="root")["items"]
    assert {one["type"] for one in everything} >= {"create", "revoke", "add"}
    revoked = ten.good("GET", "/events?type=revoke&resource_type=certificate", who="root")["items"]
    assert [one["details"]["reason"] for one in revoked] == ["superseded"] * 3
    of_users = ten.good("GET", "/events?about_account=true", who="root")["items"]
    assert {one["resource_type"] for one in of_users} == {"user"}
    assert {one["owner"] for one in ten.good("GET", "/events?limit=1000", who="bob")["items"]} == {"bob"}
    ten.bad(400, "GET", "/events?about_account=maybe", who="root")
    ten.bad(400, "GET", "/events?type=bogus", who="root")
    ten.bad(400, "GET", "/events?resource_type=bogus", who="root")
    assert ten.good("GET", "/events?type=rotate", who="root")["items"] == []


@pytest.mark.parametrize("path", ["/sessions", "/account-certificates"])
def test_whose(rest: REST, path: str) -> None:
    """API-2: an id that is none, such as a script's unset variable, never stands for the caller's own account."""
    for value in ("", "x", "-1", "1.0", "%20"):
        rest.bad(400, "GET", f"{path}?user_id={value}", who="alice")


def test_an_order_has_a_name(rest: REST) -> None:
    """API-2: an empty one is none of those that the OpenAPI document names."""
    rest.bad(400, "GET", "/certificates?sort=", who="alice")
    rest.good("GET", "/certificates?status=", who="alice")
