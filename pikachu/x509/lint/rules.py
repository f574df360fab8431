"""The rules for one certificate, in one call that costs next to nothing (LNT-1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pikachu.core.errors import PikachuError
from pikachu.core.model.lint import Finding
from pikachu.x509 import der
from pikachu.x509.certificate import BASIC_CONSTRAINTS, SUBJECT_ALTERNATIVE_NAME, SUBJECT_KEY_IDENTIFIER, Validity
from pikachu.x509.extension import Extension
from pikachu.x509.lint.extensions import criticality, shared_findings
from pikachu.x509.lint.names import error, subject_findings
from pikachu.x509.names import Name
from pikachu.x509.spki import KeyFamily

# A serial number has at most 20 bytes, and is positive (RFC 5280 section 4.1.2.2).
_SERIALS: Final = range(1, 1 << 159)


def lint(
    *,
    subject: Name,
    family: KeyFamily,
    extensions: Sequence[Extension],
    serial: int,
    validity: Validity,
) -> tuple[Finding, ...]:
    """Return the findings about a certificate that is to be signed.

    The findings of the extensions that certificates of one policy share are cached; the others cost some microseconds.

    :param family: of the subject's key.
    """
    findings: list[Finding] = []
    if serial not in _SERIALS:
        findings.append(error("serial_number", "The serial number is out of range (RFC 5280 section 4.1.2.2)."))
    if validity.not_after < validity.not_before:
        findings.append(error("validity", "The validity ends before it begins (RFC 5280 section 4.1.2.5)."))
    names = identifier = None
    shared = []
    for extension in extensions:
        if extension.oid == SUBJECT_ALTERNATIVE_NAME:
            names = extension
        elif extension.oid == SUBJECT_KEY_IDENTIFIER:
            identifier = extension
        else:
            shared.append(extension)
    if len({extension.oid for extension in extensions}) < len(extensions):
        findings.append(error("repeated_extension", "An extension stands twice (RFC 5280 section 4.2)."))
    findings += shared_findings(tuple(shared), family)
    try:
        findings += subject_findings(subject, names)
        findings += _identifier_findings(identifier, extensions)
    except PikachuError as problem:
        findings.append(error("malformed", f"A name is malformed: {problem.public}."))
    return tuple(findings)


def _identifier_findings(identifier: Extension | None, extensions: Sequence[Extension]) -> list[Finding]:
    if identifier is None:
        if any(one.oid == BASIC_CONSTRAINTS and len(one.value) > 2 for one in extensions):
            return [error("ski_absent", "A CA needs a subjectKeyIdentifier (RFC 5280 section 4.2.1.2).")]
        return []
    if not der.parse(identifier.value, der.OCTET_STRING).content:
        return [error("ski_empty", "The subjectKeyIdentifier is empty (RFC 5280 section 4.2.1.2).")]
    return list(criticality(identifier)) if identifier.critical else []
