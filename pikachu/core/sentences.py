"""Messages as sentences: the same text in an error, on a page and in problem details."""

from __future__ import annotations


def sentence(text: str) -> str:
    """Return a message as a sentence: with a capital, unless it begins with an identifier, and with a full stop."""
    first, _, _ = text.partition(" ")
    word = first.rstrip(",;:")
    if word.isalpha() and word.islower():
        text = text[0].upper() + text[1:]
    return text if not text or text[-1] in ".!?:\u2026" else f"{text}."
