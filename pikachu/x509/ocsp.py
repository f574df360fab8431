"""OCSP encoding (RFC 6960): CertIDs, and responses built by concatenation.

A response is built in three steps, so that the signer runs between them: ``single_response`` for each
certificate, ``response_data`` for the bytes to sign, and ``assemble`` for the complete response.  Nothing is
re-encoded: the CertID is returned byte for byte, and the issuer's name is that of its certificate.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from datetime import datetime
from enum import IntEnum
from typing import Final, NamedTuple

from pikachu.core.model.certificates import RevocationReason
from pikachu.x509 import der

SHA1: Final = "1.3.14.3.2.26"
SHA256: Final = "2.16.840.1.101.3.4.2.1"
SHA384: Final = "2.16.840.1.101.3.4.2.2"
SHA512: Final = "2.16.840.1.101.3.4.2.3"

NONCE: Final = "1.3.6.1.5.5.7.48.1.2"
ACCEPTABLE_RESPONSES: Final = "1.3.6.1.5.5.7.48.1.4"
PREFERRED_SIGNATURE_ALGORITHMS: Final = "1.3.6.1.5.5.7.48.1.8"

# CertStatus (RFC 6960 section 4.2.1): [0] and [2] IMPLICIT NULL; ``revoked`` builds the third.
GOOD: Final = b"\x80\x00"
UNKNOWN: Final = b"\x82\x00"

_SUCCESSFUL: Final = der.enumerated(0)
_BASIC: Final = der.oid("1.3.6.1.5.5.7.48.1.1")
_NONCE: Final = der.oid(NONCE)
_ARCHIVE_CUTOFF: Final = der.oid("1.3.6.1.5.5.7.48.1.6")


class ResponseStatus(IntEnum):
    """OCSPResponseStatus of responses without a body (RFC 6960 section 4.2.1)."""

    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    SIG_REQUIRED = 5
    UNAUTHORIZED = 6


class CertID(NamedTuple):
    """The identifier of a certificate in an OCSP request (RFC 6960 section 4.1.1).

    :param der: the encoding as received, for the response; also a cache key, as equal encodings are equal requests.
    :param algorithm: the dotted OID of the digest, which may be unknown to this server.
    :param serial: 0 to 2**160 - 1.
    """

    der: bytes
    algorithm: str
    name_hash: bytes
    key_hash: bytes
    serial: int

    @property
    def issuer_key(self) -> tuple[str, bytes, bytes]:
        """The identification of the issuer, to compare with ``IssuerHashes.keys``."""
        return self[1:4]


def algorithm_identifier(algorithm: str, *, null: bool = True) -> bytes:
    """Return the AlgorithmIdentifier of a digest, with NULL or absent parameters; clients send either."""
    return der.sequence(der.oid(algorithm), der.null() if null else b"")


class IssuerHashes:
    """The digests by which CertIDs identify an issuer (RFC 6960 section 4.1.1), computed once for each issuing key.

    They cover its DER subject and the bits of its key, each with SHA-1, SHA-256, SHA-384 and SHA-512.

    :param subject_der: the subject of the issuer's certificate.
    :param public_key_bits: content of its subjectPublicKey BIT STRING, without the byte of unused bits.
    """

    __slots__ = ("_by_algorithm",)

    def __init__(self, subject_der: bytes, public_key_bits: bytes) -> None:
        self._by_algorithm: dict[str, tuple[bytes, bytes]] = {
            SHA1: (
                # Nearly every client uses SHA-1 in CertIDs; security does not depend on it.
                hashlib.sha1(subject_der, usedforsecurity=False).digest(),
                hashlib.sha1(public_key_bits, usedforsecurity=False).digest(),
            )
        }
        for oid, digest in ((SHA256, hashlib.sha256), (SHA384, hashlib.sha384), (SHA512, hashlib.sha512)):
            self._by_algorithm[oid] = (digest(subject_der).digest(), digest(public_key_bits).digest())

    @property
    def keys(self) -> tuple[tuple[str, bytes, bytes], ...]:
        """Every ``CertID.issuer_key`` that identifies this issuer, as keys of a dict over several issuers."""
        return tuple((algorithm, *hashes) for algorithm, hashes in self._by_algorithm.items())

    @property
    def key_hash(self) -> bytes:
        """The SHA-1 of the key, for ResponderID byKey (RFC 6960 section 4.2.1)."""
        return self._by_algorithm[SHA1][1]

    def matches(self, cert_id: CertID) -> bool:
        """Return whether *cert_id* identifies this issuer by name and key; a new key is another issuer."""
        return self._by_algorithm.get(cert_id.algorithm) == (cert_id.name_hash, cert_id.key_hash)

    def cert_id(self, serial: int, algorithm: str = SHA1, *, null: bool = True) -> CertID:
        """Return the CertID that a client would send for *serial*.

        :param null: whether the digest's parameters are NULL (as most clients write) or absent.
        """
        name_hash, key_hash = self._by_algorithm[algorithm]
        encoded = der.sequence(
            algorithm_identifier(algorithm, null=null),
            der.octet_string(name_hash),
            der.octet_string(key_hash),
            der.integer(serial),
        )
        return CertID(encoded, algorithm, name_hash, key_hash, serial)


def error_response(status: ResponseStatus) -> bytes:
    """Return an unsigned OCSPResponse with only an error status (RFC 6960 section 2.3)."""
    return bytes((0x30, 0x03, 0x0A, 0x01, status))


# A responder reuses few times: one thisUpdate and nextUpdate for many responses, one producedAt per second.
_time = functools.lru_cache(maxsize=256)(der.generalized_time)


def revoked(at: datetime, reason: RevocationReason | None) -> bytes:
    """Return CertStatus revoked; the reason ``unspecified`` is omitted, as in CRLs (RFC 5280 section 5.3.1)."""
    if not reason:
        return der.tlv(0xA1, _time(at))
    return der.tlv(0xA1, _time(at) + b"\xa0\x03\x0a\x01" + bytes((reason,)))


def single_response(
    cert_id: bytes,
    status: bytes,
    this_update: datetime,
    next_update: datetime,
    archive_cutoff: datetime | None = None,
) -> bytes:
    """Return the DER SingleResponse (RFC 6960 section 4.2.1).

    :param cert_id: ``CertID.der``, returned unchanged.
    :param status: ``GOOD``, ``UNKNOWN`` or the result of ``revoked``.
    :param archive_cutoff: the start of the responder's retention (section 4.4.4).
    """
    content = cert_id + status + _time(this_update) + b"\xa0\x11" + _time(next_update)
    if archive_cutoff is not None:
        cutoff = der.sequence(_ARCHIVE_CUTOFF, der.octet_string(_time(archive_cutoff)))
        content += der.tlv(0xA1, der.tlv(der.SEQUENCE, cutoff))
    return der.tlv(der.SEQUENCE, content)


def responder_by_key(key_hash: bytes) -> bytes:
    """Return ResponderID byKey.

    :param key_hash: the SHA-1 of the responder's key bits, 20 bytes.
    """
    return der.tlv(0xA2, der.octet_string(key_hash))


def response_data(
    responder_id: bytes,
    produced_at: datetime,
    singles: Iterable[bytes],
    *,
    nonce: bytes | None = None,
) -> bytes:
    """Return the DER ResponseData to sign, version 1 (RFC 6960 section 4.2.1).

    :param responder_id: the result of ``responder_by_key``.
    :param nonce: the nonce of the request, 1 to 128 bytes (RFC 9654 section 2.1); returned as not critical.
    """
    content = responder_id + _time(produced_at) + der.tlv(der.SEQUENCE, b"".join(singles))
    if nonce is not None:
        # Some clients reject a response with an empty list of extensions.
        content += _nonce_head(len(nonce)) + nonce
    return der.tlv(der.SEQUENCE, content)


@functools.lru_cache(maxsize=128)
def _nonce_head(size: int) -> bytes:
    """Return everything of responseExtensions that precedes a nonce of *size* bytes, their only extension."""
    blank = bytes(size)
    extension = der.tlv(der.SEQUENCE, _NONCE + der.octet_string(der.octet_string(blank)))
    return der.tlv(0xA1, der.tlv(der.SEQUENCE, extension)).removesuffix(blank)


def assemble(to_be_signed: bytes, algorithm: bytes, signature: bytes, certificates: Iterable[bytes] = ()) -> bytes:
    """Return the DER OCSPResponse: successful, id-pkix-ocsp-basic.

    :param to_be_signed: the result of ``response_data``.
    :param algorithm: the DER AlgorithmIdentifier of *signature*.
    :param certificates: DER, of the delegated responder; none when the issuer signs itself.
    """
    content = to_be_signed + algorithm + der.bit_string(signature)
    if joined := b"".join(certificates):
        content += der.tlv(0xA0, der.tlv(der.SEQUENCE, joined))
    return _response_head(len(content)) + content


@functools.lru_cache(maxsize=1024)
def _response_head(size: int) -> bytes:
    """Return everything of a successful OCSPResponse that precedes a BasicOCSPResponse's content of *size* bytes."""
    blank = bytes(size)
    basic = der.tlv(der.OCTET_STRING, der.tlv(der.SEQUENCE, blank))
    response = der.tlv(der.SEQUENCE, _SUCCESSFUL + der.tlv(0xA0, der.tlv(der.SEQUENCE, _BASIC + basic)))
    return response.removesuffix(blank)
