"""The load: a process of its own with connections that each have one prepared request under way.

It uses nothing but the standard library and runs on one processor; preparing requests and judging answers happens
elsewhere.  It ends after a number of requests or of seconds, whichever comes first.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import pickle
import re
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r", re.IGNORECASE)
_MOST_FAILURES = 50
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Load:
    """The requests of a load, and how they are sent.

    :param port: where the server listens.
    :param requests: whole HTTP requests; asked in turn, from the first again when *repeat*.
    :param most: requests in all.
    :param seconds: of time in all.
    :param reconnect: a connection a request, closed by the server.
    :param expect: octets that every answer's body holds; an answer without counts as failed.
    :param tolerant: count the good answers, however many others there are: for a peer that fails under load.
    :param client: a PEM file with the TLS client's certificate and key; empty: none.
    :param sources: loopback addresses that connections come from in turn; none: that of the server.
    :param more_ports: of further servers, which get every second, third … connection.
    """

    port: int
    requests: list[bytes] = field(repr=False)
    connections: int
    most: int
    seconds: float
    tls: bool = False
    reconnect: bool = False
    repeat: bool = True
    expect: bytes = b""
    tolerant: bool = False
    client: str = ""
    more_ports: tuple[int, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a load; times in seconds.

    :param failure: the beginning of one answer that was not what was expected.
    """

    done: int
    failed: int
    elapsed: float
    median: float
    p99: float
    slowest: float
    failure: str = ""

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.done / self.elapsed if self.elapsed else 0.0


class LoadFailed(Exception):
    """The answers were not what they should be: a rate of them would mean nothing."""


def run(load: Load, processor: int | None = None) -> Outcome:
    """Run *load* in a process of its own, on one processor.

    :raises LoadFailed: when more than one answer in a hundred was wrong and the load is not tolerant.
    """
    outcome = Outcome(**in_process("bench.load", load, processor, load.seconds + 2 * _PATIENCE))
    # A peer that has broken down answers all wrong: its rate is 0 then, and what it did before counts.
    if not load.tolerant and (outcome.done == 0 or outcome.failed * 100 > outcome.done):
        raise LoadFailed(f"{outcome.failed} of {outcome.done + outcome.failed} answers were wrong: {outcome.failure}")
    return outcome


def in_process(module: str, work: object, processor: int | None, timeout: float) -> dict[str, Any]:
    """Have *module* do *work* in a process of its own, on one processor; return the JSON that it prints."""
    with tempfile.NamedTemporaryFile(prefix="bench-load-") as stream:
        pickle.dump((work, processor), stream)
        stream.flush()
        ended = subprocess.run(
            [sys.executable, "-m", module, stream.name],
            stdout=subprocess.PIPE,
            check=True,
            timeout=timeout,
            cwd=Path(__file__).parent.parent,
        )
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def work_of_process(arguments: Sequence[str]) -> tuple[Any, int | None]:
    """Return the work and the processor that :func:`in_process` has given to this process."""
    with Path(arguments[0]).open("rb") as stream:
        work, processor = pickle.load(stream)
    return work, processor


def addresses(count: int) -> tuple[str, ...]:
    """Return so many loopback addresses besides that of the server."""
    return tuple(f"127.0.{number // 200 + 1}.{number % 200 + 1}" for number in range(count))


class _Connection:
    """A connection with at most one request under way.

    :ivar request: the one that is under way; empty when there is none.
    :ivar answers: how many were received.
    :ivar is_open: whether the handshake is over; a request waits for it, and other connections go on.
    """

    __slots__ = ("answers", "asked_at", "is_open", "received", "request", "socket")

    def __init__(self, port: int, context: ssl.SSLContext | None, source: str = "") -> None:
        # create_connection looks the address up and sets a timeout, which takes a third of a plain request's time.
        plain = socket.socket()
        if source:
            plain.bind((source, 0))
        plain.connect(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setblocking(False)
        self.socket = plain if context is None else context.wrap_socket(plain, do_handshake_on_connect=False)
        self.is_open = context is None
        self.received = b""
        self.request = b""
        self.answers = 0
        self.asked_at = 0.0

    def ask(self, request: bytes) -> None:
        self.received = b""
        self.request = request
        self.asked_at = time.perf_counter()
        if self.is_open:
            self._send()
        else:
            self.receive()

    def _send(self) -> None:
        # A connection that the server has closed meanwhile shows it when the answer is read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            if self.socket.send(self.request) != len(self.request):
                raise ConnectionError("a request does not fit into the socket's buffer")

    @property
    def was_idle(self) -> bool:
        """Whether a server that closed it did so between two requests: none of one was answered."""
        return not self.request or (self.answers > 0 and not self.received)

    def receive(self) -> bool:
        """Whether there may be more to come."""
        try:
            if isinstance(self.socket, ssl.SSLSocket) and not self.is_open:
                self.socket.do_handshake()
                self.is_open = True
                if self.request:
                    self._send()
            piece = self.socket.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except (ConnectionResetError, ssl.SSLError):
            return False
        self.received = self.received + piece if self.received else piece
        return bool(piece)


def body_of(answer: bytes) -> bytes | None:
    """The body of an HTTP answer; ``None`` until it is whole."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(answer, 0, end + 2)
    if length is not None:
        body = answer[end + 4 :]
        return body if len(body) >= int(length[1]) else None
    if _CHUNKED.search(answer, 0, end + 2) is None or not answer.endswith(b"0\r\n\r\n"):
        return None
    pieces: list[bytes] = []
    at = end + 4
    while True:
        stop = answer.find(b"\r\n", at)
        if stop < 0:
            return None
        size = int(answer[at:stop], 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(answer[stop + 2 : stop + 2 + size])
        at = stop + 2 + size + 2


class _Run:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._context: ssl.SSLContext | None = None
        if load.tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE
            if load.client:
                self._context.load_cert_chain(load.client)
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._most = load.most if load.repeat else min(load.most, len(load.requests))
        self._asked = 0
        self._failed = 0
        self._failure = b""
        self._times: list[float] = []
        self._ports = itertools.cycle((load.port, *load.more_ports))
        self._sources = itertools.cycle(load.sources or ("",))

    def _open(self) -> _Connection:
        connection = _Connection(next(self._ports), self._context, next(self._sources))
        self._connections[connection.socket.fileno()] = connection
        self._poll.register(connection.socket.fileno(), select.EPOLLIN)
        return connection

    def _close(self, connection: _Connection) -> None:
        number = connection.socket.fileno()
        self._poll.unregister(number)
        del self._connections[number]
        connection.socket.close()

    def _next(self, connection: _Connection, deadline: float) -> bool:
        if self._asked >= self._most or time.perf_counter() >= deadline:
            connection.request = b""
            return False
        request = self._load.requests[self._asked % len(self._load.requests)]
        self._asked += 1
        connection.ask(request)
        return True

    def _ask_again(self, connection: _Connection) -> None:
        """Ask on a new connection what was asked on one that the server had closed while it was idle."""
        self._close(connection)
        if not connection.request:
            return
        fresh = self._open()
        fresh.ask(connection.request)
        fresh.asked_at = connection.asked_at

    def _judge(self, connection: _Connection, body: bytes | None) -> None:
        answer = connection.received
        connection.answers += 1
        good = answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) and body is not None
        if good and body is not None and self._load.expect in body:
            self._times.append(time.perf_counter() - connection.asked_at)
            return
        self._failed += 1
        self._failure = answer[:300]

    def _finish_handshakes(self, connections: Sequence[_Connection]) -> None:
        end = time.perf_counter() + _PATIENCE
        waiting = {one.socket.fileno(): one for one in connections if one.receive() and not one.is_open}
        while waiting and time.perf_counter() < end:
            for number, _ in self._poll.poll(1.0):
                connection = waiting.get(number)
                if connection is not None and (not connection.receive() or connection.is_open):
                    del waiting[number]

    def go(self) -> Outcome:
        # Handshakes are not what is measured, unless there is one a request.
        idle = [self._open() for _ in range(min(self._load.connections, self._most))]
        self._finish_handshakes(idle)
        begun = time.perf_counter()
        deadline = begun + self._load.seconds
        under_way = sum([self._next(connection, deadline) for connection in idle])
        allowed = self._most if self._load.tolerant else _MOST_FAILURES
        while under_way and self._failed <= allowed and time.perf_counter() < deadline + _PATIENCE:
            for number, _ in self._poll.poll(1.0):
                connection = self._connections[number]
                more = connection.receive()
                if not more and connection.was_idle:
                    self._ask_again(connection)
                    continue
                body = body_of(connection.received)
                if more and (body is None or self._load.reconnect):
                    continue
                self._judge(connection, body)
                if not more:
                    self._close(connection)
                    if self._asked < self._most and time.perf_counter() < deadline:
                        # A new connection's time includes its making.
                        started = time.perf_counter()
                        connection = self._open()
                        self._next(connection, deadline + _PATIENCE)
                        connection.asked_at = started
                        continue
                elif self._next(connection, deadline):
                    continue
                under_way -= 1
        elapsed = time.perf_counter() - begun
        for connection in list(self._connections.values()):
            with contextlib.suppress(OSError):
                self._close(connection)
        times = sorted(self._times) or [math.nan]
        return Outcome(
            done=len(self._times),
            failed=self._failed + under_way,
            elapsed=elapsed,
            median=times[len(times) // 2],
            p99=times[min(len(times) - 1, len(times) * 99 // 100)],
            slowest=times[-1],
            failure=self._failure.decode("ascii", "replace"),
        )


def main() -> None:
    """Read what to do from the file that is named, and print what came of it."""
    load, processor = work_of_process(sys.argv[1:])
    if processor is not None:
        os.sched_setaffinity(0, {processor})
    print(json.dumps(asdict(_Run(load).go())))


if __name__ == "__main__":
    main()
