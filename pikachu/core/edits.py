"""Edits of the same object at the same time: one of them is told, and overwrites nothing without knowing.

An edit names the versions that it may replace.  One that names none, such as a program that sets a single field, is
repeated on what is there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeAlias, TypeVar

from pikachu.core.errors import Conflict, EditConflict

T = TypeVar("T")

#: The versions that a change may replace; ``None``: any.
Versions: TypeAlias = frozenset[int] | None

_ATTEMPTS: Final = 20


def require_version(
    expected: Versions, version: int, what: str, changed_by: str | None, changed_at: datetime | None
) -> None:
    """Require that *version*, which is stored, is one that the change may replace.

    :param what: the kind of object, for a person.
    :raises EditConflict: when it is not.
    """
    if expected is not None and version not in expected:
        raise EditConflict.of(what, changed_by, changed_at)


async def repeat(change: Callable[[], Awaitable[T]], expected: Versions) -> T:
    """Do *change*, which reads and writes, again when others wrote between the two.

    :param expected: unless it is ``None`` the first conflict is final.

    Fails with what *change* fails with, and with Conflict when others never stop.
    """
    for _ in range(_ATTEMPTS):
        try:
            return await change()
        except EditConflict:
            if expected is not None:
                raise
    raise Conflict("Others are changing this at the same time. Try again later.")
