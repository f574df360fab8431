"""A connection to one server of the directory, over ldap3 (RFC 4511, RFC 4513).  Everything here blocks.

Nothing that a server sends is trusted: referrals are not followed, since they would carry the password elsewhere; each
answer is bounded in size and time; and whatever ldap3 can't decode is a failure of the server, never one of this
program.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ldap3 import BASE, DEREF_NEVER, NONE, SIMPLE, SUBTREE, Connection, Server, Tls
from ldap3.core.exceptions import LDAPExceptionError
from ldap3.operation.bind import bind_operation

from pikachu.auth.ldap.abort import Abort
from pikachu.config.setting_choices import LDAPSecurity
from pikachu.core.errors import DirectoryUnavailable

#: Maximum size of the answer to one operation in bytes.
MAXIMUM_ANSWER: Final = 1 << 20

SUCCESS: Final = 0
_SIZE_LIMIT_EXCEEDED: Final = 4
_REFERRAL: Final = 10
_NO_SUCH_OBJECT: Final = 32
_INVALID_CREDENTIALS: Final = 49
# Answers to a bind that refuse the person; others are failures of the server (RFC 4511 section 4.1.9): operationsError,
# protocolError, adminLimitExceeded, busy, unavailable, loopDetect, other.
_SERVER_FAILURES: Final = frozenset({1, 2, 7, 8, 10, 11, 13, 51, 52, 54, 80})


# Active Directory's diagnostic message of a refused bind, and what its codes mean.
_AD_REASON: Final = re.compile(r"\bAcceptSecurityContext error, data ([0-9A-Fa-f]{1,8})\b")
_AD_REFUSALS: Final = {
    "525": "the directory has no such account",
    "530": "the directory does not let this account sign in at this time",
    "531": "the directory does not let this account sign in from here",
    "532": "the password has expired in the directory",
    "533": "the account is disabled in the directory",
    "568": "the account is in too many groups of the directory",
    "701": "the account has expired in the directory",
    "773": "the password must be changed in the directory first",
    "775": "the account is locked in the directory",
}
# Seconds, seconds, and probes without an answer; systems have different ones of these options.
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_NOT_LDAP: Final = "The directory's answer is not LDAP. Check LDAP_PORT and use_tls."


class AnswerTooLarge(Exception):
    """The answer to a search exceeds the limit."""


class UnreadableEntry(Exception):
    """The directory's entry has a name that is not UTF-8."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a search.

    :param attributes: the values by name in lower case.
    """

    dn: str
    attributes: Mapping[str, Sequence[bytes]]

    def is_partial(self, attribute: str) -> bool:
        """Return whether the server has returned only a range of an attribute's values."""
        return any(name.startswith(f"{attribute.lower()};range=") for name in self.attributes)

    def texts(self, attribute: str) -> list[str]:
        """Return the values of an attribute that are UTF-8 text."""
        texts = []
        for value in self.attributes.get(attribute.lower(), ()):
            try:
                texts.append(value.decode())
            except UnicodeDecodeError:
                continue
        return texts


class _BoundedSocket:
    """A socket that receives no more than a limit for each operation."""

    def __init__(self, opened: Any) -> None:
        self._socket = opened
        self._left = MAXIMUM_ANSWER
        self.is_exhausted = False

    def begin(self) -> None:
        """Begin an operation."""
        self._left = MAXIMUM_ANSWER
        self.is_exhausted = False

    def recv(self, size: int) -> bytes:
        """Receive up to *size* bytes."""
        data: bytes = self._socket.recv(size)
        self._left -= len(data)
        if self._left < 0:
            self.is_exhausted = True
            raise OSError("the answer is too large")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _VerifiedTls(Tls):  # type: ignore[misc]  # ldap3 has no types
    """TLS with a context that verifies the chain and the host name."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context
        self.failure: Exception | None = None

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        """Wrap the connection's socket; called by ldap3."""
        try:
            connection.socket = self._context().wrap_socket(
                connection.socket, server_hostname=connection.server.host, do_handshake_on_connect=do_handshake
            )
        except (OSError, ValueError) as error:
            self.failure = error
            raise


class TLSContexts:
    """The TLS context for the directory; a replaced CA file takes effect at the next connection."""

    def __init__(self, ca_path: Path | None) -> None:
        self._ca_path = ca_path
        self._loaded: tuple[float, ssl.SSLContext] | None = None

    def __call__(self) -> ssl.SSLContext:
        """Return the context; blocks.

        :raises OSError: when the CA file can't be read or contains no certificate.
        """
        changed = 0.0 if self._ca_path is None else self._ca_path.stat().st_mtime
        if self._loaded is None or self._loaded[0] != changed:
            context = ssl.create_default_context(cafile=None if self._ca_path is None else str(self._ca_path))
            self._loaded = (changed, context)
        return self._loaded[1]


class DirectoryConnection:
    """An open connection.

    :param address: host and port.
    :param timeout: seconds that each answer may take.
    :ivar is_usable: whether each answer so far was received to its end.
    :raises DirectoryUnavailable: when it can't be opened, or not with the required TLS.
    """

    def __init__(
        self, address: tuple[str, int], security: LDAPSecurity, contexts: TLSContexts, timeout: int, abort: Abort
    ) -> None:
        host, port = address
        self._name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        tls = None if security is LDAPSecurity.FALSE else _VerifiedTls(contexts)
        server = Server(
            host,
            port,
            use_ssl=security is LDAPSecurity.LDAPS,
            tls=tls,
            get_info=NONE,
            connect_timeout=timeout,
            allowed_referral_hosts=[],
        )
        self._ldap = Connection(
            server,
            authentication=SIMPLE,
            user="unused",
            password="unused",  # noqa: S106 - each bind has its own
            auto_referrals=False,
            auto_range=False,
            check_names=False,
            read_only=True,
            receive_timeout=timeout,
        )
        self.is_usable = True
        self._bind_id = 0
        self._opened: Any = None
        self._socket = _BoundedSocket(None)
        try:
            with self._translated("connecting", tls):
                self._ldap.open(read_server_info=False)
                opened = self._ldap.socket
                abort.watch(opened)
                _keep_alive(opened)
                if security is LDAPSecurity.STARTTLS:
                    self._ldap.start_tls(read_server_info=False)
                    abort.unwatch(opened)
                    abort.watch(self._ldap.socket)
        except DirectoryUnavailable:
            self.close()
            raise
        self._opened = self._ldap.socket
        self._socket = self._ldap.socket = _BoundedSocket(self._opened)

    def close(self) -> None:
        """Close the connection; ldap3 leaves the socket of one that did not open, or that the server has closed."""
        opened = self._opened or self._ldap.socket
        try:
            self._ldap.strategy.close()
        finally:
            if opened is not None:
                opened.close()

    def watch(self, abort: Abort) -> None:
        """Let *abort* end what is done on this connection."""
        abort.watch(self._opened)

    def unwatch(self, abort: Abort) -> None:
        """Undo :meth:`watch`, and what opening did."""
        abort.unwatch(self._opened)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has arrived since the last answer: the end of the connection, or a notice of it."""
        poll = select.poll()
        poll.register(self._opened, select.POLLIN)
        return not poll.poll(0)

    def bind(self, dn: str, password: str) -> str | None:
        """Bind as *dn*; return None, or why the directory refuses the DN and password.

        An empty DN or password would be an anonymous bind, which succeeds without proving anything (RFC 4513
        section 5.1.2), so neither is ever sent.

        :raises DirectoryUnavailable: when the server fails.
        """
        if not dn or not password:
            return "empty password"
        self.begin_bind(dn, password)
        return self.finish_bind()

    def begin_bind(self, dn: str, password: str) -> None:
        """Send a bind; neither *dn* nor *password* is empty.  Its answer comes while other connections are used."""
        # As bytes: ldap3 prepares texts by SASLprep, which fails for some and changes others.
        with self._translated("the bind"):
            request = bind_operation(self._ldap.version, SIMPLE, dn, password.encode())
            self._bind_id = self._ldap.send("bindRequest", request)

    def finish_bind(self) -> str | None:
        """Return the answer to the bind that was sent; see :meth:`bind`."""
        with self._translated("the bind"):
            self._ldap.post_send_single_response(self._bind_id)
        code, description = self._result("bindResponse")
        if code == SUCCESS:
            return None
        if code in _SERVER_FAILURES:
            raise self._failed("the bind", description)
        if code != _INVALID_CREDENTIALS:
            return f"the directory answers {description}"
        reason = _AD_REASON.search(str((self._ldap.result or {}).get("message")))
        return _AD_REFUSALS.get(reason[1].lower(), "wrong password") if reason else "wrong password"

    def search(
        self,
        base: str,
        condition: str,
        attributes: Sequence[str],
        *,
        limit: int,
        subtree: bool = True,
    ) -> list[Entry] | None:
        """Return up to *limit* entries that match; ``None`` if *base* does not exist.

        :param subtree: below *base*; else *base* itself.
        :raises DirectoryUnavailable: when the server fails or refers to another one.
        :raises AnswerTooLarge: when the answer exceeds the limit.
        :raises UnreadableEntry: for a name that is not UTF-8.
        """
        try:
            with self._translated("the search"):
                self._ldap.search(
                    base,
                    condition,
                    SUBTREE if subtree else BASE,
                    # An alias would let in accounts from elsewhere.
                    DEREF_NEVER,
                    attributes=list(attributes),
                    size_limit=limit,
                )
        except DirectoryUnavailable:
            if self._socket.is_exhausted:
                raise AnswerTooLarge from None
            raise
        code, description = self._result("searchResDone")
        if code == _NO_SUCH_OBJECT:
            return None
        if code == _REFERRAL:
            raise DirectoryUnavailable(
                "The directory refers to another server. Set LDAP_HOST to the server that has the accounts.",
                server=self._name,
            )
        if code not in (SUCCESS, _SIZE_LIMIT_EXCEEDED):
            raise self._failed("the search", description)
        entries = [one for one in self._ldap.response or () if one.get("type") == "searchResEntry"]
        return [_entry(one) for one in entries[:limit]]

    def _result(self, kind: str) -> tuple[int, str]:
        """Return code and name of the result, which must be of that kind."""
        result = self._ldap.result or {}
        if result.get("type") != kind:
            raise DirectoryUnavailable(_NOT_LDAP, server=self._name, type=result.get("type"))
        return int(result["result"]), str(result["description"])

    def _failed(self, what: str, description: str) -> DirectoryUnavailable:
        return DirectoryUnavailable(
            f"The directory does not work: it answers {what} with {description}.", server=self._name
        )

    @contextmanager
    def _translated(self, what: str, tls: _VerifiedTls | None = None) -> Iterator[None]:
        """Translate every failure of ldap3 and of the network to DirectoryUnavailable."""
        self._socket.begin()
        try:
            yield
        except Exception as error:
            self.is_usable = False
            failure = error if tls is None or tls.failure is None else tls.failure
            raise DirectoryUnavailable(
                _reason(failure, what), server=self._name, error=f"{type(failure).__name__}: {failure}"
            ) from error


def _keep_alive(opened: Any) -> None:
    """Have the system notice within minutes that an idle connection is dead."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _entry(response: Mapping[str, Any]) -> Entry:
    """Return an entry of an answer; ldap3 would take a name that is not UTF-8 for one in another encoding."""
    try:
        dn = bytes(response["raw_dn"]).decode()
    except UnicodeDecodeError:
        raise UnreadableEntry from None
    return Entry(dn, {name.lower(): values for name, values in response["raw_attributes"].items()})


def _reason(error: Exception, what: str) -> str:
    """Return what is wrong and what to do, without host names."""
    text = str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        if "match" in error.verify_message:
            return (
                "The directory's certificate is not valid for the name in LDAP_HOST. Name the host as in the "
                "certificate."
            )
        return (
            f"The directory's certificate is not trusted: {error.verify_message}. Set [LDAP] ca_cert_path to the CA "
            "that issued it."
        )
    if isinstance(error, ssl.SSLError):
        return "The directory does not speak TLS here. Check LDAP_PORT and use_tls."
    if isinstance(error, FileNotFoundError):
        return "The file of [LDAP] ca_cert_path does not exist."
    if "startTLS" in text or "start_tls" in text.lower():
        return "The directory refuses StartTLS. Enable TLS there, or use LDAPS."
    if "timed out" in text or "temporarily unavailable" in text or "read operation" in text:
        return f"The directory did not answer {what} in time."
    if "refused" in text:
        return "The directory refuses the connection. Check that it runs, and LDAP_HOST and LDAP_PORT."
    if isinstance(error, (LDAPExceptionError, OSError)):
        return f"The connection to the directory broke at {what}."
    return _NOT_LDAP
