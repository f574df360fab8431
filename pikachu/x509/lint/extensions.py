"""Rules of extensions that do not depend on the subject (RFC 5280 section 4.2); their findings are cached."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from pikachu.core.errors import PikachuError
from pikachu.core.model.lint import Finding
from pikachu.x509 import der
from pikachu.x509.certificate import (
    ANY_EXTENDED_KEY_USAGE,
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    KEY_CERT_SIGN,
    KEY_USAGE,
    SERVER_AUTH,
    SUBJECT_KEY_IDENTIFIER,
)
from pikachu.x509.extension import Extension
from pikachu.x509.extension_text import object_name
from pikachu.x509.lint.names import error, location_findings, warning
from pikachu.x509.profile import AUTHORITY_INFORMATION_ACCESS, CRL_DISTRIBUTION_POINTS, FORBIDDEN_USAGE
from pikachu.x509.spki import KeyFamily

_CACHED: Final = 256
_SUBJECT_INFORMATION_ACCESS: Final = "1.3.6.1.5.5.7.1.11"
_FRESHEST_CRL: Final = "2.5.29.46"
_CERTIFICATE_POLICIES: Final = "2.5.29.32"
_ANY_POLICY: Final = "2.5.29.32.0"
_NAME_CONSTRAINTS: Final = "2.5.29.30"
_POLICY_CONSTRAINTS: Final = "2.5.29.36"
_ISSUER_ALTERNATIVE_NAME: Final = "2.5.29.18"
_TIME_STAMPING: Final = "1.3.6.1.5.5.7.3.8"
_CPS: Final = "1.3.6.1.5.5.7.2.1"
_USER_NOTICE: Final = "1.3.6.1.5.5.7.2.2"
_QUALIFIERS: Final = frozenset((_CPS, _USER_NOTICE))
_VISIBLE_STRING: Final = 0x1A
# Bits of KeyUsage (RFC 5280 section 4.2.1.3).
_KEY_AGREEMENT: Final = 4
_ENCIPHER_ONLY: Final = 7
_DECIPHER_ONLY: Final = 8
_BITS: Final = (
    *("digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement"),
    *("keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"),
)
# By OID: whether the extension must be critical, and the section that says so.
_CRITICALITY: Final[Mapping[str, tuple[bool, str]]] = {
    AUTHORITY_KEY_IDENTIFIER: (False, "RFC 5280 section 4.2.1.1"),
    SUBJECT_KEY_IDENTIFIER: (False, "RFC 5280 section 4.2.1.2"),
    "2.5.29.9": (False, "RFC 5280 section 4.2.1.8"),
    _NAME_CONSTRAINTS: (True, "RFC 5280 section 4.2.1.10"),
    _POLICY_CONSTRAINTS: (True, "RFC 5280 section 4.2.1.11"),
    "2.5.29.54": (True, "RFC 5280 section 4.2.1.14"),
    _FRESHEST_CRL: (False, "RFC 5280 section 4.2.1.15"),
    AUTHORITY_INFORMATION_ACCESS: (False, "RFC 5280 section 4.2.2.1"),
    _SUBJECT_INFORMATION_ACCESS: (False, "RFC 5280 section 4.2.2.2"),
    "1.2.840.113549.1.9.15": (False, "RFC 4262 section 2"),
    "1.3.6.1.4.1.11129.2.4.3": (True, "RFC 6962 section 3.1"),
}
# Extensions of CA certificates (RFC 5280 sections 4.2.1.5, 4.2.1.10, 4.2.1.11 and 4.2.1.14).
_CA_ONLY: Final = frozenset(("2.5.29.33", _NAME_CONSTRAINTS, _POLICY_CONSTRAINTS, "2.5.29.54"))


def key_usage_bits(extension: Extension) -> frozenset[int]:
    """Return the numbers of the set bits.

    :raises MalformedRequest: the value is no BIT STRING.
    """
    content = der.parse(extension.value, der.BIT_STRING).content
    return frozenset(bit for bit in range((len(content) - 1) * 8) if content[1 + bit // 8] & (0x80 >> bit % 8))


def is_ca(extensions: Mapping[str, Extension]) -> bool:
    """Return whether basicConstraints has cA TRUE.

    :raises MalformedRequest: basicConstraints is malformed.
    """
    constraints = extensions.get(BASIC_CONSTRAINTS)
    parts = [] if constraints is None else der.parse(constraints.value, der.SEQUENCE).sub()
    return bool(parts) and parts[0].tag == der.BOOLEAN and parts[0].ber_boolean()


@functools.lru_cache(maxsize=_CACHED)
def shared_findings(extensions: tuple[Extension, ...], family: KeyFamily) -> tuple[Finding, ...]:
    """Return the findings of the extensions that certificates of one policy and issuer share.

    :param extensions: without subjectAltName and subjectKeyIdentifier.
    """
    try:
        return tuple(_findings(extensions, family))
    except PikachuError as problem:
        return (error("malformed", f"An extension is malformed: {problem.public}."),)


def _findings(extensions: tuple[Extension, ...], family: KeyFamily) -> Iterator[Finding]:
    by_oid = {extension.oid: extension for extension in extensions}
    authority = is_ca(by_oid)
    for extension in extensions:
        yield from criticality(extension)
        name = object_name(extension.oid)
        if extension.oid in _CA_ONLY and not authority:
            yield error("ca_only", f"{name} belongs into certificates of CAs only (RFC 5280 section 4.2.1).", name)
        rules = _RULES.get(extension.oid)
        if rules is None:
            continue
        try:
            yield from rules(extension, name)
        except PikachuError as problem:
            yield error("malformed", f"{name} is malformed: {problem.public}.", name)
    if AUTHORITY_KEY_IDENTIFIER not in by_oid:
        yield error("aki_absent", "The authorityKeyIdentifier is missing (RFC 5280 section 4.2.1.1).")
    yield from _authority_findings(by_oid, authority)
    usage = by_oid.get(KEY_USAGE)
    if usage is not None:
        yield from _usage_findings(usage, by_oid.get(EXTENDED_KEY_USAGE), authority, family)


def criticality(extension: Extension) -> Iterator[Finding]:
    """Yield an error when an extension is critical and must not be, or the reverse."""
    demand = _CRITICALITY.get(extension.oid)
    if demand is not None and extension.critical != demand[0]:
        name = object_name(extension.oid)
        must = "must be" if demand[0] else "must not be"
        yield error("criticality", f"{name} {must} critical ({demand[1]}).", name)


def _authority_findings(by_oid: Mapping[str, Extension], authority: bool) -> Iterator[Finding]:
    constraints = by_oid.get(BASIC_CONSTRAINTS)
    name = "basicConstraints"
    if constraints is None:
        return
    parts = der.parse(constraints.value, der.SEQUENCE).sub()
    if not authority and any(part.tag == der.INTEGER for part in parts):
        yield error("pathlen_without_ca", "pathlen needs CA:TRUE (RFC 5280 section 4.2.1.9).", name)
    if authority:
        usage = by_oid.get(KEY_USAGE)
        if not constraints.critical:
            yield error("ca_not_critical", "CA:TRUE must be critical (RFC 5280 section 4.2.1.9).", name)
        if usage is None or KEY_CERT_SIGN not in key_usage_bits(usage):
            yield error("ca_key_usage", "A CA needs keyCertSign (RFC 5280 section 4.2.1.3).", "keyUsage")


def _usage_findings(
    usage: Extension, purposes: Extension | None, authority: bool, family: KeyFamily
) -> Iterator[Finding]:
    bits = key_usage_bits(usage)
    name = "keyUsage"
    if not bits:
        yield error("key_usage_empty", "keyUsage sets no bit (RFC 5280 section 4.2.1.3).", name)
    if not usage.critical:
        yield warning("key_usage_not_critical", "keyUsage should be critical (RFC 5280 section 4.2.1.3).", name)
    wrong = sorted(bits & FORBIDDEN_USAGE[family])
    if wrong:
        names = ", ".join(_BITS[bit] for bit in wrong)
        yield error("key_usage_of_key", f"A key of the kind {family.value} can't be used for {names}.", name)
    if KEY_CERT_SIGN in bits and not authority:
        yield error("key_cert_sign", "keyCertSign needs CA:TRUE (RFC 5280 section 4.2.1.3).", name)
    if {_ENCIPHER_ONLY, _DECIPHER_ONLY} <= bits:
        yield error("both_only", "encipherOnly and decipherOnly exclude each other.", name)
    elif bits & {_ENCIPHER_ONLY, _DECIPHER_ONLY} and _KEY_AGREEMENT not in bits:
        yield warning(
            "only_without_agreement", "encipherOnly and decipherOnly need keyAgreement (RFC 5280 4.2.1.3).", name
        )
    if purposes is not None:
        oids = {purpose.oid() for purpose in der.parse(purposes.value, der.SEQUENCE).children()}
        if oids & {SERVER_AUTH, ANY_EXTENDED_KEY_USAGE} and not bits & {0, 2, 4}:
            yield warning(
                "key_usage_of_purpose",
                "serverAuth needs digitalSignature, keyEncipherment or keyAgreement (RFC 5280 section 4.2.1.12).",
                name,
            )


def _authority_key_identifier(extension: Extension, name: str) -> Iterator[Finding]:
    tags = {part.tag for part in der.parse(extension.value, der.SEQUENCE).children()}
    if 0x80 not in tags:
        yield error("aki_key_identifier", "keyIdentifier is missing (RFC 5280 section 4.2.1.1).", name)
    if (0xA1 in tags) != (0x82 in tags):
        yield error("aki_issuer", "Issuer and serial number belong together (RFC 5280 section 4.2.1.1).", name)


def _purposes(extension: Extension, name: str) -> Iterator[Finding]:
    oids = [purpose.oid() for purpose in der.parse(extension.value, der.SEQUENCE).children()]
    if not oids:
        yield error("eku_empty", "extendedKeyUsage names no purpose (RFC 5280 section 4.2.1.12).", name)
    if len(set(oids)) < len(oids):
        yield warning("eku_repeats", "extendedKeyUsage names a purpose twice.", name)
    if _TIME_STAMPING in oids and not (extension.critical and len(oids) == 1):
        yield error("time_stamping", "timeStamping must be critical and alone (RFC 3161 section 2.3).", name)
    if ANY_EXTENDED_KEY_USAGE in oids and extension.critical:
        yield warning("any_eku_critical", "With anyExtendedKeyUsage it should not be critical.", name)


def _access(extension: Extension, name: str) -> Iterator[Finding]:
    descriptions = der.parse(extension.value, der.SEQUENCE).sub()
    if not descriptions:
        yield error("access_empty", f"{name} is empty (RFC 5280 section 4.2.2).", name)
    for description in descriptions:
        method, location = description.expect(der.SEQUENCE).sub()[:2]
        method.oid()
        yield from location_findings(location, name)


def _distribution_points(extension: Extension, name: str) -> Iterator[Finding]:
    if extension.oid == CRL_DISTRIBUTION_POINTS and extension.critical:
        yield warning("cdp_critical", f"{name} should not be critical (RFC 5280 section 4.2.1.13).", name)
    points = der.parse(extension.value, der.SEQUENCE).sub()
    if not points:
        yield error("cdp_empty", f"{name} is empty (RFC 5280 section 4.2.1.13).", name)
    for point in points:
        fields = {field.tag: field for field in point.expect(der.SEQUENCE).children()}
        if not fields.keys() & {0xA0, 0xA2}:
            yield error("cdp_without_name", "A point needs a name or an issuer (RFC 5280 section 4.2.1.13).", name)
        if 0xA0 in fields:
            for choice in fields[0xA0].children():
                if choice.tag == 0xA0:
                    for location in choice.children():
                        yield from location_findings(location, name)


def _policies(extension: Extension, name: str) -> Iterator[Finding]:
    informations = [part.expect(der.SEQUENCE).sub() for part in der.parse(extension.value, der.SEQUENCE).children()]
    oids = [parts[0].oid() for parts in informations if parts]
    if not oids:
        yield error("policies_empty", "certificatePolicies is empty (RFC 5280 section 4.2.1.4).", name)
    if len(set(oids)) < len(oids):
        yield error("policies_repeat", "A policy stands twice (RFC 5280 section 4.2.1.4).", name)
    for oid, parts in zip(oids, informations, strict=False):
        for qualifier in parts[1].sub() if len(parts) > 1 else ():
            yield from _qualifier(oid, *qualifier.expect(der.SEQUENCE).sub()[:2])


def _qualifier(policy: str, kind: der.Element, value: der.Element) -> Iterator[Finding]:
    name = "certificatePolicies"
    oid = kind.oid()
    if policy == _ANY_POLICY and oid not in _QUALIFIERS:
        yield error("any_policy_qualifier", "anyPolicy has a foreign qualifier (RFC 5280 section 4.2.1.4).", name)
    if oid == _CPS:
        uri = value.expect(der.IA5_STRING).content
        yield from location_findings(der.parse(der.implicit(6, uri)), name)
    elif oid == _USER_NOTICE:
        for part in value.expect(der.SEQUENCE).children():
            if part.tag in (der.IA5_STRING, _VISIBLE_STRING, der.BMP_STRING):
                yield warning("notice_type", "explicitText should be UTF8String (RFC 6818 section 3).", name)
            if part.tag != der.SEQUENCE and len(part.content.decode("utf-8", "replace")) > 200:
                yield error("notice_length", "explicitText is longer than 200 (RFC 5280 section 4.2.1.4).", name)


def _issuer_names(extension: Extension, name: str) -> Iterator[Finding]:
    if extension.critical:
        yield warning("ian_critical", f"{name} should not be critical (RFC 5280 section 4.2.1.7).", name)
    for element in der.parse(extension.value, der.SEQUENCE).children():
        yield from location_findings(element, name)


_RULES: Final[Mapping[str, Callable[[Extension, str], Iterator[Finding]]]] = {
    AUTHORITY_KEY_IDENTIFIER: _authority_key_identifier,
    EXTENDED_KEY_USAGE: _purposes,
    AUTHORITY_INFORMATION_ACCESS: _access,
    _SUBJECT_INFORMATION_ACCESS: _access,
    CRL_DISTRIBUTION_POINTS: _distribution_points,
    _FRESHEST_CRL: _distribution_points,
    _CERTIFICATE_POLICIES: _policies,
    _ISSUER_ALTERNATIVE_NAME: _issuer_names,
}
