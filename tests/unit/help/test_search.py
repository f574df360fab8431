"""The search of the guide: its words, endings and synonyms (UI-10, UI-11)."""

from __future__ import annotations

import re

import pytest

from pikachu.core.concurrency import ImmediatePool
from pikachu.help.guide import Guide
from pikachu.help.search import GuideSearch
from tests.support.deferreds import result_of


@pytest.fixture(scope="module")
def search() -> GuideSearch:
    return GuideSearch(Guide(), ImmediatePool())


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("How do I revoke a certificate?", "/help/certificates#revoking"),
        ("which policy signs a SCEP enrollment", "/help/templates-and-policies#which-policy-signs"),
        ("post-quantum keys", "/help/keys-and-csrs#keys"),
        ("api token scopes", "/help/users-tokens-audit#api-tokens"),
        ("idle logout", "/help/users-tokens-audit#signing-in-and-out"),
        ("crl for an mqtt broker", "/help/operating#revocations-over-mqtt"),
        ("renewal EST", "/help/est#renewal"),
        ("RENEWING est", "/help/est#renewal"),
        ("openapi", "/help/rest"),
    ],
)
def test_search(search: GuideSearch, question: str, path: str) -> None:
    """The section that answers comes first."""
    hits = result_of(search.search(question))
    assert hits[0].section.path == path
    assert hits[0].excerpt
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("question", ["", "the of and", "?!", "xyzzyplugh", "\0", "<<>>" * 100])
def test_nothing_found(search: GuideSearch, question: str) -> None:
    """A question without a match finds nothing."""
    assert result_of(search.search(question)) == []


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("yubihsm", "/help/hsm#other-modules"),
        ("approle secret id lost", "/help/vault#credentials"),
        ("nested groups active directory", "/help/ldap"),
        ("shutdown_timeout", "/help/settings#section-default"),
        ("pikachu policy lint", "/help/commands#pikachu-policy-lint"),
        ("command to retire a device", "/help/commands#pikachu-device-retire"),
    ],
)
def test_operations_are_found(search: GuideSearch, question: str, path: str) -> None:
    """UI-10: the search finds words of the operators' documents and of the settings."""
    assert any(hit.section.path.startswith(path) for hit in result_of(search.search(question))[:3])


def test_excerpts_begin_at_a_sentence(search: GuideSearch) -> None:
    """UI-10: an excerpt begins where a sentence, an item or a line of code begins."""
    for question in ("sign in again", "fallback", "password", "revoked certificate", "CRL of each generation"):
        for hit in result_of(search.search(question)):
            start = hit.section.text.replace("\n", " ").find(hit.excerpt.rstrip("\u2026"))
            assert start >= 0
            assert re.search(r"(^|\n|[.!?] )$", hit.section.text[:start]), hit.excerpt
