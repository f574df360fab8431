"""Caps on what clients that have not authenticated may hold: connections, and bytes of request bodies.

A new connection is never refused for others': the oldest one of the address that holds most makes room for it.  A
client that has shown a valid token, session or client certificate holds no share, so no flood ends its connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from pikachu.auth.rate_limit import address_key


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
        self._in_all = in_all
        self._per_address = per_address
        self._breaks_off = breaks_off
        self._totals: dict[str, int] = {}
        # Oldest first.
        self._shares: dict[str, dict[Share, None]] = {}
        self.total = 0

    def share(self, address: str, holder: IHolder) -> Share:
        """Return an empty share for *holder*."""
        return Share(self, address_key(address), holder)

    def grow(self, share: Share, size: int) -> bool:
        """Add *size* to a share; on failure it keeps what it had.

        At most one connection is closed for it, and none where that does not make enough room.
        """
        self._add(share, size)
        excess = self._totals[share.address] - self._per_address if self._per_address else 0
        if excess > 0:
            # What leaves the address leaves the total, too.
            excess = max(excess, self.total - self._in_all if self._in_all else 0)
            address = share.address
        else:
            excess = self.total - self._in_all if self._in_all else 0
            address = max(self._totals, key=self._totals.__getitem__)
        if excess > 0 and not self._evict(address, share, excess):
            self._add(share, -size)
            return False
        return True

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
        victim.close()
        victim.holder.abort()
        return True


@dataclass(frozen=True, slots=True)
class Capacity:
    """The caps of all listeners together."""

    connections: Cap = field(default_factory=Cap)
    body_bytes: Cap = field(default_factory=Cap)
