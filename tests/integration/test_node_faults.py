"""Faults of PostgreSQL, the network and nodes: nothing acknowledged is lost, and nothing is signed twice (HA-1)."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from pikachu.cli.session import done, every, operator
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.list_queries import ListQuery
from tests.support.fleet import (
    EST,
    PKCS10,
    Device,
    Records,
    basic,
    certificate_of,
    enroll,
    new_account,
    new_challenges,
    ocsp_status,
    on_crl,
)
from tests.support.interop import missing
from tests.support.nodes import two_nodes
from tests.support.pki import make_csr
from tests.support.postgresql import PostgreSQL, running_postgresql
from tests.support.relay import Fault, Relay
from tests.support.server import Server, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

PASSWORD = "the password of the fleet 4711"
FLEET = basic("fleet", PASSWORD)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server of these tests' own."""
    with running_postgresql() as server:
        yield server


@dataclass
class Nodes:
    """Two running nodes, and a certificate that both have answered for by OCSP.

    :ivar records: of the devices that enroll at both.
    """

    first: Server
    second: Server
    known: x509.Certificate
    records: Records

    @property
    def both(self) -> tuple[Server, Server]:
        """The nodes."""
        return self.first, self.second

    def status(self, node: Server) -> ocsp.OCSPCertStatus:
        """Return the status of the known certificate at a node."""
        with node.client("http") as client:
            issuer = self.first.files.issuers["ec"].certificate
            return ocsp_status(client, self.known, issuer).certificate_status

    def is_ready(self, node: Server) -> bool:
        """Return whether a node can enroll."""
        return node.ask("http", "/readyz?for=enrollment").status == 200

    def wait_ready(self, node: Server) -> None:
        """Wait until a node can enroll again."""
        wait_until(lambda: self.is_ready(node), "the node is ready again")

    def check(self) -> None:
        """Stop the devices; each certificate that one was given is stored once, and the audit log is whole."""
        self.records.stop.set()
        for device in self.devices:
            device.join(60)
            assert not device.is_alive()
        assert self.records.problems == []
        serials = [one.serial for one in self.records.acknowledged]
        assert len(set(serials)) == len(serials)
        with self.second.application() as app:
            for one in self.records.acknowledged:
                assert done(app.store.certificate_by_serial(one.serial)).der == one.der
            rows = every(lambda query: app.store.certificates(query, app.authority.now()), ListQuery())
            subjects = Counter(row.subject for row in rows if row.method.value == "EST")
            assert done(app.store.verify_events()) > len(serials)
        assert set(subjects.values()) == {1}, "a device has two certificates for one request"

    def __post_init__(self) -> None:
        self.devices = [
            Device(f"device-{number}", self.records, node.client, headers=FLEET, pause=0.2)
            for number, node in enumerate(self.both * 2)
        ]
        for device in self.devices:
            device.start()

    def wait_for_enrollments(self) -> None:
        """Wait until the devices are given certificates again."""
        before = len(self.records.acknowledged)
        wait_until(lambda: len(self.records.acknowledged) > before + 8, "devices enroll")


@contextmanager
def running_nodes(folder: Path, url: str, url_of_first: str | None = None) -> Iterator[Nodes]:
    """Both nodes run, and devices enroll at both.

    :param url_of_first: where the first node finds the database.
    """
    with two_nodes(folder, url) as (first, second):
        if url_of_first is not None:
            config = first.files.config
            config.write_text(config.read_text().replace(url, url_of_first))
        with second.application() as app:
            new_account(app, "fleet", PASSWORD)
        first.start()
        second.start()
        with first.client() as client:
            answer = enroll(client, make_csr(subject="known")[1], FLEET)
        assert answer.status == 200, answer.text
        nodes = Nodes(first, second, certificate_of(answer), Records())
        try:
            for node in nodes.both:
                assert nodes.status(node) is ocsp.OCSPCertStatus.GOOD
            nodes.wait_for_enrollments()
            yield nodes
            nodes.check()
            for node in nodes.both:
                assert node.lives == 1 or node is first, "no node was started again"
                assert "Traceback" not in node.log + node.console
        finally:
            nodes.records.stop.set()


def check_outage(nodes: Nodes, node: Server, *others: Server) -> None:
    """While the database does not answer: readiness says so, requests get 503, and OCSP for what is known goes on."""
    wait_until(lambda: not nodes.is_ready(node), "the node is not ready")
    checks = json.loads(node.ask("http", "/readyz").body)["checks"]
    assert checks["database"] == "unavailable"
    assert node.ask("http", "/readyz?for=status").status == 200
    with node.client() as client:
        answer = enroll(client, make_csr(subject="during the outage")[1], FLEET)
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    assert nodes.status(node) is ocsp.OCSPCertStatus.GOOD
    for other in others:
        # A transaction of the node that is cut off keeps its locks until PostgreSQL ends it.
        nodes.wait_ready(other)


@pytest.mark.parametrize("crashes", [1, pytest.param(5, marks=pytest.mark.soak)])
def test_postgresql_restarts(tmp_path: Path, postgresql: PostgreSQL, crashes: int) -> None:
    """PostgreSQL crashes under load, and comes back."""
    with running_nodes(tmp_path, postgresql.url(postgresql.new_database())) as nodes:
        for _ in range(crashes):
            postgresql.stop()
            try:
                for node in nodes.both:
                    check_outage(nodes, node)
            finally:
                postgresql.start()
            for node in nodes.both:
                nodes.wait_ready(node)
            nodes.wait_for_enrollments()


@pytest.mark.soak
def test_fail_over(tmp_path: Path) -> None:
    """A standby that has every commit is promoted when the primary is gone; the URL names both."""
    with running_postgresql() as primary, running_postgresql(primary) as standby:
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.execute("SELECT pg_reload_conf()")
        hosts = "&".join(f"host=127.0.0.1:{one.port}" for one in (primary, standby))
        url = f"postgresql://pikachu@/{primary.new_database()}?{hosts}&target_session_attrs=read-write"
        with running_nodes(tmp_path, url) as nodes:
            primary.stop()
            for node in nodes.both:
                check_outage(nodes, node)
            standby.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            standby.promote()
            for node in nodes.both:
                nodes.wait_ready(node)
            nodes.wait_for_enrollments()


def test_the_network_is_cut(tmp_path: Path, postgresql: PostgreSQL) -> None:
    """Connections of one node stay open but carry nothing; the other one goes on, and leads."""
    database = postgresql.new_database()
    with Relay(postgresql.port) as relay:
        first_url = postgresql.url(database, port=relay.port)
        with running_nodes(tmp_path, postgresql.url(database), first_url) as nodes:
            relay.become(Fault.BLACK_HOLE)
            check_outage(nodes, nodes.first, nodes.second)
            with nodes.second.application() as app:
                done(app.authority.revoke(nodes.known.serial_number, RevocationReason.KEY_COMPROMISE, operator()))
            with nodes.second.client("http") as client:
                wait_until(lambda: on_crl(client, nodes.known.serial_number), "the other node makes the CRL")
            relay.become(Fault.NONE)
            nodes.wait_ready(nodes.first)
            wait_until(lambda: nodes.status(nodes.first) is ocsp.OCSPCertStatus.REVOKED, "it knows the revocation")
            nodes.wait_for_enrollments()


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of 32 MiB, mounted for the test."""
    with tempfile.TemporaryDirectory(prefix="small-disk-") as name:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", name], check=False, capture_output=True, text=True
        )
        if mounted.returncode:
            # Not a missing program, so that this is no failure of CI either.
            pytest.skip(f"a tmpfs can't be mounted here: {mounted.stderr.strip()}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


@pytest.mark.soak
def test_the_disk_is_full(tmp_path: Path) -> None:
    """The disk of PostgreSQL's tables is full for a while."""
    with small_disk() as disk, running_postgresql() as postgresql:
        (disk / "tables").mkdir()
        postgresql.own(disk, disk / "tables")
        postgresql.execute(f"CREATE TABLESPACE small LOCATION '{disk / 'tables'}'")
        database = postgresql.new_database("small")
        with running_nodes(tmp_path, postgresql.url(database)) as nodes:
            filler = disk / "filler"
            with suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            for node in nodes.both:
                wait_until(lambda node=node: not nodes.is_ready(node), "the node is not ready")  # type: ignore[misc]
                assert json.loads(node.ask("http", "/readyz").body)["checks"]["write"] == "unavailable"
                assert node.ask("http", "/readyz?for=status").status == 200
                assert nodes.status(node) is ocsp.OCSPCertStatus.GOOD
            filler.unlink()
            for node in nodes.both:
                nodes.wait_ready(node)
            nodes.wait_for_enrollments()


@pytest.mark.soak
def test_clocks_differ(tmp_path: Path, postgresql: PostgreSQL) -> None:
    """A node whose clock is a minute ahead neither takes the lease away nor issues what isn't valid yet."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        missing("libfaketime is not installed")
    with two_nodes(tmp_path, postgresql.url(postgresql.new_database())) as (first, second):
        ahead = {"LD_PRELOAD": str(found[0]), "FAKETIME": "+60s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        with first.application() as app:
            new_account(app, "fleet", PASSWORD)
        first.start()
        second.launch(variables=ahead)
        second.wait_ready()
        issuer = first.files.issuers["ec"].certificate
        for here, there in ((first, second), (second, first)):
            with here.client() as client:
                certificate = certificate_of(enroll(client, make_csr(subject=here.folder.name)[1], FLEET))
            with there.client("http") as client:
                assert ocsp_status(client, certificate, issuer).certificate_status is ocsp.OCSPCertStatus.GOOD
        time.sleep(4)
        leaders = [node for node in (first, second) if "This node leads" in node.log]
        assert second not in leaders, "the lease is on the database's clock"
        for node in (first, second):
            assert node.stop() == 0
            assert "Traceback" not in node.log + node.console


# --- a node is killed at each step of issuance ---------------------------------------------

PAUSE = """
CREATE TABLE pause (step text);
CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM pause WHERE step = TG_ARGV[0]) THEN PERFORM pg_sleep(1.5); END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER intent BEFORE INSERT ON requests FOR EACH ROW
  WHEN (NEW.method = 'EST') EXECUTE FUNCTION pause('intent is written');
CREATE CONSTRAINT TRIGGER intent_commit AFTER INSERT ON requests DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.method = 'EST') EXECUTE FUNCTION pause('intent is committed');
CREATE TRIGGER certificate BEFORE INSERT ON certificates FOR EACH ROW
  WHEN (NEW.method = 'EST') EXECUTE FUNCTION pause('certificate is written');
CREATE CONSTRAINT TRIGGER certificate_commit AFTER INSERT ON certificates DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.method = 'EST') EXECUTE FUNCTION pause('certificate is committed');
"""
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


@pytest.fixture(scope="module")
def paused(tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSQL) -> Iterator[tuple[Server, Server, str]]:
    """Two running nodes on a database that sleeps within the step that the table ``pause`` names."""
    database = postgresql.new_database()
    with two_nodes(tmp_path_factory.mktemp("nodes"), postgresql.url(database)) as (first, second):
        for node in (first, second):
            node.files.config.write_text(node.files.config.read_text().replace("timeout = 2s", "timeout = 10s"))
        # Before a node runs: its own writes and the definition of triggers would wait for each other.
        postgresql.execute(PAUSE, database)
        second.start()
        yield first, second, database
        assert second.stop() == 0
        assert "Traceback" not in second.log + second.console


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("intent is written", marks=pytest.mark.soak),
        "intent is committed",
        pytest.param("certificate is written", marks=pytest.mark.soak),
        "certificate is committed",
    ],
)
def test_a_node_is_killed(paused: tuple[Server, Server, str], postgresql: PostgreSQL, step: str) -> None:
    """The device that got no answer asks another node, and has one certificate for its challenge password."""
    first, second, database = paused
    challenge = new_challenges(second, 1)[0]
    _, csr = make_csr(subject=step, challenge=challenge)
    first.start()
    postgresql.execute(f"INSERT INTO pause VALUES ('{step}')", database)
    client = first.client()
    client.connection.request("POST", f"{EST}/simpleenroll", base64.b64encode(csr), PKCS10)
    wait_until(lambda: postgresql.execute(SLEEPING, database).strip() == "1", "the database is at that step")
    first.kill()
    client.close()
    postgresql.execute("DELETE FROM pause", database)

    def again() -> x509.Certificate | None:
        with second.client() as other:
            answer = enroll(other, csr)
        assert answer.status in (200, 503), answer.text
        return certificate_of(answer) if answer.status == 200 else None

    certificate = wait_until(again, "the other node enrolls it")
    with second.application() as app:
        rows = every(lambda query: app.store.certificates(query, app.authority.now()), ListQuery(q=step))
        assert [row.serial for row in rows if row.subject == f"CN={step}"] == [certificate.serial_number]
        used = every(lambda query: app.challenge_passwords.list(operator(), query), ListQuery())
        assert certificate.serial_number in {one.consumed_serial for one in used}
        done(app.store.verify_events())
