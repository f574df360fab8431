"""Java's keytool makes the key and the request, and keeps what EST issues; a Java client shows it (EST-1, EST-3)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from tests.hostile.target import sampled
from tests.interop.test_est_curl import ALICE, PKCS10, certificate, curl
from tests.support.est import PREFIX
from tests.support.est_live import LiveEST, live_est, run
from tests.support.interop import require
from tests.support.java import compiled

pytestmark = pytest.mark.interop

ENVIRONMENT: Final = {**os.environ, "STORE_PASSWORD": "a password of the store", "LC_ALL": "C"}
# A virtual machine that ends soon.
QUICK: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
KEYS: Final = {
    "RSA": ("-keyalg", "RSA", "-keysize", "2048"),
    "RSASSA-PSS": ("-keyalg", "RSA", "-keysize", "3072", "-sigalg", "RSASSA-PSS"),
    "P-256": ("-keyalg", "EC", "-groupname", "secp256r1"),
    "P-521": ("-keyalg", "EC", "-groupname", "secp521r1"),
    "Ed25519": ("-keyalg", "Ed25519"),
}
REFUSED: Final = {
    "RSA of 1024 bits": ("-keyalg", "RSA", "-keysize", "1024"),
    "DSA": ("-keyalg", "DSA", "-keysize", "2048"),
    "Ed448": ("-keyalg", "Ed448"),
}


@dataclass(frozen=True)
class Store:
    """A key store of a device, with the root, and its request in the file ``r.pem``."""

    folder: Path

    def keytool(self, *arguments: str) -> str:
        """Run keytool on it."""
        store = ("-keystore", "device.p12", "-storetype", "PKCS12", "-storepass:env", "STORE_PASSWORD", "-noprompt")
        flags = (f"-J{flag}" for flag in QUICK)
        return run("keytool", *flags, *arguments, *store, cwd=self.folder, env=ENVIRONMENT)

    def make(self, key: tuple[str, ...]) -> None:
        """Make a key and its request; a signature algorithm among its options is that of the request."""
        name, signature = f"CN={self.folder.name}, O=Acme", key[4:]
        self.keytool("-importcert", "-alias", "root", "-file", "root.crt")
        self.keytool("-genkeypair", "-alias", "device", "-dname", name, *key[:4])
        extension = ("-ext", "SAN=dns:device.example.com,ip:192.0.2.7")
        self.keytool("-certreq", "-alias", "device", *extension, *signature, "-file", "r.pem")


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEST]:
    """A server with a P-256 CA."""
    require("keytool", "curl", "openssl")
    with live_est(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> tuple[str | Path, ...]:
    """The command of a client in Java."""
    return compiled("PostRequest", tmp_path_factory.mktemp("classes"))


@pytest.fixture
def store(tmp_path: Path, est: LiveEST) -> Store:
    """A store of a device that has no key yet."""
    files = est.server.files
    (tmp_path / "root.crt").write_bytes(files.root.pem)
    (tmp_path / "chain.pem").write_bytes(files.issuers["ec"].pem)
    return Store(tmp_path)


@pytest.mark.parametrize("kind", sampled(KEYS, always=["P-256"]))
def test_keytool(est: LiveEST, store: Store, client: tuple[str | Path, ...], kind: str) -> None:
    """The chain is imported into the store, which renews over TLS until the certificate is revoked."""
    store.make(KEYS[kind])
    url = est.url() + PREFIX + "/simpleenroll"
    answer = curl(store.folder, url, *ALICE, *PKCS10, "--data-binary", "@r.pem")
    assert answer[0] == 200, (store.folder / "answer").read_bytes()
    issued = certificate(est, store.folder)
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["device.example.com", "192.0.2.7"]
    chain = (store.folder / "c.pem").read_bytes() + (store.folder / "chain.pem").read_bytes()
    (store.folder / "reply.pem").write_bytes(chain)
    said = store.keytool("-importcert", "-alias", "device", "-file", "reply.pem")
    assert "Certificate reply was installed in keystore" in said
    keys = load_pkcs12((store.folder / "device.p12").read_bytes(), ENVIRONMENT["STORE_PASSWORD"].encode())
    assert keys.cert is not None
    assert keys.cert.certificate == issued

    def renewed() -> str:
        url = est.url("trusted_https") + PREFIX + "/simplereenroll"
        return run(*client, "device.p12", url, "r.pem", cwd=store.folder, env=ENVIRONMENT).strip()

    assert renewed() == "200"
    est.revoke(issued.serial_number)
    assert renewed() == "403"


@pytest.mark.parametrize("kind", sampled(REFUSED))
def test_refused(est: LiveEST, store: Store, kind: str) -> None:
    """Keys that no policy allows: 400, and a line that says why."""
    store.make(REFUSED[kind])
    url = est.url() + PREFIX + "/simpleenroll"
    assert curl(store.folder, url, *ALICE, *PKCS10, "--data-binary", "@r.pem")[0] == 400
    assert "key" in (store.folder / "answer").read_text()
