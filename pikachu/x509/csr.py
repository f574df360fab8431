"""CSRs (PKCS#10, RFC 2986): parsing, lenient towards common errors of devices, and strict checks.

The signature is verified over the received bytes, never over a re-encoding.  The parser tolerates attributes
that are not in DER order, absent attributes, unknown attributes and Microsoft's own attribute for extensions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pikachu.core.errors import BadCSR, MalformedRequest, TooLarge
from pikachu.x509 import der
from pikachu.x509.extension import Extension, parse_extensions
from pikachu.x509.names import Name, name_from, string_value
from pikachu.x509.pem_blocks import blocks, decode_base64, decode_text
from pikachu.x509.san import DEFAULT_LIMIT, GeneralName, parse_san
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import KeyDescription, describe_spki

EXTENSION_REQUEST: Final = "1.2.840.113549.1.9.14"
MICROSOFT_EXTENSIONS: Final = "1.3.6.1.4.1.311.2.1.14"
CHALLENGE_PASSWORD: Final = "1.2.840.113549.1.9.7"  # noqa: S105 - an OID
CHANGE_SUBJECT_NAME: Final = "1.3.6.1.5.5.7.7.36"
_SINGLE: Final = frozenset((EXTENSION_REQUEST, MICROSOFT_EXTENSIONS, CHALLENGE_PASSWORD, CHANGE_SUBJECT_NAME))
_SUBJECT_ALTERNATIVE_NAME: Final = "2.5.29.17"
# The outer tag of the values of common extensions (RFC 5280 section 4.2.1).
_VALUE_TAGS: Final = {
    "2.5.29.14": der.OCTET_STRING,
    "2.5.29.15": der.BIT_STRING,
    _SUBJECT_ALTERNATIVE_NAME: der.SEQUENCE,
    "2.5.29.19": der.SEQUENCE,
    "2.5.29.35": der.SEQUENCE,
    "2.5.29.37": der.SEQUENCE,
}

MAXIMUM_SIZE: Final = 64 * 1024
_MAXIMUM_ATTRIBUTES: Final = 64
_MAXIMUM_EXTENSIONS: Final = 64
_MAXIMUM_CHALLENGE: Final = 255
_LABELS: Final = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """A well-formed CSR; :func:`verify_csr` verifies its key and signature.

    :ivar der: the CSR as received.
    :ivar info_der: the CertificationRequestInfo: the bytes that are signed.
    :ivar name: the subject.
    :ivar spki_der: the unchecked SubjectPublicKeyInfo.
    :ivar signature_algorithm_der: AlgorithmIdentifier.
    :ivar extensions: the requested extensions, in order.
    :ivar names: the checked names of the requested subjectAltName.
    :ivar challenge_password: a secret; never copied into a certificate, never logged.
    :ivar attributes: the OID and the DER values of all attributes.
    """

    der: bytes = field(repr=False)
    info_der: bytes = field(repr=False)
    name: Name = field(repr=False)
    spki_der: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    signature_algorithm_der: bytes = field(repr=False)
    extensions: tuple[Extension, ...] = field(repr=False)
    names: tuple[GeneralName, ...]
    challenge_password: str | None = field(repr=False)
    attributes: tuple[tuple[str, tuple[bytes, ...]], ...] = field(repr=False)

    @property
    def subject_der(self) -> bytes:
        """The DER Name of the subject."""
        return self.name.der

    @property
    def subject(self) -> str:
        """The RFC 4514 text of the subject."""
        return self.name.text

    @property
    def common_name(self) -> str:
        """The commonName, unescaped, or ``""``."""
        return self.name.common_name

    def extension(self, oid: str) -> Extension | None:
        """Return the requested extension with that OID, or ``None``."""
        return next((extension for extension in self.extensions if extension.oid == oid), None)

    def attribute(self, oid: str) -> tuple[bytes, ...] | None:
        """Return the DER values of the first attribute with that OID, or ``None``."""
        return next((values for known, values in self.attributes if known == oid), None)


def decode_csr_input(data: bytes) -> bytes:
    """Return the DER CSR in *data*: DER, PEM with or without text around it, or Base64, also in UTF-16.

    :raises MalformedRequest: *data* contains no CSR, or more than one.
    :raises TooLarge: *data* exceeds the maximum size.
    """
    if len(data) > 2 * MAXIMUM_SIZE:
        raise TooLarge(f"a certificate signing request has at most {MAXIMUM_SIZE // 1024} KiB")
    data = decode_text(data)
    if data[:1] == b"\x30":
        return _bounded(data)
    if b"-----BEGIN " in data:
        pem_blocks = blocks(data, _LABELS)
        if not pem_blocks:
            raise MalformedRequest("no PEM block of a certificate request found")
        if len(pem_blocks) > 1:
            raise MalformedRequest("more than one certificate request found; send one at a time")
        request = pem_blocks[0].der()
    else:
        request = decode_base64(data)
    if not request:
        raise MalformedRequest("there is no certificate request")
    return _bounded(request)


def _bounded(request: bytes) -> bytes:
    if len(request) > MAXIMUM_SIZE:
        raise TooLarge(f"a certificate signing request has at most {MAXIMUM_SIZE // 1024} KiB")
    return request


def parse_csr(
    data: bytes,
    *,
    max_names: int = DEFAULT_LIMIT,
    allow_wildcard: bool = True,
    allow_other_name: bool = False,
) -> CertificationRequest:
    """Parse a DER CertificationRequest (RFC 2986 section 4).

    :param max_names: the maximum number of subject alternative names.
    :raises MalformedRequest: *data* is malformed, not of version 0, or repeats an attribute or extension.
    :raises BadCSR: the subject or an alternative name can't be certified, or both are missing.
    :raises TooLarge: *data* exceeds 64 KiB.
    """
    parts = der.parse(_bounded(data), der.SEQUENCE).sub()
    if len(parts) != 3:
        raise MalformedRequest("a certificate request has three parts")
    info, algorithm, signature = parts
    algorithm.expect(der.SEQUENCE)
    signature_bits = signature.expect(der.BIT_STRING).content
    if signature_bits[:1] != b"\x00":
        raise MalformedRequest("the signature is no whole number of octets")
    fields = info.expect(der.SEQUENCE).sub()
    if not 3 <= len(fields) <= 4:
        raise MalformedRequest("the information in a certificate request has four parts")
    version = fields[0].expect(der.INTEGER).integer()
    if version != 0:
        raise MalformedRequest("the version of a certificate request must be 0 (v1)")
    name = name_from(fields[1])
    attributes = _attributes(fields[3]) if len(fields) == 4 else ()
    extensions = _requested_extensions(attributes)
    san = next((extension for extension in extensions if extension.oid == _SUBJECT_ALTERNATIVE_NAME), None)
    names: tuple[GeneralName, ...] = ()
    if san is not None:
        names = parse_san(san.value, limit=max_names, allow_wildcard=allow_wildcard, allow_other_name=allow_other_name)
    elif name.is_empty:
        raise BadCSR("the request has neither a subject nor a subject alternative name")
    return CertificationRequest(
        der=data,
        info_der=info.whole,
        name=name,
        spki_der=fields[2].expect(der.SEQUENCE).whole,
        signature=signature_bits[1:],
        signature_algorithm_der=algorithm.whole,
        extensions=extensions,
        names=names,
        challenge_password=_challenge_password(attributes),
        attributes=attributes,
    )


def _attributes(element: der.Element) -> tuple[tuple[str, tuple[bytes, ...]], ...]:
    """Parse the attributes [0] in any order: strongSwan does not sort them.

    Attributes with a meaning to this CA must be unique.  Others may repeat, as Windows repeats its name-value pairs.
    """
    attributes: list[tuple[str, tuple[bytes, ...]]] = []
    single: set[str] = set()
    for attribute in element.expect(0xA0).children():
        parts = attribute.expect(der.SEQUENCE).sub()
        if len(parts) != 2:
            raise MalformedRequest("an attribute has a type and values")
        oid = parts[0].oid()
        if oid in single:
            raise MalformedRequest("the request has the same attribute twice", oid=oid)
        if oid in _SINGLE:
            single.add(oid)
        attributes.append((oid, tuple(value.whole for value in parts[1].expect(der.SET).children())))
        if len(attributes) > _MAXIMUM_ATTRIBUTES:
            raise MalformedRequest(f"the request has more than {_MAXIMUM_ATTRIBUTES} attributes")
    return tuple(attributes)


def _requested_extensions(attributes: tuple[tuple[str, tuple[bytes, ...]], ...]) -> tuple[Extension, ...]:
    encoded: bytes | None = None
    for oid, values in attributes:
        if oid in (EXTENSION_REQUEST, MICROSOFT_EXTENSIONS):
            if len(values) != 1:
                raise MalformedRequest("an extension request has exactly one value (RFC 2985 section 5.4.2)")
            if encoded not in (None, values[0]):
                raise MalformedRequest("the request has two extension requests")
            encoded = values[0]
    if encoded is None:
        return ()
    if len(der.parse(encoded, der.SEQUENCE).sub()) > _MAXIMUM_EXTENSIONS:
        raise MalformedRequest(f"the request has more than {_MAXIMUM_EXTENSIONS} extensions")
    if encoded == b"\x30\x00":
        # Some devices send an empty extension request.
        return ()
    extensions = parse_extensions(encoded)
    for extension in extensions:
        value = der.parse(extension.value)
        expected = _VALUE_TAGS.get(extension.oid)
        if expected is not None and value.tag != expected:
            raise MalformedRequest("a requested extension can't be read", oid=extension.oid)
    return extensions


def _challenge_password(attributes: tuple[tuple[str, tuple[bytes, ...]], ...]) -> str | None:
    """Return the challengePassword (RFC 2985 section 5.4.1), in any of the string types that devices use."""
    for oid, values in attributes:
        if oid == CHALLENGE_PASSWORD:
            if len(values) != 1:
                raise MalformedRequest("a challenge password attribute has exactly one value")
            text = string_value(der.parse(values[0]))
            if text is None or len(text) > _MAXIMUM_CHALLENGE:
                raise MalformedRequest("the challenge password is no character string of at most 255 characters")
            return text
    return None


def verify_csr(csr: CertificationRequest, *, allow_sha1: bool = False, allow_md5: bool = False) -> KeyDescription:
    """Check the key and the proof of possession of a CSR (RA-2).

    :raises BadPublicKey: the key is not accepted.
    :raises UnsupportedAlgorithm: the signature algorithm is not accepted.
    :raises ProofOfPossessionFailed: the signature does not verify.
    """
    key = describe_spki(csr.spki_der)
    verify_signature(
        key,
        csr.signature_algorithm_der,
        csr.signature,
        csr.info_der,
        allow_sha1=allow_sha1,
        allow_md5=allow_md5,
    )
    return key
