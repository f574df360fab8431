"""Webhooks: signed JSON, posted to addresses that were checked (OPS-5; docs/adr/0050).

Whoever enters a URL must not reach what only this server can: the name is resolved here, each of its addresses is
checked, and the connection goes to one of these.  No proxy is used and no redirect followed.
"""

from __future__ import annotations

import hmac
import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred

from pikachu import __version__
from pikachu.core.concurrency import ended_after
from pikachu.core.errors import MalformedRequest, NoticeNotDelivered
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.messaging.secret_files import read_secret

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver: TypeAlias = Callable[[str, int], Sequence[str]]
Connector: TypeAlias = Callable[[IPAddress, int], socket.socket]

MAX_URL: Final = 500
_TIMEOUT: Final = 10.0
_MIN_KEY: Final = 32
_SETTING: Final = "[NOTICES] webhook_key_file"
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a webhook's URL."""

    is_tls: bool
    host: str
    port: int
    path: str


def parse_target(url: str) -> Target:
    """Return the parts of a webhook's URL.

    :raises MalformedRequest: when it is none.
    """
    error = MalformedRequest("Enter the webhook as a URL such as https://hooks.example.com/pikachu, without password.")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode("ascii") if ":" not in url[8:9] else parts.hostname or ""
    except (ValueError, UnicodeError):
        raise error from None
    is_odd = len(url) > MAX_URL or not url.isascii() or any(not " " < one < "\x7f" for one in url)
    if is_odd or parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or parts.fragment:
        raise error
    if port == 0:
        raise error
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme == "https", host, port or (443 if parts.scheme == "https" else 80), path)


def origin(url: str) -> str:
    """Return a webhook's URL without its path, which may contain a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/…" if (parts.path + parts.query).strip("/") else url


def refusal(address: IPAddress, allowed: Sequence[IPNetwork]) -> str:
    """Return why webhooks don't connect to an address, or an empty string.

    An IPv4 address inside of an IPv6 one (mapped, NAT64, 6to4, Teredo) counts as that IPv4 address.
    """
    inner = _inner(address)
    if inner is not None:
        return refusal(inner, allowed)
    if address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast:
        return "is of this machine or link"
    if any(address in network for network in allowed if network.version == address.version):
        return ""
    if not address.is_global or address.is_reserved:
        return "is private; [NOTICES] allow_private can allow it"
    return "is this machine's" if _is_own(address) else ""


def _inner(address: IPAddress) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _is_own(address: IPAddress) -> bool:
    """Return whether an interface of this machine has an address: only then a socket can be bound to it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host; blocks.

    :raises OSError: when it has none.
    """
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def connect(address: IPAddress, port: int) -> socket.socket:
    """Return a connection with an address; blocks.

    :raises OSError: when there is none.
    """
    return socket.create_connection((str(address), port), timeout=_TIMEOUT)


def _end(connected: socket.socket) -> None:
    """End a connection that another thread reads from."""
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def signature(key: str, key_id: str, timestamp: int, uid: str, body: bytes) -> str:
    """Return the value of ``Pikachu-Signature``: HMAC-SHA256 over ``timestamp.uid.`` and the body."""
    digest = hmac.digest(key.encode(), f"{timestamp}.{uid}.".encode() + body, "sha256").hex()
    return f"t={timestamp}, keyid={key_id}, sha256={digest}"


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How webhooks are called.

    :param ca_cert_path: that receivers' certificates are verified with; ``None`` for the system's.
    :param allowed: private networks with receivers; only there, plain HTTP is permitted.
    :param resolve: returns the addresses of a name.
    :param connect: connects with an address and port.
    :param timeout: seconds for the whole answer.
    """

    key_file: Path
    key_id: str
    ca_cert_path: Path | None = None
    allowed: tuple[IPNetwork, ...] = ()
    resolve: Resolver = resolve
    connect: Connector = connect
    timeout: float = _TIMEOUT


class Webhook:
    """See :class:`pikachu.core.notice_interfaces.IWebhook`.

    :param pool: waits for receivers.
    """

    def __init__(self, settings: WebhookSettings, pool: IWorkerPool, clock: IClock) -> None:
        self._settings = settings
        self._pool = pool
        self._clock = clock

    def send(self, url: str, body: bytes, uid: str) -> Deferred[str]:
        """Post a JSON document, and return the answer's status."""
        return self._pool.run(self._send, url, body, uid, int(self._clock.seconds()))

    def _send(self, url: str, body: bytes, uid: str, timestamp: int) -> str:
        settings = self._settings
        key = read_secret(settings.key_file, _SETTING, _MIN_KEY)
        target = parse_target(url)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Pikachu-CA/{__version__}",
            "Idempotency-Key": uid,
            "Pikachu-Signature": signature(key, settings.key_id, timestamp, uid, body),
            "Connection": "close",
        }
        try:
            plain = settings.connect(self._checked(target), target.port)
            # One that sends a byte now and then would hold the other notices for ever.
            with (
                closing(plain.dup()) as same,
                ended_after(settings.timeout, lambda: _end(same)),
                closing(self._connected(target, plain)) as connection,
            ):
                connection.request("POST", target.path, body, headers)
                # Its content is not read: it could be of anybody's.
                status = connection.getresponse().status
        except ssl.SSLCertVerificationError as error:
            raise NoticeNotDelivered(
                f"The receiver's certificate is not valid: {error.verify_message}.", error=str(error)
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise NoticeNotDelivered(f"The receiver can't be reached: {reason}.", error=str(error)) from error
        if not 200 <= status < 300:
            hint = " Redirects are not followed." if 300 <= status < 400 else ""
            raise NoticeNotDelivered(f"The receiver answers with HTTP status {status}.{hint}")
        return f"HTTP status {status}"

    def _connected(self, target: Target, plain: socket.socket) -> http.client.HTTPConnection:
        """Return a connection with the target, with TLS where its URL says so."""
        connection = http.client.HTTPConnection(target.host, target.port, timeout=_TIMEOUT)
        connection.sock = plain
        if target.is_tls:
            connection.default_port = http.client.HTTPS_PORT
            try:
                context = ssl.create_default_context(cafile=self._settings.ca_cert_path)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                connection.sock = context.wrap_socket(plain, server_hostname=target.host)
            except BaseException:
                plain.close()
                raise
        return connection

    def _checked(self, target: Target) -> IPAddress:
        found = [
            ipaddress.ip_address(one.partition("%")[0]) for one in self._settings.resolve(target.host, target.port)
        ]
        for address in found:
            reason = refusal(address, self._settings.allowed)
            if reason:
                raise NoticeNotDelivered(f"The address of the receiver {reason}.", is_final=True)
            inside = any(address in one for one in self._settings.allowed if one.version == address.version)
            if not target.is_tls and not inside:
                raise NoticeNotDelivered("Use https: plain HTTP is for allowed private networks only.", is_final=True)
        if not found:
            raise NoticeNotDelivered("The name of the receiver has no address.")
        return found[0]
