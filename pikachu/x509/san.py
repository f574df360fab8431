"""Subject alternative names: parsing, checks, text form and comparison (RFC 5280 section 4.2.1.6)."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import idna

from pikachu.core.errors import BadCSR, MalformedRequest
from pikachu.x509 import der
from pikachu.x509.names import MAXIMUM_SIZE, Name, comparable, escape_value, name_from, name_from_text, string_value

DEFAULT_LIMIT: Final = 100

MAXIMUM_A_LABELS: Final = 128
"""Different A-labels in one extension: checking one (RFC 5891) costs as much as several signatures."""

# Total bytes in one extension, so that many long names cost no more than two.
_MAXIMUM_DIRECTORY_NAMES: Final = 2 * MAXIMUM_SIZE
_A_LABEL: Final = re.compile(rb"xn--[a-z0-9-]*", re.IGNORECASE)
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LOCAL_PART: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}):([A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+)")
# A page that shows such a name as a link could execute a script or reveal data.
_FORBIDDEN_SCHEMES: Final = frozenset(("javascript", "vbscript", "data", "blob", "about", "file", "view-source"))
_MAXIMUM_URI: Final = 2048


class NameKind(Enum):
    """The kind of a GeneralName; the value is its context tag."""

    OTHER = 0xA0
    EMAIL = 0x81
    DNS = 0x82
    DIRECTORY = 0xA4
    URI = 0x86
    IP = 0x87
    REGISTERED_ID = 0x88


_PREFIXES: Final = {
    NameKind.OTHER: "otherName",
    NameKind.EMAIL: "email",
    NameKind.DNS: "DNS",
    NameKind.DIRECTORY: "dirName",
    NameKind.URI: "URI",
    NameKind.IP: "IP",
    NameKind.REGISTERED_ID: "RID",
}


@dataclass(frozen=True, slots=True)
class GeneralName:
    """A checked name.

    :ivar value: the text; for an IP address its standard notation, for an otherName ``oid;value``.
    :ivar der: the bytes as received.
    """

    kind: NameKind
    value: str
    der: bytes

    @property
    def text(self) -> str:
        """The display form, such as ``DNS:a.example.com`` or ``IP:192.0.2.1``."""
        return f"{_PREFIXES[self.kind]}:{self.value}"

    @property
    def comparable(self) -> tuple[NameKind, str | bytes]:
        """A value that is equal for equal names; DNS names and the domains of addresses are case-insensitive."""
        if self.kind is NameKind.DNS:
            return self.kind, self.value.lower()
        if self.kind is NameKind.EMAIL:
            local, _, domain = self.value.rpartition("@")
            return self.kind, f"{local}@{domain.lower()}"
        return self.kind, self.der


def parse_san(
    value: bytes,
    *,
    limit: int = DEFAULT_LIMIT,
    allow_wildcard: bool = True,
    allow_other_name: bool = False,
    read_directory: Callable[[der.Element], Name] = name_from,
) -> tuple[GeneralName, ...]:
    """Parse and check the value of a subjectAltName extension.

    :param value: DER GeneralNames.
    :param limit: the maximum number of names.
    :param allow_wildcard: accept ``*.example.com``.
    :param allow_other_name: accept otherName with a character string, such as a Microsoft UPN.
    :param read_directory: reads the Name elements of directoryNames.
    :raises MalformedRequest: *value* is not GeneralNames.
    :raises BadCSR: there are no or too many names, or one that no certificate should contain.
    """
    element = der.parse(value, der.SEQUENCE)
    check_a_labels(element.content)
    names: list[GeneralName] = []
    directory_names = 0
    for child in element.children():
        if len(names) >= limit:
            raise BadCSR(f"more than {limit} subject alternative names")
        if child.tag == NameKind.DIRECTORY.value:
            directory_names += child.end - child.start
            check_directory_names(directory_names)
        names.append(_parse_name(child, allow_wildcard, allow_other_name, read_directory))
    if not names:
        raise BadCSR("the subjectAltName extension is empty")
    return tuple(names)


def check_a_labels(content: bytes) -> None:
    """Bound the A-labels in encoded names.

    :raises BadCSR: there are too many.
    """
    if len({label.lower() for label in _A_LABEL.findall(content)}) > MAXIMUM_A_LABELS:
        raise BadCSR(f"the subject alternative names have more than {MAXIMUM_A_LABELS} different A-labels (xn--)")


def check_directory_names(size: int) -> None:
    """Bound the bytes of all directoryNames of one extension.

    :raises BadCSR: they are too long.
    """
    if size > _MAXIMUM_DIRECTORY_NAMES:
        raise BadCSR(f"the directoryNames are longer than {_MAXIMUM_DIRECTORY_NAMES} bytes in all")


def parse_general_name(element: der.Element) -> GeneralName:
    """Parse and check one GeneralName other than an otherName.

    :raises MalformedRequest: *element* is not a GeneralName.
    :raises BadCSR: no certificate should contain that name.
    """
    return _parse_name(element, True, False)


def _parse_name(
    element: der.Element,
    allow_wildcard: bool,
    allow_other_name: bool,
    read_directory: Callable[[der.Element], Name] = name_from,
) -> GeneralName:
    try:
        kind = NameKind(element.tag)
    except ValueError as error:
        raise BadCSR("a subject alternative name is of a kind that is not accepted") from error
    content = element.content
    if kind is NameKind.IP:
        value = _ip(content)
    elif kind is NameKind.DIRECTORY:
        value = directory_name(element, read_directory).text
    elif kind is NameKind.REGISTERED_ID:
        value = der.oid_text(content)
    elif kind is NameKind.OTHER:
        value = _other_name(element, allow_other_name)
    else:
        value = _ia5(content)
        if kind is NameKind.DNS:
            check_dns_name(value, allow_wildcard=allow_wildcard)
        elif kind is NameKind.EMAIL:
            check_email(value)
        else:
            check_uri(value)
    return GeneralName(kind, value, element.whole)


def directory_name(element: der.Element, read: Callable[[der.Element], Name]) -> Name:
    """Return the name in a directoryName.

    :param read: reads the Name element.
    :raises MalformedRequest: *element* has not one name.
    :raises BadCSR: the name is empty, and what *read* raises.
    """
    inner = element.sub()
    if len(inner) != 1:
        raise MalformedRequest("a directoryName holds one name")
    name = read(inner[0])
    if name.is_empty:
        raise BadCSR("a directoryName is empty")
    return name


def _ia5(content: bytes) -> str:
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise BadCSR("a subject alternative name has characters outside ASCII; use A-labels (xn--)") from error


def check_dns_name(name: str, *, allow_wildcard: bool = True) -> None:
    """Check a dNSName (RFC 5280 section 4.2.1.6: letters, digits and hyphens; A-labels as in RFC 5891).

    :raises BadCSR: *name* is not a valid DNS name.
    """
    if not name:
        raise BadCSR("a DNS name is empty")
    if len(name) > 253:
        raise BadCSR("a DNS name is longer than 253 characters")
    labels = name.split(".")
    if labels[0] == "*":
        if not allow_wildcard:
            raise BadCSR("wildcards in DNS names are not accepted")
        del labels[0]
        if len(labels) < 2:
            raise BadCSR("a wildcard in a DNS name needs at least two labels after it")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise BadCSR(
                "a DNS name consists of labels of letters, digits and hyphens; a wildcard stands alone and first",
                name=name,
            )
        if label[2:4] == "--":
            _check_a_label(label.lower())


# Cached, as the names of one request often share a domain.
@functools.lru_cache(maxsize=1024)
def _check_a_label(label: str) -> None:
    if label[:4] != "xn--":
        raise BadCSR("a DNS name has a label with hyphens in its third and fourth place")
    try:
        idna.ulabel(label)
    except (idna.IDNAError, UnicodeError) as error:
        raise BadCSR("a DNS name has an A-label (xn--) that is not valid") from error


def check_email(address: str) -> None:
    """Check an rfc822Name: a local part, ``@`` and a host name (RFC 5280 section 4.2.1.6).

    :raises BadCSR: *address* is not a valid email address.
    """
    local, _, domain = address.rpartition("@")
    if len(address) > 254 or len(local) > 64 or not _LOCAL_PART.fullmatch(local):
        raise BadCSR("an email address is not of the form local@domain")
    check_dns_name(domain, allow_wildcard=False)


def check_uri(uri: str) -> None:
    """Check a uniformResourceIdentifier: absolute, of allowed characters, and with a host if it has an authority.

    :raises BadCSR: *uri* is not valid, or has a scheme that a browser would execute.
    """
    if len(uri) > _MAXIMUM_URI:
        raise BadCSR(f"a URI is longer than {_MAXIMUM_URI} characters")
    match = _URI.fullmatch(uri)
    if match is None:
        raise BadCSR("a URI is not absolute or has characters that do not belong there")
    if match[1].lower() in _FORBIDDEN_SCHEMES:
        raise BadCSR("a URI has a scheme that is not accepted")
    if match[2].startswith("//"):
        authority = re.split("[/?#]", match[2][2:], maxsplit=1)[0]
        if not authority.rpartition("@")[2]:
            raise BadCSR("a URI has no host")
    elif match[1].lower() in ("http", "https", "ftp", "ldap", "ldaps", "sip+tcp"):
        raise BadCSR("a URI has no host")


def _ip(content: bytes) -> str:
    if len(content) not in (4, 16):
        raise BadCSR("an IP address has 4 or 16 octets")
    address = ipaddress.ip_address(content)
    if address.is_unspecified:
        raise BadCSR("the unspecified IP address can't be certified")
    return str(address)


def _other_name(element: der.Element, allowed: bool) -> str:
    oid, value = other_name_parts(element)
    if not allowed:
        raise BadCSR("names of the kind otherName are not accepted", oid=oid)
    return other_name_text(oid, value)


def other_name_parts(element: der.Element) -> tuple[str, der.Element]:
    """Return the type-id and the value of an otherName.

    :raises MalformedRequest: *element* is not an otherName.
    """
    parts = element.sub()
    if len(parts) != 2 or parts[1].tag != 0xA0:
        raise MalformedRequest("an otherName has a type and a value")
    inner = parts[1].sub()
    if len(inner) != 1:
        raise MalformedRequest("an otherName has one value")
    return parts[0].oid(), inner[0]


def other_name_text(oid: str, value: der.Element) -> str:
    """Return ``oid;text`` or, for a value that is no character string, ``oid;#hex``.

    :raises BadCSR: the text is empty, too long, or has control characters.
    """
    text = string_value(value)
    if text is None:
        return f"{oid};#{value.whole.hex()}"
    if not text or len(text) > 1024 or any(not character.isprintable() for character in text):
        raise BadCSR("an otherName is empty, too long, or has control characters")
    return f"{oid};{escape_value(text)}"


def same_names(first: Sequence[GeneralName], second: Sequence[GeneralName]) -> bool:
    """Return whether both contain the same names, in any order."""
    # Fold each name once: pairwise comparison of a hundred directory names would take seconds.
    left, right = ({_folded(name) for name in names} for names in (first, second))
    return left == right


def _folded(name: GeneralName) -> object:
    if name.kind is NameKind.DIRECTORY:
        return name.kind, comparable(der.parse(name.der).sub()[0].whole)
    return name.comparable


def encode_san(names: Iterable[GeneralName]) -> bytes:
    """Return the value of a subjectAltName extension."""
    return der.sequence(*(name.der for name in names))


def name_from_san_text(text: str) -> GeneralName:
    """Parse a name: ``DNS:a``, ``IP:1.2.3.4``, ``email:a@b``, ``URI:…``, ``RID:1.2.3``, ``dirName:…``.

    :raises MalformedRequest: *text* has none of these forms.
    :raises BadCSR: the name is not acceptable.
    """
    prefix, _, value = text.strip().partition(":")
    kind = next((kind for kind, known in _PREFIXES.items() if known.lower() == prefix.strip().lower()), None)
    value = value.strip()
    try:
        if kind is NameKind.IP:
            content = ipaddress.ip_address(value).packed
        elif kind is NameKind.REGISTERED_ID:
            content = der.parse(der.oid(value)).content
        elif kind is NameKind.DIRECTORY:
            content = name_from_text(value)
        elif kind in (NameKind.DNS, NameKind.EMAIL, NameKind.URI):
            content = value.encode("ascii")
        else:
            raise MalformedRequest("a name is written as DNS:, IP:, email:, URI:, RID: or dirName: and its value")
    except ValueError as error:
        raise BadCSR(f"the {prefix} name is not valid") from error
    return parse_general_name(der.parse(der.tlv(kind.value, content)))
