# mypy: allow-untyped-calls
# ruff: noqa: N802, N815 - the names are Twisted's
"""HTTP requests within limits of size and time; see also :mod:`pikachu.http.channel`.

twisted.web reads a body of any size before a resource sees the request, drops an overlong request line silently, and
answers some malformed requests without a length.  This module answers each of these with a short error and closes the
connection.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource

from pikachu.core.interfaces import IClock, IDelayedCall
from pikachu.core.metrics import TimesByLabel
from pikachu.http.areas import area_of
from pikachu.http.arrivals import Arrivals
from pikachu.http.capacity import Capacity, Share
from pikachu.http.channel import Channel
from pikachu.http.fair_scheduling import TurnScheduler
from pikachu.http.fast_path import FastPath
from pikachu.http.peer import peer_address
from pikachu.http.proxies import ProxySettings
from pikachu.http.response_batch import ResponseBatch
from pikachu.http.responses import SERVER, http_date, not_allowed, text_error
from pikachu.http.twisted_private import is_disconnected, leave_form_encoded

CLIENT_GONE: Final = 499
# Seconds after which a client that found no room for its body or answer may try again.
RETRY_SECONDS: Final = 10

_HTML: Final = re.compile(
    rb"(?:^|,)\s*(?:text/(?:html|\*)|application/xhtml\+xml)\s*(?:;([^,]*))?(?:,|$)", re.IGNORECASE
)
_NOT_HTML: Final = re.compile(rb"(?:^|;)\s*q=0(?:\.0*)?\s*(?:;|$)", re.IGNORECASE)
_log = Logger(namespace="pikachu.http")


@dataclass(frozen=True, slots=True)
class RefusalPage:
    """An HTML page for browsers whose request is refused before a resource sees it.

    :ivar headers: with its ``Content-Type``.
    """

    body: bytes
    headers: Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class PathRule:
    """The limits of requests to paths that start with *prefix*.

    :param maximum_body: maximum body size in bytes.
    :param problems: report an oversized body as problem details (RFC 9457).
    :param maximum_anonymous: maximum body size of a client that has not authenticated; ``None``: *maximum_body*.
    :param oversize_page: tells browsers that a body is too long; ``None``: they get a text like programs.
    """

    prefix: bytes
    maximum_body: int
    problems: bool = False
    maximum_anonymous: int | None = None
    oversize_page: RefusalPage | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one site.

    :param rules: rules by prefix; the longest matching prefix applies.
    :param default: the rule for all other paths.
    :param idle: seconds that a connection may be silent, between and within requests.
    :param receive: seconds that a request may take to arrive, from its first byte to its last.
    :param stall: seconds that a client may leave a full response buffer unread.
    """

    rules: Sequence[PathRule] = ()
    default: PathRule = PathRule(b"/", 64 * 1024)
    idle: float = 30.0
    receive: float = 60.0
    stall: float = 60.0

    def rule(self, target: bytes) -> PathRule:
        """Return the rule for a request target."""
        matching = [rule for rule in self.rules if target.startswith(rule.prefix)]
        return max(matching, key=lambda rule: len(rule.prefix)) if matching else self.default


class BoundedRequest(server.Request):
    """A request with a bounded body, safe to answer after its client has disconnected."""

    # twisted.web would send text/html for every response without a type.
    defaultContentType = None
    channel: Channel
    site: Site
    content: BytesIO
    # Called when the site is being drained, to end a response that is open-ended.
    ending: Callable[[], None] | None = None
    # The original Host field; removed from the headers before Klein sees the request.
    named_host: bytes | None = None
    _remaining_body = 0
    _anonymous_body = 0
    _body_share: Share | None = None
    _admission: Deferred[bool] | None = None
    _received: tuple[bytes, bytes, bytes] | None = None
    _refused = False
    _address: str | None = None
    began = 0.0

    @property
    def gone(self) -> bool:
        """Whether the client has disconnected or the response is complete: nothing more can be sent."""
        return bool(is_disconnected(self) or self.finished)

    @property
    def address(self) -> str:
        """The client's IP address: the peer's, or the one that a trusted proxy forwards.

        Ask for it when the header is complete.
        """
        if self._address is None:
            forwarded = self.requestHeaders.getRawHeaders(b"X-Forwarded-For") or ()
            self._address = self.channel.site.proxies.trusted.client_address(self.client, forwarded)
        return self._address

    @property
    def accepts_html(self) -> bool:
        """Whether the client accepts HTML explicitly, as browsers do; programs send only ``*/*``."""
        accepted = b",".join(self.requestHeaders.getRawHeaders(b"Accept") or ())
        match = _HTML.search(accepted)
        return match is not None and not (match[1] and _NOT_HTML.search(match[1]))

    def gotLength(self, length: int | None) -> None:
        """Refuse an oversized body when the header is complete, before any of it is read."""
        rule = self.channel.site.limits.rule(self.channel.target)
        self.began = self.channel.site.clock.seconds()
        # Pages decode forms within bounds (pikachu.http.forms); protocols read ``request.content``.
        leave_form_encoded(self)
        self._remaining_body = rule.maximum_body
        self._anonymous_body = rule.maximum_body if rule.maximum_anonymous is None else rule.maximum_anonymous
        self.content = BytesIO()
        if len(self.requestHeaders.getRawHeaders(b"Host") or ()) > 1:
            # RFC 9112 section 3.2: a proxy may have used the other one.
            self._refused = True
            self.channel.refuse(HTTPStatus.BAD_REQUEST, "the request names more than one host")
        elif length is not None and length > self._remaining_body:
            self._refuse_body()
        elif length:
            self._expect_body(length)

    def handleContentChunk(self, data: bytes) -> None:
        """Store a chunk of the body, up to the limit."""
        self._remaining_body -= len(data)
        if self._remaining_body < 0:
            self._refuse_body()
            return
        if self.channel.length is None and not self._refused:
            self._expect_body(len(data))
        if not self._refused:
            self.content.write(data)

    def _expect_body(self, size: int) -> None:
        """Make room for *size* bytes; where there is none for strangers, authenticate before more is read."""
        site = self.channel.site
        self._anonymous_body -= size
        if self._body_share is None:
            self._body_share = site.capacity.body_bytes.share(self.address, self.channel)
        is_small = self._anonymous_body >= 0 or self._body_share.closed
        if self._admission is not None or (is_small and self._body_share.grow(size)):
            return
        self.channel.hold()
        self._admission = site.admission(self)
        self._admission.addBoth(self._admitted, is_small)

    def _admitted(self, admitted: object, is_small: bool) -> None:
        if isinstance(admitted, Failure):
            log_failure(admitted, self)
        if self._refused or is_disconnected(self):
            return
        if admitted is True:
            self.authenticated()
            self.channel.release()
            if self._received is not None:
                self._process_received(*self._received)
        elif is_small:
            self._refused = True
            self.channel.refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too many requests are being sent; try again in a moment",
                headers=((b"Retry-After", b"%d" % RETRY_SECONDS),),
            )
        else:
            self._refuse_body()

    def authenticated(self) -> None:
        """Exempt this connection from the caps: its client has authenticated."""
        self.channel.authenticated()
        if self._body_share is None:
            self._body_share = self.channel.site.capacity.body_bytes.share(self.address, self.channel)
        self._body_share.close()

    def _release_body(self) -> None:
        if self._body_share is not None:
            self._body_share.close()

    def _refuse_body(self) -> None:
        if not self._refused:
            self._refused = True
            rule = self.channel.site.limits.rule(self.channel.target)
            self.channel.refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "the request's body is too long",
                as_problem=rule.problems,
                page=rule.oversize_page if self.accepts_html else None,
            )

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Process a complete request, unless it was refused."""
        if self._refused:
            return
        if self._admission is not None and not self._admission.called:
            self._received = (command, path, version)
        else:
            self._process_received(command, path, version)

    def _process_received(self, command: bytes, path: bytes, version: bytes) -> None:
        # Clients of a proxy send the absolute URL (RFC 9112 section 3.2.2).
        if path[:7].lower() == b"http://" or path[:8].lower() == b"https://":
            path = b"/" + path.split(b"/", 3)[3] if path.count(b"/") > 2 else b"/"
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Find the resource and render it."""
        self.site = self.channel.site
        self.site.in_flight += 1
        self.responseHeaders.setRawHeaders(b"Server", [SERVER])
        self.responseHeaders.setRawHeaders(b"Date", [http_date(self.site.clock.seconds())])
        if not self.path.startswith(b"/"):
            text_error(self, HTTPStatus.BAD_REQUEST, "the request target is not a path")
            return
        self.prepath = []
        self.postpath = [unquote_to_bytes(part) for part in self.path[1:].split(b"/")]
        try:
            self.render(self.site.getResourceFor(self))
        except Exception:  # noqa: BLE001 - the client gets a response to any error of a resource
            self.processingFailed(Failure())

    def render(self, resource: IResource) -> None:
        """Render a resource, immediately or later."""
        try:
            body = resource.render(self)
        except UnsupportedMethod as error:
            not_allowed(self, error.allowedMethods)
            return
        if body is server.NOT_DONE_YET or self.gone:
            return
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(b"" if self.method == b"HEAD" else body)
        self.finish()

    def processingFailed(self, reason: Failure) -> Failure:
        """Log an unexpected error, and send the client only its id in the log."""
        failure_id = log_failure(reason, self)
        if self.startedWriting or self.producer:
            self.channel.abort()
        else:
            self.responseHeaders.removeHeader(b"Content-Encoding")
            text_error(self, HTTPStatus.INTERNAL_SERVER_ERROR, f"internal error {failure_id}")
        return reason

    def hold_answer(self, size: int) -> bool:
        """Take memory for a long answer until it is sent, at the expense of those that have been sent for longest.

        Where there is no room, the request is refused (503), and the result is False; so it is when nobody waits.
        """
        if self.gone:
            return False
        cap = self.channel.site.capacity.answer_bytes
        share = cap.share(self.address, self.channel)
        self.notifyFinish().addBoth(lambda _: share.close())
        if share.grow(cap.fitting(size)):
            return True
        share.close()
        self.channel.refuse(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "too many long answers are being sent; ask for less, or try again in a moment",
            as_problem=self.channel.site.limits.rule(self.path).problems,
            headers=((b"Retry-After", b"%d" % RETRY_SECONDS),),
        )
        return False

    def finish(self) -> None:
        """Finish the response, unless the client has disconnected."""
        self._release_body()
        if not is_disconnected(self):
            super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """Log that the client disconnected before it was answered."""
        self._release_body()
        is_processed = self.site is not None
        if is_processed:
            self.site.log_access(self, CLIENT_GONE)
        super().connectionLost(reason)


def log_failure(reason: Failure, request: BoundedRequest) -> str:
    """Log an unexpected failure and return its id in the log."""
    failure_id = secrets.token_hex(8)
    _log.failure(
        "internal error {failure_id} in {method} {path}",
        failure=reason,
        failure_id=failure_id,
        method=request.method.decode("ascii", "replace"),
        path=request.path.decode("ascii", "backslashreplace"),
    )
    return failure_id


Admission: TypeAlias = "Callable[[BoundedRequest], Deferred[bool]]"


def _admit_nobody(request: BoundedRequest) -> Deferred[bool]:
    return succeed(False)


# The part of the cap on connections that is to be new ones of one listener.
_ARRIVING: Final = 8


class Site(server.Site):
    """A resource tree with limits, an access log, and graceful shutdown.

    :param clock: the clock for all timeouts.
    :param quick: the fast path for some requests; see :mod:`pikachu.http.fast_path`.
    :param proxies: how to take what proxies tell about clients.
    :param capacity: the caps of all sites together.
    :param admission: returns a Deferred of whether the credentials of a request are valid before its body is read; it
        never fails.
    :ivar arrivals: the connections that are yet to have their first request answered.
    :ivar in_flight: the number of unanswered requests.
    :ivar answered: times of answered requests, by part of the server and class of status; without those of the fast
        path.
    """

    protocol = Channel  # type: ignore[assignment]
    requestFactory = BoundedRequest
    displayTracebacks = False
    noisy = False

    def __init__(
        self,
        resource: IResource,
        clock: IClock,
        limits: Limits | None = None,
        quick: FastPath | None = None,
        proxies: ProxySettings | None = None,
        capacity: Capacity | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.proxies = proxies or ProxySettings()
        self.capacity = capacity or Capacity()
        self.admission = admission or _admit_nobody
        self.clock = clock
        super().__init__(resource, timeout=self.limits.idle, reactor=clock)
        self.quick = quick
        self.turns = TurnScheduler(clock)
        self.batch = ResponseBatch(clock)
        self.arrivals = Arrivals(clock, self.capacity.connections.in_all // _ARRIVING)
        self.channels: set[Channel] = set()
        self.in_flight = 0
        self.answered = TimesByLabel()
        self.draining = False
        self._drained: list[Deferred[None]] = []
        self._drain_limit: IDelayedCall | None = None

    def startFactory(self) -> None:
        """Do nothing: twisted.web would open its own log file."""

    def stopFactory(self) -> None:
        """Do nothing: no log file is open."""

    def acceptableProtocols(self) -> list[bytes]:
        """Return HTTP/1.1 only, whatever is installed."""
        return [b"http/1.1"]

    def log(self, request: BoundedRequest) -> None:  # type: ignore[override]
        """Log an answered request in the access log."""
        self.log_access(request, request.code)

    def log_access(self, request: BoundedRequest, status: int) -> None:
        """Log a request in the access log, without its query, which may contain a SCEP message or a token."""
        self.in_flight -= 1
        seconds = self.clock.seconds() - request.began
        area = area_of(request.path)
        self.answered.observe(seconds, area, f"{status // 100}xx")
        # Each page loads several of them, which would flood the log.
        is_routine = status < HTTPStatus.BAD_REQUEST and (area == "static" or request.path == b"/favicon.ico")
        _log.emit(
            LogLevel.debug if is_routine else LogLevel.info,
            "{method} {path} {status} {octets} {milliseconds:.1f} ms {address}{name}",
            method=request.method.decode("ascii", "replace"),
            path=request.path.decode("ascii", "backslashreplace"),
            status=status,
            octets=request.sentLength,
            milliseconds=seconds * 1000.0,
            address=request.address,
            name=f" CN={name!r}" if (name := request.channel.peer_name) else "",
        )

    def log_refusal(self, channel: Channel, status: int, line: str) -> None:
        """Log input in the access log that was refused before it became a request."""
        _log.info(
            "refused {status} {address}: {line}", status=status, address=peer_address(channel.getPeer()), line=line
        )

    def drain(self, timeout: float) -> Deferred[None]:
        """Close idle connections, let the others finish, and close those too after *timeout* seconds.

        The Deferred fires when all connections are closed; it never fails.  Stop listening first.  Repeated calls wait
        for the same event.
        """
        done: Deferred[None] = Deferred()
        self._drained.append(done)
        if not self.draining:
            self.draining = True
            for channel in list(self.channels):
                channel.finish_soon()
            if self.channels:
                self._drain_limit = self.clock.callLater(timeout, self._close_all)
        if not self.channels:
            self._finish_drain()
        return done

    def _close_all(self) -> None:
        self._drain_limit = None
        _log.warn("Closing {count} connections that did not finish in time", count=len(self.channels))
        for channel in list(self.channels):
            channel.abort()

    def forget(self, channel: Channel) -> None:
        """Remove a closed connection."""
        self.channels.discard(channel)
        if self.draining and not self.channels:
            self._finish_drain()

    def _finish_drain(self) -> None:
        if self.quick is not None:
            self.quick.log_count()
        if self._drain_limit is not None:
            self._drain_limit.cancel()
            self._drain_limit = None
        drained, self._drained = self._drained, []
        for done in drained:
            done.callback(None)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return a channel for a new connection, or None while the site is being drained."""
        return None if self.draining else super().buildProtocol(addr)
