"""The extensions that a text may name, each from its value to DER (x509v3_config(5) of OpenSSL 3.0)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import BadTemplate, MalformedRequest
from pikachu.x509 import der
from pikachu.x509.extension import Extension
from pikachu.x509.template import asn1
from pikachu.x509.template.configuration import Field, quoted, suggestion
from pikachu.x509.template.context import ExtensionContext
from pikachu.x509.template.distinguished_name import email_addresses
from pikachu.x509.template.distribution import certificate_policies, crl_distribution_points
from pikachu.x509.template.general_names import general_name
from pikachu.x509.template.object_names import SHORT
from pikachu.x509.template.values import (
    Item,
    Location,
    Source,
    ascii_octets,
    base_name,
    boolean,
    hexadecimal,
    integer,
    object_identifier,
)

Value = bytes | Callable[[ExtensionContext], bytes | None]
"""The DER inside extnValue, or how to make it; ``None`` leaves the extension out."""

_KEY_USAGES: Final = (
    ("digitalSignature", "Digital Signature"),
    ("nonRepudiation", "Non Repudiation"),
    ("keyEncipherment", "Key Encipherment"),
    ("dataEncipherment", "Data Encipherment"),
    ("keyAgreement", "Key Agreement"),
    ("keyCertSign", "Certificate Sign"),
    ("cRLSign", "CRL Sign"),
    ("encipherOnly", "Encipher Only"),
    ("decipherOnly", "Decipher Only"),
)
_NETSCAPE_TYPES: Final = (
    ("client", "SSL Client"),
    ("server", "SSL Server"),
    ("email", "S/MIME"),
    ("objsign", "Object Signing"),
    ("reserved", "Unused"),
    ("sslCA", "SSL CA"),
    ("emailCA", "S/MIME CA"),
    ("objCA", "Object Signing CA"),
)
_PURPOSES: Final = tuple(
    name
    for name, oid in SHORT.items()
    if oid.startswith(("1.3.6.1.5.5.7.3.", "1.3.6.1.4.1.311.10.3.", "1.3.6.1.4.1.311.2.1.2", "1.3.6.1.4.1.311.20.2.2"))
)
_ACCESS_METHODS: Final = tuple(name for name, oid in SHORT.items() if oid.startswith("1.3.6.1.5.5.7.48."))
_TLS_FEATURES: Final = {"status_request": 5, "status_request_v2": 17}
_NO_CHECK: Final = frozenset(("", "ignored", "null", "true", "yes"))


def _basic_constraints(value: str, source: Source, place: Location) -> bytes:
    found: dict[str, Item] = {}
    for item in source.items(value, place):
        if item.name not in ("CA", "pathlen"):
            raise item.place.unknown("name", item.name, ("CA", "pathlen"))
        if item.name in found:
            raise item.place.error(f"{item.name} stands twice")
        found[item.name] = item
    parts = b""
    authority = "CA" in found and boolean(found["CA"])
    if authority:
        parts += der.boolean(True)
    if "pathlen" in found:
        length = found["pathlen"]
        if not authority:
            raise length.place.error("pathlen needs CA:TRUE (RFC 5280 section 4.2.1.9)")
        parts += der.integer(integer(length.text(), length.place))
    return der.tlv(der.SEQUENCE, parts)


def _bits(names: tuple[tuple[str, str], ...]) -> Callable[[str, Source, Location], bytes]:
    numbers = {name: number for number, both in enumerate(names) for name in both}

    def build(value: str, source: Source, place: Location) -> bytes:
        bits = set()
        for item in source.items(value, place):
            if item.name not in numbers or item.value:
                raise item.place.unknown("name", item.name, numbers)
            bits.add(numbers[item.name])
        return der.named_bits(bits)

    return build


def _extended_key_usage(value: str, source: Source, place: Location) -> bytes:
    purposes = []
    for item in source.items(value, place):
        # In a section the purposes are the values; the names only differ.
        name = item.name if item.value is None else item.value
        purpose = der.oid(object_identifier(name, item.place, "purpose", _PURPOSES))
        if purpose in purposes:
            raise item.place.error(f"{quoted(name)} stands twice")
        purposes.append(purpose)
    return der.sequence(*purposes)


def _subject_key_identifier(value: str, source: Source, place: Location) -> Value:
    if value == "none":
        return lambda _: None
    if value == "hash":
        return lambda context: der.octet_string(key_identifier(context.subject_spki))
    return der.octet_string(hexadecimal(value, place))


def key_identifier(spki_der: bytes) -> bytes:
    """SHA-1 of the BIT STRING's content (RFC 5280 section 4.2.1.2, method 1).

    :raises MalformedRequest: no SubjectPublicKeyInfo.
    """
    parts = der.parse(spki_der, der.SEQUENCE).sub()
    if len(parts) != 2:
        raise MalformedRequest("a SubjectPublicKeyInfo has two parts")
    return hashlib.sha1(parts[1].expect(der.BIT_STRING).content[1:], usedforsecurity=False).digest()


def _authority_key_identifier(value: str, source: Source, place: Location) -> Value:
    if source.for_request:
        raise place.error("a request has no issuer yet; leave it to the extensions of the certificate")
    items = source.items(value, place)
    if [(item.name, item.value) for item in items] == [("none", None)]:
        return lambda _: None
    wanted: dict[str, bool] = {}
    for item in items:
        if item.name not in ("keyid", "issuer"):
            raise item.place.unknown("name", item.name, ("keyid", "issuer", "none"))
        if item.value not in (None, "always"):
            raise item.place.error(f"{item.name} takes no value but always")
        if item.name in wanted:
            raise item.place.error(f"{item.name} stands twice")
        wanted[item.name] = item.value == "always"
    key, issuer, always = "keyid" in wanted, "issuer" in wanted, wanted.get("issuer", False)

    def build(context: ExtensionContext) -> bytes | None:
        parts = b""
        if key and context.issuer_key_identifier:
            parts += der.implicit(0, context.issuer_key_identifier)
        elif wanted.get("keyid", False):
            raise place.error("the issuing CA's certificate has no subjectKeyIdentifier")
        if issuer and (always or not parts):
            parts += der.explicit(1, der.explicit(4, context.issuer_issuer_der))
            parts += der.implicit(2, der.integer_content(context.issuer_serial))
        return der.tlv(der.SEQUENCE, parts) if parts else None

    return build


def _alternative_names(value: str, source: Source, place: Location) -> Value:
    """subjectAltName: names, and ``email:copy`` (in a request also ``email:move``) where the addresses go."""
    parts: list[bytes | None] = []
    for item in source.items(value, place):
        if base_name(item.name) == "email" and item.value in ("copy", "move"):
            if item.value == "move" and not source.for_request:
                raise item.place.error("email:move would change the subject of the request; write email:copy")
            source.moves_email = source.moves_email or item.value == "move"
            parts.append(None)
        else:
            parts.append(general_name(item, source))
    if None not in parts:
        return der.sequence(*(part for part in parts if part is not None))

    def build(context: ExtensionContext) -> bytes | None:
        copied = b"".join(der.implicit(1, address) for address in email_addresses(context.subject_der))
        content = b"".join(copied if part is None else part for part in parts)
        return der.tlv(der.SEQUENCE, content) if content else None

    return build


def _issuer_alternative_names(value: str, source: Source, place: Location) -> Value:
    parts: list[bytes | None] = []
    for item in source.items(value, place):
        if base_name(item.name) == "issuer" and item.value == "copy":
            if source.for_request:
                raise item.place.error("a request has no issuer yet")
            parts.append(None)
        else:
            parts.append(general_name(item, source))
    if None not in parts:
        return der.sequence(*(part for part in parts if part is not None))

    def build(context: ExtensionContext) -> bytes | None:
        names = context.issuer_names
        copied = b"" if names is None else der.parse(names, der.SEQUENCE).content
        content = b"".join(copied if part is None else part for part in parts)
        return der.tlv(der.SEQUENCE, content) if content else None

    return build


def _information_access(value: str, source: Source, place: Location) -> bytes:
    descriptions = []
    for item in source.items(value, place):
        method, semicolon, kind = item.name.partition(";")
        if not semicolon:
            raise item.place.error(f"{quoted(item.name)} is written method;kind:name, such as OCSP;URI:http://…")
        oid = der.oid(object_identifier(method, item.place, "access method", _ACCESS_METHODS))
        descriptions.append(der.sequence(oid, general_name(Item(kind, item.value, item.place), source)))
    return der.sequence(*descriptions)


def _name_constraints(value: str, source: Source, place: Location) -> bytes:
    permitted: list[bytes] = []
    excluded: list[bytes] = []
    for item in source.items(value, place):
        which, semicolon, kind = item.name.partition(";")
        if not semicolon or which not in ("permitted", "excluded"):
            raise item.place.error(f"{quoted(item.name)} is written permitted;kind:name or excluded;kind:name")
        base = general_name(Item(kind, item.value, item.place), source, constraint=True)
        (permitted if which == "permitted" else excluded).append(der.sequence(base))
    parts = b""
    if permitted:
        parts += der.explicit(0, b"".join(permitted))
    if excluded:
        parts += der.explicit(1, b"".join(excluded))
    return der.tlv(der.SEQUENCE, parts)


def _policy_constraints(value: str, source: Source, place: Location) -> bytes:
    known = ("requireExplicitPolicy", "inhibitPolicyMapping")
    found: dict[str, bytes] = {}
    for item in source.items(value, place):
        if item.name not in known:
            raise item.place.unknown("name", item.name, known)
        if item.name in found:
            raise item.place.error(f"{item.name} stands twice")
        number = der.integer_content(integer(item.text(), item.place))
        found[item.name] = der.implicit(known.index(item.name), number)
    return der.sequence(*(found[name] for name in known if name in found))


def _policy_mappings(value: str, source: Source, place: Location) -> bytes:
    return der.sequence(
        *(
            der.sequence(
                der.oid(object_identifier(item.name, item.place, "policy")),
                der.oid(object_identifier(item.text(), item.place, "policy")),
            )
            for item in source.items(value, place)
        )
    )


def _inhibit_any_policy(value: str, source: Source, place: Location) -> bytes:
    return der.integer(integer(value, place))


def _tls_feature(value: str, source: Source, place: Location) -> bytes:
    features = []
    for item in source.items(value, place):
        name = item.name if item.value is None else item.value
        number = _TLS_FEATURES.get(name.lower())
        if number is None:
            if not name.isdecimal():
                raise item.place.unknown("TLS feature", name, _TLS_FEATURES)
            number = integer(name, item.place)
            if number > 0xFFFF:
                raise item.place.error(f"{quoted(name)} is larger than 65535")
        features.append(der.integer(number))
    return der.sequence(*features)


def _no_check(value: str, source: Source, place: Location) -> bytes:
    if value.lower() not in _NO_CHECK:
        raise place.error(f"it has no value; write noCheck = ignored instead of {quoted(value)}")
    return der.null()


def _netscape_text(value: str, source: Source, place: Location) -> bytes:
    return der.tlv(der.IA5_STRING, ascii_octets(value, place))


@dataclass(frozen=True, slots=True)
class _Kind:
    oid: str
    build: Callable[[str, Source, Location], Value]


_KINDS: Final = {
    name: _Kind(SHORT[name], build)
    for name, build in (
        ("basicConstraints", _basic_constraints),
        ("keyUsage", _bits(_KEY_USAGES)),
        ("extendedKeyUsage", _extended_key_usage),
        ("subjectKeyIdentifier", _subject_key_identifier),
        ("authorityKeyIdentifier", _authority_key_identifier),
        ("subjectAltName", _alternative_names),
        ("issuerAltName", _issuer_alternative_names),
        ("authorityInfoAccess", _information_access),
        ("subjectInfoAccess", _information_access),
        ("crlDistributionPoints", crl_distribution_points),
        ("freshestCRL", crl_distribution_points),
        ("certificatePolicies", certificate_policies),
        ("nameConstraints", _name_constraints),
        ("policyConstraints", _policy_constraints),
        ("policyMappings", _policy_mappings),
        ("inhibitAnyPolicy", _inhibit_any_policy),
        ("tlsfeature", _tls_feature),
        ("noCheck", _no_check),
        ("nsCertType", _bits(_NETSCAPE_TYPES)),
        ("nsComment", _netscape_text),
        ("nsBaseUrl", _netscape_text),
        ("nsRevocationUrl", _netscape_text),
        ("nsCaRevocationUrl", _netscape_text),
        ("nsRenewalUrl", _netscape_text),
        ("nsCaPolicyUrl", _netscape_text),
        ("nsSslServerName", _netscape_text),
    )
}
# What a value given as DER: or ASN1: begins with; what else would stand there breaks whoever reads it.
_TAGS: Final[Mapping[str, int]] = {
    "2.5.29.14": der.OCTET_STRING,
    "2.5.29.15": der.BIT_STRING,
    "2.5.29.54": der.INTEGER,
} | {
    SHORT[name]: der.SEQUENCE
    for name in (
        *("basicConstraints", "extendedKeyUsage", "authorityKeyIdentifier", "subjectAltName", "issuerAltName"),
        *("authorityInfoAccess", "subjectInfoAccess", "crlDistributionPoints", "freshestCRL", "certificatePolicies"),
        *("nameConstraints", "policyConstraints", "policyMappings", "tlsfeature"),
    )
}


def is_extension_name(name: str) -> bool:
    """Whether a field of that name is an extension: by name or OID."""
    return name in _KINDS or (name[:2] in ("0.", "1.", "2.") and name.replace(".", "").isdecimal())


@dataclass(frozen=True, slots=True)
class Compiled:
    """An extension of a text: finished, or waiting for what it depends on.

    :ivar finished: ``None`` where *build* makes the value.
    """

    oid: str
    critical: bool
    line: int
    finished: Extension | None
    build: Callable[[ExtensionContext], bytes | None] | None

    def extension(self, context: ExtensionContext) -> Extension | None:
        """The extension of one certificate; ``None`` when it is left out."""
        if self.finished is not None or self.build is None:
            return self.finished
        value = self.build(context)
        return None if value is None else Extension(self.oid, self.critical, value)


def compile_extension(known: Field, source: Source) -> Compiled:
    """Read one ``name = [critical,] value`` of a section.

    :raises BadTemplate: with the line that is wrong.
    """
    name = known.name
    place = Location(name, known.line)
    value = known.value
    critical = value.startswith("critical,")
    if critical:
        value = value.removeprefix("critical,").lstrip(" \t")
    if value.startswith(("DER:", "ASN1:")):
        oid = object_identifier(name, place, "extension", _KINDS)
        result: Value = _generic(oid, value, source, place)
    else:
        kind = _KINDS.get(name)
        if kind is None:
            if is_extension_name(name):
                raise place.error("an extension named by its OID has a value that begins with ASN1: or DER:")
            raise BadTemplate(known.line, f"unknown extension {quoted(name)}{suggestion(name, _KINDS)}")
        if not value and name not in ("noCheck",):
            raise place.error("it has no value")
        oid = kind.oid
        result = kind.build(value, source, place)
    if isinstance(result, bytes):
        return Compiled(oid, critical, known.line, Extension(oid, critical, result), None)
    return Compiled(oid, critical, known.line, None, result)


def _generic(oid: str, value: str, source: Source, place: Location) -> bytes:
    form, _, text = value.partition(":")
    text = text.lstrip(" \t")
    if form == "ASN1":
        if not text:
            raise place.error("nothing follows ASN1:")
        content = asn1.generate(text, source, place)
    else:
        content = hexadecimal(text, place)
        try:
            der.parse(content)
        except MalformedRequest as error:
            raise place.error(f"the value is not one DER element: {error.public}") from None
    expected = _TAGS.get(oid)
    if expected is not None and content[0] != expected:
        raise place.error(f"the value must begin with the tag 0x{expected:02x}, not 0x{content[0]:02x}")
    return content
