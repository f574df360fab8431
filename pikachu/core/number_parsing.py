"""Whole numbers in texts that people and programs send: form fields, queries, paths, settings, arguments."""

from __future__ import annotations

from typing import Final

#: The largest id of a row, and the largest number of other fields.
MAX_ID: Final = 2**63 - 1
MAX_NUMBER: Final = 999_999_999
# Serial numbers have up to 49 (RFC 5280 section 4.1.2.2: 20 octets).
_MAX_DIGITS: Final = 50


def parse_number(text: str, maximum: int = MAX_NUMBER, *, minimum: int = 0) -> int | None:
    """Return the number that *text* is in ASCII digits, or None when it is none or out of range.

    :param minimum: at least 0: there is no sign.
    """
    # int() accepts digits of all scripts, underscores, spaces and signs, and takes long for long texts.
    if not (text.isascii() and text.isdecimal()) or len(text) > _MAX_DIGITS:
        return None
    number = int(text)
    return number if minimum <= number <= maximum else None
