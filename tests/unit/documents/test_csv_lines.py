"""Lines of CSV."""

from __future__ import annotations

import pytest

from pikachu.documents.csv_lines import csv_lines

FORMULA = "1+1"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_cell_is_a_formula(sign: str) -> None:
    """A cell that a spreadsheet would evaluate begins with an apostrophe."""
    line = csv_lines([["a", sign + FORMULA]]).decode()
    assert line.removeprefix("a,").lstrip('"').startswith("'" + sign)


def test_other_cells_are_unchanged() -> None:
    """A sign elsewhere is text."""
    assert csv_lines([["a=1", "1-2", ""]]) == b"a=1,1-2,\r\n"
