"""Trusted proxies: whose word about a client's address and certificate counts.

Headers of anybody else are ignored, since anybody can send them.
"""

from __future__ import annotations

import base64
import binascii
import functools
import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IAddress

from pikachu.auth.client_certificate import MAXIMUM_INTERMEDIATES
from pikachu.core.errors import MalformedRequest
from pikachu.http.peer import UnrelayedAddress, peer_address

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Most proxies that one request may have passed.
MAXIMUM_HOPS: Final = 32
#: The header of RFC 9440; any other name has the certificate as URL-escaped PEM.
CLIENT_CERT: Final = b"client-cert"
_PEM: Final = re.compile(rb"\s*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")
_BYTE_SEQUENCE: Final = re.compile(rb":([A-Za-z0-9+/=]+):")
# Clients of IPv6 and some proxies add a port.
_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9.]{7,15}):[0-9]{1,5}")


class TrustedProxies:
    """The addresses of ``[DEFAULT] trusted_proxies``."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)
        self.trusts: Callable[[str], bool] = functools.lru_cache(maxsize=1024)(self._contains)

    def _contains(self, address: str) -> bool:
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def may_relay(self, peer: IAddress | None) -> bool:
        """Return whether what the other end of a connection says of its clients counts."""
        return not isinstance(peer, UnrelayedAddress) and self.trusts(peer_address(peer))

    def client_address(self, peer: IAddress | None, forwarded: Sequence[bytes]) -> str:
        """Return the client's address.

        ``X-Forwarded-For`` is read from the right, since each proxy appends the address that it saw.  The first that is
        no trusted proxy's is the client's.

        :param peer: the connection's other end.
        :param forwarded: the values of ``X-Forwarded-For``.
        """
        address = peer_address(peer)
        if not self._networks or not forwarded or not self.may_relay(peer):
            return address
        for entry in reversed(b",".join(forwarded).rsplit(b",", MAXIMUM_HOPS)[-MAXIMUM_HOPS:]):
            parsed = parse_address(entry.strip().decode("latin-1"))
            if parsed is None:
                break
            address = str(parsed)
            if not self.trusts(address):
                break
        return address


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """How a site takes what proxies tell.

    :param trusted: the proxies that may tell a client's address and certificate.
    :param client_certificate_header: the name of the header with the client's certificate; ``None`` reads none.
    :param external_url: the site's address as browsers see it; ``None`` takes that of the Host header.
    """

    trusted: TrustedProxies = field(default_factory=TrustedProxies)
    client_certificate_header: bytes | None = None
    external_url: str | None = None

    def __post_init__(self) -> None:
        if self.client_certificate_header is not None:
            object.__setattr__(self, "client_certificate_header", self.client_certificate_header.lower())


def parse_address(text: str) -> Address | None:
    """Return the IP address *text*, without port and zone, or None; an IPv4-mapped address is IPv4."""
    if len(text) > 64:
        return None
    match = _WITH_PORT.fullmatch(text)
    if match is not None:
        text = match[1] or match[2]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse_certificate_header(name: bytes, values: Sequence[bytes]) -> bytes | None:
    """Return the DER client certificate that a trusted proxy hands on, or None when the client has shown none.

    :param name: ``Client-Cert`` for the form of RFC 9440; any other name means URL-escaped PEM, as nginx's
        ``$ssl_client_escaped_cert`` has it.
    :param values: the values of that header.
    :raises MalformedRequest: there are several, or it holds no certificate.
    """
    if len(values) > 1:
        # One of them may be the client's own.
        raise MalformedRequest("the proxy sent more than one header with a client certificate")
    value = values[0].strip() if values else b""
    if not value:
        return None
    if name == CLIENT_CERT:
        return _byte_sequence(value)
    match = _PEM.fullmatch(unquote_to_bytes(value))
    try:
        if match is not None:
            return base64.b64decode(b"".join(match[1].split()), validate=True)
    except binascii.Error:
        pass
    raise MalformedRequest("the proxy's header with the client certificate is not one certificate in URL-escaped PEM")


def parse_chain_header(values: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the DER certificates of ``Client-Cert-Chain`` (RFC 9440 section 2.3); at most eight are used.

    :raises MalformedRequest: one of them is malformed.
    """
    items = [item for value in values for item in value.split(b",", MAXIMUM_INTERMEDIATES) if item.strip()]
    return tuple(_byte_sequence(item.strip()) for item in items[:MAXIMUM_INTERMEDIATES])


def _byte_sequence(value: bytes) -> bytes:
    """Return the content of a byte sequence (RFC 8941 section 3.3.5)."""
    match = _BYTE_SEQUENCE.fullmatch(value)
    try:
        if match is not None:
            return base64.b64decode(match[1], validate=True)
    except binascii.Error:
        pass
    raise MalformedRequest("the proxy's header with the client certificate is not in the form of RFC 9440")
