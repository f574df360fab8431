"""The table of clients and servers of other projects is complete (README.md in this folder)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (FOLDER / "README.md").read_text("utf-8").splitlines()
    if re.match(r"\| (?!Program)", line)
]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}: {row[2]}" for row in ROWS])
def test_tests_of_a_row_exist(row: list[str]) -> None:
    """A good and a refused exchange are each named by tests that this folder has and that every push runs."""
    _, package, _, good, refused = row
    assert package
    for cell in (good, refused):
        for named in cell.split(", "):
            module, _, test = named.partition("::")
            text = (FOLDER / module).read_text("utf-8")
            assert re.search(rf"^(@pytest\.mark\.soak\n)?def {test or 'test_'}", text, re.MULTILINE), named
            assert not re.search(rf"pytest\.mark\.soak\n(@.*\n)*def {test}\(", text), named


def test_every_module_is_in_the_table() -> None:
    """Each module with tests of this folder is named by a row."""
    named = {module for row in ROWS for cell in row[3:] for module in re.findall(r"test_\w+\.py", cell)}
    assert named == {path.name for path in FOLDER.glob("test_*.py")} - {Path(__file__).name}


def test_packages_are_installed_by_ci() -> None:
    """CI installs each package of Debian, and the extra ``test`` those of PyPI."""
    root = FOLDER.parents[1]
    known = set(re.findall(r"[a-z0-9+.-]+", (root / ".ci" / "run").read_text("utf-8")))
    known |= set(re.findall(r"^ +([a-z0-9-]+) ==", (root / "setup.cfg").read_text("utf-8"), re.MULTILINE))
    named = {package for row in ROWS for package in row[1].split(", ")} - {"openssl of Debian 13"}
    assert named <= known
