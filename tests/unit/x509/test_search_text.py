"""Folding, and the index entries of texts (UI-2)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.x509.san_text import certificate_sans, unicode_form
from pikachu.x509.search_text import (
    MAX_TEXT,
    content_entries,
    entry_number,
    fold,
    index_content,
    index_entries,
    is_indexed,
    object_text,
    search_terms,
)

TEXTS = st.text(max_size=40) | st.text("aäß北京-. ", max_size=40)


@given(TEXTS)
def test_folding_is_stable(text: str) -> None:
    """UI-2: a folded text folds to itself, without control characters."""
    folded = fold(text)
    assert fold(folded) == folded
    assert not any(character < " " for character in folded)


@given(TEXTS, st.data())
def test_every_part_of_a_text_is_in_its_index(text: str, data: st.DataObject) -> None:
    """UI-2: the index content of a text has the entries of each part, as text and as numbers."""
    name = f"CN={text}"
    whole = object_text((name, f"DNS:{text}", "EC/prime256v1"))
    for word in whole.split():
        start = data.draw(st.integers(0, len(word) - 1))
        part = word[start : data.draw(st.integers(start + 1, len(word)))]
        if is_indexed(part):
            entries = index_entries([part])
            assert entries
            content = index_content(whole)
            assert all(entry in content for entry in entries), (part, content)
            assert {entry_number(entry) for entry in entries} <= set(content_entries(whole))


@pytest.mark.parametrize(
    "text", ["a\u0300" * 20_000, "\u0300" * 40_000, "\ufdfa" * 40_000, "xn--" + "a" * 40_000, "ß " * 20_000]
)
def test_long_texts_are_bounded(text: str) -> None:
    """NFKC takes quadratic time for combining marks: a text is bounded before, and its result, too."""
    begun = time.process_time()
    fold("Ä" * MAX_TEXT)
    reference = time.process_time() - begun
    begun = time.process_time()
    assert len(object_text((text, text))) <= 2 * MAX_TEXT + 1
    assert time.process_time() - begun < 200 * reference + 0.5
    assert len("".join(search_terms(text[:200]))) <= MAX_TEXT


def test_labels_and_certificates_that_can_not_be_decoded() -> None:
    """Invalid A-labels stay, and bytes that are no certificate have no names."""
    assert unicode_form("DNS:XN--BCHER-KVA.example") == "DNS:bücher.example"
    for text in ("xn--", "xn--\u00e4", "xn--zzzzzz99999", f"xn--{'a' * 80}.example"):
        assert unicode_form(text) == text
    for data in (b"", b"certificate", b"\x06\x03\x55\x1d\x11", b"\x30\x05\x06\x03\x55\x1d\x11"):
        assert certificate_sans(data) == ()
