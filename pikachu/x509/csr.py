"""CSRs (PKCS#10, RFC 2986): parsing, and verification.

The signature is verified over the received bytes, never over a re-encoding.  What never reaches a certificate is
passed over where it can't be read: attributes of any type and in any order, and extension requests that are none.
What a certificate may contain, the subject and the subjectAltName, is held to the rules; the latter only when it is
read by :meth:`CertificationRequest.requested_names`, as not every policy copies it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from pikachu.core.errors import BadCSR, MalformedRequest, TooLarge
from pikachu.x509 import der
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME
from pikachu.x509.extension import Extension
from pikachu.x509.names import Name
from pikachu.x509.pem_blocks import blocks, decode_base64, decode_text, other_pem
from pikachu.x509.private_key_input import refuse_private_key
from pikachu.x509.request_attributes import (
    CHALLENGE_PASSWORD,
    CHANGE_SUBJECT_NAME,
    EXTENSION_REQUEST,
    MICROSOFT_EXTENSIONS,
    IgnoredPart,
    read_attributes,
)
from pikachu.x509.requested_name import requested_name
from pikachu.x509.requested_san import RequestedNames, requested_names
from pikachu.x509.san import GeneralName
from pikachu.x509.signature import verify_signature, without_null
from pikachu.x509.spki import KeyDescription, describe_spki

__all__ = [
    "CHALLENGE_PASSWORD",
    "CHANGE_SUBJECT_NAME",
    "EXTENSION_REQUEST",
    "MAXIMUM_SIZE",
    "MICROSOFT_EXTENSIONS",
    "CertificationRequest",
    "decode_csr_input",
    "parse_csr",
    "verify_csr",
]

MAXIMUM_SIZE: Final = 64 * 1024
_LABELS: Final = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """A well-formed CSR; :func:`verify_csr` verifies its key and signature.

    :ivar der: the CSR as received.
    :ivar info_der: the CertificationRequestInfo: the bytes that are signed.
    :ivar name: the subject, with the string types that RFC 5280 demands.
    :ivar received_subject_der: the DER Name of the subject as received.
    :ivar spki_der: the unchecked SubjectPublicKeyInfo.
    :ivar signature_algorithm_der: AlgorithmIdentifier.
    :ivar extensions: the first requested extension of each type, in order; their values may be anything.
    :ivar ambiguous: why requested extensions can't be copied, by OID: the CSR contradicts itself about them.
    :ivar challenge_password: a secret; never copied into a certificate, never logged.
    :ivar challenge_error: why there is no challenge password although there is the attribute, or ``None``.
    :ivar attributes: the OID and the DER values of all attributes; no values where these can't be read.
    :ivar ignored: the parts that were passed over.
    """

    der: bytes = field(repr=False)
    info_der: bytes = field(repr=False)
    name: Name = field(repr=False)
    received_subject_der: bytes = field(repr=False)
    spki_der: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    signature_algorithm_der: bytes = field(repr=False)
    extensions: tuple[Extension, ...] = field(repr=False)
    ambiguous: Mapping[str, str] = field(repr=False)
    challenge_password: str | None = field(repr=False)
    challenge_error: str | None = field(repr=False)
    attributes: tuple[tuple[str, tuple[bytes, ...]], ...] = field(repr=False)
    ignored: tuple[IgnoredPart, ...] = field(repr=False)

    @property
    def subject_der(self) -> bytes:
        """The DER Name of the subject, as a certificate contains it."""
        return self.name.der

    @property
    def subject(self) -> str:
        """The RFC 4514 text of the subject."""
        return self.name.text

    @property
    def common_name(self) -> str:
        """The commonName, unescaped, or ``""``."""
        return self.name.common_name

    @property
    def names(self) -> tuple[GeneralName, ...]:
        """The names of the requested subjectAltName that a certificate may contain under any policy that copies them.

        :raises MalformedRequest, BadCSR: like :meth:`requested_names`.
        """
        return self.requested_names().copied

    def requested_names(self, other_names: Collection[str] = ()) -> RequestedNames:
        """Read and check the requested subjectAltName, for a policy that copies it.

        :param other_names: the type-ids of the otherNames that the policy copies.
        :raises MalformedRequest: the extension is malformed, or the CSR contradicts itself about it.
        :raises BadCSR: a name can't be certified.
        """
        if SUBJECT_ALTERNATIVE_NAME in self.ambiguous:
            raise MalformedRequest(self.ambiguous[SUBJECT_ALTERNATIVE_NAME])
        extension = self.extension(SUBJECT_ALTERNATIVE_NAME)
        return RequestedNames() if extension is None else requested_names(extension.value, other_names)

    def extension(self, oid: str) -> Extension | None:
        """Return the requested extension with that OID, or ``None``."""
        return next((extension for extension in self.extensions if extension.oid == oid), None)

    def attribute(self, oid: str) -> tuple[bytes, ...] | None:
        """Return the DER values of the first attribute with that OID, or ``None``."""
        return next((values for known, values in self.attributes if known == oid), None)


_EXPECTED: Final = (
    "Use one in PEM, which begins with -----BEGIN CERTIFICATE REQUEST-----, or in DER, or base64 of that."
)


def decode_csr_input(data: bytes) -> bytes:
    """Return the DER CSR in *data*: DER, PEM with or without text around it, or Base64, also in UTF-16.

    :raises MalformedRequest: *data* contains no CSR, or more than one.
    :raises TooLarge: *data* exceeds the maximum size.
    """
    if len(data) > 2 * MAXIMUM_SIZE:
        raise TooLarge(f"a certificate signing request has at most {MAXIMUM_SIZE // 1024} KiB")
    data = decode_text(data)
    refuse_private_key(data, "a certificate request", _LABELS)
    if data[:1] == b"\x30":
        return _bounded(data)
    pem_blocks = blocks(data, _LABELS) if b"-----BEGIN " in data else []
    if len(pem_blocks) > 1:
        raise MalformedRequest("More than one certificate request found. Send one at a time.")
    if pem_blocks:
        return _bounded(pem_blocks[0].der())
    if b"-----BEGIN " in data:
        raise MalformedRequest(f"This is {other_pem(data)}, not a certificate request. {_EXPECTED}")
    try:
        request = decode_base64(data)
    except MalformedRequest:
        request = data
    if not request:
        raise MalformedRequest("There is no certificate request. Paste one, or choose a file.")
    if request[:1] != b"\x30":
        raise MalformedRequest(f"This is not a certificate request. {_EXPECTED}")
    return _bounded(request)


def _bounded(request: bytes) -> bytes:
    if len(request) > MAXIMUM_SIZE:
        raise TooLarge(f"a certificate signing request has at most {MAXIMUM_SIZE // 1024} KiB")
    return request


def parse_csr(data: bytes) -> CertificationRequest:
    """Parse a DER CertificationRequest (RFC 2986 section 4).

    :raises MalformedRequest: *data* is malformed, not of version 0, or has too many attributes or extensions.
    :raises BadCSR: the subject can't be certified, or there is neither a subject nor a subjectAltName.
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
    name = requested_name(fields[1])
    attributes = read_attributes(fields[3] if len(fields) == 4 else None)
    requested = (*attributes.ambiguous, *(extension.oid for extension in attributes.extensions))
    if name.is_empty and SUBJECT_ALTERNATIVE_NAME not in requested:
        raise BadCSR("the request has neither a subject nor a subject alternative name")
    return CertificationRequest(
        der=data,
        info_der=info.whole,
        name=name,
        received_subject_der=fields[1].whole,
        spki_der=fields[2].expect(der.SEQUENCE).whole,
        signature=signature_bits[1:],
        signature_algorithm_der=algorithm.whole,
        extensions=attributes.extensions,
        ambiguous=attributes.ambiguous,
        challenge_password=attributes.challenge_password,
        challenge_error=attributes.challenge_error,
        attributes=attributes.values,
        ignored=attributes.ignored,
    )


def verify_csr(csr: CertificationRequest, *, allow_sha1: bool = False, allow_md5: bool = False) -> KeyDescription:
    """Check the key and the proof of possession of a CSR (RA-2).

    :raises BadPublicKey: the key is not accepted.
    :raises UnsupportedAlgorithm: the signature algorithm is not accepted.
    :raises ProofOfPossessionFailed: the signature does not verify.
    """
    key = describe_spki(csr.spki_der)
    verify_signature(
        key,
        without_null(csr.signature_algorithm_der),
        csr.signature,
        csr.info_der,
        allow_sha1=allow_sha1,
        allow_md5=allow_md5,
    )
    return key
