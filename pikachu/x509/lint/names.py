"""Rules of names: the subject (RFC 5280 section 4.1.2.6) and GeneralNames (section 4.2.1.6)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pikachu.core.errors import BadCSR, MalformedRequest
from pikachu.core.model.lint import Finding, Severity
from pikachu.x509 import der
from pikachu.x509.extension import Extension
from pikachu.x509.extension_text import object_name
from pikachu.x509.names import (
    COUNTRY,
    DOMAIN_COMPONENT,
    EMAIL_ADDRESS,
    Name,
    check_value,
    is_country_code,
    read_name,
)
from pikachu.x509.san import (
    NameKind,
    check_dns_name,
    check_email,
    directory_name,
    other_name_parts,
    parse_general_name,
)

SUBJECT: Final = "subject"
_SAN: Final = "subjectAltName"
_EMAIL: Final = NameKind.EMAIL.value
_DNS: Final = NameKind.DNS.value
_IP: Final = NameKind.IP.value
SMTP_UTF8_MAILBOX: Final = "1.3.6.1.5.5.7.8.9"
# The outer tags of otherNames with a fixed type: RFC 4043, 4108, 4985, 6120, 7585, 9598, MS-WCCE.
_OTHER_NAMES: Final = {
    "1.3.6.1.4.1.311.20.2.3": der.UTF8_STRING,
    "1.3.6.1.5.5.7.8.3": der.SEQUENCE,
    "1.3.6.1.5.5.7.8.4": der.SEQUENCE,
    "1.3.6.1.5.5.7.8.5": der.UTF8_STRING,
    "1.3.6.1.5.5.7.8.7": der.IA5_STRING,
    "1.3.6.1.5.5.7.8.8": der.UTF8_STRING,
    SMTP_UTF8_MAILBOX: der.UTF8_STRING,
}
_LABEL: Final = rb"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The DNS names that nothing is wrong with; those with two hyphens side by side may be A-labels, and are looked at.
_PLAIN_DNS: Final = re.compile(rb"(?!.*--)(?:\*\.%b\.)?%b(?:\.%b)*" % ((_LABEL,) * 3))
_MAXIMUM_DNS: Final = 253
_IP_SIZES: Final = (4, 16)
_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}):([A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+)")
_BAD_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_HOST_SCHEMES: Final = frozenset(("http", "https", "ftp"))
_BOM: Final = "\ufeff"


def error(code: str, message: str, where: str = "") -> Finding:
    """Return an error of this program's own rules."""
    return Finding(Severity.ERROR, f"pikachu.{code}", message, where)


def warning(code: str, message: str, where: str = "") -> Finding:
    """Return a warning of this program's own rules."""
    return Finding(Severity.WARNING, f"pikachu.{code}", message, where)


def attribute_findings(name: Name, where: str) -> Iterator[Finding]:
    """Yield the errors in the attributes of a name (RFC 5280 section 4.1.2.4 and appendix A.1)."""
    domain = []
    for rdn in name.rdns:
        if len(rdn) > 1 and len({attribute.oid for attribute in rdn}) < len(rdn):
            yield error(
                "name_repeats_type",
                "A relative distinguished name contains an attribute type twice (X.501 section 9.3).",
                where,
            )
        for attribute in rdn:
            if attribute.value is None:
                continue
            if attribute.oid == COUNTRY and not is_country_code(attribute.value):
                yield error("country_code", "A country is a code of two letters (RFC 5280 appendix A.1).", where)
                continue
            try:
                check_value(attribute.oid, attribute.value_der[0], attribute.value)
                if attribute.oid == EMAIL_ADDRESS:
                    check_email(attribute.value)
            except BadCSR as problem:
                yield error("name_attribute", f"{_sentence(problem)} (RFC 5280 appendix A.1).", where)
            if attribute.oid == DOMAIN_COMPONENT:
                domain.append(attribute.value)
    if domain:
        try:
            check_dns_name(".".join(reversed(domain)), allow_wildcard=False)
        except BadCSR as problem:
            yield error("domain_components", f"{_sentence(problem)}, in domain components (RFC 2247).", where)


def subject_findings(subject: Name, names: Extension | None) -> Iterator[Finding]:
    """Yield the errors of the subject and of the subjectAltName that belongs to it.

    :raises MalformedRequest: the subjectAltName is malformed.
    """
    yield from attribute_findings(subject, SUBJECT)
    elements = [] if names is None else der.parse(names.value, der.SEQUENCE).sub()
    if names is not None:
        if not elements:
            yield error("san_empty", "The subjectAltName contains no name (RFC 5280 section 4.2.1.6).", _SAN)
        seen = set()
        for element in elements:
            whole = element.whole
            if not _is_plain(element.tag, element.content):
                yield from general_name_findings(element, _SAN)
            if whole in seen:
                yield warning("san_repeats_name", "The subjectAltName contains a name twice.", _SAN)
            seen.add(whole)
    if subject.is_empty:
        if names is None or not names.critical:
            yield error(
                "san_not_critical",
                "Without a subject, the subjectAltName must be present and critical (RFC 5280 section 4.2.1.6).",
                _SAN,
            )
    elif names is not None and names.critical:
        yield warning(
            "san_critical",
            "With a subject, the subjectAltName should not be critical (RFC 5280 section 4.2.1.6).",
            _SAN,
        )
    addresses = subject.values(EMAIL_ADDRESS)
    if addresses:
        present = {element.content for element in elements if element.tag == _EMAIL}
        if not all(address.encode() in present for address in addresses):
            yield error(
                "subject_email_not_in_san",
                "The subject has an email address that the subjectAltName lacks (RFC 5280 section 4.1.2.6).",
                SUBJECT,
            )


def _is_plain(tag: int, content: bytes) -> bool:
    """Return whether a GeneralName is of the usual form, which takes a tenth of the time of a whole check."""
    if tag == _DNS:
        return len(content) <= _MAXIMUM_DNS and _PLAIN_DNS.fullmatch(content) is not None
    return tag == _IP and len(content) in _IP_SIZES


def general_name_findings(element: der.Element, where: str) -> Iterator[Finding]:
    """Yield the errors of one GeneralName in a subjectAltName.

    :raises MalformedRequest: *element* is malformed.
    """
    tag = element.tag
    try:
        if tag == NameKind.OTHER.value:
            yield from _other_name_findings(element, where)
        elif tag == NameKind.DIRECTORY.value:
            yield from attribute_findings(directory_name(element, lambda name: read_name(name.whole)), where)
        elif tag == NameKind.REGISTERED_ID.value:
            der.oid_text(element.content)
        else:
            parse_general_name(element)
    except BadCSR as problem:
        yield error("general_name", f"{_sentence(problem)} (RFC 5280 section 4.2.1.6).", where)


def location_findings(element: der.Element, where: str) -> Iterator[Finding]:
    """Yield the errors of a GeneralName that says where something is: in AIA, SIA and CDP (sections 4.2.1.13, 4.2.2).

    :raises MalformedRequest: *element* is malformed.
    """
    if element.tag != NameKind.URI.value:
        yield from general_name_findings(element, where)
        return
    uri = element.content.decode("ascii", "replace")
    problem = uri_problem(uri)
    if problem is not None:
        yield error("uri_syntax", f"“{uri[:100]}” is no URI: {problem} (RFC 3986).", where)


def uri_problem(uri: str) -> str | None:
    """Return why a text is no absolute URI, or ``None``."""
    match = _URI.fullmatch(uri)
    if match is None or _BAD_ESCAPE.search(uri):
        return "it is not absolute, or has characters that do not belong there"
    if match[1].lower() in _HOST_SCHEMES:
        authority = re.split("[/?#]", match[2].removeprefix("//"), maxsplit=1)[0]
        if not match[2].startswith("//") or not authority.rpartition("@")[2].partition(":")[0]:
            return "it has no host"
    return None


def _other_name_findings(element: der.Element, where: str) -> Iterator[Finding]:
    oid, value = other_name_parts(element)
    if value.tag != _OTHER_NAMES.get(oid, value.tag):
        yield error("other_name_type", f"An otherName of the type {object_name(oid)} has a wrong value.", where)
    elif oid == SMTP_UTF8_MAILBOX:
        address = value.content.decode("utf-8", "replace")
        local, at, domain = address.rpartition("@")
        if not at or local.isascii() or local.startswith(_BOM) or domain != domain.lower():
            yield error(
                "smtp_utf8_mailbox",
                "An SmtpUTF8Mailbox has a local part with characters outside ASCII and a lower-case domain "
                "(RFC 9598 section 3).",
                where,
            )
        else:
            check_dns_name(domain, allow_wildcard=False)


def _sentence(problem: BadCSR | MalformedRequest) -> str:
    return problem.public[:1].upper() + problem.public[1:]
