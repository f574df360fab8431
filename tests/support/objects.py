"""One of each kind of object that is inspected, made by the openssl program and by pyca/cryptography."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7, pkcs12
from cryptography.x509 import ocsp

from pikachu.x509.pem import pem
from tests.support.interop import require
from tests.support.pki import Identity, key_pem, make_ca, make_csr, make_key, make_leaf

PASSPHRASE = "open sesame"
CHALLENGE = "5EC2E7C0DE5EC2E7"


@functools.cache
def authority() -> Identity:
    """The CA of all objects here."""
    return make_ca(name="Example Issuing CA")


@functools.cache
def leaf() -> Identity:
    """A certificate of it."""
    return make_leaf(authority(), sans=["device.example.com"], serial=0x1234567890)


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    """Run openssl in a folder with ``leaf.crt``, ``leaf.key`` and ``ca.crt``; return its output."""
    require("openssl")
    with tempfile.TemporaryDirectory() as folder:
        leaf().write(Path(folder), "leaf")
        authority().write(Path(folder), "ca")
        result = subprocess.run(
            ["openssl", *arguments], input=data, capture_output=True, check=True, timeout=60, cwd=folder
        )
    return result.stdout


def ocsp_request() -> bytes:
    """For the leaf, with a nonce."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(
        leaf().certificate,
        authority().certificate,
        hashes.SHA1(),
    )
    return builder.add_extension(x509.OCSPNonce(b"n" * 16), critical=False).build().public_bytes(Encoding.DER)


def ocsp_response(status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.REVOKED) -> bytes:
    """The leaf is revoked, says the CA."""
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    now = leaf().certificate.not_valid_before_utc
    builder = ocsp.OCSPResponseBuilder().add_response(
        leaf().certificate,
        authority().certificate,
        hashes.SHA256(),
        status,
        now,
        now,
        now if revoked else None,
        x509.ReasonFlags.key_compromise if revoked else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, authority().certificate)
    builder = builder.certificates([authority().certificate])
    return builder.sign(authority().key, hashes.SHA256()).public_bytes(Encoding.DER)


def crl() -> bytes:
    """With one entry."""
    now = authority().certificate.not_valid_before_utc
    revoked = x509.RevokedCertificateBuilder().serial_number(0xABC).revocation_date(now).build()
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority().certificate.subject)
    builder = builder.last_update(now).next_update(authority().certificate.not_valid_after_utc)
    builder = builder.add_revoked_certificate(revoked).add_extension(x509.CRLNumber(7), critical=False)
    return builder.sign(authority().key, hashes.SHA256()).public_bytes(Encoding.DER)


def pfx(passphrase: str = PASSPHRASE) -> bytes:
    """Key, certificate and CA."""
    return pkcs12.serialize_key_and_certificates(
        b"my device",
        leaf().key,  # type: ignore[arg-type]
        leaf().certificate,
        [authority().certificate],
        serialization.BestAvailableEncryption(passphrase.encode()),
    )


def public_pem(key_type: str = "p256") -> bytes:
    """A public key."""
    public = make_key(key_type).public_key()
    return public.public_bytes(Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


#: name → (what it is recognised as, how it is made).
OBJECTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "certificate": ("certificate", lambda: leaf().der),
    "certificate in PEM": ("certificate", lambda: leaf().pem),
    "chain": ("certificate", lambda: leaf().chain_pem),
    "request": ("csr", lambda: make_csr(challenge=CHALLENGE)[1]),
    "request in PEM": ("csr", lambda: pem("CERTIFICATE REQUEST", make_csr("rsa2048")[1]).encode()),
    "ML-DSA request": ("csr", lambda: make_csr("mldsa65")[1]),
    "CRL": ("crl", crl),
    "PKCS#7": ("pkcs7", lambda: pkcs7.serialize_certificates([leaf().certificate], Encoding.DER)),
    "PKCS#12": ("pkcs12", pfx),
    "OCSP request": ("ocsp_request", ocsp_request),
    "OCSP response": ("ocsp_response", ocsp_response),
    "OCSP error": ("ocsp_response", lambda: b"\x30\x03\x0a\x01\x06"),
    "PKCS#8": ("private_key", lambda: key_pem(make_key("p256"))),
    "encrypted PKCS#8": ("private_key", lambda: key_pem(make_key("ed25519"), PASSPHRASE.encode())),
    "ML-DSA key": ("private_key", lambda: key_pem(make_key("mldsa44"))),
    "public key": ("public_key", public_pem),
    "ML-DSA public key": ("public_key", lambda: public_pem("mldsa87")),
}
