"""Requests, prepared before anything is timed."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import os
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, rsa
from cryptography.x509.oid import NameOID

from pikachu.x509 import der
from pikachu.x509.certificate import Certificate, public_key_bits
from tests.support.scep_client import SCEPClient, self_signed

#: In every OCSP answer that is signed: responseStatus successful.
OCSP_SUCCESSFUL = b"\x0a\x01\x00"
#: In every CertRep that grants a certificate: the attribute pkiStatus with the value 0 (RFC 8894 section 3.2.1.3).
SCEP_SUCCESS = bytes.fromhex("060a6086480186f84501090331031301") + b"0"

_SHA1 = der.sequence(der.oid("1.3.14.3.2.26"), der.null())
_NONCE = der.oid("1.3.6.1.5.5.7.48.1.2")

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | mldsa.MLDSA65PrivateKey


def new_p256_key() -> ec.EllipticCurvePrivateKey:
    """A key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def rsa_keys(data: Path, count: int) -> list[rsa.RSAPrivateKey]:
    """RSA-2048 keys, kept in *data*: making one takes a tenth of a second."""
    folder = data / "rsa-keys"
    folder.mkdir(parents=True, exist_ok=True)
    keys = []
    for number in range(count):
        path = folder / f"{number}.pem"
        if not path.exists():
            key = rsa.generate_private_key(65537, 2048)
            text = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            path.write_bytes(text)
            path.chmod(0o600)
        loaded = serialization.load_pem_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(loaded, rsa.RSAPrivateKey):
            raise RuntimeError(f"{path} is not an RSA key")
        keys.append(loaded)
    return keys


def certificate_request(key: Key, name: str, dns: Iterable[str] = ()) -> bytes:
    """A DER certification request (PKCS #10)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    names = [x509.DNSName(one) for one in dns]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    digest = None if isinstance(key, mldsa.MLDSA65PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.DER)


def post(path: str, kind: str, body: bytes, *fields: str, close: bool = False) -> bytes:
    """An HTTP request with a body."""
    return _head("POST", path, (f"Content-Type: {kind}", f"Content-Length: {len(body)}", *fields), close) + body


def get(path: str, *fields: str, close: bool = False) -> bytes:
    """An HTTP request without one."""
    return _head("GET", path, fields, close)


def _head(method: str, path: str, fields: Sequence[str], close: bool) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *fields, *(["Connection: close"] if close else [])]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def ocsp_request(issuer: Certificate, serial: int, nonce: bytes | None = None) -> bytes:
    """A DER OCSPRequest for one certificate (RFC 6960 section 4.1.1)."""
    name = hashlib.sha1(issuer.subject_der).digest()
    key = hashlib.sha1(public_key_bits(issuer.spki_der)).digest()
    cert_id = der.sequence(_SHA1, der.octet_string(name), der.octet_string(key), der.integer(serial))
    extensions = b""
    if nonce is not None:
        extension = der.sequence(_NONCE, der.octet_string(der.octet_string(nonce)))
        extensions = der.explicit(2, der.sequence(extension))
    return der.sequence(der.sequence(der.sequence(der.sequence(cert_id)), extensions))


def ocsp_posts(
    issuer: Certificate, serials: Iterable[int], path: str = "/ocsp", *, nonce: bool = False, close: bool = False
) -> list[bytes]:
    """OCSP by POST, one for each serial."""
    return [
        post(
            path,
            "application/ocsp-request",
            ocsp_request(issuer, serial, os.urandom(16) if nonce else None),
            close=close,
        )
        for serial in serials
    ]


def ocsp_gets(issuer: Certificate, serials: Iterable[int], path: str = "/ocsp/", *, close: bool = False) -> list[bytes]:
    """OCSP by GET, one for each serial."""
    found = []
    for serial in serials:
        text = base64.b64encode(ocsp_request(issuer, serial)).decode()
        found.append(get(path + urllib.parse.quote(text, safe=""), close=close))
    return found


def est_requests(csrs: Iterable[bytes], authorization: str = "", *, close: bool = False) -> list[bytes]:
    """EST's simpleenroll, in base64 as RFC 7030 has it.

    :param authorization: for HTTP Basic; empty for a client certificate.
    :param close: whether each has a connection of its own.
    """
    path, kind = "/.well-known/est/simpleenroll", "application/pkcs10"
    fields = ["Content-Transfer-Encoding: base64", *([f"Authorization: {authorization}"] if authorization else [])]
    return [post(path, kind, base64.b64encode(csr), *fields, close=close) for csr in csrs]


def p256_requests(count: int, prefix: str) -> list[bytes]:
    """PKCS #10 for distinct keys and names."""
    names = (f"{prefix}-{number:06}.bench.example" for number in range(count))
    return [certificate_request(new_p256_key(), name, [name]) for name in names]


def rsa_requests(keys: Sequence[rsa.RSAPrivateKey], count: int, prefix: str) -> list[bytes]:
    """PKCS #10 for RSA keys; a key is for one subject, and each request differs in its alternative name."""
    return [
        certificate_request(
            keys[number % len(keys)],
            f"rsa-{number % len(keys):04}.bench.example",
            [f"{prefix}-{number:06}.bench.example"],
        )
        for number in range(count)
    ]


class SCEPDevices:
    """Devices with RSA keys and self-signed certificates, which enroll again and again."""

    def __init__(self, keys: Sequence[rsa.RSAPrivateKey]) -> None:
        self._names = [f"scep-{number:04}.bench.example" for number in range(len(keys))]
        self._keys = keys
        pairs = list(zip(keys, self._names, strict=True))
        self._certificates = [self_signed(key, name, number + 1) for number, (key, name) in enumerate(pairs)]
        self._csrs = [certificate_request(key, name) for key, name in pairs]

    def requests(self, recipient: bytes, count: int, path: str) -> list[bytes]:
        """PKCSReq messages by POST, each a transaction of its own.

        :param recipient: DER of the certificate that messages are encrypted for.
        """
        found = []
        for number in range(count):
            slot = number % len(self._keys)
            device = SCEPClient(self._keys[slot], self._certificates[slot], recipient)
            message = device.pkcs_req(
                self._csrs[slot], transaction_id=os.urandom(20).hex(), sender_nonce=os.urandom(16)
            )
            found.append(post(f"{path}?operation=PKIOperation", "application/x-pki-message", message))
        return found


def self_made_ca(key: Key, name: str) -> x509.Certificate:
    """A root, for programs to compare with."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
