"""Rotation of an issuing CA while the server runs: everything that depends on the generations follows (VLT-4)."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.internet.task import Clock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.ca.rotation import Announcement, locked
from pikachu.core.model.times import utc
from pikachu.server.service import POLL_SECONDS
from tests.support.pki import Identity, make_csr
from tests.support.rotation import (
    CA,
    RotatedServer,
    authority_key_of,
    certificate_of,
    key_identifier_of,
    rotated_server,
)
from tests.support.scep_client import verify_signed
from tests.support.server import Client, wait_until
from tests.support.stack import Stack

PROTOCOLS = ("EST", "SCEP", "REST")


@pytest.fixture
def rotated(tmp_path: Path) -> Iterator[RotatedServer]:
    """A server with an RSA CA."""
    with rotated_server(tmp_path) as made:
        yield made


def at_once_by_another_process(rotated: RotatedServer) -> x509.Certificate:
    """``pikachu ca rotate --now`` without an announcement."""
    return rotated.switch_now()


def announced_and_by_another_process(rotated: RotatedServer) -> x509.Certificate:
    """An announced generation, whose switch another process makes."""
    rotated.announce()
    return rotated.switch_now()


def announced_and_by_date(rotated: RotatedServer) -> x509.Certificate:
    """An announced generation, to which the server switches."""
    old = rotated.current()
    rotated.announce()
    signed, _ = verify_signed(rotated.get("/scep?operation=GetNextCACert", "scep"), old.public_bytes(Encoding.DER))
    announced = [x509.load_der_x509_certificate(one.dump()) for one in signed["certificates"]]
    new = rotated.switch_by_date()
    assert new in announced
    return new


@pytest.mark.parametrize(
    "switch", [at_once_by_another_process, announced_and_by_another_process, announced_and_by_date]
)
def test_everything_follows_a_switch(rotated: RotatedServer, switch: object) -> None:
    """Each protocol enrolls below the new generation, and each status service and TLS port serves both."""
    assert callable(switch)
    old = rotated.current()
    before = {protocol: rotated.enroll(protocol) for protocol in PROTOCOLS}
    new = switch(rotated)
    assert new.subject == old.subject
    assert rotated.server.ask("scep", "/scep?operation=GetNextCACert").status == 404
    after = {protocol: rotated.enroll(protocol) for protocol in PROTOCOLS}
    for issuer, clients in ((old, before), (new, after)):
        for protocol, identity in clients.items():
            assert authority_key_of(identity.certificate) == key_identifier_of(issuer), protocol
            assert rotated.ocsp_status(identity, issuer) == "good", protocol
            assert rotated.trusted_port_accepts(identity), protocol
            assert not rotated.is_listed(identity)
        revoked, good = clients["SCEP"], clients["EST"]
        rotated.revoke(revoked)
        assert rotated.ocsp_status(revoked, issuer) == "revoked"
        assert rotated.ocsp_status(good, issuer) == "good"
        # The client certificate of either generation renews itself, and the new generation signs.
        _, request = make_csr(subject=_common_name(good))
        answer = rotated.est_post("simplereenroll", request, listener="trusted_https", identity=good)
        assert authority_key_of(certificate_of(answer)) == key_identifier_of(new)
    served = rotated.est_certificates()
    assert new in served
    links = [one for one in served if one.issuer == one.subject == new.subject]
    assert {key_identifier_of(one) for one in links} == {key_identifier_of(old), key_identifier_of(new)}
    assert "Traceback" not in rotated.server.log


def _common_name(identity: Identity) -> str:
    (name,) = identity.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(name.value)


def test_an_announced_generation_is_served(rotated: RotatedServer) -> None:
    """The next generation's CRL is served, and OCSP for its roll-over certificate, before it signs anything else."""
    rotated.announce()
    old = rotated.current()
    served = rotated.est_certificates()
    (new,) = [one for one in served if one.subject == old.subject and one.issuer != old.subject and one != old]
    (link,) = [one for one in served if one.issuer == old.subject and one.public_key() == old.public_key()]
    wait_until(
        lambda: rotated.server.ask("http", f"/crl/{key_identifier_of(new)}.crl").status == 200, "its CRL is there"
    )
    assert rotated.ocsp_status(Identity(rotated.server.files.root.key, link, None), new) == "good"


def thread_states(pid: int) -> Iterator[str]:
    """The letter of the state of each thread (proc(5)); its name before that may hold any character."""
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        yield path.read_text().rpartition(")")[2].split()[0]


def stop_between_writes(rotated: RotatedServer) -> None:
    """Stop the server's process at a moment at which it holds no lock of the database."""
    process = rotated.server.running

    def stopped() -> bool:
        process.send_signal(signal.SIGSTOP)
        # Its threads stop one by one, and another may still take the lock.
        wait_until(lambda: set(thread_states(process.pid)) == {"T"}, "all threads are stopped")
        connection = sqlite3.connect(rotated.server.folder / "pikachu.sqlite", timeout=0, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            return False
        finally:
            connection.close()
        return True

    wait_until(stopped, "the server is stopped between two writes")


def test_two_switches_between_two_looks(rotated: RotatedServer) -> None:
    """The generation in between was never the current one in this process, and is served all the same."""
    process = rotated.server.running
    stop_between_writes(rotated)
    try:
        rotated.server.run("ca", "rotate", CA, "--now")
        with rotated.server.application() as app:
            middle = x509.load_der_x509_certificate(app.issuers.named(CA).certificate.der)
            leaf = Stack(rotated.server.files, app, Clock()).issue()
        rotated.server.run("ca", "rotate", CA, "--now")
    finally:
        process.send_signal(signal.SIGCONT)
    wait_until(lambda: rotated.current() not in (middle, rotated.server.files.issuers[CA].certificate), "it switches")
    assert rotated.ocsp_status(Identity(leaf.key, x509.load_der_x509_certificate(leaf.der), None), middle) == "good"
    assert rotated.server.ask("http", f"/crl/{key_identifier_of(middle)}.crl").status == 200


# --- the watch is off the reactor -------------------------------------------------------


@contextmanager
def files_locked(rotated: RotatedServer) -> Iterator[None]:
    """Another process holds the lock on the CA's files while a switch is due."""
    rotated.announce()
    with rotated.server.application() as app:
        files = app.generations.files(CA)
        assert files is not None
        with locked(files):
            files.announce(Announcement(utc(0)))
            yield


@contextmanager
def database_locked(rotated: RotatedServer) -> Iterator[None]:
    """Another process holds the database's write lock while the server takes a new generation over."""
    process = rotated.server.running
    stop_between_writes(rotated)
    try:
        rotated.server.run("ca", "rotate", CA, "--now")
        database = sqlite3.connect(rotated.server.folder / "pikachu.sqlite", isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
    finally:
        process.send_signal(signal.SIGCONT)
    try:
        yield
    finally:
        database.close()


@pytest.mark.parametrize("held", [files_locked, database_locked])
def test_a_watch_that_waits_delays_nobody(rotated: RotatedServer, held: object) -> None:
    """A lock that another process holds keeps the server from switching, not from answering; then it switches."""
    assert callable(held)
    old = rotated.current()
    port = rotated.server.ports["http"]
    # A server that waits on its reactor is silent for many times the interval of its looks.
    with held(rotated), Client(port, timeout=20 * POLL_SECONDS) as client:
        end = time.monotonic() + 8 * POLL_SECONDS
        while time.monotonic() < end:
            assert client.ask("/healthz").status == 200
        assert rotated.current() == old
    wait_until(lambda: rotated.current() != old, "it switches")
    assert rotated.server.stop() == 0
