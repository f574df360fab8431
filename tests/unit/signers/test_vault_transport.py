"""Answers of Vault that arrive byte by byte: the time limit is for the whole answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pikachu.signers.vault.faults import VaultUnreachable
from pikachu.signers.vault.transport import Transport, VaultAddress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LONG = b"Content-Length: 100000\r\n\r\n{"


@contextmanager
def trickling(at_once: bytes, slowly: bytes) -> Iterator[tuple[str, threading.Event]]:
    """A server that sends *at_once*, then *slowly* again and again; its URL, and an event for its giving up."""
    gave_up, end = threading.Event(), threading.Event()

    def serve() -> None:
        connection = listener.accept()[0]
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(at_once)
            for _ in range(1000):
                connection.sendall(slowly)
                if end.wait(0.02):
                    return
        gave_up.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", gave_up
        finally:
            end.set()
            thread.join(10)


@pytest.mark.parametrize(
    ("at_once", "slowly"),
    [(b"H", b"T"), (HEAD, b"X"), (HEAD, b"X: y\r\n"), (HEAD + LONG, b" "), (HEAD + b"\r\n{", b" ")],
    ids=["status line", "header", "headers", "body", "body without a length"],
)
def test_trickle(at_once: bytes, slowly: bytes) -> None:
    with trickling(at_once, slowly) as (url, gave_up):
        transport = Transport(VaultAddress(url))
        with pytest.raises(VaultUnreachable, match=r"did not answer within 0\.3 seconds|broke before the answer"):
            transport.request("GET", "sys/health", None, "", 0.3)
        assert not gave_up.is_set()
        transport.close()


def test_in_time() -> None:
    """An answer in several pieces is read as a whole."""
    with trickling(HEAD + b'Content-Length: 20\r\n\r\n{"a":1}', b" ") as (url, _):
        transport = Transport(VaultAddress(url))
        assert transport.request("GET", "sys/health", None, "", 30) == {"a": 1}
        transport.close()
