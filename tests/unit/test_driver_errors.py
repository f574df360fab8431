"""Database driver errors: outages and defects, and each protocol's response to them."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent

import psycopg
import pytest
from sqlalchemy import exc

from pikachu.core.errors import StoreUnavailable
from pikachu.core.model.events import Event
from pikachu.core.model.requests import NewCSR
from pikachu.server.sites import Sites
from pikachu.storage.driver_errors import defect_of, is_of_driver, outage_of
from tests.support.databases import NOW
from tests.support.deferreds import failure_of
from tests.support.ocsp import cert_id, request
from tests.support.stack import Response, Stack, ask, build_core

HIDDEN = "hidden-name"


def sqlite_error(name: str, cls: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    """An error as the driver raises it."""
    error = cls(f"the text, with {HIDDEN}")
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    return error


def postgresql_error(state: str) -> psycopg.Error:
    """An error as psycopg makes it of a server's answer."""
    return psycopg.errors.lookup(state)(f"the text, with {HIDDEN}")


OUTAGES: list[BaseException] = [
    *(
        sqlite_error(f"SQLITE_{name}")
        for name in (
            *("BUSY", "BUSY_SNAPSHOT", "BUSY_RECOVERY", "LOCKED", "LOCKED_SHAREDCACHE", "IOERR", "IOERR_FSYNC", "FULL"),
            *("IOERR_WRITE", "IOERR_READ", "CANTOPEN", "READONLY", "READONLY_DBMOVED", "PROTOCOL", "NOMEM", "PERM"),
        )
    ),
    sqlite_error("SQLITE_CORRUPT", sqlite3.DatabaseError),
    sqlite_error("SQLITE_CORRUPT_VTAB", sqlite3.DatabaseError),
    sqlite_error("SQLITE_NOTADB", sqlite3.DatabaseError),
    *(
        postgresql_error(state)
        for state in (
            *("08000", "08003", "08006", "08001", "53100", "53200", "53300", "57014", "57P01", "57P02", "57P03"),
            *("58000", "58030", "40001", "40P01", "55P03", "25006", "XX001", "XX002", "28P01", "3D000"),
        )
    ),
    psycopg.OperationalError("connection refused"),
    psycopg.errors.ConnectionTimeout("no answer"),
    exc.TimeoutError("QueuePool limit"),
]
DEFECTS: list[BaseException] = [
    sqlite_error("SQLITE_ERROR"),
    sqlite_error("SQLITE_SCHEMA"),
    sqlite_error("SQLITE_TOOBIG", sqlite3.DataError),
    sqlite_error("SQLITE_MISMATCH", sqlite3.IntegrityError),
    sqlite_error("SQLITE_CONSTRAINT_UNIQUE", sqlite3.IntegrityError),
    sqlite_error("SQLITE_MISUSE", sqlite3.InterfaceError),
    sqlite3.ProgrammingError("Cannot operate on a closed database."),
    *(postgresql_error(state) for state in ("42P01", "42703", "42601", "22P02", "22001", "23505", "0A000", "25P02")),
    psycopg.ProgrammingError("the query has 1 placeholder but 0 parameters were passed"),
    psycopg.InterfaceError("the cursor is closed"),
    exc.ArgumentError("no engine"),
]
FOREIGN: list[BaseException] = [ValueError("x"), KeyError("x"), RuntimeError("x"), OSError(28, "No space left")]


def wrapped(error: BaseException) -> list[BaseException]:
    """The error, and as SQLAlchemy passes it on."""
    if isinstance(error, exc.SQLAlchemyError):
        return [error]
    return [error, exc.DBAPIError("SELECT :name", {"name": HIDDEN}, error, hide_parameters=True)]


@pytest.mark.parametrize("error", OUTAGES, ids=repr)
def test_outages(error: BaseException) -> None:
    for one in wrapped(error):
        assert outage_of(one)


@pytest.mark.parametrize("error", DEFECTS, ids=repr)
def test_defects(error: BaseException) -> None:
    """Their text has the driver's class and code, and no value."""
    for one in wrapped(error):
        assert outage_of(one) is None
        assert is_of_driver(one)
        text = str(defect_of(one))
        assert type(error).__name__ in text
        assert HIDDEN not in text


@pytest.mark.parametrize("error", FOREIGN, ids=repr)
def test_what_is_no_error_of_a_database(error: BaseException) -> None:
    assert outage_of(error) is None
    assert not is_of_driver(error)


def test_a_connection_that_sqlalchemy_gave_up() -> None:
    error = exc.DBAPIError("SELECT 1", None, psycopg.ProgrammingError("x"), connection_invalidated=True)
    assert outage_of(error)


# --- outlets -----------------------------------------------------------------------------------


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"))
    yield made
    made.close()


def rename_tables(stack: Stack) -> None:
    """Take away what every outlet reads."""
    connection = sqlite3.connect(stack.files.folder / "pikachu.sqlite", isolation_level=None)
    for table in ("tokens", "sessions", "accounts", "certificates", "policies"):
        connection.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
    connection.close()


def overwrite(stack: Stack) -> None:
    """Damage the file."""
    stack.app.store.release_connections()
    path = stack.files.folder / "pikachu.sqlite"
    path.write_bytes(b"\xa5" * path.stat().st_size)


def put_folder(stack: Stack) -> None:
    """Put a folder in the file's place."""
    stack.app.store.release_connections()
    path = stack.files.folder / "pikachu.sqlite"
    path.unlink()
    path.mkdir()


@dataclass(frozen=True)
class Outlet:
    """A request that reads the database, and its response for 503 and for 500."""

    name: str
    target: str
    headers: dict[str, str]
    method: str = "GET"
    body: Callable[[Stack], bytes] = lambda stack: b""
    ocsp: bool = False

    def ask(self, stack: Stack) -> Response:
        """Send it to a site with everything on it."""
        site = stack.site(*Sites(stack.app, stack.clock, lambda: False).of("https"))
        return ask(site, stack.clock, self.target, self.method, self.body(stack), self.headers)

    def status(self, response: Response) -> int:
        """The HTTP status that its answer comes to."""
        if not self.ocsp:
            return response.status
        return {3: 503, 2: 500}[response.body[-1]]


def question(stack: Stack) -> bytes:
    """An OCSP request."""
    return request(cert_id(stack.issuer().certificate, 1234))


BASIC = base64.b64encode(f"{HIDDEN}:password".encode()).decode()
OUTLETS = [
    Outlet("REST", "/api/v1/certificates", {"Authorization": "Bearer pik_" + "A" * 43}),
    Outlet("page", "/certificates", {"Cookie": "__Host-pikachu=" + "A" * 43, "Accept": "text/html"}),
    Outlet(
        "EST",
        "/.well-known/est/simpleenroll",
        {"Authorization": f"Basic {BASIC}", "Content-Type": "application/pkcs10"},
        "POST",
        lambda stack: b"MAA=",
    ),
    Outlet("SCEP", "/scep?operation=GetCACert", {}),
    Outlet("download", "/status/1234", {}),
    Outlet("OCSP", "/ocsp", {"Content-Type": "application/ocsp-request"}, "POST", question, True),
]
BREAKAGES: list[tuple[Callable[[Stack], None], int, str]] = [
    (rename_tables, 500, "no such table"),
    (overwrite, 503, "SQLITE_NOTADB"),
    (put_folder, 503, "SQLITE_CANTOPEN"),
]


def told(event: LogEvent) -> str:
    """All of a line of the log."""
    failure = event.get("log_failure")
    return formatEvent(event) + ("" if failure is None else failure.getTraceback())


@pytest.mark.parametrize("outlet", OUTLETS, ids=lambda outlet: outlet.name)
@pytest.mark.parametrize(("break_it", "status", "cause"), BREAKAGES, ids=[one.__name__ for one, *_ in BREAKAGES])
def test_each_outlet(stack: Stack, break_it: Callable[[Stack], None], status: int, cause: str, outlet: Outlet) -> None:
    """An outage is 503 with its cause in the log; a defect is 500 with a failure id; neither shows a parameter."""
    break_it(stack)
    with capturedLogs() as events:
        response = outlet.ask(stack)
    assert outlet.status(response) == status, response.raw
    lines = [told(event) for event in events if event["log_level"] in (LogLevel.error, LogLevel.critical)]
    assert any(cause in line for line in lines), lines
    assert not any(HIDDEN in line for line in lines)
    assert cause.encode() not in response.body
    if status == 503 and not outlet.ocsp:
        assert int(response.headers["Retry-After"]) >= 1
    if status == 500:
        assert any("internal error" in line for line in lines)
        if outlet.name == "REST":
            assert any(json.loads(response.body)["failure_id"] in line for line in lines)


def test_the_store_of_a_full_disk(stack: Stack) -> None:
    """The cause is in what the log gets, and not in what clients get."""
    with stack.app.store.database.writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    store = stack.app.store
    added = store.add_csr(
        NewCSR("name", bytes(1 << 20), "CN=name", "EC", None), Event("create", "CSR", "name", "x"), NOW
    )
    error = failure_of(added, StoreUnavailable)
    assert "SQLITE_FULL" in str(error.context)
    assert "SQLITE" not in error.public
