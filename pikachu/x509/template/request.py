"""The ``[ req ]`` section: the subject, digest, attributes and extensions of a certificate signing request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pikachu.core.errors import BadTemplate
from pikachu.x509.extension import Extension
from pikachu.x509.request_attributes import EXTENSION_REQUEST
from pikachu.x509.request_info import request_info
from pikachu.x509.template.configuration import Configuration, Field, Section, quoted, suggestion
from pikachu.x509.template.context import ExtensionContext
from pikachu.x509.template.distinguished_name import (
    EMPTY,
    MASKS,
    NameEntry,
    attribute_oid,
    attribute_type,
    encode_name,
    encode_string,
    without_email_addresses,
)
from pikachu.x509.template.extensions import Compiled, compile_extension
from pikachu.x509.template.values import Location, Source, integer

_CHALLENGE_PASSWORD: Final = "1.2.840.113549.1.9.7"  # noqa: S105 - an OID
_SUFFIXES: Final = ("_min", "_max", "_default", "_value")
_DIGESTS: Final = ("sha224", "sha256", "sha384", "sha512", "sha3-224", "sha3-256", "sha3-384", "sha3-512")
_WEAK_DIGESTS: Final = frozenset(("md4", "md5", "md5-sha1", "mdc2", "rmd160", "ripemd160", "sha", "sha1"))
# Keys that this parser uses; a similar key is treated as a typo, any other one as meant for other programs.
_KNOWN_KEYS: Final = (
    "distinguished_name",
    "default_md",
    "attributes",
    "req_extensions",
    "prompt",
    "string_mask",
    "utf8",
)


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """The configuration of CSRs.

    :ivar subject_der: the DER Name.
    :ivar digest: ``default_md`` in lower case, such as ``sha256``; ``None`` selects the default of the key type.
    :ivar attributes: OIDs and DER values, without the extension request.  May contain a challenge password: a secret.
    """

    subject_der: bytes
    digest: str | None
    attributes: tuple[tuple[str, bytes], ...] = field(repr=False)
    compiled: tuple[Compiled, ...] = field(repr=False)
    moves_email: bool = field(default=False, repr=False)

    def extensions(self, spki_der: bytes) -> tuple[Extension, ...]:
        """Return the requested extensions.

        :param spki_der: the subject's SubjectPublicKeyInfo.
        :raises MalformedRequest: *spki_der* is malformed.
        """
        context = ExtensionContext(subject_spki=spki_der, subject_der=self.subject_der)
        extensions = (compiled.extension(context) for compiled in self.compiled)
        return tuple(extension for extension in extensions if extension is not None)


def certification_request_info(template: RequestTemplate, spki_der: bytes) -> bytes:
    """Return the DER CertificationRequestInfo, which the subject's key signs (RFC 2986 section 4.1).

    :raises MalformedRequest: *spki_der* is malformed.
    """
    subject = without_email_addresses(template.subject_der) if template.moves_email else template.subject_der
    return request_info(subject, spki_der, template.extensions(spki_der), template.attributes)


def compile_request(configuration: Configuration, section: Section) -> RequestTemplate:
    """Parse the ``[ req ]`` section and the sections that it refers to.

    :raises BadTemplate: with the invalid line.
    """
    return _RequestReader(configuration, section).read()


class _RequestReader:
    def __init__(self, configuration: Configuration, section: Section) -> None:
        self._configuration = configuration
        self._section = section
        self._source = Source(configuration, for_request=True)

    def _key(self, name: str) -> Field | None:
        """Return a key of ``[ req ]``, else of the lines before any section, as OpenSSL does."""
        return self._section.fields.get(name) or self._configuration.default.fields.get(name)

    def _text(self, name: str) -> str | None:
        setting = self._key(name)
        return None if setting is None else setting.value

    def read(self) -> RequestTemplate:
        for setting in self._section.fields.values():
            hint = suggestion(setting.name, list(_KNOWN_KEYS))
            if setting.name not in _KNOWN_KEYS and hint and not setting.name.startswith(("x509_", "default_")):
                raise BadTemplate(setting.line, f"req: unknown key {quoted(setting.name)}{hint}")
        mask = self._mask()
        prompt = self._text("prompt") != "no"
        reference = self._key("distinguished_name")
        if reference is None:
            raise BadTemplate(self._section.line, "req: distinguished_name is missing; it names the subject's section")
        names = self._source.section(reference.value, Location("distinguished_name", reference.line))
        entries = self._entries(names, prompt)
        subject = encode_name(entries, mask)
        if subject == EMPTY:
            raise BadTemplate(
                names.line,
                f"{quoted(names.name)} gives no name: write "
                + ("values such as commonName_default, or prompt = no in [ req ]" if prompt else "CN = … into it"),
            )
        attributes = self._attributes(mask, prompt)
        extensions = self._extensions()
        return RequestTemplate(subject, self._digest(), attributes, extensions, self._source.moves_email)

    def _mask(self) -> int:
        setting = self._key("string_mask")
        if setting is None:
            return MASKS["utf8only"]
        if setting.value not in MASKS:
            raise Location("string_mask", setting.line).unknown("value", setting.value, MASKS)
        return MASKS[setting.value]

    def _digest(self) -> str | None:
        setting = self._key("default_md")
        if setting is None or setting.value in ("default", "null", "none"):
            return None
        location = Location("default_md", setting.line)
        name = setting.value.lower().replace("sha2-", "sha").replace("sha-", "sha")
        if name in _WEAK_DIGESTS:
            raise location.error(f"{quoted(setting.value)} is too weak; write sha256")
        if name not in _DIGESTS:
            raise location.unknown("digest", setting.value, _DIGESTS)
        return name

    def _entries(self, section: Section, prompt: bool) -> list[NameEntry]:
        """Return the entries of a section of names or attributes, with the values that apply without prompting."""
        entries = []
        for setting in section.fields.values():
            if prompt and setting.name.endswith(_SUFFIXES):
                continue
            chosen: Field | None = setting
            if prompt:
                fields = section.fields
                chosen = fields.get(setting.name + "_value") or fields.get(setting.name + "_default")
            location = Location(setting.name, setting.line if chosen is None else chosen.line)
            if chosen is None or (prompt and not chosen.value):
                self._check_type(setting.name, location)
                continue
            self._source.spend(location, len(chosen.value))
            self._check_length(section, setting.name, chosen)
            self._check_ascii(chosen, location)
            entries.append(NameEntry(setting.name, chosen.value, location))
        return entries

    def _check_type(self, key: str, location: Location) -> None:
        """Check an attribute type: OpenSSL ignores unknown types, so a typo would lose an attribute."""
        attribute_oid(attribute_type(key)[0], location)

    def _check_length(self, section: Section, key: str, chosen: Field) -> None:
        for suffix, wrong in (("_min", int.__lt__), ("_max", int.__gt__)):
            bound = section.fields.get(key + suffix)
            if bound is None or chosen.name == key:
                continue
            limit = integer(bound.value, Location(key + suffix, bound.line), negative=True)
            if limit >= 0 and wrong(len(chosen.value), limit):
                raise Location(chosen.name, chosen.line).error(f"its length is outside {key}{suffix} = {limit}")

    def _check_ascii(self, chosen: Field, location: Location) -> None:
        if self._text("utf8") == "no" and not chosen.value.isascii():
            raise location.error("characters outside ASCII need utf8 = yes in [ req ]")

    def _attributes(self, mask: int, prompt: bool) -> tuple[tuple[str, bytes], ...]:
        named = self._key("attributes")
        if named is None:
            return ()
        section = self._source.section(named.value, Location("attributes", named.line))
        attributes: dict[str, bytes] = {}
        for entry in self._entries(section, prompt):
            kind = attribute_type(entry.key)[0] if prompt else entry.key
            oid = attribute_oid(kind, entry.location)
            if oid in attributes:
                raise entry.location.error("the attribute stands twice")
            if oid == EXTENSION_REQUEST:
                raise entry.location.error("extensions are named by req_extensions")
            attributes[oid] = encode_string(oid, entry.value, mask, entry.location, secret=oid == _CHALLENGE_PASSWORD)
        return tuple(attributes.items())

    def _extensions(self) -> tuple[Compiled, ...]:
        named = self._key("req_extensions")
        if named is None:
            return ()
        section = self._source.section(named.value, Location("req_extensions", named.line))
        return compile_extensions(section, self._source)


def compile_extensions(section: Section, source: Source) -> tuple[Compiled, ...]:
    """Parse the extensions of a section, each at most once.

    :raises BadTemplate: with the invalid line.
    """
    extensions: dict[str, Compiled] = {}
    for setting in section.fields.values():
        compiled = compile_extension(setting, source)
        if compiled.oid in extensions:
            raise BadTemplate(
                setting.line, f"{setting.name}: the extension stands already in line {extensions[compiled.oid].line}"
            )
        extensions[compiled.oid] = compiled
    return tuple(extensions.values())
