"""OCSP as bytes (RFC 6960): which certificate is asked about, and answers built by concatenation.

A response is made in three steps, so that whoever holds the key signs between them: ``single_response`` for
each certificate, ``response_data`` for what is to be signed, and ``assemble`` for the whole.  None of it
re-encodes anything: a CertID goes back byte for byte as it came, an issuer's name as its certificate has it.
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

# CertStatus (RFC 6960 section 4.2.1): [0] and [2] IMPLICIT NULL; ``revoked`` makes the third.
GOOD: Final = b"\x80\x00"
UNKNOWN: Final = b"\x82\x00"

_SUCCESSFUL: Final = der.enumerated(0)
_BASIC: Final = der.oid("1.3.6.1.5.5.7.48.1.1")
_NONCE: Final = der.oid(NONCE)
_ARCHIVE_CUTOFF: Final = der.oid("1.3.6.1.5.5.7.48.1.6")


class ResponseStatus(IntEnum):
    """OCSPResponseStatus of the answers that have no body (RFC 6960 section 4.2.1)."""

    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    SIG_REQUIRED = 5
    UNAUTHORIZED = 6


class CertID(NamedTuple):
    """The certificate that a client asks about (RFC 6960 section 4.1.1).

    :param der: as it came, for the answer; equal encodings mean equal questions, so it is a key for caches.
    :param algorithm: OID of the digest, dotted; any, also ones that this server does not know.
    :param serial: 0 to 2**160 - 1.
    """

    der: bytes
    algorithm: str
    name_hash: bytes
    key_hash: bytes
    serial: int

    @property
    def issuer_key(self) -> tuple[str, bytes, bytes]:
        """What names the issuer; compare with ``IssuerHashes.keys``."""
        return self[1:4]


def algorithm_identifier(algorithm: str, *, null: bool = True) -> bytes:
    """AlgorithmIdentifier of a digest, with NULL parameters or with none; clients send either."""
    return der.sequence(der.oid(algorithm), der.null() if null else b"")


class IssuerHashes:
    """The digests by which CertIDs name one issuer: over its DER subject, and over the bits of its key (RFC 6960
    section 4.1.1), each with SHA-1, SHA-256, SHA-384 and SHA-512.  Made once for each issuing key.

    :param subject_der: the issuer's subject, as its certificate has it.
    :param public_key_bits: content of its subjectPublicKey BIT STRING, without the octet of unused bits.
    """

    __slots__ = ("_by_algorithm",)

    def __init__(self, subject_der: bytes, public_key_bits: bytes) -> None:
        self._by_algorithm: dict[str, tuple[bytes, bytes]] = {
            SHA1: (
                # CertIDs of nearly every client are made with SHA-1; nothing rests on its strength.
                hashlib.sha1(subject_der, usedforsecurity=False).digest(),
                hashlib.sha1(public_key_bits, usedforsecurity=False).digest(),
            )
        }
        for oid, digest in ((SHA256, hashlib.sha256), (SHA384, hashlib.sha384), (SHA512, hashlib.sha512)):
            self._by_algorithm[oid] = (digest(subject_der).digest(), digest(public_key_bits).digest())

    @property
    def keys(self) -> tuple[tuple[str, bytes, bytes], ...]:
        """Every ``CertID.issuer_key`` that names this issuer, for a dict over several issuers."""
        return tuple((algorithm, *hashes) for algorithm, hashes in self._by_algorithm.items())

    @property
    def key_hash(self) -> bytes:
        """The SHA-1 of the key: its responderID byKey (RFC 6960 section 4.2.1)."""
        return self._by_algorithm[SHA1][1]

    def matches(self, cert_id: CertID) -> bool:
        """Whether *cert_id* names this issuer; by name and key, so a rolled-over key is another issuer."""
        return self._by_algorithm.get(cert_id.algorithm) == (cert_id.name_hash, cert_id.key_hash)

    def cert_id(self, serial: int, algorithm: str = SHA1, *, null: bool = True) -> CertID:
        """The CertID that a client would send for *serial*.

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
    """An OCSPResponse that says only what went wrong; never signed (RFC 6960 section 2.3)."""
    return bytes((0x30, 0x03, 0x0A, 0x01, status))


# The few moments of a responder repeat: one thisUpdate and nextUpdate for many answers, one producedAt a second.
_time = functools.lru_cache(maxsize=256)(der.generalized_time)


def revoked(at: datetime, reason: RevocationReason | None) -> bytes:
    """CertStatus revoked; the reason ``unspecified`` is left out, as in CRLs (RFC 5280 section 5.3.1)."""
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
    """The DER SingleResponse (RFC 6960 section 4.2.1).

    :param cert_id: ``CertID.der``, returned unchanged.
    :param status: ``GOOD``, ``UNKNOWN`` or what ``revoked`` gives.
    :param archive_cutoff: how far back the responder remembers (section 4.4.4).
    """
    content = cert_id + status + _time(this_update) + b"\xa0\x11" + _time(next_update)
    if archive_cutoff is not None:
        cutoff = der.sequence(_ARCHIVE_CUTOFF, der.octet_string(_time(archive_cutoff)))
        content += der.tlv(0xA1, der.tlv(der.SEQUENCE, cutoff))
    return der.tlv(der.SEQUENCE, content)


def responder_by_key(key_hash: bytes) -> bytes:
    """ResponderID byKey.

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
    """The DER ResponseData, which is what gets signed (RFC 6960 section 4.2.1), version 1.

    :param responder_id: of ``responder_by_key``.
    :param nonce: the request's, 1 to 128 bytes (RFC 9654 section 2.1); answered as not critical.
    """
    extensions = b""
    if nonce is not None:
        extensions = der.tlv(der.SEQUENCE, _NONCE + der.octet_string(der.octet_string(nonce)))
    content = responder_id + _time(produced_at) + der.tlv(der.SEQUENCE, b"".join(singles))
    if extensions:
        # An empty list of extensions makes some clients refuse the whole: it is there only with content.
        content += der.tlv(0xA1, der.tlv(der.SEQUENCE, extensions))
    return der.tlv(der.SEQUENCE, content)


def assemble(to_be_signed: bytes, algorithm: bytes, signature: bytes, certificates: Iterable[bytes] = ()) -> bytes:
    """The whole DER OCSPResponse, successful, id-pkix-ocsp-basic.

    :param to_be_signed: of ``response_data``.
    :param algorithm: the DER AlgorithmIdentifier of *signature*.
    :param certificates: DER; the delegated responder's, none where the issuer itself signs.
    """
    content = to_be_signed + algorithm + der.bit_string(signature)
    if found := b"".join(certificates):
        content += der.tlv(0xA0, der.tlv(der.SEQUENCE, found))
    basic = der.tlv(der.OCTET_STRING, der.tlv(der.SEQUENCE, content))
    return der.tlv(der.SEQUENCE, _SUCCESSFUL + der.tlv(0xA0, der.tlv(der.SEQUENCE, _BASIC + basic)))
