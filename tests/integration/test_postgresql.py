"""A certificate's whole life on PostgreSQL: ``pikachu init``, a real server, commands beside it (HA-1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from pikachu.cli.session import done
from pikachu.storage.migrate import migrate
from tests.support.crl_parts import WITH_PARTS, check_listed, check_revocation, issue_named
from tests.support.databases import postgresql_server
from tests.support.deferreds import result_of
from tests.support.fleet import basic, certificate_of, enroll, ocsp_status, on_crl
from tests.support.intents import begin_only
from tests.support.pki import make_csr
from tests.support.ports import free_ports
from tests.support.server import Client, Server, end, make_server, wait_until
from tests.support.site import PASSWORD
from tests.support.stack import build_core

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def new_url() -> Iterator[Callable[[], str]]:
    """Makes an empty database of a PostgreSQL server of these tests' own."""
    with postgresql_server(migrated=False) as make:
        yield make


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """An empty database."""
    return new_url()


@pytest.fixture
def server(tmp_path: Path, url: str) -> Iterator[Server]:
    """A folder that holds ``config.ini``, which names that database, and the first password; nothing is founded yet."""
    server = make_server(tmp_path / "ca", changes={("DATABASE", "url"): url})
    for path in server.folder.iterdir():
        if path != server.files.config:
            path.unlink()
    (server.folder / "password").write_text(PASSWORD, encoding="ascii")
    (server.folder / "password").chmod(0o600)
    try:
        yield server
    finally:
        end(server)


def test_life_of_a_certificate(server: Server, url: str) -> None:
    """Founded, enrolled by EST, revoked by a command, known within a second, and all of it still so after a kill."""
    server.run("init", "--admin-password-file", "password", "--hostname", "localhost")
    assert not list(server.folder.glob("*.sqlite*")), "a file database was made beside PostgreSQL"
    issuer = x509.load_pem_x509_certificate((server.folder / "ec.crt").read_bytes())
    server.start()

    _, csr = make_csr(subject="device-1")
    with server.client() as client:
        answer = enroll(client, csr, basic("admin", PASSWORD))
        assert answer.status == 200, answer.text
        assert enroll(client, csr, basic("admin", PASSWORD)).body == answer.body, "a repetition is the same certificate"
    certificate = certificate_of(answer)
    serial = certificate.serial_number
    certificate.verify_directly_issued_by(issuer)

    def revoked(client: Client) -> bool:
        return ocsp_status(client, certificate, issuer).certificate_status is ocsp.OCSPCertStatus.REVOKED

    with server.client("http") as client:
        assert not revoked(client)
        commanded = time.monotonic()
        server.run("revoke", f"{serial:x}", "--reason", "keyCompromise")
        began = time.monotonic()
        wait_until(lambda: revoked(client), "OCSP knows of the revocation")
        wait_until(lambda: on_crl(client, serial), "the CRL has it")
        # A second; on a busy machine, as much longer as the command took.
        assert time.monotonic() - began < max(1, 3 * (began - commanded))

    server.kill()
    server.start()
    with server.client("http") as client:
        assert revoked(client)
        assert on_crl(client, serial)
    with server.client() as client:
        assert enroll(client, make_csr(subject="device-2")[1], basic("admin", PASSWORD)).status == 200
    assert server.run("audit", "verify").splitlines()[0].endswith(" events, none changed or removed")
    assert server.stop() == 0

    assert "Traceback" not in server.log + server.console
    assert url not in server.log + server.console


def test_deltas_and_shards(tmp_path: Path, url: str) -> None:
    """A revocation is on both within a second, also after a restart (CRL-D)."""
    migrate(url)
    stack = build_core(tmp_path / "ca", changes={("DATABASE", "url"): url, **WITH_PARTS})
    try:
        result_of(stack.app.publisher.begin())
        listed = check_revocation(stack)
        stack = stack.restart()
        result_of(stack.app.publisher.begin())
        late = issue_named(stack, stack.issuer())
        stack.revoke(late)
        stack.clock.advance(1)
        check_listed(stack, stack.issuer(), listed, late)
    finally:
        stack.close()


def test_two_servers_of_one_name(tmp_path: Path, new_url: Callable[[], str]) -> None:
    """Servers of one host name and path on one database, as in containers: none gives up what another does."""
    url = new_url()
    migrate(url)
    first = make_server(tmp_path / "ca", changes={("DATABASE", "url"): url})
    ports = free_ports(len(first.ports))
    text = first.files.config.read_text()
    second = Server(first.files, dict(zip(first.ports, ports, strict=True)))
    try:
        first.start()
        # The first one has read its configuration: the same file, with ports of its own, is the second one's.
        for (name, port), other in zip(first.ports.items(), second.ports.values(), strict=True):
            assert f" = {port}\n" in text, name
            text = text.replace(f" = {port}\n", f" = {other}\n")
        first.files.config.write_text(text)
        with first.application() as app:
            (node,) = done(app.store.nodes())
            serial = begin_only(app, node.process)
        second.start("--pidfile=")
        with first.application() as app:
            assert len(done(app.store.nodes())) == 2
            later = app.authority.now() + timedelta(days=1)
            assert done(app.store.orphans(None, later)) == [], "the first one lives"
        told = f"The intent {serial:x} was never completed"
        assert told not in second.log
        first.kill()
        assert second.stop() == 0
        second.start("--pidfile=")
        wait_until(lambda: told in second.log, "the operator is told")
        assert second.stop() == 0
    finally:
        end(first)
        end(second)
