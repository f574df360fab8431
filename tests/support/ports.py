"""Free ports of the loopback interface, which no other process that runs tests hands out at the same time.

Asking the kernel for any free port does not do: until the server under test listens there, another process may be
given the same port, also for an outgoing connection.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import socket
from pathlib import Path
from typing import Final

#: Ports of one process: the first is bound as long as it runs, which reserves the others.
BLOCK_SIZE: Final = 100
FIRST_PORT: Final = 15_000
_EPHEMERAL_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DEFAULT_EPHEMERAL: Final = 32_768
_LAST_PORT: Final = 65_535


class Ports:
    """A block of ports that belongs to one process until it ends."""

    def __init__(self) -> None:
        self._lock, first = reserve_block()
        self.ports = range(first + 1, first + BLOCK_SIZE)
        self._next = itertools.cycle(self.ports)

    def take(self, count: int) -> list[int]:
        """Return the next *count* ports on which nobody listens.

        :raises RuntimeError: when the block has too few.
        """
        candidates = itertools.islice(self._next, len(self.ports))
        free = list(itertools.islice((port for port in candidates if _can_bind(port)), count))
        if len(free) < count:
            raise RuntimeError(f"only {len(free)} of the ports {self.ports} are free, and {count} are needed")
        return free

    def close(self) -> None:
        """Release the block."""
        self._lock.close()


def reserve_block() -> tuple[socket.socket, int]:
    """Return the socket that reserves a block, and its port.

    :raises RuntimeError: when all blocks are taken.
    """
    for first in _blocks():
        lock = socket.socket()
        try:
            lock.bind(("127.0.0.1", first))
        except OSError:
            lock.close()
            continue
        return lock, first
    raise RuntimeError("every block of ports is reserved; too many processes run tests")


def _blocks() -> list[int]:
    """Return the blocks' first ports: outside of those that outgoing connections use, where there are such."""
    low, high = _DEFAULT_EPHEMERAL, _LAST_PORT
    with contextlib.suppress(OSError):
        low, high = map(int, _EPHEMERAL_RANGE.read_text().split())
    blocks = range(FIRST_PORT, _LAST_PORT - BLOCK_SIZE, BLOCK_SIZE)
    return [first for first in blocks if first + BLOCK_SIZE <= low or first > high] or list(blocks)


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections that have ended don't keep a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


@functools.cache
def _ports_of(_process: int) -> Ports:
    return Ports()


def free_ports(count: int) -> list[int]:
    """Return *count* free ports of this process's block."""
    # A fork shares its parent's reservation, so it makes one of its own.
    return _ports_of(os.getpid()).take(count)


def free_port() -> int:
    """Return one free port of this process's block."""
    return free_ports(1)[0]
