"""Two nodes on one PostgreSQL are one CA (HA-1)."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from sqlalchemy import create_engine, text

from pikachu.cli.session import done, operator
from pikachu.core.model.certificates import RevocationReason
from pikachu.storage.database import parse_url
from tests.support.fleet import basic, certificate_of, enroll, new_account, ocsp_status, on_crl
from tests.support.nodes import two_nodes
from tests.support.pki import make_csr
from tests.support.postgresql import PostgreSQL, running_postgresql
from tests.support.server import Server, wait_until

pytestmark = pytest.mark.interop

PASSWORD = "the password of the fleet 4711"


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server of these tests' own."""
    with running_postgresql() as server:
        yield server


def new_url(postgresql: PostgreSQL) -> str:
    """Return the URL of an empty database."""
    return postgresql.url(postgresql.new_database())


def test_one_ca(tmp_path: Path, postgresql: PostgreSQL) -> None:
    """Each node knows of the other one: certificate, repetition, status, revocation."""
    with two_nodes(tmp_path, new_url(postgresql)) as (first, second):
        with first.application() as app:
            new_account(app, "fleet", PASSWORD)
        first.start()
        second.start()
        issuer = first.files.issuers["ec"].certificate
        for here, there in ((first, second), (second, first)):
            check_pair(here, there, issuer)
        for node in (first, second):
            assert node.stop() == 0
            assert "Traceback" not in node.log + node.console


def check_pair(here: Server, there: Server, issuer: x509.Certificate) -> None:
    """Enroll on one node and look at the other one; revoke on the first one."""
    _, csr = make_csr(subject=f"device of {here.folder.name}")
    with here.client() as client:
        answer = enroll(client, csr, basic("fleet", PASSWORD))
    assert answer.status == 200, answer.text
    certificate = certificate_of(answer)
    serial = certificate.serial_number
    with there.client() as client:
        assert enroll(client, csr, basic("fleet", PASSWORD)).body == answer.body, "a repetition is the same certificate"
        assert client.ask(f"/status/{serial:x}").text.count('"valid"') == 1
    with there.client("http") as client:

        def status() -> ocsp.OCSPCertStatus:
            return ocsp_status(client, certificate, issuer).certificate_status

        assert status() is ocsp.OCSPCertStatus.GOOD
        with here.application() as app:
            began = time.monotonic()
            done(app.authority.revoke(serial, RevocationReason.KEY_COMPROMISE, operator()))
            revoking = time.monotonic() - began
            wait_until(lambda: status() is ocsp.OCSPCertStatus.REVOKED, "OCSP of the other node knows the revocation")
            # A second; on a busy machine, as much longer as the revocation itself took.
            assert time.monotonic() - began - revoking < max(1, 10 * revoking)
    for node in (here, there):
        with node.client("http") as client:
            wait_until(lambda client=client: on_crl(client, serial), "each node's CRL has it")  # type: ignore[misc]


def newest_crl(node: Server) -> x509.CertificateRevocationList:
    """Return the CRL that a node serves."""
    answer = node.ask("http", "/crl/ec.crl")
    assert answer.status == 200, answer.text
    return x509.load_der_x509_crl(answer.body)


def number_of(crl: x509.CertificateRevocationList) -> int:
    """Return its CRL number."""
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGKILL, marks=pytest.mark.soak), signal.SIGSTOP], ids=["dead", "hung"]
)
def test_the_leader_fails(tmp_path: Path, postgresql: PostgreSQL, how: signal.Signals) -> None:
    """Another node makes the CRLs within a term; a former leader that wakes up follows it."""
    with two_nodes(tmp_path, new_url(postgresql)) as (first, second):
        with first.application() as app:
            new_account(app, "fleet", PASSWORD)
        first.start()
        second.start()
        with first.client() as client:
            serial = certificate_of(enroll(client, make_csr(subject="d")[1], basic("fleet", PASSWORD))).serial_number
        wait_until(lambda: newest_crl(second) == newest_crl(first), "both serve the same CRL")
        before = number_of(newest_crl(second))
        first.running.send_signal(how)
        with second.application() as app:
            done(app.authority.revoke(serial, RevocationReason.KEY_COMPROMISE, operator()))
        with second.client("http") as client:
            wait_until(lambda: on_crl(client, serial), "the other node makes the CRL")
        assert "This node leads" in second.log
        assert number_of(newest_crl(second)) > before
        if how is signal.SIGSTOP:
            first.running.send_signal(signal.SIGCONT)
            wait_until(lambda: newest_crl(first) == newest_crl(second), "the former leader follows")
            assert first.stop() == 0
        assert second.stop() == 0
        assert "Traceback" not in second.log + second.console


def degraded(node: Server) -> dict[str, str]:
    """Return the messages of its degraded checks; the node is ready all the same."""
    answer = node.ask("http", "/readyz")
    assert answer.status == 200, answer.text
    found = json.loads(answer.text)
    return {name: found["messages"][name] for name, state in found["checks"].items() if state == "degraded"}


def test_a_node_that_lags_behind(tmp_path: Path, postgresql: PostgreSQL) -> None:
    """It says so, and what to do, when a CA was rotated or the schema migrated elsewhere, until that is done."""
    url = new_url(postgresql)
    with two_nodes(tmp_path, url) as (first, second):
        first.start()
        second.start()
        first.run("ca", "rotate", "ec", "--now")
        wait_until(lambda: "ca_files" in degraded(second), "the second node lacks the new generation")
        assert "ec.crt ([CA] SUBCA_CERT_PATH_EC)" in degraded(second)["ca_files"]
        assert degraded(first) == {}
        for path in first.folder.glob("ec*"):
            shutil.copy2(path, second.folder / path.name)
        wait_until(lambda: "signs now" in second.log, "the second node takes the copied files")
        wait_until(lambda: degraded(second) == {}, "both have the same files")
        engine = create_engine(parse_url(url))
        with engine.begin() as connection:
            connection.execute(text("UPDATE pikachu_schema SET version_num = '9999'"))
        engine.dispose()
        for node in (first, second):
            wait_until(lambda node=node: "schema" in degraded(node), "it is told")  # type: ignore[misc]
            assert node.log.count("has migrated the database to schema 9999") == 1
            assert node.stop() == 0
            assert "Traceback" not in node.log + node.console
