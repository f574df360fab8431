"""Parser for configuration texts in the syntax of OpenSSL 3.0 (config(5)): sections of ``name = value`` lines.

It is stricter than OpenSSL, which silently ignores some errors: an unterminated quotation, a repeated name in a
section, text after ``]``, and ``.include`` are errors.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from pikachu.core.errors import BadTemplate

MAXIMUM_TEXT: Final = 64 * 1024
"""Maximum size of a text in bytes."""
_MAXIMUM_EXPANDED: Final = 256 * 1024

DEFAULT_SECTION: Final = "default"

_WORD: Final = frozenset(string.ascii_letters + string.digits + "_")
_NAME: Final = _WORD | frozenset("!.%&*+,-/;?@^~|")
_SPACE: Final = " \t\r\f\v"
_QUOTES: Final = "\"'`"
_ESCAPES: Final = {"r": "\r", "n": "\n", "b": "\b", "t": "\t"}
_CLOSING: Final = {"{": "}", "(": ")"}
_SHOWN: Final = 64
_FORBIDDEN: Final = re.compile("[\\x00-\\x08\\x0e-\\x1f\\x7f\\ud800-\\udfff]|\\r(?!\\n|$)")


def quoted(text: str) -> str:
    """Quote a part of the text for an error message: short and on one line."""
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown) + '"'


def suggestion(text: str, known: Mapping[str, object] | list[str]) -> str:
    """Return ``, did you mean "x"?`` when a known name is similar to *text*, else an empty text."""
    if len(text) > _SHOWN:
        return ""
    folded = {name.lower(): name for name in known}
    close = get_close_matches(text.lower(), folded, 1, 0.75)
    return f", did you mean {quoted(folded[close[0]])}?" if close else ""


@dataclass(frozen=True, slots=True)
class Field:
    """A ``name = value`` of a section.

    :ivar line: the first line, from 1.
    :ivar missing: a variable in the text without a value in this installation.
    """

    name: str
    text: str
    line: int
    missing: str | None = None

    @property
    def value(self) -> str:
        """The value.

        :raises BadTemplate: a variable in it has no value; raised only when the field is used.
        """
        if self.missing is not None:
            raise BadTemplate(self.line, f"the variable {quoted(self.missing)} has no value in this installation")
        return self.text


@dataclass(slots=True)
class Section:
    """A section and its fields in order.

    :ivar line: the line of its first header; 0 for the fields before any header.
    """

    name: str
    line: int
    fields: dict[str, Field] = field(default_factory=dict)


class Configuration:
    """A parsed text.

    :param variables: values for ``$name`` that the text itself does not set.
    :param environment: values for ``$ENV::NAME``, of which a missing one is an error where the field is used only;
        ``None`` for texts that must not use the environment.
    :raises BadTemplate: with the invalid line.
    """

    def __init__(self, text: str, variables: Mapping[str, str], environment: Mapping[str, str] | None = None) -> None:
        if len(text) > MAXIMUM_TEXT or len(text.encode("utf-8", "surrogatepass")) > MAXIMUM_TEXT:
            raise BadTemplate(0, f"the text is longer than {MAXIMUM_TEXT // 1024} KiB")
        self._variables = variables
        self._environment = environment
        self._expanded = 0
        self._missing: str | None = None
        self.used: set[str] = set()
        self.default = Section(DEFAULT_SECTION, 0)
        self.sections: dict[str, Section] = {DEFAULT_SECTION: self.default}
        self._current = self.default
        self._read(text)

    def section(self, name: str) -> Section | None:
        """Return the section with that name, or ``None``."""
        return self.sections.get(name)

    def _read(self, text: str) -> None:
        if bad := _FORBIDDEN.search(text):
            raise BadTemplate(text.count("\n", 0, bad.start()) + 1, "a control character in the text")
        pending: list[str] = []
        number = 0
        for number, whole in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            line = whole.removesuffix("\r")
            if line.endswith("\\") and not line.endswith("\\\\"):
                pending.append(line[:-1])
            else:
                self._line("".join((*pending, line)), number - len(pending))
                pending = []
        if pending:
            raise BadTemplate(number, "the text ends with a backslash, but no line follows")

    def _line(self, raw: str, number: int) -> None:
        line = _without_comment(raw, number).strip(_SPACE)
        if not line:
            return
        if line.startswith("["):
            self._header(line, number)
            return
        position = 0
        while position < len(line) and line[position] in _NAME:
            position += 1
        if line[position : position + 2] == "::":
            section_name = line[:position]
            rest = position + 2
            position = rest
            while position < len(line) and line[position] in _NAME:
                position += 1
            name = line[rest:position]
            target = self.sections.setdefault(section_name, Section(section_name, number))
        else:
            name = line[:position]
            target = self._current
        if name.startswith((".include", ".pragma")):
            raise BadTemplate(number, f"{name.split('.')[1][:8]} is not accepted here")
        after = line[position:].lstrip(_SPACE)
        if not after.startswith("="):
            actual = line.split("=")[0].rstrip(_SPACE) if "=" in line else line
            raise BadTemplate(number, f"expected name = value, found {quoted(actual)}")
        if not name:
            raise BadTemplate(number, "there is no name before the =")
        if name in target.fields:
            first = target.fields[name].line
            raise BadTemplate(
                number,
                f"{quoted(name)} stands already in line {first}; "
                "names of one section must differ, such as DNS.1 and DNS.2, or 0.OU and 1.OU",
            )
        self._missing = None
        value = self._expand(after[1:].strip(_SPACE), target, number)
        target.fields[name] = Field(name, value, number, self._missing)

    def _header(self, line: str, number: int) -> None:
        end = line.find("]")
        if end < 0:
            raise BadTemplate(number, "a section header needs a closing ]")
        if line[end + 1 :].strip(_SPACE):
            raise BadTemplate(number, "text after a section header")
        name = line[1:end].strip(_SPACE)
        if not name or any(character not in _NAME and character not in " \t" for character in name):
            raise BadTemplate(number, f"{quoted(name)} is no name of a section")
        self._current = self.sections.setdefault(name, Section(name, number))

    def _expand(self, text: str, section: Section, number: int) -> str:
        """Return a value with its quotations, escapes and variables resolved."""
        parts: list[str] = []
        position = 0
        size = len(text)
        while position < size:
            character = text[position]
            if character in _QUOTES:
                # _without_comment has checked that each quotation ends.
                position += 1
                while text[position] != character:
                    if text[position] == "\\":
                        position += 1
                    parts.append(text[position])
                    position += 1
                position += 1
            elif character == "\\":
                if position + 1 >= size:
                    raise BadTemplate(number, "a value ends with a backslash")
                parts.append(_ESCAPES.get(text[position + 1], text[position + 1]))
                position += 2
            elif character == "$":
                value, position = self._variable(text, position + 1, section, number)
                parts.append(value)
            else:
                start = position
                while position < size and text[position] not in _QUOTES and text[position] not in "\\$":
                    position += 1
                parts.append(text[start:position])
        value = "".join(parts)
        self._expanded += len(value)
        if self._expanded > _MAXIMUM_EXPANDED:
            raise BadTemplate(number, "the variables make the text too long")
        return value

    def _variable(self, text: str, position: int, section: Section, number: int) -> tuple[str, int]:
        """Return the value of the variable whose name begins at *position*, and the position after it."""
        closing = _CLOSING.get(text[position : position + 1], "")
        if closing:
            position += 1
        end = position
        while end < len(text) and text[end] in _WORD:
            end += 1
        where = section.name
        name = text[position:end]
        if text[end : end + 2] == "::":
            where = name
            position = end = end + 2
            while end < len(text) and text[end] in _WORD:
                end += 1
            name = text[position:end]
        if closing:
            if text[end : end + 1] != closing:
                raise BadTemplate(number, f"a variable has no closing {closing}")
            end += 1
        if not name:
            raise BadTemplate(number, "a $ without a name after it; write \\$ for the character")
        if where == "ENV":
            return self._environment_value(name, number), end
        for known in (self.sections.get(where), self.default):
            if known is not None and name in known.fields:
                value = known.fields[name].text
                self._missing = self._missing or known.fields[name].missing
                break
        else:
            if name not in self._variables:
                raise BadTemplate(
                    number, f"the variable {quoted(name)} has no value{suggestion(name, self._variables)}"
                )
            self.used.add(name)
            value = self._variables[name]
            if not value:
                self._missing = name
        self._expanded += len(value)
        if self._expanded > _MAXIMUM_EXPANDED:
            raise BadTemplate(number, "the variables make the text too long")
        return value, end

    def _environment_value(self, name: str, number: int) -> str:
        if self._environment is None:
            raise BadTemplate(number, "environment variables can't be used here")
        value = self._environment.get(name, "")
        if not value:
            self._missing = f"ENV::{name}"
        return value


_INTERESTING: Final = re.compile(r"[#\\\"'`]")


def _without_comment(line: str, number: int) -> str:
    """Return the line up to a ``#`` outside quotations and escapes."""
    position = 0
    while match := _INTERESTING.search(line, position):
        character = match[0]
        position = match.end()
        if character == "#":
            return line[: match.start()]
        if character == "\\":
            position += 1
            continue
        while position < len(line) and line[position] != character:
            position += 2 if line[position] == "\\" else 1
        if position >= len(line):
            raise BadTemplate(
                number, f"a quotation that {character} begins does not end; write \\{character} for the character"
            )
        position += 1
    return line
