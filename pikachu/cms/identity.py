"""The identifiers and the public key of a certificate, as CMS uses them.

Parsing is lenient: the temporary certificates with which clients sign their first request may have a serial number
that is negative or longer than 20 bytes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from pikachu.cms.ber import bounded
from pikachu.core.errors import BadPublicKey, MalformedRequest, UnsupportedAlgorithm
from pikachu.x509 import der
from pikachu.x509.loading.public_keys import MESSAGES, PublicKey, load_public_key, read_public_key

_MAX_EXTENSIONS = 64
_SUBJECT_KEY_IDENTIFIER = der.oid("2.5.29.14")


@dataclass(frozen=True)
class CertificateIdentity:
    """Names and key of a certificate; all fields are copies of its DER elements.

    :param serial_der: the INTEGER with its tag and length.
    """

    certificate: bytes
    issuer_der: bytes
    serial_der: bytes
    subject_der: bytes
    spki_der: bytes
    extensions_der: bytes | None

    @functools.cached_property
    def issuer_and_serial(self) -> bytes:
        """The DER IssuerAndSerialNumber, byte for byte as in the certificate."""
        return der.sequence(self.issuer_der, self.serial_der)

    @functools.cached_property
    def serial(self) -> int:
        """The serial number; may be negative."""
        return int.from_bytes(der.parse(self.serial_der).content, "big", signed=True)

    @property
    def self_issued(self) -> bool:
        """Whether the issuer and the subject are equal."""
        return self.issuer_der == self.subject_der

    @functools.cached_property
    def key_identifier(self) -> bytes | None:
        """The subjectKeyIdentifier, or ``None`` when the extension is absent."""
        if self.extensions_der is None:
            return None
        for extension in bounded(der.parse(self.extensions_der, der.SEQUENCE), _MAX_EXTENSIONS):
            parts = bounded(extension.expect(der.SEQUENCE), 3)
            if parts and parts[0].whole == _SUBJECT_KEY_IDENTIFIER:
                return der.parse(parts[-1].expect(der.OCTET_STRING).content, der.OCTET_STRING).content
        return None

    def public_key(self) -> PublicKey:
        """Return the public key, which is loaded once.

        :raises UnsupportedAlgorithm: the key is malformed, or its type or size is not accepted.
        """
        return self._public_key

    @functools.cached_property
    def _public_key(self) -> PublicKey:
        try:
            return load_public_key(read_public_key(self.spki_der, MESSAGES))
        except BadPublicKey as error:
            raise UnsupportedAlgorithm(
                f"the key in the message's certificate is not accepted: {error.public}"
            ) from None


def identify(certificate: bytes) -> CertificateIdentity:
    """Parse the names and the key of a DER certificate.

    :raises MalformedRequest: *certificate* is malformed.
    """
    parts = bounded(der.parse(certificate, der.SEQUENCE), 3)
    if len(parts) != 3:
        raise MalformedRequest("this is not a certificate")
    fields = bounded(parts[0].expect(der.SEQUENCE), 10)
    if fields and fields[0].tag == 0xA0:
        del fields[0]
    if len(fields) < 6:
        raise MalformedRequest("this is not a certificate")
    serial, _algorithm, issuer, _validity, subject, spki = fields[:6]
    if serial.expect(der.INTEGER).start == serial.end:
        raise MalformedRequest("this is not a certificate")
    extensions = next((field for field in fields[6:] if field.tag == 0xA3), None)
    return CertificateIdentity(
        certificate=certificate,
        issuer_der=issuer.expect(der.SEQUENCE).whole,
        serial_der=serial.whole,
        subject_der=subject.expect(der.SEQUENCE).whole,
        spki_der=spki.expect(der.SEQUENCE).whole,
        extensions_der=None if extensions is None else extensions.content,
    )
