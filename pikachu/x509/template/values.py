"""The pieces that values of extensions are made of: lists, section references, numbers, names of OIDs."""

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
"""Names, usages, policies and the like in one text, counted each time that a section is referred to."""
MAXIMUM_DEPTH: Final = 16
"""Sections that refer to sections."""
_MAXIMUM_OCTETS: Final = 256 * 1024

_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,63}")
_INTEGER: Final = re.compile(r"-?([0-9]{1,1024}|0[xX][0-9A-Fa-f]{1,1024})")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2})*")
_SPACE: Final = " \t\f\v"
_TRUE: Final = frozenset(("TRUE", "true", "Y", "y", "YES", "yes"))
_FALSE: Final = frozenset(("FALSE", "false", "N", "n", "NO", "no"))


@dataclass(frozen=True, slots=True)
class Location:
    """What an error is about and where: the name of an extension or section, and the line."""

    what: str
    line: int

    def error(self, reason: str) -> BadTemplate:
        """An error at this place."""
        return BadTemplate(self.line, f"{self.what}: {reason}")

    def unknown(self, kind: str, text: str, known: Iterable[str]) -> BadTemplate:
        """The error for a name that is none of those known."""
        return self.error(f"unknown {kind} {quoted(text)}{suggestion(text, list(known))}")


@dataclass(frozen=True, slots=True)
class Item:
    """One ``name:value`` of a list, or one ``name = value`` of a section.

    :ivar value: ``None`` for a bare name in a list.
    """

    name: str
    value: str | None
    place: Location

    def text(self) -> str:
        """Its value.

        :raises BadTemplate: when it has none.
        """
        if self.value is None:
            raise self.place.error(f"{quoted(self.name)} needs a value, such as {quoted(self.name + ':…')}")
        return self.value


class Source:
    """The text that values refer to, and a bound on the work that they may cause.

    :param for_request: the extensions are for a CSR: there is no issuer.
    :ivar moves_email: ``email:move`` was read: the subject loses its emailAddress attributes.
    """

    def __init__(self, configuration: Configuration, *, for_request: bool) -> None:
        self.configuration = configuration
        self.for_request = for_request
        self.moves_email = False
        self._names = 0
        self._octets = 0

    def spend(self, place: Location, octets: int) -> None:
        """Count one more name of so many octets.

        :raises BadTemplate: at the bound.
        """
        self._names += 1
        self._octets += octets
        if self._names > MAXIMUM_NAMES or self._octets > _MAXIMUM_OCTETS:
            raise place.error(f"the text has more than {MAXIMUM_NAMES} names, or they are too long")

    def section(self, name: str, place: Location) -> Section:
        """The section that a value refers to.

        :raises BadTemplate: there is none.
        """
        section = self.configuration.section(name)
        if section is None:
            known = [known for known in self.configuration.sections if known != "default"]
            raise place.error(f"there is no section [ {quoted(name)[1:-1]} ]{suggestion(name, known)}")
        return section

    def section_items(self, name: str, place: Location) -> list[Item]:
        """The fields of the section that a value refers to.

        :raises BadTemplate: there is none, or it is empty.
        """
        items = []
        for known in self.section(name, place).fields.values():
            at = Location(place.what, known.line)
            self.spend(at, len(known.value))
            items.append(Item(known.name, known.value, at))
        if not items:
            raise place.error(f"the section [ {quoted(name)[1:-1]} ] is empty")
        return items

    def items(self, value: str, place: Location) -> list[Item]:
        """The list that a value is: ``@section``, or ``name:value, name:value``.

        :raises BadTemplate: it is empty or malformed.
        """
        if value.startswith("@"):
            return self.section_items(value[1:], place)
        return self.inline(value, place)

    def inline(self, value: str, place: Location) -> list[Item]:
        """The ``name:value`` pairs between commas.

        :raises BadTemplate: one is empty, or there is none.
        """
        if "\n" in value or "\r" in value:
            raise place.error("a list has a line break in it")
        items = []
        for part in value.split(","):
            name, colon, rest = part.partition(":")
            name, rest = _stripped(name, place), _stripped(rest, place)
            if not name:
                raise place.error("the list is empty" if not value.strip() else "a part of the list is empty")
            if colon and not rest:
                raise place.error(f"nothing follows the colon of {quoted(name)}")
            self.spend(place, len(part))
            items.append(Item(name, rest if colon else None, place))
        return items


def _stripped(text: str, place: Location) -> str:
    """The text without white space around it.

    :raises BadTemplate: OpenSSL keeps the space after a single character, and makes another value of it.
    """
    stripped = text.strip(_SPACE)
    if len(stripped) == 1 and text.endswith(tuple(_SPACE)):
        raise place.error(f"remove the space after {quoted(stripped)}, which OpenSSL would take for a part of it")
    return stripped


def boolean(item: Item) -> bool:
    """TRUE, true, YES, yes, Y, y or their opposites."""
    text = item.text()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise item.place.error(f"{quoted(text)} is neither TRUE nor FALSE")


def integer(text: str, place: Location, *, negative: bool = False) -> int:
    """A decimal or, after ``0x``, hexadecimal number."""
    if not _INTEGER.fullmatch(text):
        raise place.error(f"{quoted(text)} is no whole number")
    value = int(text, 16 if "x" in text.lower() else 10)
    if value < 0 and not negative:
        raise place.error(f"{quoted(text)} is negative")
    return value


def hexadecimal(text: str, place: Location) -> bytes:
    """Pairs of hexadecimal digits, with or without colons between them."""
    if not _HEX.fullmatch(text):
        raise place.error(f"{quoted(text)} is not written in pairs of hexadecimal digits")
    return bytes.fromhex(text.replace(":", ""))


def object_identifier(text: str, place: Location, kind: str = "name", known: Iterable[str] = ()) -> str:
    """The OID that *text* names or is, dotted.

    :param known: what to suggest from; by default all short names.
    """
    oid = SHORT.get(text) or LONG.get(text)
    if oid is not None:
        return oid
    if _OID.fullmatch(text):
        try:
            der.oid(text)
        except ValueError:
            raise place.error(f"{quoted(text)} is no object identifier") from None
        return text
    raise place.unknown(kind, text, known or SHORT)


def ascii_octets(text: str, place: Location) -> bytes:
    """The octets of an IA5String."""
    if not text.isascii():
        raise place.error(f"{quoted(text)} has characters outside ASCII")
    return text.encode("ascii")


def base_name(name: str) -> str:
    """The name of a list's item without what makes it unique: ``DNS`` for ``DNS.1``."""
    return name.partition(".")[0]
