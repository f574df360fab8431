"""Form bodies, ``application/x-www-form-urlencoded`` and ``multipart/form-data``, as texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pikachu.core.errors import ConfirmationRequired, MalformedRequest
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.core.optimistic_locking import Versions

_MAXIMUM_TEXT: Final = 1024 * 1024


class Form:
    """A submitted form.

    :param fields: name → values, in bytes, as twisted.web passes them.
    """

    def __init__(self, fields: Mapping[bytes, Sequence[bytes]] | None = None) -> None:
        self._fields = {name.decode("utf-8", "replace"): values for name, values in (fields or {}).items()}

    @property
    def values(self) -> dict[str, str]:
        """Return the first value of each field, to redisplay the form; invalid texts are left out."""
        texts: dict[str, str] = {}
        for name, values in self._fields.items():
            try:
                texts[name] = _text(values[0], name)
            except MalformedRequest:
                continue
        return texts

    def pairs(self) -> list[tuple[str, str]]:
        """Return all names and values in order; invalid texts, such as files, are left out."""
        texts: list[tuple[str, str]] = []
        for name, values in self._fields.items():
            for value in values:
                try:
                    texts.append((name, _text(value, name)))
                except MalformedRequest:
                    continue
        return texts

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def data(self, name: str) -> bytes:
        """Return the raw value of a field or an uploaded file; empty when it is absent."""
        return next(iter(self._fields.get(name, ())), b"")

    def text(self, name: str, default: str = "") -> str:
        """Return the field, without spaces around it.

        :raises MalformedRequest: it is no text.
        """
        values = self._fields.get(name)
        return default if not values else _text(values[0], name).strip()

    def whole_text(self, name: str) -> str:
        """Return the field unstripped, with lines that end in LF: for multi-line texts, and for passwords.

        :raises MalformedRequest: it is no text.
        """
        return _text(self.data(name), name).replace("\r\n", "\n")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return all values of the field that are not empty."""
        return tuple(text for value in self._fields.get(name, ()) if (text := _text(value, name).strip()))

    def flag(self, name: str) -> bool:
        """Return whether the box is ticked."""
        return self.text(name) not in ("", "0", "false", "off")

    def number(self, name: str, default: int | None = None) -> int:
        """Return the field as a whole number.

        :raises MalformedRequest: naming the field.
        """
        text = self.text(name)
        if not text and default is not None:
            return default
        number = parse_number(text)
        if number is None:
            raise MalformedRequest(f"{name.replace('_', ' ')} is a whole number", field=name)
        return number

    def versions(self) -> Versions:
        """Return the version that the form was filled from.

        :raises MalformedRequest: when there is none, since saving would overwrite what nobody has looked at.
        """
        version = parse_number(self.text("version"), MAX_ID)
        if version is None:
            raise MalformedRequest("This form has expired. Reload it and submit it again.")
        return frozenset({version})

    def require_confirmation(self, word: str) -> None:
        """Check that *word* was typed to confirm a dangerous action.

        :raises ConfirmationRequired: it was not.
        """
        if self.text("confirm") != word:
            raise ConfirmationRequired(f"Type the word {word} to confirm.", field="confirm")


def _text(value: bytes, name: str) -> str:
    if len(value) > _MAXIMUM_TEXT:
        raise MalformedRequest(f"{name.replace('_', ' ')} is too long", field=name)
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest(f"{name.replace('_', ' ')} is not text in UTF-8", field=name) from None
    if "\0" in text:
        raise MalformedRequest(f"{name.replace('_', ' ')} holds the character NUL", field=name)
    return text
