"""The store's interface for delta CRLs and sharded CRLs (docs/adr/0051)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred


@dataclass(frozen=True, slots=True)
class DeltaContent:
    """The changes since a full CRL.

    :ivar base_number: the number of that CRL.
    :ivar last_change: the id of the newest status change that is included.
    :ivar entries: the joined DER entries of what is revoked; *count* of them.
    :ivar removed: the serial numbers that the full CRL lists and a newer one does not.
    """

    base_number: int
    last_change: int
    count: int
    entries: bytes
    removed: Sequence[int]


@dataclass(frozen=True, slots=True)
class PartRecord:
    """The newest published delta CRL or sharded CRL."""

    number: int
    last_change: int


class ICRLPartStore(Protocol):
    """Delta CRLs, sharded CRLs, and what they are made of."""

    def delta_content(self, issuer_id: int, now: datetime, limit: int) -> Deferred[DeltaContent | None]:
        """Return what has changed since the oldest full CRL that clients may still use, or None without any.

        A newer one is taken where more than *limit* status changes followed it.
        """

    def add_crl_shards(self, issuer_id: int, urls: Mapping[str, int]) -> Deferred[None]:
        """Remember the shards of the sharded CRLs at these URLs; those that are known stay as they are."""

    def crl_shards(self, issuer_id: int) -> Deferred[dict[int, list[str]]]:
        """Return the URLs of all sharded CRLs that certificates of an issuer may name, by shard."""

    def changed_shards(self, issuer_id: int, after: int) -> Deferred[tuple[int, dict[int, int]]]:
        """Return an issuer's newest status change, and the newest one after *after* of each shard that has one."""

    def shard_entries(self, issuer_id: int, shard: int) -> Deferred[tuple[int, int, bytes]]:
        """Return (last change id, number of entries, their joined DER) of a shard."""

    def crl_parts(self, issuer_id: int) -> Deferred[dict[str, PartRecord]]:
        """Return the records of an issuer's delta CRL (``delta``) and sharded CRLs (their numbers)."""

    def record_crl_part(self, issuer_id: int, part: str, record: PartRecord) -> Deferred[None]:
        """Record a published one."""
