"""Responses that every client can read: a length, one write, few headers; conditional and range responses.

Many clients of a certification authority refuse chunked responses, read the header block in one read of 1,024 bytes,
or require a length, so responses are never chunked.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.web.http import Request
from zope.interface import implementer

from pikachu.http.twisted_private import is_disconnected

log = Logger()

SERVER: Final = b"Pikachu"
TEXT: Final = b"text/plain; charset=utf-8"
PROBLEM_JSON: Final = b"application/problem+json"
# Bytes from which a body is streamed as the peer reads it, so that slow readers of a CRL don't each hold a copy.
STREAMED_FROM: Final = 128 * 1024
_SLICE: Final = 64 * 1024

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_IMF_DATE: Final = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)
_ENTITY_TAG: Final = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE: Final = re.compile(rb"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.IGNORECASE)


@functools.lru_cache(maxsize=4)
def _http_date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode("ascii")


def http_date(when: float | datetime) -> bytes:
    """Format an HTTP date (RFC 9110 section 5.6.7) from seconds since 1970 or an aware datetime, without fractions."""
    return _http_date(int(when.timestamp() if isinstance(when, datetime) else when))


def parse_http_date(value: bytes) -> datetime | None:
    """Parse an HTTP date in the form that clients must send; return None for any other."""
    match = _IMF_DATE.fullmatch(value.decode("latin-1"))
    if match is None or match[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[group]) for group in (1, 3, 4, 5, 6))
    try:
        return datetime(year, _MONTHS.index(match[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def phrase(status: int) -> bytes:
    """Return the reason phrase of a status."""
    return HTTPStatus(status).phrase.encode("ascii")


class Content(Protocol):
    """A body that is not entirely in memory."""

    @property
    def size(self) -> int:
        """The size in bytes."""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from *start* to before *stop*.  Raises OSError, also when there are fewer."""


class InMemory:
    """A body in memory, read in pieces without copying the whole."""

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)
        self.size = len(body)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from *start* to before *stop*."""
        return bytes(self._body[start:stop])


@implementer(IPushProducer)
class SliceProducer:
    """Streams a long body in slices, pausing while the write buffer is full."""

    def __init__(self, request: Any, content: Content, part: Part) -> None:
        self._request = request
        self._channel = request.channel
        self._content: Content | None = content
        self._position = part.start
        self._stop = part.stop
        self._paused = False
        request.notifyFinish().addErrback(lambda _: self.stopProducing())

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Send slices until told to pause."""
        self._paused = False
        while self._content is not None and not self._paused:
            self._send(self._content)

    def _send(self, content: Content) -> None:
        stop = min(self._position + _SLICE, self._stop)
        try:
            part = content.read(self._position, stop)
        except OSError as error:
            # The length is already sent, so the only option is to end the connection before it.
            log.error("A response body could not be read completely: {error}", error=str(error))
            self._content = None
            self._channel.forceAbortClient()
            return
        self._position = stop
        self._request.write(part)
        if stop == self._stop:
            self._content = None
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Pause while the peer's buffer is full."""
        self._paused = True

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Stop when the peer has disconnected."""
        self._content = None


def send(
    request: Any,
    status: int,
    content_type: bytes | None,
    body: bytes | Content,
    headers: Mapping[bytes, bytes] | None = None,
    part: Part | None = None,
) -> None:
    """Send a response and finish; does nothing if the client has disconnected or was answered.

    HEAD gets the same headers and no body; 204 and 304 have neither body nor length (RFC 9110 section 6.4.1).

    :param content_type: ``None`` only without a body.
    :param headers: additional fields, at most eight, for a small header block.
    :param part: the range of *body* to send; all by default.
    :raises OSError: when *body* can't be read; nothing is sent then.
    """
    if request.finished or is_disconnected(request):
        return
    content = InMemory(body) if isinstance(body, bytes) else body
    part = part or Part(0, content.size)
    size = part.stop - part.start
    bodiless = status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
    unsent = bodiless or request.method == b"HEAD"
    # The bodies of other kinds are shared, or are read from files.
    if isinstance(body, bytes) and not unsent and size > STREAMED_FROM and not request.hold_answer(size):
        return
    at_once = b"" if unsent or size > STREAMED_FROM else content.read(part.start, part.stop)
    request.setResponseCode(status, phrase(status))
    fields = request.responseHeaders
    if content_type is not None:
        fields.setRawHeaders(b"Content-Type", [content_type])
    if not bodiless:
        fields.setRawHeaders(b"Content-Length", [b"%d" % size])
    for name, value in (headers or {}).items():
        fields.setRawHeaders(name, [value])
    if not unsent and size > STREAMED_FROM:
        slices = SliceProducer(request, content, part)
        request.registerProducer(slices, True)
        # A buffer that is already full does not pause the producer again; it resumes it when it has room.
        channel: Any = request.channel
        if not channel.full:
            slices.resumeProducing()
        return
    request.write(at_once)
    request.finish()


def text_error(request: Request, status: int, line: str, headers: Mapping[bytes, bytes] | None = None) -> None:
    """Send one line of public text."""
    send(request, status, TEXT, f"{line}\n".encode(), headers)


def not_allowed(request: Request, methods: Iterable[bytes]) -> None:
    """Send 405 with the allowed methods (RFC 9110 section 15.5.6)."""
    allowed = b", ".join(sorted(methods))
    text_error(request, HTTPStatus.METHOD_NOT_ALLOWED, f"allowed here: {allowed.decode('ascii')}", {b"Allow": allowed})


def not_modified(request: Request, etag: bytes, last_modified: datetime | None, now: datetime) -> bool:
    """Return whether to answer a GET or HEAD with 304 (RFC 9110 section 13.2.2).

    An If-Modified-Since that is malformed or in the future is ignored.

    :param etag: the strong entity tag, with its quotes.
    :param last_modified: the date of the body; fractions of seconds are ignored.
    """
    if request.method not in (b"GET", b"HEAD"):
        return False
    tags = request.requestHeaders.getRawHeaders(b"If-None-Match")
    if tags is not None:
        joined = b",".join(tags)
        return joined.strip() == b"*" or etag in _ENTITY_TAG.findall(joined)
    dates = request.requestHeaders.getRawHeaders(b"If-Modified-Since")
    if last_modified is None or not dates or len(dates) != 1:
        return False
    since = parse_http_date(dates[0])
    return since is not None and since <= now and last_modified.replace(microsecond=0) <= since


@dataclass(frozen=True, slots=True)
class Part:
    """A range of a body, from *start* to before *stop*, in bytes."""

    start: int
    stop: int


class RangeNotSatisfiable(Exception):
    """The range lies outside the body (status 416)."""


def requested_part(request: Request, length: int, etag: bytes, last_modified: datetime | None) -> Part | None:
    """Return the requested range of a body of *length* bytes, or None to send all of it.

    Several ranges, other units and malformed ranges are ignored, as RFC 9110 section 14.2 allows; so is a range whose
    If-Range names another version (section 13.1.5).

    :raises RangeNotSatisfiable: when the range lies outside the body.
    """
    if request.method != b"GET":
        return None
    ranges = request.requestHeaders.getRawHeaders(b"Range")
    match = _RANGE.fullmatch(ranges[0].strip()) if ranges and len(ranges) == 1 else None
    if match is None:
        return None
    condition = request.getHeader(b"If-Range")
    if condition is not None and condition != etag:
        date = parse_http_date(condition)
        if date is None or last_modified is None or date != last_modified.replace(microsecond=0):
            return None
    if match[3] is not None:
        suffix = min(int(match[3]), length)
        if suffix == 0:
            raise RangeNotSatisfiable
        return Part(length - suffix, length)
    start = int(match[1])
    last = int(match[2]) if match[2] else length - 1
    if match[2] and last < start:
        return None
    if start >= length:
        raise RangeNotSatisfiable
    return Part(start, min(last, length - 1) + 1)


def send_download(
    request: Request,
    content_type: bytes,
    body: bytes | Content,
    *,
    etag: bytes,
    now: datetime,
    last_modified: datetime | None = None,
    headers: Mapping[bytes, bytes] | None = None,
) -> None:
    """Answer a GET or HEAD with the whole body, a range of it, or 304 when the client has it.

    :param etag: the strong entity tag, with its quotes.
    :param headers: sent with all of these responses, such as Cache-Control and Expires.
    :raises OSError: when *body* can't be read; nothing is sent then.
    """
    size = len(body) if isinstance(body, bytes) else body.size
    fields = {b"ETag": etag, **(headers or {})}
    if last_modified is not None:
        fields[b"Last-Modified"] = http_date(last_modified)
    if not_modified(request, etag, last_modified, now):
        send(request, HTTPStatus.NOT_MODIFIED, None, b"", fields)
        return
    try:
        part = requested_part(request, size, etag, last_modified)
    except RangeNotSatisfiable:
        text_error(
            request,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"there are {size} octets",
            {b"Content-Range": b"bytes */%d" % size},
        )
        return
    fields[b"Accept-Ranges"] = b"bytes"
    if part is None:
        send(request, HTTPStatus.OK, content_type, body, fields)
        return
    fields[b"Content-Range"] = b"bytes %d-%d/%d" % (part.start, part.stop - 1, size)
    send(request, HTTPStatus.PARTIAL_CONTENT, content_type, body, fields, part)
