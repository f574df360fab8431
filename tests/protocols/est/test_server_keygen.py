"""serverkeygen (RFC 7030 section 4.4)."""

from __future__ import annotations

import base64
import email
import email.policy
from email.message import EmailMessage

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key

from pikachu.core.model.policies import PolicyLimits
from pikachu.protocols.est.messages import ASYMMETRIC_DECRYPT_KEY_IDENTIFIER, DECRYPT_KEY_IDENTIFIER
from pikachu.x509 import der
from pikachu.x509.keys import describe_private_key, load_private_key
from tests.protocols.est.refusals import refused
from tests.support.est import CERTS_ONLY, EST, certificates_in
from tests.support.lint import check_certificate
from tests.support.pki import KEY_TYPES, PrivateKey, make_csr
from tests.support.stack import Response
from tests.unit.x509.requests import attribute, request


def parts_of(response: Response) -> tuple[bytes, bytes]:
    """The PKCS#8 key and the PKCS#7 of an answer, in DER, read by Python's own MIME parser."""
    assert response.status == 200, response.body
    kind = response.headers["Content-Type"]
    assert kind.startswith("multipart/mixed; boundary=")
    assert len(kind.partition("=")[2]) <= 70
    assert response.headers["Cache-Control"] == "no-store"
    assert b"\n" not in response.body.replace(b"\r\n", b"")
    assert response.body.endswith(b"--\r\n")
    head = f"MIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.body, policy=email.policy.HTTP)
    first, second = message.iter_parts()
    assert isinstance(first, EmailMessage)
    assert isinstance(second, EmailMessage)
    assert first["Content-Type"] == "application/pkcs8"
    assert f"Content-Type: {CERTS_ONLY}\r\n".encode() in response.body
    for part in (first, second):
        assert part["Content-Transfer-Encoding"] == "base64"
    key, certificates = first.get_payload(decode=True), second.get_payload(decode=True)
    assert isinstance(key, bytes)
    assert isinstance(certificates, bytes)
    return key, certificates


def generated(est: EST, csr: bytes, user: str = "alice") -> tuple[PrivateKey, x509.Certificate, bytes]:
    """The key, its certificate, and the answer's key part."""
    response = est.enroll(csr, "serverkeygen", user=user)
    key_der, content = parts_of(response)
    (found,) = certificates_in(content)
    key = load_private_key(key_der)
    assert key.public_key() == found.public_key()
    check_certificate(found.public_bytes(Encoding.DER), est.stack.issuer().chain)
    return key, found, key_der


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_new_key(est: EST, key_type: str) -> None:
    """A key of the request's kind; names are the request's; the request's key is not used."""
    own, csr = make_csr(key_type, sans=["DNS:device.example.com"])
    key, found, key_der = generated(est, csr)
    assert type(key) is type(own)
    assert key.public_key() != own.public_key()
    assert found.subject.rfc4514_string() == "CN=device.example.com"
    if not key_type.startswith("mldsa"):
        load_der_private_key(key_der, None)


def test_nothing_is_kept(est: EST) -> None:
    """The key is nowhere in the database; a second request makes a second key."""
    _, csr = make_csr()
    first, _, _ = generated(est, csr)
    second, _, _ = generated(est, csr)
    assert first.public_key() != second.public_key()
    assert isinstance(first, ec.EllipticCurvePrivateKey)
    secret = first.private_numbers().private_value.to_bytes(32, "big")
    for path in est.stack.files.folder.glob("pikachu.sqlite*"):
        assert secret not in path.read_bytes()


@pytest.mark.parametrize("size", [1024, 512])
def test_unusable_key(est: EST, size: int) -> None:
    """Where the request's key is none to use, RSA-2048."""
    weak = der.sequence(
        der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null()),
        der.bit_string(der.sequence(der.integer((1 << size) - 5), der.integer(65537))),
    )
    key, _, _ = generated(est, request(spki=weak))
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048


def test_broken_signature(est: EST) -> None:
    """The request's signature counts for nothing."""
    generated(est, request(signature=b"nonsense"))


@pytest.mark.parametrize("oid", [DECRYPT_KEY_IDENTIFIER, ASYMMETRIC_DECRYPT_KEY_IDENTIFIER])
def test_encryption_is_refused(est: EST, oid: str) -> None:
    """A client that requests an encrypted key never gets it in the clear."""
    line = refused(
        est.enroll(request(attributes=[attribute(oid, der.octet_string(b"key 1"))]), "serverkeygen", user="alice"), 400
    )
    assert "encrypting" in line
    assert est.issued() == 0


def test_limits_stay(est: EST) -> None:
    """The policy's limits bind the new key too; names that it does not allow are refused."""
    est.policy("names", limits=PolicyLimits(names=("DNS:*.example.com",)))
    refused(est.enroll(make_csr(sans=["DNS:a.example.org"])[1], "serverkeygen", user="alice"), 400)
    generated(est, make_csr(sans=["DNS:a.example.com"])[1])


@pytest.mark.parametrize(
    ("allowed", "placeholder", "expected"),
    [
        (("RSA",), "p256", "RSA/2048"),
        (("RSA/3072",), "p256", "RSA/3072"),
        (("RSA/3072",), "rsa2048", "RSA/3072"),
        (("EC",), "rsa2048", "EC/prime256v1"),
        (("EC",), "p384", "EC/secp384r1"),
        (("EC/secp384r1",), "p256", "EC/secp384r1"),
        (("Ed25519", "RSA"), "p256", "RSA/2048"),
        (("Ed25519", "EC"), "mldsa44", "Ed25519"),
        (("PQC",), "p256", "PQC/mldsa44"),
        (("PQC/mldsa87",), "rsa2048", "PQC/mldsa87"),
        (("EC", "PQC"), "mldsa65", "PQC/mldsa65"),
    ],
)
def test_the_new_key_is_judged(est: EST, allowed: tuple[str, ...], placeholder: str, expected: str) -> None:
    """The request's key is a placeholder: where the policy does not allow its type, another one is made."""
    est.policy("keys", limits=PolicyLimits(keys=allowed))
    key, _, _ = generated(est, make_csr(placeholder)[1])
    assert describe_private_key(key).text == expected


@pytest.mark.parametrize("allowed", [("RSA/8192",), ("RSA/8192", "RSA/2560")])
@pytest.mark.parametrize("placeholder", ["p256", "rsa2048"])
def test_no_key_that_is_allowed(est: EST, allowed: tuple[str, ...], placeholder: str) -> None:
    """A policy that allows only keys that the server does not generate: the error says what to do."""
    est.policy("large", limits=PolicyLimits(keys=allowed))
    line = refused(est.enroll(make_csr(placeholder)[1], "serverkeygen", user="alice"), 400)
    assert ", ".join(allowed) in line
    assert "simpleenroll" in line
    assert est.issued() == 0


def test_another_key_that_is_allowed(est: EST) -> None:
    """A key that is not generated here is passed over, whatever its place in the policy."""
    est.policy("mixed", limits=PolicyLimits(keys=("RSA/8192", "EC/secp384r1")))
    key, _, _ = generated(est, make_csr("p256")[1])
    assert describe_private_key(key).text == "EC/secp384r1"


def test_challenge(est: EST) -> None:
    """CHP-2: a challenge password buys one key."""
    _, csr = make_csr(challenge=est.challenge(est.account("owner")))
    parts_of(est.enroll(csr, "serverkeygen"))
    refused(est.enroll(csr, "serverkeygen"), 401)
    assert est.issued() == 1


def test_raw_request(est: EST) -> None:
    """The parts are always base64."""
    _, csr = make_csr()
    headers = {"Authorization": "Basic " + base64.b64encode(b"alice:correct horse").decode()}
    parts_of(est.send("/.well-known/est/serverkeygen", body=csr, headers=headers))


def test_wrapped_for_libest(est: EST) -> None:
    """libest can't read base64 in one line."""
    response = est.enroll(make_csr()[1], "serverkeygen", user="alice", headers={"User-Agent": "libest 3.2.0p"})
    parts_of(response)
    assert max(len(line) for line in response.body.split(b"\r\n")) <= 64


def test_client_certificate(est: EST) -> None:
    """EST-2: as for simpleenroll."""
    tls = est.connect(est.identity())
    parts_of(est.enroll(make_csr()[1], "serverkeygen", tls=tls))
