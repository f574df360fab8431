"""The quick path: answers to small, plain requests without the machinery of an HTTP server.

A responder for certificate status has to answer tens of thousands of requests a second from memory, which is more
than twisted.web's request objects allow.  When a connection is idle and exactly such a request is in what arrived,
it is answered here.  Everything unusual is left, untouched, to the ordinary path: this module decides about speed,
never about meaning.
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
_KNOWN_HEADS: Final = 1024

_HEAD: Final = re.compile(
    rb"(GET|POST) (/[!-~]*) HTTP/1\.([01])\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)*)"
)
# A field whose name has one of these beginnings changes the meaning of a request beyond what is read here.
_UNUSUAL: Final = re.compile(
    rb"(?:^|\n)(?:transfer-|te:|trailer|expect|upgrade|if-|range|authorization|cookie)", re.IGNORECASE
)
_LENGTH: Final = re.compile(rb"(?:^|\n)content-length:([^\r\n]*)\r", re.IGNORECASE)
_CONNECTION: Final = re.compile(rb"(?:^|\n)connection:([^\r\n]*)\r", re.IGNORECASE)


class IFastResponder(Protocol):
    """Answers from memory, at once."""

    def quick(self, method: bytes, target: bytes, body: bytes) -> bytes | None:
        """A complete HTTP/1.1 response with status 200 and a Content-Length, or ``None``: let the ordinary path answer.

        The response starts with ``HTTP/1.1 200 OK`` and has no Date, Server and Connection fields; they are put in
        here, so that it can be kept ready.

        :param method: GET or POST.
        :param target: the raw request target.
        """


class _Head(NamedTuple):
    """What the header of a plain request says."""

    method: bytes
    target: bytes
    length: int
    close: bool
    old: bool


class Served(NamedTuple):
    """A request that was answered.

    :ivar size: of the request, in bytes.
    :ivar close: whether the connection ends after the response.
    """

    response: bytes
    size: int
    close: bool


class FastPath:
    """Recognises requests that a responder may answer at once.

    Reading a header takes several microseconds, but most clients send the same one byte by byte again, so what a
    header says is remembered (a bounded number of them).

    A line in the log for each request would be most of the work: they are counted, and logged once a second; at
    level TRACE each has a line besides.

    :param prefixes: how the requests begin, such as ``b"POST /ocsp"``.
    :param listener: whose requests these are, for the log.
    :param is_traced: whether events of level TRACE are logged.
    :ivar served: requests answered here.
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
        """Answer the request that *data* begins with; ``None`` when the ordinary path has to.

        :param transport: of the connection, for the log.
        """
        stop = data.find(b"\r\n\r\n", 0, _HEADER_LIMIT)
        if stop < 0:
            return None
        text = data[: stop + 2]
        try:
            head = self._heads[text]
        except KeyError:
            head = self._remember(text)
        if head is None:
            return None
        body_at = stop + 4
        end = body_at + head.length
        if end > len(data):
            return None
        answer = self._responder.quick(head.method, head.target, data[body_at:end])
        if answer is None:
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
                octets=len(answer) - answer.index(b"\r\n\r\n") - 4,
                address=peer_address(transport.getPeer()),
            )
        if not head.close:
            return Served(self._preamble + answer[len(_STATUS_LINE) :], end, False)
        version = b"HTTP/1.0" if head.old else b"HTTP/1.1"
        fields = (version, self._preamble[8:], b"Connection: close\r\n", answer[len(_STATUS_LINE) :])
        return Served(b"".join(fields), end, True)

    def _begin_second(self, second: int) -> None:
        self._second = second
        self._preamble = b"%sDate: %s\r\nServer: %s\r\n" % (_STATUS_LINE, http_date(second), SERVER)
        if self._next_line is None:
            self._next_line = self._clock.callLater(1.0, self.log_count)

    def log_count(self) -> None:
        """Log how many requests were answered since the last line; nothing when there were none."""
        if self._next_line is not None and self._next_line.active():
            self._next_line.cancel()
        self._next_line = None
        # The next request begins the next line's second.
        self._second = -1
        count, self._logged = self.served - self._logged, self.served
        if count:
            _log.info("{count} OCSP requests answered from memory on {listener}", count=count, listener=self._listener)

    def _remember(self, text: bytes) -> _Head | None:
        if len(self._heads) >= _KNOWN_HEADS:
            self._heads.clear()
        head = self._heads[text] = self._read(text)
        return head

    def _read(self, text: bytes) -> _Head | None:
        """What a header says, when it is one of the plain kind."""
        match = _HEAD.fullmatch(text)
        if match is None or not text.startswith(self.prefixes) or _UNUSUAL.search(match[4]):
            return None
        method, target, old, fields = match[1], match[2], match[3] == b"0", match[4]
        lengths = [value.strip(b" \t") for value in _LENGTH.findall(fields)]
        connections = [value.strip(b" \t") for value in _CONNECTION.findall(fields)]
        if len(lengths) > 1 or len(connections) > 1:
            return None
        connection = connections[0].lower() if connections else b""
        if connection not in (b"", b"keep-alive", b"close"):
            return None
        if method == b"GET":
            length = 0
            if lengths:
                return None
        else:
            if not lengths or not lengths[0].isdigit() or len(lengths[0]) > 5:
                return None
            length = int(lengths[0])
            if length > _BODY_LIMIT:
                return None
        return _Head(method, target, length, old or connection == b"close", old)
