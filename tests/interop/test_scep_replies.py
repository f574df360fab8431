"""Every kind of SCEP reply, verified and read by the real ``openssl`` (RFC 8894 sections 3.3.2 and 4.7)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pikachu.cli.main import main
from pikachu.core.model.policies import Approval
from tests.support.deferreds import result_of
from tests.support.interop import require
from tests.support.pki import make_ca
from tests.support.scep import (
    BAD_ALG,
    BAD_CERT_ID,
    BAD_MESSAGE_CHECK,
    BAD_REQUEST,
    FAILURE,
    PENDING,
    SCEP,
    SUCCESS,
    scep_server_in,
)
from tests.support.scep_client import SCEPClient, csr, name, verify_signed

pytestmark = pytest.mark.interop


@dataclass(frozen=True)
class Exchange:
    """A reply as it came, with the client that it was for.

    :param status: the pkiStatus and, of a FAILURE, the failInfo that it must have.
    """

    reply: bytes
    client: SCEPClient
    status: tuple[str, str | None]


EXCHANGES = [
    "PKCSReq",
    "RenewalReq",
    "repeated PKCSReq",
    "GetCert",
    "GetCert of an unknown serial",
    "GetCRL",
    "GetCRL of another issuer",
    "GetCRL before there is one",
    "badAlg",
    "badMessageCheck",
    "wrong challenge",
    "no senderNonce",
    "two signers",
    "another recipient",
    "CertPoll of an unknown transaction",
    "pending PKCSReq",
    "pending CertPoll",
    "CertPoll after approval",
    "CertPoll after rejection",
    "PKCSReq after rejection",
]


def exchanges(scep: SCEP) -> Iterator[tuple[str, Exchange]]:
    """One exchange of each kind with the server."""
    client, stranger = scep.client(), scep.client(2)
    issuer = scep.stack.issuer()
    subject = issuer.certificate.subject_der
    success, pending = (SUCCESS, None), (PENDING, None)

    def exchange(message: bytes, status: tuple[str, str | None], by: SCEPClient = client) -> Exchange:
        response = scep.post(message)
        assert response.status == 200, response.body
        return Exchange(response.body, by, status)

    yield "GetCRL before there is one", exchange(client.get_crl(subject, 1), (FAILURE, BAD_CERT_ID))
    result_of(scep.stack.app.publisher.make(issuer))
    enroll = client.pkcs_req(csr(client.key, challenge=scep.admin_challenge()))
    yield "PKCSReq", exchange(enroll, success)
    yield "repeated PKCSReq", exchange(enroll, success)
    (certificate,) = client.read(scep.post(enroll).body, client.recipient).certificates
    holder = client.with_certificate(certificate)
    serial = x509.load_der_x509_certificate(certificate).serial_number
    yield "RenewalReq", exchange(holder.renewal_req(transaction_id="renewal"), success, holder)
    yield "GetCert", exchange(client.get_cert(subject, serial), success)
    yield "GetCert of an unknown serial", exchange(client.get_cert(subject, serial + 1), (FAILURE, BAD_CERT_ID))
    yield "GetCRL", exchange(client.get_crl(subject, serial), success)
    foreign = make_ca("p256", "Foreign").subject_der
    yield "GetCRL of another issuer", exchange(client.get_crl(foreign, 1), (FAILURE, BAD_CERT_ID))
    yield "badAlg", exchange(client.pkcs_req(digest="sha1"), (FAILURE, BAD_ALG))
    yield "badMessageCheck", exchange(client.pkcs_req(flip=True), (FAILURE, BAD_MESSAGE_CHECK))
    wrong = client.pkcs_req(csr(client.key, challenge="wrong"), transaction_id="wrong")
    yield "wrong challenge", exchange(wrong, (FAILURE, BAD_REQUEST))
    yield "no senderNonce", exchange(client.pkcs_req(sender_nonce=b""), (FAILURE, BAD_REQUEST))
    yield "two signers", exchange(client.pkcs_req(signers=2), (FAILURE, BAD_REQUEST))
    other = SCEPClient(client.key, client.certificate, stranger.certificate)
    yield "another recipient", exchange(other.pkcs_req(), (FAILURE, BAD_CERT_ID))
    poll = client.cert_poll(subject, name("device"), transaction_id="unknown")
    yield "CertPoll of an unknown transaction", exchange(poll, (FAILURE, BAD_CERT_ID))

    scep.policy("manual", approval=Approval.MANUAL, use_for_est=False, use_for_scep=True)
    waiting = client.pkcs_req(transaction_id="approved")
    poll = client.cert_poll(subject, name("device"), transaction_id="approved")
    yield "pending PKCSReq", exchange(waiting, pending)
    yield "pending CertPoll", exchange(poll, pending)
    scep.approve(scep.approvals()[0].id)
    yield "CertPoll after approval", exchange(poll, success)
    refused = stranger.pkcs_req(transaction_id="rejected")
    assert scep.post(refused).status == 200
    scep.reject(scep.approvals()[0].id)
    yield "PKCSReq after rejection", exchange(refused, (FAILURE, BAD_REQUEST), stranger)
    poll = stranger.cert_poll(subject, name("device"), transaction_id="rejected")
    yield "CertPoll after rejection", exchange(poll, (FAILURE, BAD_REQUEST), stranger)


@pytest.fixture(scope="module", params=["rsa2048", "p256"])
def replies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exchange]:
    """Replies of a CA that acts itself (RSA), and of one with an RA certificate (P-256)."""
    with scep_server_in(tmp_path_factory.mktemp("replies") / "server", (request.param,)) as scep:
        return dict(exchanges(scep))


def openssl(folder: Path, *arguments: str) -> bytes:
    """The output of the program, which must succeed."""
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def verified(folder: Path, reply: bytes, signer: bytes) -> bytes:
    """The content of a reply whose signature both of OpenSSL's readers verify, by *signer* alone."""
    (folder / "reply").write_bytes(reply)
    (folder / "signer.pem").write_bytes(x509.load_der_x509_certificate(signer).public_bytes(Encoding.PEM))
    contents = set()
    for tool in ("smime", "cms"):
        command = (tool, "-verify", "-noverify", "-inform", "DER", "-binary", "-in", "reply")
        contents.add(openssl(folder, *command))
        contents.add(openssl(folder, *command, "-nointern", "-certfile", "signer.pem"))
    (content,) = contents
    return content


@pytest.mark.parametrize("kind", EXCHANGES)
def test_openssl_verifies(replies: dict[str, Exchange], tmp_path: Path, kind: str) -> None:
    """The signature verifies, over an empty content where there is no envelope; it opens an envelope."""
    require("openssl")
    exchange = replies[kind]
    client = exchange.client
    read = client.read(exchange.reply, client.recipient)
    assert (read.status, read.fail_info) == exchange.status
    content = verified(tmp_path, exchange.reply, client.recipient)
    if read.status != SUCCESS:
        assert content == b""
        return
    key = client.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "envelope").write_bytes(content)
    decrypted = openssl(tmp_path, "smime", "-decrypt", "-inform", "DER", "-in", "envelope", "-inkey", "key.pem")
    (tmp_path / "payload").write_bytes(decrypted)
    text = openssl(tmp_path, "pkcs7", "-inform", "DER", "-in", "payload", "-print_certs")
    assert text.count(b"BEGIN CERTIFICATE") == len(read.certificates)
    assert text.count(b"BEGIN X509 CRL") == len(read.crls)
    assert len(read.certificates) + len(read.crls) == 1


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_openssl_verifies_the_next_ca(tmp_path: Path, kind: str) -> None:
    """GetNextCACert is signed by the current CA itself."""
    require("openssl")
    with scep_server_in(tmp_path / "server", (kind,)) as scep:
        current = scep.stack.issuer()
        assert main(["ca", "rotate", current.name, "--config", str(scep.stack.files.config)]) == 0
        result_of(scep.stack.app.generations.update(scep.stack.app.issuers))
        coming = scep.stack.app.issuers.next(current.name)
        assert coming is not None
        reply = scep.get_scep("GetNextCACert").body
    verify_signed(reply, current.certificate.der)
    (tmp_path / "payload").write_bytes(verified(tmp_path, reply, current.certificate.der))
    text = openssl(tmp_path, "pkcs7", "-inform", "DER", "-in", "payload", "-print_certs")
    assert x509.load_pem_x509_certificate(text).public_bytes(Encoding.DER) == coming.certificate.der
