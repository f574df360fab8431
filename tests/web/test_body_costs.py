"""JSON bodies: any body costs less than a batch of signatures, and ordinary ones are read."""

from __future__ import annotations

import contextlib
import json

import pytest

from pikachu.core.errors import MalformedRequest
from pikachu.web.api.bodies import MAXIMUM_DIGITS, MAXIMUM_VALUES, parse_json
from tests.support.reference_work import BATCH, cost_in_signatures

SIZE = 1024 * 1024


def filled(piece: bytes, before: bytes = b'{"a":[', after: bytes = b"0]}") -> bytes:
    """A megabyte of *piece*."""
    return before + piece * ((SIZE - len(before) - len(after)) // len(piece)) + after


BODIES = {
    "objects": filled(b"{},"),
    "lists": filled(b"[],"),
    "objects of one member": filled(b'{"a":0},'),
    "numbers": filled(b"0,"),
    "numbers of many digits": filled(b"9" * 4000 + b","),
    "floats": filled(b"1.2345678901234567e300,"),
    "texts": filled(b'"",'),
    "words": filled(b"true,"),
    "names": b"{" + b",".join(b'"%x":0' % number for number in range(100_000)) + b"}",
    "depth of lists": filled(b"["),
    "depth of objects": filled(b'{"a":'),
    "one number": filled(b"1", b'{"a":', b"}"),
    "one fraction": filled(b"1", b'{"a":1.', b"}"),
    "one text": filled("é".encode(), b'{"a":"', b'"}'),
    "one text without end": filled(b"a", b'{"a":"', b""),
    "escapes": filled(b"\\u0041", b'{"a":"', b'"}'),
    "escaped quotation marks": filled(b'\\"', b'{"a":"', b'"}'),
    "braces in a text": filled(b"{,[", b'{"a":"', b'"}'),
    "texts of braces": filled(b'"{,[",'),
    "quotation marks": filled(b'"', b"", b""),
    "backslashes": filled(b"\\", b'{"a":"', b'"}'),
    "spaces": filled(b" ", b'{"a":', b"1}"),
    "line breaks": filled(b"\n", b"{", b"x"),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_cost(body: bytes) -> None:
    """A megabyte of small objects must not block the reactor (it took 0.2 seconds)."""

    def read() -> None:
        with contextlib.suppress(MalformedRequest):
            parse_json(body)

    assert cost_in_signatures(read) < BATCH


def test_what_stands_in_texts_does_not_count() -> None:
    """A text of a policy or a template may hold as many commas and brackets as it likes."""
    text = '{[, "quoted" \\ ,]}\n' * MAXIMUM_VALUES
    assert parse_json(json.dumps({"a": text, "b": [text]}).encode()) == {"a": text, "b": [text]}


@pytest.mark.parametrize("more", [0, 1])
def test_the_number_of_values(more: int) -> None:
    """The bound is sharp."""
    body = json.dumps({"a": [0] * (MAXIMUM_VALUES - 1 + more)}).encode()
    if not more:
        assert len(json.loads(body)["a"]) == len(parse_json(body)["a"])  # type: ignore[arg-type]
        return
    with pytest.raises(MalformedRequest, match="values"):
        parse_json(body)


def test_the_digits_of_a_number() -> None:
    assert parse_json(b'{"a":%s}' % (b"9" * MAXIMUM_DIGITS)) == {"a": 10**MAXIMUM_DIGITS - 1}
    with pytest.raises(MalformedRequest, match="digits"):
        parse_json(b'{"a":%s}' % (b"9" * (MAXIMUM_DIGITS + 1)))
