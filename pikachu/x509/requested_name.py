"""Names in CSRs: values with a wrong string type are read, and encoded again as RFC 5280 demands.

Many programs write any character into a PrintableString, or every value as UTF8String.  The text of such a value is
clear; only its tag is wrong.
"""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import BadCSR
from pikachu.x509 import der
from pikachu.x509.names import (
    COUNTRY,
    IA5_ONLY,
    PRINTABLE,
    PRINTABLE_ONLY,
    Name,
    NameAttribute,
    attribute_name,
    check_text,
    is_country_code,
    is_known_type,
    name_from,
    require_unknown_type,
    string_value,
    type_and_value,
)

# Characters of a country, which a policy may allow to be another code than ISO 3166's of two letters.
_MAXIMUM_COUNTRY: Final = 64
# PKCS9String allows IA5String beside DirectoryString (RFC 2985 section 5.2.1).
_UNSTRUCTURED_NAME: Final = "1.2.840.113549.1.9.2"
# Types of DirectoryString that RFC 5280 section 4.1.2.4 leaves to names from before 2004.
_OUTDATED: Final = frozenset((der.T61_STRING, der.BMP_STRING, der.UNIVERSAL_STRING, der.GENERAL_STRING))
_ASCII: Final = frozenset((der.IA5_STRING, der.NUMERIC_STRING, der.VISIBLE_STRING))
# Types of ASCII characters, which programs also write UTF-8 or Latin-1 into.
_ASCII_TYPES: Final = _ASCII | {der.PRINTABLE_STRING, der.GENERAL_STRING}


def requested_name(element: der.Element) -> Name:
    """Read a Name element; its ``der`` differs from the received bytes where these have a wrong string type.

    The types are PrintableString for country, serialNumber and dnQualifier, IA5String for e-mail addresses and
    domain components, and UTF8String for all other values that are not right as they are.

    :raises MalformedRequest: *element* is not a Name.
    :raises BadCSR: the name is too long, or a value is empty, too long, not representable in the type that its
        attribute demands, or contains control characters.
    """
    rdns = name_from(element, _attribute).rdns
    encoded = der.sequence(
        *(der.set_of(der.sequence(der.oid(attribute.oid), attribute.value_der) for attribute in rdn) for rdn in rdns)
    )
    return Name(element.whole if encoded == element.whole else encoded, rdns)


def loose_text(element: der.Element) -> str | None:
    """Return the text of a character string whose bytes need not belong to its type.

    :returns: ``None`` for other types.
    :raises BadCSR: the bytes are no characters.
    """
    if element.tag not in _ASCII_TYPES:
        return string_value(element)
    content = element.content
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def require_country_codes(name: Name) -> None:
    """Require country codes of two letters (RFC 5280 appendix A.1).

    :raises BadCSR: a country is another text.
    """
    if not all(is_country_code(value) for value in name.values(COUNTRY)):
        raise BadCSR("C in a name is a country code of two letters; the policy allows no other code")


def _attribute(element: der.Element) -> NameAttribute:
    oid, received = type_and_value(element)
    text = loose_text(received)
    if text is None:
        require_unknown_type(oid)
        return NameAttribute(oid, None, received.whole)
    check_text(oid, text, bound=_MAXIMUM_COUNTRY if oid == COUNTRY else None)
    return NameAttribute(oid, text, _encoded(oid, text, received))


def _encoded(oid: str, text: str, received: der.Element) -> bytes:
    if oid in PRINTABLE_ONLY:
        content = text.encode("utf-8")
        if not PRINTABLE.fullmatch(content):
            raise BadCSR(
                f"{attribute_name(oid)} in a name has characters that do not belong there; it consists of letters, "
                "digits, spaces and '()+,-./:=?"
            )
        return der.tlv(der.PRINTABLE_STRING, content)
    if oid in IA5_ONLY:
        if not text.isascii():
            raise BadCSR(f"{attribute_name(oid)} in a name has characters outside ASCII; use A-labels (xn--)")
        return der.ia5_string(text)
    if _is_right(oid, text, received):
        return received.whole
    return der.utf8_string(text)


def _is_right(oid: str, text: str, received: der.Element) -> bool:
    """Return whether the received string type suits the text and the attribute type."""
    tag = received.tag
    if tag == der.PRINTABLE_STRING:
        return PRINTABLE.fullmatch(received.content) is not None
    if tag in _ASCII:
        return text.isascii() and (oid == _UNSTRUCTURED_NAME or not is_known_type(oid))
    return tag not in _OUTDATED
