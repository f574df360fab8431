"""Measure how long others wait for a server while it handles something hostile.

A process of its own asks ``GET /healthz`` again and again on a kept connection and notes the longest wait, so that
neither this process's lock nor its garbage collector counts.  Waits are compared with reference work that is done in
the same moments: a batch of RSA-2048 signatures of about 50 ms.  No limit is a time: both stretch alike when the
machine is slow or shared.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from tests.support.pki import make_key, sign

SIGNATURES: Final = 200
"""Signatures of a batch, which takes some 50 ms on a machine that is not busy."""

PAUSE_SECONDS: Final = 0.002
REQUEST: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def reference_seconds() -> float:
    """Return the wall time of one batch of RSA-2048 signatures, made now."""
    key = make_key("rsa2048", 3)
    begin = time.perf_counter()
    for _ in range(SIGNATURES):
        sign(key, b"reference work")
    return time.perf_counter() - begin


@dataclass
class StallWatch:
    """The watching process.

    :ivar port: of the plain HTTP listener that is asked.
    """

    port: int
    _process: subprocess.Popen[str] = field(init=False)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.stall_watch", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _answer(self) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the watching process ended"
        return float(line)

    def longest(self, work: Callable[[], object]) -> float:
        """Return the longest wait, in seconds, while *work* ran."""
        assert self._process.stdin is not None
        self._process.stdin.write("begin\n")
        self._process.stdin.flush()
        self._answer()
        try:
            work()
        finally:
            self._process.stdin.write("end\n")
            self._process.stdin.flush()
            longest = self._answer()
        return longest


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=300)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _ask(connection: socket.socket) -> bool:
    """Ask once; False when the server has closed the kept connection."""
    try:
        connection.sendall(REQUEST)
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(4096)
            if not piece:
                return False
            received += piece
    except ConnectionError:
        return False
    return True


def _watch(port: int) -> None:
    """Obey standard input: a first line begins a measurement, the next one ends it and gets the longest wait."""
    connection = _connect(port)
    print(0.0, flush=True)
    while sys.stdin.readline():
        longest = 0.0
        print(longest, flush=True)
        ended = False
        while not ended:
            begin = time.perf_counter()
            while not _ask(connection):
                connection.close()
                connection = _connect(port)
            longest = max(longest, time.perf_counter() - begin)
            ended = bool(select.select([sys.stdin], [], [], PAUSE_SECONDS)[0])
        sys.stdin.readline()
        print(longest, flush=True)
    connection.close()


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
