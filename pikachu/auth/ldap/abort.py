"""Ends what a thread is doing on sockets."""

from __future__ import annotations

import socket
from typing import Any


class Abort:
    """Ends the operations of a thread from another one, by closing its sockets."""

    def __init__(self) -> None:
        self.is_set = False
        # Replaced as a whole: another thread reads it.
        self._sockets: tuple[Any, ...] = ()

    def watch(self, opened: Any) -> None:
        """Remember a socket in use; close it at once after :meth:`set`."""
        self._sockets = (*self._sockets, opened)
        if self.is_set:
            self.set()

    def unwatch(self, opened: Any) -> None:
        """Forget a socket that is not in use any more."""
        self._sockets = tuple(one for one in self._sockets if one is not opened)

    def set(self) -> None:
        """Close the sockets; whatever waits for them fails."""
        self.is_set = True
        for opened in self._sockets:
            try:
                socket.socket.shutdown(opened, socket.SHUT_RDWR)
            except OSError:
                # It is closed already.
                continue
