# mypy: allow-untyped-calls
"""Conditional and partial answers (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.http.request import BoundedRequest, Site
from pikachu.http.responses import http_date, parse_http_date, send, send_download
from tests.support.connections import Plain

CHANGED = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)
NOW = datetime(2026, 3, 2, tzinfo=UTC)
BODY = bytes(range(100))


class Download(Resource):
    isLeaf = True

    def render(self, request: BoundedRequest) -> int:
        headers = {b"Cache-Control": b"max-age=60"}
        send_download(
            request, b"application/pkix-crl", BODY, etag=b'"abc"', now=NOW, last_modified=CHANGED, headers=headers
        )
        return NOT_DONE_YET


def ask(*fields: bytes, method: bytes = b"GET") -> tuple[int, bytes, bytes]:
    clock = Clock()
    clock.advance(NOW.timestamp())
    client = Plain(Site(Download(), clock), clock)
    answer = client.send(method + b" / HTTP/1.1\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), head, body


def test_whole() -> None:
    """All of it, with what a cache needs."""
    status, head, body = ask()
    assert (status, body) == (200, BODY)
    assert b'ETag: "abc"' in head
    assert b"Last-Modified: Sun, 01 Mar 2026 12:00:00 GMT" in head
    assert b"Content-Type: application/pkix-crl\r\n" in head + b"\r\n"
    assert head.count(b"\r\n") <= 12


def test_head() -> None:
    """The same header, no body."""
    assert ask(method=b"HEAD") == (200, ask()[1], b"")


class Long(Resource):
    """A body that is sent as the peer reads it."""

    isLeaf = True
    body = bytes(range(256)) * 2048

    def render(self, request: BoundedRequest) -> int:
        send(request, 200, b"application/octet-stream", self.body)
        return NOT_DONE_YET


@pytest.mark.parametrize("full_at_first", [False, True])
def test_long_body_waits_for_the_peer(full_at_first: bool) -> None:
    """One slice at a time while the peer's buffer is full; all of it in the end, and nothing before it has room."""
    clock = Clock()
    client = Plain(Site(Long(), clock), clock)
    write = client.transport.write

    def fill(data: bytes) -> None:
        write(data)
        if len(data) > 1000:
            client.server.pauseProducing()

    client.transport.write = fill  # type: ignore[method-assign]  # what a socket does when its buffer is full
    if full_at_first:
        client.server.pauseProducing()
    pieces = [client.send(b"GET / HTTP/1.1\r\n\r\n")]
    while len(b"".join(pieces)) < len(Long.body):
        assert len(pieces) < 20
        client.server.resumeProducing()
        pieces.append(client.send(b""))
    assert b"".join(pieces).partition(b"\r\n\r\n")[2] == Long.body
    assert max(len(piece) for piece in pieces) < 66_000
    assert not full_at_first or len(pieces[0]) < 1000
    assert client.open


@pytest.mark.parametrize(
    "field",
    [
        b'If-None-Match: "abc"',
        b'If-None-Match: W/"abc"',
        b"If-None-Match: *",
        b'If-None-Match: "x", W/"y,z" , "abc"',
        b"If-Modified-Since: Sun, 01 Mar 2026 12:00:00 GMT",
        b"If-Modified-Since: Sun, 01 Mar 2026 13:00:00 GMT",
    ],
)
def test_not_modified(field: bytes) -> None:
    """304 with the validators, without body or length."""
    status, head, body = ask(field)
    assert (status, body) == (304, b"")
    assert b"ETag" in head
    assert b"Cache-Control" in head
    assert b"Content-Length" not in head


@pytest.mark.parametrize(
    "field",
    [
        b'If-None-Match: "abcd"',
        b"If-None-Match: abc",
        b'If-None-Match: "other"\r\nIf-Modified-Since: Sun, 01 Mar 2026 13:00:00 GMT',
        b"If-Modified-Since: Sun, 01 Mar 2026 11:00:00 GMT",
        b"If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT",
        b"If-Modified-Since: yesterday",
        b"If-Modified-Since: Sun, 99 Mar 2026 12:00:00 GMT",
        b"If-Modified-Since: Sun, 01 Foo 2026 12:00:00 GMT",
        b"If-Modified-Since: ",
        b"Accept: application/json",
        b"Accept-Encoding: gzip",
    ],
)
def test_modified(field: bytes) -> None:
    """A date that can't be read or lies ahead is ignored; so are wishes for other forms."""
    assert ask(field)[::2] == (200, BODY)


@pytest.mark.parametrize(
    ("value", "start", "stop"),
    [(b"0-0", 0, 1), (b"10-19", 10, 20), (b"90-", 90, 100), (b"-5", 95, 100), (b"-500", 0, 100), (b"50-9999", 50, 100)],
)
def test_part(value: bytes, start: int, stop: int) -> None:
    """One range is answered with 206."""
    status, head, body = ask(b"Range: bytes=" + value)
    assert (status, body) == (206, BODY[start:stop])
    assert b"Content-Range: bytes %d-%d/100" % (start, stop - 1) in head


@pytest.mark.parametrize("value", [b"100-", b"99999999-", b"-0"])
def test_part_outside(value: bytes) -> None:
    """Outside the body, 416 and its length."""
    status, head, _ = ask(b"Range: bytes=" + value)
    assert status == 416
    assert b"Content-Range: bytes */100" in head


@pytest.mark.parametrize(
    "fields",
    [
        (b"Range: bytes=0-0,5-6",),
        (b"Range: lines=1-2",),
        (b"Range: bytes=9-1",),
        (b"Range: bytes=" + b"9" * 40 + b"-",),
        (b"Range: bytes=x",),
        (b"Range: bytes=0-1", b'If-Range: "older"'),
        (b"Range: bytes=0-1", b"If-Range: Sun, 01 Mar 2026 11:00:00 GMT"),
    ],
)
def test_part_ignored(fields: tuple[bytes, ...]) -> None:
    """Several ranges, other units, nonsense and other versions get the whole."""
    assert ask(*fields)[::2] == (200, BODY)


@pytest.mark.parametrize("condition", [b'"abc"', b"Sun, 01 Mar 2026 12:00:00 GMT"])
def test_part_of_the_same_version(condition: bytes) -> None:
    """If-Range that names this version."""
    assert ask(b"Range: bytes=0-1", b"If-Range: " + condition)[0] == 206


@given(st.integers(0, 250_000_000_000))
def test_dates(seconds: int) -> None:
    """Encoding and decoding give the same."""
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    assert parse_http_date(http_date(when)) == when


@given(st.binary(max_size=60) | st.from_regex(rb"\A[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\Z"))
def test_any_date(value: bytes) -> None:
    """Any bytes give a date or nothing."""
    found = parse_http_date(value)
    assert found is None or found.tzinfo is UTC
