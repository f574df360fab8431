"""The list of names of an enrollment batch, as people submit it (ENR-1)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Final

from pikachu.core.errors import MalformedRequest, RequestError
from pikachu.core.model.people import BoundNames
from pikachu.x509.bound_names import read_bound_names
from pikachu.x509.names import comparable, escape_value

#: Maximum number of names in a batch.
MAX_NAMES: Final = 10_000
_MAXIMUM_REPORTED: Final = 10
_HEADINGS: Final = frozenset(("cn", "common name", "commonname", "common_name", "name", "subject", "device"))
_SEPARATORS: Final = (",", ";", "\t")


def read_batch_names(text: str, attributes: str = "") -> tuple[BoundNames, ...]:
    """Read a list of names in CSV.

    Each line has a common name, or a whole subject with ``type=value``, and any number of subject alternative names.
    Commas, semicolons or tabs separate them.  Empty lines, lines that begin with ``#`` and a first line of headings
    are skipped.

    :param attributes: the other attributes of each subject that is a common name only, such as ``O=Example,C=DE``.
    :raises MalformedRequest: what is wrong in up to ten lines; there are no names, or too many.
    """
    names: list[BoundNames] = []
    lines: dict[object, int] = {}
    problems: list[str] = []
    attributes = attributes.strip()
    for number, cells in _rows(text):
        if len(names) >= MAX_NAMES:
            raise MalformedRequest(f"Enter at most {MAX_NAMES:,} names. Divide the list into several batches.")
        try:
            bound = _read(cells, attributes)
            first = lines.setdefault(comparable(bound.subject_der), number)
            if first != number:
                raise MalformedRequest(f"This is the subject of line {first}.")
        except RequestError as error:
            problems.append(f"Line {number}: {error.public}")
            if len(problems) == _MAXIMUM_REPORTED:
                break
            continue
        names.append(bound)
    if problems:
        raise MalformedRequest(" ".join(problems))
    if not names:
        raise MalformedRequest("Enter at least one name.")
    return tuple(names)


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Return the number of each line with names, and its cells."""
    lines = text.removeprefix("\ufeff").splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    separator = next((one for one in _SEPARATORS if one in first), ",")
    is_first = True
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator, strict=True))]
        except csv.Error:
            raise MalformedRequest(f"Line {number}: A quotation mark is not closed.") from None
        if is_first and cells[0].lower() in _HEADINGS:
            is_first = False
            continue
        is_first = False
        if any(cells):
            yield number, cells


def _read(cells: list[str], attributes: str) -> BoundNames:
    name, *sans = cells
    if not name:
        raise MalformedRequest("Enter a common name first.")
    if "=" not in name:
        name = f"CN={escape_value(name)}"
        if attributes:
            name = f"{name},{attributes}"
    bound = read_bound_names(name, sans)
    assert bound is not None  # noqa: S101 - there is a subject
    return bound
