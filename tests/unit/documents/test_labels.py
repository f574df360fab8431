"""Sheets of labels: what a person reads on them, and what a scanner does (ENR-1)."""

from __future__ import annotations

from pikachu.documents.labels import Label, LabelLayout, LabelSheet, label_sheet
from tests.support.pdf import page_texts, scanned_codes

SHEET = LabelSheet("Hamburg", "https://ca.example.com:8443/.well-known/est", "2026-12-07 12:00 UTC")


def password(number: int) -> str:
    """A challenge password."""
    return f"{0x9E3779B97F4A7C15 * (number + 1) % (1 << 128):032X}"


def test_sheet() -> None:
    """24 labels on a page, each with its name, address, password and code."""
    labels = [Label(f"pump-{number:03}.example.com", password(number)) for number in range(26)]
    found = label_sheet(SHEET, labels, LabelLayout.A4)
    first, second = page_texts(found)
    assert "pump-023.example.com" in first
    assert "pump-024.example.com" in second
    assert first.count("Expires 2026-12-07 12:00 UTC") == 24
    assert first.replace(" ", "").count("https://ca.example.com:8443/.well-known/est") == 24
    assert all(label.password in first.replace(" ", "") for label in labels[:24])
    assert sorted(scanned_codes(found)) == sorted(label.password for label in labels)


def test_single() -> None:
    """A label printer gets a page for each label."""
    labels = [Label("pump-1", password(1)), Label("pump-2", password(2))]
    found = label_sheet(SHEET, labels, LabelLayout.SINGLE)
    assert [text.split()[0] for text in page_texts(found)] == ["pump-1", "pump-2"]
    assert scanned_codes(found) == [password(1), password(2)]


def test_names_in_any_script() -> None:
    """Scripts of the font are written, right-to-left ones too; what the font lacks is shown by number."""
    names = ("Zürich Ελλάδα Привет", "שלום", "नमस्ते", "ไทย", "中文\x07", "a\u202eb", "😀")
    found = label_sheet(SHEET, [Label(name, password(0)) for name in names], LabelLayout.SINGLE)
    latin, hebrew, devanagari, thai, chinese, override, picture = page_texts(found)
    assert latin.startswith("Zürich Ελλάδα Привет")
    assert "שלום" in hebrew
    assert "\\u" not in devanagari + thai
    assert chinese.startswith("\\u{4E2D}\\u{6587}\\u{0007}")
    assert override.startswith("a\\u{202E}b")
    assert picture.startswith("\\u{1F600}")


def test_long_names_are_cut() -> None:
    """A name that has no room ends with an ellipsis, and leaves the rest of the label where it is."""
    found = label_sheet(SHEET, [Label("a" * 300, password(0)), Label("m-" * 150, password(1))], LabelLayout.SINGLE)
    for text in page_texts(found):
        assert "\u2026" in text
        assert "Expires 2026-12-07" in text
