"""The ``[ req ]`` section: the subject, digest, attributes and extensions of a certificate signing request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pikachu.core.errors import BadTemplate
from pikachu.x509 import der
from pikachu.x509.extension import Extension, encode_extensions
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

EXTENSION_REQUEST: Final = "1.2.840.113549.1.9.14"
_CHALLENGE_PASSWORD: Final = "1.2.840.113549.1.9.7"  # noqa: S105 - an OID
_SUFFIXES: Final = ("_min", "_max", "_default", "_value")
_DIGESTS: Final = ("sha224", "sha256", "sha384", "sha512", "sha3-224", "sha3-256", "sha3-384", "sha3-512")
_WEAK_DIGESTS: Final = frozenset(("md4", "md5", "md5-sha1", "mdc2", "rmd160", "ripemd160", "sha", "sha1"))
# Keys that decide something; a key that is nearly one of them is a slip, any other is left to other programs.
_DECIDING: Final = ("distinguished_name", "default_md", "attributes", "req_extensions", "prompt", "string_mask", "utf8")


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """What a text says about requests.

    :ivar subject_der: the DER Name.
    :ivar digest: ``default_md`` in lower case, such as ``sha256``; ``None`` leaves it to the key's kind.
    :ivar attributes: OIDs and DER values, without the extension request.  May hold a challenge password: a secret.
    """

    subject_der: bytes
    digest: str | None
    attributes: tuple[tuple[str, bytes], ...] = field(repr=False)
    compiled: tuple[Compiled, ...] = field(repr=False)
    moves_email: bool = field(default=False, repr=False)

    def extensions(self, spki_der: bytes) -> tuple[Extension, ...]:
        """The extensions that the request asks for.

        :param spki_der: the subject's SubjectPublicKeyInfo.
        :raises MalformedRequest: the key is none.
        """
        context = ExtensionContext(subject_spki=spki_der, subject_der=self.subject_der)
        found = (known.extension(context) for known in self.compiled)
        return tuple(extension for extension in found if extension is not None)


def certification_request_info(template: RequestTemplate, spki_der: bytes) -> bytes:
    """The DER CertificationRequestInfo: what the subject's key signs (RFC 2986 section 4.1).

    :raises MalformedRequest: the key is none.
    """
    attributes = [der.sequence(der.oid(oid), der.set_of((value,))) for oid, value in template.attributes]
    extensions = template.extensions(spki_der)
    if extensions:
        attributes.append(der.sequence(der.oid(EXTENSION_REQUEST), der.set_of((encode_extensions(extensions),))))
    subject = without_email_addresses(template.subject_der) if template.moves_email else template.subject_der
    return der.sequence(
        der.integer(0),
        subject,
        der.parse(spki_der, der.SEQUENCE).whole,
        der.explicit(0, b"".join(sorted(attributes))),
    )


def compile_request(configuration: Configuration, section: Section) -> RequestTemplate:
    """Read the ``[ req ]`` section and the sections that it names.

    :raises BadTemplate: with the line that is wrong.
    """
    return _RequestReader(configuration, section).read()


class _RequestReader:
    def __init__(self, configuration: Configuration, section: Section) -> None:
        self._configuration = configuration
        self._section = section
        self._source = Source(configuration, for_request=True)

    def _key(self, name: str) -> Field | None:
        """A key of ``[ req ]``, else of the lines before any section, as OpenSSL looks it up."""
        return self._section.fields.get(name) or self._configuration.default.fields.get(name)

    def _text(self, name: str) -> str | None:
        known = self._key(name)
        return None if known is None else known.value

    def read(self) -> RequestTemplate:
        for known in self._section.fields.values():
            near = suggestion(known.name, list(_DECIDING))
            if known.name not in _DECIDING and near and not known.name.startswith(("x509_", "default_")):
                raise BadTemplate(known.line, f"req: unknown key {quoted(known.name)}{near}")
        mask = self._mask()
        prompt = self._text("prompt") != "no"
        named = self._key("distinguished_name")
        if named is None:
            raise BadTemplate(self._section.line, "req: distinguished_name is missing; it names the subject's section")
        names = self._source.section(named.value, Location("distinguished_name", named.line))
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
        known = self._key("string_mask")
        if known is None:
            return MASKS["utf8only"]
        if known.value not in MASKS:
            raise Location("string_mask", known.line).unknown("value", known.value, MASKS)
        return MASKS[known.value]

    def _digest(self) -> str | None:
        known = self._key("default_md")
        if known is None or known.value in ("default", "null", "none"):
            return None
        place = Location("default_md", known.line)
        name = known.value.lower().replace("sha2-", "sha").replace("sha-", "sha")
        if name in _WEAK_DIGESTS:
            raise place.error(f"{quoted(known.value)} is too weak; write sha256")
        if name not in _DIGESTS:
            raise place.unknown("digest", known.value, _DIGESTS)
        return name

    def _entries(self, section: Section, prompt: bool) -> list[NameEntry]:
        """The fields of a section of names or attributes with the values that they have without a person to ask."""
        entries = []
        for known in section.fields.values():
            if prompt and known.name.endswith(_SUFFIXES):
                continue
            chosen: Field | None = known
            if prompt:
                fields = section.fields
                chosen = fields.get(known.name + "_value") or fields.get(known.name + "_default")
            place = Location(known.name, known.line if chosen is None else chosen.line)
            if chosen is None or (prompt and not chosen.value):
                self._check_type(known.name, place)
                continue
            self._source.spend(place, len(chosen.value))
            self._check_length(section, known.name, chosen)
            self._check_octets(chosen, place)
            entries.append(NameEntry(known.name, chosen.value, place))
        return entries

    def _check_type(self, key: str, place: Location) -> None:
        """OpenSSL skips types that it does not know; a slip would lose an attribute."""
        attribute_oid(attribute_type(key)[0], place)

    def _check_length(self, section: Section, key: str, chosen: Field) -> None:
        for suffix, wrong in (("_min", int.__lt__), ("_max", int.__gt__)):
            bound = section.fields.get(key + suffix)
            if bound is None or chosen.name == key:
                continue
            limit = integer(bound.value, Location(key + suffix, bound.line), negative=True)
            if limit >= 0 and wrong(len(chosen.value), limit):
                raise Location(chosen.name, chosen.line).error(f"its length is outside {key}{suffix} = {limit}")

    def _check_octets(self, chosen: Field, place: Location) -> None:
        if self._text("utf8") == "no" and not chosen.value.isascii():
            raise place.error("characters outside ASCII need utf8 = yes in [ req ]")

    def _attributes(self, mask: int, prompt: bool) -> tuple[tuple[str, bytes], ...]:
        named = self._key("attributes")
        if named is None:
            return ()
        section = self._source.section(named.value, Location("attributes", named.line))
        found: dict[str, bytes] = {}
        for entry in self._entries(section, prompt):
            kind = attribute_type(entry.key)[0] if prompt else entry.key
            oid = attribute_oid(kind, entry.place)
            if oid in found:
                raise entry.place.error("the attribute stands twice")
            if oid == EXTENSION_REQUEST:
                raise entry.place.error("extensions are named by req_extensions")
            found[oid] = encode_string(oid, entry.value, mask, entry.place, secret=oid == _CHALLENGE_PASSWORD)
        return tuple(found.items())

    def _extensions(self) -> tuple[Compiled, ...]:
        named = self._key("req_extensions")
        if named is None:
            return ()
        section = self._source.section(named.value, Location("req_extensions", named.line))
        return compile_extensions(section, self._source)


def compile_extensions(section: Section, source: Source) -> tuple[Compiled, ...]:
    """Read the extensions of a section, each at most once.

    :raises BadTemplate: with the line that is wrong.
    """
    found: dict[str, Compiled] = {}
    for known in section.fields.values():
        compiled = compile_extension(known, source)
        if compiled.oid in found:
            raise BadTemplate(
                known.line, f"{known.name}: the extension stands already in line {found[compiled.oid].line}"
            )
        found[compiled.oid] = compiled
    return tuple(found.values())
