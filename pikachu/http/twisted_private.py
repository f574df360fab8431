# mypy: allow-untyped-calls
# ruff: noqa: N802 - the names are Twisted's
"""Public names for the private attributes of twisted.web that bounded connections need.

No other module uses private names of Twisted or pyOpenSSL.  A new release of Twisted may change these, so ``setup.cfg``
bounds it.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.main import CONNECTION_DONE
from twisted.internet.tcp import Connection
from twisted.python import log
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from twisted.web.iweb import INonQueuedRequestFactory

from pikachu.http.plain_head import PlainHead


class OpenChannel(HTTPChannel):
    """An HTTP/1.1 connection that shows its state."""

    @property
    def target(self) -> bytes:
        """The target of the request being received."""
        return bytes(self._path)

    @property
    def is_handling_request(self) -> bool:
        """Whether a request waits for its response."""
        return bool(self._handlingRequest)

    @property
    def full(self) -> bool:
        """Whether the write buffer is full until the peer reads."""
        return bool(self._waitingForTransport)

    @property
    def is_aborting(self) -> bool:
        """Whether the connection is aborted after a delay."""
        return self._abortingCall is not None

    def abort_after(self, seconds: float) -> None:
        """Abort the connection after a delay, instead of any delay before."""
        if self._abortingCall is not None:
            self._abortingCall.cancel()
        self._abortingCall = self.callLater(seconds, self.forceAbortClient)

    def wrap_producer(self, wrap: Callable[[Any], Any]) -> Any:
        """Replace the producer that controls the transport by what *wrap* makes of it; return that."""
        self._networkProducer = wrap(self._networkProducer)
        return self._networkProducer

    def receive_head(self, head: PlainHead) -> Request:
        """Begin a request with a head that was read in one pass, as twisted.web does after the last line of a head."""
        is_queued = not INonQueuedRequestFactory.providedBy(self.requestFactory)
        request: Request = self.requestFactory(self, len(self.requests)) if is_queued else self.requestFactory(self)
        self.requests.append(request)
        self._command, self._path, self._version = head.method, head.target, b"HTTP/1.1"
        request.requestHeaders._rawHeaders = head.fields
        self.length = head.length
        self.allHeadersReceived()
        return request

    # --- unparsed input -----------------------------------------------------------------

    @property
    def has_unparsed(self) -> bool:
        """Whether an incomplete line or chunk is buffered."""
        return bool(self._buffer)

    def take_unparsed(self) -> bytes:
        """Return the input that is not parsed yet, and remove it."""
        rest = b"".join([*self._dataBuffer, self._buffer])
        self._dataBuffer, self._buffer = [], b""
        return rest

    def drop_unparsed(self) -> None:
        """Discard an incomplete line or chunk."""
        self._buffer = b""

    def keep_unparsed(self, data: bytes) -> None:
        """Keep input of the next request."""
        self._dataBuffer.append(data)

    # --- responses of twisted.web itself ------------------------------------------------

    def malformed(self) -> None:
        """Refuse a request that twisted.web can't parse."""
        super()._respondToBadRequestAndDisconnect()

    def may_continue(self) -> bool:
        """Return whether a client that expects it may be sent ``100 Continue``."""
        return True

    def send_continue(self) -> None:
        """Tell a client that expects it to continue, if :meth:`may_continue`."""
        self._send100Continue()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.malformed()

    def _send100Continue(self) -> None:
        if self.may_continue():
            super()._send100Continue()


_DONE: Final = Failure(CONNECTION_DONE)
# More output follows; only Linux can be told.
_MORE: Final[int] = getattr(socket, "MSG_MORE", 0)


def writes_directly(transport: object) -> bool:
    """Return whether a transport is a plain TCP connection, for :func:`write_now` and :func:`write_last`."""
    return isinstance(transport, Connection)


def write_now(connection: Connection, data: bytes) -> None:
    """Write to the socket at once, as far as there is room; Twisted writes the rest."""
    sent = _send(connection, data, 0)
    if sent < len(data):
        connection.write(data[sent:])


def write_last(connection: Connection, data: bytes) -> bool:
    """Write the last response to the socket and close it at once; return whether that was possible.

    Otherwise Twisted writes the rest, and the connection has yet to be closed.  The response and the end of the
    connection are one packet.
    """
    sent = _send(connection, data, _MORE)
    if sent < len(data):
        connection.write(data[sent:])
        return False
    connection.connectionLost(_DONE)
    return True


def _send(connection: Connection, data: bytes, flags: int) -> int:
    """Send to a connection where nothing waits to be written; return the number of bytes."""
    if connection._tempDataLen or connection.dataBuffer:
        return 0
    try:
        return connection.getHandle().send(data, flags)
    except OSError:
        # The buffer is full, or the connection is lost, which Twisted notices when it writes.
        return 0


def is_disconnected(request: Request) -> bool:
    """Return whether the client of a request has disconnected."""
    return bool(request._disconnected)


def leave_form_encoded(request: Request) -> None:
    """Keep twisted.web from decoding a form in the body, which it does without bounds."""
    request._parsePOSTFormSubmission = False


class Events:
    """The descriptors that are ready at a reactor on epoll.

    :param reactor: an ``EPollReactor``.
    :ivar owners: what reads and writes, by its descriptor.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.owners: Mapping[int, Any] = reactor._selectables

    @staticmethod
    def are_of(reactor: object) -> bool:
        """Return whether a reactor is on epoll."""
        return isinstance(getattr(reactor, "_poller", None), getattr(select, "epoll", ()))

    def wait(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """Wait up to *timeout* seconds; return descriptor and event of each that is ready."""
        # epoll_wait goes on after a signal (PEP 475).
        ready: list[tuple[int, int]] = self._reactor._poller.poll(-1 if timeout is None else timeout, len(self.owners))
        return ready

    def handle(self, descriptor: int, event: int) -> None:
        """Read or write, and log what fails; nothing when it was closed meanwhile."""
        owner = self.owners.get(descriptor)
        if owner is not None:
            log.callWithLogger(owner, self._reactor._doReadOrWrite, owner, descriptor, event)
