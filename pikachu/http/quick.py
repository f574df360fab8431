"""The quick path: answers to small, plain requests without the machinery of an HTTP server.

A responder for certificate status has to answer tens of thousands of requests a second from memory, which is more
than twisted.web's request objects allow.  When a connection is idle and exactly such a request is in what arrived,
it is answered here.  Everything unusual is left, untouched, to the ordinary path: this module decides about speed,
never about meaning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from twisted.internet.interfaces import ITransport
from twisted.logger import Logger

from pikachu.http.peer import peer_address
from pikachu.http.responses import SERVER, http_date
from pikachu.interfaces import IClock

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
_LENGTH: Final = re.compile(rb"(?:^|\n)content-length:[ \t]*([^\r]*?)[ \t]*\r", re.IGNORECASE)
_CONNECTION: Final = re.compile(rb"(?:^|\n)connection:[ \t]*([^\r]*?)[ \t]*\r", re.IGNORECASE)


class IQuickResponder(Protocol):
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


class QuickPath:
    """Recognises requests that a responder may answer at once.

    Reading a header takes several microseconds, but most clients send the same one octet by octet again, so what a
    header says is remembered (a bounded number of them).

    :param prefixes: how the requests begin, such as ``b"POST /ocsp"``.
    :ivar served: requests answered here, for the metrics.
    :ivar logged: whether each gets a line in the log, of level DEBUG; at full speed that would be most of the work.
    """

    def __init__(self, responder: IQuickResponder, prefixes: Sequence[bytes], clock: IClock) -> None:
        self.prefixes = tuple(prefixes)
        self.served = 0
        self.logged = False
        self._responder = responder
        self._clock = clock
        self._heads: dict[bytes, _Head | None] = {}
        self._second = -1
        self._preamble = b""

    def serve(self, data: bytes, transport: ITransport) -> tuple[list[bytes], bytes, bool]:
        """Answer the whole plain requests that *data* begins with.

        :param transport: of the connection, for the log.
        :return: the answers, the octets that are left for the ordinary path, and whether to close after the answers.
        """
        answers: list[bytes] = []
        start, end = 0, len(data)
        while start < end:
            stop = data.find(b"\r\n\r\n", start, start + _HEADER_LIMIT)
            if stop < 0:
                break
            text = data[start : stop + 2]
            try:
                head = self._heads[text]
            except KeyError:
                head = self._remember(text)
            if head is None:
                break
            body_at = stop + 4
            after = body_at + head.length
            if after > end:
                break
            answer = self._responder.quick(head.method, head.target, data[body_at:after])
            if answer is None:
                break
            second = int(self._clock.seconds())
            if second != self._second:
                self._second = second
                self._preamble = b"%sDate: %s\r\nServer: %s\r\n" % (_STATUS_LINE, http_date(second), SERVER)
            self.served += 1
            if self.logged:
                _log.debug(
                    "{method} {path} 200 {octets} quick {address}",
                    method=head.method.decode("ascii"),
                    path=head.target.partition(b"?")[0].decode("ascii"),
                    octets=len(answer) - answer.index(b"\r\n\r\n") - 4,
                    address=peer_address(transport.getPeer()),
                )
            start = after
            if head.close:
                version = b"HTTP/1.0" if head.old else b"HTTP/1.1"
                answers += (version, self._preamble[8:], b"Connection: close\r\n", answer[len(_STATUS_LINE) :])
                return answers, b"", True
            answers += (self._preamble, answer[len(_STATUS_LINE) :])
        return answers, data[start:] if start else data, False

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
        lengths = _LENGTH.findall(fields)
        connections = _CONNECTION.findall(fields)
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
