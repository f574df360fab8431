"""Entity tags and ``If-Match`` (RFC 9110 sections 8.8.3 and 13.1.1) prevent lost updates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.core.optimistic_locking import Versions

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST: Final = re.compile(rf"[ \t]*{_TAG}(?:[ \t]*,[ \t]*{_TAG})*[ \t]*")
_OWN_TAG: Final = re.compile('"([0-9a-f]{1,16})"')
_MAXIMUM_LENGTH: Final = 4096


def entity_tag(version: int) -> bytes:
    """Return the strong entity tag of an object's version."""
    return f'"{version:x}"'.encode("ascii")


def if_match(values: Sequence[bytes]) -> Versions:
    """Return the versions that ``If-Match`` names, or ``None`` when it accepts any version or is absent.

    :param values: of the header, one for each line of that name.
    :raises MalformedRequest: when it is neither ``*`` nor a list of entity tags.
    """
    if not values:
        return None
    text = b",".join(values).decode("latin-1")
    if text.strip(" \t") == "*":
        return None
    if len(text) > _MAXIMUM_LENGTH or not _LIST.fullmatch(text):
        raise MalformedRequest('If-Match is * or a list of entity tags, such as "1f".')
    # Weak tags and those that this server never issued match nothing.
    tags = re.findall(_TAG, text)
    return frozenset(int(match[1], 16) for tag in tags if (match := _OWN_TAG.fullmatch(tag)))
