"""The PROXY protocol: its headers, the trusted senders, and its limits."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import MalformedRequest
from pikachu.http.proxies import TrustedProxies
from pikachu.http.proxy_protocol import (
    HEADER_SECONDS,
    V1_LIMIT,
    V2_LIMIT,
    ProxyProtocolFactory,
    parse_proxy_header,
)

PROXY = "192.0.2.1"
STRANGER = "203.0.113.5"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 198.51.100.1 192.0.2.9 5678 443\r\n"


def v2(command: int = 0x21, family: int = 0x11, addresses: bytes | None = None, tlvs: bytes = b"") -> bytes:
    """Build a header of version 2."""
    if addresses is None:
        packed = (socket.inet_aton(text) for text in ("198.51.100.1", "192.0.2.9"))
        addresses = struct.pack("!4s4sHH", *packed, 5678, 443)
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses) + len(tlvs)) + addresses + tlvs


def v6(source: str) -> bytes:
    """Build the addresses of a version 2 header for IPv6."""
    return socket.inet_pton(socket.AF_INET6, source) + bytes(16) + struct.pack("!HH", 5678, 443)


HEADERS: dict[str, tuple[bytes, str | None]] = {
    "v1 IPv4": (V1, "198.51.100.1"),
    "v1 IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 5678 443\r\n", "2001:db8::7"),
    "v1 mapped IPv4": (b"PROXY TCP6 ::ffff:198.51.100.1 ::ffff:192.0.2.9 5678 443\r\n", "198.51.100.1"),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "v1 UNKNOWN with addresses": (b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", None),
    "v1 port 0": (b"PROXY TCP4 198.51.100.1 192.0.2.9 0 65535\r\n", "198.51.100.1"),
    "v2 IPv4": (v2(), "198.51.100.1"),
    "v2 IPv6": (v2(family=0x21, addresses=v6("2001:db8::7")), "2001:db8::7"),
    "v2 mapped IPv4": (v2(family=0x21, addresses=v6("::ffff:198.51.100.1")), "198.51.100.1"),
    "v2 with TLVs": (v2(tlvs=b"\x04\x00\x03abc"), "198.51.100.1"),
    "v2 of the largest size": (v2(tlvs=bytes(V2_LIMIT - 28)), "198.51.100.1"),
    "v2 LOCAL": (v2(0x20, 0x00, b""), None),
    "v2 LOCAL with addresses": (v2(0x20), None),
    "v2 UNSPEC": (v2(0x21, 0x00, b""), None),
}
MALFORMED: dict[str, bytes] = {
    "HTTP": b"GET / HTTP/1.1\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "lower case": b"proxy TCP4",
    "v1 without family": b"PROXY \r\n",
    "v1 unknown family": b"PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n",
    "v1 UDP": b"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
    "v1 family of another": b"PROXY TCP4 2001:db8::7 2001:db8::1 1 1\r\n",
    "v1 two spaces": b"PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n",
    "v1 more": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
    "v1 fewer": b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
    "v1 port too large": b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
    "v1 port with zeros": b"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
    "v1 port with sign": b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n",
    "v1 zone": b"PROXY TCP6 fe80::1%eth0 2001:db8::1 1 1\r\n",
    "v1 line break in a zone": b"PROXY TCP6 fe80::1%\n 2001:db8::1 1 1\r\n",
    "v1 name": b"PROXY TCP4 localhost 1.2.3.4 1 1\r\n",
    "v1 not ASCII": "PROXY TCP4 \uff11.2.3.4 1.2.3.4 1 1\r\n".encode(),
    "v1 without end": b"PROXY TCP4 " + b"1" * V1_LIMIT,
    "v1 too long": b"PROXY UNKNOWN" + b" " * V1_LIMIT + b"\r\n",
    "v2 version 1": v2(0x11),
    "v2 unknown command": v2(0x22),
    "v2 UDP": v2(family=0x12),
    "v2 UNIX": v2(family=0x31, addresses=bytes(216)),
    "v2 too short": v2(addresses=bytes(8)),
    "v2 IPv6 too short": v2(family=0x21, addresses=bytes(12)),
    "v2 too long": v2(tlvs=bytes(V2_LIMIT - 27)),
    "v2 wrong signature": SIGNATURE[:-1] + b"\r" + bytes(20),
}


@pytest.mark.parametrize(("header", "source"), HEADERS.values(), ids=HEADERS)
def test_header(header: bytes, source: str | None) -> None:
    """A complete header is read up to its end; any beginning of it is incomplete."""
    parsed = parse_proxy_header(header + b"rest")
    assert parsed is not None
    assert parsed.size == len(header)
    host = None if parsed.source is None else parsed.source.host
    assert host == source
    for size in range(len(header)):
        assert parse_proxy_header(header[:size]) is None


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed(data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_proxy_header(data)


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]), st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(beginning: bytes, data: bytes) -> None:
    try:
        parsed = parse_proxy_header(beginning + data)
    except MalformedRequest:
        return
    assert parsed is None or parsed.size <= V2_LIMIT


class Inner(Protocol):
    """Remembers what it sees."""

    def __init__(self) -> None:
        self.peer: Any = None
        self.data = b""
        self.lost = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        peer: Any = self.transport.getPeer()
        self.peer = peer.host

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


class Connection:
    """A connection from *peer* to a listener that expects PROXY headers of 192.0.2.1."""

    def __init__(self, peer: str) -> None:
        self.inner = Inner()
        self.clock = Clock()
        proxies = TrustedProxies([ipaddress.ip_network(PROXY)])
        inner = self.inner

        class Inners(Factory):
            def buildProtocol(self, addr: IAddress | None) -> Inner:
                return inner

        self.transport = StringTransport(peerAddress=IPv4Address("TCP", peer, 40000))
        self.protocol: Any = ProxyProtocolFactory(Inners(), proxies, self.clock).buildProtocol(self.transport.getPeer())
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes, size: int = 1) -> None:
        """Send *data* in pieces."""
        for start in range(0, len(data), size):
            self.protocol.dataReceived(data[start : start + size])


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(("header", "source"), HEADERS.values(), ids=HEADERS)
def test_trusted_proxy_tells_the_address(header: bytes, source: str | None, size: int) -> None:
    """Data after the header arrives complete; without an address the peer is the proxy."""
    connection = Connection(PROXY)
    connection.send(header + b"GET / HTTP/1.1", size)
    assert ipaddress.ip_address(connection.inner.peer) == ipaddress.ip_address(source or PROXY)
    assert connection.inner.data == b"GET / HTTP/1.1"
    assert not connection.clock.getDelayedCalls()
    connection.protocol.connectionLost(Failure(connectionDone.value))
    assert connection.inner.lost


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_trusted_proxy_has_to_send_a_header(data: bytes) -> None:
    connection = Connection(PROXY)
    connection.send(data)
    assert connection.transport.disconnected
    assert connection.inner.peer is None
    assert connection.inner.data == b""
    assert not connection.clock.getDelayedCalls()
    connection.protocol.connectionLost(Failure(connectionDone.value))
    assert not connection.inner.lost


def test_header_has_to_come_in_time() -> None:
    connection = Connection(PROXY)
    connection.send(V1[:20])
    connection.clock.advance(HEADER_SECONDS)
    assert connection.transport.disconnected
    connection.send(V1[20:])
    assert connection.inner.peer is None


@pytest.mark.parametrize("header", [header for header, _ in HEADERS.values()], ids=HEADERS)
def test_header_of_a_stranger_is_no_header(header: bytes) -> None:
    """It reaches the protocol, to which it is malformed; the address stays the peer's."""
    connection = Connection(STRANGER)
    assert connection.inner.peer == STRANGER
    connection.send(header)
    assert connection.inner.data == header
    assert connection.inner.peer == STRANGER
