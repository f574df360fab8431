"""Databases with many certificates, filled at the speed of the disk.

What the store has written for one certificate that was really enrolled, and for one that was really revoked, is
multiplied: every table that an issuance or a revocation writes gets its row, with serial, name, key and times of its
own.  A column that the store learns to write is copied from the sample without a change here.  Only the signatures in
the certificates stay those of the sample: nothing that is measured verifies them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.place import REVOKED_NAME, VALID_NAME, Place, founded
from pikachu.config.loading import load
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer
from pikachu.server.files import secret_key
from pikachu.storage.audit import event_hash
from pikachu.storage.audit_key import load_audit_key
from pikachu.storage.database import Database
from pikachu.x509 import der
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.crl import crl_entry

_CHUNK: Final = 20_000
_DAY: Final = 86400
_TABLES: Final = ("certificates", "requests", "audit_events", "status_changes", "crl_entries")
_TIMES: Final = {"not_before", "not_after", "created_at", "at", "dedupe_until", "revoked_at"}
_AUDITED: Final = 10

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _One:
    """The fields in which a certificate of the filling differs from the sample."""

    id: int
    serial: str
    name: str
    key_id: bytes
    certificate: bytes
    later: int


class _Sample:
    """The rows of one certificate, to be copied."""

    def __init__(self, database: sqlite3.Connection, name: str) -> None:
        self.certificate = _row(database, "SELECT * FROM certificates WHERE common_name = ?", name)
        self.name = name
        self.serial: str = self.certificate["serial"]
        identity = self.certificate["id"]
        self.request = _row(database, "SELECT * FROM requests WHERE certificate_id = ?", identity)
        events = "SELECT * FROM audit_events WHERE resource_name = ? AND type = ?"
        self.created = _row(database, events, self.serial, "create")
        self.revoked = _row(database, events, self.serial, "revoke") if self.certificate["revoked_at"] else None
        self._pieces, self._slots = _cut(self.certificate, name)

    def certificate_der(self, serial: bytes, name: bytes, point: bytes, times: bytes) -> bytes:
        """The DER certificate with other values."""
        values = {
            "serial": serial,
            "name": name,
            "point": point,
            "times": times,
            "identifier": hashlib.sha1(point).digest(),
        }
        parts = [self._pieces[0]]
        for slot, piece in zip(self._slots, self._pieces[1:], strict=True):
            parts += (values[slot], piece)
        return b"".join(parts)

    def changed(self, row: Row, one: _One) -> Row:
        """A row of the sample, for another certificate."""
        found = dict(row)
        for column, value in row.items():
            if isinstance(value, str):
                found[column] = value.replace(self.serial, one.serial).replace(self.name, one.name)
            elif column in _TIMES and value is not None:
                found[column] = value + one.later
        return found


def _row(database: sqlite3.Connection, query: str, *values: object) -> Row:
    cursor = database.execute(query, values)
    found = cursor.fetchone()
    if found is None:
        raise RuntimeError(f"the sample has no row for: {query}")
    return dict(zip([column[0] for column in cursor.description], found, strict=True))


def _times(not_before: int, not_after: int) -> bytes:
    return der.time(utc(not_before)) + der.time(utc(not_after))


def _cut(row: Row, name: str) -> tuple[list[bytes], list[str]]:
    """The DER of the sample between what differs, and what stands between the pieces."""
    data: bytes = row["der"]
    point = parse_certificate(data).spki_der[-65:]
    if hashlib.sha256(parse_certificate(data).spki_der).digest() != row["key_id"]:
        raise RuntimeError("the store identifies keys in another way than this program")
    wanted = {
        "serial": bytes.fromhex(row["serial"]),
        "name": name.encode(),
        "point": point,
        "times": _times(row["not_before"], row["not_after"]),
        "identifier": hashlib.sha1(point).digest(),
    }
    places = []
    for slot, value in wanted.items():
        at = data.find(value)
        if at < 0:
            raise RuntimeError(f"the sample's certificate does not hold its {slot}")
        while at >= 0:
            places.append((at, len(value), slot))
            at = data.find(value, at + 1)
    pieces, slots, end = [], [], 0
    for at, length, slot in sorted(places):
        pieces.append(data[end:at])
        slots.append(slot)
        end = at + length
    return [*pieces, data[end:]], slots


class _Filling:
    def __init__(self, path: Path, key: bytes, count: int, revoked: int, span_days: int) -> None:
        self._key = key
        self._database = sqlite3.connect(path, isolation_level=None)
        self._count = count
        self._revoked = revoked
        self._span = span_days * _DAY
        self._valid = _Sample(self._database, VALID_NAME)
        self._bad = _Sample(self._database, REVOKED_NAME)
        self._spki_head = parse_certificate(self._valid.certificate["der"]).spki_der[:-65]
        head = _row(self._database, "SELECT * FROM audit_head")
        self._events: int = head["count"]
        self._hash: bytes = head["hash"]

    def run(self) -> None:
        database = self._database
        with closing(database):
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -600000", "locking_mode = NORMAL"):
                database.execute(f"PRAGMA {pragma}")
            database.execute("BEGIN")
            indexes = self._drop_indexes()
            first = _row(database, "SELECT max(id) AS id FROM certificates")["id"] + 1
            first_request = _row(database, "SELECT max(id) AS id FROM requests")["id"] + 1
            for chunk in self._chunks(first):
                self._write_chunk(chunk, first, first_request)
            database.execute("UPDATE audit_head SET count = ?, hash = ?", (self._events, self._hash))
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'certificate_search'").fetchone():
                database.execute(
                    "INSERT INTO certificate_search (rowid, content) SELECT id, search_text FROM certificates"
                    " WHERE id >= ?",
                    (first,),
                )
            for statement in indexes:
                database.execute(statement)
            database.execute("COMMIT")
            database.execute("PRAGMA journal_mode = WAL")

    def _drop_indexes(self) -> list[str]:
        """Made again when all rows are there, which takes a fraction of the time."""
        query = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            f" AND tbl_name IN ({','.join('?' * len(_TABLES))})"
        )
        found = self._database.execute(query, _TABLES).fetchall()
        for name, _ in found:
            self._database.execute(f'DROP INDEX "{name}"')
        return [statement for _, statement in found]

    def _chunks(self, first: int) -> Iterator[list[_One]]:
        not_before, not_after = self._valid.certificate["not_before"], self._valid.certificate["not_after"]
        chunk: list[_One] = []
        for number in range(self._count):
            sample = self._bad if number < self._revoked else self._valid
            serial = (secrets.randbits(159) | 1 << 158).to_bytes(20, "big")
            point = b"\x04" + os.urandom(64)
            later = -((self._count - number) * self._span // self._count)
            name = f"device-{number + 2:08}.bench.example"
            data = sample.certificate_der(serial, name.encode(), point, _times(not_before + later, not_after + later))
            key_id = hashlib.sha256(self._spki_head + point).digest()
            chunk.append(_One(first + number, serial.hex(), name, key_id, data, later))
            if len(chunk) == _CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _write_chunk(self, chunk: Sequence[_One], first: int, first_request: int) -> None:
        rows: dict[str, list[Row]] = {table: [] for table in _TABLES}
        revoked: list[_One] = []
        for one in chunk:
            number = one.id - first
            sample = self._bad if number < self._revoked else self._valid
            certificate = sample.changed(sample.certificate, one)
            certificate.update(id=one.id, key_id=one.key_id, der=one.certificate)
            rows["certificates"].append(certificate)
            request = sample.changed(sample.request, one)
            request.update(
                id=first_request + number, key_id=one.key_id, certificate_id=one.id, dedupe=secrets.token_bytes(32)
            )
            rows["requests"].append(request)
            rows["audit_events"].append(self._chained(sample.changed(sample.created, one)))
            if sample is self._bad:
                revoked.append(one)
        for one in revoked:
            self._revoke(one, rows)
        for table, found in rows.items():
            self._insert(table, found)

    def _revoke(self, one: _One, rows: Mapping[str, list[Row]]) -> None:
        certificate = self._bad.certificate
        if self._bad.revoked is None:
            raise RuntimeError("the sample was not revoked")
        issuer_id = certificate["issuer_id"]
        # The sample's own change and entry precede.
        change = one.id - certificate["id"] + 1
        at = utc(certificate["revoked_at"] + one.later)
        entry = crl_entry(int(one.serial, 16), at, RevocationReason(certificate["reason"]))
        rows["status_changes"].append({"id": change, "issuer_id": issuer_id, "serial": one.serial, "replaces": 0})
        rows["crl_entries"].append(
            {
                "serial": one.serial,
                "issuer_id": issuer_id,
                "change_id": change,
                "not_after": certificate["not_after"] + one.later,
                "entry": entry,
            }
        )
        rows["audit_events"].append(self._chained(self._bad.changed(self._bad.revoked, one)))

    def _chained(self, event: Row) -> Row:
        self._events += 1
        event["id"] = self._events
        event["previous"] = self._hash
        self._hash = event["hash"] = event_hash(self._key, self._hash, tuple(event.values())[:_AUDITED])
        return event

    def _insert(self, table: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        columns = ", ".join(rows[0])
        marks = ", ".join("?" * len(rows[0]))
        self._database.executemany(
            f"INSERT INTO {table} ({columns}) VALUES ({marks})", [tuple(row.values()) for row in rows]
        )


def _audit_key(base: Place) -> bytes:
    """The key of the hashes of events in the database of *base*."""
    config = load(base.config, {})
    database = Database(f"sqlite:///{base.database}", lambda _: None)
    try:
        return load_audit_key(database, Sealer(secret_key(config, print)), datetime.now(UTC)).key
    finally:
        database.close()


def filled(data: Path, base: Place, count: int, revoked: int = 0) -> Path:
    """A database with *count* more certificates than *base* has, kept in *data*.

    Without *revoked* they are spread over 400 days, so that some have expired; with it, over 300, so that all stand on
    the CRL.

    :param revoked: how many of them are revoked.
    """
    path = data / f"certificates-{count}-revoked-{revoked}.sqlite"
    mark = hashlib.sha256(base.database.read_bytes()).hexdigest()
    made_of = path.with_suffix(".base")
    if path.exists() and made_of.exists() and made_of.read_text() == mark:
        return path
    made_of.unlink(missing_ok=True)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(base.database, path)
    _Filling(path, _audit_key(base), count, revoked, 300 if revoked else 400).run()
    made_of.write_text(mark)
    return path


def serials(database: Path, most: int, newest: int | None = None) -> list[tuple[int, int]]:
    """(id, serial) of good certificates, chosen anywhere among the *newest*, or among all."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        top = connection.execute("SELECT max(id) FROM certificates").fetchone()[0]
        among = top if newest is None else min(newest, top)
        found: dict[int, int] = {}
        for _ in range(20 * most + 100):
            row = connection.execute(
                "SELECT id, serial FROM certificates"
                " WHERE id = ? AND method = 'EST' AND not_after > ? AND revoked_at IS NULL",
                (top - secrets.randbelow(among), int(time.time())),
            ).fetchone()
            if row is not None:
                found[row[0]] = int(row[1], 16)
            if len(found) == most:
                return list(found.items())
    raise RuntimeError(f"{database} has too few good certificates")


def main() -> None:
    """Fill one database, and say how long it took."""
    parser = argparse.ArgumentParser(prog="python -m bench.fill", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("count", type=int, metavar="N")
    parser.add_argument("--revoked", type=int, default=0, metavar="N")
    arguments = parser.parse_args()
    base = founded(arguments.data)
    begun = time.perf_counter()
    path = filled(arguments.data, base, arguments.count, arguments.revoked)
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB in {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
