"""The guide: shipped, safe, whole, and found by its words (UI-10)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pikachu.core.errors import NotFound
from pikachu.help.guide import Guide

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def manual() -> Guide:
    return Guide()


def test_all_pages_are_there(manual: Guide) -> None:
    """Every file of docs/guide is a page with a title, in order."""
    files = sorted((ROOT / "docs" / "guide").glob("*.md"))
    assert [page.slug for page in manual.pages] == [path.stem.partition("-")[2] for path in files]
    assert manual.pages[0].title == "Getting started"
    assert all(page.html and page.title for page in manual.pages)
    with pytest.raises(NotFound):
        manual.page("../../config")


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("How do I revoke a certificate?", "/help/certificates#revoking"),
        ("which policy signs a SCEP enrollment", "/help/templates-and-policies#which-policy-signs"),
        ("post-quantum keys", "/help/keys-and-csrs#keys"),
        ("api token scopes", "/help/users-tokens-audit#api-tokens"),
        ("idle logout", "/help/users-tokens-audit#signing-in-and-out"),
        ("crl for an mqtt broker", "/help/ocsp-and-crl#crls"),
        ("renewal EST", "/help/est#renewal"),
        ("RENEWING est", "/help/est#renewal"),
        ("openapi", "/help/rest"),
    ],
)
def test_search(manual: Guide, question: str, path: str) -> None:
    """The section that answers comes first."""
    hits = manual.search(question)
    assert hits[0].section.path == path
    assert hits[0].excerpt
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("question", ["", "the of and", "?!", "xyzzyplugh", "\0", "<<>>" * 100])
def test_nothing_found(manual: Guide, question: str) -> None:
    """A question without a match finds nothing."""
    assert manual.search(question) == []


def test_html_is_safe(tmp_path: Path) -> None:
    """HTML in a source is only text, and a link leads nowhere dangerous."""
    (tmp_path / "01-bad.md").write_text(
        "# Bad <b>title</b>\n\n<script>alert(1)</script> [x](javascript:alert(1)) [ok](https://example.com)\n\n"
        "## A & B\n\n    <pre> & </pre>\n\n| a | b |\n|---|---|\n| <i> | `<u>` |\n\n```\n<em>\n```\n"
    )
    page = Guide(tmp_path).page("bad")
    assert not re.search(r"<(script|b|i|u|em)>", page.html)
    assert 'href="javascript' not in page.html
    assert 'href="https://example.com"' in page.html
    assert '<h2 id="a-b">' in page.html
    assert "&lt;pre&gt; &amp; &lt;/pre&gt;" in page.html
    assert page.sections[1].path == "/help/bad#a-b"


def test_what_it_names_is_there(manual: Guide) -> None:
    """Commands, settings and links of the guide exist."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "guide").glob("*.md")))
    sample = (ROOT / "config.ini").read_text()
    for section, key in re.findall(r"`\[([A-Z_0-9]+)\] (\w+)", text):
        part = sample.partition(f"\n[{section}]\n")[2].partition("\n[")[0]
        assert re.search(rf"(?m)^;?{key} =", part), f"[{section}] {key}"
    commands = set(
        re.findall(r"pikachu (init|user|token|challenge|policy|sign|revoke|release|crl|approval|ca)\b", text)
    )
    assert {"init", "token", "challenge", "policy", "revoke", "crl", "approval", "ca"} <= commands
    anchors = {section.path for page in manual.pages for section in page.sections}
    for page in manual.pages:
        for link in re.findall(r'href="(/help[^"]*)"', page.html):
            assert link in anchors
