"""A profile of another CA program, and how its sections are written as a text of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import BadTemplate
from pikachu.x509.template.configuration import Configuration, Section, quoted
from pikachu.x509.template.request import compile_extensions
from pikachu.x509.template.values import Source

EXTENSIONS: Final = "v3_ext"
_SPECIAL: Final = re.compile(r"[\\#$\"'`]|^ | $")
# What an escape gives, as nsComment = C:\build has it; what none gives.
_ESCAPES: Final = str.maketrans({"\n": "\\n", "\r": "\\r", "\b": "\\b", "\t": "\\t"})
_CONTROL: Final = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]")
# What names a section: @name, dirName:name, SEQUENCE:name, and for some keys the name alone.
_REFERENCE: Final = re.compile(r"(?:@|dirName:|SEQUENCE:|SEQ:|SET:)([^,;:\s]+)")
_BARE: Final = re.compile(r"crlDistributionPoints|freshestCRL|issuingDistributionPoint|(?:.*;)?dirName(?:\.\w+)?")


@dataclass(frozen=True, slots=True)
class CAProfile:
    """A profile, or a text that other profiles are made of.

    :param days: the validity; ``None`` for a text that is none of a profile, such as ``[ req ]``.
    :param text: with a section ``[ v3_ext ]`` or ``[ req ]``.
    :param copies_names: whether the CSR's subjectAltName is copied.
    :param matched: the OIDs of the attributes that the subject must have as the CA has them.
    :param notes: what has no counterpart here.
    """

    name: str
    days: int | None
    text: str
    copies_names: bool = True
    matched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnusableProfile:
    """A profile that can't be taken over, and why."""

    name: str
    reason: str


def extension_text(configuration: Configuration, section: Section) -> str:
    """Return the extensions of a section, and the sections that they refer to, as a text with ``[ v3_ext ]``.

    :raises BadTemplate: an extension is not supported, with its line.
    """
    compile_extensions(section, Source(configuration, for_request=False))
    return sections_text(configuration, {EXTENSIONS: section})


def sections_text(configuration: Configuration, named: dict[str, Section]) -> str:
    """Return sections under new names, followed by those that they refer to, with all variables resolved.

    :raises BadTemplate: a value can't be written.
    """
    lines: list[str] = []
    for name, section in (*named.items(), *_referenced(configuration, named.values())):
        lines += ["", f"[ {name} ]"] if lines else [f"[ {name} ]"]
        for field in section.fields.values():
            lines.append(f"{field.name} = {_written(field.value)}")
    return "\n".join(lines) + "\n"


def _referenced(configuration: Configuration, sections: Iterable[Section]) -> Iterator[tuple[str, Section]]:
    """Yield the sections that others refer to, directly or not, each once."""
    waiting = [*sections]
    known = {id(one) for one in waiting}
    for section in waiting:
        for field in section.fields.values():
            names = _REFERENCE.findall(field.value)
            if _BARE.fullmatch(field.name):
                names += [part.strip() for part in field.value.split(",")]
            for name in names:
                target = configuration.section(name)
                if target is not None and id(target) not in known:
                    known.add(id(target))
                    waiting.append(target)
                    yield name, target


def _written(value: str) -> str:
    """Return a value so that it is read as it is.

    :raises BadTemplate: it has a control character that texts can't have.
    """
    written = _SPECIAL.sub(lambda match: f"\\{match[0]}", value).translate(_ESCAPES)
    if not written.isprintable() and _CONTROL.search(written):
        raise BadTemplate(0, f"a control character in the value {quoted(value)}")
    return written


def check_days(days: int) -> int:
    """Return a validity that policies take.

    :raises BadTemplate: it is none.
    """
    if not 1 <= days <= 36500:
        raise BadTemplate(0, f"the validity of {days} days is not from 1 to 36500")
    return days
