"""SignedData (RFC 5652 section 5): parsing, verification and construction.

Construction takes two steps, since only :mod:`pikachu.signers` uses private keys::

    unsigned = prepare(content, signer=certificate, algorithm=signer.algorithm, ...)
    message = unsigned.assemble(sign(unsigned.to_be_signed))
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.exceptions import UnsupportedAlgorithm as UnknownAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pikachu.cms.algorithms import (
    MODERN,
    RSA_ENCRYPTION_ALGORITHM,
    AllowedAlgorithms,
    Digest,
    KeyKind,
    SignatureScheme,
    digest_of,
    signature_of,
)
from pikachu.cms.ber import bounded, normalise
from pikachu.cms.identity import CertificateIdentity, identify
from pikachu.core.errors import MalformedRequest, MessageCheckFailed, UnsupportedAlgorithm
from pikachu.x509 import der

DATA: Final = "1.2.840.113549.1.7.1"
SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
SIGNING_TIME: Final = "1.2.840.113549.1.9.5"

# Larger than any real chain or set of attributes.
MAX_CERTIFICATES: Final = 64
MAX_SIGNERS: Final = 8
MAX_ATTRIBUTES: Final = 64
_MAX_ALGORITHMS: Final = 16

_SIGNED_DATA: Final = der.oid(SIGNED_DATA)
_DATA: Final = der.oid(DATA)
_CONTENT_TYPE: Final = der.oid(CONTENT_TYPE)
_MESSAGE_DIGEST: Final = der.oid(MESSAGE_DIGEST)
_VERSION_1: Final = der.integer(1)
_VERSION_3: Final = der.integer(3)
_EMPTY_SET: Final = der.set_of(())
_DEGENERATE_HEAD: Final = _VERSION_1 + _EMPTY_SET + der.sequence(_DATA)


@dataclass(frozen=True, slots=True)
class Attribute:
    """A signed attribute.

    :param oid_der: the DER OBJECT IDENTIFIER.
    :param values: DER elements.
    :param whole: as received.
    """

    oid_der: bytes
    values: tuple[der.Element, ...]
    whole: bytes


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """A signature over the content and the signed attributes.

    :param issuer_der: identifies the signer's certificate together with *serial*; otherwise *key_identifier* does.
    :param signed_attributes_der: the [0] element as received, or ``None``.
    """

    issuer_der: bytes | None
    serial: int | None
    key_identifier: bytes | None
    digest_algorithm: der.Element
    signature_algorithm: der.Element
    signature: bytes
    attributes: tuple[Attribute, ...]
    signed_attributes_der: bytes | None

    def values(self, oid_der: bytes) -> tuple[der.Element, ...]:
        """Return the values of all attributes with that DER OID, in order."""
        return tuple(
            value for attribute in self.attributes if attribute.oid_der == oid_der for value in attribute.values
        )

    def value(self, oid_der: bytes) -> der.Element | None:
        """Return the value of an attribute, or ``None`` when it is absent.

        :raises MalformedRequest: it is repeated, or does not have exactly one value (RFC 5652 section 5.3).
        """
        matches = [attribute for attribute in self.attributes if attribute.oid_der == oid_der]
        if not matches:
            return None
        if len(matches) > 1 or len(matches[0].values) != 1:
            raise MalformedRequest("a signed attribute of the message has not exactly one value")
        return matches[0].values[0]

    def digest(self) -> Digest:
        """Return the message digest algorithm; raise UnsupportedAlgorithm when it is not supported."""
        return digest_of(self.digest_algorithm)


@dataclass(frozen=True, slots=True)
class SignedData:
    """A received SignedData.

    :param content: the content of eContent, or ``None`` when it is absent.
    :param certificates: DER, in the order received.
    :param crls: DER.
    """

    content_type_der: bytes
    content: bytes | None
    certificates: tuple[bytes, ...] = field(repr=False)
    crls: tuple[bytes, ...] = field(repr=False)
    signers: tuple[SignerInfo, ...]

    def signer_certificate(self, signer: SignerInfo) -> CertificateIdentity:
        """Return the embedded certificate that *signer* identifies.

        :raises MessageCheckFailed: the message does not contain it.
        """
        for certificate in self.certificates:
            try:
                identity = identify(certificate)
                if (
                    identity.key_identifier == signer.key_identifier
                    if signer.key_identifier is not None
                    else identity.serial == signer.serial and identity.issuer_der == signer.issuer_der
                ):
                    return identity
            except MalformedRequest:
                continue
        raise MessageCheckFailed("the message does not hold its signer's certificate")

    def verify(self, allowed: AllowedAlgorithms = MODERN) -> CertificateIdentity:
        """Verify the signature and return the signer's certificate, which is not trusted yet.

        :raises MalformedRequest: the message does not have exactly one signer.
        :raises UnsupportedAlgorithm: the digest, the signature algorithm or the key is not *allowed*.
        :raises MessageCheckFailed: a value does not match (RFC 5652 sections 5.4 and 5.6).
        """
        if len(self.signers) != 1:
            raise MalformedRequest("the message has not exactly one signer")
        signer = self.signers[0]
        digest = signer.digest()
        scheme = signature_of(signer.signature_algorithm)
        signature_digest = scheme.digest or digest
        if digest not in allowed.digests or signature_digest not in allowed.digests:
            raise UnsupportedAlgorithm(f"the digest algorithm {digest} is not accepted", digest=digest.value)
        identity = self.signer_certificate(signer)
        content = self.content or b""
        if signer.signed_attributes_der is None:
            if self.content_type_der != _DATA:
                raise MessageCheckFailed("the message's signature does not verify")
            candidates = [content]
        else:
            self._check_attributes(signer, digest, content)
            candidates = _as_signed(signer, signer.signed_attributes_der)
        _verify_any(identity, scheme, signature_digest, signer.signature, candidates)
        return identity

    def _check_attributes(self, signer: SignerInfo, digest: Digest, content: bytes) -> None:
        content_type = signer.value(_CONTENT_TYPE)
        if content_type is None or content_type.whole != self.content_type_der:
            raise MessageCheckFailed("the signed content type is not that of the message")
        message_digest = signer.value(_MESSAGE_DIGEST)
        if (
            message_digest is None
            or message_digest.tag != der.OCTET_STRING
            or message_digest.content != digest.of(content)
        ):
            raise MessageCheckFailed("the signed digest is not that of the message")


def _as_signed(signer: SignerInfo, attributes: bytes) -> list[bytes]:
    """Return the candidates for the signed bytes: the attributes as a SET in DER order, and in the received order.

    RFC 5652 section 5.4 requires DER, but some clients sign the set in the order in which they send it.
    """
    canonical = der.set_of([one.whole for one in signer.attributes])
    received = b"\x31" + attributes[1:]
    return [canonical] if canonical == received else [canonical, received]


def _verify_any(
    identity: CertificateIdentity, scheme: SignatureScheme, digest: Digest, signature: bytes, candidates: list[bytes]
) -> None:
    key = identity.public_key()
    rsa_padding: padding.AsymmetricPadding = padding.PKCS1v15()
    if scheme.salt_size is not None:
        rsa_padding = padding.PSS(padding.MGF1(digest.primitive), scheme.salt_size)
    for candidate in candidates:
        try:
            if scheme.kind is KeyKind.RSA and isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, candidate, rsa_padding, digest.primitive)
            elif scheme.kind is KeyKind.EC and isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, candidate, ec.ECDSA(digest.primitive))
            else:
                raise UnsupportedAlgorithm("the message's signature algorithm does not fit the signer's key")
        except (InvalidSignature, ValueError):
            continue
        except UnknownAlgorithm:
            raise UnsupportedAlgorithm("the message's signature algorithm is not supported") from None
        return
    raise MessageCheckFailed("the message's signature does not verify")


# --- reading -----------------------------------------------------------------------------


def content_info(data: bytes) -> tuple[bytes, der.Element]:
    """Return the DER OID of the content type, and the content, of a DER ContentInfo.

    :raises MalformedRequest: *data* is not a ContentInfo.
    """
    parts = bounded(der.parse(data, der.SEQUENCE), 2)
    if len(parts) != 2:
        raise MalformedRequest("this is not a CMS message")
    inside = bounded(parts[1].expect(0xA0), 1)
    if len(inside) != 1:
        raise MalformedRequest("this is not a CMS message")
    return parts[0].expect(der.OBJECT_IDENTIFIER).whole, inside[0]


def parse_signed_data(data: bytes) -> SignedData:
    """Parse a ContentInfo with SignedData, in DER or BER, without verification.

    :raises MalformedRequest: *data* is malformed, or exceeds a bound.
    """
    try:
        return _parse(data)
    except MalformedRequest:
        normalised = normalise(data)
        if normalised == data:
            raise
    signed = _parse(normalised)
    # The signature of a certificate covers the received bytes, so these must be DER.
    if any(element not in data for element in (*signed.certificates, *signed.crls)):
        raise MalformedRequest("a certificate in the message is not DER")
    return signed


def _parse(data: bytes) -> SignedData:
    kind, element = content_info(data)
    if kind != _SIGNED_DATA:
        raise MalformedRequest("this is not signed data")
    fields = bounded(element.expect(der.SEQUENCE), 6)
    if len(fields) < 4:
        raise MalformedRequest("this is not signed data")
    fields[0].expect(der.INTEGER)
    bounded(fields[1].expect(der.SET), _MAX_ALGORITHMS)
    encapsulated = bounded(fields[2].expect(der.SEQUENCE), 2)
    if not encapsulated:
        raise MalformedRequest("this is not signed data")
    content = None
    if len(encapsulated) == 2:
        content = der.parse(encapsulated[1].expect(0xA0).content, der.OCTET_STRING).content
    certificates: list[der.Element] = []
    crls: list[der.Element] = []
    for optional in fields[3:-1]:
        if optional.tag == 0xA0:
            certificates = bounded(optional, MAX_CERTIFICATES)
        elif optional.tag == 0xA1:
            crls = bounded(optional, MAX_CERTIFICATES)
        else:
            raise MalformedRequest("this is not signed data")
    signers = bounded(fields[-1].expect(der.SET), MAX_SIGNERS)
    return SignedData(
        content_type_der=encapsulated[0].expect(der.OBJECT_IDENTIFIER).whole,
        content=content,
        # Attribute certificates and other formats have context tags; they are ignored.
        certificates=tuple(element.whole for element in certificates if element.tag == der.SEQUENCE),
        crls=tuple(element.whole for element in crls if element.tag == der.SEQUENCE),
        signers=tuple(_parse_signer(signer) for signer in signers),
    )


def _parse_signer(element: der.Element) -> SignerInfo:
    fields = bounded(element.expect(der.SEQUENCE), 7)
    if len(fields) < 5:
        raise MalformedRequest("this is not a signature of a message")
    issuer, serial, key_identifier = signer_identifier(fields[1])
    attributes: tuple[Attribute, ...] = ()
    signed_attributes: bytes | None = None
    remaining = fields[3:]
    if remaining[0].tag == 0xA0:
        signed_attributes = remaining[0].whole
        attributes = tuple(_parse_attribute(attribute) for attribute in bounded(remaining[0], MAX_ATTRIBUTES))
        remaining = remaining[1:]
    if not 2 <= len(remaining) <= 3 or (len(remaining) == 3 and remaining[2].tag != 0xA1):
        raise MalformedRequest("this is not a signature of a message")
    return SignerInfo(
        issuer_der=issuer,
        serial=serial,
        key_identifier=key_identifier,
        digest_algorithm=fields[2].expect(der.SEQUENCE),
        signature_algorithm=remaining[0].expect(der.SEQUENCE),
        signature=remaining[1].expect(der.OCTET_STRING).content,
        attributes=attributes,
        signed_attributes_der=signed_attributes,
    )


def signer_identifier(element: der.Element) -> tuple[bytes | None, int | None, bytes | None]:
    """Return the issuer, the serial and the key identifier of a SignerIdentifier or RecipientIdentifier.

    :raises MalformedRequest: *element* is malformed.
    """
    if element.tag == 0x80:
        return None, None, element.content
    parts = bounded(element.expect(der.SEQUENCE), 2)
    if len(parts) != 2 or parts[1].start == parts[1].end:
        raise MalformedRequest("a certificate is not named by issuer and serial number")
    serial = int.from_bytes(parts[1].expect(der.INTEGER).content, "big", signed=True)
    return parts[0].expect(der.SEQUENCE).whole, serial, None


def _parse_attribute(element: der.Element) -> Attribute:
    parts = bounded(element.expect(der.SEQUENCE), 2)
    if len(parts) != 2:
        raise MalformedRequest("this is not a signed attribute")
    values = bounded(parts[1].expect(der.SET), MAX_ATTRIBUTES)
    return Attribute(parts[0].expect(der.OBJECT_IDENTIFIER).whole, tuple(values), element.whole)


# --- building ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A SignedData without its signature.

    :param to_be_signed: the DER SET of signed attributes, which the key signs.
    """

    to_be_signed: bytes
    head: bytes = field(repr=False)
    signer_head: bytes = field(repr=False)
    signature_algorithm: bytes = field(repr=False)

    def assemble(self, signature: bytes) -> bytes:
        """Return the DER ContentInfo with *signature*, the signature value over ``to_be_signed``."""
        signer = der.sequence(
            self.signer_head,
            b"\xa0" + self.to_be_signed[1:],
            self.signature_algorithm,
            der.octet_string(signature),
        )
        body = der.tlv(der.SEQUENCE, self.head + der.tlv(der.SET, signer))
        return der.sequence(_SIGNED_DATA, der.explicit(0, body))


def attribute(oid: str, *values: bytes) -> bytes:
    """Return a DER Attribute with encoded values."""
    return der.sequence(der.oid(oid), der.set_of(values))


_DATA_ATTRIBUTE: Final = attribute(CONTENT_TYPE, _DATA)


@functools.lru_cache(maxsize=4)
def _signing_time(moment: datetime) -> bytes:
    """Return the attribute, which all messages of a second share."""
    return attribute(SIGNING_TIME, der.time(moment))


def prepare(
    content: bytes,
    *,
    signer: CertificateIdentity,
    algorithm: bytes,
    signing_time: datetime | None = None,
    attributes: Iterable[bytes] = (),
    certificates: Iterable[bytes] = (),
    content_type: str = DATA,
) -> Unsigned:
    """Build a SignedData with one signer, ready to be signed (RFC 5652 sections 5.1 to 5.4).

    :param content: the content of eContent; it may be empty but is always present, since OpenSSL requires it.
    :param algorithm: the DER AlgorithmIdentifier of the signature, such as sha256WithRSAEncryption, which also
        determines the message digest.
    :param attributes: as :func:`attribute` returns them, in addition to contentType, messageDigest and signingTime.
    :param certificates: DER; the message contains them in DER order.
    :raises UnsupportedAlgorithm: *algorithm* is not supported.
    """
    scheme = signature_of(der.parse(algorithm))
    digest = scheme.digest or Digest.SHA256
    # Old clients support only rsaEncryption here (RFC 3370 section 3.2).
    is_pkcs1 = scheme.kind is KeyKind.RSA and scheme.salt_size is None
    type_der = der.oid(content_type)
    signed_attributes = [
        _DATA_ATTRIBUTE if content_type == DATA else attribute(CONTENT_TYPE, type_der),
        attribute(MESSAGE_DIGEST, der.octet_string(digest.of(content))),
        *attributes,
    ]
    if signing_time is not None:
        signed_attributes.append(_signing_time(signing_time))
    return Unsigned(
        to_be_signed=der.set_of(signed_attributes),
        head=(_VERSION_1 if content_type == DATA else _VERSION_3)
        + der.tlv(der.SET, digest.algorithm)
        + der.sequence(type_der, der.explicit(0, der.octet_string(content)))
        + _optional_set(0, certificates),
        signer_head=_VERSION_1 + signer.issuer_and_serial + digest.algorithm,
        signature_algorithm=RSA_ENCRYPTION_ALGORITHM if is_pkcs1 else algorithm,
    )


def degenerate(certificates: Iterable[bytes] = (), crls: Iterable[bytes] = ()) -> bytes:
    """Return a degenerate DER SignedData with only certificates and CRLs (RFC 5652 section 5.2, RFC 8894 section 3.4).

    Both are sets, which DER sorts.
    """
    body = der.sequence(_DEGENERATE_HEAD, _optional_set(0, certificates), _optional_set(1, crls), _EMPTY_SET)
    return der.sequence(_SIGNED_DATA, der.explicit(0, body))


def _optional_set(number: int, members: Iterable[bytes]) -> bytes:
    body = b"".join(sorted(set(members)))
    return der.explicit(number, body) if body else b""
