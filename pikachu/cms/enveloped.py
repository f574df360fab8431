"""EnvelopedData (RFC 5652 section 6) with RSA key transport: reading, opening and building it.

Opening takes three steps, since private keys are used in :mod:`pikachu.signers` only::

    enveloped = parse_enveloped_data(data, allowed)
    recipient = recipient_for(enveloped, certificates)
    key = decrypt(recipient.encrypted_key, recipient.oaep_hash)     # by the recipient's key; None when it fails
    content = open_envelope(enveloped, key)

Anybody may send a message that was captured, changed a little, and signed anew.  So that the answers tell nothing
about the key or the content (Bleichenbacher 1998, Vaudenay 2002), ``open_envelope`` takes a random key in place of
one that could not be decrypted, or that has the wrong length, and goes on: wrong key, wrong padding and garbage
end alike in :data:`NOT_READABLE`.  Whoever parses the content must answer the same (:func:`not_readable`).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import ciphers
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from pikachu.cms.algorithms import (
    MODERN,
    P_SPECIFIED,
    RSA_ENCRYPTION,
    RSA_ENCRYPTION_ALGORITHM,
    RSAES_OAEP,
    AllowedAlgorithms,
    Cipher,
    Digest,
    algorithm_identifier,
    cipher_of,
    digest_of,
    mask_digest_of,
)
from pikachu.cms.ber import MAX_ELEMENTS, bounded, normalise
from pikachu.cms.identity import CertificateIdentity
from pikachu.cms.signed import DATA, content_info, signer_identifier
from pikachu.core.errors import MalformedRequest, MessageCheckFailed, UnknownRecipient, UnsupportedAlgorithm
from pikachu.x509 import der

ENVELOPED_DATA: Final = "1.2.840.113549.1.7.3"
AUTH_ENVELOPED_DATA: Final = "1.2.840.113549.1.9.16.1.23"
MAX_RECIPIENTS: Final = 32
#: The one answer to everything that may depend on the key or the content.
NOT_READABLE: Final = "the message can't be decrypted"

_ENVELOPED_DATA: Final = der.oid(ENVELOPED_DATA)
_AUTH_ENVELOPED_DATA: Final = der.oid(AUTH_ENVELOPED_DATA)
_RSA: Final = der.oid(RSA_ENCRYPTION)[2:]
_OAEP: Final = der.oid(RSAES_OAEP)[2:]
_P_SPECIFIED: Final = der.oid(P_SPECIFIED)[2:]
_KEY_AGREEMENTS_AND_OTHERS: Final = frozenset({0xA1, 0xA2, 0xA3, 0xA4})


def not_readable() -> MessageCheckFailed:
    """The error for content that does not decrypt, or does not parse once decrypted."""
    return MessageCheckFailed(NOT_READABLE)


@dataclass(frozen=True, slots=True)
class KeyTransport:
    """A KeyTransRecipientInfo: the content's key, encrypted for one certificate."""

    issuer_der: bytes | None
    serial: int | None
    key_identifier: bytes | None
    algorithm: der.Element
    encrypted_key: bytes


@dataclass(frozen=True, slots=True)
class EnvelopedData:
    """An EnvelopedData as received, with a cipher that is allowed."""

    recipients: tuple[KeyTransport, ...]
    cipher: Cipher
    initialisation_vector: bytes
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Which certificate's key opens an envelope, and how.

    :param certificate: DER, one of those that were offered.
    :param oaep_hash: ``sha1`` or ``sha256`` (for label and MGF1 alike); ``None`` for RSAES-PKCS1-v1_5.
    """

    certificate: bytes
    encrypted_key: bytes
    oaep_hash: str | None


def parse_enveloped_data(data: bytes, allowed: AllowedAlgorithms = MODERN) -> EnvelopedData:
    """Read a ContentInfo with EnvelopedData, in DER or in BER.

    :raises MalformedRequest: when it is none, or exceeds a bound.
    :raises UnsupportedAlgorithm: when its cipher is not *allowed*, or no key is transported by RSA.
    """
    try:
        return _parse(data, allowed)
    except MalformedRequest:
        normal = normalise(data)
        if normal == data:
            raise
    return _parse(normal, allowed)


def _parse(data: bytes, allowed: AllowedAlgorithms) -> EnvelopedData:
    kind, element = content_info(data)
    if kind == _AUTH_ENVELOPED_DATA:
        raise UnsupportedAlgorithm("authenticated encryption is not supported here")
    if kind != _ENVELOPED_DATA:
        raise MalformedRequest("this is not enveloped data")
    fields = bounded(element.expect(der.SEQUENCE), 5)
    if len(fields) >= 3 and fields[1].tag == 0xA0:
        del fields[1]
    if len(fields) < 3:
        raise MalformedRequest("this is not enveloped data")
    fields[0].expect(der.INTEGER)
    recipients = tuple(
        _parse_recipient(one)
        for one in bounded(fields[1].expect(der.SET), MAX_RECIPIENTS)
        if one.tag not in _KEY_AGREEMENTS_AND_OTHERS
    )
    if not recipients:
        raise UnsupportedAlgorithm("the message's key is not encrypted for an RSA key")
    encrypted = bounded(fields[2].expect(der.SEQUENCE), 3)
    if len(encrypted) != 3:
        raise MalformedRequest("this is not enveloped data")
    oid, parameters = algorithm_identifier(encrypted[1])
    cipher = cipher_of(oid)
    if cipher not in allowed.ciphers:
        raise UnsupportedAlgorithm(f"the encryption algorithm {cipher} is not accepted", cipher=cipher.value)
    if parameters is None or parameters.tag != der.OCTET_STRING or len(parameters.content) != cipher.block_size:
        raise MalformedRequest("the message's cipher has no proper initialisation vector")
    return EnvelopedData(recipients, cipher, parameters.content, _ciphertext(encrypted[2]))


def _ciphertext(element: der.Element) -> bytes:
    """[0] IMPLICIT OCTET STRING, which some clients send in pieces or with an OCTET STRING inside."""
    if element.tag == 0x80:
        return element.content
    return b"".join(piece.expect(der.OCTET_STRING).content for piece in bounded(element.expect(0xA0), MAX_ELEMENTS))


def _parse_recipient(element: der.Element) -> KeyTransport:
    fields = bounded(element.expect(der.SEQUENCE), 4)
    if len(fields) != 4:
        raise MalformedRequest("a recipient of the message is malformed")
    fields[0].expect(der.INTEGER)
    issuer, serial, key_identifier = signer_identifier(fields[1])
    return KeyTransport(
        issuer, serial, key_identifier, fields[2].expect(der.SEQUENCE), fields[3].expect(der.OCTET_STRING).content
    )


def recipient_for(enveloped: EnvelopedData, certificates: Sequence[CertificateIdentity]) -> Recipient:
    """The first recipient whose certificate is among *certificates*.

    :raises UnknownRecipient: when none is.
    :raises UnsupportedAlgorithm: when its key is encrypted in a way that is not known here.
    """
    for sent in enveloped.recipients:
        for known in certificates:
            if sent.key_identifier is not None:
                matches = sent.key_identifier == known.key_identifier
            else:
                matches = sent.serial == known.serial and sent.issuer_der == known.issuer_der
            if matches:
                return Recipient(known.certificate, sent.encrypted_key, _oaep_hash(sent.algorithm))
    raise UnknownRecipient("the message is encrypted for a certificate that is not this server's")


def _oaep_hash(algorithm: der.Element) -> str | None:
    """``None`` for RSAES-PKCS1-v1_5, else the hash of RSAES-OAEP (RFC 4055 section 4.1)."""
    oid, parameters = algorithm_identifier(algorithm)
    if oid == _RSA:
        return None
    if oid != _OAEP:
        raise UnsupportedAlgorithm("the message's key is encrypted in a way that is not supported", oid=oid.hex())
    label_hash = mask_hash = Digest.SHA1
    for part in [] if parameters is None else bounded(parameters.expect(der.SEQUENCE), 3):
        inside = der.parse(part.content)
        if part.tag == 0xA0:
            label_hash = digest_of(inside)
        elif part.tag == 0xA1:
            mask_hash = mask_digest_of(inside)
        elif part.tag == 0xA2:
            name, label = algorithm_identifier(inside)
            if name != _P_SPECIFIED or label is None or label.whole != b"\x04\x00":
                raise UnsupportedAlgorithm("the message's key is encrypted with a label")
        else:
            raise MalformedRequest("the message's key encryption is malformed")
    if label_hash is not mask_hash or label_hash not in (Digest.SHA1, Digest.SHA256):
        raise UnsupportedAlgorithm("the message's key is encrypted with hashes that are not supported")
    return label_hash.value


def open_envelope(enveloped: EnvelopedData, content_encryption_key: bytes | None) -> bytes:
    """The content.

    :param content_encryption_key: ``None`` when the recipient's key could not decrypt it: a random one is used.
    :raises MessageCheckFailed: with :data:`NOT_READABLE`, whatever the reason.
    """
    cipher = enveloped.cipher
    stand_in = secrets.token_bytes(cipher.key_size)
    key = content_encryption_key
    if key is None or len(key) != cipher.key_size:
        key = stand_in
    ciphertext = enveloped.ciphertext
    if not ciphertext or len(ciphertext) % cipher.block_size:
        raise not_readable()
    try:
        decryptor = ciphers.Cipher(cipher.primitive(key), CBC(enveloped.initialisation_vector)).decryptor()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        unpadder = PKCS7(cipher.block_size * 8).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise not_readable() from None


def envelop(content: bytes, recipient: CertificateIdentity, cipher: Cipher, *, content_type: str = DATA) -> bytes:
    """A DER ContentInfo with EnvelopedData (version 0) for one RSA certificate, with a random key.

    The recipient is named by issuer and serial number, byte for byte as in its certificate; RSAES-PKCS1-v1_5.

    :raises UnsupportedAlgorithm: when the certificate's key is not RSA, or too small for a key of *cipher*.
    """
    public_key = recipient.public_key()
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise UnsupportedAlgorithm("answers can be encrypted for RSA keys only")
    key = secrets.token_bytes(cipher.key_size)
    vector = secrets.token_bytes(cipher.block_size)
    try:
        encrypted_key = public_key.encrypt(key, padding.PKCS1v15())
    except ValueError:
        raise UnsupportedAlgorithm("the key in the message's certificate is too small") from None
    padder = PKCS7(cipher.block_size * 8).padder()
    padded = padder.update(content) + padder.finalize()
    encryptor = ciphers.Cipher(cipher.primitive(key), CBC(vector)).encryptor()
    ciphertext = encryptor.update(padded) + encryptor.finalize()
    transport = der.sequence(
        der.integer(0), recipient.issuer_and_serial, RSA_ENCRYPTION_ALGORITHM, der.octet_string(encrypted_key)
    )
    encrypted = der.sequence(
        der.oid(content_type), der.sequence(der.oid(cipher.oid), der.octet_string(vector)), der.implicit(0, ciphertext)
    )
    # Version 0: key transport by issuer and serial number, no attributes (RFC 5652 section 6.1).
    body = der.sequence(der.integer(0), der.tlv(der.SET, transport), encrypted)
    return der.sequence(_ENVELOPED_DATA, der.explicit(0, body))
