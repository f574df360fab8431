"""The guide and ChatPikachu as pages (INT-4, UI-10, UI-11)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pikachu.help.assistant import MAXIMUM_QUESTION
from tests.support.deferreds import result_of
from tests.support.stack import build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"))
    made = make_pages(stack)
    for name in ("a", "b"):
        stack.issue(f"{name}.example.com", owner_id=made.accounts["alice"].id, days=5)
    yield made
    stack.close()


def test_everybody_may_read(pages: Pages) -> None:
    """The guide is there before anybody has signed in."""
    visitor = pages.visitor()
    index = visitor.get("/help")
    for page in pages.stack.app.guide.pages:
        assert f'href="/help/{page.slug}"' in index
        assert text_of(visitor.get(f"/help/{page.slug}")).startswith(page.title)
    visitor.get("/help/nothing", status=404)
    assert "Recent" not in index


def test_search(pages: Pages) -> None:
    """The server searches headings and texts; the typed question is escaped."""
    visitor = pages.visitor()
    found = visitor.get("/help?q=challenge+password")
    assert 'href="/help/scep#challenge-passwords"' in found
    nothing = visitor.get("/help?q=%3Cqqqq%3Exyzzy")
    assert "Nothing in the guide fits" in nothing
    assert "<qqqq>" not in nothing


def ask(visitor: Visitor, question: str, status: int = 200) -> str:
    """Return the answer of ChatPikachu."""
    response = visitor.post("/chat", {"question": question})
    assert response.status == status
    return text_of(response.body.decode())


def test_chat(pages: Pages) -> None:
    """UI-11: passages of the guide with their pages, and facts that the visitor may see."""
    alice, bob = pages.visitor("alice"), pages.visitor("bob")
    assert "It is no language model" in text_of(alice.get("/chat"))
    answer = ask(alice, "How do I revoke a certificate?")
    assert "Type revoke to confirm" in answer
    assert "From Certificates and signing · Revoking" in answer
    assert "You have 2 valid, 0 revoked and 0 expired certificates" in ask(alice, "How many certificates do I have?")
    assert "2 end within 7 days" in ask(alice, "How many certificates end soon?")
    assert "You have 0 valid" in ask(bob, "How many certificates are there?")
    # More where OCSP responders have got theirs.
    assert re.search("There are [2-4] valid", ask(pages.visitor("root"), "How many certificates are there?"))
    assert "The issuing CA ec ends on" in ask(bob, "When does the CA end?")
    assert "database ok" in ask(bob, "is the database healthy?")
    assert "0 of your requests wait" in ask(bob, "what is waiting for approval?")


def test_chat_is_honest(pages: Pages) -> None:
    """Unknown subjects get an honest answer, invalid questions are refused, and nothing is stored."""
    alice = pages.visitor("alice")
    # A running server has its OCSP responders' certificates; here the first look at its health issues them.
    alice.get("/")
    before = result_of(pages.stack.app.store.newest_event())
    assert "The guide has nothing that fits" in ask(alice, "xyzzyplugh")
    assert "type a question first" in ask(alice, "  ", 400)
    assert "a question has at most" in ask(alice, "x" * (MAXIMUM_QUESTION + 1), 400)
    response = alice.post("/chat", {"question": "<script>alert(1)</script>"})
    assert b"<script>alert" not in response.body
    assert result_of(pages.stack.app.store.newest_event()) == before
