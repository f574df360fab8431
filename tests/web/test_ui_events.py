# mypy: allow-untyped-calls
"""The audit log's pages (AUD-1, AUD-2, AUD-3)."""

from __future__ import annotations

import csv
import gc
import io
import sqlite3
from collections.abc import Iterable
from typing import Any

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.events import Event, EventRecord
from pikachu.core.model.times import utc
from tests.support.connections import Plain, Transport
from tests.support.deferreds import result_of
from tests.support.visitor import Pages, text_of


def write(pages: Pages, type_: str, resource: str, name: str, owner: str | None = None, **details: object) -> int:
    """An event; its id."""
    owner_id = None if owner is None else pages.accounts[owner].id
    event = Event(type_, resource, name, "someone", details, owner_id=owner_id)
    result_of(pages.stack.app.store.add_event(event, utc(pages.clock.seconds())))
    return result_of(pages.stack.app.store.newest_event())


def rows(page: str) -> int:
    """How many rows the list has."""
    return page.partition("<tbody>")[2].partition("</tbody>")[0].count("<tr>")


def test_the_list(pages: Pages) -> None:
    """AUD-1: time, user, type, resource, name, details, view; newest first; not what became of users."""
    write(pages, "update", "policy", "servers", days=30)
    leaf = pages.stack.issue("a.example.com")
    pages.stack.revoke(leaf, RevocationReason.SUPERSEDED)
    page = pages.visitor("root").get("/events")
    assert rows(page) == 3
    text = text_of(page)
    assert text.index("revoke certificate") < text.index("create certificate") < text.index("update policy servers")
    assert '{"days": 30}' in text
    assert "Legend" in text
    assert "login" not in text.partition("Legend")[0].partition("Details")[2]


def test_filters(pages: Pages) -> None:
    """AUD-1: by resource (Other too), type, name, and free text; they can be cleared."""
    write(pages, "update", "policy", "servers")
    write(pages, "delete", "policy", "clients")
    write(pages, "upload", "CRL", "root")
    write(pages, "create", "key", "mine", note="needle")
    root = pages.visitor("root")
    for query, count in (
        ("resource_type=policy", 2),
        ("resource_type=other", 1),
        ("type=delete", 1),
        ("resource_type=policy&type=update", 1),
        ("resource_name=servers", 1),
        ("q=needle", 1),
        ("q=nothing+has+this", 0),
        ("type=rotate", 0),
        ("type=bogus", 0),
        ("resource_type=bogus", 0),
    ):
        page = root.get(f"/events?{query}", status=400 if "bogus" in query else 200)
        assert rows(page) == count, query
        assert 'href="/events">Clear' in page
        assert ("unknown" in page) == ("bogus" in query)
    assert '<option value="policy" selected>' in root.get("/events?resource_type=policy")


def test_csv(pages: Pages) -> None:
    """The CSV download holds the listed events with complete details."""
    write(pages, "update", "policy", "servers", note="x" * 500)
    response = pages.visitor("root").listen("/events?format=csv&type=update")
    body = response.received().partition(b"\r\n\r\n")[2].decode()
    assert "Time (UTC),User,Type,Resource,Name,Details" in body
    assert "x" * 500 in body
    assert len(list(csv.reader(io.StringIO(body)))) >= 2


class FullTransport(Transport):
    """A transport whose buffer is full after each piece."""

    def write(self, data: bytes) -> None:
        super().write(data)
        channel: Any = self.protocol
        channel.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:  # noqa: N802 - Twisted's name
        self.write(b"".join(data))


def test_csv_waits_for_its_reader(pages: Pages) -> None:
    """While its reader pauses, an export holds no rows."""
    for number in range(600):
        write(pages, "update", "policy", f"servers {number}")
    reader = Plain(pages.site, pages.clock, FullTransport(pages.clock))
    pages.visitor("root").listen("/events?format=csv&type=update", reader)
    gc.collect()
    assert not any(isinstance(one, EventRecord) for one in gc.get_objects())
    received = reader.received()
    assert 0 < received.count(b"servers") < 600
    for _ in range(5):
        reader.server.resumeProducing()
        reader.deliver(b"")
        received += reader.received()
    assert received.count(b"servers") == 600


def test_users_see_their_own(pages: Pages) -> None:
    """Other users' events are hidden from a user, in the list and by id."""
    mine = write(pages, "update", "policy", "mine", owner="alice")
    theirs = write(pages, "update", "policy", "theirs", owner="bob")
    nobodys = write(pages, "update", "policy", "nobodys")
    alice = pages.visitor("alice")
    assert rows(alice.get("/events")) == 1
    assert "Verify" not in alice.get("/events")
    assert "mine" in text_of(alice.get(f"/events/{mine}"))
    for other in (theirs, nobodys, 10_000):
        alice.get(f"/events/{other}", status=404)


def test_view(pages: Pages) -> None:
    """One event with all its details and its place in the chain; its values are escaped."""
    identity = write(pages, "update", "policy", "<b>bold</b>", text="<script>alert(1)</script>")
    page = pages.visitor("root").get(f"/events/{identity}")
    assert "<b>bold" not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    record = result_of(pages.stack.app.store.event(identity))
    assert record.hash.hex() in page
    assert record.previous.hex() in page


def test_user_events(pages: Pages) -> None:
    """AUD-2: user, actor, address and details of log-ins and changes of accounts; for admins, and one's own."""
    pages.visitor("alice")
    pages.visitor().sign_in("bob", "a guess")
    root = pages.visitor("root")
    text = text_of(root.get("/users/events"))
    assert "alice login alice 192.0.2.7" in text
    assert "bob failed login anonymous 192.0.2.7" in text
    assert "wrong password" in text or "reason" in text
    assert rows(root.get("/users/events?type=failed+login")) == 1
    mine = text_of(pages.visitor("alice").get("/account/events"))
    assert "alice login" in mine
    assert "bob" not in mine
    own = text_of(root.get("/account/events"))
    assert "root login" in own
    assert "alice login" not in own


def test_a_chain_that_was_not_intact(pages: Pages) -> None:
    """Only the events after the key are said to be unchanged."""
    app = pages.stack.app
    write(pages, "update", "policy", "servers")
    count = result_of(app.store.newest_event())
    with sqlite3.connect(pages.stack.files.folder / "pikachu.sqlite") as database:
        database.execute("UPDATE audit_events SET details = '{\"a\":1}' WHERE id = 1")
    database.close()
    app.store.unlock(app.sealer, app.authority.now(), renew=True)
    root = pages.visitor("root")
    page = text_of(root.follow(root.post("/events/verification")))
    after = result_of(app.store.newest_event()) - count
    assert f"{after} events after event {count}, none changed or removed" in page
    assert f"Events 1 to {count} are not intact" in page


def test_the_chain_is_verified(pages: Pages) -> None:
    """AUD-3: an admin has the chain looked through, and sees what was found."""
    write(pages, "update", "policy", "servers")
    root = pages.visitor("root")
    assert "Not verified since" in root.get("/events/verification")
    page = text_of(root.follow(root.post("/events/verification")))
    count = result_of(pages.stack.app.store.newest_event())
    assert f"{count} events, none changed or removed" in page
    assert "By root" in page
    database = sqlite3.connect(pages.stack.files.folder / "pikachu.sqlite")
    with database:
        database.execute("UPDATE audit_events SET details = '{}' WHERE id = 3")
    database.close()
    page = text_of(root.follow(root.post("/events/verification")))
    assert "event 3 is not what was recorded" in page
