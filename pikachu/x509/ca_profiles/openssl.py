"""Profiles in a configuration of ``openssl ca`` (its manual, section CONFIGURATION FILE OPTIONS)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from pikachu.core.errors import BadTemplate, PikachuError
from pikachu.core.number_parsing import parse_number
from pikachu.x509.ca_profiles.model import (
    EXTENSIONS,
    CAProfile,
    UnusableProfile,
    check_days,
    extension_text,
    sections_text,
)
from pikachu.x509.names import attribute_name
from pikachu.x509.template.configuration import DEFAULT_SECTION, Configuration, Field, Section
from pikachu.x509.template.distinguished_name import attribute_oid, attribute_type
from pikachu.x509.template.extensions import is_extension_name
from pikachu.x509.template.request import compile_request
from pikachu.x509.template.values import Location

_CA: Final = "ca"
_REQUEST: Final = "req"
# Sections that are part of others, by the keys that name them.
_PARTS: Final = ("crl_extensions", "req_extensions")
# Keys of a CA's section that have a counterpart elsewhere, or none, and change what is issued or refused.
_ELSEWHERE: Final = {
    "default_crl_days": "set [CRL] crl_validity",
    "default_crl_hours": "set [CRL] crl_validity",
    "default_startdate": "certificates begin when they are issued",
    "default_enddate": "policies have a number of days",
    "unique_subject": "a subject may have several certificates",
    "preserve": "the order of the subject is always kept",
}
_UNUSED_VALUES: Final = {"unique_subject": "no", "preserve": "yes"}
# Sections of files for openssl's -extfile, and for templates of this program.
_WHOLE: Final = (EXTENSIONS, DEFAULT_SECTION)
# Extensions that CRLs have, too.
_CRL_EXTENSIONS: Final = frozenset(("authorityKeyIdentifier", "issuerAltName"))
_MAX_DAYS: Final = 10**6


def read_openssl(text: str, name: str, environment: Mapping[str, str]) -> list[CAProfile | UnusableProfile]:
    """Return the profiles: one for each CA, and what else templates can take; none for another kind of file.

    A CA's section is the one that ``default_ca`` names, and each with a ``database`` and ``x509_extensions``.

    :param name: the name of the file, for what is the content of all of it.
    :param environment: values for ``$ENV::NAME``.
    :raises BadTemplate: the text can't be read, with its line.
    """
    configuration = Configuration(text, {}, environment)
    profiles: list[CAProfile | UnusableProfile] = []
    used: set[str] = set()
    for section in _ca_sections(configuration):
        try:
            profiles.append(_profile(configuration, section, used))
        except PikachuError as error:
            profiles.append(UnusableProfile(section.name, error.public))
    used |= {
        field.text
        for section in configuration.sections.values()
        for key in _PARTS
        if (field := section.fields.get(key))
    }
    for section in configuration.sections.values():
        if section.name not in used and _is_extensions(section):
            try:
                text = extension_text(configuration, section)
                profiles.append(CAProfile(name if section.name in _WHOLE else section.name, None, text))
            except PikachuError as error:
                profiles.append(UnusableProfile(section.name, error.public))
    request = configuration.section(_REQUEST)
    if request is not None:
        profiles.append(_request(configuration, request, f"{name} {_REQUEST}"))
    return profiles


def _ca_sections(configuration: Configuration) -> Iterator[Section]:
    top = configuration.section(_CA)
    default = None if top is None else _key(configuration, top, "default_ca")
    for section in configuration.sections.values():
        is_default = default is not None and section.name == default.value
        if is_default or {"database", "x509_extensions"} <= section.fields.keys():
            yield section


def _key(configuration: Configuration, section: Section, name: str) -> Field | None:
    """Return a key of a section, else of the lines before any section, as OpenSSL does."""
    return section.fields.get(name) or configuration.default.fields.get(name)


def _profile(configuration: Configuration, section: Section, used: set[str]) -> CAProfile:
    """Return the profile of a CA.

    :param used: gets the name of the section with its extensions.
    """
    days = _key(configuration, section, "default_days")
    number = None if days is None else parse_number(days.value, _MAX_DAYS, minimum=0)
    if days is None or number is None:
        raise BadTemplate(0 if days is None else days.line, "there is no number of days in default_days")
    check_days(number)
    text = f"[ {EXTENSIONS} ]\n"
    reference = _key(configuration, section, "x509_extensions")
    if reference is not None:
        extensions = configuration.section(reference.value)
        if extensions is None:
            raise BadTemplate(reference.line, f"there is no section [ {reference.value} ]")
        text = extension_text(configuration, extensions)
        used.add(extensions.name)
    copied = _key(configuration, section, "copy_extensions")
    copies = "none" if copied is None else copied.value
    notes = [
        f"{key} is not taken over: {reason}"
        for key, reason in _ELSEWHERE.items()
        if (field := section.fields.get(key)) is not None and field.text != _UNUSED_VALUES.get(key)
    ]
    if copies == "copyall":
        notes.append("of copy_extensions = copyall, the subjectAltName is copied only")
    matched, supplied = _policy(configuration, section)
    if supplied:
        names = ", ".join(attribute_name(oid) for oid in supplied)
        notes.append(f"that requests must have {names} is not checked")
    return CAProfile(section.name, number, text, copies != "none", tuple(matched), tuple(notes))


def _policy(configuration: Configuration, section: Section) -> tuple[list[str], list[str]]:
    """Return the OIDs of the attributes that must match the CA's, and of those that must be there."""
    reference = _key(configuration, section, "policy")
    policy = None if reference is None else configuration.section(reference.value)
    matched: list[str] = []
    supplied: list[str] = []
    for field in () if policy is None else policy.fields.values():
        target = {"match": matched, "supplied": supplied}.get(field.value)
        if target is not None:
            target.append(attribute_oid(attribute_type(field.name)[0], Location(field.name, field.line)))
    return matched, supplied


def _is_extensions(section: Section) -> bool:
    """Return whether a section has extensions of certificates, and nothing else."""
    return not section.fields.keys() <= _CRL_EXTENSIONS and all(is_extension_name(name) for name in section.fields)


def _request(configuration: Configuration, section: Section, name: str) -> CAProfile | UnusableProfile:
    try:
        compile_request(configuration, section)
        named = {_REQUEST: section}
        for key in ("distinguished_name", "attributes", "req_extensions"):
            reference = _key(configuration, section, key)
            target = None if reference is None else configuration.section(reference.value)
            if target is not None:
                named[target.name] = target
        return CAProfile(name, None, sections_text(configuration, named))
    except PikachuError as error:
        return UnusableProfile(f"[ {_REQUEST} ]", error.public)
