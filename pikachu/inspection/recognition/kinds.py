"""The kinds of recognised objects, and the result of decoding one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

Value: TypeAlias = str | int | bool | datetime | tuple[str, ...] | None
Fact: TypeAlias = tuple[str, Value]


class Kind(StrEnum):
    """Kind of an object."""

    CERTIFICATE = "certificate"
    CSR = "csr"
    CRL = "crl"
    PKCS7 = "pkcs7"
    PKCS12 = "pkcs12"
    OCSP_REQUEST = "ocsp_request"
    OCSP_RESPONSE = "ocsp_response"
    PRIVATE_KEY = "private_key"
    PUBLIC_KEY = "public_key"

    @property
    def display_name(self) -> str:
        """The display name."""
        return _TITLES[self]


_TITLES = {
    Kind.CERTIFICATE: "Certificate",
    Kind.CSR: "Certificate signing request (PKCS#10)",
    Kind.CRL: "Certificate revocation list",
    Kind.PKCS7: "PKCS#7 / CMS message",
    Kind.PKCS12: "PKCS#12 file",
    Kind.OCSP_REQUEST: "OCSP request",
    Kind.OCSP_RESPONSE: "OCSP response",
    Kind.PRIVATE_KEY: "Private key",
    Kind.PUBLIC_KEY: "Public key",
}


@dataclass(frozen=True, slots=True)
class RecognisedObject:
    """A recognised object.

    :param form: encoding of the input: ``PEM``, ``base64`` or ``DER``.
    :param der: its bytes; for a private key under RFC 1421 encryption the whole PEM block.
    """

    kind: Kind
    form: str
    der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded object.

    :param facts: field names in snake_case and values, in display order.
    :param text: the full text, in the style of ``openssl``.
    :param locked: whether a passphrase would reveal more.
    """

    facts: tuple[Fact, ...]
    text: str
    locked: bool = False
