"""Throw-away keys, authorities, certificates and requests for tests, made with pyca/cryptography's builders.

Key types are ``rsa2048``, ``p256``, ``p384``, ``ed25519``, ``mldsa44``, ``mldsa65`` and ``mldsa87``.  RSA keys are
slow to make: ``make_key`` gives the same one again for the same *slot* within a process.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)

KEY_TYPES: Final = ("rsa2048", "p256", "p384", "ed25519", "mldsa44", "mldsa65", "mldsa87")
DAY: Final = timedelta(days=1)

# DER AlgorithmIdentifiers of the signatures that sign() makes (RFC 4055, 5758, 8410, 9881).
_SIGNATURE_ALGORITHMS: Final = {
    "rsa2048": "300d06092a864886f70d01010b0500",
    "p256": "300a06082a8648ce3d040302",
    "p384": "300a06082a8648ce3d040303",
    "ed25519": "300506032b6570",
    "mldsa44": "300b0609608648016503040311",
    "mldsa65": "300b0609608648016503040312",
    "mldsa87": "300b0609608648016503040313",
}

_serials = itertools.count(0x1000)


@functools.cache
def _rsa_key(slot: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


_GENERATORS: Final[dict[str, Callable[[int], PrivateKey]]] = {
    "rsa2048": _rsa_key,
    "p256": lambda slot: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda slot: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": lambda slot: ed25519.Ed25519PrivateKey.generate(),
    "mldsa44": lambda slot: mldsa.MLDSA44PrivateKey.generate(),
    "mldsa65": lambda slot: mldsa.MLDSA65PrivateKey.generate(),
    "mldsa87": lambda slot: mldsa.MLDSA87PrivateKey.generate(),
}


def make_key(key_type: str, slot: int = 0) -> PrivateKey:
    """A private key.

    :param slot: RSA keys of different slots are different; every other kind is fresh at each call.
    """
    return _GENERATORS[key_type](slot)


def key_type_of(key: PrivateKey) -> str:
    """The name of the key's type, as ``make_key`` takes it."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {256: "p256", 384: "p384"}[key.curve.key_size]
    kinds: dict[str, type] = {
        "rsa2048": rsa.RSAPrivateKey,
        "ed25519": ed25519.Ed25519PrivateKey,
        "mldsa44": mldsa.MLDSA44PrivateKey,
        "mldsa65": mldsa.MLDSA65PrivateKey,
        "mldsa87": mldsa.MLDSA87PrivateKey,
    }
    return next(name for name, kind in kinds.items() if isinstance(key, kind))


def digest_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """Return the ``algorithm`` argument for the ``.sign`` of pyca's builders."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return hashes.SHA384() if key.curve.key_size == 384 else hashes.SHA256()
    return hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else None


def signature_algorithm(key: PrivateKey) -> bytes:
    """The DER AlgorithmIdentifier of the signatures that ``sign`` makes with *key*."""
    return bytes.fromhex(_SIGNATURE_ALGORITHMS[key_type_of(key)])


def sign(key: PrivateKey, data: bytes) -> bytes:
    """A bare signature over *data*, by the algorithm that ``signature_algorithm`` names."""
    digest = digest_for(key)
    if isinstance(key, rsa.RSAPrivateKey):
        assert digest is not None
        return key.sign(data, padding.PKCS1v15(), digest)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        assert digest is not None
        return key.sign(data, ec.ECDSA(digest))
    return key.sign(data)


def spki(key: PrivateKey) -> bytes:
    """The DER SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    """The private key as PKCS#8 PEM."""
    protection: serialization.KeySerializationEncryption = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


@dataclass(frozen=True)
class Identity:
    """A key and its certificate, with those above it."""

    key: PrivateKey
    certificate: x509.Certificate
    issuer: Identity | None = None

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key in PEM, not encrypted."""
        return key_pem(self.key)

    @property
    def chain_pem(self) -> bytes:
        """Its certificate and all above it, in PEM."""
        return self.pem + (self.issuer.chain_pem if self.issuer else b"")

    @property
    def subject_der(self) -> bytes:
        """The subject's name."""
        return self.certificate.subject.public_bytes()

    @property
    def key_identifier(self) -> bytes:
        """The subjectKeyIdentifier."""
        return self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write ``NAME.crt`` and ``NAME.key`` (PEM) and give their paths."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(self.pem)
        key.write_bytes(self.key_pem)
        key.chmod(0o600)
        return certificate, key


def make_name(common_name: str, organization: str | None = None) -> x509.Name:
    """A distinguished name of one or two parts."""
    parts = [] if organization is None else [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def general_name(text: str) -> x509.GeneralName:
    """``DNS:``, ``IP:``, ``email:`` or ``URI:`` text; bare text is a DNS name."""
    kind, separator, value = text.partition(":")
    if not separator or kind == "DNS":
        return x509.DNSName(value or text)
    if kind == "IP":
        return x509.IPAddress(ipaddress.ip_address(value))
    return x509.RFC822Name(value) if kind == "email" else x509.UniformResourceIdentifier(value)


def _key_usage(*set_bits: str) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in set_bits for name in names})


def _builder(
    subject: x509.Name,
    key: PrivateKey,
    issuer: Identity | None,
    not_before: datetime | None,
    not_after: datetime | None,
    serial: int | None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    above = issuer.key.public_key() if issuer else key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial if serial is not None else next(_serials))
        .not_valid_before(not_before or now - DAY)
        .not_valid_after(not_after or now + 365 * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False)
    )


def make_ca(
    key_type: str = "p256",
    name: str = "Test CA",
    *,
    issuer: Identity | None = None,
    path_length: int | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    slot: int = 0,
    key: PrivateKey | None = None,
    purposes: Iterable[str] = (),
    constraints: x509.NameConstraints | None = None,
) -> Identity:
    """A CA: self-signed, or under *issuer*.

    :param purposes: the OIDs of an extendedKeyUsage.
    """
    key = key or make_key(key_type, slot)
    builder = (
        _builder(make_name(name), key, issuer, not_before, not_after or datetime.now(UTC) + 3650 * DAY, None)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage("digital_signature", "key_cert_sign", "crl_sign"), critical=True)
    )
    if limits := [x509.ObjectIdentifier(oid) for oid in purposes]:
        builder = builder.add_extension(x509.ExtendedKeyUsage(limits), critical=False)
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    signer = issuer.key if issuer else key
    return Identity(key, builder.sign(signer, digest_for(signer)), issuer)


def make_leaf(
    issuer: Identity,
    common_name: str = "device.example.com",
    *,
    key_type: str = "p256",
    sans: Iterable[str] = (),
    purposes: Iterable[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
    extensions: Iterable[x509.ExtensionType] = (),
    serial: int | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    slot: int = 1,
    key: PrivateKey | None = None,
) -> Identity:
    """An end entity's certificate under *issuer*.

    :param sans: as ``general_name`` reads them.
    :param extensions: more of them, all non-critical.
    """
    key = key or make_key(key_type, slot)
    builder = _builder(make_name(common_name), key, issuer, not_before, not_after, serial)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    bits = ("digital_signature", "key_encipherment") if isinstance(key, rsa.RSAPrivateKey) else ("digital_signature",)
    builder = builder.add_extension(_key_usage(*bits), critical=True)
    if found := list(purposes):
        builder = builder.add_extension(x509.ExtendedKeyUsage(found), critical=False)
    if names := [general_name(text) for text in sans]:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Identity(key, builder.sign(issuer.key, digest_for(issuer.key)), issuer)


def make_ocsp_responder(issuer: Identity, key_type: str = "p256", *, slot: int = 2) -> Identity:
    """A delegated OCSP responder (RFC 6960 section 4.2.2.2)."""
    return make_leaf(
        issuer,
        "OCSP responder",
        key_type=key_type,
        purposes=[ExtendedKeyUsageOID.OCSP_SIGNING],
        extensions=[x509.OCSPNoCheck()],
        slot=slot,
    )


def make_csr(
    key_type: str = "p256",
    subject: str | x509.Name = "device.example.com",
    sans: Iterable[str] = (),
    challenge: str | None = None,
    *,
    key: PrivateKey | None = None,
    extensions: Iterable[x509.ExtensionType] = (),
    slot: int = 1,
) -> tuple[PrivateKey, bytes]:
    """A key and its DER PKCS#10 request.

    :param challenge: the challengePassword attribute.
    """
    key = key or make_key(key_type, slot)
    builder = x509.CertificateSigningRequestBuilder(make_name(subject) if isinstance(subject, str) else subject)
    if names := [general_name(text) for text in sans]:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    if challenge is not None:
        builder = builder.add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, challenge.encode("utf-8"))
    return key, builder.sign(key, digest_for(key)).public_bytes(serialization.Encoding.DER)


def brought(
    issuer: Identity,
    number: int | None = 5,
    *,
    begins: timedelta = timedelta(hours=-1),
    ends: timedelta = timedelta(days=30),
    revoked: int | None = None,
    delta: bool = False,
    signer: Identity | None = None,
) -> bytes:
    """A CRL made elsewhere, DER."""
    key = (signer or issuer).key
    now = issuer.certificate.not_valid_before_utc + timedelta(days=1)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now + begins)
        .next_update(now + ends)
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if delta:
        builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    if revoked is not None:
        entry = x509.RevokedCertificateBuilder().serial_number(revoked).revocation_date(now + begins).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key, digest_for(key)).public_bytes(serialization.Encoding.DER)
