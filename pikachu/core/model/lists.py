"""Queries of lists, and their pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What one page of a list shows.

    :param limit: rows, 1 to 1000.
    :param cursor: opaque; of the page before.
    :param q: free text over the list's text columns.
    :param sort: a field name, with ``-`` in front for descending.
    :param owner_id: only what this account owns; ``None`` for all.
    :param filters: exact values by field name, such as ``status``.
    :param count: whether the page shall say how many rows there are.
    """

    limit: int = 25
    cursor: str | None = None
    q: str | None = None
    sort: str = "-id"
    owner_id: int | None = None
    filters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    count: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    :param next_cursor: of the page that follows; ``None`` on the last.
    :param previous_cursor: of the page that precedes; ``None`` on the first.
    :param total: rows in all, where they were counted: exact to 10,000; 10,001 means more.
    """

    items: tuple[T, ...]
    next_cursor: str | None
    previous_cursor: str | None = None
    total: int | None = None
