"""Classification of the driver's errors: outages, which are temporary, and defects of this program.

SQLite's driver reports SQLite's result code (https://www.sqlite.org/rescode.html), psycopg the SQLSTATE of
PostgreSQL (its manual, appendix A).  The exception classes of DBAPI do not distinguish outages from defects: SQLite's
``OperationalError`` means a full disk as well as a missing table.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any, Final

from sqlalchemy import exc

# The primary result codes about the file, the disk, or another process.
_SQLITE_OUTAGES: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOTADB,
    }
)
# Connection, authorization, catalog, rollback (deadlock), resources, operator intervention, system, damage.
_SQLSTATE_OUTAGES: Final = ("08", "28", "3D", "40", "53", "57", "58", "F0", "XX001", "XX002")
# Lock not available, object in use, read-only transaction (a standby after a fail-over).
_SQLSTATES: Final = frozenset({"55P03", "55006", "25006"})
# SQLite's messages that name objects of the schema, never values of a row or a query.
_NAMING: Final = re.compile(r"no such (?:table|index|function|module): [\w.]{1,100}")


class DatabaseDefect(Exception):
    """A statement rejected by the database: a defect of this program, or a foreign schema.

    Its message contains no values, unlike the driver's message, which may quote parameters.
    """


def outage_of(error: BaseException) -> str | None:
    """Return the cause, for the log, when *error* is an outage of the database as a whole; else None."""
    if isinstance(error, exc.TimeoutError):
        return "no connection became free in time"
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return f"the connection was lost: {_first_line(error.orig)}"
    driver_error = _driver_error(error)
    if not _is_outage(driver_error):
        return None
    return f"{_name(driver_error)}: {_first_line(driver_error)}"


def _is_outage(error: BaseException) -> bool:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_OUTAGES
    if not hasattr(error, "sqlstate"):
        return False
    state: str | None = error.sqlstate
    if state is None:
        # No answer from the server: it was unreachable, or the connection was lost.
        return any(cls.__name__ == "OperationalError" for cls in type(error).__mro__)
    return state in _SQLSTATES or state.startswith(_SQLSTATE_OUTAGES)


def is_of_driver(error: BaseException) -> bool:
    """Return whether *error* comes from the database or its driver."""
    driver_error = _driver_error(error)
    return (
        isinstance(error, exc.SQLAlchemyError)
        or isinstance(driver_error, sqlite3.Error)
        or hasattr(driver_error, "sqlstate")
    )


def defect_of(error: BaseException) -> DatabaseDefect:
    """Return an error that describes the defect without the values of the statement."""
    driver_error = _driver_error(error)
    text = _name(driver_error)
    named = _NAMING.match(str(driver_error)) if isinstance(driver_error, sqlite3.Error) else None
    if named is not None:
        text += f": {named[0]}"
    diagnostics: Any = getattr(driver_error, "diag", None)
    for field in ("table_name", "column_name", "constraint_name"):
        value = getattr(diagnostics, field, None)
        if value:
            text += f", {field.removesuffix('_name')} {value}"
    return DatabaseDefect(text)


def _driver_error(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error


def _name(error: BaseException) -> str:
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    return type(error).__name__ if code is None else f"{type(error).__name__} {code}"


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no reason given"
