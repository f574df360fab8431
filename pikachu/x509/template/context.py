"""The inputs of extensions besides the text: the issuer, the subject, and variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

VARIABLES: Final = {
    "ca": "ca",
    "ski": "00" * 20,
    "http_url": "http://ca.example",
}
"""The predefined variables of a text, with the values for validation."""


@dataclass(frozen=True, slots=True)
class ExtensionContext:
    """The issuer, the subject and the variables of one certificate.

    :param subject_spki: DER SubjectPublicKeyInfo of the subject.
    :param subject_der: DER Name of the subject.
    :param subject_ski: the subjectKeyIdentifier of that key by its hash, where it is known; it is computed otherwise.
    :param issuer_key_identifier: the issuer's subjectKeyIdentifier; empty when it has none.
    :param issuer_issuer_der: DER Name of the issuer's own issuer (``authorityKeyIdentifier = issuer:always``).
    :param issuer_serial: the serial number of the issuer's certificate.
    :param issuer_names: the value of the issuer's subjectAltName extension (``issuerAltName = issuer:copy``).
    :param variables: see :data:`VARIABLES`; an empty value counts as none.
    """

    subject_spki: bytes
    subject_der: bytes
    issuer_key_identifier: bytes = b""
    issuer_issuer_der: bytes = b"\x30\x00"
    issuer_serial: int = 0
    issuer_names: bytes | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    subject_ski: bytes = b""
