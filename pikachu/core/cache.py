"""The bounded cache of the program."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """A mapping with a bounded number or size of entries; the least recently used ones are evicted first.

    One thread uses it.  Values are not ``None``; entries that expire carry their time, which the caller compares.

    :param entries: maximum number of entries; ``None``: no limit.
    :param size: maximum total of *measure*; ``None``: no limit.
    :param measure: returns the size of an entry, the same at each call.
    :param removed: called with each entry that was evicted, replaced or removed.
    """

    def __init__(
        self,
        entries: int | None = None,
        *,
        size: int | None = None,
        measure: Callable[[K, V], int] | None = None,
        removed: Callable[[K, V], object] | None = None,
    ) -> None:
        self._max_entries = entries
        self._max_size = size
        self._measure = measure
        self._removed = removed
        self._size = 0
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    @property
    def size(self) -> int:
        """The total size of the entries."""
        return self._size

    def get(self, key: K) -> V | None:
        """Return the value, which counts as a use, or None."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def values(self) -> list[V]:
        """Return all values, the least recently used first."""
        return list(self._entries.values())

    def put(self, key: K, value: V) -> None:
        """Add or replace an entry, and evict others where the cache is full."""
        self.pop(key)
        self._entries[key] = value
        if self._measure is not None:
            self._size += self._measure(key, value)
        while self._is_over_full():
            self.pop(next(iter(self._entries)))

    def _is_over_full(self) -> bool:
        return (self._max_entries is not None and len(self._entries) > self._max_entries) or (
            self._max_size is not None and self._size > self._max_size
        )

    def pop(self, key: K) -> V | None:
        """Remove an entry and return its value, or None."""
        value = self._entries.pop(key, None)
        if value is not None:
            if self._measure is not None:
                self._size -= self._measure(key, value)
            if self._removed is not None:
                self._removed(key, value)
        return value

    def clear(self) -> None:
        """Remove all entries."""
        for key in tuple(self._entries):
            self.pop(key)
