"""Reads ``config.ini`` (CFG-1): parses sections and values, and warns about unknown keys."""

from __future__ import annotations

import configparser
import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pikachu.config.audit_section import AuditSection
from pikachu.config.chat_section import ChatSection
from pikachu.config.checks import Report, check
from pikachu.config.configuration import Configuration
from pikachu.config.housekeeping_section import HousekeepingSection
from pikachu.config.ldap_section import LDAPSection
from pikachu.config.limits_section import LimitsSection
from pikachu.config.mqtt_section import MQTTSection
from pikachu.config.notices_section import NoticesSection, SMTPSection
from pikachu.config.oidc_section import OIDCSection
from pikachu.config.ra_section import RASection
from pikachu.config.schema import Section, keys
from pikachu.config.sections import (
    SECTIONS,
    CASection,
    CRLSection,
    DatabaseSection,
    DefaultSection,
    ESTSection,
    HTTPSSection,
    LoggingSection,
    OCSPSection,
    PathsSection,
    PKCS11Section,
    SCEPSection,
    TrustedHTTPSSection,
    VaultSection,
)
from pikachu.config.setting_choices import LDAPSecurity
from pikachu.config.setting_types import Kind, mask_url
from pikachu.core.errors import ConfigError

S = TypeVar("S", bound=Section)

_MAX_BYTES: Final = 256 * 1024
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Make [DEFAULT] a plain section: no file can contain this name, as control characters are rejected.
_NO_SECTION: Final = "\x00"
_MAX_WARNINGS: Final = 50
_KNOWN: Final = {cls.NAME: {key.name.lower(): key.name for _, key in keys(cls)} for cls in SECTIONS}


def load(path: Path, environ: Mapping[str, str]) -> Configuration:
    """Read a configuration file.

    Start-up checks whether the files that it refers to exist.

    :param environ: the variables for ``${NAME}``; a missing one is empty.
    :raises ConfigError: one line with the file, the section, the key, the problem and its fix.
    """
    return parse(_read(path, "run `pikachu init` in the folder that has one"), path, environ)


def load_section(path: Path, section: type[S], environ: Mapping[str, str], example: str) -> tuple[S, list[str]]:
    """Read a configuration file of one section, which is no server's.

    :param example: says where to get such a file, for the error message.
    :return: the section, and one line for each unknown key.
    :raises ConfigError: as :func:`load`.
    """
    texts = _sections(_read(path, example), path)
    reader = _Reader(path, texts, environ)
    values = reader.section(section)
    known = {key.name.lower() for _, key in keys(section)}
    unknown = [f"[{section.NAME}] {_name(key)}" for key in texts.get(section.NAME, {}) if key not in known]
    unknown += [f"[{_name(name)}]" for name in texts if name != section.NAME]
    return values, [f"{path}: {name} is not known and is ignored" for name in unknown[:_MAX_WARNINGS]]


def _read(path: Path, example: str) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such configuration file; name one with --config FILE, or {example}"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}; fix its owner or mode") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes; this is no configuration file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from None


def parse(text: str, path: Path, environ: Mapping[str, str]) -> Configuration:
    """Parse the text of a configuration file.

    :param path: the file, for messages and for relative paths.
    :raises ConfigError: as :func:`load`.
    """
    reader = _Reader(path, _sections(text, path), environ)
    configuration = Configuration(
        path=path.absolute(),
        default=reader.section(DefaultSection),
        logging=reader.section(LoggingSection),
        ca=reader.section(CASection),
        vault=reader.section(VaultSection),
        oidc=reader.section(OIDCSection),
        ra=reader.section(RASection),
        ldap=_directory(reader.section(LDAPSection), ("LDAP", "ldap_port") in reader.given),
        scep=reader.section(SCEPSection),
        https=reader.section(HTTPSSection),
        trusted_https=reader.section(TrustedHTTPSSection),
        paths=reader.section(PathsSection),
        database=reader.section(DatabaseSection),
        est=reader.section(ESTSection),
        ocsp=reader.section(OCSPSection),
        crl=reader.section(CRLSection),
        audit=reader.section(AuditSection),
        housekeeping=reader.section(HousekeepingSection),
        pkcs11=reader.section(PKCS11Section),
        limits=reader.section(LimitsSection),
        mqtt=reader.section(MQTTSection),
        smtp=reader.section(SMTPSection),
        notices=reader.section(NoticesSection),
        chat=reader.section(ChatSection),
        warnings=tuple(reader.warnings()),
        given=frozenset(reader.given),
    )
    check(configuration, reader.report)
    return _completed(configuration)


def _sections(text: str, path: Path) -> dict[str, dict[str, str]]:
    """Return the texts of all keys (lower case), by section.

    Messages contain the number of a line, never its text, which may contain a password.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    control = _CONTROL.search(text)
    if control is not None:
        line = text.count("\n", 0, control.start()) + 1
        raise ConfigError(f"{path}: line {line} holds a control character; save the file as plain text")
    parser = configparser.ConfigParser(interpolation=None, default_section=_NO_SECTION, empty_lines_in_values=False)
    try:
        parser.read_string(text)
    except configparser.DuplicateSectionError as error:
        raise ConfigError(
            f"{path}: [{_name(str(error.section))}] begins a second time in line {error.lineno}; put its keys together"
        ) from None
    except configparser.DuplicateOptionError as error:
        raise ConfigError(
            f"{path}: [{_name(str(error.section))}] {_name(error.option)}: set a second time in line {error.lineno}; "
            "remove one of the two"
        ) from None
    except configparser.MissingSectionHeaderError as error:
        raise ConfigError(f"{path}: line {error.lineno} stands before any section; begin with [DEFAULT]") from None
    except configparser.ParsingError as error:
        line = error.errors[0][0]
        raise ConfigError(f"{path}: line {line} is neither `key = value` nor [SECTION] nor a # comment") from None
    return {name: dict(parser.items(name)) for name in parser.sections()}


class _Reader:
    """Converts texts to values, and records the keys that are set and the variables that are not."""

    def __init__(self, path: Path, texts: Mapping[str, Mapping[str, str]], environ: Mapping[str, str]) -> None:
        self._folder = path.absolute().parent
        self._texts = texts
        self._environ = environ
        self.report = Report(path)
        self.given: set[tuple[str, str]] = set()

    def section(self, cls: type[S]) -> S:
        """Return the values of a section."""
        values: dict[str, Any] = {}
        for name, key in keys(cls):
            kind: Kind[Any] = key.kind
            text = self._text(cls.NAME, key.name)
            try:
                values[name] = kind.parse(text or key.default, self._folder)
            except ValueError as error:
                actual = "" if kind.secret else f", found {_shown(mask_url(text))}"
                raise self.report.error(cls.NAME, key.name, f"{error}{actual}") from None
        return cls(**values)

    def _text(self, section: str, key: str) -> str:
        """Return the text of a key with variables replaced, or an empty text when it is not set."""
        text = self._texts.get(section, {}).get(key.lower(), "")
        if "\n" in text:
            raise self.report.error(
                section,
                _name(key),
                "the next line is indented and so belongs to it; start each key at the line's beginning",
            )
        unset = [name for name in _VARIABLE.findall(text) if not self._environ.get(name)]
        self.report.unset[section, key.lower()] = unset
        text = _VARIABLE.sub(lambda match: self._environ.get(match[1], ""), text).strip()
        if _CONTROL.search(text) or "\n" in text:
            raise self.report.error(section, _name(key), "its environment variable holds a control character; fix that")
        if text:
            self.given.add((section, key.lower()))
        return text

    def warnings(self) -> Iterator[str]:
        """Return a line for each unknown section and key, up to the maximum number of warnings."""
        unknown = list(self._unknown())
        for section, key in unknown[:_MAX_WARNINGS]:
            what, kind, nearest = f"[{_name(section)}]", "section", ""
            if key is None:
                nearest = f"[{_nearest(section, {name.lower(): name for name in _KNOWN})}]"
            else:
                what, kind = f"{what} {_name(key)}", "key"
                elsewhere = [f"[{other}] {names[key]}" for other, names in _KNOWN.items() if key in names]
                nearest = elsewhere[0] if elsewhere else f"[{section}] {_nearest(key, _KNOWN[section])}"
            yield f"{self.report.path}: {what} is not a known {kind} and is ignored; the nearest is {nearest}"
        if len(unknown) > _MAX_WARNINGS:
            more = len(unknown) - _MAX_WARNINGS
            yield f"{self.report.path}: {more} more sections and keys are not known and are ignored"

    def _unknown(self) -> Iterator[tuple[str, str | None]]:
        for section, texts in self._texts.items():
            if section in _KNOWN:
                yield from ((section, key) for key in texts if key not in _KNOWN[section])
            else:
                yield section, None


def _nearest(name: str, known: Mapping[str, str]) -> str:
    """Return the known name that is most similar to *name*."""
    return known[difflib.get_close_matches(name.lower()[:64], known, n=1, cutoff=0.0)[0]]


def _name(text: str) -> str:
    """Return a name from the file, printable and truncated for a one-line message."""
    return text[:64] if text.isprintable() else repr(text[:64])


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def _directory(ldap: LDAPSection, port_given: bool) -> LDAPSection:
    """Resolve ``ldaps://host`` and ``use_tls = true`` to a host, a port and a security mode."""
    security, port = ldap.use_tls, ldap.ldap_port
    if any(host.startswith("ldaps://") for host in ldap.ldap_host):
        security = LDAPSecurity.LDAPS
    elif security is LDAPSecurity.TRUE:
        security = LDAPSecurity.LDAPS if port == 636 else LDAPSecurity.STARTTLS
    if security is LDAPSecurity.LDAPS and not port_given:
        port = 636
    hosts = tuple(host.rpartition("://")[2].strip("[]") for host in ldap.ldap_host)
    return dataclasses.replace(
        ldap, ldap_host=hosts, ldap_port=port, use_tls=security, people_dn=ldap.people_dn or ldap.base_dn
    )


def _completed(configuration: Configuration) -> Configuration:
    """Fill in the defaults that are taken from other settings."""
    https, trusted, paths = configuration.https, configuration.trusted_https, configuration.paths
    return dataclasses.replace(
        configuration,
        trusted_https=dataclasses.replace(
            trusted,
            trusted_ssl_cert=trusted.trusted_ssl_cert or https.ssl_cert,
            trusted_ssl_key=trusted.trusted_ssl_key or https.ssl_key,
        ),
        paths=dataclasses.replace(paths, crl_dir=paths.crl_dir or paths.crl_path.parent),
    )
