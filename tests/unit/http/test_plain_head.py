# mypy: allow-untyped-calls
"""Heads that are read in one pass mean the same as those that are read line by line."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.http.plain_head import MAXIMUM_FIELDS, MAXIMUM_HEAD, read_plain_head
from pikachu.http.request import Limits, PathRule, Site
from pikachu.http.responses import send
from tests.support.connections import Plain

_END = b"\r\n\r\n"
_POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3"

# What is read in one pass: name, request, its fields, size of the body.
PLAIN: list[tuple[str, bytes, dict[bytes, list[bytes]], int]] = [
    ("no field", b"GET / HTTP/1.1\r\n\r\n", {}, 0),
    ("a body", _POST + _END + b"abc", {b"Host": [b"a"], b"Content-Length": [b"3"]}, 3),
    ("part of the body", _POST + _END + b"a", {b"Host": [b"a"], b"Content-Length": [b"3"]}, 3),
    (
        "other case",
        b"GET / HTTP/1.1\r\nhOST: a\r\nwww-authenticate:b\r\n\r\n",
        {b"Host": [b"a"], b"WWW-Authenticate": [b"b"]},
        0,
    ),
    ("white space", b"GET / HTTP/1.1\r\nA: \t b c \t\r\n\r\n", {b"A": [b"b c"]}, 0),
    ("empty value", b"GET / HTTP/1.1\r\nA:\r\n\r\n", {b"A": [b""]}, 0),
    ("colons", b"GET / HTTP/1.1\r\nA: b:c\r\n\r\n", {b"A": [b"b:c"]}, 0),
    ("a field twice", b"GET / HTTP/1.1\r\nA: b\r\nB: x\r\na: c\r\n\r\n", {b"A": [b"b", b"c"], b"B": [b"x"]}, 0),
    ("octets over 127", b"GET / HTTP/1.1\r\nA: \xc3\xbc\r\n\r\n", {b"A": [b"\xc3\xbc"]}, 0),
    ("zeros before the length", b"GET / HTTP/1.1\r\nContent-Length: 003\r\n\r\nabc", {b"Content-Length": [b"003"]}, 3),
    ("no length", b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", {b"Content-Length": [b"0"]}, 0),
]
# What is left to twisted.web.
UNUSUAL: list[tuple[str, bytes]] = [
    ("incomplete", _POST),
    ("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n"),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\n\r\n"),
    ("lower-case method", b"get / HTTP/1.1\r\n\r\n"),
    ("no target", b"GET HTTP/1.1\r\n\r\n"),
    ("empty target", b"GET  HTTP/1.1\r\n\r\n"),
    ("space in the target", b"GET /a b HTTP/1.1\r\n\r\n"),
    ("octet over 127 in the target", b"GET /\xc3 HTTP/1.1\r\n\r\n"),
    ("space before the request", b" GET / HTTP/1.1\r\n\r\n"),
    ("empty line before the request", b"\r\nGET / HTTP/1.1\r\n\r\n"),
    ("folded field", b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"),
    ("space before the colon", b"GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc"),
    ("no colon", b"GET / HTTP/1.1\r\nA\r\n\r\n"),
    ("no name", b"GET / HTTP/1.1\r\n: b\r\n\r\n"),
    ("name that is no token", b"GET / HTTP/1.1\r\nA(: b\r\n\r\n"),
    ("NUL in a value", b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n"),
    ("single LF", b"GET / HTTP/1.1\r\nA: b\nContent-Length: 3\r\n\r\nabc"),
    ("single CR", b"GET / HTTP/1.1\r\nA: b\rContent-Length: 3\r\n\r\nabc"),
    ("LF in the request line", b"GET / HTTP/1.1\nA: b\r\n\r\n"),
    ("chunks", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    ("length and chunks", _POST + b"\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    ("expectation", _POST + b"\r\nExpect: 100-continue\r\n\r\nabc"),
    ("two lengths", _POST + b"\r\nContent-Length: 3\r\n\r\nabc"),
    ("list of lengths", b"POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\nabc"),
    ("signed length", b"POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc"),
    ("empty length", b"POST / HTTP/1.1\r\nContent-Length:\r\n\r\nabc"),
    ("length of many digits", b"POST / HTTP/1.1\r\nContent-Length: 0000000003\r\n\r\nabc"),
    ("long head", b"GET / HTTP/1.1\r\nA: " + b"a" * MAXIMUM_HEAD + _END),
    ("many fields", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAXIMUM_FIELDS + 1) + b"\r\n"),
]


@pytest.mark.parametrize(("data", "fields", "length"), [case[1:] for case in PLAIN], ids=[case[0] for case in PLAIN])
def test_plain_heads_are_read(data: bytes, fields: dict[bytes, list[bytes]], length: int) -> None:
    head = read_plain_head(data)

    assert head is not None
    assert (head.fields, head.length) == (fields, length)
    assert (head.method + b" " + head.target + b" HTTP/1.1") == data.split(b"\r\n", 1)[0]
    assert data[: head.size].endswith(_END)


@pytest.mark.parametrize("data", [case[1] for case in UNUSUAL], ids=[case[0] for case in UNUSUAL])
def test_unusual_heads_are_left_to_twisted(data: bytes) -> None:
    assert read_plain_head(data) is None


class _Recorder(Resource):
    """Records and answers each request."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    def render(self, request: Any) -> int:
        fields = sorted(request.requestHeaders.getAllRawHeaders())
        cookies = sorted(request.received_cookies.items())
        self.seen.append((request.method, request.uri, request.args, request.content.read(), fields, cookies))
        send(request, 200, b"text/plain", b"ok")
        return NOT_DONE_YET


def _result(data: bytes, step: int) -> tuple[list[object], bytes, bool]:
    """Send *data* in pieces of *step* bytes; return the requests, the answer, and whether the connection is open."""
    clock, resource = Clock(), _Recorder()
    clock.advance(1_800_000_000)
    connection = Plain(Site(resource, clock, Limits(rules=(PathRule(b"/small", 2),))), clock)
    answer = b"".join(connection.send(data[start : start + step]) for start in range(0, len(data), step))
    return resource.seen, answer, connection.open


_LINES = st.lists(
    st.sampled_from(
        [
            b"Host: a",
            b"host:\tb",
            b"Content-Length: 3",
            b"content-length: 0",
            b"Content-Length: x",
            b"Connection: close",
            b"Connection: keep-alive, close",
            b"Cookie: a=b; c",
            b"Transfer-Encoding: chunked",
            b"Expect: 100-continue",
            b" folded",
            b"A: b\rc",
            b"A: b\nc",
            b"A : b",
            b"none",
            b"X-Y: \xff",
        ]
    ),
    max_size=4,
)
_REQUEST_LINES = st.sampled_from(
    [
        b"GET /a?b=c&b= HTTP/1.1",
        b"POST /small HTTP/1.1",
        b"POST http://host/a HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET /a HTTP/1.0",
        b"get /a HTTP/1.1",
        b"GET",
    ]
)


@given(request=_REQUEST_LINES, lines=_LINES, body=st.sampled_from([b"", b"abc", b"abcGET / HTTP/1.1\r\n\r\n"]))
def test_requests_that_arrive_at_once_are_those_that_arrive_in_pieces(
    request: bytes, lines: list[bytes], body: bytes
) -> None:
    data = b"\r\n".join([request, *lines, b"", b""]) + body

    # A head that arrives in two pieces is parsed by twisted.web.
    assert _result(data, len(data)) == _result(data, max(len(data) - len(body) - 1, 1))
