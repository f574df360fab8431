"""The guide and ChatPikachu as pages (INT-4, UI-10, UI-11)."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from pikachu.auth.permissions import in_audience
from pikachu.core.model.people import SYSTEM, Role
from pikachu.help.assistant import MAXIMUM_QUESTION
from pikachu.help.guide import Guide
from pikachu.help.subjects import SUBJECTS
from pikachu.web.ui.navigation import navigation
from tests.support.deferreds import result_of
from tests.support.questions import HELD_OUT, QUESTIONS, UNANSWERED
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
    assert "It isn't a language model" in text_of(alice.get("/chat"))
    answer = ask(alice, "How do I revoke a certificate?")
    assert "type revoke to confirm" in answer
    assert "From Certificates and signing · Revoking" in answer
    assert "You have 2 valid, 0 revoked and 0 expired certificates" in ask(alice, "How many certificates do I have?")
    assert "2 expire within 7 days" in ask(alice, "How many certificates end soon?")
    assert "You have 0 valid" in ask(bob, "How many certificates are there?")
    # More where OCSP responders have got theirs.
    assert re.search("There are [2-4] valid", ask(pages.visitor("root"), "How many certificates are there?"))
    assert "The issuing CA ec expires on" in ask(bob, "When does the CA end?")
    assert "database ok" in ask(bob, "is the database healthy?")
    assert "0 of your requests are pending" in ask(bob, "what is waiting for approval?")


def test_chat_is_honest(pages: Pages) -> None:
    """Unknown subjects get an honest answer, invalid questions are refused, and nothing is stored."""
    alice = pages.visitor("alice")
    # A running server has its OCSP responders' certificates; here the first look at its health issues them.
    alice.get("/")
    before = result_of(pages.stack.app.store.newest_event())
    assert "The documentation doesn't say" in ask(alice, "xyzzyplugh")
    assert "Enter a question." in ask(alice, "  ", 400)
    assert "Shorten the question to" in ask(alice, "x" * (MAXIMUM_QUESTION + 1), 400)
    response = alice.post("/chat", {"question": "<script>alert(1)</script>"})
    assert b"<script>alert" not in response.body
    assert result_of(pages.stack.app.store.newest_event()) == before


#: question → the page of this server that answers it, and the section of the guide; ``None``: neither
PAGES_OF: Final = (
    ("how to create PQC key using the pikachu UI", "/keys", None),
    ("how do I generate an ML-DSA key?", "/keys", None),
    ("How do I import a key?", "/keys", "/help/keys-and-csrs#keys"),
    ("How do I revoke a certificate?", "/certificates", "/help/certificates#revoking"),
    ("how can I re-enroll a device certificate", "/certificates", "/help/certificates#renewing"),
    ("Where do I approve requests?", "/ra/approvals", "/help/certificates#requests-that-wait"),
    ("how to make an API token", "/account", "/help/users-tokens-audit#api-tokens"),
    ("who changed the policy", "/events", None),
    ("How do I decode a certificate?", "/inspect", "/help/certificates#inspecting"),
    ("download the CRL", "/va", "/help/ocsp-and-crl#crls"),
    ("download a PFX file", "/certificates", "/help/certificates#downloads"),
    ("enroll 500 devices", "/batches", "/help/scep#for-many-devices"),
    ("create a challenge password", "/challenge-passwords", "/help/scep#challenge-passwords"),
    ("sign a CSR", "/ra", "/help/keys-and-csrs#certificate-signing-requests"),
    ("when does the issuing CA expire", "/ca", None),
    ("how many certificates expire soon", "/expiry", "/help/certificates#the-list-of-certificates"),
    ("What is lint?", "/policies", "/help/templates-and-policies#lint"),
    ("Why does lint refuse my policy?", "/policies", "/help/templates-and-policies#lint"),
    ("put the key into an HSM", None, "/help/migration#to-vault-or-a-pkcs-11-token"),
    ("add a user", "/users", None),
    ("how do I rotate the CA", "/ca", "/help/operating#rotating-an-issuing-ca"),
    ("What is the capital of France?", None, None),
    ("How do I bake a cake?", None, None),
)


def answer_page(visitor: Visitor, question: str) -> str:
    """Return the HTML of an answer."""
    csrf = visitor.csrf("/chat")
    page = visitor.post("/chat", {"question": question}, csrf=csrf).body.decode()
    return page.partition('aria-label="Answer"')[2]


@pytest.fixture(scope="module")
def root(pages: Pages) -> Visitor:
    """A browser of the administrator."""
    return pages.visitor("root")


@pytest.mark.parametrize(("question", "path", "section"), PAGES_OF, ids=[question for question, _, _ in PAGES_OF])
def test_questions(root: Visitor, question: str, path: str | None, section: str | None) -> None:
    """UI-11: a question leads to the page on which to do it, and to the section of the guide that tells more."""
    answer = answer_page(root, question)
    links = re.findall(r'<li>Page <a href="([^"]+)">', answer)
    sections = re.findall(r'From <a href="([^"]+)">', answer)
    assert (path in links) if path else not links, links
    if section:
        assert section in sections
    elif path is None:
        assert not sections
        assert "The documentation doesn" in answer


def is_answered(visitor: Visitor, question: str, wanted: tuple[str, ...]) -> bool:
    """Return whether the answer has one of the sections, or a fact that leads to one of the pages."""
    answer = answer_page(visitor, question)
    sections = {path.removeprefix("/help/") for path in re.findall(r'From <a href="([^"]+)">', answer)}
    facts = [link for link in re.findall(r'<li><a href="([^"]+)">', answer) if not link.startswith("/help")]
    return any(
        any(fact == one or (one != "/" and fact.startswith(one)) for fact in facts)
        if one.startswith("/")
        else one in sections
        for one in wanted
    )


def test_operators_questions(root: Visitor) -> None:
    """UI-11: nine of ten questions of operators, about every area, are answered from the guide and the state."""
    missed = [question for question, wanted in QUESTIONS if not is_answered(root, question, wanted)]
    assert len(QUESTIONS) >= 50
    assert len(missed) <= len(QUESTIONS) // 10, missed


def test_questions_that_nothing_was_tuned_to(root: Visitor) -> None:
    """UI-11: what other questions may expect."""
    missed = [question for question, wanted in HELD_OUT if not is_answered(root, question, wanted)]
    assert len(missed) <= 9, missed


def test_the_documents_do_not_say(root: Visitor) -> None:
    """UI-11: nothing is guessed."""
    for question in UNANSWERED:
        assert "The documentation doesn't say" in html.unescape(answer_page(root, question)), question


def test_pages_of_answers_are_those_of_the_menu(pages: Pages) -> None:
    """UI-1: each page of the menu can be an answer, to those who may open it."""
    for role in Role:
        principal = replace(SYSTEM, role=role)
        menu = {link for _, links in navigation(principal) for link in links}
        answers = {(one.path, one.label) for one in SUBJECTS if in_audience(principal, one.audience)}
        assert menu - answers == {("/chat", "ChatPikachu")}
        assert answers - menu == {("/account", "Account")}
    assert (
        'Page <a href="/users">' not in pages.visitor("alice").post("/chat", {"question": "add a user"}).body.decode()
    )


def test_certificates_are_found(pages: Pages) -> None:
    """UI-11: a name in a question finds the certificates that the visitor may see; each figure leads to its list."""
    response = pages.visitor("alice").post("/chat", {"question": "show me a.example.com"})
    found = re.findall(r'<li><a href="(/certificates/\d+)">([^<]+)', response.body.decode())
    assert [text.partition(":")[0] for _, text in found] == ["CN=a.example.com"]
    assert "a.example.com" in pages.visitor("alice").get(found[0][0])
    assert "/certificates/" not in ask(pages.visitor("bob"), "show me a.example.com")
    response = pages.visitor("alice").post("/chat", {"question": "how many certificates expire?"})
    assert 'href="/certificates?status=valid&amp;expires=7d&amp;sort=not_after"' in response.body.decode()


def test_pdf(tmp_path: Path) -> None:
    """UI-10: Help offers the guide as a PDF, says so when there is none, and sends it whole or in part."""
    stack = build_core(tmp_path / "core")
    try:
        guide = Guide(tmp_path)
        visitor = make_pages(replace(stack, app=replace(stack.app, guide=guide))).visitor()
        assert "This installation doesn't include the guide as a PDF." in text_of(visitor.get("/help"))
        assert "`./script/docs` creates it" in visitor.get("/help/pdf", status=404)
        guide.pdf.write_bytes(b"%PDF-1.7" + bytes(2 * 1024 * 1024))
        assert "Guide as PDF (2.0 MiB)" in text_of(visitor.get("/help"))
        response = visitor.request("GET", "/help/pdf")
        assert (response.status, response.headers["Content-Type"]) == (200, "application/pdf")
        assert response.body == guide.pdf.read_bytes()
        part = visitor.request("GET", "/help/pdf", b"", {"Range": "bytes=1-3"})
        assert (part.status, part.body) == (206, b"PDF")
        assert visitor.request("GET", "/help/pdf", b"", {"If-None-Match": response.headers["ETag"]}).status == 304
    finally:
        stack.close()
