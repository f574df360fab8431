# mypy: allow-untyped-calls
# ruff: noqa: N802, N815 - the names are Twisted's
"""HTTP connections of bounded cost: limits of reading, processing, buffering and time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IHandshakeListener,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from pikachu.core.interfaces import IDelayedCall
from pikachu.core.sentences import sentence
from pikachu.http.capacity import Share
from pikachu.http.fair_scheduling import WriteSide
from pikachu.http.peer import common_name, peer_address, peer_certificate, peer_intermediates, required_certificate
from pikachu.http.plain_head import read_plain_head
from pikachu.http.responses import PROBLEM_JSON, SERVER, TEXT, http_date, phrase
from pikachu.http.twisted_private import OpenChannel, write_last, write_now, writes_directly

if TYPE_CHECKING:
    from pikachu.http.request import BoundedRequest, RefusalPage, Site

REQUEST_LINE_LIMIT: Final = 64 * 1024
HEADER_LIMIT: Final = 32 * 1024
HEADER_COUNT_LIMIT: Final = 100
# Maximum number of header lines, continuations of folded fields included.
HEADER_LINE_LIMIT: Final = 2 * HEADER_COUNT_LIMIT
# Bytes of buffered input from which reading pauses; one read may exceed it.
INPUT_LIMIT: Final = 16 * 1024
# Bytes of input parsed in one step: lines and chunks may be as short as three bytes.
PARSE_LIMIT: Final = 4 * 1024
# Seconds for which input is read and discarded after a refusal; otherwise the client's system may drop the response.
LINGER: Final = 2.0


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class Channel(OpenChannel):
    """An HTTP connection.

    Input is processed in steps of one request, or of :data:`PARSE_LIMIT` bytes, each in its own turn
    (:mod:`pikachu.http.fair_scheduling`); only a plain request that is answered from memory is served on arrival.
    Nothing is processed while a request waits for its response or the peer has not read previous responses, and nothing
    is read while input waits to be processed.
    """

    MAX_LENGTH = REQUEST_LINE_LIMIT
    maxHeaders = HEADER_COUNT_LIMIT
    totalHeadersSize = REQUEST_LINE_LIMIT + HEADER_LIMIT
    site: Site
    transport: Any
    _write_side: WriteSide
    _input = b""
    _reading = True
    _is_plain_tcp = False
    _header_lines = 0
    _arriving_since: float | None = None
    _stalled: IDelayedCall | None = None
    _closing = False
    _peer_finished = False
    _held = False
    _continue_expected = False
    _share: Share | None = None
    # Its address, until its first request is authenticated or answered.
    _arriving: str | None = None
    _peer_name: str | None = None
    _peer_named = False
    _shown: tuple[bytes | None, tuple[bytes, ...]] | None = None
    _idle: IDelayedCall | None = None
    _host: IAddress | None = None

    @property
    def answering(self) -> bool:
        """Whether a complete request waits for its response."""
        return self.is_handling_request

    def connectionMade(self) -> None:
        """Register the connection and start its idle timeout, which also limits the TLS handshake."""
        self.site.channels.add(self)
        super().connectionMade()
        peer = self.transport.getPeer()
        if not self.site.proxies.trusted.may_relay(peer):
            # A proxy has connections for many clients, and caps of its own.
            self._share = self.site.capacity.connections.share(peer_address(peer), self)
            self._share.grow(1)
            self._arriving = self._share.address
            self.site.arrivals.enter(self._arriving)
        # It has the methods that twisted.web calls.
        self._write_side = self.wrap_producer(WriteSide)
        # One read of TLS may contain thousands of records, each delivered separately.
        self._is_plain_tcp = not ISSLTransport.providedBy(self.transport)

    def handshakeCompleted(self) -> None:
        """Exempt a connection whose handshake has verified a client certificate from the cap."""
        if required_certificate(self.transport) is not None:
            self.authenticated()

    def _arrived(self, *, served: bool = True) -> None:
        """Note the first answer, or the end of a connection without one."""
        if self._arriving is not None:
            self.site.arrivals.leave(self._arriving, served=served)
            self._arriving = None

    def authenticated(self) -> None:
        """Exempt this connection from the cap: its client has authenticated."""
        self._arrived()
        if self._share is not None:
            self._share.close()

    def getHost(self) -> IAddress:
        """Return the local address; the system is asked once a connection, where twisted.web asks for each request."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def hold(self) -> None:
        """Read and process nothing until :meth:`release`."""
        self._held = True
        self._read_or_pause()

    def release(self) -> None:
        """Continue to read and process the request."""
        self._held = False
        if self._continue_expected:
            self.send_continue()
        self._continue()

    # --- input --------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Answer a plain request from memory; buffer everything else for this connection's turn."""
        if self.transport.disconnecting or (self.is_handling_request and not self.persistent):
            return
        self.resetTimeout()
        if self._is_plain_tcp and not self._input:
            data = data[self._serve_fast_path(data, batched=True) :]
            if not data:
                return
        self._input += data
        if self.is_handling_request or len(self._input) > INPUT_LIMIT:
            self._read_or_pause()
        if not self.is_handling_request:
            self.site.turns.add(self)

    def take_turn(self) -> None:
        """Process one request, or a bounded part of one, from the buffered input."""
        if self.is_handling_request or self.full or self._held or not self._input:
            return
        data = self._input
        size = self._serve_fast_path(data)
        if size:
            self._input = data[size:]
            self.resetTimeout()
        elif not self._receive_plain(data):
            # A body of known length is only copied.
            size = PARSE_LIMIT if self.line_mode or self.length is None else len(data)
            self._input = data[size:]
            self._parse(data[:size])
        self._continue()

    def _serve_fast_path(self, data: bytes, *, batched: bool = False) -> int:
        """Answer the plain request that *data* begins with; return its size, or 0 when it must be parsed.

        :param batched: the answer may be written later in this turn of the reactor, before anything else is read.
        """
        fast_path = self.site.quick
        if (
            fast_path is None
            or not data.startswith(fast_path.prefixes)
            or self.requests
            or self.has_unparsed
            or self.full
            or not self.persistent
            or self.site.draining
        ):
            return 0
        served = fast_path.serve(data, self.transport)
        if served is None:
            return 0
        self._arrived()
        size = len(data) if served.close else served.size
        if served.close:
            self.persistent = 0
        # What a turn of this connection has answered comes after the batch of this turn of the reactor, if at all.
        if batched and size == len(data) and writes_directly(self.transport):
            self.site.batch.add(self, served.response, served.close)
        else:
            self.transport.write(served.response)
            if served.close:
                self.loseConnection()
        return size

    def write_response(self, response: bytes, close: bool) -> None:
        """Write a response of the fast path; then close, if that was the last one."""
        if not self.transport.connected:
            return
        if not close:
            write_now(self.transport, response)
        elif not self._reading:
            # Closing with unread input would reset the connection.
            self.transport.write(response)
            self.loseConnection()
        else:
            self._write_side.unregisterProducer()
            if not write_last(self.transport, response):
                self.loseConnection()

    def _receive_plain(self, data: bytes) -> bool:
        """Process the whole request with a plain head that *data* begins with; return whether there is one."""
        if not self.line_mode or self.requests or self.has_unparsed or not self.persistent or self._closing:
            return False
        head = read_plain_head(data)
        if head is None or len(data) < head.size + head.length:
            return False
        end = head.size + head.length
        self._input = data[end:]
        request = self.receive_head(head)
        # It may have been refused for its length.
        if not self._closing and head.length:
            request.handleContentChunk(data[head.size : end])
        if not self._closing:
            self.allContentReceived()
        if not self.persistent:
            self._input = b""
        return True

    def _parse(self, data: bytes) -> None:
        now = self.site.clock.seconds()
        if self._arriving_since is None:
            self._arriving_since = now
        elif now - self._arriving_since > self.site.limits.receive:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, "the request took too long to arrive")
            return
        self.paused = False
        super().dataReceived(data)
        if self.paused:
            # The request is complete; the rest waits, and may be a plain request.
            rest = self.take_unparsed()
            if rest and not self._closing and self.persistent:
                self._input = rest + self._input
        elif not self.requests and not self.has_unparsed:
            self._arriving_since = None

    def setLineMode(self, extra: bytes = b"") -> None:
        """Expect the next request, in another turn."""
        self.line_mode = 1
        if extra:
            self.keep_unparsed(extra)

    def readConnectionLost(self) -> None:
        """Answer what has arrived, then close: the client has finished sending, but may still read."""
        self._peer_finished = True
        if self._closing or any(request.ending is not None for request in self.requests):
            # A response without end is sent until the client hangs up.
            self.transport.loseConnection()
        else:
            self._continue()

    def writeConnectionLost(self) -> None:
        """Do nothing: the end of writing was this side's decision."""

    def _continue(self) -> None:
        """Schedule another turn if input can be processed; resume reading if none is buffered."""
        if self._peer_finished and not self._input and not self.is_handling_request and not self._held:
            self.loseConnection()
            return
        if self._input and not self.is_handling_request and not self.full and not self._held:
            self.site.turns.add(self)
        self._read_or_pause()

    def _read_or_pause(self) -> None:
        # While a request waits for its response, reading detects that the client has disconnected.
        reading = not self._input and not self._held and (self.is_handling_request or not self.full)
        if reading or self.transport.disconnecting:
            self._resume_reading()
        elif self._reading:
            self._reading = False
            self.transport.pauseProducing()

    def _resume_reading(self) -> None:
        if not self._reading and not self._peer_finished:
            self._reading = True
            self.transport.resumeProducing()

    def lineReceived(self, line: bytes) -> None:
        """Count a header line and process it."""
        if not self.requests:
            # The request line has a separate limit.
            self.totalHeadersSize = len(line) + HEADER_LIMIT
            self._header_lines = 0
        self._header_lines += 1
        if self._header_lines > HEADER_LINE_LIMIT:
            self.refuse(HTTPStatus.BAD_REQUEST, "the header has too many lines")
            return
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that exceeds the limit."""
        if self.requests:
            self.refuse(HTTPStatus.BAD_REQUEST, "a header field is too long")
        else:
            self.refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "the request line is too long")

    def headerReceived(self, line: bytes) -> bool:
        """Process a header field."""
        try:
            return bool(super().headerReceived(line))
        except ValueError:
            # int() refuses a length of thousands of digits.
            self.refuse(HTTPStatus.BAD_REQUEST, "a header field is malformed")
            return False

    def checkPersistence(self, request: BoundedRequest, version: bytes) -> bool:
        """Return whether the connection stays open after this request (RFC 9112 section 9.3)."""
        fields = request.requestHeaders.getRawHeaders(b"Connection") or ()
        tokens = {token.strip().lower() for field in fields for token in field.split(b",")}
        if version == b"HTTP/1.1" and b"close" not in tokens and not self.site.draining:
            return True
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def allContentReceived(self) -> None:
        """Handle a complete request; further input waits for another turn."""
        self._arriving_since = None
        self.paused = True
        if not self._closing:
            super().allContentReceived()

    def requestDone(self, request: BoundedRequest) -> None:
        """Continue with the next request."""
        super().requestDone(request)
        self._arrived()
        if self.full:
            # The stall timeout applies while the client does not read.
            self.setTimeout(None)
        self._continue()

    def refuse(
        self,
        status: int,
        line: str,
        *,
        as_problem: bool = False,
        page: RefusalPage | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Send an error for an invalid request, stop reading and close.

        :param page: sent instead of the *line*, which is logged.
        """
        if self._closing or self.is_aborting:
            return
        self._closing = True
        self._held = False
        types: tuple[tuple[bytes, bytes], ...] = ((b"Content-Type", TEXT),)
        body = f"{line}\n".encode("ascii")
        if page is not None:
            types, body = (*page.headers,), page.body
        elif as_problem:
            members = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status)}
            members["detail"] = sentence(line)
            types = ((b"Content-Type", PROBLEM_JSON),)
            body = json.dumps(members, separators=(",", ":")).encode("ascii") + b"\n"
        fields = (
            (b"Server", SERVER),
            (b"Date", http_date(self.site.clock.seconds())),
            *types,
            (b"Content-Length", b"%d" % len(body)),
            (b"Connection", b"close"),
            *headers,
        )
        lines = [
            b"HTTP/1.1 %d %s" % (status, phrase(status)),
            *(b"%s: %s" % field for field in fields),
            b"",
            body,
        ]
        self.transport.write(b"\r\n".join(lines))
        self.site.log_refusal(self, status, line)
        self.dataReceived = self.rawDataReceived = _discard  # type: ignore[method-assign]
        self.lineReceived = _discard  # type: ignore[method-assign,assignment]
        self._close(LINGER, has_unread=True)

    def loseConnection(self) -> None:
        """Close when all output is sent, or after the stall timeout."""
        self._close(self.site.limits.stall, has_unread=bool(self._input) or not self._reading)

    def _close(self, max_wait: float, *, has_unread: bool) -> None:
        self._input = b""
        self.drop_unparsed()
        self.setTimeout(None)
        if not self.is_aborting:
            self.abort_after(max_wait)
        self._write_side.unregisterProducer()
        if has_unread and self._is_plain_tcp and ITCPTransport.providedBy(self.transport):
            # Closing with unread bytes would reset the connection, and the response could be lost.
            self.dataReceived = _discard  # type: ignore[method-assign]
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()
        # TLS needs the peer's close_notify as well.
        self._resume_reading()

    def malformed(self) -> None:
        """Refuse the request with the response of this server."""
        self.refuse(HTTPStatus.BAD_REQUEST, "the request is malformed")

    def may_continue(self) -> bool:
        """Return whether the request was not refused; while it is held, that is decided later."""
        self._continue_expected = self._held
        return not self._closing and not self._held

    def pauseProducing(self) -> None:
        """Stop writing and processing: the peer does not read."""
        super().pauseProducing()
        self.setTimeout(None)
        self._read_or_pause()
        if self._stalled is None:
            self._stalled = self.callLater(self.site.limits.stall, self._abort_stalled)

    def resumeProducing(self) -> None:
        """Resume writing and processing: the peer has read."""
        self._cancel_stalled()
        if not self.is_handling_request:
            self.setTimeout(self.site.limits.idle)
        if self._arriving_since is not None:
            # Nothing was read meanwhile, so the receive timeout starts again.
            self._arriving_since = self.site.clock.seconds()
        super().resumeProducing()
        self._continue()

    def _abort_stalled(self) -> None:
        self._stalled = None
        self.abort()

    def _cancel_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def abort(self) -> None:
        """Close immediately, discarding unsent output."""
        self.transport.abortConnection()

    def finish_soon(self) -> None:
        """Close after the requests in flight are answered, or immediately if there are none."""
        if self.requests:
            self.persistent = 0
            for request in tuple(self.requests):
                # Tell the client to send no more requests on this connection (RFC 9112 section 9.6).
                request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
                if request.ending is not None:
                    self._abort_soon()
                    request.ending()
        elif not self.has_unparsed and not self._input:
            self._abort_soon()
            self.loseConnection()

    def _abort_soon(self) -> None:
        """Force the close after a delay: a TLS peer that does not read would never send close_notify."""
        self.abort_after(LINGER)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Release the resources of a closed connection."""
        self._cancel_stalled()
        self._input = b""
        self._arrived(served=False)
        if self._share is not None:
            self._share.close()
        self.site.turns.discard(self)
        super().connectionLost(reason)
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self.site.forget(self)

    @property
    def shown_certificates(self) -> tuple[bytes | None, tuple[bytes, ...]]:
        """The peer's certificate, or ``None``, and the others that it sent; read once, as nothing is renegotiated."""
        if self._shown is None:
            certificate = peer_certificate(self.transport)
            intermediates = () if certificate is None else peer_intermediates(self.transport, certificate)
            self._shown = (certificate, intermediates)
        return self._shown

    @property
    def peer_name(self) -> str | None:
        """The common name in the peer's certificate, for the log."""
        if not self._peer_named:
            self._peer_named = True
            self._peer_name = common_name(self.shown_certificates[0])
        return self._peer_name

    # --- the idle timeout ---------------------------------------------------------------

    def setTimeout(self, period: float | None) -> float | None:
        """Start the idle timeout, or stop it; return its period before.

        While a request is answered, the timer goes on and has no effect: a timer that is cancelled and made again for
        each request takes ten times as long as one that is put off.
        """
        before: float | None = self.timeOut
        self.timeOut = period  # type: ignore[assignment]
        if period is not None:
            if self._idle is None:
                self._idle = self.callLater(period, self._idle_over)
            else:
                self._idle.reset(period)
        return before

    def resetTimeout(self) -> None:
        """Start the idle timeout again, if it has not been stopped."""
        if self._idle is not None and self.timeOut is not None:
            self._idle.reset(self.timeOut)

    def _idle_over(self) -> None:
        self._idle = None
        if self.timeOut is not None:
            self.timeoutConnection()


def _discard(data: bytes) -> None:
    """Discard input after a refused request."""
