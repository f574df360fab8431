"""JSON bodies ↔ dataclasses: a route accepts and returns only what it declares.

A field may be ``str``, ``int``, ``bool``, an enum of strings, ``datetime`` (answers only), a tuple of these, another
dataclass, a mapping of texts or (answers only) any other mapping; ``X | None`` accepts null too.  Fields without a
default are required.  ``Annotated`` adds constraints (:mod:`pikachu.core.constraints`), and ``VARIANTS`` of the
dataclass the permitted combinations of fields; its ``EXAMPLE`` is the body that the OpenAPI document shows.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from pikachu.core.constraints import Members, Range
from pikachu.core.errors import MalformedRequest
from pikachu.core.model.times import rfc3339

T = TypeVar("T")

MAXIMUM_MEMBERS: Final = 64
MAXIMUM_VALUES: Final = 5_000
"""Objects, lists, texts and members in one body: each costs up to half a microsecond of everybody's time."""
MAXIMUM_DIGITS: Final = 1000
NUMBERS: Final = Range(-(2**31), 2**31 - 1)
_MAX_NAME_LENGTH: Final = 40
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Nothing:
    """A body without members; it may be absent."""


def fields_of(kind: Any) -> Mapping[str, tuple[Any, bool]]:
    """Return name → (type, whether it is required) of the fields of the dataclass *kind*."""
    return _fields(kind)


@functools.cache
def _fields(kind: Any) -> Mapping[str, tuple[Any, bool]]:
    hints = get_type_hints(kind, include_extras=True)
    return {
        field.name: (
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(kind)
    }


def default_of(kind: Any, name: str) -> object:
    """Return the default of a field; ``dataclasses.MISSING`` without a plain one."""
    return next(field.default for field in dataclasses.fields(kind) if field.name == name)


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedRequest("An object in the body has the same name twice.")
    return members


def _no_constant(name: str) -> object:
    raise MalformedRequest(f"{name} is not a JSON number (RFC 8259 section 6).")


def _whole_number(digits: str) -> int:
    if len(digits) > MAXIMUM_DIGITS:
        raise MalformedRequest(f"A number in the body has more than {MAXIMUM_DIGITS} digits.")
    return int(digits)


def _check_size(data: bytes) -> None:
    """Refuse a body of too many values before it is parsed; characters within strings don't count.

    :raises MalformedRequest: it has more than :data:`MAXIMUM_VALUES`.
    """
    if _values(data, 0, len(data)) <= MAXIMUM_VALUES:
        return
    count = position = 0
    for string in _STRING.finditer(data):
        count += 1 + _values(data, position, string.start())
        position = string.end()
        if count > MAXIMUM_VALUES:
            break
    if count + _values(data, position, len(data)) > MAXIMUM_VALUES:
        raise MalformedRequest(f"The body has more than {MAXIMUM_VALUES} values. Send fewer at a time.")


def _values(data: bytes, start: int, end: int) -> int:
    return sum(data.count(delimiter, start, end) for delimiter in (b"{", b"[", b","))


def parse_json(data: bytes) -> dict[str, object]:
    """Parse the JSON object (RFC 8259) in *data*; empty data is an empty object.

    :raises MalformedRequest: it is no object, is nested too deep, has too many values, or has a duplicate name.
    """
    if not data:
        return {}
    _check_size(data)
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_no_constant, parse_int=_whole_number
        )
    except UnicodeDecodeError:
        raise MalformedRequest("The body is not UTF-8.") from None
    except RecursionError:
        raise MalformedRequest("The body is nested too deeply.") from None
    except ValueError as error:
        where = f": line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise MalformedRequest(f"The body is not JSON{where}.") from None
    if not isinstance(value, dict):
        raise MalformedRequest("The body must be a JSON object.")
    return value


def decode_body(kind: type[T], data: bytes) -> tuple[T, frozenset[str]]:
    """Decode *data*; return the body and the names of the members that are present.

    :param kind: a dataclass.
    :raises MalformedRequest: naming the field that is unknown, missing or of another type.
    """
    members = parse_json(data)
    return _object(kind, members, ""), frozenset(members)


def _object(kind: type[T], members: Mapping[str, object], where: str) -> T:
    known = fields_of(kind)
    unknown = [name for name in members if name not in known]
    if unknown:
        listed = ", ".join(repr(where + name[:_MAX_NAME_LENGTH]) for name in unknown[:5])
        raise MalformedRequest(f"Unknown: {listed}; known: {', '.join(known) or 'nothing'}.")
    missing = [where + name for name, (_, needed) in known.items() if needed and name not in members]
    if missing:
        raise MalformedRequest(f"Missing: {', '.join(missing)}.")
    values = {name: _value(known[name][0], value, where + name) for name, value in members.items()}
    variants = getattr(kind, "VARIANTS", None)
    if variants is not None:
        variants.check(values, where)
    return kind(**values)


def _value(kind: Any, value: object, where: str) -> object:
    if get_origin(kind) is Annotated:
        base, *constraints = get_args(kind)
        maximum = next((one.maximum for one in constraints if isinstance(one, Members)), MAXIMUM_MEMBERS)
        decoded = _list(base, value, where, maximum) if get_origin(base) is tuple else _value(base, value, where)
        for constraint in constraints:
            constraint.check(decoded, where)
        return decoded
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        return _value(next(one for one in get_args(kind) if one is not type(None)), value, where)
    if get_origin(kind) is tuple:
        return _list(kind, value, where, MAXIMUM_MEMBERS)
    if get_origin(kind) is Mapping:
        return _texts(value, where)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise MalformedRequest(f"“{where}” must be an object.")
        return _object(kind, value, f"{where}.")  # type: ignore[arg-type]  # it is the class, not one of its objects
    return _SCALARS[StrEnum if issubclass(kind, StrEnum) else kind](kind, value, where)


def _list(kind: Any, value: object, where: str, maximum: int) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise MalformedRequest(f"“{where}” must be a list.")
    if len(value) > maximum:
        raise MalformedRequest(f"“{where}” can have at most {maximum} entries.")
    return tuple(_value(get_args(kind)[0], one, f"{where}[{index}]") for index, one in enumerate(value))


def _texts(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise MalformedRequest(f"“{where}” must be an object.")
    if len(value) > MAXIMUM_MEMBERS:
        raise MalformedRequest(f"“{where}” can have at most {MAXIMUM_MEMBERS} members.")
    return {name: _text(str, text, f"{where}.{name[:_MAX_NAME_LENGTH]}") for name, text in value.items()}


def _text(_: Any, value: object, where: str) -> str:
    if not isinstance(value, str):
        raise MalformedRequest(f"“{where}” must be a string.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedRequest(f"“{where}” contains half of a surrogate pair.") from None
    if "\0" in value:
        raise MalformedRequest(f"“{where}” contains the character NUL.")
    return value


def _number(_: Any, value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedRequest(f"“{where}” must be a whole number.")
    NUMBERS.check(value, where)
    return value


def _boolean(_: Any, value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise MalformedRequest(f"“{where}” must be true or false.")
    return value


def _choice(kind: type[StrEnum], value: object, where: str) -> StrEnum:
    try:
        return kind(_text(kind, value, where))
    except ValueError:
        raise MalformedRequest(f"“{where}” must be one of {', '.join(kind)}.") from None


_SCALARS: Final[Mapping[type, Callable[[Any, object, str], object]]] = {
    str: _text,
    int: _number,
    bool: _boolean,
    StrEnum: _choice,
}


def extended(kind: Callable[..., T], base: object, **extra: object) -> T:
    """Return a *kind* with the fields of *base* and *extra*."""
    return kind(**{name: getattr(base, name) for name in fields_of(type(base))}, **extra)


def plain(value: object) -> object:
    """Return *value* as plain JSON types: dataclasses become objects, times RFC 3339 strings."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    return {name: plain(getattr(value, name)) for name in fields_of(type(value))}


def encode(value: object) -> bytes:
    """Encode a dataclass or mapping as JSON, in UTF-8 with a final newline."""
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
