"""HTTP answers that are read within one time limit: urllib3's begins anew with every byte that arrives."""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any, Final

import requests.adapters
import urllib3
import urllib3.connection


class _TimedReader(io.RawIOBase):
    """The bytes that a socket receives, until its time is up.

    :param stream: what the socket reads by; closed with this.
    :param seconds: for all reads together.
    """

    def __init__(self, connection: socket.socket, stream: io.RawIOBase, seconds: float) -> None:
        self._connection = connection
        self._stream = stream
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read into *buffer*.

        :raises TimeoutError: when the time is up.
        """
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(remaining)
        return self._stream.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """An answer whose head and body share the time limit that its connection has for one read."""

    def __init__(self, connection: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(connection, *arguments, **options)
        seconds = connection.gettimeout()
        if seconds is not None:
            self.fp = io.BufferedReader(_TimedReader(connection, self.fp.detach(), seconds))


class _HTTPConnection(urllib3.connection.HTTPConnection):
    response_class = _TimedResponse


class _HTTPSConnection(urllib3.connection.HTTPSConnection):
    response_class = _TimedResponse


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS: Final = {"http": _HTTPPool, "https": _HTTPSPool}


class TimedAdapter(requests.adapters.HTTPAdapter):
    """An adapter whose time limit is for the whole answer."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make the pools of connections."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS
