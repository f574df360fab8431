# mypy: allow-untyped-calls
"""Connections to a site in memory: bytes in, bytes out, and a clock that the test moves."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from OpenSSL import SSL

from pikachu.server.listeners import TLSFactory

PEER = IPv4Address("TCP", "192.0.2.7", 40000)


class Transport(StringTransportWithDisconnection):
    """A transport that TLS can be put upon.

    :ivar bufferSize: as much as the reactor reads at a time.
    """

    bufferSize = 64 * 1024  # noqa: N815 - Twisted's name

    def __init__(self, clock: Clock) -> None:
        super().__init__(peerAddress=PEER)
        self.clock = clock

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        """There are no segments here."""

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        """Like a real one: the protocol hears of it later, not while it still works on it."""
        self.clock.callLater(0, self.loseConnection)


class Plain:
    """A client's view of one connection in the clear.

    :ivar unread: bytes sent that the server has not read yet.
    """

    def __init__(self, site: Any, clock: Clock, transport: Transport | None = None) -> None:
        self.clock = clock
        self.transport = transport or Transport(clock)
        self.server: Any = site.buildProtocol(PEER)
        self.transport.protocol = self.server
        self.server.makeConnection(self.transport)
        self.unread = b""

    @property
    def open(self) -> bool:
        """Whether the server keeps the connection."""
        return bool(self.transport.connected) and not self.transport.disconnecting

    def arrive(self, data: bytes = b"") -> None:
        """Let the server read *data*, up to 64 KiB at a time and while it wants to, without a turn of its own."""
        self.unread += data
        size = self.transport.bufferSize
        while self.unread and self.transport.connected and self.transport.producerState == "producing":
            piece, self.unread = self.unread[:size], self.unread[size:]
            self.server.dataReceived(piece)

    def deliver(self, data: bytes) -> None:
        """Send, and let the server take turns until nothing is due."""
        self.arrive(data)
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)
            self.arrive()

    def send(self, data: bytes) -> bytes:
        """Send, and give what the server has answered since."""
        self.deliver(data)
        return self.received()

    def received(self) -> bytes:
        """Return the data received since the last call."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data


class TLS:
    """A TLS client against a server's TLS settings, in memory."""

    def __init__(self, source: Any, factory: Any, context: SSL.Context, clock: Clock, session: Any = None) -> None:
        self.clock = clock
        wrapping = TLSFactory(source, False, factory, clock)
        self.transport = Transport(clock)
        self.server: Any = wrapping.buildProtocol(PEER)
        self.transport.protocol = self.server
        self.client = SSL.Connection(context, None)
        self.client.set_connect_state()
        if session is not None:
            self.client.set_session(session)
        self.server.makeConnection(self.transport)
        self.data = b""
        self.octets_from_server = 0

    def pump(self) -> None:
        """Exchange bytes between both sides until there are none."""
        for _ in range(30):
            moved = False
            try:
                self.server.dataReceived(self.client.bio_read(1 << 16))
                moved = True
            except SSL.WantReadError:
                pass
            self.clock.advance(0)
            if value := self.transport.value():
                self.transport.clear()
                self.octets_from_server += len(value)
                self.client.bio_write(value)
                moved = True
            try:
                self.data += self.client.recv(1 << 16)
                moved = True
            except (SSL.WantReadError, SSL.ZeroReturnError):
                pass
            if not moved:
                return

    def handshake(self) -> None:
        """Complete the handshake.

        :raises OpenSSL.SSL.Error: it failed, at either side.
        """
        for _ in range(10):
            try:
                self.client.do_handshake()
            except SSL.WantReadError:
                self.pump()
            else:
                break
        # In TLS 1.3 the server judges the client's certificate after the client is done.
        self.pump()

    def request(self, data: bytes) -> bytes:
        """Send, and give what came back."""
        self.client.send(data)
        self.data = b""
        self.pump()
        return self.data
