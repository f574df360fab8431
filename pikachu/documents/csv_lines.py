"""Lines of CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

# A spreadsheet evaluates a cell with such a prefix as a formula: also in full width, where its language is Japanese,
# and after line breaks.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_lines(rows: Sequence[Sequence[str]]) -> bytes:
    """Return rows as lines of CSV, in which no cell is a formula."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([[f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row] for row in rows])
    return buffer.getvalue().encode("utf-8", "replace")
