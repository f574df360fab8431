"""Extensions of a text, encoded from their values (x509v3_config(5) of OpenSSL 3.0)."""

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
    ascii_bytes,
    base_name,
    boolean,
    hexadecimal,
    integer,
    object_identifier,
)

Value = bytes | Callable[[ExtensionContext], bytes | None]
"""The DER inside extnValue, or a function that builds it; ``None`` omits the extension."""

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


def _basic_constraints(value: str, source: Source, location: Location) -> bytes:
    fields: dict[str, Item] = {}
    for item in source.items(value, location):
        if item.name not in ("CA", "pathlen"):
            raise item.location.unknown("name", item.name, ("CA", "pathlen"))
        if item.name in fields:
            raise item.location.error(f"{item.name} stands twice")
        fields[item.name] = item
    parts = b""
    authority = "CA" in fields and boolean(fields["CA"])
    if authority:
        parts += der.boolean(True)
    if "pathlen" in fields:
        length = fields["pathlen"]
        if not authority:
            raise length.location.error("pathlen needs CA:TRUE (RFC 5280 section 4.2.1.9)")
        parts += der.integer(integer(length.text(), length.location))
    return der.tlv(der.SEQUENCE, parts)


def _bits(names: tuple[tuple[str, str], ...]) -> Callable[[str, Source, Location], bytes]:
    numbers = {name: number for number, both in enumerate(names) for name in both}

    def build(value: str, source: Source, location: Location) -> bytes:
        bits = set()
        for item in source.items(value, location):
            if item.name not in numbers or item.value:
                raise item.location.unknown("name", item.name, numbers)
            bits.add(numbers[item.name])
        return der.named_bits(bits)

    return build


def _extended_key_usage(value: str, source: Source, location: Location) -> bytes:
    purposes = []
    for item in source.items(value, location):
        # In a section the values are the purposes; the names only need to be unique.
        name = item.name if item.value is None else item.value
        purpose = der.oid(object_identifier(name, item.location, "purpose", _PURPOSES))
        if purpose in purposes:
            raise item.location.error(f"{quoted(name)} stands twice")
        purposes.append(purpose)
    return der.sequence(*purposes)


def _subject_key_identifier(value: str, source: Source, location: Location) -> Value:
    if value == "none":
        return lambda _: None
    if value == "hash":
        return lambda context: der.octet_string(context.subject_ski or key_identifier(context.subject_spki))
    return der.octet_string(hexadecimal(value, location))


def key_identifier(spki_der: bytes) -> bytes:
    """Return the SHA-1 of the BIT STRING's content (RFC 5280 section 4.2.1.2, method 1).

    :raises MalformedRequest: *spki_der* is not a SubjectPublicKeyInfo.
    """
    parts = der.parse(spki_der, der.SEQUENCE).sub()
    if len(parts) != 2:
        raise MalformedRequest("a SubjectPublicKeyInfo has two parts")
    return hashlib.sha1(parts[1].expect(der.BIT_STRING).content[1:], usedforsecurity=False).digest()


def _authority_key_identifier(value: str, source: Source, location: Location) -> Value:
    if source.for_request:
        raise location.error("a request has no issuer yet; leave it to the extensions of the certificate")
    items = source.items(value, location)
    if [(item.name, item.value) for item in items] == [("none", None)]:
        return lambda _: None
    options: dict[str, bool] = {}
    for item in items:
        if item.name not in ("keyid", "issuer"):
            raise item.location.unknown("name", item.name, ("keyid", "issuer", "none"))
        if item.value not in (None, "always"):
            raise item.location.error(f"{item.name} takes no value but always")
        if item.name in options:
            raise item.location.error(f"{item.name} stands twice")
        options[item.name] = item.value == "always"
    key, issuer, always = "keyid" in options, "issuer" in options, options.get("issuer", False)

    def build(context: ExtensionContext) -> bytes | None:
        parts = b""
        if key and context.issuer_key_identifier:
            parts += der.implicit(0, context.issuer_key_identifier)
        elif options.get("keyid", False):
            raise location.error("the issuing CA's certificate has no subjectKeyIdentifier")
        if issuer and (always or not parts):
            parts += der.explicit(1, der.explicit(4, context.issuer_issuer_der))
            parts += der.implicit(2, der.integer_content(context.issuer_serial))
        return der.tlv(der.SEQUENCE, parts) if parts else None

    return build


def _alternative_names(value: str, source: Source, location: Location) -> Value:
    """Encode subjectAltName: names, and ``email:copy`` (in a CSR also ``email:move``) for the subject's addresses."""
    parts: list[bytes | None] = []
    for item in source.items(value, location):
        if base_name(item.name) == "email" and item.value in ("copy", "move"):
            if item.value == "move" and not source.for_request:
                raise item.location.error("email:move would change the subject of the request; write email:copy")
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


def _issuer_alternative_names(value: str, source: Source, location: Location) -> Value:
    parts: list[bytes | None] = []
    for item in source.items(value, location):
        if base_name(item.name) == "issuer" and item.value == "copy":
            if source.for_request:
                raise item.location.error("a request has no issuer yet")
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


def _information_access(value: str, source: Source, location: Location) -> bytes:
    descriptions = []
    for item in source.items(value, location):
        method, semicolon, kind = item.name.partition(";")
        if not semicolon:
            raise item.location.error(f"{quoted(item.name)} is written method;kind:name, such as OCSP;URI:http://…")
        oid = der.oid(object_identifier(method, item.location, "access method", _ACCESS_METHODS))
        descriptions.append(der.sequence(oid, general_name(Item(kind, item.value, item.location), source)))
    return der.sequence(*descriptions)


def _name_constraints(value: str, source: Source, location: Location) -> bytes:
    permitted: list[bytes] = []
    excluded: list[bytes] = []
    for item in source.items(value, location):
        which, semicolon, kind = item.name.partition(";")
        if not semicolon or which not in ("permitted", "excluded"):
            raise item.location.error(f"{quoted(item.name)} is written permitted;kind:name or excluded;kind:name")
        base = general_name(Item(kind, item.value, item.location), source, constraint=True)
        (permitted if which == "permitted" else excluded).append(der.sequence(base))
    parts = b""
    if permitted:
        parts += der.explicit(0, b"".join(permitted))
    if excluded:
        parts += der.explicit(1, b"".join(excluded))
    return der.tlv(der.SEQUENCE, parts)


def _policy_constraints(value: str, source: Source, location: Location) -> bytes:
    known = ("requireExplicitPolicy", "inhibitPolicyMapping")
    fields: dict[str, bytes] = {}
    for item in source.items(value, location):
        if item.name not in known:
            raise item.location.unknown("name", item.name, known)
        if item.name in fields:
            raise item.location.error(f"{item.name} stands twice")
        number = der.integer_content(integer(item.text(), item.location))
        fields[item.name] = der.implicit(known.index(item.name), number)
    return der.sequence(*(fields[name] for name in known if name in fields))


def _policy_mappings(value: str, source: Source, location: Location) -> bytes:
    return der.sequence(
        *(
            der.sequence(
                der.oid(object_identifier(item.name, item.location, "policy")),
                der.oid(object_identifier(item.text(), item.location, "policy")),
            )
            for item in source.items(value, location)
        )
    )


def _inhibit_any_policy(value: str, source: Source, location: Location) -> bytes:
    return der.integer(integer(value, location))


def _tls_feature(value: str, source: Source, location: Location) -> bytes:
    features = []
    for item in source.items(value, location):
        name = item.name if item.value is None else item.value
        number = _TLS_FEATURES.get(name.lower())
        if number is None:
            if not name.isdecimal():
                raise item.location.unknown("TLS feature", name, _TLS_FEATURES)
            number = integer(name, item.location)
            if number > 0xFFFF:
                raise item.location.error(f"{quoted(name)} is larger than 65535")
        features.append(der.integer(number))
    return der.sequence(*features)


def _no_check(value: str, source: Source, location: Location) -> bytes:
    if value.lower() not in _NO_CHECK:
        raise location.error(f"it has no value; write noCheck = ignored instead of {quoted(value)}")
    return der.null()


def _netscape_text(value: str, source: Source, location: Location) -> bytes:
    return der.tlv(der.IA5_STRING, ascii_bytes(value, location))


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
# The outer tag of a DER: or ASN1: value; any other one would break relying parties.
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
    """Return whether *name* is the name or OID of an extension."""
    return name in _KINDS or (name[:2] in ("0.", "1.", "2.") and name.replace(".", "").isdecimal())


@dataclass(frozen=True, slots=True)
class Compiled:
    """A parsed extension: constant, or built for each certificate.

    :ivar finished: ``None`` when *build* returns the value.
    """

    oid: str
    critical: bool
    line: int
    finished: Extension | None
    build: Callable[[ExtensionContext], bytes | None] | None

    def extension(self, context: ExtensionContext) -> Extension | None:
        """Return the extension for one certificate, or ``None`` to omit it."""
        if self.finished is not None or self.build is None:
            return self.finished
        value = self.build(context)
        return None if value is None else Extension(self.oid, self.critical, value)


def compile_extension(setting: Field, source: Source) -> Compiled:
    """Parse a ``name = [critical,] value`` of a section.

    :raises BadTemplate: with the invalid line.
    """
    name = setting.name
    location = Location(name, setting.line)
    value = setting.value
    critical = value.startswith("critical,")
    if critical:
        value = value.removeprefix("critical,").lstrip(" \t")
    if value.startswith(("DER:", "ASN1:")):
        oid = object_identifier(name, location, "extension", _KINDS)
        result: Value = _generic(oid, value, source, location)
    else:
        kind = _KINDS.get(name)
        if kind is None:
            if is_extension_name(name):
                raise location.error("an extension named by its OID has a value that begins with ASN1: or DER:")
            raise BadTemplate(setting.line, f"unknown extension {quoted(name)}{suggestion(name, _KINDS)}")
        if not value and name not in ("noCheck",):
            raise location.error("it has no value")
        oid = kind.oid
        result = kind.build(value, source, location)
    if isinstance(result, bytes):
        return Compiled(oid, critical, setting.line, Extension(oid, critical, result), None)
    return Compiled(oid, critical, setting.line, None, result)


def _generic(oid: str, value: str, source: Source, location: Location) -> bytes:
    form, _, text = value.partition(":")
    text = text.lstrip(" \t")
    if form == "ASN1":
        if not text:
            raise location.error("nothing follows ASN1:")
        content = asn1.generate(text, source, location)
    else:
        content = hexadecimal(text, location)
        try:
            der.parse(content)
        except MalformedRequest as error:
            raise location.error(f"the value is not one DER element: {error.public}") from None
    expected = _TAGS.get(oid)
    if expected is not None and content[0] != expected:
        raise location.error(f"the value must begin with the tag 0x{expected:02x}, not 0x{content[0]:02x}")
    return content
