"""Issued certificates, their status, issuers and CRLs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final

from pikachu.core.constraints import OneOf
from pikachu.core.errors import MalformedRequest


class Method(StrEnum):
    """The enrollment method of a certificate.

    ``CA`` is for those that the authority issues to itself, ``IMPORT`` for those that another program has issued.
    """

    UI = "UI"
    API = "API"
    CLI = "CLI"
    EST = "EST"
    SCEP = "SCEP"
    CA = "CA"
    IMPORT = "IMPORT"


#: The policy that the inventory names for what the CA issues to itself.
OWN_POLICY: Final = "CA"


class Infrastructure(StrEnum):
    """The role of one of the CA's own certificates; subscribers' certificates have none (CAR-1)."""

    ROOT = "root"
    ISSUING_CA = "issuing_ca"
    ROLLOVER = "rollover"
    OCSP_RESPONDER = "ocsp_responder"
    SCEP_RA = "scep_ra"
    REVOCATION_SIGNER = "revocation_signer"
    HTTPS = "https"


class InfrastructureFilter(StrEnum):
    """Values of the list filter ``infrastructure``; without it the CA's own certificates are left out."""

    INCLUDE = "include"
    ONLY = "only"


class CertificateStatus(StrEnum):
    """The status of a certificate, computed, never stored: a hold is revoked, and revoked precedes expired."""

    VALID = "valid"
    REVOKED = "revoked"
    EXPIRED = "expired"


class StatusFilter(StrEnum):
    """Values of the list filter ``status``; those on hold are revoked, too."""

    VALID = "valid"
    REVOKED = "revoked"
    ON_HOLD = "on_hold"
    EXPIRED = "expired"


class RevocationReason(IntEnum):
    """CRLReason (RFC 5280 section 5.3.1)."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    CA_COMPROMISE = 2
    AFFILIATION_CHANGED = 3
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5
    CERTIFICATE_HOLD = 6
    PRIVILEGE_WITHDRAWN = 9
    AA_COMPROMISE = 10

    @property
    def wire_name(self) -> str:
        """The name in RFC 5280, such as ``keyCompromise``."""
        return _REASON_NAMES[self]

    @classmethod
    def from_name(cls, name: str) -> RevocationReason:
        """Return the reason with that RFC 5280 name.

        :raises MalformedRequest: when there is none, or users can't choose it (7, removeFromCRL).
        """
        for reason, known in _REASON_NAMES.items():
            if known == name:
                return reason
        choices = ", ".join(_REASON_NAMES.values())
        raise MalformedRequest(f"unknown revocation reason; use one of {choices}", field="reason", reason=name)


_REASON_NAMES: Final = {
    RevocationReason.UNSPECIFIED: "unspecified",
    RevocationReason.KEY_COMPROMISE: "keyCompromise",
    RevocationReason.CA_COMPROMISE: "cACompromise",
    RevocationReason.AFFILIATION_CHANGED: "affiliationChanged",
    RevocationReason.SUPERSEDED: "superseded",
    RevocationReason.CESSATION_OF_OPERATION: "cessationOfOperation",
    RevocationReason.CERTIFICATE_HOLD: "certificateHold",
    RevocationReason.PRIVILEGE_WITHDRAWN: "privilegeWithdrawn",
    RevocationReason.AA_COMPROMISE: "aACompromise",
}
#: The names of all reasons.
REASON_NAMES: Final = OneOf(tuple(_REASON_NAMES.values()))


def format_serial(serial: int) -> str:
    """Format a serial number as lower-case hex without 0x and leading zeros."""
    return f"{serial:x}"


def display_name(common_name: str, sans: Sequence[str], serial: str) -> str:
    """Return the common name of a certificate, else its first subject alternative name, else its serial number."""
    return common_name or (sans[0].partition(":")[2] if sans else "") or serial


#: Upper bound of serial numbers: those of some CAs have 21 bytes with the sign.
SERIAL_END: Final = 1 << 168


def parse_serial(text: str) -> int:
    """Parse a serial number in hex, with or without 0x and colons.

    :raises MalformedRequest: when it is not a serial number of the accepted length.
    """
    digits = text.strip().removeprefix("0x").removeprefix("0X").replace(":", "")
    if not re.fullmatch("[0-9A-Fa-f]{1,42}", digits) or (serial := int(digits, 16)) == 0:
        raise MalformedRequest("a serial number is 1 to 40 hexadecimal digits")
    return serial


@dataclass(frozen=True, slots=True)
class IssuerRecord:
    """A generation of an issuing CA in the database.

    :param name: ``ec``, ``rsa`` or ``mldsa``; generations of one CA share it.
    :param key_identifier: the subjectKeyIdentifier.
    """

    id: int
    name: str
    key_identifier: bytes
    certificate: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """One of the CA's own certificates, as its files hold it.

    :param issuer_name: the name of its issuer: ``root``, ``ec``, … or the key identifier of another CA, in hex.
    :param issuer_certificate: the DER of a certificate of its issuer.
    """

    role: Infrastructure
    serial: int
    subject: str
    common_name: str
    key_type: str
    key_id: bytes
    not_before: datetime
    not_after: datetime
    der: bytes
    issuer_name: str
    issuer_key_identifier: bytes
    issuer_certificate: bytes


@dataclass(frozen=True, slots=True)
class RevokedCA:
    """A revoked certificate of an issuing CA.

    :param key_id: SHA-256 of its SubjectPublicKeyInfo.
    """

    key_id: bytes
    der: bytes
    revoked_at: datetime
    reason: RevocationReason

    def applies_to(self, key_id: bytes, der: bytes) -> bool:
        """Return whether the CA with that key and certificate may issue no more.

        Another certificate of the same key is affected when the key is compromised.
        """
        compromised = self.reason in (RevocationReason.KEY_COMPROMISE, RevocationReason.CA_COMPROMISE)
        return self.der == der or (compromised and self.key_id == key_id)


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """An issued certificate with its metadata and revocation.

    :param sans: its subject alternative names, such as ``DNS:a.example.com``.
    :param device_id: the device that it was issued to, or ``None``.
    :param lint_override: why an administrator had accepted errors of lint, if it was issued under a policy with an
        override (LNT-1).
    """

    id: int
    serial: int
    issuer_id: int
    subject: str
    common_name: str
    key_type: str
    key_id: bytes
    not_before: datetime
    not_after: datetime
    method: Method
    owner_id: int | None
    policy: str
    der: bytes
    created_at: datetime
    revoked_at: datetime | None = None
    reason: RevocationReason | None = None
    deleted_at: datetime | None = None
    infrastructure: Infrastructure | None = None
    sans: tuple[str, ...] = ()
    device_id: int | None = None
    lint_override: str | None = None

    @property
    def name(self) -> str:
        """The name in lists; see :func:`display_name`."""
        return display_name(self.common_name, self.sans, format_serial(self.serial))

    def status(self, now: datetime) -> CertificateStatus:
        """Return the status of the certificate at *now*."""
        if self.revoked_at is not None:
            return CertificateStatus.REVOKED
        return CertificateStatus.EXPIRED if self.not_after < now else CertificateStatus.VALID

    def is_revocable(self, now: datetime) -> bool:
        """Return whether a revocation would change it: it has not expired, and is valid or on hold."""
        is_final = self.revoked_at is not None and self.reason is not RevocationReason.CERTIFICATE_HOLD
        return not is_final and self.not_after >= now


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """The status data of one certificate for OCSP."""

    serial: int
    not_after: datetime
    revoked_at: datetime | None
    reason: RevocationReason | None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class StatusChange:
    """An entry in the log of revocations and releases; *id* increases strictly across all processes."""

    id: int
    issuer_id: int
    serial: int


@dataclass(frozen=True, slots=True)
class PublishedRevocation:
    """An entry of a published CRL.

    :param der: the whole element of revokedCertificates (RFC 5280 section 5.1.2.6).
    """

    serial: int
    revoked_at: datetime
    reason: RevocationReason
    der: bytes


@dataclass(frozen=True, slots=True)
class CRLRecord:
    """The metadata of a published CRL."""

    issuer_id: int
    number: int
    this_update: datetime
    next_update: datetime
    entries: int
    last_change: int
