"""ML-DSA in the hands of OpenSSL 3.5: enrollment, chains, CRLs, OCSP and TLS (PQC-1)."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.est import PASSWORD, PREFIX
from tests.support.est_live import LiveEST, run
from tests.support.openssl35 import OpenSSL35, openssl35
from tests.support.ports import free_ports
from tests.support.server import accepts, end, make_server, wait_until

pytestmark = pytest.mark.interop

#: the names that OpenSSL gives to the key types of ``tests.support.pki``
NAMES = {"mldsa44": "ML-DSA-44", "mldsa65": "ML-DSA-65", "mldsa87": "ML-DSA-87"}
SAN = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass
class PQC:
    """A server whose root, issuing CA and TLS certificate have ML-DSA keys, and programs that know them.

    :ivar kind: of the keys.
    :ivar folder: with ``root.crt``, ``ca.crt`` and ``chain.crt``.
    """

    est: LiveEST
    programs: OpenSSL35
    kind: str
    folder: Path

    @property
    def http(self) -> str:
        """The plain listener's address."""
        return f"http://127.0.0.1:{self.est.server.ports['http']}"

    def openssl(self, *arguments: str | Path, code: int | None = 0) -> str:
        """Return the output of ``openssl``."""
        return run(self.programs.openssl, *arguments, cwd=self.folder, code=code)

    def curl(self, url: str, *options: str, out: str = "answer", code: int | None = 0) -> str:
        """The status of an answer, whose body is in the file *out*."""
        trust = ("--silent", "--show-error", "--cacert", "root.crt", "--output", out, "--write-out", "%{http_code}")
        return run(self.programs.curl, *trust, *options, url, cwd=self.folder, code=code)

    def request(self, name: str, kind: str) -> None:
        """Make the key ``NAME.key`` and the request ``NAME.csr``, which OpenSSL verifies."""
        subject = ("-subj", f"/O=Acme/CN={name}", "-addext", SAN)
        new = ("req", "-new", "-newkey", NAMES[kind], "-noenc", "-keyout", f"{name}.key", *subject)
        self.openssl(*new, "-out", f"{name}.csr")
        assert "verify OK" in self.openssl("req", "-in", f"{name}.csr", "-verify", "-noout")

    def received(self, name: str) -> int:
        """Write ``NAME.crt`` from the body of an EST answer, verify its chain, and give its serial number."""
        self.openssl("base64", "-d", "-A", "-in", "answer", "-out", "answer.p7")
        self.openssl("pkcs7", "-inform", "DER", "-in", "answer.p7", "-print_certs", "-out", f"{name}.crt")
        self.verify(name)
        return x509.load_pem_x509_certificate((self.folder / f"{name}.crt").read_bytes()).serial_number

    def enroll(self, name: str, kind: str | None = None) -> int:
        """Enroll ``NAME`` by EST with a password; give the serial number of the certificate."""
        self.request(name, kind or self.kind)
        status = self.post("simpleenroll", name, "--user", f"alice:{PASSWORD}")
        assert status == "200", (self.folder / "answer").read_bytes()
        return self.received(name)

    def post(self, operation: str, name: str, *options: str, listener: str = "https") -> str:
        """Send the request ``NAME.csr``; the status."""
        data = ("--header", "Content-Type: application/pkcs10", "--data-binary", f"@{name}.csr")
        return self.curl(f"{self.est.url(listener)}{PREFIX}/{operation}", *options, *data)

    def verify(self, name: str, *options: str, code: int = 0) -> str:
        """Return the output of ``openssl verify`` under the strictest rules."""
        trust = ("-x509_strict", "-CAfile", "root.crt", "-untrusted", "ca.crt")
        return self.openssl("verify", *trust, *options, f"{name}.crt", code=code)

    def download(self, path: str, name: str) -> Path:
        """A file of the plain listener."""
        answer = self.est.server.ask("http", path)
        assert answer.status == 200, answer
        (self.folder / name).write_bytes(answer.body)
        return self.folder / name

    def is_published(self, name: str) -> bool:
        """Whether the CRL of a CA can be had."""
        return self.est.server.ask("http", f"/crl/{name}.crl").status == 200

    def revoke(self, serial: int) -> None:
        """Revoke, and wait until the CRL says so."""
        self.est.server.run("revoke", f"{serial:x}", "--reason", "keyCompromise")

        def listed() -> bool:
            crl = x509.load_der_x509_crl(self.est.server.ask("http", "/crl/mldsa.crl").body)
            return crl.get_revoked_certificate_by_serial_number(serial) is not None

        wait_until(listed, "the certificate is on the CRL")


@pytest.fixture(scope="module", params=NAMES)
def pqc(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PQC]:
    """A running server with one kind of ML-DSA keys only; its TLS certificate comes from its own CA."""
    programs, kind = openssl35(), request.param
    folder = tmp_path_factory.mktemp("files")
    (port,) = free_ports(1)
    changes = {
        ("DEFAULT", "http_port"): str(port),
        ("CA", "public_url"): f"http://127.0.0.1:{port}",
        ("HTTPS", "request_client_certificate"): "true",
        ("SCEP", "enabled"): "false",
    }
    server = make_server(tmp_path_factory.mktemp("pqc") / "server", (kind,), root_key_type=kind, changes=changes)
    world = PQC(LiveEST(server), programs, kind, folder)
    issuer = server.files.issuers["mldsa"]
    (folder / "root.crt").write_bytes(server.files.root.pem)
    (folder / "ca.crt").write_bytes(issuer.pem)
    (folder / "chain.crt").write_bytes(issuer.chain_pem)
    world.request("https", kind)
    certificate = server.run("sign", str(folder / "https.csr"))
    (server.folder / "https.crt").write_bytes(certificate.encode() + issuer.pem)
    (server.folder / "https.key").write_bytes((folder / "https.key").read_bytes())
    world.est.account("alice")
    try:
        server.start()
        for name in ("mldsa", "root"):
            wait_until(functools.partial(world.is_published, name), f"the CRL of {name} is published")
        yield world
    finally:
        end(server)


# --- certificates ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NAMES)
def test_enrolls(pqc: PQC, kind: str) -> None:
    """A request made by OpenSSL, sent by its curl; chain, names and algorithms are as OpenSSL wants them."""
    pqc.enroll(f"enrolls-{kind}", kind)
    text = pqc.openssl("x509", "-in", f"enrolls-{kind}.crt", "-noout", "-text")
    assert f"Signature Algorithm: {NAMES[pqc.kind]}" in text
    assert f"Public Key Algorithm: {NAMES[kind]}" in text
    assert "DNS:localhost, IP Address:127.0.0.1" in text
    own = pqc.openssl("pkey", "-in", f"enrolls-{kind}.key", "-pubout")
    assert pqc.openssl("x509", "-in", f"enrolls-{kind}.crt", "-noout", "-pubkey") == own


@pytest.mark.parametrize("listener", ["https", "trusted_https"])
def test_renews_with_its_certificate(pqc: PQC, listener: str) -> None:
    """TLS with an ML-DSA client certificate, on the port that allows one and on the one that requires one."""
    name = f"renews-{listener}"
    first = pqc.enroll(name)
    client = ("--cert", f"{name}.crt", "--key", f"{name}.key")
    assert pqc.post("simplereenroll", name, *client, listener=listener) == "200"
    assert pqc.received(name) != first


def test_trusted_port_without_a_certificate(pqc: PQC) -> None:
    """No handshake."""
    pqc.curl(pqc.est.url("trusted_https") + PREFIX + "/cacerts", code=None)


def test_generated_key(pqc: PQC) -> None:
    """The key that serverkeygen makes is one that OpenSSL reads, and the certificate is for it."""
    pqc.request("generated", pqc.kind)
    assert pqc.post("serverkeygen", "generated", "--user", f"alice:{PASSWORD}") == "200"
    body = (pqc.folder / "answer").read_bytes()
    boundary = body.partition(b"\r\n")[0]
    _, key, certificate, _ = body.split(boundary)
    for part, name in ((key, "made.b64"), (certificate, "answer")):
        (pqc.folder / name).write_bytes(part.partition(b"\r\n\r\n")[2].strip())
    pqc.openssl("base64", "-d", "-A", "-in", "made.b64", "-out", "made.der")
    pqc.received("made")
    made = pqc.openssl("pkey", "-inform", "DER", "-in", "made.der", "-pubout")
    assert made == pqc.openssl("x509", "-in", "made.crt", "-noout", "-pubkey")


# --- status ------------------------------------------------------------------------------


def test_crl(pqc: PQC) -> None:
    """``crl -verify``, and ``verify -crl_check``: both CRLs of the chain are accepted, and obeyed."""
    pqc.enroll("good")
    pqc.revoke(pqc.enroll("bad"))
    issuers = {"mldsa": "ca.crt", "root": "root.crt"}
    lists: list[str] = []
    for name, issuer in issuers.items():
        pqc.download(f"/crl/{name}.crl", f"{name}.crl")
        text = pqc.openssl("crl", "-inform", "DER", "-in", f"{name}.crl", "-CAfile", issuer, "-verify", "-text")
        assert "verify OK" in text
        assert f"Signature Algorithm: {NAMES[pqc.kind]}" in text
        pqc.openssl("crl", "-inform", "DER", "-in", f"{name}.crl", "-out", f"{name}.pem")
        lists += ["-CRLfile", f"{name}.pem"]
    for check in ("-crl_check", "-crl_check_all"):
        assert ": OK" in pqc.verify("good", check, *lists)
        assert "certificate revoked" in pqc.verify("bad", check, *lists, code=2)


def test_ocsp(pqc: PQC) -> None:
    """The responder's ML-DSA signature verifies, for good and for revoked."""
    serial = pqc.enroll("status")
    command = ("ocsp", "-issuer", "ca.crt", "-cert", "status.crt", "-url", f"{pqc.http}/ocsp", "-CAfile", "chain.crt")
    text = pqc.openssl(*command, "-resp_text")
    assert "Response verify OK" in text
    assert "status.crt: good" in text
    assert "Signature Algorithm: ML-DSA-44" in text
    pqc.revoke(serial)
    text = pqc.openssl(*command)
    assert "Response verify OK" in text
    assert "status.crt: revoked" in text


# --- TLS ---------------------------------------------------------------------------------


def s_client(pqc: PQC, port: int, *options: str, code: int | None = 0) -> str:
    """A whole handshake and no data, with everything verified."""
    trust = ("-CAfile", "root.crt", "-verify_return_error", "-verify_hostname", "localhost", "-x509_strict")
    command = [pqc.programs.openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", *trust]
    done = subprocess.run([*command, *options], cwd=pqc.folder, input=b"", capture_output=True, timeout=60, check=False)
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert (done.returncode != 0) if code is None else done.returncode == code, text
    return text


def test_server_certificate(pqc: PQC) -> None:
    """The server's handshake is signed by its ML-DSA key, and its chain is right."""
    text = s_client(pqc, pqc.est.server.ports["https"])
    assert "Verify return code: 0 (ok)" in text
    assert f"Peer signature type: {pqc.kind}" in text


@contextmanager
def s_server(pqc: PQC, name: str) -> Iterator[int]:
    """A TLS server of OpenSSL with the certificate ``NAME.crt``, which requires one of its clients; its port."""
    (port,) = free_ports(1)
    command = [pqc.programs.openssl, "s_server", "-accept", f"127.0.0.1:{port}", "-www"]
    command += ["-cert", f"{name}.crt", "-key", f"{name}.key", "-cert_chain", "ca.crt"]
    command += ["-CAfile", "root.crt", "-chainCAfile", "chain.crt", "-Verify", "3", "-verify_return_error"]
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=pqc.folder, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        wait_until(lambda: accepts(port), "s_server listens")
        yield port
    finally:
        process.kill()
        process.wait(30)


def test_between_two_devices(pqc: PQC) -> None:
    """Two certificates from here authenticate both ends of a connection that this program has no part in."""
    pqc.enroll("server")
    pqc.enroll("client")
    with s_server(pqc, "server") as port:
        url = f"https://localhost:{port}/"
        leaf, issuer = ((pqc.folder / name).read_bytes() for name in ("client.crt", "ca.crt"))
        (pqc.folder / "client-chain.crt").write_bytes(leaf + issuer)
        assert pqc.curl(url, "--cert", "client-chain.crt", "--key", "client.key") == "200"
        pqc.curl(url, code=None)
        text = s_client(pqc, port, "-cert", "client.crt", "-key", "client.key", "-cert_chain", "ca.crt")
        assert "Verify return code: 0 (ok)" in text
        assert f"Peer signature type: {pqc.kind}" in text
