"""Exports and other large answers whose readers don't read them: how much memory they hold, and who waits."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from pikachu.server.sites import ANSWER_BYTES
from tests.hostile.target import Target
from tests.hostile.test_http_stalls import connections, drain, push
from tests.support.server import wait_until

#: Rows with which each list is filled, and readers that hold an answer each.
ROWS = 4000
READERS = 80
# Beside what may be held: buffers of each connection, in the program, in TLS and in sockets.
OF_A_READER = 256 * 1024
TOKEN, SESSION = "Authorization: Bearer {token}", "Cookie: {session}"
#: What is asked for, and by which credentials.
ANSWERS = {
    "certificates as CSV": ("/certificates?format=csv", SESSION),
    "events as CSV": ("/events?format=csv", SESSION),
    "audit log in REST": ("/api/v1/events?limit=1000", TOKEN),
    "certificates in REST": ("/api/v1/certificates?limit=1000", TOKEN),
    "log as a page": ("/logs?lines=2000", SESSION),
    "log as JSON": ("/logs/lines?lines=2000", SESSION),
    "OpenAPI document": ("/api/v1/openapi.json", ""),
    "CRL": ("/crl/ec-chain.pem", ""),
    "downloads": ("/downloads/crl", ""),
    "chain": ("/downloads/chain", ""),
    "certificate": ("/api/v1/certificates/1/download?format=p7b", TOKEN),
}
PUSHED = ("audit log in REST",)


@pytest.fixture(scope="module")
def full(hostile_server: Target) -> Target:
    """Lists of thousands of rows, and a log of long lines."""
    database = hostile_server.server.folder / "pikachu.sqlite"
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        for table, unique in (("audit_events", ""), ("certificates", "serial")):
            columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})") if name != "id"]
            values = [f"printf('%040x', number + {1 << 60})" if name == unique else name for name in columns]
            connection.execute(
                "WITH RECURSIVE numbers (number) AS"
                " (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?)"
                f" INSERT INTO {table} ({', '.join(columns)})"
                f" SELECT {', '.join(values)} FROM numbers, (SELECT * FROM {table} ORDER BY id LIMIT 1)",
                (ROWS,),
            )
        # The next event has the next id.
        connection.execute("UPDATE audit_head SET count = (SELECT max(id) FROM audit_events)")
    with (hostile_server.server.folder / "pikachu.log").open("a") as log:
        log.writelines(f"2026-01-01T00:00:00.000Z INFO pikachu: {'x' * 1500} {number}\n" for number in range(ROWS))
    return hostile_server


def request(target: Target, name: str) -> bytes:
    """Return the request for an answer."""
    path, credentials = ANSWERS[name]
    field = credentials.format(token=target.token, session=target.session() if credentials == SESSION else "")
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{field}{field and chr(13) + chr(10)}\r\n".encode()


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in PUSHED else pytest.mark.soak) for n in ANSWERS])
def test_answers_that_nobody_reads(full: Target, name: str) -> None:
    """While they are held, memory is bounded and others are served; then it comes back."""
    data = request(full, name)
    path = ANSWERS[name][0].partition("?")[0]
    with connections(full, "https", 1) as (peer,):
        push(peer, data)
        wait_until(lambda: drain(peer, 20) > 0, "an answer begins")
    held: list[int] = []

    def attack() -> None:
        with readers(full, data):
            assert full.rest("GET", "/certificates?limit=1").status == 200
            assert full.send("https", path) in (200, 302, 303, 401)
            held.append(full.server.memory())

    attack()
    before = full.server.memory()
    full.survives(attack)
    assert held[-1] - before <= ANSWER_BYTES + READERS * OF_A_READER


@contextlib.contextmanager
def readers(target: Target, data: bytes) -> Iterator[None]:
    """Connections that ask, and read nothing."""
    with connections(target, "https", READERS) as peers:
        for peer in peers:
            push(peer, data, 0.2)
        yield


@pytest.mark.parametrize("name", [pytest.param("log as JSON", marks=pytest.mark.soak), "audit log in REST"])
def test_a_reader_makes_room_for_the_next(full: Target, name: str) -> None:
    """Beside many who read nothing, whoever reads gets a whole answer, if need be when it has waited and asks again."""
    data = request(full, name)

    def whole() -> bool:
        with connections(full, "https", 1) as (peer,):
            push(peer, data)
            return drain(peer, 20) > 100_000

    with readers(full, data):
        wait_until(whole, "a reader gets the answer", 60)
