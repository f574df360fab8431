"""Distinguished names: parsing, checks, text form, comparison and construction.

The text form is that of RFC 4514, and escapes everything that could deceive a reader (control characters,
changes of writing direction, invisible characters).  Limits are those of RFC 5280 appendix A.1.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

from pikachu.core.errors import BadCSR, MalformedRequest
from pikachu.x509 import der

COMMON_NAME: Final = "2.5.4.3"
COUNTRY: Final = "2.5.4.6"
EMAIL_ADDRESS: Final = "1.2.840.113549.1.9.1"
DOMAIN_COMPONENT: Final = "0.9.2342.19200300.100.1.25"

MAXIMUM_SIZE: Final = 8192
"""Bytes of a DER Name.  RFC 5280 bounds each attribute, some at 32768 characters; this bounds the cost of a name."""
_MAXIMUM_ATTRIBUTES: Final = 64

# OID: (RFC 4514 or OpenSSL name, upper bound in characters).
_KNOWN: Final = {
    COMMON_NAME: ("CN", 64),
    "2.5.4.4": ("SN", 32768),
    "2.5.4.5": ("serialNumber", 64),
    COUNTRY: ("C", 2),
    "2.5.4.7": ("L", 128),
    "2.5.4.8": ("ST", 128),
    "2.5.4.9": ("STREET", 128),
    "2.5.4.10": ("O", 64),
    "2.5.4.11": ("OU", 64),
    "2.5.4.12": ("title", 64),
    "2.5.4.13": ("description", 1024),
    "2.5.4.15": ("businessCategory", 128),
    "2.5.4.17": ("postalCode", 40),
    "2.5.4.20": ("telephoneNumber", 32),
    "2.5.4.41": ("name", 32768),
    "2.5.4.42": ("GN", 32768),
    "2.5.4.43": ("initials", 32768),
    "2.5.4.44": ("generationQualifier", 32768),
    "2.5.4.46": ("dnQualifier", 64),
    "2.5.4.65": ("pseudonym", 128),
    "2.5.4.97": ("organizationIdentifier", 256),
    "0.9.2342.19200300.100.1.1": ("UID", 256),
    DOMAIN_COMPONENT: ("DC", 63),
    EMAIL_ADDRESS: ("emailAddress", 255),
    "1.2.840.113549.1.9.2": ("unstructuredName", 255),
    "1.2.840.113549.1.9.8": ("unstructuredAddress", 255),
}
_OIDS: Final = {name.lower(): oid for oid, (name, _) in _KNOWN.items()} | {
    "commonname": COMMON_NAME,
    "countryname": COUNTRY,
    "localityname": "2.5.4.7",
    "stateorprovincename": "2.5.4.8",
    "s": "2.5.4.8",
    "organizationname": "2.5.4.10",
    "organizationalunitname": "2.5.4.11",
    "surname": "2.5.4.4",
    "givenname": "2.5.4.42",
    "e": EMAIL_ADDRESS,
    "email": EMAIL_ADDRESS,
    "domaincomponent": DOMAIN_COMPONENT,
    "userid": "0.9.2342.19200300.100.1.1",
}
_OID_TEXT: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,19})){1,20}")
PRINTABLE: Final = re.compile(rb"[A-Za-z0-9 '()+,./:=?-]*")
"""The alphabet of a PrintableString (X.680 section 41.4)."""
PRINTABLE_ONLY: Final = frozenset((COUNTRY, "2.5.4.5", "2.5.4.46"))
"""Attribute types whose values are PrintableStrings (RFC 5280 appendix A.1)."""
IA5_ONLY: Final = frozenset((EMAIL_ADDRESS, DOMAIN_COMPONENT))
"""Attribute types whose values are IA5Strings."""
_ESCAPED: Final = frozenset(',+"\\<>;')
_HEX_PAIR: Final = re.compile(r"[0-9A-Fa-f]{2}")
# UAX #15 section 13: no text in any language has more consecutive combining marks.
_MAXIMUM_MARKS: Final = 30
_GRAPHEME_JOINER: Final = "\u034f"


@dataclass(frozen=True, slots=True)
class NameAttribute:
    """One AttributeTypeAndValue.

    :ivar oid: dotted.
    :ivar value: the text, or ``None`` when the type is not a string.
    :ivar value_der: the complete encoded value.
    """

    oid: str
    value: str | None
    value_der: bytes

    @property
    def text(self) -> str:
        """The RFC 4514 text, such as ``CN=x``."""
        known = _KNOWN.get(self.oid)
        if known is None or self.value is None:
            return f"{self.oid}=#{self.value_der.hex()}"
        return f"{known[0]}={escape_value(self.value)}"


@dataclass(frozen=True)
class Name:
    """A distinguished name.

    :ivar der: the bytes as received.
    :ivar rdns: the relative distinguished names in the order of the encoding, each with its attributes.
    """

    der: bytes
    rdns: tuple[tuple[NameAttribute, ...], ...]

    @cached_property
    def text(self) -> str:
        """The RFC 4514 text: the last relative distinguished name comes first."""
        return ",".join("+".join(attribute.text for attribute in rdn) for rdn in reversed(self.rdns))

    @property
    def is_empty(self) -> bool:
        """Whether the name has no attributes."""
        return not self.rdns

    @property
    def common_name(self) -> str:
        """The last commonName, unescaped, or ``""``."""
        for rdn in reversed(self.rdns):
            for attribute in rdn:
                if attribute.oid == COMMON_NAME:
                    return attribute.value or ""
        return ""

    def values(self, oid: str) -> tuple[str, ...]:
        """Return all values of an attribute type, in the order of the encoding."""
        return tuple(a.value for rdn in self.rdns for a in rdn if a.oid == oid and a.value is not None)


# Most names need no escaping.
_PLAIN: Final = re.compile("[A-Za-z0-9._-]+(?: [A-Za-z0-9._-]+)*")


def escape_value(value: str) -> str:
    """Escape an attribute value as in RFC 4514 section 2.4, with invisible characters in hexadecimal."""
    if _PLAIN.fullmatch(value):
        return value
    last = len(value) - 1
    return "".join(
        _escape_character(character, index in (0, last) and (character == " " or (character == "#" and index == 0)))
        for index, character in enumerate(value)
    )


def _escape_character(character: str, always: bool) -> str:
    if always or character in _ESCAPED:
        return "\\" + character
    if character == " " or character.isprintable():
        return character
    return "\\" + character.encode("utf-8", "surrogatepass").hex("\\").upper()


def parse_name(name_der: bytes) -> Name:
    """Parse and check a DER Name.

    :raises MalformedRequest: *name_der* is not a Name.
    :raises BadCSR: the name is too long, or a value is empty, too long, of a wrong string type, or contains NUL or
        control characters.
    """
    return name_from(der.parse(name_der, der.SEQUENCE))


def read_name(name_der: bytes) -> Name:
    """Parse the DER Name in a certificate without checking its values.

    A CA elsewhere may use string types, characters and lengths that this CA would not certify; its name stays as it is.

    :raises MalformedRequest: *name_der* is not a Name, or too long.
    """
    try:
        return name_from(der.parse(name_der, der.SEQUENCE), _unchecked_attribute)
    except BadCSR as error:
        raise MalformedRequest(error.public) from error


def name_from(element: der.Element, read_attribute: Callable[[der.Element], NameAttribute] | None = None) -> Name:
    """Parse and check a Name element, like :func:`parse_name`.

    :param read_attribute: parses an attribute; ``None`` checks its value, too.
    """
    read = read_attribute or _attribute
    if element.end - element.whole_start > MAXIMUM_SIZE:
        raise BadCSR(f"a name is longer than {MAXIMUM_SIZE} bytes")
    rdns = []
    count = 0
    for rdn in element.expect(der.SEQUENCE).children():
        attributes = tuple(read(attribute) for attribute in rdn.expect(der.SET).children())
        if not attributes:
            raise MalformedRequest("a relative distinguished name is empty")
        rdns.append(attributes)
        count += len(attributes)
        if count > _MAXIMUM_ATTRIBUTES:
            raise BadCSR(f"a name has more than {_MAXIMUM_ATTRIBUTES} attributes")
    return Name(element.whole, tuple(rdns))


def type_and_value(element: der.Element) -> tuple[str, der.Element]:
    """Return the OID and the value of an AttributeTypeAndValue.

    :raises MalformedRequest: *element* is none.
    """
    parts = element.expect(der.SEQUENCE).sub()
    if len(parts) != 2:
        raise MalformedRequest("an attribute of a name has a type and a value")
    return parts[0].oid(), parts[1]


def _attribute(element: der.Element) -> NameAttribute:
    oid, encoded = type_and_value(element)
    value = string_value(encoded)
    if value is None:
        require_unknown_type(oid)
    else:
        check_value(oid, encoded.tag, value)
    return NameAttribute(oid, value, encoded.whole)


def _unchecked_attribute(element: der.Element) -> NameAttribute:
    oid, encoded = type_and_value(element)
    return NameAttribute(oid, string_text(encoded), encoded.whole)


def string_text(element: der.Element) -> str | None:
    """Return the text of a character string like :func:`string_value`, even if its bytes are not valid for its type.

    :returns: ``None`` for other types.
    """
    try:
        return string_value(element)
    except BadCSR:
        # The usual cause are the character sets of Western Europe.
        return element.content.decode("latin-1")


def require_unknown_type(oid: str) -> None:
    """Require that *oid* is no attribute type whose values are character strings.

    :raises BadCSR: it is one.
    """
    if oid in _KNOWN:
        raise BadCSR(f"{_KNOWN[oid][0]} in a name is no character string")


def is_known_type(oid: str) -> bool:
    """Return whether the syntax of the attribute type is known here."""
    return oid in _KNOWN


def attribute_name(oid: str) -> str:
    """Return the short name of an attribute type, or its OID."""
    return _KNOWN[oid][0] if oid in _KNOWN else oid[:64]


def check_text(oid: str, value: str, *, bound: int | None = None) -> None:
    """Check the text of an attribute value, whatever its string type.

    :param bound: the maximum number of characters, instead of that of the attribute type.
    :raises BadCSR: the text is empty, too long, or has control characters.
    """
    name = attribute_name(oid)
    if bound is None:
        bound = _KNOWN[oid][1] if oid in _KNOWN else 32768
    if not value:
        raise BadCSR(f"{name} in a name is empty")
    if not value.isprintable() and any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise BadCSR(f"{name} in a name has NUL or other control characters")
    if len(value) > bound:
        raise BadCSR(f"{name} in a name is longer than {bound} characters")


def check_value(oid: str, tag: int, value: str) -> None:
    """Check an attribute value and its string type.

    :raises BadCSR: the text is not allowed for the attribute, or *tag* is not its string type.
    """
    check_text(oid, value)
    name = attribute_name(oid)
    if oid in PRINTABLE_ONLY and tag != der.PRINTABLE_STRING:
        raise BadCSR(f"{name} in a name must be a PrintableString")
    if oid == COUNTRY and not is_country_code(value):
        raise BadCSR("C in a name is a country code of two letters")
    if oid in IA5_ONLY and tag != der.IA5_STRING:
        raise BadCSR(f"{name} in a name must be an IA5String")


def is_country_code(value: str) -> bool:
    """Return whether *value* has the form of an ISO 3166 code of two letters."""
    return len(value) == 2 and value.isascii() and value.isalpha()


def string_value(element: der.Element) -> str | None:
    """Return the text of a DirectoryString or IA5String.

    :returns: ``None`` for other types.
    :raises BadCSR: the bytes are not valid for the type.
    """
    content = element.content
    tag = element.tag
    try:
        if tag == der.UTF8_STRING:
            return content.decode("utf-8")
        if tag == der.PRINTABLE_STRING:
            if not PRINTABLE.fullmatch(content):
                raise BadCSR("a PrintableString has characters that do not belong into one")
            return content.decode("ascii")
        if tag == der.IA5_STRING:
            return content.decode("ascii")
        if tag == der.T61_STRING:
            return content.decode("latin-1")
        if tag == der.BMP_STRING:
            if any(0xD8 <= byte <= 0xDF for byte in content[::2]):
                raise BadCSR("a BMPString has characters outside the Basic Multilingual Plane")
            return content.decode("utf-16-be")
        if tag == der.UNIVERSAL_STRING:
            return content.decode("utf-32-be")
    except UnicodeDecodeError as error:
        raise BadCSR("a character string is not what its type says") from error
    return None


def names_equal(first: bytes, second: bytes) -> bool:
    """Return whether two DER Names match by RFC 5280 section 7.1, which ignores case, string type and spacing.

    :raises MalformedRequest: one of them is not a Name.
    :raises BadCSR: one of them is too long.
    """
    return first == second or comparable(first) == comparable(second)


def same_text(first: bytes, second: bytes) -> bool:
    """Return whether two DER Names have the same text, apart from the case of letters, spaces and the string type.

    :func:`names_equal` also matches characters that RFC 4518 maps to each other, such as ``ß`` and ``ss``: two names
    for whoever compares strings or resolves them as host names (RFC 5891).

    :raises MalformedRequest: one of them is not a Name.
    :raises BadCSR: one of them is too long.
    """
    return first == second or _prepared(first, _lower) == _prepared(second, _lower)


_Comparable: TypeAlias = tuple[tuple[tuple[str, str | bytes], ...], ...]


# A received name is compared with the names of several CAs, which do not change.
@functools.lru_cache(maxsize=64)
def comparable(name_der: bytes) -> _Comparable:
    """Return a value that is equal for DER Names that :func:`names_equal` matches.

    :raises MalformedRequest: *name_der* is not a Name.
    :raises BadCSR: *name_der* is too long.
    """
    return _prepared(name_der, _folded)


def _prepared(name_der: bytes, prepare: Callable[[str], str]) -> _Comparable:
    """Return the types and prepared values of a name; a value that is no string in its encoding."""
    name = name_from(der.parse(name_der, der.SEQUENCE), _unchecked_attribute)
    return tuple(
        tuple(sorted(((a.oid, a.value_der if a.value is None else prepare(a.value)) for a in rdn), key=repr))
        for rdn in name.rdns
    )


def _folded(text: str) -> str:
    """Prepare a value for caseIgnoreMatch (RFC 4518)."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _stream_safe(text))
    return " ".join(text.casefold().split())


def _lower(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFC", _stream_safe(text))
    return " ".join(part for part in text.lower().split(" ") if part)


def _stream_safe(text: str) -> str:
    """Return *text* in the Stream-Safe Text Format of UAX #15 section 13.

    Normalization sorts each run of combining marks in quadratic time; a grapheme joiner ends a long run.
    """
    characters: list[str] = []
    run = 0
    for character in text:
        # Some characters become combining marks only by decomposition.
        run = run + 1 if unicodedata.combining(unicodedata.normalize("NFKD", character)[0]) else 0
        if run > _MAXIMUM_MARKS:
            characters.append(_GRAPHEME_JOINER)
            run = 1
        characters.append(character)
    return "".join(characters)


def build_name(attributes: Iterable[tuple[str, str]]) -> bytes:
    """Return a DER Name with one attribute in each relative distinguished name, in order.

    :param attributes: pairs of a dotted OID and a text.
    :raises BadCSR: a value is not allowed.
    """
    return _encode([[pair] for pair in attributes])


def _encode(rdns: list[list[tuple[str, str]]]) -> bytes:
    encoded = der.sequence(
        *(der.set_of(der.sequence(der.oid(oid), _encode_value(oid, value)) for oid, value in rdn) for rdn in rdns)
    )
    parse_name(encoded)
    return encoded


def _encode_value(oid: str, value: str) -> bytes:
    try:
        if oid in PRINTABLE_ONLY:
            return der.printable_string(value)
        if oid in IA5_ONLY:
            return der.ia5_string(value)
        return der.utf8_string(value)
    except UnicodeEncodeError as error:
        raise BadCSR(
            f"{_KNOWN[oid][0] if oid in _KNOWN else oid} in a name has characters not allowed there"
        ) from error


def name_from_text(text: str) -> bytes:
    """Return the DER Name for a text.

    The forms are RFC 4514 (``CN=x,O=y,C=DE``, encoded from the last RDN), the same in encoding order
    (``C=DE, O=y, CN=x``, recognised by the leading ``C``), and OpenSSL's ``/C=DE/O=y/CN=x``.

    :raises MalformedRequest: the text has none of these forms.
    :raises BadCSR: a value is not allowed.
    """
    if len(text) > 8192:
        raise MalformedRequest("the name is too long")
    is_openssl_form = text.startswith("/")
    body, separators = (text[1:], "/") if is_openssl_form else (text, ",;")
    rdns: list[list[tuple[str, str]]] = []
    position = 0
    has_more = bool(body)
    while has_more:
        rdn = []
        while True:
            pair, position = _read_pair(body, position, separators)
            rdn.append(pair)
            if position >= len(body) or body[position] != "+":
                break
            position += 1
        rdns.append(rdn)
        has_more = position < len(body)
        position += 1
    if not is_openssl_form and not (rdns and rdns[0][0][0] == COUNTRY and rdns[-1][0][0] != COUNTRY):
        rdns.reverse()
    return _encode(rdns)


def _read_pair(text: str, position: int, separators: str) -> tuple[tuple[str, str], int]:
    """Return the ``type=value`` pair at *position*, and the position of its terminator."""
    equals = text.find("=", position)
    if equals < 0:
        raise MalformedRequest("a name is written as type=value pairs, such as C=DE, O=Example, CN=device")
    kind = text[position:equals].strip()
    oid = _OIDS.get(kind.lower()) or kind.lower().removeprefix("oid.")
    if oid not in _KNOWN and not is_oid(oid):
        raise MalformedRequest("a name has an attribute type that is not known")
    value = bytearray()
    position = equals + 1
    while position < len(text) and text[position] == " ":
        position += 1
    trimmed_size = 0
    while position < len(text) and text[position] not in separators and text[position] != "+":
        character = text[position]
        position += 1
        if character != "\\":
            value += character.encode("utf-8", "surrogatepass")
            trimmed_size = trimmed_size if character == " " else len(value)
            continue
        if _HEX_PAIR.match(text, position):
            value.append(int(text[position : position + 2], 16))
            position += 2
        elif position < len(text):
            value += text[position].encode("utf-8", "surrogatepass")
            position += 1
        else:
            raise MalformedRequest("a name ends with a backslash")
        trimmed_size = len(value)
    try:
        return (oid, value[:trimmed_size].decode("utf-8")), position
    except UnicodeDecodeError as error:
        raise MalformedRequest("a name has octets that are not UTF-8") from error


def is_oid(oid: str) -> bool:
    """Return whether *oid* is an object identifier in dotted form."""
    if not _OID_TEXT.fullmatch(oid):
        return False
    try:
        der.oid(oid)
    except ValueError:
        return False
    return True
