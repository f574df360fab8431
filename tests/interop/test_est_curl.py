"""curl and openssl against a real server: every operation, every form of body (EST-1)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from pikachu.core.model.policies import Policy, PolicyLimits
from tests.support.est import PASSWORD, PREFIX
from tests.support.est_live import LiveEST, live_est, run
from tests.support.interop import require

pytestmark = pytest.mark.interop

ALICE = ("-u", f"alice:{PASSWORD}")
BOB = ("-u", f"bob:{PASSWORD}")
PKCS10 = ("-H", "Content-Type: application/pkcs10")


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEST]:
    """A server whose CA has a P-256 key, and another with an RSA key."""
    require("curl", "openssl")
    with live_est(tmp_path_factory.mktemp("server"), key_types=("p256", "rsa2048")) as server:
        yield server


@pytest.fixture(scope="module")
def label(est: LiveEST) -> Policy:
    """A policy of bob's that has the RSA CA sign P-384 keys only."""
    bob = est.account("bob")
    limits = PolicyLimits(keys=("EC/secp384r1",))
    return est.policy("Door locks", owner_id=bob.owner_id, system=False, issuer="rsa", limits=limits)


@pytest.fixture
def folder(tmp_path: Path, est: LiveEST) -> Path:
    """With ``root.crt``, ``chain.pem`` and the request ``r.pem``, ``r.der``, ``r.b64`` of the key ``k.pem``."""
    files = est.server.files
    (tmp_path / "root.crt").write_bytes(files.root.pem)
    (tmp_path / "chain.pem").write_bytes(b"".join(ca.pem for ca in files.issuers.values()))
    make_request(tmp_path, "r", "prime256v1", f"/O=Acme/CN={tmp_path.name}")
    return tmp_path


def make_request(folder: Path, name: str, curve: str, subject: str) -> None:
    openssl(folder, "ecparam", "-name", curve, "-genkey", "-noout", "-out", f"{name}-key.pem")
    extension = "subjectAltName=DNS:device.example.com"
    key = ("-key", f"{name}-key.pem", "-subj", subject, "-addext", extension)
    openssl(folder, "req", "-new", *key, "-out", f"{name}.pem")
    openssl(folder, "req", "-in", f"{name}.pem", "-outform", "DER", "-out", f"{name}.der")
    (folder / f"{name}.b64").write_bytes(base64.encodebytes((folder / f"{name}.der").read_bytes()))


def openssl(folder: Path, *arguments: str) -> str:
    return run("openssl", *arguments, cwd=folder)


def curl(folder: Path, url: str, *options: str, out: str = "answer") -> tuple[int, str]:
    """The status and the type of the answer, which is in the file *out*."""
    command = ("curl", "-sS", "--cacert", "root.crt", "-o", out, "-w", "%{http_code} %{content_type}", *options, url)
    status, _, kind = run(*command, cwd=folder).strip().partition(" ")
    return int(status), kind


def certificate(est: LiveEST, folder: Path, der: bool = False, ca: str = "ec") -> x509.Certificate:
    """The one certificate in the PKCS#7 of an answer, as openssl prints it."""
    if der:
        printed = openssl(folder, "pkcs7", "-inform", "DER", "-in", "answer", "-print_certs")
    else:
        openssl(folder, "base64", "-d", "-A", "-in", "answer", "-out", "p7.der")
        printed = openssl(folder, "pkcs7", "-inform", "DER", "-in", "p7.der", "-print_certs")
    (found,) = x509.load_pem_x509_certificates(printed.encode())
    est.check(found, ca)
    (folder / "c.pem").write_text(printed, encoding="ascii")
    trust = ("-x509_strict", "-CAfile", "root.crt", "-untrusted", "chain.pem")
    assert openssl(folder, "verify", *trust, "c.pem").endswith(": OK\n")
    return found


@pytest.mark.parametrize(("body", "der"), [("r.pem", False), ("r.b64", False), ("r.der", True)])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_bodies(est: LiveEST, folder: Path, body: str, der: bool, version: str) -> None:
    """EST-1: ``--data-binary @r.der`` and ``openssl pkcs7 -inform DER`` work together; PEM and base64 as well."""
    tls = (f"--tlsv{version}", "--tls-max", version)
    answer = curl(folder, est.url() + PREFIX + "/simpleenroll", *ALICE, *PKCS10, *tls, "--data-binary", f"@{body}")
    assert answer == (200, "application/pkcs7-mime; smime-type=certs-only"), (folder / "answer").read_bytes()
    found = certificate(est, folder, der)
    assert found.subject.rfc4514_string() == f"CN={folder.name},O=Acme"


def test_ca_certificates(est: LiveEST, folder: Path) -> None:
    """Anyone."""
    assert curl(folder, est.url() + PREFIX + "/cacerts")[0] == 200
    openssl(folder, "base64", "-d", "-A", "-in", "answer", "-out", "p7.der")
    printed = openssl(folder, "pkcs7", "-inform", "DER", "-in", "p7.der", "-print_certs")
    files = est.server.files
    assert set(x509.load_pem_x509_certificates(printed.encode())) == {
        files.root.certificate,
        files.issuers["ec"].certificate,
    }


def test_attributes(est: LiveEST, folder: Path, label: Policy) -> None:
    """204 where nothing is demanded, else what ``openssl asn1parse`` reads."""
    assert curl(folder, est.url() + PREFIX + "/csrattrs")[0] == 204
    assert curl(folder, est.url() + PREFIX + "/Door%20locks/csrattrs") == (200, "application/csrattrs")
    openssl(folder, "base64", "-d", "-A", "-in", "answer", "-out", "attributes.der")
    printed = openssl(folder, "asn1parse", "-inform", "DER", "-in", "attributes.der")
    assert "secp384r1" in printed
    assert "ecdsa-with-SHA384" in printed


def test_label(est: LiveEST, folder: Path, label: Policy) -> None:
    """POL-3: the label's CA signs, and cacerts says so."""
    base = est.url() + PREFIX + "/Door%20locks"
    assert curl(folder, f"{base}/simpleenroll", *BOB, *PKCS10, "--data-binary", "@r.der")[0] == 400
    assert "EC/secp384r1" in (folder / "answer").read_text()
    make_request(folder, "l", "secp384r1", f"/CN={folder.name}")
    assert curl(folder, f"{base}/simpleenroll", *BOB, *PKCS10, "--data-binary", "@l.der")[0] == 200
    certificate(est, folder, der=True, ca="rsa")
    assert curl(folder, f"{base}/cacerts", out="cacerts")[0] == 200
    content = base64.b64decode((folder / "cacerts").read_bytes())
    assert est.server.files.issuers["rsa"].der in content
    assert est.server.files.issuers["ec"].der not in content


@pytest.mark.parametrize("listener", ["https", "trusted_https"])
def test_reenrollment(est: LiveEST, folder: Path, listener: str) -> None:
    """EST-3: with the certificate over TLS; without it the trusted port has no handshake."""
    enroll = (*PKCS10, "--data-binary", "@r.pem")
    assert curl(folder, est.url() + PREFIX + "/simpleenroll", *ALICE, *enroll)[0] == 200
    first = certificate(est, folder)
    client = ("--cert", "c.pem", "--key", "r-key.pem")
    assert curl(folder, est.url(listener) + PREFIX + "/simplereenroll", *client, *enroll)[0] == 200
    assert certificate(est, folder) != first
    without = ("curl", "-sS", "--cacert", "root.crt", est.url(listener) + PREFIX + "/cacerts", "-o", "answer")
    run(*without, cwd=folder, code=0 if listener == "https" else None)


def test_generated_key(est: LiveEST, folder: Path) -> None:
    """The parts are what openssl reads."""
    command = (*ALICE, *PKCS10, "--data-binary", "@r.pem")
    status, kind = curl(folder, est.url() + PREFIX + "/serverkeygen", *command)
    assert (status, kind.partition(";")[0]) == (200, "multipart/mixed")
    boundary = b"--" + kind.partition("boundary=")[2].encode()
    _, first, second, end = (folder / "answer").read_bytes().split(boundary)
    assert end == b"--\r\n"
    (folder / "key.der").write_bytes(base64.b64decode(first.partition(b"\r\n\r\n")[2]))
    (folder / "answer").write_bytes(second.partition(b"\r\n\r\n")[2])
    certificate(est, folder)
    made = openssl(folder, "pkey", "-inform", "DER", "-in", "key.der", "-pubout")
    assert made == openssl(folder, "x509", "-in", "c.pem", "-noout", "-pubkey")
    assert made != openssl(folder, "pkey", "-in", "r-key.pem", "-pubout")


def test_refusals(est: LiveEST, folder: Path) -> None:
    """Statuses and one line of text."""
    url = est.url() + PREFIX + "/simpleenroll"
    data = ("--data-binary", "@r.der")
    assert curl(folder, url, *PKCS10, *data)[0] == 401
    assert curl(folder, url, "-u", "alice:wrong", *PKCS10, *data)[0] == 401
    assert curl(folder, url, *ALICE, *data)[0] == 415
    assert curl(folder, url, *ALICE, *PKCS10, "--data-binary", "nonsense")[0] == 400
    assert curl(folder, url, *ALICE)[0] == 405
    assert curl(folder, est.url() + PREFIX + "/fullcmc", *ALICE, *PKCS10, *data)[0] == 404
    (folder / "large").write_bytes(bytes(100_000))
    assert curl(folder, url, *ALICE, *PKCS10, "--data-binary", "@large")[0] == 413
    chunked = ("-H", "Transfer-Encoding: chunked", "--data-binary", "@r.pem")
    assert curl(folder, url, *ALICE, *PKCS10, *chunked)[0] == 200


def test_not_in_the_clear(est: LiveEST, folder: Path) -> None:
    """EST is never answered on plain HTTP, and never redirected with credentials."""
    url = f"http://localhost:{est.server.ports['http']}{PREFIX}"
    assert curl(folder, f"{url}/simpleenroll", *ALICE, *PKCS10, "--data-binary", "@r.der")[0] == 403
    assert curl(folder, f"{url}/cacerts")[0] == 403


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_tls(est: LiveEST, folder: Path, version: str) -> None:
    """TLS 1.0 and 1.1 have no handshake."""
    where = ("-connect", est.url().removeprefix("https://"), version, "-cipher", "ALL:@SECLEVEL=0")
    run("openssl", "s_client", *where, "-brief", cwd=folder, code=1)
