"""Pages of challenge passwords (CHP-1)."""

from __future__ import annotations

import re

from pikachu.core.model.certificates import Method
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.requests import NewRequest
from tests.support.deferreds import result_of
from tests.support.visitor import Pages, Visitor, asks_again, text_of


def generate(visitor: Visitor) -> str:
    """The address of a new one's page."""
    response = visitor.post("/challenge-passwords")
    assert response.status == 303, response.body
    return response.headers["Location"]


def password(page: str) -> str:
    """The password that a page shows."""
    found = re.search(r'<code data-copy="([^"]*)">', page)
    return "" if found is None else found[1]


def viewed(pages: Pages) -> list[str]:
    """Return the actors that viewed other people's challenge passwords."""
    query = ListQuery(limit=10, filters={"type": "view"})
    return [one.event.actor for one in result_of(pages.stack.app.store.events(query)).items]


def test_generate(pages: Pages, alice: Visitor) -> None:
    """CHP-1: 128 bits in upper-case hex, shown with click-to-copy, and again to its owner; lists show the prefix."""
    assert "No challenge passwords yet" in alice.get("/challenge-passwords")
    path = generate(alice)
    page = alice.get(path)
    text = password(page)
    assert re.fullmatch("[0-9A-F]{32}", text)
    assert f'<button class="plain copy" type="button" data-copy="{text}"' in page
    assert "Challenge password created." in text_of(page)
    assert password(alice.get(path)) == text
    assert viewed(pages) == []
    listed = alice.get("/challenge-passwords")
    assert text not in listed
    assert f"{text[:8]}\u2026 \u2013 Any name Available alice 20" in text_of(listed)
    assert "1 h" in text_of(listed)
    assert text not in alice.get("/challenge-passwords?format=csv")
    assert text not in path
    assert "no-store" in alice.request("GET", path).headers["Cache-Control"]


def test_bound_to_names(pages: Pages, alice: Visitor) -> None:
    """ENR-1: label and names in form, page, list and CSV; "Create another" begins with the same."""
    fields = {
        "label": "pump 1",
        "subject": "CN=pump-001",
        "sans": "pump-001.example.com\r\n\r\nIP:2001:DB8::1",
        "validity": "4d",
    }
    response = alice.post("/challenge-passwords", fields)
    assert response.status == 303, response.body
    path = response.headers["Location"]
    page = alice.get(path)
    shown = text_of(page)
    assert "Label pump 1 Subject CN=pump-001 Subject alternative names" in shown
    assert "DNS:pump-001.example.com IP:2001:db8::1" in shown
    assert "Validity 4 d" in shown
    again = alice.get(re.search(r'href="([^"]+copy=\d+)"', page)[1])  # type: ignore[index]
    for value in ("pump 1", "CN=pump-001", "DNS:pump-001.example.com\nIP:2001:db8::1", "4d"):
        assert value in again
    generate(alice)
    for query in ("q=pump", "q=PUMP-001.example", "q=2001:db8", "label=pump+1", "sort=-label"):
        listed = text_of(alice.get(f"/challenge-passwords?{query}&limit=10"))
        assert "pump 1 CN=pump-001" in listed
        assert ("Any name" in listed) is (query == "sort=-label")
    assert "Nothing matches" in alice.get("/challenge-passwords?label=pump")
    csv = alice.get("/challenge-passwords?format=csv")
    assert 'pump 1,CN=pump-001,"DNS:pump-001.example.com, IP:2001:db8::1"' in csv
    assert password(page) not in csv


def test_names_that_are_not_acceptable(alice: Visitor) -> None:
    """The form is shown again, and says what is wrong with each."""
    for fields, message in (
        ({"sans": "a.example.com"}, "Enter the subject as well"),
        ({"subject": "/"}, "Enter at least one subject alternative name"),
        ({"subject": "pump"}, "type=value pairs"),
        ({"subject": "CN=a", "sans": "a b\n192.0.2"}, "\u201cDNS:a b\u201d: "),
        ({"label": "x" * 101}, "Enter a label"),
        ({"validity": "soon"}, "Enter a validity"),
        ({"validity": "367d"}, "Enter a validity"),
    ):
        response = alice.post("/challenge-passwords", fields)
        assert response.status == 400, fields
        page = response.body.decode()
        assert message in text_of(page)
        assert all(value.splitlines()[-1] in page for value in fields.values())


def test_copied_from_the_list(pages: Pages, alice: Visitor, root: Visitor) -> None:
    """M20: one's own text without another page; others, administrators too, get it by the recorded way only."""
    path = generate(alice)
    listed = alice.get("/challenge-passwords")
    assert f'data-copy-from="{path}/text"' in listed
    assert f"{path}/text" not in root.get("/challenge-passwords")
    answer = alice.request("GET", f"{path}/text")
    assert answer.body.decode() == password(alice.get(path))
    assert "no-store" in answer.headers["Cache-Control"]
    assert viewed(pages) == []


def test_others(pages: Pages, alice: Visitor, root: Visitor) -> None:
    """CHP-1: an admin sees whose it is, and the text after a click, which is recorded; others nothing."""
    path = generate(alice)
    text = password(alice.get(path))
    bob = pages.visitor("bob")
    assert bob.post(f"{path}/reveal").status == 404
    assert bob.post(f"{path}/delete", {"confirm": "delete"}).status == 404
    assert "No challenge passwords yet" in bob.get("/challenge-passwords")
    page = root.get(path)
    assert text not in page
    assert "It belongs to alice." in text_of(page)
    assert viewed(pages) == []
    assert password(root.post(f"{path}/reveal").body.decode()) == text
    assert viewed(pages) == ["root"]
    assert "alice" in text_of(root.get("/challenge-passwords"))
    assert password(alice.post(f"{path}/reveal").body.decode()) == text
    assert viewed(pages) == ["root"]


def test_statuses(pages: Pages, alice: Visitor) -> None:
    """CHP-1: Available, Consumed, Expired, also as filters."""
    store = pages.stack.app.store
    for _ in range(2):
        generate(alice)
    pages.clock.advance(3601)
    alice.sign_in("alice")
    path = generate(alice)
    assert text_of(alice.get("/challenge-passwords")).count("Expired alice") == 2
    expired = text_of(alice.get("/challenge-passwords?status=expired"))
    assert "Available alice" not in expired
    assert "Available alice" in text_of(alice.get("/challenge-passwords?status=available"))
    assert "Nothing matches" in text_of(alice.get("/challenge-passwords?status=consumed"))
    challenge = result_of(store.challenge(int(path.rpartition("/")[2])))
    assert challenge.prefix in text_of(alice.get(f"/challenge-passwords?q={challenge.prefix[:4].lower()}"))
    # A request that waits for approval holds it: it can't be used again, nor deleted.
    now = pages.stack.app.authority.now()
    subject = ("CN=x", "EC/prime256v1", bytes(32), "default", "ec", "alice", challenge.owner_id, now)
    result_of(store.begin(NewRequest(Method.SCEP, b"csr", *subject, challenge_id=challenge.id), None, now))
    assert "Consumed alice" in text_of(alice.get("/challenge-passwords?status=consumed"))
    assert "Status Consumed" in text_of(alice.get(path))
    assert alice.post(f"{path}/delete", {"confirm": "delete"}).status == 409


def test_delete(alice: Visitor) -> None:
    """CHP-1: one of one's own, with the word typed."""
    path = generate(alice)
    assert "It can no longer be used to enroll." in alice.get(f"{path}/delete")
    assert asks_again(alice.post(f"{path}/delete", {"confirm": "x"}))
    alice.get(path)
    assert "was deleted" in alice.follow(alice.post(f"{path}/delete", {"confirm": "delete"}))
    alice.get(path, status=404)


def test_delete_expired(pages: Pages, alice: Visitor, root: Visitor) -> None:
    """CHP-1: all one's own expired ones; all of everybody for admins; both ask first."""
    bob = pages.visitor("bob")
    mine, other = [generate(alice) for _ in range(2)], generate(bob)
    pages.clock.advance(3601)
    for visitor, name in ((alice, "alice"), (bob, "bob"), (root, "root")):
        visitor.sign_in(name)
    fresh = generate(alice)
    assert "Delete all expired (system)" not in alice.get("/challenge-passwords")
    assert "Delete all expired (system)" in root.get("/challenge-passwords")
    assert alice.post("/challenge-passwords/delete-expired-system", {"confirm": "delete"}).status == 403
    assert asks_again(alice.post("/challenge-passwords/delete-expired"))
    alice.get(mine[0])
    assert "of yours" in text_of(alice.get("/challenge-passwords/delete-expired"))
    response = alice.post("/challenge-passwords/delete-expired", {"confirm": "delete"})
    assert "2 expired challenge passwords were deleted." in text_of(alice.follow(response))
    for gone in mine:
        alice.get(gone, status=404)
    bob.get(other)
    assert asks_again(root.post("/challenge-passwords/delete-expired-system"))
    assert "of all users" in text_of(root.get("/challenge-passwords/delete-expired-system"))
    response = root.post("/challenge-passwords/delete-expired-system", {"confirm": "delete"})
    assert "1 expired challenge password was deleted." in text_of(root.follow(response))
    bob.get(other, status=404)
    alice.get(fresh)
