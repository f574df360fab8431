"""A TCP relay in front of a server, which behaves as networks and servers do when they fail."""

from __future__ import annotations

import contextlib
import enum
import selectors
import socket
import threading
from typing import Final, Self

from tests.support.ports import free_ports

_CHUNK: Final = 64 << 10
GARBAGE: Final = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"


class Fault(enum.Enum):
    """The treatment of connections by the relay."""

    NONE = "passes everything on"
    REFUSED = "does not listen"
    SILENT = "takes requests, and never answers"
    GARBAGE = "answers with what is not HTTP"
    PAGE = "answers with a page of HTML"
    CUT = "passes requests on, and hangs up instead of answering"
    MIDWAY = "passes the next request of each open connection on, and hangs up instead of answering"
    BLACK_HOLE = "keeps connections open, and passes nothing on any more"
    REDIRECT = "sends clients to another address"


_ANSWERS: Final = {
    Fault.GARBAGE: GARBAGE,
    Fault.PAGE: b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\nContent-Type: text/html\r\n\r\n<p>Welcome!</p>",
    Fault.REDIRECT: b"HTTP/1.1 307 Redirect\r\nLocation: http://127.0.0.1:9/v1/x\r\nContent-Length: 0\r\n\r\n",
}


class Relay:
    """Listens on a port of the loopback interface, and passes connections on to another port.

    :ivar port: the port to connect to.
    :ivar connections: how many connections were accepted.
    """

    def __init__(self, target: int) -> None:
        self.port = free_ports(1)[0]
        self.connections = 0
        self._target = target
        self._fault = Fault.NONE
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.become(Fault.REFUSED)

    def become(self, fault: Fault) -> None:
        """Behave otherwise from now on; the connections so far are closed, except by what is about them."""
        self._fault = fault
        if fault in (Fault.BLACK_HOLE, Fault.MIDWAY):
            return
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            _hang_up(connection)
        if fault is Fault.REFUSED:
            listener, self._listener = self._listener, None
            if listener is not None:
                _hang_up(listener)
        elif self._listener is None:
            self._listen()

    def redirect(self, target: int) -> None:
        """Pass new connections on to another port."""
        self._target = target
        self.become(self._fault)

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(50)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                self._track(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _track(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def _serve(self, connection: socket.socket) -> None:
        fault = self._fault
        with contextlib.suppress(OSError):
            if fault in _ANSWERS:
                connection.recv(_CHUNK)
                connection.sendall(_ANSWERS[fault])
            elif fault in (Fault.SILENT, Fault.BLACK_HOLE):
                while connection.recv(_CHUNK):
                    pass
            else:
                self._pass_on(connection)
        with self._lock:
            self._open.discard(connection)
        _hang_up(connection)

    def _pass_on(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._target)) as server, selectors.DefaultSelector() as ready:
            self._track(server)
            ready.register(connection, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, connection)
            while True:
                for key, _ in ready.select():
                    source, destination = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(_CHUNK)
                    if not data or (source is server and self._fault in (Fault.CUT, Fault.MIDWAY)):
                        return
                    if self._fault is not Fault.BLACK_HOLE:
                        destination.sendall(data)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
