"""A real server whose issuing keys are in OpenBao: real clients, rotation, outages under requests (VLT-1 to VLT-4)."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.core.model.list_queries import ListQuery
from tests.interop.test_est_strongswan import Client
from tests.support.deferreds import result_of
from tests.support.est import PKCS10, basic
from tests.support.est_live import LiveEST
from tests.support.interop import require
from tests.support.pki import make_csr
from tests.support.relay import Fault, Relay
from tests.support.rotation import authority_key_of, key_identifier_of
from tests.support.scep_live import challenge, rsa_key_file, run, strongswan, verify
from tests.support.server import Answer, Server, end, make_server, wait_until
from tests.support.vault import PKI_POLICY, POLICY, OpenBao, openbao

pytestmark = [pytest.mark.interop, pytest.mark.slow]


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server for this file, in memory."""
    with openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@contextmanager
def live(
    bao: OpenBao, relay: Relay, folder: Path, key_types: tuple[str, ...], *, keeps_files: bool = False, **settings: str
) -> Iterator[LiveEST]:
    """Run a server whose keys are in Vault; with ``signer="pki"`` in the PKI engine, too."""
    names = {f"transit_key_{name}": f"{name}-{folder.name}" for name in ("ec", "rsa")}
    is_engine = settings.get("signer") == "pki"
    if is_engine:
        names |= {f"pki_{name}_path": f"pki-{name}-{folder.name}" for name in ("ec", "rsa")}
        names |= {"role_est": "est", "role_default": "all"}
    role = bao.approle(PKI_POLICY if is_engine else POLICY)
    server = make_server(folder / "server", key_types, changes=bao.settings(role, port=relay.port, **names, **settings))
    for name, issuer in server.files.issuers.items():
        bao.take(names[f"transit_key_{name}"], issuer.key)
        if is_engine:
            bao.take_issuer(names[f"pki_{name}_path"], issuer, "est", "all")
        if not keeps_files:
            (server.folder / f"{name}.key").unlink()
    try:
        server.start()
        est = LiveEST(server)
        est.account("alice")
        yield est
    finally:
        end(server)


@pytest.mark.parametrize("signer", ["transit", "pki"])
def test_real_clients(bao: OpenBao, tmp_path: Path, signer: str) -> None:
    """strongSwan enrolls by EST and SCEP, OpenSSL verifies OCSP and CRL; the CA's keys are nowhere here.

    After a rotation, the former generation answers OCSP.
    """
    require("pki", "openssl")
    with Relay(bao.port) as relay, live(bao, relay, tmp_path, ("p256", "rsa2048"), signer=signer) as est:
        server, folder = est.server, tmp_path / "client"
        folder.mkdir()
        _, csr = make_csr()
        certificate = Client(folder, est).enroll(csr, "--userpass", "alice:correct horse")
        est.check(certificate)
        rsa_key_file(folder)
        by_scep = strongswan(
            server, folder, "scep.pem", "--password", challenge(server), "--cipher", "aes", "--digest", "sha256"
        )
        verified = verify(server, by_scep, "rsa")
        if signer == "pki":
            for name, one in (("ec", certificate), ("rsa", verified)):
                assert _engine_has(bao, f"pki-{name}-{tmp_path.name}", one)
        (folder / "leaf.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        # A rotation moves the server's own files.
        for name in ("ec.crt", "ec-chain.crt"):
            (folder / name).write_bytes((server.folder / name).read_bytes())
        ask = (
            *("openssl", "ocsp", "-issuer", "ec.crt", "-cert", "leaf.pem", "-CAfile", "ec-chain.crt"),
            *("-url", f"http://127.0.0.1:{server.ports['http']}/ocsp"),
        )
        text = run(folder, *ask)
        assert "Response verify OK" in text
        assert "leaf.pem: good" in text
        _rotate(est)
        csr = make_csr(subject="after the rotation")[1]
        later = Client(folder, est).enroll(csr, "--userpass", "alice:correct horse")
        assert authority_key_of(later) == key_identifier_of(_current(server))
        assert authority_key_of(certificate) != key_identifier_of(_current(server))
        text = run(folder, *ask)
        assert "Response verify OK" in text
        assert "leaf.pem: good" in text
        est.revoke(certificate.serial_number)

        def listed() -> bool:
            found = server.ask("http", f"/crl/{authority_key_of(certificate)}.crl")
            if found.status != 200:
                return False
            crl = x509.load_der_x509_crl(found.body)
            return crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None

        wait_until(listed, "the CRL has the certificate")
        crls = (f"/crl/{authority_key_of(certificate)}.pem", "/crl/ec-chain.pem")
        (folder / "crl.pem").write_bytes(b"".join(server.ask("http", path).body for path in crls))
        trust = ("-CAfile", str(server.folder / "root.crt"), "-untrusted", "ec.crt")
        checked = run(folder, "openssl", "verify", "-crl_check", "-CRLfile", "crl.pem", *trust, "leaf.pem", codes=(2,))
        assert "certificate revoked" in checked
        assert "leaf.pem: revoked" in run(folder, *ask)


def _engine_has(bao: OpenBao, mount: str, certificate: x509.Certificate) -> bool:
    """Whether the PKI engine has made a certificate."""
    serials = {int(one.replace(":", ""), 16) for one in bao.operator().list(f"{mount}/certs")}
    return certificate.serial_number in serials


def _current(server: Server) -> x509.Certificate:
    return x509.load_der_x509_certificate(server.ask("http", "/ca/ec.cer").body)


def _rotate(est: LiveEST) -> None:
    """Have another process switch to the next generation, and wait until the server signs with it."""
    before = _current(est.server)
    est.server.run("ca", "rotate", "ec", "--now")
    wait_until(lambda: _current(est.server) != before, "the next generation signs")


@functools.cache
def _csr(number: int) -> bytes:
    """The CSR of a device: a repeated request has the same bytes."""
    return make_csr("p256", f"device{number}.example.com")[1]


def _enroll(est: LiveEST, number: int) -> Answer:
    return est.server.ask("https", est.path("simpleenroll"), "POST", _csr(number), {**PKCS10, **basic("alice")})


def _answers_meanwhile(est: LiveEST, clients: ThreadPoolExecutor) -> list[Answer]:
    """Return the answers to four enrollments that wait for Vault; other requests are answered meanwhile."""
    waiting = [clients.submit(_enroll, est, number) for number in range(1, 5)]
    answered = 0
    while not any(one.done() for one in waiting):
        assert est.server.ask("http", "/healthz").status == 200
        answered += 1
    assert answered > 3
    return [one.result() for one in waiting]


@pytest.mark.soak
def test_an_outage_under_requests(bao: OpenBao, tmp_path: Path) -> None:
    """Nobody waits for Vault but enrollments; the key file signs for them, and Vault does again when it answers."""
    with (
        Relay(bao.port) as relay,
        live(bao, relay, tmp_path, ("p256",), keeps_files=True, fallback="true", retry_attempts="1") as est,
        ThreadPoolExecutor(4) as clients,
    ):
        server = est.server

        def enroll(number: int) -> Answer:
            return _enroll(est, number)

        assert enroll(0).status == 200
        relay.become(Fault.SILENT)
        answers = _answers_meanwhile(est, clients)
        assert all(one.status == 200 or (one.status == 503 and "Retry-After" in one.headers) for one in answers)
        wait_until(lambda: enroll(9).status == 200, "the key file signs")

        def vault_check() -> str:
            return str(json.loads(server.ask("http", "/readyz").body)["checks"]["vault"])

        wait_until(lambda: vault_check() == "degraded", "/readyz is degraded")
        assert server.ask("http", "/readyz").status == 200
        wait_until(lambda: "Vault is unreachable, and key files will sign" in server.log, "the log has a warning")
        relay.become(Fault.NONE)
        wait_until(lambda: "Vault is reachable again, and signs" in server.log, "the log tells of the return")
        wait_until(lambda: vault_check() == "ok", "/readyz is ok")
        assert enroll(10).status == 200
        with server.application() as app:
            events = result_of(app.store.events(ListQuery(limit=10, filters={"resource_type": "signer"}))).items
        assert {one.event.type for one in events} == {"fall back", "return"}


@pytest.mark.soak
def test_an_engine_that_is_lost_under_requests(bao: OpenBao, tmp_path: Path) -> None:
    """It is silent; then the server is killed after a signature whose answer was lost.  No request is signed twice."""
    with (
        Relay(bao.port) as relay,
        live(bao, relay, tmp_path, ("p256",), signer="pki", retry_attempts="1") as est,
        ThreadPoolExecutor(4) as clients,
    ):
        server = est.server
        assert _enroll(est, 0).status == 200

        def enrolled(number: int) -> bool:
            return _enroll(est, number).status == 200

        def signed() -> int:
            return len(bao.operator().list(f"pki-ec-{tmp_path.name}/certs"))

        relay.become(Fault.SILENT)
        answers = _answers_meanwhile(est, clients)
        assert all(one.status == 503 and "Retry-After" in one.headers for one in answers)
        wait_until(lambda: server.ask("http", "/readyz").status == 503, "/readyz says so")
        relay.become(Fault.NONE)
        # Vault may have signed them for all that is known here, so they are given up a minute later.
        for number in range(1, 5):
            wait_until(functools.partial(enrolled, number), "the request is carried out", seconds=100)
        assert signed() == 5

        relay.become(Fault.MIDWAY)
        assert _enroll(est, 5).status == 503
        assert signed() == 6
        server.kill()
        relay.become(Fault.NONE)
        server.start()
        wait_until(functools.partial(enrolled, 5), "the lost certificate is found", seconds=100)
        assert signed() == 6
