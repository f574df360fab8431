"""An OCSP client for tests: requests of any shape, and answers that are verified before they are believed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from pikachu.x509 import der
from pikachu.x509.certificate import Certificate, parse_certificate, public_key_bits
from pikachu.x509.ocsp import NONCE, SHA1, IssuerHashes

MALFORMED, INTERNAL, TRY_LATER, UNAUTHORIZED = 1, 2, 3, 6


def cert_id(issuer: Certificate, serial: int, algorithm: str = SHA1, *, null: bool = True) -> bytes:
    """A DER CertID."""
    hashes = IssuerHashes(issuer.subject_der, public_key_bits(issuer.spki_der))
    return hashes.cert_id(serial, algorithm, null=null).der


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """A DER Extension; *value* is what its OCTET STRING holds."""
    return der.sequence(der.oid(oid), der.boolean(True) if critical else b"", der.octet_string(value))


def nonce_extension(nonce: bytes) -> bytes:
    """A DER nonce extension."""
    return extension(NONCE, der.octet_string(nonce))


def request(*cert_ids: bytes, extensions: Iterable[bytes] = (), before: bytes = b"", after: bytes = b"") -> bytes:
    """A DER OCSPRequest.

    :param before: fields before requestList.
    :param after: behind the TBSRequest, such as a signature.
    """
    found = b"".join(extensions)
    last = der.explicit(2, der.sequence(found)) if found else b""
    asked = der.sequence(*(der.sequence(one) for one in cert_ids))
    return der.sequence(der.sequence(before, asked, last), after)


@dataclass(frozen=True)
class Single:
    """The answer for one certificate."""

    serial: int
    status: str
    revoked_at: datetime | None
    reason: str | None
    this_update: datetime
    next_update: datetime


@dataclass(frozen=True)
class Answer:
    """A successful answer whose signature and responder were verified."""

    singles: list[Single]
    produced_at: datetime
    nonce: bytes | None
    responder: Certificate
    tbs: bytes

    @property
    def status(self) -> str:
        """Of the only certificate."""
        (single,) = self.singles
        return single.status


def status_of(body: bytes) -> int:
    """OCSPResponseStatus."""
    return ocsp.load_der_ocsp_response(body).response_status.value


def verify(body: bytes, issuer: Certificate, now: datetime) -> Answer:
    """Read a successful answer: its signer is *issuer*, or a responder that it has certified, valid to the end."""
    response = ocsp.load_der_ocsp_response(body)
    assert response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL, response.response_status
    responder = issuer
    if response.certificates:
        (found,) = response.certificates
        authority = x509.load_der_x509_certificate(issuer.der)
        found.verify_directly_issued_by(authority)
        usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING in usage
        found.extensions.get_extension_for_class(x509.OCSPNoCheck)
        responder = parse_certificate(found.public_bytes(Encoding.DER))
    assert response.responder_key_hash == IssuerHashes(b"", public_key_bits(responder.spki_der)).key_hash
    key = x509.load_der_x509_certificate(responder.der).public_key()
    if isinstance(key, rsa.RSAPublicKey):
        assert response.signature_hash_algorithm is not None
        key.verify(
            response.signature, response.tbs_response_bytes, padding.PKCS1v15(), response.signature_hash_algorithm
        )
    elif isinstance(key, ec.EllipticCurvePublicKey):
        assert response.signature_hash_algorithm is not None
        key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(response.signature_hash_algorithm))
    else:
        key.verify(response.signature, response.tbs_response_bytes)  # type: ignore[union-attr,call-arg]
    singles = []
    for one in response.responses:
        assert one.next_update_utc is not None
        assert one.this_update_utc <= now < one.next_update_utc <= responder.not_after
        reason = one.revocation_reason
        singles.append(
            Single(
                one.serial_number,
                one.certificate_status.name.lower(),
                one.revocation_time_utc,
                None if reason is None else reason.value,
                one.this_update_utc,
                one.next_update_utc,
            )
        )
    assert responder.not_before <= now < responder.not_after
    nonce = None
    for found_extension in response.extensions:
        assert isinstance(found_extension.value, x509.OCSPNonce)
        assert not found_extension.critical
        nonce = found_extension.value.nonce
    return Answer(singles, response.produced_at_utc, nonce, responder, response.tbs_response_bytes)
