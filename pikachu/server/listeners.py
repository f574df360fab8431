# mypy: allow-untyped-calls
"""Listeners, plain and TLS: errors take one line, and TLS certificates are renewed while running."""

from __future__ import annotations

import errno
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
)
from twisted.logger import Logger
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from OpenSSL import SSL, crypto

from pikachu.auth.client_certificate import MAXIMUM_INTERMEDIATES
from pikachu.core.errors import ConfigError, PikachuError
from pikachu.core.interfaces import IClock
from pikachu.http.proxies import TrustedProxies
from pikachu.http.proxy_protocol import ProxyProtocolFactory
from pikachu.signers.files import load_certificates
from pikachu.signers.key_files import check_server_key_permissions
from pikachu.x509.loading.certificates import check_certificate_key, load_tls_certificate

_log = Logger(namespace="pikachu.server.listeners")

# TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 section 4.2).  TLS 1.3 has nothing else.
CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_OPTIONS: Final = SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_RENEGOTIATION
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_PURPOSE: Final = 26  # X509_V_ERR_INVALID_PURPOSE
_PRIVILEGED: Final = 1024
# Connections that wait to be accepted; the system's own limit (Linux: somaxconn, 4096) may be lower.
_BACKLOG: Final = 4096
_ACCEPTED_AT_ONCE: Final = 50
_ALL_IPV4: Final = "0.0.0.0"  # noqa: S104 - what the configuration means by no address
_ALL_IPV6: Final = "::"

# Bytes of TLS that one connection may have decrypted in one turn of the reactor.
TLS_READ_SIZE: Final = 8 * 1024


class ClientCertificates(Enum):
    """Whether a listener asks its clients for a certificate."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class _Identity:
    """A listener's certificate with its chain, and its key."""

    chain: Sequence[crypto.X509]
    key: crypto.PKey
    not_after: datetime


@implementer(IOpenSSLServerConnectionCreator)
class TLSContextSource:
    """The TLS settings of one listener, read from files.

    On a port where a client certificate is optional, any certificate completes the handshake: possession of its key
    is proven, and whether it means anything is the application's to judge, which can say so (403).  Where one is
    required, its chain must lead to one of *authorities*; an expired one, or one that is not for clients, is again
    let through to be refused in words.

    :param section: of the configuration, for messages.
    :param certificate: (key in the configuration, path) of a PEM file: the certificate, then its chain.
    :param key: (key in the configuration, path) of a PEM file.
    :param authorities: returns the CAs that clients' certificates may chain to, each with the setting or the name of
        the CA for messages, and its DER certificate; their names are sent to clients.
    :param passphrase: of the key file.
    :param key_permissions: action for a key file that every account can read: ``refuse`` or ``warn``.
    :ivar section: as given.
    :raises ConfigError: one line.
    """

    def __init__(
        self,
        section: str,
        certificate: tuple[str, Path],
        key: tuple[str, Path],
        clock: IClock,
        *,
        clients: ClientCertificates = ClientCertificates.NONE,
        authorities: Callable[[], Sequence[tuple[str, bytes]]] = tuple,
        passphrase: bytes = b"",
        key_permissions: str = "warn",
    ) -> None:
        self.section = section
        self._key_permissions = key_permissions
        self._certificate = certificate
        self._key = key
        self._clock = clock
        self._clients = clients
        self._authorities = authorities
        self._passphrase = passphrase
        self._identity = self._load_identity()
        self._context = self._make_context(self._identity)

    def certificate_end(self) -> datetime:
        """Return the end of the certificate in use, which the file may already have replaced."""
        return self._identity.not_after

    def reload(self) -> None:
        """Read the files again; existing connections keep their certificates.

        :raises ConfigError: and what was in force stays.
        """
        identity = self._load_identity()
        self._context = self._make_context(identity)
        self._identity = identity

    def trust_new_authorities(self) -> None:
        """Trust the issuing CAs that were added since; reads no file, so no file can make it fail."""
        if self._clients is not ClientCertificates.NONE:
            self._context = self._make_context(self._identity)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N802 - Twisted's name
        """Return the TLS side of a new connection."""
        return SSL.Connection(self._context, None)

    def _make_context(self, identity: _Identity) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(_OPTIONS)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_cipher_list(CIPHERS)
        # Sessions live in tickets, which cost this server no memory.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_session_id(f"pikachu {self.section}".encode("ascii", "replace")[:32])
        context.set_alpn_select_callback(_choose_protocol)
        self._use_identity(context, identity)
        if self._clients is not ClientCertificates.NONE:
            self._ask_clients(context)
        return context

    def _load_identity(self) -> _Identity:
        name, path = self._certificate
        certificates = load_certificates(path, f"[{self.section}] {name}")
        chain = []
        for number, certificate in enumerate(certificates, 1):
            try:
                chain.append(load_tls_certificate(certificate.der, is_own=True))
            except PikachuError as error:
                what = f"certificate {number} of {path} can't be used for TLS: {error.public}"
                raise self._error(name, what) from None
        key_name, key_path = self._key
        key_data = self._read(key_name, key_path)
        check_server_key_permissions(key_path, f"[{self.section}] {key_name}", self._key_permissions, _warn)
        try:
            key = crypto.load_privatekey(crypto.FILETYPE_PEM, key_data, self._passphrase)
        except crypto.Error:
            reason = "does not hold a private key in PEM, or its passphrase is another one"
            raise self._error(key_name, f"{key_path} {reason}") from None
        begin, end = certificates[0].not_before, certificates[0].not_after
        now = datetime.fromtimestamp(self._clock.seconds(), UTC)
        if now < begin:
            _log.error(
                "[{section}] {name}: the certificate in {path} is not valid before {begin}, and this machine's clock "
                "is behind that; check the clock and its synchronization, or issue another certificate",
                section=self.section,
                name=name,
                path=str(path),
                begin=f"{begin:%Y-%m-%d %H:%M:%S} UTC",
            )
        if end <= now:
            _log.warn(
                "[{section}] {name}: the certificate in {path} expired on {end}; renew it",
                section=self.section,
                name=name,
                path=str(path),
                end=f"{end:%Y-%m-%d}",
            )
        return _Identity(chain, key, end)

    def _use_identity(self, context: SSL.Context, identity: _Identity) -> None:
        (name, path), (key_name, key_path) = self._certificate, self._key
        try:
            with warnings.catch_warnings():
                # pyca's certificates, which pyOpenSSL prefers, can't hold all that OpenSSL reads.
                warnings.simplefilter("ignore", DeprecationWarning)
                context.use_certificate(identity.chain[0])
                for certificate in identity.chain[1:]:
                    context.add_extra_chain_cert(certificate)
        except SSL.Error as error:
            raise self._error(name, f"{path} can't be used for TLS ({_reason(error)})") from None
        try:
            with warnings.catch_warnings():
                # pyOpenSSL would rather have pyca's key objects, but does not take them for ML-DSA.
                warnings.simplefilter("ignore", DeprecationWarning)
                context.use_privatekey(identity.key)
            context.check_privatekey()
        except SSL.Error:
            raise self._error(key_name, f"{key_path} is not the key of the certificate in {path}") from None

    def _read(self, name: str, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise self._error(name, f"{path} does not exist; `pikachu init` makes it") from None
        except OSError as error:
            reason = error.strerror or "it can't be read"
            raise self._error(name, f"{path} can't be read ({reason}); `ls -l {path}` shows who may") from None

    def _error(self, name: str, what: str) -> ConfigError:
        return ConfigError(f"[{self.section}] {name}: {what}")

    def _ask_clients(self, context: SSL.Context) -> None:
        mode = SSL.VERIFY_PEER
        if self._clients is ClientCertificates.REQUIRED:
            context.set_verify(mode | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify_required)
        else:
            context.set_verify(mode, _verify_optional)
        store = context.get_cert_store()
        if store is None:
            raise AssertionError("a context has a store")
        # An issuing CA is trusted by itself; its root need not be here.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        context.set_verify_depth(MAXIMUM_INTERMEDIATES)
        for name, der in self._authorities():
            try:
                authority = load_tls_certificate(der)
            except PikachuError as error:
                raise ConfigError(
                    f"{name}: the certificate can't be used to verify clients in TLS: {error.public}; set "
                    "[TRUSTED_HTTPS] trusted_port = 0 and [HTTPS] request_client_certificate = false, or replace it"
                ) from None
            store.add_cert(authority)
            with warnings.catch_warnings():
                # pyca's certificates, which pyOpenSSL prefers, can't hold all that OpenSSL reads.
                warnings.simplefilter("ignore", DeprecationWarning)
                context.add_client_ca(authority)


def _warn(message: str) -> None:
    _log.warn("{message}", message=message)


def _choose_protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    return b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _verify_optional(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
    return _may_verify(certificate, depth)


def _verify_required(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
    return (bool(ok) or (depth == 0 and error in (_EXPIRED, _PURPOSE))) and _may_verify(certificate, depth)


def _may_verify(certificate: crypto.X509, depth: int) -> bool:
    """Look at the key of a CA in the client's chain; OpenSSL calls this before it verifies a signature with it."""
    if depth == 0:
        # The application judges the client's own certificate, in words.
        return True
    try:
        check_certificate_key(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))
    except PikachuError:
        return False
    return True


def _reason(error: SSL.Error) -> str:
    parts = error.args[0] if error.args else ()
    return str(parts[0][-1]) if parts else "unknown reason"


@implementer(IHalfCloseableProtocol)
class _TLSTransport(BufferingTLSTransport):
    """TLS read in small portions: each turn of the reactor decrypts all that it reads."""

    transport: Any
    _peer_finished = False

    def makeConnection(self, transport: Any) -> None:  # noqa: N802 - Twisted's name
        """Limit the bytes read at a time; a record may contain a single byte."""
        transport.bufferSize = TLS_READ_SIZE
        super().makeConnection(transport)

    def readConnectionLost(self) -> None:  # noqa: N802 - Twisted's name
        """Hand on that the client has finished sending."""
        self._peer_finished = True
        wrapped = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if wrapped is None:
            self.loseConnection()
        else:
            wrapped.readConnectionLost()

    def writeConnectionLost(self) -> None:  # noqa: N802 - Twisted's name
        """Do nothing: the end of writing was this side's decision."""

    def loseConnection(self) -> None:  # noqa: N802 - Twisted's name
        """Close; a client that has finished sending will not answer a close_notify."""
        super().loseConnection()
        if self._peer_finished:
            self.transport.loseConnection()


class TLSFactory(TLSMemoryBIOFactory):
    """TLS around the connections of a listener."""

    protocol = _TLSTransport


class ListenerService(Service):
    """A listener that binds before privileges are dropped; a port that is taken is an error.

    :param setting: the port's setting as messages name it, such as ``[HTTPS] port``.
    :param port: 1 to 65535; the caller leaves out a listener that is turned off.
    :param addresses: IP addresses; none for all addresses, IPv6 and IPv4.
    :param sockets: that systemd listens on for this listener; with any, nothing else is bound.
    :param proxies: proxies that begin each connection with a PROXY header; ``None`` expects it of nobody.
    :param drain_timeout: seconds that requests in flight get when the service stops.
    """

    def __init__(
        self,
        name: str,
        setting: str,
        port: int,
        factory: IProtocolFactory,
        reactor: Any,
        *,
        addresses: Sequence[str] = (),
        sockets: Sequence[socket.socket] = (),
        tls: TLSContextSource | None = None,
        proxies: TrustedProxies | None = None,
        drain_timeout: float = 30.0,
    ) -> None:
        self.setName(f"listener {name}")
        self.tls = tls
        self._title = name
        self._setting = setting
        self._port = port
        self._site = factory
        self._factory: Any = factory if tls is None else TLSFactory(tls, False, factory, reactor)
        if proxies is not None:
            self._factory = ProxyProtocolFactory(self._factory, proxies, reactor)
        self._reactor = reactor
        # Both wildcards together mean what none means.
        self._addresses = () if {_ALL_IPV4, _ALL_IPV6} <= set(addresses) else tuple(dict.fromkeys(addresses))
        self._sockets = tuple(sockets)
        self._drain_timeout = drain_timeout
        self.ports: list[IListeningPort] = []

    def probe(self) -> None:
        """Check that the address can be bound, without binding it.

        Called while the configuration is checked, it turns a busy port into one clean line before anything starts.

        :raises ConfigError: as :meth:`privilegedStartService`.
        """
        if self._sockets:
            return
        for host in self._addresses or (_ALL_IPV4,):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((host, self._port))
                    probe.listen(1)
            except OSError as error:
                raise self._error(error, host) from None

    def privilegedStartService(self) -> None:
        """Bind.

        :raises ConfigError: one line that names setting, address and port, what is wrong, and what mends it.
        """
        if self.ports:
            return
        try:
            if self._sockets:
                self._adopt_sockets()
            elif not self._addresses:
                self._listen_everywhere()
            else:
                for address in self._addresses:
                    self._bind(address)
        except CannotListenError as error:
            raise self._error(error.socketError, str(error.interface)) from None
        for port in self.ports:
            where: Any = port.getHost()
            _log.info("{name} listens on {host} port {port}", name=self._title, host=where.host, port=where.port)

    def startService(self) -> None:
        """Bind, unless :meth:`privilegedStartService` already did."""
        self.privilegedStartService()
        super().startService()

    def _adopt_sockets(self) -> None:
        """Accept on the sockets that systemd listens on; the reactor has a copy of each descriptor."""
        for passed in self._sockets:
            passed.setblocking(False)
            self.ports.append(self._reactor.adoptStreamPort(passed.fileno(), passed.family, self._factory))
            passed.close()
        self._sockets = ()

    def _listen_everywhere(self) -> None:
        try:
            both = self._bind(_ALL_IPV6)
        except CannotListenError as error:
            if getattr(error.socketError, "errno", None) not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            self._bind(_ALL_IPV4)
            return
        if both.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            self._bind(_ALL_IPV4)

    def _bind(self, interface: str) -> Any:
        port = self._reactor.listenTCP(self._port, self._factory, backlog=_BACKLOG, interface=interface)
        self.ports.append(port)
        return port

    def accept(self, accepts: bool) -> None:
        """Accept new connections, or leave them in the system's queue."""
        for port in self.ports:
            reader: Any = port
            if accepts:
                # In one turn; Twisted raises it while there are more.
                reader.numberAccepts = _ACCEPTED_AT_ONCE
                reader.startReading()
            else:
                reader.stopReading()

    def stopService(self) -> Deferred[None]:
        """Stop accepting, and finish requests in flight; fails when a port could not be closed."""
        super().stopService()
        ports, self.ports = self.ports, []
        drain = getattr(self._site, "drain", None)

        async def work() -> None:
            closed = gatherResults([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)
            try:
                await closed
            finally:
                # Requests in flight get their time, whatever became of the ports.
                if drain is not None and ports:
                    await drain(self._drain_timeout)

        return Deferred.fromCoroutine(work())

    def _error(self, error: object, address: str) -> ConfigError:
        host, port = address if self._addresses else "all addresses", self._port
        number = getattr(error, "errno", None)
        if number in (errno.EACCES, errno.EPERM) and port < _PRIVILEGED:
            what = (
                f"ports below {_PRIVILEGED} need a privilege; run "
                "`sudo setcap cap_net_bind_service=+ep $(readlink -f $(command -v python3))`, use the systemd unit, "
                f"or set a port from {_PRIVILEGED}"
            )
        elif number == errno.EADDRINUSE:
            what = f"the port is in use; `ss -ltnp 'sport = :{port}'` shows by whom: stop it, or set another port"
        elif number == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            what = "this machine does not have that address; `ip address` shows its own: set listen to one"
        else:
            what = f"{getattr(error, 'strerror', None) or error}; set another port or address"
        return ConfigError(f"{self._setting} = {port}: can't listen on {host} port {port}: {what}")
