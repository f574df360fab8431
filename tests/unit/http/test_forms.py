"""Bodies of forms (UI-5): browsers' forms are read, and the cost of any body is linear in its length."""

from __future__ import annotations

import contextlib

import pytest

from pikachu.core.errors import MalformedRequest
from pikachu.http.forms import MAXIMUM_FIELDS, form_fields
from tests.support.reference_work import BATCH, cost_in_signatures

URLENCODED = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data; boundary=x"
SIZE = 1024 * 1024


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (name, more, value)


def test_urlencoded() -> None:
    """Names and values, each as often as it was sent."""
    fields = form_fields(URLENCODED + b"; charset=UTF-8", b"a=b+c&a=%2B&empty=&alone&%C3%A4=1&&=x")
    assert fields == {b"a": [b"b c", b"+"], b"empty": [b""], b"alone": [b""], b"\xc3\xa4": [b"1"]}
    assert form_fields(URLENCODED, b"") == {}


@pytest.mark.parametrize("kind", [MULTIPART, b'Multipart/Form-Data;charset=utf-8; boundary="x"'])
def test_multipart(kind: bytes) -> None:
    """Text fields, and files with their bytes unchanged."""
    octets = bytes(range(256)) + b"\r\n--y\r\n\r\n"
    body = part(b"a", b"1") + part(b"a", b"") + part(b"file", octets, b'; filename="a; name=csrf.p12"\r\nX: y')
    assert form_fields(kind, b"before\r\n" + body + b"--x--\r\n") == {b"a": [b"1", b""], b"file": [octets]}


def test_no_form() -> None:
    """A body of another content type has no fields."""
    assert form_fields(b"text/plain", b"csrf=1") == form_fields(b"", b"csrf=1") == {}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"multipart/form-data", part(b"a", b"1") + b"--x--\r\n"),
        (MULTIPART, b""),
        (MULTIPART, part(b"a", b"1")),
        (MULTIPART, b"--x\r\n\r\n1\r\n--x--\r\n"),
        (MULTIPART, b"--x\r\nContent-Type: text/plain\r\n\r\n1\r\n--x--\r\n"),
        (MULTIPART, part(b"a", b"1", b"; x=y" * 1000) + b"--x--\r\n"),
        (MULTIPART, part(b"a", b"1") * (MAXIMUM_FIELDS + 1) + b"--x--\r\n"),
        (URLENCODED, b"a&" * MAXIMUM_FIELDS),
    ],
)
def test_malformed(kind: bytes, body: bytes) -> None:
    """A form without its end, without names, or with thousands of fields is refused."""
    with pytest.raises(MalformedRequest):
        form_fields(kind, body)


def test_parts_in_parts_are_octets() -> None:
    """A part's own headers have no effect: the part is neither parsed nor decoded."""
    inner = b"--y\r\n\r\n1\r\n--y--"
    more = b"\r\nContent-Type: multipart/mixed; boundary=y\r\nContent-Transfer-Encoding: base64"
    assert form_fields(MULTIPART, part(b"a", inner, more) + b"--x--\r\n") == {b"a": [inner]}


@pytest.mark.parametrize(
    ("kind", "piece"),
    [
        (URLENCODED, b"a&"),
        (URLENCODED, b"%41"),
        (MULTIPART, b"--x\r\n\r\n"),
        (MULTIPART, b'--x\r\nContent-Disposition: form-data; name="a"'),
        (MULTIPART, b"\r\n--x\r\nContent-Disposition: form-data" + b";a=b" * 500),
        (MULTIPART, b"--x\r\nContent-Disposition: form-data" + b";a=b" * 2000),
        (MULTIPART, b"A: b\r\n"),
        *((URLENCODED, b"%zz" * count + b"a" * 500) for count in (100, 50_000, 80_000)),
        *(
            (MULTIPART, b"\r\n--x\r\nContent-Disposition: form-data" + odd * (1990 // len(odd)) + b"\r\n\r\n")
            for odd in (b";a=", b";a", b";", b'; a="', b"; ", b"a", b" ", b'"')
        ),
    ],
)
def test_cost(kind: bytes, piece: bytes) -> None:
    """A megabyte of parts, headers or parameters must not block the reactor for seconds."""
    body = part(b"a", b"1") + piece * (SIZE // len(piece)) + b"\r\n--x--\r\n"

    def read() -> None:
        with contextlib.suppress(MalformedRequest):
            form_fields(kind, body)

    assert cost_in_signatures(read) < BATCH
