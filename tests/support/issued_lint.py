"""Lints what tests have issued when a stack is closed (LNT-1): nothing has an error, but under a recorded override.

Own rules look at the signed bytes, however they came into the store; pkilint, which takes milliseconds, looks once at
each kind of certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

from pikachu.core.lint_interfaces import ICertificateLinter
from pikachu.core.model.certificates import CertificateRecord, Method
from pikachu.core.model.lint import NOT_FINISHED, Finding, errors_of
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.times import utc
from pikachu.lint.linter import installed_linter
from pikachu.server.application import Application
from pikachu.x509 import der
from pikachu.x509.certificate import (
    AUTHORITY_KEY_IDENTIFIER,
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_KEY_IDENTIFIER,
    Certificate,
    Validity,
    parse_certificate,
)
from pikachu.x509.lint.rules import lint
from pikachu.x509.names import read_name
from pikachu.x509.spki import describe_spki

# The newest ones of a test, which may have issued thousands.
_LOOKED_AT: Final = 10
_OWN_VALUES: Final = frozenset((AUTHORITY_KEY_IDENTIFIER, SUBJECT_KEY_IDENTIFIER, SUBJECT_ALTERNATIVE_NAME))
_CONSTRUCTED: Final = 0x20
_known: set[object] = set()


def check_issued(app: Application, now: float) -> None:
    """Fail the test if a certificate that it has issued has an error of lint."""
    # Without the CA's own ones: tests make some of them, and pkilint reads no purpose under 2.25 (ITU-T X.667).
    query = ListQuery(limit=_LOOKED_AT)
    records: list[CertificateRecord] = []
    # A test about a store that fails or waits gets no result.
    app.store.certificates(query, utc(now)).addCallbacks(lambda page: records.extend(page.items), lambda _: None)
    new: list[bytes] = []
    for record in records:
        if record.method is Method.IMPORT or record.lint_override is not None:
            continue
        certificate = parse_certificate(record.der)
        assert own_errors(certificate) == (), record.subject
        kind = _kind(certificate)
        if kind not in _known:
            _known.add(kind)
            new.append(record.der)
    if new:
        errors = _pkilint_errors(new)
        assert not errors, errors


def own_errors(certificate: Certificate) -> Sequence[Finding]:
    """Return the errors that own rules find in signed bytes."""
    findings = lint(
        subject=read_name(certificate.subject_der),
        family=describe_spki(certificate.spki_der).family,
        extensions=certificate.extensions,
        serial=certificate.serial,
        validity=Validity(certificate.not_before, certificate.not_after),
    )
    return errors_of(findings)


def _kind(certificate: Certificate) -> object:
    """Return what distinguishes certificates for a linter: all but the values of names, identifiers and keys."""
    extensions = tuple(
        (one.oid, one.critical, _tags(one.value) if one.oid in _OWN_VALUES else one.value)
        for one in certificate.extensions
    )
    return extensions, describe_spki(certificate.spki_der).text, _tags(certificate.subject_der)


def _tags(value: bytes) -> object:
    """Return the structure of a value: its tags and OIDs."""

    def walk(element: der.Element) -> object:
        if element.tag == der.OBJECT_IDENTIFIER:
            return element.content
        return (element.tag, *map(walk, element.children())) if element.tag & _CONSTRUCTED else element.tag

    return walk(der.parse(value))


@cache
def _linter() -> ICertificateLinter | None:
    return installed_linter()


def _pkilint_errors(certificates: Sequence[bytes]) -> Sequence[Finding]:
    linter = _linter()
    found = () if linter is None else errors_of(linter.lint(certificates))
    return [one for one in found if one.code != NOT_FINISHED]
