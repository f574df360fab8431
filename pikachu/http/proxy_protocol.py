# mypy: allow-untyped-calls
# ruff: noqa: N802 - the names are Twisted's
"""The PROXY protocol, versions 1 and 2: a proxy of TCP connections tells the client's address before the first byte.

The header is read before TLS begins.  It is bounded in size and time, required from trusted proxies and understood from
nobody else: to HTTP and TLS it is a malformed beginning.
Specification: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from pikachu.core.errors import MalformedRequest
from pikachu.core.interfaces import IClock, IDelayedCall
from pikachu.http.peer import UnrelayedAddress, peer_address
from pikachu.http.proxies import TrustedProxies

# Largest header of version 1, its CRLF included, and of version 2: addresses and some TLVs, which are not read.
V1_LIMIT: Final = 107
V2_LIMIT: Final = 4096
# Seconds in which the header must arrive.
HEADER_SECONDS: Final = 10.0
_V1_PREFIX: Final = b"PROXY "
_V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD_SIZE: Final = 16
_V2_LOCAL: Final = 0x20
_V2_PROXY: Final = 0x21
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")
_FAMILIES: Final[Mapping[bytes, type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]]] = {
    b"TCP4": ipaddress.IPv4Address,
    b"TCP6": ipaddress.IPv6Address,
}

_log = Logger(namespace="pikachu.http")


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A PROXY header.

    :param source: the client's address; ``None`` when the proxy names none: it speaks for itself, as in a health check
        (LOCAL), or does not know it (UNKNOWN).
    :param size: bytes of the header; the connection's own bytes follow.
    """

    source: IPv4Address | IPv6Address | None
    size: int


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Return the header that *data* begins with, or None while it is incomplete.

    :raises MalformedRequest: *data* does not begin with a header.
    """
    if data.startswith(_V2_SIGNATURE):
        return _parse_v2(data)
    if data.startswith(_V1_PREFIX):
        return _parse_v1(data)
    if _V2_SIGNATURE.startswith(data) or _V1_PREFIX.startswith(data):
        return None
    raise MalformedRequest("the connection does not begin with a PROXY header")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, V1_LIMIT)
    if end < 0:
        if len(data) >= V1_LIMIT:
            raise MalformedRequest("the PROXY header is too long")
        return None
    fields = data[:end].split(b" ")
    if fields[1] == b"UNKNOWN":
        return ProxyHeader(None, end + 2)
    try:
        _, family, source, destination, source_port, destination_port = fields
        address = _FAMILIES[family](source.decode("ascii"))
        _FAMILIES[family](destination.decode("ascii"))
        ports = [int(port) for port in (source_port, destination_port) if _PORT.fullmatch(port)]
    except (KeyError, ValueError):
        raise MalformedRequest("the PROXY header is malformed") from None
    if len(ports) != 2 or max(ports) > 0xFFFF:
        raise MalformedRequest("the PROXY header has no valid ports")
    return ProxyHeader(_address(address, ports[0]), end + 2)


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_HEAD_SIZE:
        return None
    command, family, length = struct.unpack_from("!BBH", data, len(_V2_SIGNATURE))
    size = _V2_HEAD_SIZE + length
    if command not in (_V2_LOCAL, _V2_PROXY) or size > V2_LIMIT:
        raise MalformedRequest("the PROXY header has an unknown version or command, or is too long")
    if len(data) < size:
        return None
    addresses = data[_V2_HEAD_SIZE:size]
    try:
        if command == _V2_LOCAL or family == 0:
            return ProxyHeader(None, size)
        if family == 0x11:
            source, port = struct.unpack_from("!4s4xH2x", addresses)
            return ProxyHeader(_address(ipaddress.IPv4Address(source), port), size)
        if family == 0x21:
            source, port = struct.unpack_from("!16s16xH2x", addresses)
            return ProxyHeader(_address(ipaddress.IPv6Address(source), port), size)
    except struct.error:
        raise MalformedRequest("the PROXY header is shorter than its addresses") from None
    raise MalformedRequest("the PROXY header is not about a TCP connection")


def _address(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> IPv4Address | IPv6Address:
    """Return the client's address in the notation that it has without a proxy."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise MalformedRequest("the PROXY header has an address with a zone")
        if address.ipv4_mapped is None:
            return IPv6Address("TCP", str(address), port)
        # HAProxy sends these from a socket for both kinds of addresses.
        address = address.ipv4_mapped
    return IPv4Address("TCP", str(address), port)


@implementer(IHalfCloseableProtocol)
class _ProxiedConnection(ProtocolWrapper):
    """A connection that begins with a PROXY header; the wrapped protocol sees the client's address as its peer's."""

    factory: Any
    transport: Any
    _client: IAddress | None = None
    _head = b""
    _begun = False
    _ending: IDelayedCall | None = None

    @property
    def bufferSize(self) -> int:
        """The number of bytes that the transport reads at a time."""
        return int(self.transport.bufferSize)

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self.transport.bufferSize = size

    def makeConnection(self, transport: Any) -> None:
        """Wait for the header where the peer is a trusted proxy; begin at once for anybody else."""
        wrapped, self.wrappedProtocol = self.wrappedProtocol, Protocol()
        # It makes the connection of the placeholder, which does nothing.
        super().makeConnection(transport)
        self.wrappedProtocol = wrapped
        if self.factory.proxies.trusts(peer_address(transport.getPeer())):
            self._ending = self.factory.clock.callLater(HEADER_SECONDS, self._refuse, "no PROXY header in time")
        else:
            self._begin()

    def getPeer(self) -> Any:
        """Return the client's address."""
        return self._client or self.transport.getPeer()

    def dataReceived(self, data: bytes) -> None:
        """Read the header; hand on everything after it."""
        if self._begun:
            self.wrappedProtocol.dataReceived(data)
            return
        if self._ending is None:
            return
        self._head += data
        try:
            header = parse_proxy_header(self._head)
        except MalformedRequest as error:
            self._refuse(error.public)
            return
        if header is not None:
            self._client = header.source or UnrelayedAddress(peer_address(self.transport.getPeer()))
            rest, self._head = self._head[header.size :], b""
            self._begin()
            if rest:
                self.wrappedProtocol.dataReceived(rest)

    def _begin(self) -> None:
        self._stop_waiting()
        self._begun = True
        self.wrappedProtocol.makeConnection(self)  # type: ignore[arg-type]  # it has the interfaces of its transport

    def _refuse(self, reason: str) -> None:
        self._head = b""
        if self._ending is not None and not self._ending.active():
            self._ending = None
        self._stop_waiting()
        _log.info(
            "refused connection from the proxy {address}: {reason}",
            address=peer_address(self.transport.getPeer()),
            reason=reason,
        )
        self.transport.abortConnection()

    def _stop_waiting(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    def readConnectionLost(self) -> None:
        """Hand on that the client has finished sending."""
        wrapped = IHalfCloseableProtocol(self.wrappedProtocol, None) if self._begun else None
        if wrapped is None:
            self.transport.loseConnection()
        else:
            wrapped.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Do nothing: the end of writing was this side's decision."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the wrapped protocol, if it has begun."""
        self._stop_waiting()
        if not self._begun:
            self.wrappedProtocol = Protocol()
        super().connectionLost(reason)


class ProxyProtocolFactory(WrappingFactory):
    """Connections of which those from trusted proxies begin with a PROXY header.

    :param factory: of the protocol that follows it, such as TLS.
    :param clock: limits the time in which the header must arrive.
    """

    protocol = _ProxiedConnection
    noisy = False

    def __init__(self, factory: IProtocolFactory, proxies: TrustedProxies, clock: IClock) -> None:
        super().__init__(factory)
        self.proxies = proxies
        self.clock = clock
