"""Lines of CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

# A spreadsheet evaluates a cell with such a prefix as a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_lines(rows: Sequence[Sequence[str]]) -> bytes:
    """Return rows as lines of CSV, in which no cell is a formula."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([[f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row] for row in rows])
    return buffer.getvalue().encode("utf-8", "replace")
