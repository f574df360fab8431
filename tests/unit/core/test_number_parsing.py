"""Whole numbers in texts."""

from __future__ import annotations

import pytest

from pikachu.core.number_parsing import MAX_ID, parse_number


@pytest.mark.parametrize(
    ("text", "maximum", "minimum", "number"),
    [
        ("0", 9, 0, 0),
        ("9", 9, 0, 9),
        ("10", 9, 0, None),
        ("007", 100, 0, 7),
        ("0" * 9 + "7", 10, 0, 7),
        ("1", 9, 2, None),
        (str(MAX_ID), MAX_ID, 0, MAX_ID),
        (str(MAX_ID + 1), MAX_ID, 0, None),
        ("9" * 100_000, MAX_ID, 0, None),
    ],
)
def test_range(text: str, maximum: int, minimum: int, number: int | None) -> None:
    assert parse_number(text, maximum, minimum=minimum) == number


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "+1", "-1", "1_0", "1.0", "1e3", "0x1", "\u00b2", "\u0661", "\uff11", "one", "1\n"]
)
def test_only_ascii_digits(text: str) -> None:
    """``int`` accepts some of these, and ``isdigit`` others, such as superscript two and the one of other scripts."""
    assert parse_number(text) is None
