"""Certificates with their status in databases of cfssl: its SQLite file, or its rows as JSON (OPS-7)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import SERIAL_END, RevocationReason
from pikachu.core.number_parsing import parse_number
from pikachu.operations.ca_folders import FolderFile
from pikachu.storage.cfssl_database import SQLITE_HEAD, cfssl_rows, is_in_wal_mode

#: Maximum bytes of a JSON file, which is read as a whole, and of a SQLite file, of which a copy is made.
MAX_JSON: Final = 64 << 20
MAX_DATABASE: Final = 8 << 30
_JSON: Final = ".json"
_DATABASES: Final = (".db", ".sqlite", ".sqlite3")
_COPIED: Final = 1 << 20
# What the definitions of tables, on the first pages, have: of cfssl's table, and all.
_TABLE: Final = b"authority_key_identifier"
_CREATE: Final = b"CREATE "
# The columns that make a JSON object one of the table.
_REQUIRED: Final = frozenset(("serial_number", "authority_key_identifier", "status", "pem"))
# What tells the table's rows in a file that is not as it should be.
_MARKS: Final = (b"serial_number", b"authority_key_identifier")
_BYTEA: Final = re.compile(r"\\x(?:[0-9a-f]{2})*")
_FIRST_YEAR: Final = 1950
_REMOVE_FROM_CRL: Final = 8


class NotOfCfssl(Exception):
    """A database that is not read, and in which no table of cfssl is seen; the text says why."""


@dataclass(frozen=True, slots=True)
class CfsslRecord:
    """A row of cfssl's table ``certificates``.

    :param authority_key: the issuer's key identifier.
    :param revocation: time and reason, or ``None``.
    """

    serial: int
    authority_key: bytes
    revocation: tuple[datetime, RevocationReason] | None
    pem: bytes


def may_have_records(file: FolderFile) -> bool:
    """Return whether a file has the name of a database, or of JSON."""
    return file.path.suffix.lower() in (_JSON, *_DATABASES)


def cfssl_records(file: FolderFile) -> Generator[CfsslRecord, None, None]:
    """Yield the records of a file; none for a file of another kind.  Blocks; close it if it is not read to its end.

    :raises MalformedRequest: the file is damaged or too large, or a record is none: what is revoked might be missed.
    :raises NotOfCfssl: it is probably another program's database, and not read.
    :raises OSError: the file can't be read.
    """
    # Closed, so that the copy of a database is removed at once.
    with closing(_json_rows(file) if file.path.suffix.lower() == _JSON else _database_rows(file)) as rows:
        for number, row in enumerate(rows, 1):
            try:
                record = _record(row)
            except MalformedRequest as error:
                raise MalformedRequest(f"{file.path}, record {number}: {error.public}") from None
            yield record


def _database_rows(file: FolderFile) -> Generator[dict[str, Any], None, None]:
    start = file.beginning(_COPIED)
    if not start.startswith(SQLITE_HEAD):
        return
    reason = None
    if file.size > MAX_DATABASE:
        reason = f"larger than {MAX_DATABASE >> 30} GiB"
    elif is_in_wal_mode(start):
        reason = "it has a write-ahead log; run: sqlite3 FILE 'PRAGMA journal_mode = DELETE'"
    if reason is not None:
        # Without any table, the log has them.
        if _TABLE in start or _CREATE not in start:
            raise MalformedRequest(f"{file.path}: {reason}")
        raise NotOfCfssl(reason)
    # SQLite opens files by their names, which others could replace meanwhile.
    with TemporaryDirectory(prefix="pikachu-import-") as folder:
        copy = Path(folder) / "copy.db"
        with file.open() as source, copy.open("xb") as target:
            shutil.copyfileobj(source, target, _COPIED)
        try:
            with closing(cfssl_rows(copy)) as rows:
                yield from rows
        except MalformedRequest as error:
            raise MalformedRequest(f"{file.path}: {error.public}") from None


def _json_rows(file: FolderFile) -> Generator[dict[str, Any], None, None]:
    """Yield the objects of an array, or of lines with one each."""
    content = file.read(MAX_JSON)
    if content is None:
        raise MalformedRequest(f"{file.path} is larger than {MAX_JSON >> 20} MiB; divide it")
    try:
        rows = _parsed(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        # Torn, indented, or in UTF-16.
        plain = content.replace(b"\0", b"")
        if all(name in plain for name in _MARKS):
            raise MalformedRequest(f"{file.path} is neither an array nor an object a line, in UTF-8") from None
        return
    if not any(isinstance(row, dict) and row.keys() >= _REQUIRED for row in rows):
        return
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not row.keys() >= _REQUIRED:
            raise MalformedRequest(f"{file.path}, record {number}: it lacks one of {', '.join(sorted(_REQUIRED))}")
        yield row


def _parsed(text: str) -> list[Any]:
    """Return the items of an array, or the values of lines."""
    if text.lstrip().startswith("["):
        items = json.loads(text)
        return items if isinstance(items, list) else []
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _record(row: dict[str, Any]) -> CfsslRecord:
    serial = parse_number(_text(row["serial_number"]), SERIAL_END - 1, minimum=1)
    if serial is None:
        raise MalformedRequest("serial_number is none in decimal digits")
    try:
        authority_key = bytes.fromhex(_text(row["authority_key_identifier"]))
    except ValueError:
        raise MalformedRequest("authority_key_identifier is not hexadecimal") from None
    status = _text(row["status"])
    if status not in ("good", "revoked", "expired"):
        raise MalformedRequest("status is none of good, revoked and expired")
    revocation = None
    if status == "revoked":
        revocation = (_time(_text(row.get("revoked_at"))), _reason(row.get("reason")))
    return CfsslRecord(serial, authority_key, revocation, _text(row["pem"]).encode())


def _text(value: object) -> str:
    """Return a column as text; cfssl declares many as blobs, which PostgreSQL's JSON has in hexadecimal."""
    if isinstance(value, str) and _BYTEA.fullmatch(value):
        value = bytes.fromhex(value.removeprefix("\\x"))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def _reason(value: object) -> RevocationReason:
    number = parse_number(_text(value) or "0", 10)
    if number == _REMOVE_FROM_CRL:
        # Of delta CRLs; the status says that the certificate is revoked.
        return RevocationReason.UNSPECIFIED
    try:
        return RevocationReason(-1 if number is None else number)
    except ValueError:
        raise MalformedRequest("the reason of a revocation is not known") from None


def _time(text: str) -> datetime:
    """Parse a time as SQLite, Go and PostgreSQL write it; without a zone, it is UTC."""
    try:
        # Go writes the zone twice: 2026-01-02 03:04:05 +0000 UTC.
        moment = datetime.fromisoformat(text.removesuffix(" UTC").replace(" +", "+"))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise MalformedRequest("revoked_at is no time") from None
    if moment.year < _FIRST_YEAR:
        raise MalformedRequest("revoked_at is no time")
    return moment.replace(microsecond=0)
