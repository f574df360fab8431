"""Object ids in paths."""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import NotFound

_GREATEST: Final = 2**63 - 1


def id_of(text: str) -> int:
    """Parse *text* as an object id.

    :raises NotFound: when no object can have it.
    """
    if len(text) > 19 or not (text.isascii() and text.isdecimal()) or int(text) > _GREATEST:
        raise NotFound("there is nothing of that id")
    return int(text)
