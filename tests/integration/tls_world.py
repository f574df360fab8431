# mypy: allow-untyped-calls
"""Listeners under test, with what their peers present."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from OpenSSL import SSL

from pikachu.http.peer import channel_bindings, common_name, peer_certificate
from pikachu.http.request import BoundedRequest, Site
from pikachu.http.responses import send
from pikachu.server.listeners import ClientCertificates, TLSContextSource
from tests.support import pki
from tests.support.connections import TLS

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Peer(Resource):
    """A peer that records the data of the connection and answers."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.bindings: tuple[str, ...] = ()
        self.certificate: bytes | None = None
        self.name: str | None = None
        self.waiting: list[BoundedRequest] = []
        self.body = b"ok"

    def render(self, request: BoundedRequest) -> int:
        self.bindings = channel_bindings(request.transport)
        self.certificate = peer_certificate(request.transport)
        self.name = common_name(self.certificate)
        if request.path == b"/wait":
            self.waiting.append(request)
        else:
            send(request, 200, b"text/plain", self.body)
        return NOT_DONE_YET


class World:
    """Authorities, a server's files, and its TLS settings."""

    def __init__(self, folder: Path, key_type: str = "p256") -> None:
        self.clock = Clock()
        self.clock.advance(datetime.now(UTC).timestamp())
        self.root = pki.make_ca("p256", "Root")
        self.ca = pki.make_ca("p256", "Issuing CA", issuer=self.root)
        self.foreign = pki.make_ca("p256", "Foreign CA")
        self.server = pki.make_leaf(self.ca, "localhost", key_type=key_type, sans=["localhost"])
        self.certificate, self.key = self.server.write(folder, "tls")
        self.certificate.write_bytes(self.server.chain_pem)
        self.resource = Peer()
        self.site = Site(self.resource, self.clock)

    def source(
        self,
        clients: ClientCertificates = ClientCertificates.NONE,
        authorities: Callable[[], Sequence[tuple[str, bytes]]] | None = None,
        key_permissions: str = "warn",
    ) -> TLSContextSource:
        return TLSContextSource(
            "HTTPS",
            ("ssl_cert", self.certificate),
            ("ssl_key", self.key),
            self.clock,
            clients=clients,
            authorities=authorities or (lambda: [("a CA", self.ca.der)]),
            key_permissions=key_permissions,
        )

    def client(
        self,
        identity: pki.Identity | None = None,
        version: int = SSL.TLS1_3_VERSION,
        *,
        source: TLSContextSource | None = None,
        context: SSL.Context | None = None,
        session: Any = None,
    ) -> TLS:
        context = context or client_context(identity, version)
        return TLS(source or self.source(), self.site, context, self.clock, session)


def client_context(identity: pki.Identity | None = None, version: int = SSL.TLS1_3_VERSION) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if identity is not None:
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)  # type: ignore[arg-type]
    return context


def read_all(connection: socket.socket) -> bytes:
    """Return everything until the end."""
    data = b""
    while part := connection.recv(1 << 16):
        data += part
    return data
