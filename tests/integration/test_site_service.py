# mypy: allow-untyped-calls
"""Listeners of a site: their ports, large responses, refusals and stops."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.web.resource import Resource

import pytest
import pytest_twisted
from OpenSSL import SSL

from pikachu.core.errors import ConfigError
from pikachu.http.request import Site
from pikachu.http.responses import send
from pikachu.server.listeners import ListenerService
from tests.integration.tls_world import REQUEST, Peer, World, client_context, read_all
from tests.support.ports import free_port


def real_site(resource: Resource) -> Site:
    return Site(resource, reactor)


@pytest_twisted.ensureDeferred
async def test_busy_port() -> None:
    """RUN-4: the line names setting, address, port, error and remedy."""
    port = free_port()
    first = ListenerService("HTTPS", "[HTTPS] port", port, real_site(Peer()), reactor, addresses=("127.0.0.1",))
    first.probe()
    first.startService()
    try:
        second = ListenerService(
            "HTTP", "[DEFAULT] http_port", port, real_site(Peer()), reactor, addresses=("127.0.0.1",)
        )
        for bind in (second.privilegedStartService, second.probe):
            with pytest.raises(ConfigError) as caught:
                bind()
            assert str(caught.value) == (
                f"[DEFAULT] http_port = {port}: can't listen on 127.0.0.1 port {port}: the port is in use; "
                f"`ss -ltnp 'sport = :{port}'` shows by whom: stop it, or set another port"
            )
    finally:
        await first.stopService()
    await second.stopService()


class Refusing(MemoryReactor):
    """A reactor whose ports can't be bound."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:  # noqa: N802
        raise CannotListenError(interface, port, OSError(self.number, os.strerror(self.number)))


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "setcap cap_net_bind_service"),
        (errno.EADDRNOTAVAIL, "set listen to one"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_ports_that_cannot_be_had(number: int, remedy: str) -> None:
    """RUN-4: each reason has its remedy."""
    service = ListenerService("HTTP", "[DEFAULT] http_port", 80, Site(Peer(), Clock()), Refusing(number))
    with pytest.raises(ConfigError) as caught:
        service.privilegedStartService()
    assert str(caught.value).startswith("[DEFAULT] http_port = 80: can't listen on all addresses port 80: ")
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_all_addresses() -> None:
    """An empty address is all, IPv4 in any case; the log names IPv4 peers in their own form."""
    port = free_port()
    service = ListenerService("HTTP", "[DEFAULT] http_port", port, real_site(Peer()), reactor)
    service.startService()
    with capturedLogs() as events:
        answer = await deferToThread(fetch, port, b"GET / HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"ok")
    assert [event["address"] for event in events if "milliseconds" in event] == ["127.0.0.1"]
    await service.stopService()


@pytest.mark.parametrize("addresses", [("127.0.0.1", "127.0.0.2"), ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "::")])
@pytest_twisted.ensureDeferred
async def test_several_addresses(addresses: tuple[str, ...]) -> None:
    """The same address twice is once, and both wildcards are all addresses."""
    port = free_port()
    service = ListenerService("HTTP", "[DEFAULT] http_port", port, real_site(Peer()), reactor, addresses=addresses)
    service.probe()
    service.startService()
    assert (await deferToThread(fetch, port, b"GET / HTTP/1.0\r\n\r\n")).endswith(b"ok")
    assert len(service.ports) == len(set(addresses) - {"::"})
    await service.stopService()


def fetch(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        return read_all(connection)


def upload(port: int, size: int) -> bytes:
    """Send much, then read; as a client does that does not look for an early answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            connection.sendall(bytes(65536))
        return read_all(connection)


@pytest_twisted.ensureDeferred
async def test_refusal_reaches_the_client() -> None:
    """A client that goes on sending still gets its 413, and no reset."""
    port = free_port()
    service = ListenerService("HTTP", "[DEFAULT] http_port", port, real_site(Peer()), reactor, addresses=("127.0.0.1",))
    service.startService()
    answer = await deferToThread(upload, port, 4 * 1024 * 1024)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1") == 1
    await service.stopService()


@pytest_twisted.ensureDeferred
async def test_large_answer(tmp_path: Path) -> None:
    """A large body arrives whole, in the clear and by TLS."""
    world = World(tmp_path)
    world.resource.body = os.urandom(3_000_000)
    port, tls_port = free_port(), free_port()
    plain = ListenerService(
        "HTTP", "[DEFAULT] http_port", port, real_site(world.resource), reactor, addresses=("127.0.0.1",)
    )
    secure = ListenerService(
        "HTTPS",
        "[HTTPS] port",
        tls_port,
        real_site(world.resource),
        reactor,
        addresses=("127.0.0.1",),
        tls=world.source(),
    )
    plain.startService()
    secure.startService()

    def fetch_by_tls() -> bytes:
        connection = SSL.Connection(client_context(), socket.create_connection(("127.0.0.1", tls_port), timeout=20))
        connection.setblocking(True)
        connection.set_connect_state()
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        try:
            while True:
                data += connection.recv(1 << 16)
        except SSL.ZeroReturnError:
            connection.shutdown()
            connection.close()
        return data

    for answer in (await deferToThread(fetch, port, b"GET / HTTP/1.0\r\n\r\n"), await deferToThread(fetch_by_tls)):
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"Content-Length: 3000000" in head
        assert body == world.resource.body
    await plain.stopService()
    await secure.stopService()


@pytest_twisted.ensureDeferred
async def test_one_segment() -> None:
    """Header and body arrive in one read of 1,024 bytes."""
    port = free_port()
    service = ListenerService("HTTP", "[DEFAULT] http_port", port, real_site(Peer()), reactor, addresses=("127.0.0.1",))
    service.startService()

    def first_read() -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(REQUEST)
            return connection.recv(1024)

    assert (await deferToThread(first_read)).endswith(b"\r\n\r\nok")
    await service.stopService()


def pause() -> Deferred[None]:
    """A few turns of the reactor."""
    later: Deferred[None] = Deferred()
    reactor.callLater(0.01, later.callback, None)
    return later


@pytest_twisted.ensureDeferred
async def test_stop_finishes_what_is_in_flight() -> None:
    """RUN-5: no new connections, the old request is answered, then it is over."""
    port, resource = free_port(), Peer()
    service = ListenerService(
        "HTTP", "[DEFAULT] http_port", port, real_site(resource), reactor, addresses=("127.0.0.1",)
    )
    service.startService()
    answer = deferToThread(fetch, port, b"GET /wait HTTP/1.1\r\n\r\n")
    while not resource.waiting:
        await pause()
    done: list[object] = []
    stopped = service.stopService().addCallback(done.append)
    # The socket is closed in the reactor's next turn.
    await pause()
    with pytest.raises(ConnectionRefusedError):
        await deferToThread(fetch, port, REQUEST)
    assert done == []
    send(resource.waiting[0], 200, b"text/plain", b"late")
    await stopped
    assert (await answer).endswith(b"late")
