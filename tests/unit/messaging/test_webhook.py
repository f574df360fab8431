"""Webhooks, to a real server in this process: signed, and to checked addresses only (OPS-5)."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

import pytest

from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import MalformedRequest, NoticeNotDelivered
from pikachu.messaging.webhook import Webhook, WebhookSettings, origin, parse_target, refusal
from tests.support.deferreds import failure_of, result_of
from tests.support.pki import make_ca, make_leaf

KEY = "0123456789abcdef0123456789abcdef"
BODY = b'{"v":1}'


@pytest.mark.parametrize(
    ("address", "allowed", "refused"),
    [
        ("93.184.215.14", "", False),
        ("2606:2800:21f::1", "", False),
        *((one, "", True) for one in ("127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "169.254.169.254")),
        *((one, "", True) for one in ("10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "fe80::1")),
        *((one, "", True) for one in ("224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255", "192.0.2.1")),
        # IPv4 addresses inside of IPv6 ones.
        *((one, "", True) for one in ("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::")),
        ("10.1.2.3", "10.1.0.0/16", False),
        ("10.2.2.3", "10.1.0.0/16", True),
        ("::ffff:10.1.2.3", "10.1.0.0/16", False),
        ("fd00::1", "fd00::/8", False),
        # This machine is never allowed, nor what gives clouds' credentials.
        ("127.0.0.1", "127.0.0.0/8", True),
        ("169.254.169.254", "0.0.0.0/0", True),
    ],
)
def test_addresses(address: str, allowed: str, refused: bool) -> None:
    """Public addresses are called, and private ones where that is allowed."""
    networks = [ipaddress.ip_network(allowed)] if allowed else []
    assert bool(refusal(ipaddress.ip_address(address), networks)) is refused


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hooks.example.com/a?b=c", ("hooks.example.com", 443, "/a?b=c")),
        ("https://hooks.example.com:8443", ("hooks.example.com", 8443, "/")),
        ("https://[2606:2800:21f::1]/a", ("2606:2800:21f::1", 443, "/a")),
        ("http://10.1.2.3/a", ("10.1.2.3", 80, "/a")),
    ],
)
def test_urls(url: str, expected: tuple[str, int, str]) -> None:
    """The parts of a URL."""
    target = parse_target(url)
    assert (target.host, target.port, target.path) == expected


@pytest.mark.parametrize(
    "url",
    [
        *("", "hooks.example.com", "ftp://example.com/", "file:///etc/passwd", "https://", "https:///a", "gopher://a/"),
        *("https://a:b@example.com/", "https://example.com:0/", "https://example.com:99999/", "https://example.com/#a"),
        *(
            "https://example.com/ a",
            "https://example.com/\r\nX: y",
            "https://example.com/\x00",
            "https://a" + "a" * 500,
        ),
        *("https://example.com/é", "https://[::1", "//example.com/"),
    ],
)
def test_wrong_urls(url: str) -> None:
    """Anything but the URL of a webhook is refused."""
    with pytest.raises(MalformedRequest):
        parse_target(url)


def test_origin() -> None:
    """Lists don't show the path, which may contain a token."""
    assert origin("https://hooks.example.com/T0/secret") == "https://hooks.example.com/…"
    assert origin("https://hooks.example.com") == "https://hooks.example.com"


@dataclass
class Receiver:
    """A receiver of webhooks, which stands for all addresses.

    :ivar status: what it answers.
    """

    port: int
    folder: Path
    status: int = 200
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    root = make_ca("p256", "Hook root", path_length=1, slot=3)
    make_leaf(root, "hooks.example.com", sans=["DNS:hooks.example.com"]).write(tmp_path, "hook")
    root.write(tmp_path, "root")
    key = tmp_path / "key"
    key.write_text(KEY + "\n", encoding="ascii")
    key.chmod(0o600)
    made: Receiver

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.requests.append((self.path, dict(self.headers.items()), body))
            self.send_response(made.status)
            self.send_header("Location", "https://hooks.example.com/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "hook.crt", tmp_path / "hook.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made = Receiver(server.server_address[1], tmp_path)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def settings_of(receiver: Receiver, addresses: Sequence[str] = ("93.184.215.14",)) -> WebhookSettings:
    return WebhookSettings(
        receiver.folder / "key",
        "k1",
        receiver.folder / "root.crt",
        resolve=lambda host, port: addresses,
        connect=lambda address, port: socket.create_connection(("127.0.0.1", receiver.port), timeout=5),
    )


def send(settings: WebhookSettings, url: str = "https://hooks.example.com/a?b=c") -> str:
    clock = Clock()
    clock.advance(1_800_000_000)
    return result_of(Webhook(settings, ImmediatePool(), clock).send(url, BODY, "0c3d"))


def test_signed(receiver: Receiver) -> None:
    """The receiver can verify the document, its time and its id."""
    assert send(settings_of(receiver)) == "HTTP status 200"
    ((path, headers, body),) = receiver.requests
    assert (path, body, headers["Host"]) == ("/a?b=c", BODY, "hooks.example.com")
    assert headers["Idempotency-Key"] == "0c3d"
    expected = hmac.new(KEY.encode(), b"1800000000.0c3d." + BODY, hashlib.sha256).hexdigest()
    assert headers["Pikachu-Signature"] == f"t=1800000000, keyid=k1, sha256={expected}"


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 500, 503])
def test_statuses(receiver: Receiver, status: int) -> None:
    """Anything but success is tried again later, and redirects are not followed."""
    receiver.status = status
    with pytest.raises(NoticeNotDelivered, match=str(status)) as caught:
        send(settings_of(receiver))
    assert not caught.value.is_final
    assert len(receiver.requests) == 1


def test_certificate_is_verified(receiver: Receiver) -> None:
    """A certificate for another name is refused."""
    with pytest.raises(NoticeNotDelivered, match="certificate"):
        send(settings_of(receiver), "https://other.example.com/")
    assert not receiver.requests


@pytest.mark.parametrize(
    "addresses", [("127.0.0.1",), ("93.184.215.14", "10.0.0.1"), ("169.254.169.254",), ("::ffff:192.168.0.1",)]
)
def test_names_with_private_addresses(receiver: Receiver, addresses: tuple[str, ...]) -> None:
    """A name with any private address is refused, whatever its others are."""
    with pytest.raises(NoticeNotDelivered, match="address") as caught:
        send(settings_of(receiver, addresses))
    assert caught.value.is_final
    assert not receiver.requests


def test_plain_http(receiver: Receiver) -> None:
    """Plain HTTP leaves no private network."""
    with pytest.raises(NoticeNotDelivered, match="https"):
        send(settings_of(receiver), "http://hooks.example.com/")


@pytest.mark.parametrize(("text", "mode"), [(KEY, 0o644), ("short", 0o600), ("", 0o600)])
def test_key_files(receiver: Receiver, text: str, mode: int) -> None:
    """A key that others can read, or that is short, signs nothing."""
    key = receiver.folder / "key"
    key.write_text(text, encoding="ascii")
    key.chmod(mode)
    with pytest.raises(NoticeNotDelivered, match="webhook_key_file"):
        send(settings_of(receiver))
    with pytest.raises(NoticeNotDelivered, match="can't be read"):
        send(replace(settings_of(receiver), key_file=receiver.folder / "none"))


def test_a_receiver_that_drips(tmp_path: Path) -> None:
    """A byte now and then is no answer: it ends in time, and doesn't hold the other notices."""
    key = tmp_path / "key"
    key.write_text(KEY + "\n", encoding="ascii")
    key.chmod(0o600)
    here, there = socket.socketpair()
    is_cut = threading.Event()

    def drip() -> None:
        with there:
            try:
                while not is_cut.wait(0.05):
                    there.sendall(b"H")
            except OSError:
                is_cut.set()

    thread = threading.Thread(target=drip)
    thread.start()
    settings = WebhookSettings(
        key,
        "1",
        allowed=(ipaddress.ip_network("10.0.0.0/8"),),
        resolve=lambda host, port: ["10.1.2.3"],
        connect=lambda address, port: here,
        timeout=0.3,
    )
    hook = Webhook(settings, ImmediatePool(), Clock())
    try:
        failure_of(hook.send("http://10.1.2.3/a", BODY, "u"), NoticeNotDelivered)
        assert is_cut.wait(5)
    finally:
        is_cut.set()
        thread.join()
