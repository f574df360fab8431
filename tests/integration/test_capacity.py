"""Caps on what strangers hold at a real server, and who is exempt from them."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.support.bound import Bound, bound_server
from tests.support.pki import Identity
from tests.support.proxies import PROXY, STRANGER, connect
from tests.support.server import Client, wait_until

PER_ADDRESS = 8
IN_ALL = 20
BODY = 60 * 1024
BODIES_PER_ADDRESS = 2
LARGE = 1024 * 1024


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bound]:
    """A server with small caps."""
    changes = {
        ("LIMITS", "connections"): str(IN_ALL),
        ("LIMITS", "connections_per_address"): str(PER_ADDRESS),
        ("LIMITS", "body_bytes"): str(4 * BODIES_PER_ADDRESS * BODY),
        ("LIMITS", "body_bytes_per_address"): str(BODIES_PER_ADDRESS * BODY),
    }
    with bound_server(tmp_path_factory.mktemp("server"), changes=changes) as server:
        yield server


def is_open(connection: socket.socket) -> bool:
    """Return whether the server has not closed it."""
    readable, _, _ = select.select([connection], [], [], 0)
    if not readable:
        return True
    with contextlib.suppress(OSError):
        return connection.recv(1, socket.MSG_PEEK) != b""
    return False


def flood(
    bound: Bound, stack: ExitStack, count: int, source: str = PROXY, listener: str = "http"
) -> list[socket.socket]:
    """Open connections that send nothing."""
    return [stack.enter_context(connect(bound.server, listener, source)) for _ in range(count)]


def bearer(bound: Bound) -> dict[str, str]:
    return {"Authorization": f"Bearer {bound.tokens['alice']}"}


def test_one_address_holds_a_bounded_number(bound: Bound) -> None:
    """The oldest connections are closed; new ones are served, of this address and of others."""
    with ExitStack() as stack:
        early = stack.enter_context(connect(bound.server, "http", STRANGER))
        idle = flood(bound, stack, 3 * PER_ADDRESS)
        wait_until(lambda: sum(map(is_open, idle)) <= PER_ADDRESS, "the oldest are closed")
        assert is_open(idle[-1])
        assert bound.server.ask("http", "/healthz").status == 200
        assert is_open(early)


def test_all_addresses_hold_a_bounded_number(bound: Bound) -> None:
    """An address with a single connection keeps it."""
    with ExitStack() as stack:
        early = stack.enter_context(connect(bound.server, "http", STRANGER))
        idle = [one for host in range(10, 20) for one in flood(bound, stack, PER_ADDRESS, f"127.0.0.{host}")]
        wait_until(lambda: sum(map(is_open, idle)) < IN_ALL, "the oldest are closed")
        assert is_open(early)
        assert bound.server.ask("http", "/healthz").status == 200


def _by_token(bound: Bound) -> tuple[Client, Mapping[str, str]]:
    return bound.server.client("https"), bearer(bound)


def _by_certificate(bound: Bound) -> tuple[Client, Mapping[str, str]]:
    return bound.server.client("https", bound.bind("alice")[0]), {}


@pytest.mark.parametrize("way", [_by_token, _by_certificate], ids=["token", "client certificate"])
def test_authenticated_client_keeps_its_connection(bound: Bound, way: object) -> None:
    """A keep-alive connection that has authenticated outlives any flood of its own address."""
    assert callable(way)
    client, headers = way(bound)
    with client, ExitStack() as stack:
        for _ in range(3):
            answer = client.ask("/api/v1/certificates", headers=headers)
            assert answer.status == 200, answer.text
            flood(bound, stack, 3 * PER_ADDRESS)


def test_handshake_with_a_required_certificate_is_enough(bound: Bound) -> None:
    """Before any request."""
    identity: Identity = bound.bind("alice")[0]
    with bound.server.client("trusted_https", identity) as client, ExitStack() as stack:
        client.connection.connect()
        flood(bound, stack, 3 * PER_ADDRESS, listener="trusted_https")
        assert client.ask("/healthz").status == 200


def test_authenticated_clients_get_in_while_strangers_hold_all(bound: Bound) -> None:
    with ExitStack() as stack:
        flood(bound, stack, 2 * PER_ADDRESS)
        flood(bound, stack, 2 * PER_ADDRESS, STRANGER, "https")

        def served() -> bool:
            # Connections of the flood may still arrive, and close the oldest of their address: this one.
            with contextlib.suppress(ConnectionError):
                return bound.server.ask("https", "/api/v1/certificates", headers=bearer(bound)).status == 200
            return False

        wait_until(served, "a client with a token is served")
        for _ in range(2 * PER_ADDRESS):
            assert served()
        clients = [stack.enter_context(bound.server.client("https")) for _ in range(2 * PER_ADDRESS)]
        for _ in range(2):
            for client in clients:
                assert client.ask("/api/v1/certificates", headers=bearer(bound)).status == 200


# --- bodies ---------------------------------------------------------------------------------


def upload(bound: Bound, path: str, headers: Mapping[str, str], *, chunked: bool) -> int:
    """Send a megabyte, and return the status."""
    body = json.dumps({"data": "A" * (LARGE - 100)}).encode()
    with bound.server.client("https") as client:
        fields = {"Content-Type": "application/json", **headers}
        pieces = (body[start : start + 8192] for start in range(0, len(body), 8192))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            client.connection.request("POST", path, pieces if chunked else body, fields, encode_chunked=chunked)
        return client.connection.getresponse().status


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/v1/inspect", {}),
        ("/api/v1/inspect", {"Authorization": "Bearer pik_wrong"}),
        ("/api/v1/inspect", {"Authorization": "Basic YWxpY2U6d3Jvbmc="}),
        ("/api/v1/inspect", {"Cookie": "__Host-pikachu=wrong"}),
        ("/login", {}),
        ("/", {}),
    ],
)
def test_large_body_of_a_stranger(bound: Bound, path: str, headers: Mapping[str, str], chunked: bool) -> None:
    """Refused, with what only looks like credentials too."""
    fields = {"Transfer-Encoding": "chunked", **headers} if chunked else headers
    assert upload(bound, path, fields, chunked=chunked) == 413


@pytest.mark.parametrize("chunked", [False, True])
def test_large_body_after_signing_in(bound: Bound, chunked: bool) -> None:
    """It reaches the resource, which can't make anything of it."""
    fields = {"Transfer-Encoding": "chunked", **bearer(bound)} if chunked else bearer(bound)
    assert upload(bound, "/api/v1/inspect", fields, chunked=chunked) == 400


@pytest.mark.parametrize(("signed_in", "line"), [(True, b"HTTP/1.1 100 "), (False, b"HTTP/1.1 413 ")])
def test_expectation(bound: Bound, signed_in: bool, line: bytes) -> None:
    """A client that sends ``Expect: 100-continue`` gets 100 only if its body will be read."""
    lines = [
        "POST /api/v1/inspect HTTP/1.1",
        "Host: localhost",
        "Expect: 100-continue",
        f"Content-Length: {LARGE}",
        *(f"{name}: {value}" for name, value in (bearer(bound) if signed_in else {}).items()),
    ]
    plain = connect(bound.server, "https", PROXY)
    with bound.server.context().wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(4096).startswith(line)


def hold_body(bound: Bound, stack: ExitStack, source: str = PROXY) -> socket.socket:
    """Send most of a body, and stop."""
    connection = stack.enter_context(connect(bound.server, "http", source))
    head = b"POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    connection.sendall(head % BODY)
    connection.sendall(bytes(BODY - 1))
    return connection


def test_bodies_of_one_address_are_bounded(bound: Bound) -> None:
    """The oldest unfinished one makes room; others', small ones and those of authenticated clients are read."""
    with ExitStack() as stack:
        other = hold_body(bound, stack, STRANGER)
        held = [hold_body(bound, stack) for _ in range(6)]
        wait_until(lambda: sum(map(is_open, held)) <= BODIES_PER_ADDRESS, "the oldest are closed")
        assert is_open(other)
        document = {"data": "A" * BODY}
        headers = {"Content-Type": "application/json", **bearer(bound)}
        answer = bound.server.ask("https", "/api/v1/inspect", "POST", json.dumps(document).encode(), headers)
        assert answer.status == 400
        assert bound.server.ask("https", "/login", "POST", b"username=alice&password=x").status == 403


def test_everything_is_given_back(bound: Bound) -> None:
    """After many bodies and connections of all ends, as many fit as before."""
    for _ in range(3):
        with ExitStack() as stack:
            for _ in range(5):
                hold_body(bound, stack)
        for _ in range(10):
            assert bound.server.ask("https", "/login", "POST", b"a" * BODY).status == 403
    with ExitStack() as stack:
        held = [hold_body(bound, stack) for _ in range(BODIES_PER_ADDRESS)]
        assert bound.server.ask("http", "/healthz").status == 200
        assert all(map(is_open, held))
