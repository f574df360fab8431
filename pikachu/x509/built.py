"""Certificates that others build: what of them has to be as intended, and what their builder may choose.

The builder chooses the serial number, notBefore within :data:`CLOCK_TOLERANCE`, the key identifiers, and the addresses
of its CRL and OCSP responder.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from pikachu.x509 import der
from pikachu.x509.certificate import (
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_KEY_IDENTIFIER,
    Certificate,
    assemble,
    names_match,
    parse_certificate,
    parts_of,
)
from pikachu.x509.extension import Extension
from pikachu.x509.profile import AUTHORITY_INFORMATION_ACCESS, CRL_DISTRIBUTION_POINTS

#: The difference of notBefore: a builder dates back by another time, and its clock differs.
CLOCK_TOLERANCE: Final = timedelta(minutes=15)
#: The names of the extensions that the builder chooses, by OID.
CHOSEN: Final = {
    SUBJECT_KEY_IDENTIFIER: "subjectKeyIdentifier",
    AUTHORITY_KEY_IDENTIFIER: "authorityKeyIdentifier",
    AUTHORITY_INFORMATION_ACCESS: "authorityInfoAccess",
    CRL_DISTRIBUTION_POINTS: "cRLDistributionPoints",
}
_NAMES: Final = {
    BASIC_CONSTRAINTS: "basicConstraints",
    EXTENDED_KEY_USAGE: "extendedKeyUsage",
    KEY_USAGE: "keyUsage",
    SUBJECT_ALTERNATIVE_NAME: "subjectAltName",
}
_NO_CA: Final = der.sequence()


def parse_intended(tbs: bytes, algorithm: bytes) -> Certificate:
    """Return the certificate that was to be signed, without a signature.

    :param algorithm: the DER AlgorithmIdentifier of the issuer's signatures.
    """
    return parse_certificate(assemble(tbs, algorithm, b""))


def intended_like(certificate: bytes, tbs: bytes) -> tuple[Certificate, Certificate]:
    """Return the parsed certificate, and the one that was to be signed.

    :raises MalformedRequest: one of them can't be read.
    """
    return parse_certificate(certificate), parse_intended(tbs, parts_of(certificate)[1])


def is_of_intent(built: Certificate, intended: Certificate) -> bool:
    """Return whether key, subject and time are those of an intent."""
    return (
        built.spki_der == intended.spki_der
        and names_match(built.subject_der, intended.subject_der)
        and abs(built.not_before - intended.not_before) <= CLOCK_TOLERANCE
    )


def differences(built: Certificate, intended: Certificate) -> list[str]:
    """Return what is not as intended, for a message; empty when nothing is."""
    found = []
    if built.spki_der != intended.spki_der:
        found.append("another key")
    if not names_match(built.subject_der, intended.subject_der):
        found.append("another subject")
    if built.issuer_der != intended.issuer_der:
        found.append("another issuer")
    authority = built.authority_key_identifier
    if authority is not None and authority != intended.authority_key_identifier:
        found.append("another authorityKeyIdentifier")
    if built.not_after != intended.not_after:
        found.append(f"notAfter is {built.not_after:%Y-%m-%d %H:%M:%S}, not {intended.not_after:%Y-%m-%d %H:%M:%S}")
    if abs(built.not_before - intended.not_before) > CLOCK_TOLERANCE:
        found.append(f"notBefore is {built.not_before:%Y-%m-%d %H:%M:%S}; compare the clocks")
    return found + extension_differences(built.extensions, intended.extensions)


def extension_differences(built: Iterable[Extension], intended: Iterable[Extension]) -> list[str]:
    """Return which extensions are missing, unexpected or different, for a message."""
    made = {one.oid: one for one in built if one.oid not in CHOSEN}
    asked = {one.oid: one for one in intended if one.oid not in CHOSEN}
    found = []
    for oid in [*asked, *(oid for oid in made if oid not in asked)]:
        name, one, other = _NAMES.get(oid, oid), made.get(oid), asked.get(oid)
        if one is None or other is None:
            if not _says_nothing(one or other):
                found.append(f"{name} {'is missing' if one is None else 'is not intended'}")
        elif _content(one) != _content(other) or (other.critical and not one.critical):
            found.append(f"{name} is another one")
    return found


def _says_nothing(extension: Extension | None) -> bool:
    """Return whether the absence of an extension means the same: no certificate is a CA's by itself."""
    return extension is not None and extension.oid == BASIC_CONSTRAINTS and extension.value == _NO_CA


def _content(extension: Extension) -> object:
    """Return what an extension says; the order of purposes says nothing."""
    if extension.oid == EXTENDED_KEY_USAGE:
        return frozenset(one.whole for one in der.parse(extension.value, der.SEQUENCE).children())
    return extension.value
