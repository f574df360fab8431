"""The guide: shipped, safe, whole, and found by its words (UI-10)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pikachu.config.schema import keys
from pikachu.config.sections import SECTIONS
from pikachu.core.errors import NotFound
from pikachu.help.guide import Guide

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def manual() -> Guide:
    return Guide()


def test_all_pages_are_there(manual: Guide) -> None:
    """Every file of docs/guide is a page with a title, in order, and so are the settings."""
    slugs = {path.name: path.stem.partition("-")[2] for path in (ROOT / "docs" / "guide").glob("*.md")}
    slugs["60-settings.md"] = "settings"
    assert [page.slug for page in manual.pages] == [slugs[name] for name in sorted(slugs)]
    assert manual.pages[0].title == "Getting started"
    assert all(page.html and page.title for page in manual.pages)
    with pytest.raises(NotFound):
        manual.page("../../config")


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


#: Documents for developers, which are no part of the guide.
INTERNAL = {"STATUS", "bench", "errors", "issuance", "requirements"}


def test_documents_of_operators_belong_to_it(manual: Guide) -> None:
    """UI-10: what docs/ has for operators is a page of the guide, by a link in docs/guide."""
    slugs = {page.slug for page in manual.pages}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - INTERNAL <= slugs
    assert not slugs & INTERNAL


def test_settings(manual: Guide) -> None:
    """UI-10: each setting that the configuration reads is explained, with its default."""
    sections = {section.heading: section.text for section in manual.page("settings").sections}
    for cls in SECTIONS:
        text = sections[f"Section {cls.NAME}"]
        for _, key in keys(cls):
            assert re.search(rf"(?m)^{key.name}: {re.escape(key.default)}: ", text), key.name
    assert "Values: RSA or EC" not in sections["Section CA"]
    assert "Values: EC or RSA or MLDSA." in sections["Section CA"]


def test_links(tmp_path: Path) -> None:
    """Links lead to pages and headings as they do on disk; one to a file outside of the guide is its text."""
    (tmp_path / "01-one.md").write_text(
        "# One\n\n[a](02-two.md#part) [b](../two.md) [c](../adr/0001-x.md) [d](#here) [e](../deploy/x)\n\n"
        "![Picture](pictures/x.png)\n\n![Drawing & text](drawing.svg)\n\n## Here\n\n![Last](pictures/y.png)\n"
    )
    (tmp_path / "20-two.md").write_text("# Two\n\n## Part\n")
    (tmp_path / "drawing.svg").write_text('<svg viewBox="0 0 1 1"></svg>')
    guide = Guide(tmp_path)
    html = guide.page("one").html
    assert re.findall('href="([^"]*)"', html) == ["/help/two#part", "/help/two", "/help/one#here"]
    assert "</a> c <a" in html
    assert "<img" not in html
    assert "<p></p>" not in html
    assert '<svg role="img" aria-label="Drawing &amp; text" viewBox' in html
    assert {part: [page.slug for page in pages] for part, pages in guide.parts.items()} == {
        "Using Pikachu CA": ["one"],
        "Devices and servers": ["two"],
    }
