"""DER certificates: parsing, and construction of the TBSCertificate to sign.

A TBSCertificate is encoded directly (RFC 5280 section 4.1): the issuer's name is copied byte for byte from
the CA's certificate, subject and key byte for byte from the request, so that nothing is re-encoded.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pikachu.core.errors import BadCSR, MalformedRequest, TooLarge
from pikachu.x509 import der
from pikachu.x509.extension import Extension, encode_extensions, parse_extensions
from pikachu.x509.names import names_equal, read_name
from pikachu.x509.pem_blocks import CERTIFICATE_LABELS, certificates_in, decode_base64, decode_text, other_pem
from pikachu.x509.private_key_input import refuse_private_key

BASIC_CONSTRAINTS = "2.5.29.19"
KEY_USAGE = "2.5.29.15"
EXTENDED_KEY_USAGE = "2.5.29.37"
SUBJECT_KEY_IDENTIFIER = "2.5.29.14"
AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"
SUBJECT_ALTERNATIVE_NAME = "2.5.29.17"
CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0"
#: Signing of revocation messages (MQT-2); under the arc that ITU-T X.667 gives to UUIDs, here
#: 6f1c2d1e-5b0a-4d53-9a57-3e1c0b7d4a21.
REVOCATION_SIGNING = "2.25.147690606957617267135379555742226663969"

#: The notAfter of certificates without a well-defined end (RFC 5280 section 4.1.2.5).
END_OF_TIME = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
# Bytes of an uploaded certificate.
MAXIMUM_SIZE = 64 * 1024
# Bits of KeyUsage (RFC 5280 section 4.2.1.3).
DIGITAL_SIGNATURE = 0
KEY_ENCIPHERMENT = 2
KEY_CERT_SIGN = 5
CRL_SIGN = 6


@dataclass(frozen=True)
class Certificate:
    """A parsed certificate; every ``…_der`` is a copy of its bytes."""

    der: bytes
    tbs: bytes
    serial: int
    signature_algorithm_der: bytes
    signature: bytes
    issuer_der: bytes
    subject_der: bytes
    not_before: datetime
    not_after: datetime
    spki_der: bytes
    extensions: tuple[Extension, ...]

    def extension(self, oid: str) -> Extension | None:
        """Return the extension with that OID, or ``None``."""
        return next((extension for extension in self.extensions if extension.oid == oid), None)

    @functools.cached_property
    def key_identifier(self) -> bytes:
        """The subjectKeyIdentifier; if absent, the SHA-1 of the key (RFC 5280 section 4.2.1.2, method 1)."""
        extension = self.extension(SUBJECT_KEY_IDENTIFIER)
        if extension is not None:
            return der.parse(extension.value, der.OCTET_STRING).content
        return hashlib.sha1(public_key_bits(self.spki_der), usedforsecurity=False).digest()

    @functools.cached_property
    def authority_key_identifier(self) -> bytes | None:
        """The keyIdentifier of the issuer, or ``None``."""
        extension = self.extension(AUTHORITY_KEY_IDENTIFIER)
        if extension is None:
            return None
        for part in der.parse(extension.value, der.SEQUENCE).children():
            if part.tag == 0x80:
                return part.content
        return None

    @functools.cached_property
    def is_ca(self) -> bool:
        """Whether basicConstraints has cA TRUE."""
        extension = self.extension(BASIC_CONSTRAINTS)
        if extension is None:
            return False
        parts = der.parse(extension.value, der.SEQUENCE).sub()
        return bool(parts) and parts[0].tag == der.BOOLEAN and parts[0].ber_boolean()

    @functools.cached_property
    def path_length(self) -> int | None:
        """The pathLenConstraint of basicConstraints, or ``None``."""
        extension = self.extension(BASIC_CONSTRAINTS)
        if extension is None:
            return None
        for part in der.parse(extension.value, der.SEQUENCE).children():
            if part.tag == der.INTEGER:
                return part.integer()
        return None

    @functools.cached_property
    def key_usage(self) -> frozenset[int] | None:
        """The numbers of the set bits, or ``None`` when the extension is absent (unrestricted)."""
        extension = self.extension(KEY_USAGE)
        if extension is None:
            return None
        content = der.parse(extension.value, der.BIT_STRING).content
        if not content:
            raise MalformedRequest("an ASN.1 bit string is cut short")
        return frozenset(
            number for number in range((len(content) - 1) * 8) if content[1 + number // 8] & (0x80 >> number % 8)
        )

    @functools.cached_property
    def extended_key_usage(self) -> frozenset[str] | None:
        """The purposes, or ``None`` when the extension is absent."""
        extension = self.extension(EXTENDED_KEY_USAGE)
        if extension is None:
            return None
        return frozenset(purpose.oid() for purpose in der.parse(extension.value, der.SEQUENCE).children())

    @functools.cached_property
    def self_issued(self) -> bool:
        """Whether the issuer and the subject match (RFC 5280 section 7.1)."""
        return names_match(self.issuer_der, self.subject_der)

    @property
    def is_root_without_extensions(self) -> bool:
        """Whether this may be a root of X.509 version 1, which has no basicConstraints to say that it is a CA."""
        return not self.extensions and self.self_issued

    def check_readable(self) -> None:
        """Decode what validation uses, so that a malformed part is detected before.

        :raises MalformedRequest: with the name of the part that is malformed.
        """
        readers: tuple[tuple[str, Callable[[], object]], ...] = (
            ("the issuer's name", lambda: read_name(self.issuer_der)),
            ("the subject's name", lambda: read_name(self.subject_der)),
            ("basicConstraints", lambda: (self.is_ca, self.path_length)),
            ("keyUsage", lambda: self.key_usage),
            ("extendedKeyUsage", lambda: self.extended_key_usage),
            ("subjectKeyIdentifier", lambda: self.key_identifier),
            ("authorityKeyIdentifier", lambda: self.authority_key_identifier),
        )
        for part, read in readers:
            try:
                read()
            except MalformedRequest as error:
                raise MalformedRequest(f"{part} is malformed: {error.public}") from error


def names_match(first: bytes, second: bytes) -> bool:
    """Return whether two DER Names match by RFC 5280 section 7.1; False when one of them can't be read."""
    try:
        return names_equal(first, second)
    except (MalformedRequest, BadCSR):
        return False


def public_key_bits(spki_der: bytes) -> bytes:
    """Return the content of the subjectPublicKey BIT STRING, which key identifiers and OCSP's key hash cover."""
    return der.parse(spki_der, der.SEQUENCE).sub()[1].expect(der.BIT_STRING).content[1:]


def parse_time(element: der.Element) -> datetime:
    """Parse a Time (RFC 5280 section 4.1.2.5)."""
    content = element.content
    digits = content[:-1]
    if content[-1:] == b"Z" and digits.isdigit():
        # strptime() takes ten times as long, and accepts times with missing digits.
        if element.tag == der.UTC_TIME and len(digits) == 12:
            year = int(digits[:2])
            digits = b"%d%b" % (1900 + year if year >= 50 else 2000 + year, digits[2:])
        elif element.tag != der.GENERALIZED_TIME:
            digits = b""
        if len(digits) == 14:
            with contextlib.suppress(ValueError):
                month, day, hour, minute, second = (int(digits[start : start + 2]) for start in range(4, 14, 2))
                return datetime(int(digits[:4]), month, day, hour, minute, second, tzinfo=UTC)
    raise MalformedRequest("a time is not in the form that RFC 5280 asks for")


_EXPECTED: Final = "Use one in PEM, which begins with -----BEGIN CERTIFICATE-----, or in DER, or base64 of that."


def decode_certificate_input(data: bytes) -> bytes:
    """Return the DER certificate in *data*: DER, PEM with or without text around it, or Base64, also in UTF-16.

    :raises MalformedRequest: *data* contains no certificate, or more than one.
    :raises TooLarge: *data* exceeds the maximum size.
    """
    if len(data) > 2 * MAXIMUM_SIZE:
        raise TooLarge(f"a certificate has at most {MAXIMUM_SIZE // 1024} KiB")
    data = decode_text(data)
    refuse_private_key(data, "a certificate", CERTIFICATE_LABELS)
    if data[:1] == b"\x30":
        return data
    certificates = certificates_in(data) if b"-----BEGIN " in data else []
    if len(certificates) > 1:
        raise MalformedRequest("More than one certificate found. Send one at a time.")
    if certificates:
        return certificates[0]
    if b"-----BEGIN " in data:
        raise MalformedRequest(f"This is {other_pem(data)}, not a certificate. {_EXPECTED}")
    try:
        certificate = decode_base64(data)
    except MalformedRequest:
        certificate = data
    if certificate[:1] != b"\x30":
        raise MalformedRequest(f"This is not a certificate. {_EXPECTED}")
    return certificate


def parse_certificate(data: bytes) -> Certificate:
    """Parse a DER certificate without verifying its signature.

    :raises MalformedRequest: *data* is malformed, or its two signature algorithms differ.
    """
    outer = der.parse(data, der.SEQUENCE).sub()
    if len(outer) != 3:
        raise MalformedRequest("this is not a certificate")
    tbs, algorithm, signature = outer
    fields = tbs.expect(der.SEQUENCE).sub()
    if fields and fields[0].tag == 0xA0:
        fields = fields[1:]
    if len(fields) < 6:
        raise MalformedRequest("this is not a certificate")
    serial, inner, issuer, validity, subject, spki = fields[:6]
    if inner.whole != algorithm.whole:
        raise MalformedRequest("the two signature algorithms of the certificate differ")
    bounds = validity.expect(der.SEQUENCE).sub()
    if len(bounds) != 2:
        raise MalformedRequest("this is not a certificate")
    extensions: tuple[Extension, ...] = ()
    for optional in fields[6:]:
        if optional.tag == 0xA3:
            extensions = parse_extensions(optional.content)
    return Certificate(
        der=data,
        tbs=tbs.whole,
        serial=int.from_bytes(serial.expect(der.INTEGER).content, "big", signed=True),
        signature_algorithm_der=algorithm.whole,
        signature=signature.expect(der.BIT_STRING).content[1:],
        issuer_der=issuer.expect(der.SEQUENCE).whole,
        subject_der=subject.expect(der.SEQUENCE).whole,
        not_before=parse_time(bounds[0]),
        not_after=parse_time(bounds[1]),
        spki_der=spki.expect(der.SEQUENCE).whole,
        extensions=extensions,
    )


def parts_of(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Split a DER certificate into TBSCertificate, AlgorithmIdentifier and signature value, without parsing them.

    :raises MalformedRequest: *data* does not have these three parts.
    """
    parts = der.parse(data, der.SEQUENCE).sub()
    if len(parts) != 3:
        raise MalformedRequest("this is not a certificate")
    signature = parts[2].expect(der.BIT_STRING).content
    return parts[0].whole, parts[1].whole, signature[1:]


def tbs_extensions(tbs: bytes) -> tuple[Extension, ...]:
    """Return the extensions of a DER TBSCertificate.

    :raises MalformedRequest: *tbs* is malformed.
    """
    fields = der.parse(tbs, der.SEQUENCE).sub()
    return parse_extensions(fields[-1].content) if fields and fields[-1].tag == 0xA3 else ()


@dataclass(frozen=True, slots=True)
class Validity:
    """The validity of a certificate, both ends included (RFC 5280 section 4.1.2.5)."""

    not_before: datetime
    not_after: datetime


def tbs_certificate(
    *,
    serial: int,
    algorithm: bytes,
    issuer_der: bytes,
    validity: Validity,
    subject_der: bytes,
    spki_der: bytes,
    extensions: Iterable[Extension],
) -> bytes:
    """Return the DER TBSCertificate, version 3 (RFC 5280 section 4.1.2)."""
    return der.sequence(
        b"\xa0\x03\x02\x01\x02",
        der.integer(serial),
        algorithm,
        issuer_der,
        _encode_validity(validity.not_before, validity.not_after),
        subject_der,
        spki_der,
        der.explicit(3, encode_extensions(tuple(extensions))),
    )


# Certificates that are issued in the same second under the same policy share it.
@functools.lru_cache(maxsize=64)
def _encode_validity(not_before: datetime, not_after: datetime) -> bytes:
    return der.sequence(der.time(not_before), der.time(not_after))


def assemble(to_be_signed: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """Return the DER of a signed structure, such as a certificate."""
    return der.sequence(to_be_signed, algorithm, der.bit_string(signature))


def end_of_validity(not_before: datetime, days: int) -> datetime:
    """Return the last second of a validity of *days*, both ends included (RFC 5280 section 4.1.2.5).

    Nothing ends later than :data:`END_OF_TIME`.
    """
    if days > (END_OF_TIME - not_before).days:
        return END_OF_TIME
    return not_before + timedelta(days=days) - timedelta(seconds=1)
