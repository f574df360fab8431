"""The benchmarks (``python -m bench``): databases are what the store would write, and every row comes out.

Nothing here asserts a time.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Self

import pytest

from bench.__main__ import ROWS
from bench.figures import Figure, same, table
from bench.fill import filled, serials
from bench.load import Load, LoadFailed, body_of, run
from bench.place import CHECKOUT, Place, copied, founded
from pikachu.cli.session import configuration, done, opened
from pikachu.core.model.certificates import CertificateRecord
from pikachu.core.model.list_queries import ListQuery
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.crl import crl_entry

_COUNT, _REVOKED = 400, 150


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    data = tmp_path_factory.mktemp("bench")
    base = founded(data)
    return copied(base, data / "run", filled(data, base, _COUNT, _REVOKED))


class Impatient:
    """A server that closes each connection after some answers, as if it had been idle.

    :param answers: of each connection; the last one may come with the end or be followed by it.
    """

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.connections = 0
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)

    def _begin(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listening.accept()
                self.connections += 1
                self._begin(self._serve, one)

    def _serve(self, one: socket.socket) -> None:
        with one:
            for _ in range(self._answers):
                if not one.recv(65536):
                    return
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize("answers", [1, 2, 7])
@pytest.mark.parametrize("connections", [1, 5])
def test_a_kept_connection_that_the_server_has_closed(answers: int, connections: int) -> None:
    """It is no failure: the load asks again, on a new one."""
    with Impatient(answers) as server:
        outcome = run(Load(server.port, [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"], connections, 60, 30.0))
        assert server.connections >= 60 // answers
    assert (outcome.done, outcome.failed) == (60, 0)


def test_a_load_on_two_servers() -> None:
    """Each gets half of the connections."""
    with Impatient(100) as one, Impatient(100) as other:
        load = Load(one.port, [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"], 4, 40, 30.0, more_ports=(other.port,))
        assert run(load).done == 40
        assert (one.connections, other.connections) == (2, 2)


def test_a_server_that_answers_nothing() -> None:
    """A fresh connection that is closed is a failure."""
    with Impatient(0) as server, pytest.raises(LoadFailed):
        run(Load(server.port, [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"], 2, 60, 30.0))


def test_filled_rows_are_read_through_the_store(place: Place) -> None:
    """A record of the filling differs from one that was enrolled in its own values only."""
    with opened(configuration(Namespace(config=place.config))) as app:
        sample = done(app.store.certificate_by_serial(place.samples["valid"]))
        now = app.authority.now()
        for identity, serial in serials(place.database, 30):
            record = done(app.store.certificate(identity))
            assert record.serial == serial
            _is_like(record, sample)
            assert done(app.store.status(record.issuer_id, serial)) is not None
            named = ListQuery(q=record.common_name)
            assert record in done(app.store.certificates(named, now)).items
        assert done(app.store.verify_events()) > _COUNT + _REVOKED


def _is_like(record: CertificateRecord, sample: CertificateRecord) -> None:
    own = {"id", "serial", "subject", "common_name", "key_id", "not_before", "not_after", "der", "created_at", "sans"}
    for field in fields(CertificateRecord):
        if field.name not in own:
            assert getattr(record, field.name) == getattr(sample, field.name), field.name
    certificate, first = parse_certificate(record.der), parse_certificate(sample.der)
    assert certificate.serial == record.serial
    assert (certificate.not_before, certificate.not_after) == (record.not_before, record.not_after)
    assert record.not_after - record.not_before == sample.not_after - sample.not_before
    assert record.common_name.encode() in certificate.subject_der
    assert record.sans == (f"DNS:{record.common_name}",)
    assert [one.oid for one in certificate.extensions] == [one.oid for one in first.extensions]
    assert len(record.der) == len(sample.der)


def test_filled_revocations_are_on_the_crl(place: Place) -> None:
    """CRLs are made of them, and the log of changes names them."""
    with opened(configuration(Namespace(config=place.config))) as app:
        issuer = app.issuers.named("ec")
        published = done(app.publisher.make(issuer))
        revoked = done(
            app.store.certificates(ListQuery(limit=1000, filters={"status": "revoked"}), app.authority.now())
        )
        # The sample is one more.
        assert published.entries == len(revoked.items) == _REVOKED + 1
        assert len(done(app.store.changes_since(0))) == _REVOKED + 1
        found = done(app.store.crl_entries(issuer.id, 0))
        assert found is not None
        for record in revoked.items:
            assert record.revoked_at is not None
            assert crl_entry(record.serial, record.revoked_at, record.reason) in found[2]


def test_indexes_are_those_of_the_schema(place: Place, tmp_path: Path) -> None:
    """They are dropped while a database is filled, and made again."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
    founded_at = place.folder.parent / "ca/db/pikachu.sqlite"
    with closing(sqlite3.connect(place.database)) as one, closing(sqlite3.connect(founded_at)) as other:
        assert one.execute(query).fetchall() == other.execute(query).fetchall()


def test_verdicts() -> None:
    """A ratio is judged where there is a peer, the figure itself where there is none."""
    assert Figure("a", "a", 12.0, "/s", 10.0, "peer", least=1.2, goal=3).verdict == "met"
    assert Figure("a", "a", 30.0, "/s", 10.0, "peer", least=1.2, goal=3).verdict == "goal"
    assert Figure("a", "a", 9.0, "/s", 10.0, "peer", least=1.2, goal=3).verdict == "below"
    assert Figure("a", "a", 400.0, "/s", least=400, goal=2000).verdict == "met"
    assert Figure("a", "a", 4.0, "s", least=3, goal=1.5, rising=False).verdict == "below"
    assert Figure("a", "a", 4.0, "s").verdict == "shown"
    assert Figure("a", "a", 4.0, "/s", None, "peer", least=1, note="peer not installed").verdict == "peer not installed"
    assert same("a", "a", "ms", 1.1, 1.0, "with 10").verdict == "goal"
    assert same("a", "a", "ms", 9.0, 1.0, "with 10").verdict == "below"
    assert "9.00x" in table([same("a", "a", "ms", 9.0, 1.0, "with 10")])


def test_answers_are_read_whole() -> None:
    """With a length, in chunks, and not before all of it is here."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    assert body_of(head + b"ab") is None
    assert body_of(head + b"abc") == b"abc"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert body_of(chunked + b"2\r\nab\r\n") is None
    assert body_of(chunked + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n") == b"abc"
    assert body_of(b"HTTP/1.1 200 OK\r\n") is None


def _measured(report: Path, *options: str) -> set[str]:
    """Measure, and return the names of the rows, each of which has a figure."""
    ended = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--json", str(report), *options],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads(report.read_text())["figures"]
    assert all(figure["ours"] is not None and figure["ours"] > 0 for figure in figures)
    return {figure["row"] for figure in figures}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rows_are_produced(place: Place, tmp_path: Path) -> None:
    """A load on a server that runs, and the start of one; the CA is that of an earlier run."""
    options = (f"--data={place.folder.parent}", "--only=est", "--only=start")
    assert _measured(tmp_path / "figures.json", *options) == {"est", "start"}


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_every_row_is_produced(tmp_path: Path) -> None:
    """``--quick`` measures each row, or says which program it would need."""
    assert _measured(tmp_path / "figures.json") == set(ROWS)
