"""Codes of requirements that stand in the repository are explained in docs/requirements.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXPLAINED = set(re.findall(r"^- ([A-Z]+-[0-9A-Z]+) ", (ROOT / "docs" / "requirements.md").read_text("utf-8"), re.M))
AREAS = "|".join(sorted({code.partition("-")[0] for code in EXPLAINED}))
CODE = re.compile(rf"(?<![\w-])(?:{AREAS})-[1-9][0-9]?(?![\w-])")
FOLDERS = ("pikachu", "tests", "bench", "docs")


def test_codes_are_explained() -> None:
    """Every requirement code used is explained."""
    assert len(EXPLAINED) > 100
    unknown = {
        f"{path.relative_to(ROOT)}: {code}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md", ".html", ".ini") and "vectors" not in path.parts
        for code in CODE.findall(path.read_text("utf-8"))
        if code not in EXPLAINED
    }
    assert not unknown


def test_no_reference_leads_outside_the_repository() -> None:
    """A numbered decision or document that the repository doesn't have is no explanation."""
    pattern = re.compile("DECISION" + r"S?\s[0-9]|PROTOCOLS" + r"\.md|FIELD" + r"\.md")
    found = [
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md", ".html") and pattern.search(path.read_text("utf-8"))
    ]
    assert not found
