"""The load of a burst: what its devices do with each kind of answer."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bench.burst import Burst, BurstOutcome, run_burst
from bench.load import addresses
from bench.messages import get

ISSUED = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nMII"
LATER = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def answering(identity: Path, answers: Sequence[bytes]) -> Iterator[int]:
    """A server that gives one answer a connection, in turn; the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                with suppress(OSError):
                    plain, _ = listening.accept()
                    with context.wrap_socket(plain, server_side=True) as connection:
                        connection.recv(65536)
                        connection.sendall(answer)
                        connection.unwrap()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(20)


def burst(identity: Path, answers: Sequence[bytes], devices: int) -> BurstOutcome:
    with answering(identity, answers) as port:
        return run_burst(Burst(port, [get("/", close=True)] * devices, (str(identity),), addresses(2)))


def test_answers(identity: Path) -> None:
    """A device that is told to come later asks once more; what else it is told is a failure."""
    outcome = burst(identity, [ISSUED, LATER, ISSUED, LATER, ISSUED, ISSUED], 4)
    assert (outcome.first, outcome.later, outcome.refused, outcome.failed) == (2, 2, 0, 0)
    assert outcome.served == 4


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 500 Oops\r\n\r\n", LATER.replace(b"Retry-After", b"X")])
def test_failures(identity: Path, answer: bytes) -> None:
    outcome = burst(identity, [answer], 1)
    assert (outcome.served, outcome.refused, outcome.failed) == (0, 0, 1)
    assert outcome.failure


def test_device_that_is_refused_twice(identity: Path) -> None:
    outcome = burst(identity, [LATER, LATER], 1)
    assert (outcome.served, outcome.refused, outcome.failed) == (0, 1, 0)
