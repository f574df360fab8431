"""EnvelopedData (RFC 5652 section 6) with RSA key transport: parsing, decryption and encryption.

Decryption takes three steps, since only :mod:`pikachu.signers` uses private keys::

    enveloped = parse_enveloped_data(data, allowed)
    recipient = recipient_for(enveloped, certificates)
    key = decrypt(recipient.encrypted_key, recipient.oaep_hash)     # by the recipient's key; None when it fails
    content = open_envelope(enveloped, key)

An attacker may modify a captured message and sign it again.  So that the responses reveal nothing about the key or
the content (Bleichenbacher 1998, Vaudenay 2002), ``open_envelope`` substitutes a random key for one that was not
decrypted or has the wrong length, and continues: a wrong key, wrong padding and garbage all end in
:data:`NOT_READABLE`.  The parser of the content must raise the same error (:func:`not_readable`).
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
#: The only message for any failure that may depend on the key or the content.
NOT_READABLE: Final = "the message can't be decrypted"

_ENVELOPED_DATA: Final = der.oid(ENVELOPED_DATA)
_AUTH_ENVELOPED_DATA: Final = der.oid(AUTH_ENVELOPED_DATA)
_VERSION_0: Final = der.integer(0)
_RSA: Final = der.oid(RSA_ENCRYPTION)[2:]
_OAEP: Final = der.oid(RSAES_OAEP)[2:]
_P_SPECIFIED: Final = der.oid(P_SPECIFIED)[2:]
_KEY_AGREEMENTS_AND_OTHERS: Final = frozenset({0xA1, 0xA2, 0xA3, 0xA4})


def not_readable() -> MessageCheckFailed:
    """Return the error for content that does not decrypt, or does not parse after decryption."""
    return MessageCheckFailed(NOT_READABLE)


@dataclass(frozen=True, slots=True)
class KeyTransport:
    """A KeyTransRecipientInfo: the content-encryption key, encrypted for one certificate."""

    issuer_der: bytes | None
    serial: int | None
    key_identifier: bytes | None
    algorithm: der.Element
    encrypted_key: bytes


@dataclass(frozen=True, slots=True)
class EnvelopedData:
    """A received EnvelopedData with an allowed cipher."""

    recipients: tuple[KeyTransport, ...]
    cipher: Cipher
    initialisation_vector: bytes
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recipient:
    """The certificate whose key decrypts an envelope, and the parameters for it.

    :param certificate: DER, one of the offered certificates.
    :param oaep_hash: ``sha1`` or ``sha256`` (for label and MGF1 alike); ``None`` for RSAES-PKCS1-v1_5.
    """

    certificate: bytes
    encrypted_key: bytes
    oaep_hash: str | None


def parse_enveloped_data(data: bytes, allowed: AllowedAlgorithms = MODERN) -> EnvelopedData:
    """Parse a ContentInfo with EnvelopedData, in DER or BER.

    :raises MalformedRequest: *data* is malformed, or exceeds a bound.
    :raises UnsupportedAlgorithm: the cipher is not *allowed*, or no recipient uses RSA key transport.
    """
    try:
        return _parse(data, allowed)
    except MalformedRequest:
        normalised = normalise(data)
        if normalised == data:
            raise
    return _parse(normalised, allowed)


def _parse(data: bytes, allowed: AllowedAlgorithms) -> EnvelopedData:
    content_type, element = content_info(data)
    if content_type == _AUTH_ENVELOPED_DATA:
        raise UnsupportedAlgorithm("authenticated encryption is not supported here")
    if content_type != _ENVELOPED_DATA:
        raise MalformedRequest("this is not enveloped data")
    fields = bounded(element.expect(der.SEQUENCE), 5)
    if len(fields) >= 3 and fields[1].tag == 0xA0:
        del fields[1]
    if len(fields) < 3:
        raise MalformedRequest("this is not enveloped data")
    fields[0].expect(der.INTEGER)
    recipients = tuple(
        _parse_recipient(recipient)
        for recipient in bounded(fields[1].expect(der.SET), MAX_RECIPIENTS)
        if recipient.tag not in _KEY_AGREEMENTS_AND_OTHERS
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
    """Return the [0] IMPLICIT OCTET STRING, which some clients send constructed or with an OCTET STRING inside."""
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
    """Return the first recipient whose certificate is among *certificates*.

    :raises UnknownRecipient: there is no such recipient.
    :raises UnsupportedAlgorithm: the key encryption algorithm is not supported.
    """
    for transport in enveloped.recipients:
        for certificate in certificates:
            if transport.key_identifier is not None:
                matches = transport.key_identifier == certificate.key_identifier
            else:
                matches = transport.serial == certificate.serial and transport.issuer_der == certificate.issuer_der
            if matches:
                return Recipient(certificate.certificate, transport.encrypted_key, _oaep_hash(transport.algorithm))
    raise UnknownRecipient("the message is encrypted for a certificate that is not this server's")


def _oaep_hash(algorithm: der.Element) -> str | None:
    """Return ``None`` for RSAES-PKCS1-v1_5, else the hash of RSAES-OAEP (RFC 4055 section 4.1)."""
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
    """Decrypt the content.

    :param content_encryption_key: ``None`` when its decryption failed; a random key replaces it.
    :raises MessageCheckFailed: with :data:`NOT_READABLE`, for every cause.
    """
    cipher = enveloped.cipher
    random_key = secrets.token_bytes(cipher.key_size)
    key = content_encryption_key
    if key is None or len(key) != cipher.key_size:
        key = random_key
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


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class EncryptedContent:
    """Content encrypted with a random key, which can be enveloped for several recipients if it is public.

    :param vector: the initialization vector.
    """

    cipher: Cipher
    key: bytes = field(repr=False)
    vector: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


def encrypt_content(content: bytes, cipher: Cipher) -> EncryptedContent:
    """Encrypt *content* with a random key."""
    key = secrets.token_bytes(cipher.key_size)
    vector = secrets.token_bytes(cipher.block_size)
    padder = PKCS7(cipher.block_size * 8).padder()
    encryptor = ciphers.Cipher(cipher.primitive(key), CBC(vector)).encryptor()
    ciphertext = encryptor.update(padder.update(content)) + encryptor.update(padder.finalize()) + encryptor.finalize()
    return EncryptedContent(cipher, key, vector, ciphertext)


def envelop(content: bytes, recipient: CertificateIdentity, cipher: Cipher, *, content_type: str = DATA) -> bytes:
    """Encrypt *content* for one RSA certificate, as :func:`envelop_encrypted`."""
    return envelop_encrypted(encrypt_content(content, cipher), recipient, content_type=content_type)


def envelop_encrypted(content: EncryptedContent, recipient: CertificateIdentity, *, content_type: str = DATA) -> bytes:
    """Encrypt the key of *content* for one RSA certificate; return a DER ContentInfo with EnvelopedData (version 0).

    The key is encrypted with RSAES-PKCS1-v1_5.  The recipient is identified by issuer and serial number, byte for byte
    as in its certificate.

    :raises UnsupportedAlgorithm: the certificate's key is not RSA, or too small for a key of the cipher.
    """
    public_key = recipient.public_key()
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise UnsupportedAlgorithm("answers can be encrypted for RSA keys only")
    try:
        encrypted_key = public_key.encrypt(content.key, padding.PKCS1v15())
    except ValueError:
        raise UnsupportedAlgorithm("the key in the message's certificate is too small") from None
    transport = der.sequence(
        _VERSION_0, recipient.issuer_and_serial, RSA_ENCRYPTION_ALGORITHM, der.octet_string(encrypted_key)
    )
    encrypted = der.sequence(
        der.oid(content_type),
        der.sequence(der.oid(content.cipher.oid), der.octet_string(content.vector)),
        der.implicit(0, content.ciphertext),
    )
    # Version 0: key transport by issuer and serial number, no attributes (RFC 5652 section 6.1).
    body = der.sequence(_VERSION_0, der.tlv(der.SET, transport), encrypted)
    return der.sequence(_ENVELOPED_DATA, der.explicit(0, body))
