"""Object ids in paths."""

from __future__ import annotations

from pikachu.core.errors import NotFound
from pikachu.core.number_parsing import MAX_ID, parse_number


def id_of(text: str) -> int:
    """Parse *text* as an object id.

    :raises NotFound: when no object can have it.
    """
    number = parse_number(text, MAX_ID)
    if number is None:
        raise NotFound("no such object")
    return number
