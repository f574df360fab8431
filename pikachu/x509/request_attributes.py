"""The attributes of a CSR (RFC 2986 section 4.1, RFC 2985 section 5.4).

Nothing here reaches a certificate but the subjectAltName that they request, so nothing here stops a CSR: what can't be
read is passed over.  A CSR that contradicts itself about an extension is refused where that extension is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pikachu.core.errors import BadCSR, MalformedRequest
from pikachu.x509 import der
from pikachu.x509.extension import Extension
from pikachu.x509.requested_name import loose_text

EXTENSION_REQUEST: Final = "1.2.840.113549.1.9.14"
MICROSOFT_EXTENSIONS: Final = "1.3.6.1.4.1.311.2.1.14"
CHALLENGE_PASSWORD: Final = "1.2.840.113549.1.9.7"  # noqa: S105 - an OID
CHANGE_SUBJECT_NAME: Final = "1.3.6.1.5.5.7.7.36"
_EXTENSIONS: Final = (EXTENSION_REQUEST, MICROSOFT_EXTENSIONS)

_MAXIMUM_ATTRIBUTES: Final = 64
_MAXIMUM_EXTENSIONS: Final = 64
_MAXIMUM_CHALLENGE: Final = 255


@dataclass(frozen=True, slots=True)
class IgnoredPart:
    """A part of a CSR that can't be read and reaches no certificate.

    :ivar oid: of the attribute or extension; ``""`` where that can't be read either.
    :ivar reason: one line.
    """

    oid: str
    reason: str


@dataclass(frozen=True, slots=True)
class RequestAttributes:
    """The attributes of a CSR.

    :ivar values: the OID and the DER values of each; no values where these can't be read.
    :ivar extensions: the first requested extension of each type, in order; their values may be anything.
    :ivar ambiguous: why requested extensions can't be copied, by OID.
    :ivar challenge_password: a secret.
    :ivar challenge_error: why there is no challenge password although there is the attribute, or ``None``.
    :ivar ignored: the parts that were passed over.
    """

    values: tuple[tuple[str, tuple[bytes, ...]], ...] = field(repr=False)
    extensions: tuple[Extension, ...] = field(repr=False)
    ambiguous: Mapping[str, str] = field(repr=False)
    challenge_password: str | None = field(repr=False)
    challenge_error: str | None = field(repr=False)
    ignored: tuple[IgnoredPart, ...] = field(repr=False)


def read_attributes(element: der.Element | None) -> RequestAttributes:
    """Read the attributes of a CSR.

    :param element: the field [0] of its CertificationRequestInfo; ``None`` where it is absent.
    :raises MalformedRequest: *element* is another field, or there are too many attributes or extensions.
    """
    ignored: list[IgnoredPart] = []
    values = () if element is None else _attributes(element, ignored)
    extensions, ambiguous = _requested_extensions(values, ignored)
    challenge_password, challenge_error = _challenge_password(values)
    return RequestAttributes(values, extensions, ambiguous, challenge_password, challenge_error, tuple(ignored))


def _attributes(element: der.Element, ignored: list[IgnoredPart]) -> tuple[tuple[str, tuple[bytes, ...]], ...]:
    """Parse the attributes [0], in any order: strongSwan does not sort them.

    :param ignored: receives the attributes, or their values, that can't be read.
    """
    attributes: list[tuple[str, tuple[bytes, ...]]] = []
    for count, attribute in enumerate(element.expect(0xA0).children(), 1):
        if count > _MAXIMUM_ATTRIBUTES:
            raise MalformedRequest(f"the request has more than {_MAXIMUM_ATTRIBUTES} attributes")
        try:
            oid = _first(attribute).oid()
        except MalformedRequest:
            ignored.append(IgnoredPart("", "The attribute can't be read."))
            continue
        try:
            values = _values(attribute)
        except MalformedRequest:
            ignored.append(IgnoredPart(oid, "The values of the attribute can't be read."))
            values = ()
        attributes.append((oid, values))
    return tuple(attributes)


def _first(element: der.Element) -> der.Element:
    """Return the first child of a SEQUENCE; what follows may be unreadable."""
    return der.element_at(element.buffer, element.expect(der.SEQUENCE).start, element.end)


def _values(attribute: der.Element) -> tuple[bytes, ...]:
    parts = attribute.sub()
    if len(parts) != 2:
        raise MalformedRequest("an attribute has a type and values")
    return tuple([value.whole for value in parts[1].expect(der.SET).sub()])


def _requested_extensions(
    attributes: tuple[tuple[str, tuple[bytes, ...]], ...], ignored: list[IgnoredPart]
) -> tuple[tuple[Extension, ...], Mapping[str, str]]:
    """Return the requested extensions, and why some of them can't be copied.

    Each value of each attribute for extensions that is a list of them counts; they may repeat each other.

    :param ignored: receives the values that are no list of extensions, and the extensions that can't be read.
    """
    extensions: dict[str, Extension] = {}
    ambiguous: dict[str, str] = {}
    count = 0
    for attribute, values in attributes:
        if attribute not in _EXTENSIONS:
            continue
        if not values:
            ignored.append(IgnoredPart(attribute, "The attribute has no value that can be read."))
        for value in values:
            try:
                elements = der.parse(value, der.SEQUENCE).sub()
            except MalformedRequest:
                ignored.append(IgnoredPart(attribute, "The value of the attribute is no list of extensions."))
                continue
            count += len(elements)
            if count > _MAXIMUM_EXTENSIONS:
                raise MalformedRequest(f"the request has more than {_MAXIMUM_EXTENSIONS} extensions")
            _add_extensions(elements, extensions, ambiguous, ignored)
    return tuple(extensions.values()), ambiguous


def _add_extensions(
    elements: list[der.Element],
    extensions: dict[str, Extension],
    ambiguous: dict[str, str],
    ignored: list[IgnoredPart],
) -> None:
    """Add the extensions of one extension request to those of the former ones."""
    seen: set[str] = set()
    for element in elements:
        try:
            oid = _first(element).oid()
        except MalformedRequest:
            ignored.append(IgnoredPart("", "A requested extension can't be read."))
            continue
        try:
            extension = _extension(element, oid)
        except MalformedRequest as error:
            ambiguous[oid] = f"the requested extension {oid} can't be read: {error.public}"
            ignored.append(IgnoredPart(oid, "The requested extension can't be read."))
            continue
        if oid in seen:
            ambiguous[oid] = f"the request has the extension {oid} twice"
            ignored.append(IgnoredPart(oid, "The extension is requested twice."))
        elif oid in extensions and extensions[oid].value != extension.value:
            ambiguous[oid] = f"the request has two extension requests with different values of the extension {oid}"
            ignored.append(IgnoredPart(oid, "The extension is requested with different values."))
        seen.add(oid)
        extensions.setdefault(oid, extension)


def _extension(element: der.Element, oid: str) -> Extension:
    parts = element.sub()
    if len(parts) not in (2, 3):
        raise MalformedRequest("an extension has an OID, perhaps a criticality, and a value")
    is_critical = len(parts) == 3 and parts[1].ber_boolean()
    return Extension(oid, is_critical, parts[-1].expect(der.OCTET_STRING).content)


def _challenge_password(attributes: tuple[tuple[str, tuple[bytes, ...]], ...]) -> tuple[str | None, str | None]:
    """Return the challengePassword (RFC 2985 section 5.4.1) in any string type, or why it can't be read."""
    found = [values for oid, values in attributes if oid == CHALLENGE_PASSWORD]
    if not found:
        return None, None
    texts = {_challenge_text(value) for values in found for value in values}
    if len(texts) != 1:
        return None, "the request has more than one challenge password" if texts else "the challenge password is empty"
    text = texts.pop()
    if text is None or len(text) > _MAXIMUM_CHALLENGE:
        return None, f"the challenge password is no character string of at most {_MAXIMUM_CHALLENGE} characters"
    return text, None


def _challenge_text(value: bytes) -> str | None:
    try:
        return loose_text(der.parse(value))
    except (BadCSR, MalformedRequest):
        return None
