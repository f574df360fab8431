"""EST messages (RFC 7030, 8951, 9908): encoding and decoding of bodies, headers and paths.

These functions are pure: authorization and HTTP statuses are decided elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_to_bytes

from pikachu.cms.signed import degenerate
from pikachu.core.errors import AuthenticationFailed, MalformedRequest, NotFound, UnsupportedAlgorithm
from pikachu.x509.csr import CertificationRequest
from pikachu.x509.pem_blocks import decode_base64

PKCS10_TYPE: Final = "application/pkcs10"
CERTS_ONLY_TYPE: Final = "application/pkcs7-mime; smime-type=certs-only"
CSRATTRS_TYPE: Final = "application/csrattrs"
PKCS8_TYPE: Final = "application/pkcs8"

DECRYPT_KEY_IDENTIFIER: Final = "1.2.840.113549.1.9.16.2.37"
ASYMMETRIC_DECRYPT_KEY_IDENTIFIER: Final = "1.2.840.113549.1.9.16.2.54"

_MAXIMUM_AUTHORIZATION: Final = 4096
_LABEL: Final = re.compile(rb"[A-Za-z0-9._ -]{1,64}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# Base64 has no hyphen, so the boundary can't occur inside a part.
_BOUNDARY: Final = "pikachu-est-key-and-certificate"


class Operation(StrEnum):
    """The supported operations; fullcmc is not supported."""

    CACERTS = "cacerts"
    CSRATTRS = "csrattrs"
    SIMPLEENROLL = "simpleenroll"
    SIMPLEREENROLL = "simplereenroll"
    SERVERKEYGEN = "serverkeygen"

    @property
    def method(self) -> str:
        """The HTTP method: GET for public operations, POST for enrollment."""
        return "GET" if self in (Operation.CACERTS, Operation.CSRATTRS) else "POST"


_RESERVED: Final = frozenset((*Operation, "fullcmc"))


@dataclass(frozen=True, slots=True)
class ESTPath:
    """The operation and label of a path below ``/.well-known/est``."""

    operation: Operation
    label: str | None


def parse_path(segments: Sequence[bytes]) -> ESTPath:
    """Parse the operation and the optional label (RFC 7030 section 3.2.2).

    :param segments: the percent-encoded path segments after ``/.well-known/est/``.
    :raises NotFound: when the operation is unknown, or the label is not a valid name.
    """
    if len(segments) not in (1, 2) or any(len(segment) > 256 for segment in segments):
        raise NotFound("no such EST operation")
    names = [unquote_to_bytes(segment) for segment in segments]
    try:
        operation = Operation(names[-1].decode("ascii"))
    except (ValueError, UnicodeDecodeError) as error:
        raise NotFound("no such EST operation") from error
    if len(names) == 1:
        return ESTPath(operation, None)
    if not _LABEL.fullmatch(names[0]) or names[0] in (b".", b".."):
        raise NotFound("no such EST label")
    label = names[0].decode("ascii")
    if label in _RESERVED:
        raise NotFound("no such EST label")
    return ESTPath(operation, label)


def parse_basic_authorization(value: bytes | None) -> tuple[str, str] | None:
    """Parse the user name and password of an Authorization header (RFC 7617); the user name may be empty.

    :returns: ``None`` when there is no header.
    :raises AuthenticationFailed: when the scheme is another one, or the credentials can't be decoded.
    :raises MalformedRequest: when the header has more than 4096 bytes.
    """
    if value is None:
        return None
    if len(value) > _MAXIMUM_AUTHORIZATION:
        raise MalformedRequest("the Authorization header is too long")
    scheme, _, credentials = value.strip().partition(b" ")
    if scheme.lower() != b"basic":
        raise AuthenticationFailed("authenticate with HTTP Basic")
    try:
        username, colon, password = base64.b64decode(credentials.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise AuthenticationFailed("the credentials can't be read") from error
    if not colon or _CONTROL.search(username + password):
        raise AuthenticationFailed("the credentials can't be read")
    return username, password


def is_raw(body: bytes) -> bool:
    """Return whether a request body is raw DER, which gets a raw DER response; otherwise it is base64 or PEM.

    Content-Transfer-Encoding is ignored (RFC 8951 section 3).
    """
    return body[:1] == b"\x30"


def wraps_base64(user_agent: str | None, setting: str = "auto") -> bool:
    """Return whether base64 is sent in lines of 64 columns: libest requires them, strongSwan requires a single line.

    :param setting: ``auto`` (depends on the User-Agent), ``always`` or ``never``.
    """
    return setting == "always" or (setting == "auto" and (user_agent or "").lower().startswith("libest"))


def encode_body(content: bytes, *, wrap: bool = False) -> bytes:
    """Encode DER as a base64 body: one line, or lines of 64 columns that end in LF (RFC 8951 section 3.1)."""
    text = base64.b64encode(content)
    if not wrap:
        return text
    return b"".join(text[start : start + 64] + b"\n" for start in range(0, len(text), 64))


def decode_body(body: bytes) -> bytes:
    """Decode a base64 body to DER.

    :raises MalformedRequest: when it is not base64.
    """
    return decode_base64(body)


def encode_certificates(certificates: Sequence[bytes], *, raw: bool = False, wrap: bool = False) -> bytes:
    """Encode the body of a cacerts or enrollment response (RFC 7030 sections 4.1.3 and 4.2.3).

    :param certificates: DER certificates.
    :param raw: return the PKCS#7 as DER, for a client that sent DER.
    """
    content = degenerate(certificates)
    return content if raw else encode_body(content, wrap=wrap)


def encode_server_key(private_key_info: bytes, certificate: bytes, *, wrap: bool = False) -> tuple[str, bytes]:
    """Encode the Content-Type and body of a serverkeygen response (RFC 7030 section 4.4.2): key, then certificate.

    :param private_key_info: DER PrivateKeyInfo.
    :param certificate: DER certificate.
    """
    parts = (
        (PKCS8_TYPE, private_key_info),
        (CERTS_ONLY_TYPE, degenerate((certificate,))),
    )
    body = b"".join(
        f"--{_BOUNDARY}\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode("ascii")
        + encode_body(content, wrap=wrap).replace(b"\n", b"\r\n").rstrip()
        + b"\r\n"
        for content_type, content in parts
    )
    return f"multipart/mixed; boundary={_BOUNDARY}", body + f"--{_BOUNDARY}--\r\n".encode("ascii")


def refuse_key_encryption(csr: CertificationRequest) -> None:
    """Refuse a CSR that requests encryption of the new key, which must never be sent in the clear.

    :raises UnsupportedAlgorithm: when the CSR requests that.
    """
    for oid in (DECRYPT_KEY_IDENTIFIER, ASYMMETRIC_DECRYPT_KEY_IDENTIFIER):
        if csr.attribute(oid) is not None:
            raise UnsupportedAlgorithm("encrypting the new key for another key is not supported")
