"""Certificates, CSRs and CRLs."""

from __future__ import annotations

import hashlib
from datetime import datetime

from pikachu.core.errors import MalformedRequest, PikachuError
from pikachu.inspection.recognition.kinds import Decoded, Fact
from pikachu.x509 import der
from pikachu.x509.certificate import BASIC_CONSTRAINTS, SUBJECT_ALTERNATIVE_NAME, parse_time
from pikachu.x509.crl import parse_crl_summary
from pikachu.x509.csr import CHALLENGE_PASSWORD, parse_csr, verify_csr
from pikachu.x509.extension import Extension
from pikachu.x509.extension_text import extension_text, object_name
from pikachu.x509.request_attributes import IgnoredPart, read_attributes
from pikachu.x509.text import certificate_text, crl_text, csr_text
from pikachu.x509.text.descriptions import algorithm_text, first, moment_text, name_text, serial_hex
from pikachu.x509.text.public_key import key_type
from pikachu.x509.text.sections import extensions_in, signed_parts

_SHOWN_NAMES = 50


def certificate(data: bytes, now: datetime) -> Decoded:
    """Decode a certificate.

    :raises MalformedRequest: *data* is not a certificate.
    """
    text = certificate_text(data)
    tbs, algorithm, _ = signed_parts(data, "a certificate")
    fields = tbs.sub()
    if fields[0].tag == 0xA0:
        del fields[0]
    serial, _, issuer, validity, subject, spki = fields[:6]
    not_before, not_after = validity.sub()
    extensions = [extension for field in fields[6:] if field.tag == 0xA3 for extension in extensions_in(first(field))]
    facts: list[Fact] = [
        ("subject", name_text(subject)),
        ("issuer", name_text(issuer)),
        ("serial", serial_hex(serial)),
        ("not_before", moment(not_before)),
        ("not_after", moment(not_after)),
        ("validity", _validity(not_before, not_after, now)),
        ("key", key_type(spki)),
        ("signature_algorithm", algorithm_text(algorithm)),
        ("certificate_authority", "CA:TRUE" in ", ".join(_value_of(BASIC_CONSTRAINTS, extensions))),
        ("self_issued", issuer.whole == subject.whole),
        ("subject_alternative_names", _value_of(SUBJECT_ALTERNATIVE_NAME, extensions)),
        ("fingerprint_sha256", hashlib.sha256(data).hexdigest()),
    ]
    return Decoded(tuple(facts), text)


def request(data: bytes) -> Decoded:
    """Decode a CSR; report the presence of a challenge password, never its value.

    :raises MalformedRequest: *data* is not a CSR.
    """
    text = csr_text(data)
    info, algorithm, _ = signed_parts(data, "a certificate request")
    fields = info.sub()
    attributes = read_attributes(fields[3] if len(fields) > 3 else None)
    extensions = list(attributes.extensions)
    facts: list[Fact] = [
        ("subject", name_text(fields[1])),
        ("key", key_type(fields[2])),
        ("public_key_sha256", hashlib.sha256(fields[2].whole).hexdigest()),
        ("signature_algorithm", algorithm_text(algorithm)),
        ("signature", _proof(data)),
        ("subject_alternative_names", _value_of(SUBJECT_ALTERNATIVE_NAME, extensions)),
        ("requested_extensions", tuple(object_name(extension.oid) for extension in extensions)),
        ("ignored", tuple(_ignored_text(part) for part in attributes.ignored)),
        ("challenge_password", "present, not shown" if has_challenge(data) else "none"),
    ]
    return Decoded(tuple(facts), text)


def _ignored_text(part: IgnoredPart) -> str:
    return f"{object_name(part.oid)}: {part.reason}" if part.oid else part.reason


def has_challenge(data: bytes) -> bool:
    """Return whether the DER CSR *data* may contain a challenge password."""
    return der.oid(CHALLENGE_PASSWORD) in data


def crl(data: bytes, now: datetime) -> Decoded:
    """Decode a CRL.

    :raises MalformedRequest: *data* is not a CRL.
    """
    text = crl_text(data)
    summary = parse_crl_summary(data)
    facts: list[Fact] = [
        ("issuer", name_text(der.parse(summary.issuer_der))),
        ("number", summary.number),
        ("this_update", summary.this_update),
        ("next_update", summary.next_update),
        ("validity", "past its next update" if summary.next_update and summary.next_update < now else "current"),
        ("revoked_certificates", summary.entries),
        ("signature_algorithm", algorithm_text(der.parse(summary.algorithm))),
        ("fingerprint_sha256", hashlib.sha256(data).hexdigest()),
    ]
    return Decoded(tuple(facts), text)


def moment(element: der.Element) -> datetime | str:
    """Return a time, or its text when it is malformed."""
    try:
        return parse_time(element)
    except MalformedRequest:
        return moment_text(element)


def _validity(not_before: der.Element, not_after: der.Element, now: datetime) -> str:
    start, end = moment(not_before), moment(not_after)
    if isinstance(start, str) or isinstance(end, str):
        return "unknown"
    if now < start:
        return "not yet valid"
    return "expired" if now > end else "current"


def _value_of(oid: str, extensions: list[Extension]) -> tuple[str, ...]:
    """Return the text of the extension with that OID, or an empty tuple."""
    match = next((extension for extension in extensions if extension.oid == oid), None)
    return () if match is None else extension_text(match)[:_SHOWN_NAMES]


def _proof(data: bytes) -> str:
    """Describe whether the key and the signature of the CSR are acceptable."""
    try:
        verify_csr(parse_csr(data), allow_sha1=True, allow_md5=True)
    except PikachuError as error:
        return f"not accepted: {error.public}"
    return "verifies"
