"""The dashboard and its events (UI-3)."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.people import SYSTEM, AccountState, Role
from pikachu.web.ui.dashboard import MAX_STREAMS, SESSION_CHECK_INTERVAL_SECONDS
from tests.support.connections import Plain
from tests.support.deferreds import result_of
from tests.support.ra import stored_request, waiting_request
from tests.support.visitor import Pages, text_of


def issue(pages: Pages, owner: str, name: str = "device.example.com", **more: Any) -> Any:
    """A certificate of somebody's."""
    return pages.stack.issue(name, owner_id=pages.accounts[owner].id, **more)


def events_of(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The server-sent events in what came."""
    text = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", data).decode()
    return [(name, json.loads(value)) for name, value in re.findall(r"event: (\w+)\ndata: (.*)\n\n", text)]


def told(pages: Pages, connection: Plain, seconds: float = 1.5) -> list[tuple[str, dict[str, Any]]]:
    """Return the events a listener receives within so many seconds."""
    for _ in range(int(seconds / 0.25)):
        pages.clock.advance(0.25)
    return events_of(connection.received())


def test_each_sees_their_own(pages: Pages) -> None:
    """A user's figures are about their own certificates, an admin's about all."""
    issue(pages, "alice", days=5)
    pages.stack.revoke(issue(pages, "alice", "two.example.com"), RevocationReason.SUPERSEDED)
    issue(pages, "bob", "three.example.com")
    mine = text_of(pages.visitor("alice").get("/"))
    assert "Your certificates, as of" in mine
    assert (
        "1 valid 1 revoked 0 expired 1 expire within 30 days 0 of my requests await approval 0 of my CSRs await signing"
        in mine
    )
    assert "accounts awaiting approval" not in mine
    pages.clock.advance(1)
    every = text_of(pages.visitor("root").get("/"))
    assert "All certificates, as of" in every
    # Without the certificates of two OCSP responders.
    assert (
        "2 valid 1 revoked 0 expired 2 expire within 30 days 0 pending approvals 0 CSRs to sign "
        "0 accounts awaiting approval" in every
    )


def test_two_kinds_of_waiting(pages: Pages) -> None:
    """Approvals and CSRs to sign are counted apart, and each count leads to a list of that many rows."""
    waiting_request(pages)
    for number in range(3):
        stored_request(pages, common_name=f"kept{number}.example.com")
    rejected = stored_request(pages, common_name="rejected.example.com")
    root = account_principal(pages.accounts["root"], "192.0.2.3")
    result_of(pages.stack.app.registration.reject_csr(root, rejected.id, "no"))
    stored_request(pages, "bob")
    for name, said in (
        ("root", {"/ra/approvals?state=pending": "1 pending approval", "/csrs?state=pending": "4 CSRs to sign"}),
        (
            "alice",
            {
                "/ra/approvals?state=pending": "1 of my requests await approval",
                "/csrs?state=pending": "3 of my CSRs await signing",
            },
        ),
    ):
        visitor = pages.visitor(name)
        page = visitor.get("/")
        for path, text in said.items():
            [tile] = re.findall(rf'<a class="tile warn" href="{re.escape(path)}">(.*?)</a>', page)
            assert re.sub(r"<.*?>", "", tile) == text
            rows = set(re.findall(rf'href="{path.partition("?")[0]}/\d+"', visitor.get(path)))
            assert len(rows) == int(text.split()[0]), path


def test_a_setting_that_is_missing(pages: Pages) -> None:
    """Administrators are warned that the certificates they issue name no address for their status."""
    (advice,) = pages.stack.app.config.advice
    assert advice.startswith("[CA] public_url is not set: ")
    for path in ("/", "/ra", "/certificates"):
        assert advice in text_of(pages.visitor("root").get(path)), path
        assert "public_url" not in text_of(pages.visitor("alice").get(path)), path
    assert "public_url" not in text_of(pages.visitor("root").get("/keys"))


def test_events_and_health(pages: Pages) -> None:
    """Recent events that the visitor may see; the state of all that the server needs; when the CAs end."""
    issue(pages, "alice", "one.example.com")
    issue(pages, "bob", "two.example.com")
    alice = text_of(pages.visitor("alice").get("/"))
    for text in ("Database OK", "Database writes OK", "Signer OK", "Free space OK", "OCSP ec OK"):
        assert text in alice
    # What is turned off is left out.
    assert "Vault" not in alice
    # Nobody has published here.
    assert "CRL ec Unavailable The CA ec has published no CRL yet." in alice
    assert "CA “ec” expires" in alice
    assert alice.count(" create certificate ") == 1
    root = text_of(pages.visitor("root").get("/"))
    assert root.count(" create certificate ") >= 2


def test_without_certificates(pages: Pages) -> None:
    """An empty dashboard says what to do."""
    page = pages.visitor("alice").get("/")
    assert "There are no certificates yet" in page
    assert 'href="/certificates/new"' in page


def test_charts_can_be_read(pages: Pages) -> None:
    """Each chart has a title, a description and a table, and no style of its own."""
    issue(pages, "alice")
    page = pages.visitor("alice").get("/")
    assert page.count('<svg class="chart"') == 3
    assert page.count('<details class="numbers">') == 3
    names = re.findall('role="region" aria-label="(.+?)"', page)
    assert len(set(names)) == len(names) == 4
    assert "style=" not in page
    for name in ("ending", "issued", "keys"):
        assert f'aria-labelledby="{name}-title {name}-desc"' in page
        assert f'<title id="{name}-title">' in page
    assert '<th scope="row">EC/prime256v1</th><td><a href="/certificates?key=EC%2Fprime256v1">1</a></td>' in page


def test_numbers_lead_to_what_they_count(pages: Pages) -> None:
    """UI-3: each tile and each bar is a link to a list of exactly as many objects."""
    for index, days in enumerate((3, 5, 20, 45, 80, 85, 200)):
        issue(pages, "alice", f"device-{index}.example.com", days=days)
    pages.stack.revoke(issue(pages, "alice", "held.example.com"), RevocationReason.CERTIFICATE_HOLD)
    pages.stack.revoke(issue(pages, "bob", "revoked.example.com"), RevocationReason.SUPERSEDED)
    issue(pages, "bob", "bob.example.com", days=3)
    pages.clock.advance(2 * 86400)
    root = pages.visitor("root")
    gone = issue(pages, "alice", "deleted.example.com")
    root.post(f"/certificates/{gone.record.id}/delete", {"confirm": "delete", "revoke": "superseded"})
    pages.clock.advance(86400 + 3600)
    for visitor in (pages.visitor("root"), pages.visitor("alice")):
        page = visitor.get("/")
        tiles = re.findall(r'<a class="tile[^"]*" href="([^"]+)"><strong>([\d,]+)</strong>', page)
        within = re.findall(r'<a href="(/certificates[^"]+)">(\d+)</a>', page)
        assert len(tiles) >= 5
        assert len(within) > 8
        for link, number in [*tiles, *within]:
            shown = text_of(visitor.get(html.unescape(link)))
            found = re.search(r"Showing \S+ of (\d+)", shown)
            assert (found[1] if found else "0") == number, link
        calendar = visitor.get("/expiry")
        by_day = re.findall(r'<td class="level-[1-3]">.*?<a href="([^"]+)"[^>]*>(\d+)<', calendar)
        by_week = re.findall(r'<a href="([^"]+)"><strong>(\d+)</strong>', calendar)
        assert 0 < len(by_week) <= len(by_day)
        assert sum(int(number) for _, number in by_day) == sum(int(number) for _, number in by_week)
        for link, number in [*by_day, *by_week]:
            assert re.search(rf"Showing \S+ of {number}\b", text_of(visitor.get(html.unescape(link)))), link
        # The bars have the same links as their numbers.
        assert {link for link, _ in within} >= set(re.findall(r'<a href="([^"]+)" tabindex="-1"><rect', page))


def test_a_listener_is_told(pages: Pages) -> None:
    """A listener receives its own events at once, with counts, and nothing about other users' objects."""
    alice, bob, root = (pages.visitor(name) for name in ("alice", "bob", "root"))
    issue(pages, "alice", "before.example.com")
    listening = {one: visitor.listen("/live") for one, visitor in (("alice", alice), ("bob", bob), ("root", root))}
    pages.clock.advance(2)
    greetings = {one: events_of(connection.received()) for one, connection in listening.items()}
    assert [name for name, _ in greetings["alice"]] == ["hello"]
    assert greetings["root"][0][1]["newest"] == result_of(pages.stack.app.store.newest_event())
    issue(pages, "alice", "new.example.com")
    news = told(pages, listening["alice"])
    assert [name for name, _ in news] == ["changed"]
    (event,) = news[0][1]["events"]
    assert (event["type"], event["resource_type"]) == ("create", "certificate")
    assert news[0][1]["certificates"]["valid"] == 2
    assert [name for name, _ in events_of(listening["root"].received())] == ["changed"]
    assert events_of(listening["bob"].received()) == []
    panels = text_of("<main>" + alice.get("/live/panels"))
    assert panels.startswith("2 valid")


def test_a_listener_ends_with_the_session(pages: Pages) -> None:
    """USR-4: a log-out, a suspension or another role ends the stream at once; so does idling."""
    alice = pages.visitor("alice")
    connection = alice.listen("/live")
    pages.clock.advance(1)
    connection.received()
    alice.post("/logout")
    assert [name for name, _ in told(pages, connection)][-1] == "end"
    alice.sign_in("alice")
    connection = alice.listen("/live")
    told(pages, connection)
    result_of(pages.stack.app.accounts.suspend(SYSTEM, pages.accounts["alice"].id))
    assert [name for name, _ in told(pages, connection)] == ["end"]
    bob = pages.visitor("bob")
    connection = bob.listen("/live")
    told(pages, connection)
    result_of(pages.stack.app.accounts.update(SYSTEM, pages.accounts["bob"].id, role=Role.ADMIN))
    assert [name for name, _ in told(pages, connection)] == ["end"]


def test_watching_is_not_being_there(pages: Pages) -> None:
    """USR-3: a page that keeps itself up to date does not keep its session from ending."""
    bob = pages.visitor("bob")
    connection = bob.listen("/live")
    maximum = pages.stack.app.sessions.maximum_idle.total_seconds()
    for _ in range(int(maximum // 60)):
        pages.clock.advance(60)
        connection.received()
        assert bob.request("GET", "/live/panels").status == 200
    for _ in range(6):
        pages.clock.advance(SESSION_CHECK_INTERVAL_SECONDS)
    assert [name for name, _ in events_of(connection.received())] == ["end"]
    assert bob.request("GET", "/live/panels").status == 302


def test_few_streams_for_an_account(pages: Pages) -> None:
    """An account's streams are bounded, also across sign-ins; an ended stream frees its place."""
    alice, again = pages.visitor("alice"), pages.visitor("alice")
    connections = [visitor.listen("/live") for visitor in (alice, again) for _ in range(MAX_STREAMS // 2)]
    assert all(b"200 OK" in connection.received() for connection in connections)
    for visitor in (alice, again, pages.visitor("alice")):
        assert b" 503 " in visitor.listen("/live").received().partition(b"\r\n")[0]
    assert b"200 OK" in pages.visitor("bob").listen("/live").received()
    hang_up: Any = connections[0].transport
    hang_up.loseConnection()
    assert b"200 OK" in alice.listen("/live").received()


def test_page_paths(pages: Pages) -> None:
    """INT-4: every page is where others rely on it."""
    paths = {one.path for one in pages.resource.pages if one.method == "GET"}
    named = (
        "/ /login /register /logout /account /certificates /ra /csrs /keys /generate /policies /challenge-passwords "
        "/templates /x509-templates /va /ca /events /users /users/events /apis /inspect /config /logs /chat /help"
    )
    assert set(named.split()) <= paths


def test_accounts_that_wait(pages: Pages) -> None:
    """An admin sees that somebody waits."""
    adding = pages.stack.app.accounts.add_user(
        SYSTEM, "newcomer", "n@example.com", Role.USER, AccountState.PENDING, "long enough"
    )
    result_of(adding)
    page = pages.visitor("root").get("/")
    assert "1 account awaiting approval" in text_of(page)
    assert 'href="/users?state=pending"' in page
