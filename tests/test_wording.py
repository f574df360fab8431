"""Words that no page, message, command or document uses: each has a plain one in its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
#: The word, and what to write.
BANNED: Final = {
    r"octets?": "bytes",
    r"anew": "again",
    r"whoever": "anyone who, or who it is",
    r"mend(s|ed|ing)?": "fix",
    r"handed in": "submitted",
    r"(is|was) made": "is created, is generated, is issued",
    r"asked by": "requested by",
    r"goes on": "continues",
    r"of that id": "no such object",
    r"log(s|ged|ging)? (in|out)": "sign in, sign out",
    r"wins over": "takes precedence over",
    r"for good": "permanently",
    r"had back": "restored",
    r"nobody's": "without an owner",
}
_PATTERN: Final = re.compile(r"\b(" + "|".join(BANNED) + r")\b", re.IGNORECASE)
#: Parts of documents and templates that are not words for people.
_CODE: Final = re.compile(r"```.*?```|`[^`]*`|\{octets\}|\{#.*?#\}|<!--.*?-->|href=\"[^\"]*\"|\]\([^)]*\)", re.DOTALL)
_DOCUMENTS: Final = sorted(
    path
    for pattern in ("templates/html/**/*.html", "docs/guide/*.md", "docs/*.md", "README.md", "config.ini")
    for path in ROOT.glob(pattern)
    # Requirements and their states are quoted.
    if path.name not in ("requirements.md", "STATUS.md")
)


def findings(text: str) -> list[str]:
    """Return the banned words with what stands around them."""
    plain = " ".join(_CODE.sub(" ", text).split())
    return [plain[max(0, one.start() - 30) : one.end() + 30] for one in _PATTERN.finditer(plain)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("It goes  on.", 1), ("`goes on`", 0), ("Two Octets\nanew", 2), ("recommended", 0), ("A blog in German", 0)],
)
def test_findings(text: str, expected: int) -> None:
    """Words are found whole, in any case and over line ends, but not in code."""
    assert len(findings(text)) == expected


@pytest.mark.parametrize("path", _DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents(path: Path) -> None:
    """Pages, the guide and the documents have none of them."""
    assert not findings(path.read_text("utf-8"))


def _messages(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a module that are no docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("package", sorted(path.name for path in (ROOT / "pikachu").iterdir() if path.is_dir()))
def test_messages(package: str) -> None:
    """Errors, help texts and what commands print have none of them."""
    wrong = [
        f"{path.relative_to(ROOT)}: {finding}"
        for path in sorted((ROOT / "pikachu" / package).rglob("*.py"))
        for text in _messages(ast.parse(path.read_text("utf-8")))
        for finding in findings(text)
        # ASN.1 counts in octets, and so do the messages about it.
        if not (package in ("x509", "http") and "octets" in finding)
    ]
    assert not wrong, "\n".join(wrong)
