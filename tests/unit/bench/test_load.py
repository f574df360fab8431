"""The load: connections that don't wait for one another."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from bench.load import Load, run
from bench.messages import get

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nMI"


@pytest.mark.parametrize("reconnect", [False, True])
def test_handshakes_go_on_beside_each_other(identity: Path, reconnect: bool) -> None:
    """A server that begins with the connection that came last answers all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)

        def serve() -> None:
            plain = [listening.accept()[0] for _ in range(3)]
            open_now = [context.wrap_socket(one, server_side=True) for one in reversed(plain)]
            for connection in open_now:
                connection.recv(65536)
                connection.sendall(ANSWER)
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        load = Load(listening.getsockname()[1], [get("/")], 3, 3, 10.0, tls=True, reconnect=reconnect, expect=b"MI")
        outcome = run(load)
        thread.join(20)
    assert (outcome.done, outcome.failed) == (3, 0)
