"""Ends what a thread is doing on a socket."""

from __future__ import annotations

import socket
from typing import Any


class Abort:
    """Ends the operations of a thread from another one, by closing its socket."""

    def __init__(self) -> None:
        self.is_set = False
        self._socket: Any = None

    def watch(self, opened: Any) -> None:
        """Remember the socket in use; close it at once after :meth:`set`."""
        self._socket = opened
        if self.is_set:
            self.set()

    def set(self) -> None:
        """Close the socket; whatever waits for it fails."""
        self.is_set = True
        opened = self._socket
        if opened is not None:
            try:
                socket.socket.shutdown(opened, socket.SHUT_RDWR)
            except OSError:
                # It is closed already.
                return
