"""Text for search: folding, the terms of a query, and the index entries of a text.

The same text is compared in every kind of database, so folding is done here and never by SQL: SQLite's ``lower()``
knows ASCII only, and PostgreSQL's depends on the collation of the database.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from pikachu.core.model.certificates import display_name
from pikachu.x509.san_text import unicode_form

#: Maximum number of characters of an object's text that are searched.
MAX_TEXT: Final = 8192
# Normalization takes quadratic time for a sequence of combining marks, so a text is normalized in pieces.
_PIECE: Final = 512
# Characters of a name that its list is sorted by.
_MAX_NAME_KEY: Final = 200
_IGNORABLE_RANGES: Final = (
    (0xAD, 0xAD),
    (0x34F, 0x34F),
    (0x61C, 0x61C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xE0000, 0xE0FFF),
)
# Characters that have no shape of their own, such as variation selectors and marks of direction (Unicode's
# Default_Ignorable_Code_Point), and the control characters, which separate words.
_REPLACED: Final = {
    **dict.fromkeys((*range(0x20), 0x7F), " "),
    **dict.fromkeys(code for first, last in _IGNORABLE_RANGES for code in range(first, last + 1)),
}
#: Marks the index entries of one and two characters; no folded text contains it.
MARK: Final = "\x01"
_TRIGRAM: Final = 3
_NUMBER_LABEL: Final = re.compile(r"(?:sha-?256 |x509v3 )?(?:fingerprint|serial(?: ?number)?)(?: \(sha-?256\))? ?[:=]")
_GROUPS: Final = re.compile("[ :.-]+")
_DIGITS: Final = re.compile("[0-9a-f]+")
# Groups of a number: a text of fewer may be words.
_MIN_GROUPS: Final = 4


def fold(text: str) -> str:
    """Fold *text* so that it equals every other form of it: any case, composed or not, in any width.

    Folded are at most ``MAX_TEXT`` characters, by NFKC and full case folding (Unicode section 3.13).  The Turkish
    dotted and dotless i are folded to i, as no case folding suits both Turkish and other languages.
    """
    text = text[:MAX_TEXT]
    if text.isascii():
        return text.lower() if text.isprintable() else text.lower().translate(_REPLACED)
    return "".join(_fold_piece(piece) for piece in _pieces(text))[:MAX_TEXT]


def _pieces(text: str) -> Iterable[str]:
    """Split *text* into pieces that are cheap to normalize, after a space where there is one."""
    start = 0
    while len(text) - start > _PIECE:
        end = text.rfind(" ", start, start + _PIECE) + 1 or start + _PIECE
        yield text[start:end]
        start = end
    yield text[start:]


def _fold_piece(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.replace("i\u0307", "i").replace("\u0131", "i").translate(_REPLACED)


def search_terms(query: str | None) -> list[str]:
    """Return the folded words of a query; an object matches when its folded text contains all of them."""
    words = dict.fromkeys(fold(query or "").split())
    return [word for word in words if not any(word in other for other in words if other != word)]


def number_terms(query: str | None) -> list[str]:
    """Return the terms of a query that is a serial number or fingerprint as programs print it, else no terms.

    Such as ``3A:4F:00:12``, ``3a 4f 00 12``, ``0x3A4F0012`` or ``SHA256 Fingerprint=3A:4F…``: at least four groups of
    the same even length, or one of digits, which are joined.
    """
    text = fold(query or "").strip()
    match = _NUMBER_LABEL.match(text)
    if match is not None:
        text = text[match.end() :].strip()
    groups = _GROUPS.split(text.removeprefix("0x"))
    if not all(_DIGITS.fullmatch(group) for group in groups):
        return []
    if len(groups) == 1:
        return groups if match is not None or text.startswith("0x") else []
    size = len(groups[1])
    regular = all(len(group) == size for group in groups[1:-1]) and max(len(groups[0]), len(groups[-1])) <= size
    return ["".join(groups)] if regular and size % 2 == 0 and len(groups) >= _MIN_GROUPS else []


def object_text(values: Iterable[str | None]) -> str:
    """Return the folded text of an object with these values, and the Unicode forms of their A-labels."""
    text = " ".join(value for value in values if value)[:MAX_TEXT]
    readable = unicode_form(text)
    return fold(text) if readable == text else f"{fold(text)} {fold(readable)}"


def search_text(subject: str, sans: Sequence[str], key_type: str, method: str) -> str:
    """Return the folded text by which a certificate is found."""
    return object_text((subject, *sans, key_type, method))


def name_key(common_name: str, sans: Sequence[str], serial: str) -> str:
    """Return the folded name by which a certificate is sorted."""
    return fold(display_name(common_name, sans, serial)[:_MAX_NAME_KEY])


def contains_all(text: str, terms: Sequence[str]) -> bool:
    """Return whether a folded text contains all terms."""
    return all(term in text for term in terms)


def is_indexed(term: str) -> bool:
    """Return whether the index has entries for a term: shorter ASCII terms occur in too many texts."""
    return len(term) >= _TRIGRAM or not term.isascii()


def index_content(text: str) -> str:
    """Return the text from which SQLite's trigram tokenizer makes all index entries of a folded text.

    It makes none of one or two characters, which are whole words in some scripts: those of other characters than
    ASCII are appended as trigrams with a mark.
    """
    content = _without_repetition(text)
    return content if text.isascii() else f"{content} {''.join(_short_entries(text))}{MARK}"


def _without_repetition(text: str) -> str:
    """Shorten a name of which the value stands in the first word, such as a DNS name that is the common name.

    No trigram is lost, and issuance writes half as many.
    """
    first, separator, rest = text.partition(" ")
    kind, colon, value = rest.partition(" ")[0].partition(":")
    if not colon or value not in first:
        return text
    return f"{first}{separator}{kind}:{value[:2]}{rest[len(kind) + 1 + len(value) :]}"


def _short_entries(text: str) -> Iterable[str]:
    """Return the marked forms of the characters and pairs that contain others than ASCII, each once."""
    letters = dict.fromkeys(MARK + letter for letter in text if not letter.isascii())
    pairs = dict.fromkeys(
        MARK + first + second
        for first, second in zip(text, islice(text, 1, None), strict=False)
        if " " not in (first, second) and not (first.isascii() and second.isascii())
    )
    return (*letters, *pairs)


def index_entries(terms: Iterable[str]) -> list[str]:
    """Return the trigrams of which all occur in the index content of each text that contains all *terms*."""
    entries: dict[str, None] = {}
    for term in terms:
        if len(term) >= _TRIGRAM:
            # Adjacent trigrams and the last one, since overlapping ones add cost and little selectivity.
            starts = [*range(0, len(term) - _TRIGRAM, _TRIGRAM), len(term) - _TRIGRAM]
            entries.update(dict.fromkeys(term[start : start + _TRIGRAM] for start in starts))
        elif is_indexed(term):
            entries[(MARK + term + MARK)[:_TRIGRAM]] = None
    return list(entries)


def content_entries(text: str) -> list[int]:
    """Return all index entries of a folded text, as numbers, for a database without a trigram tokenizer."""
    content = index_content(text)
    trigrams = {content[start : start + _TRIGRAM] for start in range(len(content) - _TRIGRAM + 1)}
    return sorted(entry_number(trigram) for trigram in trigrams if " " not in trigram)


def entry_number(trigram: str) -> int:
    """Return the number of a trigram: its three code points of 21 bits each."""
    first, second, third = map(ord, trigram)
    return first << 42 | second << 21 | third
