"""Floods by clients that have not authenticated: many connections, and many bodies."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

import pytest

from tests.hostile.target import Target
from tests.support.server import wait_until

LARGE = 1024 * 1024


def bodies(path: str, size: int, send: int, *, chunked: bool = False) -> Callable[[Target, str, int], None]:
    """Return an attack whose connections each begin a body of *size* bytes and send *send* of it."""

    def attack(target: Target, listener: str, count: int) -> None:
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode()
        data = b"%x\r\n%s\r\n" % (send, bytes(send)) if chunked else bytes(send)
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                peer = stack.enter_context(target.connect(listener))
                peer.settimeout(0.5)
                with contextlib.suppress(OSError):
                    peer.sendall(head + data)
            time.sleep(0.5)

    return attack


def idle(target: Target, listener: str, count: int) -> None:
    """Open connections that send nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", target.server.ports[listener])))
        time.sleep(0.5)


FLOODS: dict[str, tuple[str, int, Callable[[Target, str, int], None]]] = {
    "bodies of 1 MB without credentials": ("https", 300, bodies("/api/v1/inspect", LARGE, LARGE)),
    "bodies of 1 MB that say nothing of their length": (
        "https",
        100,
        bodies("/api/v1/inspect", LARGE, LARGE, chunked=True),
    ),
    "unfinished bodies to pages": ("https", 300, bodies("/login", 65_536, 65_000)),
    "unfinished SCEP messages": ("http", 300, bodies("/scep?operation=PKIOperation", 65_536, 65_000)),
    "unfinished EST requests": ("https", 300, bodies("/.well-known/est/simpleenroll", 65_536, 65_000)),
    "silent connections": ("http", 600, idle),
    "silent connections instead of a handshake": ("https", 400, idle),
}
PUSHED = ("bodies of 1 MB without credentials", "unfinished SCEP messages", "silent connections")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in PUSHED else pytest.mark.soak) for name in FLOODS]
)
def test_flood(target: Target, name: str) -> None:
    """Others hardly wait, and memory comes back; 300 bodies of a megabyte took the process from 137 to 475 MB."""
    listener, count, attack = FLOODS[name]
    target.survives(lambda: attack(target, listener, count))


@pytest.mark.parametrize("name", ["unfinished SCEP messages", "silent connections"])
def test_memory_while_it_lasts(target: Target, name: str) -> None:
    """The caps hold while the connections are open, and a client with a token is served."""
    listener, count, attack = FLOODS[name]
    attack(target, listener, count)
    before = target.server.memory()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            peer = stack.enter_context(target.connect(listener))
            peer.settimeout(0.5)
            if attack is not idle:
                with contextlib.suppress(OSError):
                    peer.sendall(
                        b"POST /scep HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n" + bytes(65_000)
                    )

        def served() -> bool:
            # Connections of the flood may still arrive, and close the oldest of their address: this one.
            with contextlib.suppress(ConnectionError):
                return target.rest("GET", "/certificates").status == 200
            return False

        wait_until(served, "a client with a token is served")
        assert target.server.memory() <= 1.2 * before
