"""List queries and their pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Visible:
    """The objects that an account sees in a list with objects of several kinds: its own, and all of some kinds."""

    owner_id: int
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A query for one page of a list.

    :param limit: maximum number of rows, 1 to 1000.
    :param cursor: the opaque cursor from the previous page.
    :param q: free text over the list's text columns.
    :param sort: a field name, with ``-`` in front for descending.
    :param owner_id: restrict to the objects of this account; ``None`` for all.
    :param filters: exact values by field name, such as ``status``.
    :param count: whether to count all rows.
    :param visible: restrict to these objects; ``None`` for all.  Only lists of events and jobs have kinds.
    """

    limit: int = 25
    cursor: str | None = None
    q: str | None = None
    sort: str = "-id"
    owner_id: int | None = None
    filters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    count: bool = False
    visible: Visible | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    :param next_cursor: the cursor of the next page; ``None`` on the last.
    :param previous_cursor: the cursor of the previous page; ``None`` on the first.
    :param total: the number of all rows if counted: exact up to 10,000; 10,001 means more.
    :param unindexed: the number of older rows that free text does not find yet.
    """

    items: tuple[T, ...]
    next_cursor: str | None
    previous_cursor: str | None = None
    total: int | None = None
    unindexed: int = 0
