"""Optimistic locking of edits: a concurrent edit of the same object fails instead of overwriting changes.

An edit names the versions that it may replace.  An edit without versions, such as a program setting a single field, is
retried on the current version.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeAlias, TypeVar

from pikachu.core.errors import Conflict, EditConflict

T = TypeVar("T")

#: The versions that a change may replace; ``None`` for any.
Versions: TypeAlias = frozenset[int] | None

_ATTEMPTS: Final = 20


def require_version(
    expected: Versions, version: int, kind: str, changed_by: str | None, changed_at: datetime | None
) -> None:
    """Require that the change may replace the stored *version*.

    :param kind: the kind of object, for the error message.
    :raises EditConflict: when it is not.
    """
    if expected is not None and version not in expected:
        raise EditConflict.of(kind, changed_by, changed_at)


async def repeat(change: Callable[[], Awaitable[T]], expected: Versions) -> T:
    """Run *change*, which reads and writes, and retry it after concurrent changes.

    :param expected: unless ``None``, the first conflict is final.

    Fails with the errors of *change*, and with Conflict when concurrent changes don't stop.
    """
    for _ in range(_ATTEMPTS):
        try:
            return await change()
        except EditConflict:
            if expected is not None:
                raise
    raise Conflict("Others are changing this at the same time. Try again later.")
