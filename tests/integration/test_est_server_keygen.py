"""A real server that is asked for many keys at once (RFC 7030 section 4.4)."""

from __future__ import annotations

import base64
import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.est import PKCS10, PREFIX, certificates_in
from tests.support.pki import make_csr
from tests.support.server import Server, running_server
from tests.unit.x509.requests import request

pytestmark = pytest.mark.slow

REQUESTS = 12
ENROLLMENTS = 5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that signs with RSA, which takes threads, and lets anybody enroll."""
    changes = {("EST", "anonymous_enroll"): "true"}
    with running_server(tmp_path / "server", ("rsa2048",), changes=changes) as running:
        yield running


def request_for_rsa() -> bytes:
    """A request for an RSA-3072 key; serverkeygen does not look at its signature."""
    key = rsa.generate_private_key(65537, 3072).public_key()
    return request(spki=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def ask_for_key(server: Server, context: ssl.SSLContext, csr: bytes) -> ssl.SSLSocket:
    """A connection on which serverkeygen was asked for, and nothing was read."""
    body = base64.b64encode(csr)
    fields = {"Host": "localhost", **PKCS10, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"POST {PREFIX}/serverkeygen HTTP/1.1", *(f"{name}: {text}" for name, text in fields.items()), "", ""]
    plain = socket.create_connection(("127.0.0.1", server.ports["https"]), timeout=30)
    connection = context.wrap_socket(plain, server_hostname="localhost")
    connection.sendall("\r\n".join(lines).encode("ascii") + body)
    return connection


def test_enrollment_does_not_wait(server: Server) -> None:
    """Certificates are issued one after the other before half of the keys that were asked for first are there."""
    csr = request_for_rsa()
    context = server.context()
    # A session ticket is not an answer.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with ExitStack() as stack:
        waiting = [stack.enter_context(ask_for_key(server, context, csr)) for _ in range(REQUESTS)]
        with server.client("https") as client:
            for number in range(ENROLLMENTS):
                body = base64.b64encode(make_csr("p256", f"device-{number}")[1])
                answer = client.ask(f"{PREFIX}/simpleenroll", "POST", body, PKCS10)
                assert answer.status == 200, answer.text
                assert len(certificates_in(answer.body)) == 1
        answered, _, _ = select.select(waiting, [], [], 0)
        assert len(answered) < REQUESTS // 2
        for connection in waiting:
            assert connection.recv(12) == b"HTTP/1.1 200"
