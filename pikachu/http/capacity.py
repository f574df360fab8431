"""Caps on what clients may hold: connections, bytes of request bodies, and of long answers that are not read yet.

A new connection is never refused for others': the oldest one of the address that holds most makes room for it.  A
client that has shown a valid token, session or client certificate holds no share of connections and bodies, so no
flood ends its connection.  A long answer holds a share whoever reads it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Protocol

from pikachu.auth.rate_limit import address_key
from pikachu.core.concurrency import Turns


class IHolder(Protocol):
    """A connection that holds a share."""

    @property
    def answering(self) -> bool:
        """Whether a complete request waits for its response."""

    def abort(self) -> None:
        """Close immediately."""


class Share:
    """A part of a cap that one holder has."""

    def __init__(self, cap: Cap, address: str, holder: IHolder) -> None:
        self._cap = cap
        self.address = address
        self.holder = holder
        self.size = 0
        self.closed = False

    def grow(self, size: int) -> bool:
        """Take *size* more, at the expense of other holders if need be; return whether there is room.

        A closed share, as that of an authenticated client, always has room.
        """
        return self.closed or self._cap.grow(self, size)

    def close(self) -> None:
        """Give everything back."""
        if not self.closed:
            self.closed = True
            self._cap.remove(self)


class Cap:
    """A cap per address and in all; 0 is no cap.

    :param breaks_off: whether requests that are being answered may be broken off to make room.
    """

    def __init__(self, in_all: int = 0, per_address: int = 0, *, breaks_off: bool = False) -> None:
        self.in_all = in_all
        self._per_address = per_address
        self._breaks_off = breaks_off
        self._totals: dict[str, int] = {}
        # Oldest first.
        self._shares: dict[str, dict[Share, None]] = {}
        self.total = 0

    def share(self, address: str, holder: IHolder) -> Share:
        """Return an empty share for *holder*."""
        return Share(self, address_key(address), holder)

    def fitting(self, size: int) -> int:
        """Return *size*, or what one share may have at most."""
        return min(size, self._per_address or size, self.in_all or size)

    def grow(self, share: Share, size: int) -> bool:
        """Add *size* to a share; on failure it keeps what it had.

        At most one connection is closed for it, or, of those that may be broken off, as many as make room; and none
        where that does not make enough room.
        """
        self._add(share, size)
        own_excess = self._totals[share.address] - self._per_address if self._per_address else 0
        # What leaves the address leaves the total, too.
        excess = max(own_excess, self.total - self.in_all if self.in_all else 0)
        if excess <= 0:
            return True
        address = share.address if own_excess > 0 else max(self._totals, key=self._totals.__getitem__)
        if self._evict(address, share, excess) or self._evict_several(address, share, excess):
            return True
        self._add(share, -size)
        return False

    def _add(self, share: Share, size: int) -> None:
        share.size += size
        self.total += size
        self._totals[share.address] = self._totals.get(share.address, 0) + size
        self._shares.setdefault(share.address, {})[share] = None

    def remove(self, share: Share) -> None:
        """Remove a share."""
        shares = self._shares.get(share.address)
        if shares is None or share not in shares:
            return
        del shares[share]
        self.total -= share.size
        self._totals[share.address] -= share.size
        if not shares:
            del self._shares[share.address], self._totals[share.address]

    def _evict(self, address: str, spared: Share, size: int) -> bool:
        """Close the connection with the oldest share of *address* that has *size*, preferably one that waits.

        One that holds nothing stays: there was no room for it, so its credentials are being verified, or it is about
        to read that it was refused.
        """
        others = [share for share in self._shares[address] if share is not spared and share.size >= size]
        victim = next((share for share in others if not share.holder.answering), None)
        if victim is None and self._breaks_off:
            victim = next(iter(others), None)
        if victim is None:
            return False
        _break_off(victim)
        return True

    def _evict_several(self, address: str, spared: Share, size: int) -> bool:
        """Close the connections with the oldest shares of *address*, then of the busiest others, that have *size*."""
        if not self._breaks_off or self.fitting(spared.size) < spared.size:
            return False
        others = sorted(self._totals.keys() - {address}, key=self._totals.__getitem__, reverse=True)
        victims: list[Share] = []
        for share in (share for one in (address, *others) for share in self._shares[one]):
            if share is spared or not share.size:
                continue
            victims.append(share)
            size -= share.size
            if size <= 0:
                for victim in victims:
                    _break_off(victim)
                return True
        return False


def _break_off(share: Share) -> None:
    share.close()
    share.holder.abort()


def _long_lists() -> Turns:
    return Turns(2, 256, 32, "Too many long lists are requested at this moment. Try again later.")


def _export_pages() -> Turns:
    # The cap on answers bounds how many exports there are, and none is refused in its middle.
    return Turns(1, sys.maxsize, sys.maxsize, "")


@dataclass(frozen=True, slots=True)
class Capacity:
    """The caps of all listeners together.

    :ivar long_lists: reading and encoding lists of hundreds of objects; their requesters are accounts.
    :ivar export_pages: reading and writing the next rows of an export.
    """

    connections: Cap = field(default_factory=Cap)
    body_bytes: Cap = field(default_factory=Cap)
    answer_bytes: Cap = field(default_factory=Cap)
    long_lists: Turns = field(default_factory=_long_lists)
    export_pages: Turns = field(default_factory=_export_pages)
