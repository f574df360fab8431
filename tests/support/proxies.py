"""Connections as a proxy makes them: from an address of the loopback network, with a PROXY header before TLS."""

from __future__ import annotations

import http.client
import socket
import struct
from collections.abc import Mapping
from contextlib import closing
from typing import Final

from tests.support.pki import Identity
from tests.support.server import Answer, Server

#: The address of the trusted proxy in these tests, and one of somebody else.
PROXY: Final = "127.0.0.1"
STRANGER: Final = "127.0.0.2"
CLIENT: Final = "198.51.100.77"

V1: Final = f"PROXY TCP4 {CLIENT} 127.0.0.1 5678 443\r\n".encode()
V2: Final = (
    b"\r\n\r\n\0\r\nQUIT\n"
    + struct.pack("!BBH", 0x21, 0x11, 12)
    + socket.inet_aton(CLIENT)
    + socket.inet_aton("127.0.0.1")
    + struct.pack("!HH", 5678, 443)
)


def connect(server: Server, listener: str, source: str, header: bytes = b"") -> socket.socket:
    """Connect to a listener from *source*, and send *header*."""
    connection = socket.create_connection(("127.0.0.1", server.ports[listener]), timeout=30, source_address=(source, 0))
    connection.sendall(header)
    return connection


def ask(
    server: Server,
    listener: str,
    path: str,
    *,
    source: str = PROXY,
    header: bytes = b"",
    identity: Identity | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Send one request, with *header* before anything else.

    :raises OSError: the server hung up; http.client's errors likewise.
    """
    connection = connect(server, listener, source, header)
    if listener in ("https", "trusted_https"):
        connection = server.context(identity).wrap_socket(connection, server_hostname="localhost")
    with closing(http.client.HTTPConnection("localhost")) as client:
        client.sock = connection
        client.request("GET" if body is None else "POST", path, body, {"Host": "localhost", **(headers or {})})
        answer = client.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
