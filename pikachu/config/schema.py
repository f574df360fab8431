"""The form of declarations in :mod:`pikachu.config.sections`: sections with keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pikachu.config.setting_types import Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section.

    :param name: the spelling in the file.
    :param default: the text used when the file does not set the key.
    :param comment: one or two lines for the shipped file.
    """

    name: str
    kind: Kind[Any]
    default: str
    comment: str


def setting(kind: Kind[T], default: str, comment: str) -> T:
    """Declare a setting as a field of a :class:`Section`; the parameters are those of :class:`Key`."""
    return field(default=kind.parse(default, Path()), metadata={"key": (kind, default, comment)})


class Section:
    """Base class of the sections.

    :cvar NAME: the name in the file.
    :cvar ABOUT: a comment for the shipped file.
    :cvar UPPER: fields whose key is in upper case in the file.
    """

    __slots__ = ()

    NAME: ClassVar[str]
    ABOUT: ClassVar[str]
    UPPER: ClassVar[frozenset[str]] = frozenset()


def keys(section: type[Section]) -> Iterator[tuple[str, Key]]:
    """Return the field names and keys of a section, in the order of the shipped file."""
    for member in fields(section):  # type: ignore[arg-type]  # each subclass is a dataclass
        kind, default, comment = member.metadata["key"]
        name = member.name.upper() if member.name in section.UPPER else member.name
        yield member.name, Key(name, kind, default, comment)
