"""Jobs of many rows: how long others wait while one runs (JOB-1)."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing

import psutil
import pytest

from pikachu.core.model.jobs import MAX_ROWS
from pikachu.x509.certificate import parse_certificate
from tests.hostile.target import ATTEMPTS, BATCHES, Target
from tests.support.ocsp import cert_id, request
from tests.support.server import Client, wait_until
from tests.support.stall_watch import reference_seconds


def add_certificates(target: Target, name: str, count: int) -> None:
    """Copy a valid certificate *count* times, with other serial numbers and that common name."""
    with closing(sqlite3.connect(target.server.folder / "pikachu.sqlite", timeout=60)) as connection, connection:
        columns = [column for _, column, *_ in connection.execute("PRAGMA table_info(certificates)") if column != "id"]
        first = connection.execute("SELECT count(*) FROM certificates").fetchone()[0]
        replaced = {"serial": f"printf('%x', number + {(1 << 60) + first})", "common_name": f"'{name}'"}
        connection.execute(
            "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?)"
            f" INSERT INTO certificates ({', '.join(columns)})"
            f" SELECT {', '.join(replaced.get(column, column) for column in columns)} FROM numbers,"
            " (SELECT * FROM certificates WHERE revoked_at IS NULL AND infrastructure IS NULL ORDER BY id LIMIT 1)",
            (count,),
        )


def run_job(target: Target, first: int, count: int) -> None:
    """Revoke the certificates with these ids, and wait for the end."""
    batch = 1000
    for begin in range(first, first + count, batch):
        ids = list(range(begin, min(begin + batch, first + count)))
        body = {"action": "revoke", "resource": "certificates", "ids": ids, "arguments": {"reason": "superseded"}}
        created = target.rest("POST", "/jobs", body)
        assert created.status == 202, created.text

    def ended() -> bool:
        running = json.loads(target.rest("GET", "/jobs?state=running").body)["items"]
        return not running

    wait_until(ended, "the job ends", 1200)


class Asking:
    """Asks OCSP again and again on a kept connection, and notes each answer's time."""

    def __init__(self, target: Target) -> None:
        self.milliseconds: list[float] = []
        self._target = target
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def _ask(self) -> None:
        ca = self._target.server.files.issuers["ec"]
        asked = request(cert_id(parse_certificate(ca.der), 0x1234))
        with Client(self._target.server.ports["http"]) as client:
            while not self._ended.wait(0.02):
                begin = time.perf_counter()
                answer = client.ask("/ocsp", "POST", asked, {"Content-Type": "application/ocsp-request"})
                assert answer.status == 200
                self.milliseconds.append(1000 * (time.perf_counter() - begin))


@pytest.mark.parametrize("rows", [200, pytest.param(MAX_ROWS, marks=pytest.mark.soak)])
def test_revocations(target: Target, rows: int) -> None:
    """Others hardly wait while certificates are revoked one after the other, and OCSP answers go on."""
    ratios = []
    for attempt in range(ATTEMPTS):
        name = f"job-{rows}-{attempt}.example.com"
        add_certificates(target, name, rows)
        first = json.loads(target.rest("GET", "/certificates?limit=1&sort=-id").body)["items"][0]["id"] - rows + 1
        reference = reference_seconds()
        process = psutil.Process(target.server.running.pid)
        cpu, began = sum(process.cpu_times()[:2]), time.monotonic()
        with Asking(target) as asking:
            longest = target.watch.longest(lambda first=first: run_job(target, first, rows))  # type: ignore[misc]
        seconds, spent = time.monotonic() - began, sum(process.cpu_times()[:2]) - cpu
        ratios.append(longest / reference)
        times = sorted(asking.milliseconds)
        target.record("ms of CPU of the server for a row", round(1000 * spent / rows, 2))
        target.record("rows a second", round(rows / seconds))
        target.record("ms until an OCSP answer: median", round(times[len(times) // 2], 1))
        target.record("ms: 99th percentile", round(times[len(times) * 99 // 100], 1))
        target.record("ms: longest wait of another", round(1000 * longest))
        print(
            f"{rows} rows: {seconds:.1f} s, CPU {spent:.1f} s, longest wait {1000 * longest:.0f} ms, reference "
            f"{1000 * reference:.0f} ms, OCSP median {times[len(times) // 2]:.1f} ms, longest {times[-1]:.1f} ms"
        )
        if ratios[-1] <= BATCHES:
            break
    assert min(ratios) <= BATCHES, f"others waited {ratios} batches of reference work"
