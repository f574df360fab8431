"""The store's interface for the transparency log (TLG-1; see docs/adr/0002 and docs/adr/0047)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred


@dataclass(frozen=True, slots=True)
class LogState:
    """How far the log has come.

    :param size: the number of its leaves.
    :param pending: an upper bound of the events and certificates that are not in it yet.
    """

    size: int
    pending: int


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The size of the log with its root hash."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class LogInclusion:
    """The path from a leaf to the root, see RFC 9162 section 2.1.3."""

    index: int
    head: TreeHead
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LogConsistency:
    """The proof that the log goes on where it was, see RFC 9162 section 2.1.4.

    :param old: the older head.
    """

    old: TreeHead
    head: TreeHead
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PrunedEvents:
    """The events that housekeeping has removed.

    :param count: the number of the last of them.
    :param hash: its hash.
    :param note: the signed checkpoint of the log that has their leaves.
    """

    count: int
    hash: bytes
    at: datetime
    note: str


@dataclass(frozen=True, slots=True)
class OldEvents:
    """Events that can be pruned, which are the oldest ones.

    :param first: the number of the first of them.
    :param last: that of the last of them; below *first* when there are none.
    :param oldest: the time of the first one.
    """

    first: int
    last: int
    oldest: datetime | None

    @property
    def count(self) -> int:
        """The number of these events."""
        return max(0, self.last - self.first + 1)


class ILogStore(Protocol):
    """The transparency log: leaves of all events and certificates, in the order of their commits."""

    def checkpoint_key(self) -> bytes:
        """Return the private key of the log, as DER.

        :raises SecretKeyChanged: when it was sealed under another SECRET_KEY.
        """

    def extend_log(self, limit: int) -> Deferred[LogState]:
        """Append the next events and certificates, up to *limit* of each.  Fails with Conflict when one is missing."""

    def log_state(self) -> Deferred[LogState]:
        """Return the size of the log, and what is not in it yet."""

    def log_head(self) -> Deferred[TreeHead]:
        """Return size and root hash of the log."""

    def log_inclusion(self, certificate_id: int) -> Deferred[LogInclusion]:
        """Return the inclusion proof of a certificate.  Fails with NotFound when it is not in the log (yet)."""

    def log_consistency(self, old: int) -> Deferred[LogConsistency]:
        """Return the proof that the log begins with its first *old* leaves.  Fails with NotFound if it has fewer."""

    def verify_log(self, kept: TreeHead | None, progress: Callable[[int], None] | None = None) -> Deferred[TreeHead]:
        """Verify that events and certificates are what the log has, and return its head.

        :param kept: an earlier head, which the log must begin with.
        :param progress: called after each transaction with the number of verified leaves.

        Fails with Conflict that says what was changed.
        """

    def pruned_events(self) -> Deferred[PrunedEvents | None]:
        """Return what housekeeping has removed from the audit log, if anything.

        Fails with Conflict when the record of it was changed.
        """

    def old_events(self, before: datetime) -> Deferred[OldEvents]:
        """Return the events in the log that are older than *before*, as far as no newer one lies between."""

    def prune_events(self, last: int, limit: int, note: str, now: datetime) -> Deferred[int]:
        """Remove up to *limit* of the oldest events, none after *last*, and record that with a signed checkpoint.

        Returns the number of the last event that was removed.  Fails with Conflict when an event is missing.
        """
