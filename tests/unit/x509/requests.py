"""Requests put together by hand, to be wrong in exactly one place."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pikachu.x509 import der
from pikachu.x509.csr import EXTENSION_REQUEST, CertificationRequest, parse_csr, verify_csr
from pikachu.x509.names import name_from_text
from pikachu.x509.requested_name import require_country_codes

SAN = "2.5.29.17"
ECDSA_SHA256 = der.sequence(der.oid("1.2.840.10045.4.3.2"))
KEY = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())
SPKI = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def ecdsa(data: bytes) -> bytes:
    """Signature by KEY with SHA-256."""
    return KEY.sign(data, ec.ECDSA(hashes.SHA256()))


def extension(oid: str, value: bytes, critical: bool = False) -> bytes:
    """A DER Extension."""
    return der.sequence(der.oid(oid), der.boolean(True) if critical else b"", der.octet_string(value))


def attribute(oid: str, *values: bytes) -> bytes:
    """A DER Attribute."""
    return der.sequence(der.oid(oid), der.set_of(values))


def extension_request(*extensions: bytes, oid: str = EXTENSION_REQUEST) -> bytes:
    """The attribute that asks for extensions."""
    return attribute(oid, der.sequence(*extensions))


def san(*names: bytes) -> bytes:
    """The attribute that asks for these encoded names."""
    return extension_request(extension(SAN, der.sequence(*names)))


def dns(name: bytes) -> bytes:
    """A dNSName."""
    return der.implicit(2, name)


def request(
    subject: str | bytes = "CN=device",
    attributes: Iterable[bytes] | None = (),
    *,
    spki: bytes = SPKI,
    version: bytes | None = None,
    algorithm: bytes = ECDSA_SHA256,
    signature: bytes | None = None,
    extra: bytes = b"",
) -> bytes:
    """A DER request signed by KEY; attributes stay in the order given.

    :param attributes: encoded; ``None`` leaves the field out.
    :param signature: instead of a good one.
    """
    info = der.sequence(
        der.integer(0) if version is None else version,
        name_from_text(subject) if isinstance(subject, str) else subject,
        spki,
        b"" if attributes is None else der.explicit(0, b"".join(attributes)),
        extra,
    )
    return der.sequence(info, algorithm, der.bit_string(ecdsa(info) if signature is None else signature))


def accept(data: bytes) -> CertificationRequest:
    """Read a request as under a policy that copies its names."""
    csr = parse_csr(data)
    verify_csr(csr)
    assert csr.names is not None
    require_country_codes(csr.name)
    return csr
