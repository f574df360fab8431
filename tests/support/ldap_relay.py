"""A relay in front of an LDAP server, which counts requests and can withhold answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.scripted_ldap import take


class LDAPRelay:
    """Passes LDAP messages on, without TLS.

    :ivar port: the port to connect to.
    :ivar requests: the tags of the requests so far.
    :ivar connections: number of connections so far.
    """

    def __init__(self, target: int) -> None:
        self.requests: list[int] = []
        self.connections = 0
        self._target = target
        self._wanted = 0
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def withhold(self, requests: int) -> None:
        """Forget the requests so far, and pass answers on only after so many new ones."""
        with self._changed:
            self.requests.clear()
            self._wanted = requests

    def hang_up(self) -> None:
        """Close all connections."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        with self._changed:
            self._wanted = 0
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(10)
        for one in self._open:
            one.close()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self.connections += 1
                self._open += (client, server)
                self._start(self._pass_requests, client, server)
                self._start(self._pass_answers, server, client)

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client.makefile("rb") as stream:
            while head := stream.read(2):
                size, more = head[1], b""
                if size & 0x80:
                    more = stream.read(size & 0x7F)
                    size = int.from_bytes(more, "big")
                body = stream.read(size)
                with self._changed:
                    self.requests.append(take(body)[1][0])
                    self._changed.notify_all()
                server.sendall(head + more + body)
            server.shutdown(socket.SHUT_WR)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                with self._changed:
                    self._changed.wait_for(lambda: len(self.requests) >= self._wanted)
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@contextmanager
def ldap_relay(target: int) -> Iterator[LDAPRelay]:
    """Run one."""
    relay = LDAPRelay(target)
    try:
        yield relay
    finally:
        relay.close()
