"""The client of a request: the connection's peer, or whom a trusted proxy speaks for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from pikachu.http.peer import channel_bindings
from pikachu.http.proxies import CLIENT_CERT, parse_certificate_header, parse_chain_header
from pikachu.http.request import BoundedRequest


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The certificate that a client has shown, and what links its requests to the TLS session.

    :param der: its certificate, whose key it possesses; ``None`` when it has shown none.
    :param intermediates: unverified DER certificates that it sent besides.
    :param channel_bindings: returns the values of :func:`pikachu.http.peer.channel_bindings`; a proxy has a TLS session
        of its own with the client, so there are none behind it.
    """

    der: bytes | None
    intermediates: tuple[bytes, ...] = ()
    channel_bindings: Callable[[], tuple[str, ...]] = field(default=tuple, repr=False)


def client_certificate(request: BoundedRequest) -> ClientCertificate:
    """Return what the client of *request* has shown.

    Where the site reads a header, only that counts from a trusted proxy, since the connection's certificate is the
    proxy's own.

    :raises MalformedRequest: the proxy's header is ambiguous or holds no certificate.
    """
    proxies, transport = request.channel.site.proxies, request.channel.transport
    name = proxies.client_certificate_header
    if name is None or not proxies.trusted.may_relay(request.client):
        der, intermediates = request.channel.shown_certificates
        return ClientCertificate(der, intermediates, functools.partial(channel_bindings, transport))
    headers = request.requestHeaders
    der = parse_certificate_header(name, headers.getRawHeaders(name) or ())
    if der is None or name != CLIENT_CERT:
        return ClientCertificate(der)
    return ClientCertificate(der, parse_chain_header(headers.getRawHeaders(b"Client-Cert-Chain") or ()))
