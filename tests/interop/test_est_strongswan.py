"""strongSwan's ``pki --estca`` and ``pki --est`` against a real server (EST-1 to EST-4)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pikachu.core.model.policies import Approval
from tests.support.est import PASSWORD
from tests.support.est_live import LiveEST, live_est, run
from tests.support.interop import require
from tests.support.pki import PrivateKey, make_csr
from tests.support.server import wait_until

pytestmark = pytest.mark.interop

VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEST]:
    """A server whose CA has a P-256 key."""
    require("pki")
    with live_est(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def manual(tmp_path: Path) -> Iterator[LiveEST]:
    """A server where every enrollment waits."""
    require("pki")
    with live_est(tmp_path / "server", changes={("EST", "retry_after"): "1s"}) as server:
        server.policy("manual", approval=Approval.MANUAL)
        yield server


class Client:
    """The program in a folder of its own."""

    def __init__(self, folder: Path, est: LiveEST, version: str = "1.2") -> None:
        self.folder = folder
        self.est = est
        files = est.server.files
        (folder / "root.crt").write_bytes(files.root.pem)
        (folder / "ca.crt").write_bytes(files.issuers["ec"].pem)
        settings = folder / "strongswan.conf"
        settings.write_text(f"pki {{\n  tls {{\n    version_max = {version}\n  }}\n}}\n", encoding="ascii")
        self.environment = {**os.environ, "STRONGSWAN_CONF": str(settings)}

    def request(self, csr: bytes) -> Path:
        path = self.folder / "request.der"
        path.write_bytes(csr)
        return path

    def command(self, csr: bytes, *more: str, listener: str = "https") -> list[str]:
        trust = ["--cacert", str(self.folder / "root.crt"), "--cacert", str(self.folder / "ca.crt")]
        return ["pki", "--est", "--url", self.est.url(listener), "--in", str(self.request(csr)), *trust, *more]

    def enroll(self, csr: bytes, *more: str, listener: str = "https") -> x509.Certificate:
        """The certificate that the program prints."""
        done = subprocess.run(
            [*self.command(csr, *more, listener=listener), "--outform", "pem"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return x509.load_pem_x509_certificate(done.stdout)

    def refused(self, csr: bytes, *more: str) -> str:
        return run(*self.command(csr, *more), cwd=self.folder, env=self.environment, code=None)

    def write_identity(self, key: PrivateKey, certificate: x509.Certificate) -> list[str]:
        """Options for a client certificate."""
        form = PrivateFormat.TraditionalOpenSSL
        (self.folder / "old.key").write_bytes(key.private_bytes(Encoding.DER, form, NoEncryption()))
        (self.folder / "old.crt").write_bytes(certificate.public_bytes(Encoding.DER))
        return ["--cert", str(self.folder / "old.crt"), "--key", str(self.folder / "old.key")]


@VERSIONS
def test_ca_certificates(est: LiveEST, tmp_path: Path, version: str) -> None:
    """``--estca`` reads root and issuing CA."""
    client = Client(tmp_path, est, version)
    run(
        *("pki", "--estca", "--url", est.url(), "--cacert", "root.crt", "--cacert", "ca.crt"),
        *("--caout", "out.pem", "--outform", "pem", "--force"),
        cwd=tmp_path,
        env=client.environment,
    )
    # The root, and each sub CA with a number in its name.
    found = {x509.load_pem_x509_certificate(path.read_bytes()) for path in tmp_path.glob("out*.pem")}
    files = est.server.files
    assert found == {files.root.certificate, files.issuers["ec"].certificate}


@VERSIONS
@pytest.mark.parametrize("key_type", ["p256", "rsa2048"])
def test_password(est: LiveEST, tmp_path: Path, version: str, key_type: str) -> None:
    """Pre-emptive Basic, base64 in one line, one write."""
    key, csr = make_csr(key_type, f"{key_type}-{version}.example.com", ["DNS:a.example.com"])
    found = Client(tmp_path, est, version).enroll(csr, "--userpass", f"alice:{PASSWORD}")
    assert found.public_key() == key.public_key()
    est.check(found)


@VERSIONS
@pytest.mark.parametrize("listener", ["https", "trusted_https"])
@pytest.mark.parametrize("key_type", ["p256", "rsa2048"])
def test_reenrollment(est: LiveEST, tmp_path: Path, version: str, listener: str, key_type: str) -> None:
    """EST-3: with the certificate that is renewed, on both ports."""
    name, sans = f"{key_type}-{version}-{listener}", ["DNS:a.example.com"]
    slot = 30 + ("1.2", "1.3").index(version) * 2 + ("https", "trusted_https").index(listener)
    client = Client(tmp_path, est, version)
    key, csr = make_csr(key_type, name, sans, slot=slot)
    first = client.enroll(csr, "--userpass", f"alice:{PASSWORD}")
    _, again = make_csr(key_type, name, sans, slot=slot + 10)
    found = client.enroll(again, *client.write_identity(key, first), listener=listener)
    est.check(found)
    assert found.subject == first.subject
    assert est.record(found.serial_number).owner_id == est.record(first.serial_number).owner_id


def test_challenge(est: LiveEST, tmp_path: Path) -> None:
    """CHP-2: the request carries the one-time password; a second one with it is refused."""
    owner = est.account("owner")
    client = Client(tmp_path, est)
    text = est.challenge(owner)
    found = client.enroll(make_csr(subject="challenged", challenge=text)[1])
    est.check(found)
    assert est.record(found.serial_number).owner_id == owner.owner_id
    assert "401" in client.refused(make_csr(subject="second", challenge=text)[1])


def test_refusals(est: LiveEST, tmp_path: Path) -> None:
    """A wrong password and a revoked certificate are errors to the client."""
    client = Client(tmp_path, est)
    client.refused(make_csr()[1], "--userpass", "alice:wrong")
    client.refused(make_csr()[1])
    key, csr = make_csr(subject="to be revoked")
    first = client.enroll(csr, "--userpass", f"alice:{PASSWORD}")
    est.revoke(first.serial_number)
    client.refused(make_csr(subject="to be revoked")[1], *client.write_identity(key, first))


@VERSIONS
def test_approval(manual: LiveEST, tmp_path: Path, version: str) -> None:
    """EST-4: it polls until an admin approves."""
    client = Client(tmp_path, manual, version)
    key, csr = make_csr(subject="waits")
    more = ["--userpass", f"alice:{PASSWORD}", "--interval", "1", "--maxpolltime", "30", "--outform", "pem"]
    command = client.command(csr, *more)
    with subprocess.Popen(
        command, cwd=tmp_path, env=client.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        (waiting,) = wait_until(manual.approvals, "the request waits")
        assert process.poll() is None
        manual.approve(waiting.id)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    found = x509.load_pem_x509_certificate(out)
    assert found.public_key() == key.public_key()
    manual.check(found)


def test_rejection(manual: LiveEST, tmp_path: Path) -> None:
    """EST-4: a request that is rejected ends the polling."""
    client = Client(tmp_path, manual)
    more = ["--userpass", f"alice:{PASSWORD}", "--interval", "1", "--maxpolltime", "30"]
    command = client.command(make_csr(subject="waits")[1], *more)
    with subprocess.Popen(
        command, cwd=tmp_path, env=client.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        (waiting,) = wait_until(manual.approvals, "the request waits")
        manual.reject(waiting.id)
        process.communicate(timeout=60)
    assert process.returncode != 0
