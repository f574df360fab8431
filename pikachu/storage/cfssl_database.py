"""The SQLite database of cfssl (its certdb/sqlite/migrations), read without trust in it (OPS-7)."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Final

from pikachu.core.errors import MalformedRequest

#: How a SQLite file begins.
SQLITE_HEAD: Final = b"SQLite format 3\0"
#: The columns of a certificate that :func:`cfssl_rows` returns.
COLUMNS: Final = ("serial_number", "authority_key_identifier", "status", "reason", "revoked_at", "pem")
# A table, since a view of that name would compute something.
_HAS_TABLE: Final = (
    "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'certificates' AND sql NOT LIKE '%VIRTUAL%'"
)
_ROWS: Final = f"SELECT {', '.join(COLUMNS)} FROM certificates ORDER BY rowid"  # noqa: S608 - constants
# Maximum bytes of a row, which has a certificate.
_MAX_LENGTH: Final = 1 << 20
_WAL_POSITION: Final = 18
_WAL: Final = 2


def is_in_wal_mode(head: bytes) -> bool:
    """Return whether a file's newest rows may be in another one (https://sqlite.org/fileformat.html, section 1.3.3)."""
    return head[_WAL_POSITION : _WAL_POSITION + 1] == bytes([_WAL])


def cfssl_rows(path: Path) -> Generator[dict[str, object], None, None]:
    """Yield the rows of the table ``certificates``; none where there is no such table.  Blocks.

    :param path: a private copy.
    :raises MalformedRequest: the file is damaged, or the table has other columns.
    """
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_LENGTH)
        for pragma in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON"):
            connection.execute(f"PRAGMA {pragma}")
        if connection.execute(_HAS_TABLE).fetchone() is None:
            return
        for row in connection.execute(_ROWS):
            yield dict(zip(COLUMNS, row, strict=True))
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise MalformedRequest("the SQLite database is damaged, or not one of cfssl", error=str(error)) from error
    finally:
        connection.close()
