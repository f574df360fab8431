"""SCEP messages (RFC 8894): decoding requests in stages, and building responses.

The stages separate errors that a signed CertRep can report from those that it can't:

1. :func:`decode` fails when there is no readable transaction id: an HTTP error, since there is nothing to echo.
2. ``message.check()`` and ``message.verify(allowed)``: any error is a CertRep FAILURE with a failInfo.
3. ``message.envelope(allowed)``, and its decryption by :mod:`pikachu.cms.enveloped`: likewise.
4. :func:`csr_in`, :func:`issuer_and_subject_in` and :func:`issuer_and_serial_in` decode the content.

Responses are built in two steps, since only :mod:`pikachu.signers` uses private keys::

    unsigned = Reply(...).failure(FailInfo.BAD_REQUEST)
    message = unsigned.assemble(sign(unsigned.to_be_signed))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

from pikachu.cms.algorithms import MODERN, AllowedAlgorithms, Cipher, Digest
from pikachu.cms.ber import bounded
from pikachu.cms.enveloped import (
    EncryptedContent,
    EnvelopedData,
    encrypt_content,
    envelop,
    envelop_encrypted,
    not_readable,
    parse_enveloped_data,
)
from pikachu.cms.identity import CertificateIdentity
from pikachu.cms.signed import (
    SIGNING_TIME,
    SignedData,
    SignerInfo,
    Unsigned,
    attribute,
    degenerate,
    parse_signed_data,
    prepare,
)
from pikachu.core.errors import MalformedRequest, MessageCheckFailed
from pikachu.x509 import der

MESSAGE_TYPE: Final = "2.16.840.1.113733.1.9.2"
PKI_STATUS: Final = "2.16.840.1.113733.1.9.3"
FAIL_INFO: Final = "2.16.840.1.113733.1.9.4"
SENDER_NONCE: Final = "2.16.840.1.113733.1.9.5"
RECIPIENT_NONCE: Final = "2.16.840.1.113733.1.9.6"
TRANSACTION_ID: Final = "2.16.840.1.113733.1.9.7"
FAIL_INFO_TEXT: Final = "1.3.6.1.5.5.7.24.1"

MAX_TRANSACTION_ID: Final = 255
MAX_NONCE: Final = 64

_MESSAGE_TYPE: Final = der.oid(MESSAGE_TYPE)
_SENDER_NONCE: Final = der.oid(SENDER_NONCE)
_TRANSACTION_ID: Final = der.oid(TRANSACTION_ID)
_SIGNING_TIME: Final = der.oid(SIGNING_TIME)
# PrintableString by the RFC; clients also send the others, with the same bytes.
_STRINGS: Final = frozenset({der.PRINTABLE_STRING, der.UTF8_STRING, der.IA5_STRING, der.T61_STRING})
# The eContent of a CertRep without an envelope is empty, not absent: OpenSSL verifies no signature over absent
# content, so clients that use it would not accept PENDING and FAILURE.
_NO_ENVELOPE: Final = b""


class MessageType(IntEnum):
    """RFC 8894 section 3.2.1.2."""

    CERT_REP = 3
    RENEWAL_REQ = 17
    PKCS_REQ = 19
    CERT_POLL = 20
    GET_CERT = 21
    GET_CRL = 22


class PKIStatus(IntEnum):
    """RFC 8894 section 3.2.1.3."""

    SUCCESS = 0
    FAILURE = 2
    PENDING = 3


class FailInfo(IntEnum):
    """RFC 8894 section 3.2.1.4."""

    BAD_ALG = 0
    BAD_MESSAGE_CHECK = 1
    BAD_REQUEST = 2
    BAD_TIME = 3
    BAD_CERT_ID = 4


@dataclass(frozen=True, slots=True)
class PKIMessage:
    """A message with a readable transaction id; nothing else has been checked.

    :param transaction_id: as sent; any bytes.
    :param message_type: ``None`` when absent, repeated or not a decimal number.
    :param sender_nonce: as sent, whatever its length, so that it can be echoed; ``None`` when absent or repeated.
    :param signer: the SignerInfo with these attributes; :meth:`check` refuses a message with several.
    """

    transaction_id: bytes
    message_type: int | None
    sender_nonce: bytes | None
    signer: SignerInfo = field(repr=False)
    signed: SignedData = field(repr=False)

    @property
    def signing_time(self) -> datetime | None:
        """The signingTime; ``None`` when absent or not in a known form."""
        return _decode_time(_single_value(self.signer, _SIGNING_TIME))

    @property
    def digest(self) -> Digest:
        """The message digest algorithm; raises UnsupportedAlgorithm when it is unknown."""
        return self.signer.digest()

    def check(self) -> MessageType:
        """Check the signed attributes of a request (RFC 8894 section 3.2.1) and return its type.

        :raises MalformedRequest: when there are several signatures, when an attribute is missing, repeated or out of
            bounds, or when clients don't send this type.
        """
        if len(self.signed.signers) != 1:
            raise MalformedRequest("the message has not exactly one signer")
        oids = set()
        for one in self.signer.attributes:
            if one.oid_der in oids or len(one.values) != 1:
                raise MalformedRequest("a signed attribute of the message has not exactly one value")
            oids.add(one.oid_der)
        if self.sender_nonce is None or not 1 <= len(self.sender_nonce) <= MAX_NONCE:
            raise MalformedRequest(f"the senderNonce is not 1 to {MAX_NONCE} bytes")
        try:
            message_type = MessageType(-1 if self.message_type is None else self.message_type)
        except ValueError:
            raise MalformedRequest("the messageType is unknown") from None
        if message_type is MessageType.CERT_REP:
            raise MalformedRequest("a client does not send a CertRep")
        return message_type

    def verify(self, allowed: AllowedAlgorithms = MODERN) -> CertificateIdentity:
        """Verify the signature and return the signer's certificate, which is not yet trusted.

        :raises MessageCheckFailed: when it does not verify.
        :raises UnsupportedAlgorithm: when its digest or key type is not *allowed*.
        """
        if self.signer.signed_attributes_der is None:
            raise MessageCheckFailed("the message's attributes are not signed")
        return self.signed.verify(allowed)

    def envelope(self, allowed: AllowedAlgorithms = MODERN) -> EnvelopedData:
        """Return the pkcsPKIEnvelope.

        :raises MalformedRequest: when there is none.
        :raises UnsupportedAlgorithm: when its cipher is not *allowed*, or its key is not encrypted for an RSA key.
        """
        if self.signed.content is None:
            raise MalformedRequest("the message has no content")
        return parse_enveloped_data(self.signed.content, allowed)


def decode(data: bytes) -> PKIMessage:
    """Decode a pkiMessage, in DER or BER, as far as its transaction id.

    :raises MalformedRequest: when it is not a SignedData with a signer and one transaction id of 1 to 255 bytes.
    """
    signed = parse_signed_data(data)
    if not signed.signers:
        raise MalformedRequest("the message has no signer")
    signer, transaction_id = _transaction(signed.signers)
    nonce = _single_value(signer, _SENDER_NONCE)
    return PKIMessage(
        transaction_id=transaction_id,
        message_type=_decode_number(_single_value(signer, _MESSAGE_TYPE)),
        sender_nonce=nonce.content if nonce is not None and nonce.tag == der.OCTET_STRING else None,
        signer=signer,
        signed=signed,
    )


def _transaction(signers: Sequence[SignerInfo]) -> tuple[SignerInfo, bytes]:
    """Return the first signer with a readable transaction id, and that id.

    A message with several signers is refused later: with a transaction id, the refusal is a CertRep.

    :raises MalformedRequest: when no signer has one, with the reason for the first signer.
    """
    reason: MalformedRequest | None = None
    for signer in signers:
        try:
            return signer, _transaction_id(signer)
        except MalformedRequest as error:
            reason = reason or error
    assert reason is not None  # noqa: S101 - there is at least one signer
    raise reason


def _transaction_id(signer: SignerInfo) -> bytes:
    transaction_id = signer.value(_TRANSACTION_ID)
    if transaction_id is None or transaction_id.tag not in _STRINGS:
        raise MalformedRequest("the message has no transactionID")
    if not 1 <= len(transaction_id.content) <= MAX_TRANSACTION_ID:
        raise MalformedRequest(f"the transactionID is not 1 to {MAX_TRANSACTION_ID} bytes")
    return transaction_id.content


def _single_value(signer: SignerInfo, oid_der: bytes) -> der.Element | None:
    values = signer.values(oid_der)
    return values[0] if len(values) == 1 else None


def _decode_number(element: der.Element | None) -> int | None:
    """Decode up to three decimal digits without leading zeros (RFC 8894 section 3.2.1.2)."""
    if element is None or element.tag not in _STRINGS:
        return None
    digits = element.content
    if not digits.isdigit() or len(digits) > 3 or digits != b"%d" % int(digits):
        return None
    return int(digits)


def _decode_time(element: der.Element | None) -> datetime | None:
    """Decode UTCTime or GeneralizedTime in the forms of RFC 5652 section 11.3."""
    if element is None:
        return None
    text = element.content
    if element.tag == der.UTC_TIME:
        text = (b"19" if text[:1] >= b"5" else b"20") + text
    elif element.tag != der.GENERALIZED_TIME:
        return None
    if len(text) != 15 or not text[:14].isdigit() or text[14:] != b"Z":
        return None
    try:
        month, day, hour, minute, second = (int(text[at : at + 2]) for at in (4, 6, 8, 10, 12))
        return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


# --- enveloped content -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IssuerAndSubject:
    """The content of CertPoll (RFC 8894 section 3.3.3): unchecked DER names."""

    issuer_der: bytes
    subject_der: bytes


@dataclass(frozen=True, slots=True)
class IssuerAndSerial:
    """The content of GetCert and GetCRL (RFC 8894 sections 3.3.4 and 3.3.5)."""

    issuer_der: bytes
    serial: int


def _decode_sequence(content: bytes, tags: tuple[int, ...]) -> list[der.Element]:
    """Decode *content* as one SEQUENCE of elements with *tags*.

    Content decrypted with a wrong key must give the same error as a wrong key, so the error is always the same.
    """
    try:
        elements = bounded(der.parse(content, der.SEQUENCE), len(tags))
    except MalformedRequest:
        raise not_readable() from None
    if tuple(one.tag for one in elements) != tags:
        raise not_readable()
    return elements


def csr_in(content: bytes) -> bytes:
    """Return the DER CertificationRequest of a decrypted PKCSReq or RenewalReq.

    :raises MessageCheckFailed: when it does not have that structure, with the message of every decryption failure.
    """
    _decode_sequence(content, (der.SEQUENCE, der.SEQUENCE, der.BIT_STRING))
    return content


def issuer_and_subject_in(content: bytes) -> IssuerAndSubject:
    """Decode a decrypted CertPoll.

    :raises MessageCheckFailed: as :func:`csr_in`.
    """
    issuer, subject = _decode_sequence(content, (der.SEQUENCE, der.SEQUENCE))
    return IssuerAndSubject(issuer.whole, subject.whole)


def issuer_and_serial_in(content: bytes) -> IssuerAndSerial:
    """Decode a decrypted GetCert or GetCRL.

    :raises MessageCheckFailed: as :func:`csr_in`.
    """
    issuer, serial = _decode_sequence(content, (der.SEQUENCE, der.INTEGER))
    return IssuerAndSerial(issuer.whole, int.from_bytes(serial.content, "big", signed=True))


def encrypt_crl(crl: bytes, cipher: Cipher) -> EncryptedContent:
    """Encrypt a CRL for CertReps to any number of recipients, since a CRL is public."""
    return encrypt_content(degenerate((), (crl,)), cipher)


# --- responses ---------------------------------------------------------------------------


_CERT_REP: Final = attribute(MESSAGE_TYPE, der.printable_string(str(MessageType.CERT_REP.value)))
_STATUSES: Final = {status: attribute(PKI_STATUS, der.printable_string(str(status.value))) for status in PKIStatus}


@dataclass(frozen=True, slots=True)
class Reply:
    """The common fields of a CertRep (RFC 8894 section 3.3.2), from which a success, pending or failure is built.

    :param transaction_id: that of the request, echoed byte for byte.
    :param recipient_nonce: the request's senderNonce, or ``None`` if it had none.
    :param sender_nonce: 16 fresh random bytes.
    :param signing_time: a time within the signer's validity.
    :param signer: the certificate of the signing key, which is included.
    :param algorithm: the DER AlgorithmIdentifier of the signature.
    """

    transaction_id: bytes
    recipient_nonce: bytes | None
    sender_nonce: bytes
    signing_time: datetime
    signer: CertificateIdentity
    algorithm: bytes

    def success(
        self,
        recipient: CertificateIdentity,
        cipher: Cipher,
        *,
        certificate: bytes,
    ) -> Unsigned:
        """Build SUCCESS with one certificate, encrypted for the request's signer.

        :raises UnsupportedAlgorithm: when the recipient's key is not RSA, or too small.
        """
        return self._prepare(PKIStatus.SUCCESS, envelop(degenerate((certificate,)), recipient, cipher))

    def crl_success(self, recipient: CertificateIdentity, crl: EncryptedContent) -> Unsigned:
        """Build SUCCESS with one CRL, encrypted by :func:`encrypt_crl`.

        :raises UnsupportedAlgorithm: when the recipient's key is not RSA, or too small.
        """
        return self._prepare(PKIStatus.SUCCESS, envelop_encrypted(crl, recipient))

    def pending(self) -> Unsigned:
        """Build PENDING: the client polls again later."""
        return self._prepare(PKIStatus.PENDING, _NO_ENVELOPE)

    def failure(self, fail_info: FailInfo, text: str = "") -> Unsigned:
        """Build FAILURE, with a human-readable text if given (RFC 8894 section 3.2.1.4)."""
        extra = [attribute(FAIL_INFO, der.printable_string(str(fail_info.value)))]
        if text:
            extra.append(attribute(FAIL_INFO_TEXT, der.utf8_string(text)))
        return self._prepare(PKIStatus.FAILURE, _NO_ENVELOPE, *extra)

    def _prepare(self, status: PKIStatus, content: bytes, *extra: bytes) -> Unsigned:
        attributes = [
            _CERT_REP,
            _STATUSES[status],
            attribute(TRANSACTION_ID, der.tlv(der.PRINTABLE_STRING, self.transaction_id)),
            attribute(SENDER_NONCE, der.octet_string(self.sender_nonce)),
            *extra,
        ]
        if self.recipient_nonce is not None:
            attributes.append(attribute(RECIPIENT_NONCE, der.octet_string(self.recipient_nonce)))
        return prepare(
            content,
            signer=self.signer,
            algorithm=self.algorithm,
            signing_time=self.signing_time,
            attributes=attributes,
            certificates=(self.signer.certificate,),
        )


def next_ca_certificates(
    certificates: Iterable[bytes], *, signer: CertificateIdentity, algorithm: bytes, signing_time: datetime
) -> Unsigned:
    """Build the response to GetNextCACert (RFC 8894 section 4.7.1), to be signed by the current CA's key.

    The next certificates are in the signed content, as the RFC defines, and among the certificates of the SignedData,
    where other clients expect them.
    """
    next_certificates = tuple(certificates)
    return prepare(
        degenerate(next_certificates),
        signer=signer,
        algorithm=algorithm,
        signing_time=signing_time,
        certificates=(signer.certificate, *next_certificates),
    )
