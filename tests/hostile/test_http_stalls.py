"""HTTP below every protocol: pipelining, readers that don't read, headers and bodies in pieces, many connections."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.hostile.target import Target, sampled

CONNECTIONS = 20
GETS = {
    "health": "/healthz",
    "readiness": "/readyz",
    "CRL": "/crl/ec.crl",
    "PEM CRL": "/crl/ec-chain.pem",
    "range": "/crl/ec.crl",
    "OCSP": "/ocsp/MEIwQDA+MDwwOjAJBgUrDgMCGgUABBQAAAAAAAAAAAAAAAAAAAAAAAAAAAQUAAAAAAAAAAAAAAAAAAAAAAAAAAACAQE=",
    "not found": "/nothing",
    "redirect": "/login",
    "CA capabilities": "/scep?operation=GetCACaps",
    "CA certificate": "/scep?operation=GetCACert",
    "status": "/status/1",
    "API": "/api/v1/cas",
    "page": "/login",
    "static": "/static/style.css",
    "EST certificates": "/.well-known/est/cacerts",
}
ONLY_OVER_TLS = ("API", "page", "static", "EST certificates")


def pushed(kind: str) -> tuple[pytest.MarkDecorator, ...]:
    """Return the marks of a kind: every push tries some, the soak the others."""
    return () if kind in ("OCSP", "range", "page") else (pytest.mark.soak,)


def pipelined(kind: str, count: int) -> bytes:
    """Many requests in one piece."""
    extra = "Range: bytes=" + ",".join(f"{at}-" for at in range(100)) + "\r\n" if kind == "range" else ""
    accept = "Accept: text/html\r\n" if kind == "redirect" else ""
    return f"GET {GETS[kind]} HTTP/1.1\r\nHost: localhost\r\n{extra}{accept}\r\n".encode() * count


@contextlib.contextmanager
def connections(target: Target, listener: str, count: int = CONNECTIONS) -> Iterator[list[socket.socket]]:
    """Connections that read little, or nothing."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(target.connect(listener, 4096)) for _ in range(count)]


def push(connection: socket.socket, data: bytes, seconds: float = 2.0) -> None:
    """Send what the peer takes within a bounded time, in rather small pieces."""
    connection.settimeout(0.2)
    end = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        for at in range(0, len(data), 16_384):
            connection.sendall(data[at : at + 16_384])
            if time.monotonic() > end:
                break


def drain(connection: socket.socket, seconds: float) -> int:
    """Read until the peer is silent; the number of bytes."""
    connection.settimeout(0.5)
    received, end = 0, time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < end and (piece := connection.recv(1 << 16)):
            received += len(piece)
    return received


@pytest.mark.parametrize(
    ("listener", "kind"),
    [
        *(pytest.param("http", kind, marks=pushed(kind)) for kind in GETS if kind not in ONLY_OVER_TLS),
        *(pytest.param("https", kind, marks=pushed(kind)) for kind in GETS if kind != "redirect"),
    ],
)
def test_pipelining_without_reading(target: Target, listener: str, kind: str) -> None:
    """Twenty connections send thousands of requests in one piece, and never read an answer."""
    data = pipelined(kind, 2000)

    def attack() -> None:
        with connections(target, listener) as peers:
            for peer in peers:
                push(peer, data, 0.2)
            time.sleep(0.5)

    target.survives(attack)


@pytest.mark.parametrize(
    ("listener", "kind"), [("http", "health"), ("http", "OCSP"), ("http", "range"), ("https", "page"), ("https", "API")]
)
def test_pipelining(target: Target, listener: str, kind: str) -> None:
    """The same by peers who read."""
    data = pipelined(kind, 100)

    def attack() -> None:
        with connections(target, listener, 5) as peers:
            for peer in peers:
                push(peer, data)
            assert all(drain(peer, 1.0) for peer in peers)

    target.survives(attack)


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def _header_flood() -> bytes:
    return b"GET /healthz HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(20_000))


def _long_header() -> bytes:
    return b"GET /healthz HTTP/1.1\r\nX-Long: " + b"y" * 400_000


def _long_line() -> bytes:
    return b"GET /" + b"y" * 400_000


def _tiny_chunks() -> bytes:
    head = b"POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"1\r\nx\r\n" * 60_000


def _chunk_extensions() -> bytes:
    head = b"POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + (b"1;" + b"a=b;" * 200 + b"\r\nx\r\n") * 400


def _expectations() -> bytes:
    head = b"POST /ocsp HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"
    return head * 3000


def _bodies() -> bytes:
    head = b"POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    return (head + b"x" * 1000) * 300


def _blank_lines() -> bytes:
    return b"\r\n" * 200_000


def _cookies() -> bytes:
    return b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a=b;" * 7000 + b"\r\n\r\n"


FLOODS: dict[str, Callable[[], bytes]] = {
    "headers": _header_flood,
    "long header": _long_header,
    "long line": _long_line,
    "tiny chunks": _tiny_chunks,
    "chunk extensions": _chunk_extensions,
    "expectations": _expectations,
    "bodies": _bodies,
    "blank lines": _blank_lines,
    "cookies": _cookies,
}


@pytest.mark.parametrize("kind", sampled(FLOODS, 3))
@pytest.mark.parametrize("listener", ["http", "https"])
def test_floods(target: Target, listener: str, kind: str) -> None:
    """Floods within one request, sent in one piece and byte by byte."""
    data = FLOODS[kind]()

    def attack() -> None:
        with connections(target, listener, 5) as peers:
            for peer in peers:
                push(peer, data)
            for peer in peers:
                with contextlib.suppress(OSError):
                    for piece in _pieces(data[:1000], 1):
                        peer.sendall(piece)

    target.survives(attack)


@pytest.mark.parametrize("listener", ["http", "https"])
def test_many_connections(target: Target, listener: str) -> None:
    """Two hundred connections that come and go, half of them in the middle of a request."""

    def attack() -> None:
        with contextlib.ExitStack() as stack:
            for number in range(200):
                peer = stack.enter_context(target.connect(listener))
                peer.sendall(pipelined("health", 1)[: 20 if number % 2 else None])

    # A TLS handshake costs the server a signature: these are its own reference work.
    target.survives(attack)


def test_silent_handshakes(target: Target) -> None:
    """Connections that never finish a handshake, and bytes that are none."""

    def attack() -> None:
        with contextlib.ExitStack() as stack:
            for number in range(100):
                peer = stack.enter_context(socket.create_connection(("127.0.0.1", target.server.ports["https"])))
                peer.sendall(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc" + bytes(number * 100))

    target.survives(attack)
