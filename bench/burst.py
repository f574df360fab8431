"""A burst of devices: each opens a TLS connection with a client certificate, enrolls once, and asks again if told to.

``python -m bench.burst FILE`` is the load, a process of its own like that of ``bench.load``.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import select
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush

from bench.load import body_of, in_process, work_of_process

_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)\r", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
#: Seconds that a device waits for its answer.
_PATIENCE = 120.0
_MOST_SECONDS = 300.0
# Its place behind the server and the clients that ask for OCSP, where they share processors: devices have their own.
_NICENESS = 5


@dataclass(frozen=True, slots=True)
class Burst:
    """Devices that all begin at once.

    :param requests: one of each device, with ``Connection: close``.
    :param clients: PEM files with a certificate and its key; devices take turns with them.
    :param addresses: loopback addresses that the devices connect from, likewise.
    :param attempts: how often a device asks that is told to come later.
    """

    port: int
    requests: list[bytes] = field(repr=False)
    clients: tuple[str, ...]
    addresses: tuple[str, ...]
    attempts: int = 2


@dataclass(slots=True)
class BurstOutcome:
    """Results of the devices.

    :ivar first: devices with a certificate at their first attempt; *later*: at another one.
    :ivar refused: devices that were told to come later at every attempt.
    :ivar failed: devices that got anything else; *failure* is how one of them did.
    :ivar seconds: until the last device had its last answer.
    """

    first: int = 0
    later: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0
    failure: str = ""

    @property
    def served(self) -> int:
        """Devices with a certificate."""
        return self.first + self.later


def run_burst(burst: Burst) -> BurstOutcome:
    """Run a burst in a process of its own."""
    return BurstOutcome(**in_process("bench.burst", burst, None, _MOST_SECONDS + _PATIENCE))


class _Device:
    """One device and its connection."""

    __slots__ = ("attempts", "began", "descriptor", "has_asked", "number", "received", "secure", "socket")

    def __init__(self, number: int) -> None:
        self.number = number
        self.descriptor = -1
        self.attempts = 0
        self.began = 0.0
        self.has_asked = False
        self.received = b""
        self.socket: socket.socket | None = None
        #: Once the connection is there; its handshake may still go on.
        self.secure: ssl.SSLSocket | None = None


class _Run:
    def __init__(self, burst: Burst) -> None:
        self._burst = burst
        self._contexts = [_context(client) for client in burst.clients]
        self._poll = select.epoll()
        self._under_way: dict[int, _Device] = {}
        self._later: list[tuple[float, int, _Device]] = []
        self._random = random.Random(1)
        self._outcome = BurstOutcome()

    def go(self) -> BurstOutcome:
        """Serve all devices."""
        began = time.perf_counter()
        for number in range(len(self._burst.requests)):
            self._connect(_Device(number))
        while (self._under_way or self._later) and time.perf_counter() < began + _MOST_SECONDS:
            for number, _ in self._poll.poll(0.05):
                self._advance(self._under_way[number])
            now = time.perf_counter()
            while self._later and self._later[0][0] <= now:
                self._connect(heappop(self._later)[2])
            for device in [one for one in self._under_way.values() if now > one.began + _PATIENCE]:
                self._fail(device, "no answer")
        self._outcome.failed += len(self._under_way) + len(self._later)
        self._outcome.seconds = time.perf_counter() - began
        return self._outcome

    def _connect(self, device: _Device) -> None:
        device.attempts += 1
        device.began, device.received, device.secure, device.has_asked = time.perf_counter(), b"", None, False
        plain = device.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        plain.setblocking(False)
        plain.bind((self._burst.addresses[device.number % len(self._burst.addresses)], 0))
        plain.connect_ex(("127.0.0.1", self._burst.port))
        device.descriptor = plain.fileno()
        self._under_way[device.descriptor] = device
        self._poll.register(device.descriptor, select.EPOLLOUT)

    def _advance(self, device: _Device) -> None:
        try:
            self._step(device)
        except ssl.SSLWantReadError:
            self._wait_for(device, select.EPOLLIN)
        except ssl.SSLWantWriteError:
            self._wait_for(device, select.EPOLLOUT)
        except OSError as error:
            self._fail(device, repr(error))

    def _step(self, device: _Device) -> None:
        """Go on until the connection has to be waited for."""
        if device.secure is None:
            plain = device.socket
            if plain is None:
                raise OSError("a device without a connection")
            if number := plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, "not connected")
            context = self._contexts[device.number % len(self._contexts)]
            # It takes the descriptor over, or closes it.
            device.socket = device.secure = context.wrap_socket(plain, do_handshake_on_connect=False)
        secure = device.secure
        if not device.has_asked:
            secure.do_handshake()
            # It fits into the empty buffer of a new connection.
            secure.send(self._burst.requests[device.number])
            device.has_asked = True
        while piece := secure.recv(65536):
            device.received += piece
        self._judge(device)

    def _wait_for(self, device: _Device, event: int) -> None:
        self._poll.modify(device.descriptor, event)

    def _judge(self, device: _Device) -> None:
        answer = device.received
        status, retry = _STATUS.match(answer), _RETRY_AFTER.search(answer)
        if status is not None and status[1] == b"200" and body_of(answer):
            self._outcome.first += device.attempts == 1
            self._outcome.later += device.attempts > 1
            self._close(device)
        elif status is not None and status[1] == b"503" and retry is not None:
            self._close(device)
            if device.attempts == self._burst.attempts:
                self._outcome.refused += 1
                return
            # A client that comes back in the same second as all others is refused with them.
            wait = int(retry[1]) * (1 + self._random.random())
            heappush(self._later, (time.perf_counter() + wait, device.number, device))
        else:
            self._fail(device, answer[:200].decode("latin-1") or "closed without an answer")

    def _fail(self, device: _Device, failure: str) -> None:
        self._close(device)
        self._outcome.failed += 1
        self._outcome.failure = failure

    def _close(self, device: _Device) -> None:
        if device.socket is not None:
            # A closed socket isn't polled any more.
            device.socket.close()
            device.socket = None
            del self._under_way[device.descriptor]


def _context(client: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(client)
    return context


def main(arguments: Sequence[str]) -> None:
    """Run the burst in the file that is named, and print what came of it."""
    burst, _ = work_of_process(arguments)
    os.nice(_NICENESS)
    # A socket for each device.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(asdict(_Run(burst).go())))


if __name__ == "__main__":
    main(sys.argv[1:])
