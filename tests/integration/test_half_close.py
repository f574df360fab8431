"""Clients that finish sending before they read: ``shutdown(SHUT_WR)`` after the request."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator

import pytest

from pikachu.http.request import Limits
from tests.support.est import PREFIX, basic
from tests.support.est_live import LiveEST, live_est
from tests.support.pki import make_csr
from tests.support.proxies import PROXY, STRANGER, V1, connect
from tests.support.server import wait_until

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CRL = b"GET /crl/ec.crl HTTP/1.1\r\nHost: localhost\r\n\r\n"
READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
INCOMPLETE = (
    b"",
    b"GET /healthz HT",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
    b"POST /scep HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc",
)


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEST]:
    """A server whose SCEP port expects PROXY headers."""
    changes = {("DEFAULT", "trusted_proxies"): PROXY, ("SCEP", "proxy_protocol"): "true"}
    with live_est(tmp_path_factory.mktemp("server"), changes=changes) as server:
        # The first CRLs are published after the start.
        wait_until(lambda: server.server.ask("http", "/readyz").status == 200, "the server is ready")
        yield server


def exchange(est: LiveEST, listener: str, data: bytes, header: bytes = b"") -> bytes:
    """Send *data*, finish sending, and read until the server closes."""
    connection = connect(est.server, listener, STRANGER if not header else PROXY, header)
    # Less than the idle timeout, after which the server closes anyway.
    connection.settimeout(Limits().idle / 2)
    stream: socket.socket = connection
    if listener == "https":
        stream = est.server.context().wrap_socket(connection, server_hostname="localhost", suppress_ragged_eofs=True)
    stream.sendall(data)
    # Below TLS: the client sends no close_notify.
    socket.socket.shutdown(stream, socket.SHUT_WR)
    received = b""
    with stream:
        while piece := stream.recv(65_536):
            received += piece
    return received


@pytest.mark.parametrize("listener", ["http", "https"])
@pytest.mark.parametrize(
    ("data", "answers"),
    [(HEALTH, 1), (CLOSE, 1), (CRL, 1), (READY, 1), (POST, 1), (HEALTH * 20, 20), (READY + CRL + HEALTH, 3)],
    ids=["health", "close", "CRL", "readiness", "POST", "pipelined", "pipelined, of several kinds"],
)
def test_answered(est: LiveEST, listener: str, data: bytes, answers: int) -> None:
    """Everything that was sent is answered, then the connection is closed."""
    received = exchange(est, listener, data)
    assert received.count(b"HTTP/1.1 200") + received.count(b"HTTP/1.1 400") == answers


@pytest.mark.parametrize("listener", ["http", "https"])
@pytest.mark.parametrize("data", INCOMPLETE)
def test_incomplete_request(est: LiveEST, listener: str, data: bytes) -> None:
    """Nothing to answer: it is closed."""
    assert exchange(est, listener, data) == b""


def test_enrollment(est: LiveEST) -> None:
    """A request that waits for threads."""
    body = base64.b64encode(make_csr()[1])
    fields = {**basic("alice"), "Content-Type": "application/pkcs10", "Content-Length": str(len(body))}
    lines = [f"POST {PREFIX}/simpleenroll HTTP/1.1", "Host: localhost"]
    head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode()
    assert exchange(est, "https", head + body).startswith(b"HTTP/1.1 200 ")


def test_after_a_proxy_header(est: LiveEST) -> None:
    capabilities = b"GET /scep?operation=GetCACaps HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert exchange(est, "scep", capabilities, V1).startswith(b"HTTP/1.1 200 ")
    assert exchange(est, "scep", b"", V1[:10]) == b""


def test_refusal(est: LiveEST) -> None:
    """A refusal before the body is read."""
    data = b"POST /scep HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n" + bytes(1000)
    assert exchange(est, "http", data).startswith(b"HTTP/1.1 413 ")
