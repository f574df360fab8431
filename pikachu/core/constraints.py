"""Constraints of values in a request: the reader of bodies checks them, and the OpenAPI document states them.

A field declares its constraint in its type, such as ``Annotated[int, Range(1, 365)]``.  Each constraint has ``check``,
which raises MalformedRequest with the member's name for a value that violates it, and ``describe``, which returns the
member's JSON Schema (2020-12) with the constraint added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias, TypeVar

from pikachu.core.errors import MalformedRequest, RequestError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Range:
    """The bounds of a number, both inclusive.

    :param error: the error for a number beyond them.
    """

    minimum: int
    maximum: int
    error: type[RequestError] = MalformedRequest

    def check(self, value: int, where: str) -> None:
        """Check the number."""
        if not self.minimum <= value <= self.maximum:
            raise self.error(f"“{where}” must be a number from {self.minimum} to {self.maximum}.")

    def describe(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Add ``minimum`` and ``maximum``."""
        return {**schema, "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True, slots=True)
class Length:
    """The bounds of a text's length in characters, both inclusive."""

    minimum: int
    maximum: int

    def check(self, value: str, where: str) -> None:
        """Check the text."""
        if not self.minimum <= len(value) <= self.maximum:
            bounds = f"{self.minimum} to" if self.minimum else "at most"
            raise MalformedRequest(f"“{where}” must have {bounds} {self.maximum} characters.")

    def describe(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Add ``minLength`` and ``maxLength``."""
        minimum = {"minLength": self.minimum} if self.minimum else {}
        return {**schema, **minimum, "maxLength": self.maximum}


@dataclass(frozen=True, slots=True)
class NotEmpty:
    """A list of at least one entry."""

    def check(self, value: Sequence[object], where: str) -> None:
        """Refuse an empty list."""
        if not value:
            raise MalformedRequest(f"“{where}” must have at least one entry.")

    def describe(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Add ``minItems``."""
        return {**schema, "minItems": 1}


@dataclass(frozen=True, slots=True)
class Members:
    """The bounds of a list's length, both inclusive; the maximum replaces the one of all other lists."""

    minimum: int
    maximum: int

    def check(self, value: Sequence[object], where: str) -> None:
        """Check the length."""
        if not self.minimum <= len(value) <= self.maximum:
            raise MalformedRequest(f"“{where}” must have {self.minimum} to {self.maximum:,} entries.")

    def describe(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Add ``minItems`` and ``maxItems``."""
        return {**schema, "minItems": self.minimum, "maxItems": self.maximum}


@dataclass(frozen=True, slots=True)
class OneOf:
    """The only permitted values of a text or number."""

    choices: tuple[str | int, ...]

    def check(self, value: str | int, where: str) -> None:
        """Check the value."""
        if value not in self.choices:
            raise MalformedRequest(f"“{where}” must be one of {', '.join(map(str, self.choices))}.")

    def describe(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Add ``enum``."""
        return {**schema, "enum": list(self.choices)}


@dataclass(frozen=True, slots=True)
class Matches:
    """A regular expression for the whole text, in the syntax that Python and ECMA-262 share.

    :param meaning: the permitted values, for the message.
    """

    pattern: str
    meaning: str

    def check(self, value: str, where: str) -> None:
        """Check the text."""
        if not re.fullmatch(self.pattern, value):
            raise MalformedRequest(f"“{where}” must be {self.meaning}.")

    def describe(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Add ``pattern``."""
        return {**schema, "pattern": f"^(?:{self.pattern})$"}


@dataclass(frozen=True, slots=True)
class NotNull:
    """An optional member that may be absent but not null."""

    def check(self, value: object, where: str) -> None:
        """Refuse null."""
        if value is None:
            raise MalformedRequest(f"“{where}” can't be null.")

    def describe(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Remove null from the schema of ``X | None``."""
        inner: dict[str, Any] = schema["anyOf"][0]
        return inner


#: A member that may be absent but not null; ``None`` stands for an absent one.
Omissible: TypeAlias = Annotated[T | None, NotNull()]


@dataclass(frozen=True, slots=True)
class Variant:
    """A permitted combination of the members that depend on each other; others must be absent or null.

    :param required: members that must be there.
    :param optional: members that may be there.
    :param values: fixed values of required members.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)

    def allows(self, members: Mapping[str, object], dependent: Sequence[str]) -> bool:
        """Return whether the combination is this one."""
        present = {name for name in dependent if members.get(name) is not None}
        return {*self.required} <= present <= {*self.required, *self.optional} and all(
            members[name] == value for name, value in self.values.items()
        )

    def describe(self, dependent: Sequence[str]) -> dict[str, Any]:
        """Return the combination in JSON Schema."""
        absent = [name for name in dependent if name not in (*self.required, *self.optional)]
        properties: dict[str, Any] = {name: {"not": {"type": "null"}} for name in self.required}
        properties |= {name: {"const": value} for name, value in self.values.items()}
        properties |= {name: {"type": "null"} for name in absent}
        return {"required": list(self.required), "properties": properties}

    def __str__(self) -> str:
        required = [f"{name} {self.values[name]}" if name in self.values else name for name in self.required]
        return " with ".join(
            [" and ".join(required) or "neither", *([" or ".join(self.optional)] if self.optional else [])]
        )


@dataclass(frozen=True, slots=True)
class Variants:
    """All permitted combinations of members, which exclude each other."""

    variants: tuple[Variant, ...]

    @property
    def dependent(self) -> tuple[str, ...]:
        """Return the names of all members in them, in order."""
        names = [name for one in self.variants for name in (*one.required, *one.optional)]
        return tuple(dict.fromkeys(names))

    def check(self, members: Mapping[str, object], where: str) -> None:
        """Check the members of an object.

        :raises MalformedRequest: their combination is not permitted.
        """
        dependent = self.dependent
        if not any(one.allows(members, dependent) for one in self.variants):
            object_name = f"“{where.rstrip('.')}”" if where else "The body"
            raise MalformedRequest(f"{object_name} must have either {', or '.join(map(str, self.variants))}.")

    def describe(self) -> dict[str, Any]:
        """Return them in JSON Schema, within ``allOf``: generators of clients keep the object's own members then."""
        dependent = self.dependent
        return {"allOf": [{"oneOf": [one.describe(dependent) for one in self.variants]}]}
