"""The fast path: responses to small, plain requests without twisted.web's request objects.

An OCSP responder must answer tens of thousands of requests a second from memory, more than twisted.web's request
objects allow.  When a connection is idle and its input begins with such a request, it is answered here.  Every unusual
request is left unchanged to the ordinary path: this module affects speed, never semantics.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from twisted.internet.interfaces import ITransport
from twisted.logger import Logger

from pikachu.core.interfaces import IClock, IDelayedCall
from pikachu.core.tracing import trace
from pikachu.http.peer import peer_address
from pikachu.http.responses import SERVER, http_date

_log = Logger(namespace="pikachu.http")

_STATUS_LINE: Final = b"HTTP/1.1 200 OK\r\n"
_HEADER_LIMIT: Final = 2048
_BODY_LIMIT: Final = 10 * 1024
_MAX_HEADS: Final = 1024

_HEAD: Final = re.compile(
    rb"(GET|POST) (/[!-~]*) HTTP/1\.([01])\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)*)"
)
# Fields with these name prefixes change the semantics of a request beyond what is parsed here.
_UNSUPPORTED_FIELDS: Final = re.compile(
    rb"(?:^|\n)(?:transfer-|te:|trailer|expect|upgrade|if-|range|authorization|cookie)", re.IGNORECASE
)
_LENGTH: Final = re.compile(rb"(?:^|\n)content-length:([^\r\n]*)\r", re.IGNORECASE)
_CONNECTION: Final = re.compile(rb"(?:^|\n)connection:([^\r\n]*)\r", re.IGNORECASE)


class IFastResponder(Protocol):
    """A source of responses that are available without waiting."""

    def quick(self, method: bytes, target: bytes, body: bytes) -> bytes | None:
        """Return a complete HTTP/1.1 response with status 200 and a Content-Length, or None for the ordinary path.

        The response starts with ``HTTP/1.1 200 OK`` and has no Date, Server and Connection fields; :class:`FastPath`
        adds them, so that the response can be cached.

        :param method: GET or POST.
        :param target: the raw request target.
        """


class _Head(NamedTuple):
    """The parsed head of a plain request."""

    method: bytes
    target: bytes
    length: int
    close: bool
    is_http_1_0: bool


class Served(NamedTuple):
    """The response to a request.

    :ivar size: the size of the request in bytes.
    :ivar close: whether the connection is closed after the response.
    """

    response: bytes
    size: int
    close: bool


class FastPath:
    """Recognizes requests that a responder can answer without waiting.

    Parsing a head takes several microseconds, but most clients send identical heads, so a bounded number of parsed
    heads is cached.

    Logging each request would be most of the work, so requests are counted and logged once a second; at level TRACE
    each request is logged as well.

    :param prefixes: the beginnings of such requests, such as ``b"POST /ocsp"``.
    :param listener: the name of the listener, for the log.
    :param is_traced: returns whether events of level TRACE are logged.
    :ivar served: the number of requests answered here.
    """

    def __init__(
        self,
        responder: IFastResponder,
        prefixes: Sequence[bytes],
        clock: IClock,
        listener: str,
        is_traced: Callable[[], bool] = lambda: False,
    ) -> None:
        self.prefixes = tuple(prefixes)
        self.served = 0
        self._responder = responder
        self._clock = clock
        self._listener = listener
        self._is_traced = is_traced
        self._heads: dict[bytes, _Head | None] = {}
        self._second = -1
        self._preamble = b""
        self._logged = 0
        self._next_line: IDelayedCall | None = None

    def serve(self, data: bytes, transport: ITransport) -> Served | None:
        """Answer the request that *data* begins with; return None when the ordinary path must.

        :param transport: the connection's transport, for the log.
        """
        head_end = data.find(b"\r\n\r\n", 0, _HEADER_LIMIT)
        if head_end < 0:
            return None
        head_bytes = data[: head_end + 2]
        try:
            head = self._heads[head_bytes]
        except KeyError:
            head = self._cache_head(head_bytes)
        if head is None:
            return None
        body_start = head_end + 4
        end = body_start + head.length
        if end > len(data):
            return None
        response = self._responder.quick(head.method, head.target, data[body_start:end])
        if response is None:
            return None
        second = int(self._clock.seconds())
        if second != self._second:
            self._begin_second(second)
        self.served += 1
        if self._is_traced():
            trace(
                _log,
                "{method} {path} 200 {octets} quick {address}",
                method=head.method.decode("ascii"),
                path=head.target.partition(b"?")[0].decode("ascii"),
                octets=len(response) - response.index(b"\r\n\r\n") - 4,
                address=peer_address(transport.getPeer()),
            )
        if not head.close:
            return Served(self._preamble + response[len(_STATUS_LINE) :], end, False)
        version = b"HTTP/1.0" if head.is_http_1_0 else b"HTTP/1.1"
        fields = (version, self._preamble[8:], b"Connection: close\r\n", response[len(_STATUS_LINE) :])
        return Served(b"".join(fields), end, True)

    def _begin_second(self, second: int) -> None:
        self._second = second
        self._preamble = b"%sDate: %s\r\nServer: %s\r\n" % (_STATUS_LINE, http_date(second), SERVER)
        if self._next_line is None:
            self._next_line = self._clock.callLater(1.0, self.log_count)

    def log_count(self) -> None:
        """Log the number of requests answered since the last log line, unless it is 0."""
        if self._next_line is not None and self._next_line.active():
            self._next_line.cancel()
        self._next_line = None
        # The next request schedules the next log line.
        self._second = -1
        count, self._logged = self.served - self._logged, self.served
        if count:
            _log.info("{count} OCSP requests answered from memory on {listener}", count=count, listener=self._listener)

    def _cache_head(self, text: bytes) -> _Head | None:
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        head = self._heads[text] = self._parse_head(text)
        return head

    def _parse_head(self, text: bytes) -> _Head | None:
        """Parse the head of a plain request; return None for any other."""
        match = _HEAD.fullmatch(text)
        if match is None or not text.startswith(self.prefixes) or _UNSUPPORTED_FIELDS.search(match[4]):
            return None
        method, target, is_http_1_0, fields = match[1], match[2], match[3] == b"0", match[4]
        content_lengths = [value.strip(b" \t") for value in _LENGTH.findall(fields)]
        connections = [value.strip(b" \t") for value in _CONNECTION.findall(fields)]
        if len(content_lengths) > 1 or len(connections) > 1:
            return None
        connection = connections[0].lower() if connections else b""
        if connection not in (b"", b"keep-alive", b"close"):
            return None
        if method == b"GET":
            length = 0
            if content_lengths:
                return None
        else:
            if not content_lengths or not content_lengths[0].isdigit() or len(content_lengths[0]) > 5:
                return None
            length = int(content_lengths[0])
            if length > _BODY_LIMIT:
                return None
        return _Head(method, target, length, is_http_1_0 or connection == b"close", is_http_1_0)
