"""The components of extension values: lists, section references, numbers, and names of OIDs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import BadTemplate
from pikachu.x509 import der
from pikachu.x509.template.configuration import Configuration, Section, quoted, suggestion
from pikachu.x509.template.object_names import LONG, SHORT

MAXIMUM_NAMES: Final = 1000
"""Names, usages, policies and similar items in one text, counted at each reference to a section."""
MAXIMUM_DEPTH: Final = 16
"""Depth of sections that refer to sections."""
_MAXIMUM_SIZE: Final = 256 * 1024

_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,63}")
_INTEGER: Final = re.compile(r"-?([0-9]{1,1024}|0[xX][0-9A-Fa-f]{1,1024})")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2})*")
_SPACE: Final = " \t\f\v"
_TRUE: Final = frozenset(("TRUE", "true", "Y", "y", "YES", "yes"))
_FALSE: Final = frozenset(("FALSE", "false", "N", "n", "NO", "no"))


@dataclass(frozen=True, slots=True)
class Location:
    """The location of an error: the name of an extension or section, and the line."""

    what: str
    line: int

    def error(self, reason: str) -> BadTemplate:
        """Return an error for this location."""
        return BadTemplate(self.line, f"{self.what}: {reason}")

    def unknown(self, kind: str, text: str, known: Iterable[str]) -> BadTemplate:
        """Return the error for an unknown name."""
        return self.error(f"unknown {kind} {quoted(text)}{suggestion(text, list(known))}")


@dataclass(frozen=True, slots=True)
class Item:
    """A ``name:value`` of a list, or a ``name = value`` of a section.

    :ivar value: ``None`` for a bare name in a list.
    """

    name: str
    value: str | None
    location: Location

    def text(self) -> str:
        """Return the value.

        :raises BadTemplate: the item has no value.
        """
        if self.value is None:
            raise self.location.error(f"{quoted(self.name)} needs a value, such as {quoted(self.name + ':…')}")
        return self.value


class Source:
    """The text that values refer to, with a bound on the work they may cause.

    :param for_request: whether the extensions are for a CSR, which has no issuer.
    :ivar moves_email: whether ``email:move`` removes the emailAddress attributes from the subject.
    """

    def __init__(self, configuration: Configuration, *, for_request: bool) -> None:
        self.configuration = configuration
        self.for_request = for_request
        self.moves_email = False
        self._names = 0
        self._size = 0

    def spend(self, location: Location, size: int) -> None:
        """Count a name of *size* bytes.

        :raises BadTemplate: the bound is exceeded.
        """
        self._names += 1
        self._size += size
        if self._names > MAXIMUM_NAMES or self._size > _MAXIMUM_SIZE:
            raise location.error(f"the text has more than {MAXIMUM_NAMES} names, or they are too long")

    def section(self, name: str, location: Location) -> Section:
        """Return the section that a value refers to.

        :raises BadTemplate: the section does not exist.
        """
        section = self.configuration.section(name)
        if section is None:
            known = [known for known in self.configuration.sections if known != "default"]
            raise location.error(f"there is no section [ {quoted(name)[1:-1]} ]{suggestion(name, known)}")
        return section

    def section_items(self, name: str, location: Location) -> list[Item]:
        """Return the fields of the section that a value refers to.

        :raises BadTemplate: the section does not exist, or is empty.
        """
        items = []
        for setting in self.section(name, location).fields.values():
            location = Location(location.what, setting.line)
            self.spend(location, len(setting.value))
            items.append(Item(setting.name, setting.value, location))
        if not items:
            raise location.error(f"the section [ {quoted(name)[1:-1]} ] is empty")
        return items

    def items(self, value: str, location: Location) -> list[Item]:
        """Parse a list: ``@section``, or ``name:value, name:value``.

        :raises BadTemplate: the list is empty or malformed.
        """
        if value.startswith("@"):
            return self.section_items(value[1:], location)
        return self.inline(value, location)

    def inline(self, value: str, location: Location) -> list[Item]:
        """Parse ``name:value`` pairs separated by commas.

        :raises BadTemplate: the list or one of its items is empty.
        """
        if "\n" in value or "\r" in value:
            raise location.error("a list has a line break in it")
        items = []
        for part in value.split(","):
            name, colon, rest = part.partition(":")
            name, rest = _stripped(name, location), _stripped(rest, location)
            if not name:
                raise location.error("the list is empty" if not value.strip() else "a part of the list is empty")
            if colon and not rest:
                raise location.error(f"nothing follows the colon of {quoted(name)}")
            self.spend(location, len(part))
            items.append(Item(name, rest if colon else None, location))
        return items


def _stripped(text: str, location: Location) -> str:
    """Return the text without surrounding white space.

    :raises BadTemplate: white space follows a single character; OpenSSL would include it in the value.
    """
    stripped = text.strip(_SPACE)
    if len(stripped) == 1 and text.endswith(tuple(_SPACE)):
        raise location.error(f"remove the space after {quoted(stripped)}, which OpenSSL would take for a part of it")
    return stripped


def boolean(item: Item) -> bool:
    """Parse a boolean: TRUE, true, YES, yes, Y, y or their opposites."""
    text = item.text()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise item.location.error(f"{quoted(text)} is neither TRUE nor FALSE")


def integer(text: str, location: Location, *, negative: bool = False) -> int:
    """Parse a decimal or, after ``0x``, hexadecimal number."""
    if not _INTEGER.fullmatch(text):
        raise location.error(f"{quoted(text)} is no whole number")
    value = int(text, 16 if "x" in text.lower() else 10)
    if value < 0 and not negative:
        raise location.error(f"{quoted(text)} is negative")
    return value


def hexadecimal(text: str, location: Location) -> bytes:
    """Parse pairs of hexadecimal digits, with or without colons between them."""
    if not _HEX.fullmatch(text):
        raise location.error(f"{quoted(text)} is not written in pairs of hexadecimal digits")
    return bytes.fromhex(text.replace(":", ""))


def object_identifier(text: str, location: Location, kind: str = "name", known: Iterable[str] = ()) -> str:
    """Return the dotted OID for a name or an OID.

    :param known: the names for suggestions; by default all short names.
    """
    oid = SHORT.get(text) or LONG.get(text)
    if oid is not None:
        return oid
    if _OID.fullmatch(text):
        try:
            der.oid(text)
        except ValueError:
            raise location.error(f"{quoted(text)} is no object identifier") from None
        return text
    raise location.unknown(kind, text, known or SHORT)


def ascii_bytes(text: str, location: Location) -> bytes:
    """Encode the content octets of an IA5String."""
    if not text.isascii():
        raise location.error(f"{quoted(text)} has characters outside ASCII")
    return text.encode("ascii")


def base_name(name: str) -> str:
    """Return the name of an item without its unique suffix: ``DNS`` for ``DNS.1``."""
    return name.partition(".")[0]
