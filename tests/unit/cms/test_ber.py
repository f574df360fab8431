"""The BER normaliser, and hostile ASN.1."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.cms.ber import MAX_DEPTH, MAX_ELEMENTS, normalise
from pikachu.cms.enveloped import parse_enveloped_data
from pikachu.cms.signed import parse_signed_data
from pikachu.core.errors import MalformedRequest
from pikachu.protocols.scep.messages import decode
from tests.support.reference_work import BATCH, costs_at_most
from tests.support.scep_client import as_ber, octets, tlv

_PRIMITIVES = st.builds(tlv, st.sampled_from([0x02, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x17]), st.binary(max_size=200))
_TREES = st.recursive(
    _PRIMITIVES,
    lambda inner: st.builds(
        lambda tag, parts: tlv(tag, *parts), st.sampled_from([0x30, 0x31, 0xA0, 0xA3]), st.lists(inner, max_size=5)
    ),
    max_leaves=25,
)


@given(_TREES)
def test_der_comes_back_unchanged(data: bytes) -> None:
    """DER stays unchanged, so a signature over it still verifies."""
    assert normalise(data) == data


@given(_TREES, st.integers(1, 50))
def test_indefinite_lengths_and_strings_in_pieces_become_der(data: bytes, piece: int) -> None:
    """Indefinite lengths and constructed OCTET STRINGs come back as the DER they stand for."""
    assert normalise(as_ber(data, piece=piece)) == data


@pytest.mark.parametrize(
    ("ber", "expected"),
    [
        ("30800000", "3000"),
        ("308130", None),
        ("308101050000", None),
        ("3081020500", "30020500"),
        ("30840000000205ff", None),
        ("3084000000020500", "30020500"),
        ("2400", "0400"),
        ("24800401610402626300" + "00", "0403616263"),
        ("2480240404026162040163" + "0000", "0403616263"),
        ("248002010500" + "00", None),
        ("0480050000", None),
        ("3003020101" + "00", None),
        ("0000", None),
        ("30020000", None),
        ("30800500", None),
        ("3f010500", None),
        ("3303130141", None),
        ("", None),
        ("30", None),
        ("308900000000000000000000", None),
    ],
)
def test_small_cases(ber: str, expected: str | None) -> None:
    """Lengths in any form are read; invalid BER, and types that CMS does not use, are refused."""
    if expected is None:
        with pytest.raises(MalformedRequest):
            normalise(bytes.fromhex(ber))
    else:
        assert normalise(bytes.fromhex(ber)).hex() == expected


def test_sets_keep_their_order() -> None:
    """Nothing is sorted, since a signature may cover the order that was sent."""
    data = tlv(0x31, b"\x02\x01\x09", b"\x02\x01\x01")
    assert normalise(data) == data


def _nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = tlv(0x30, data)
    return data


BOMBS = {
    "depth 10 000": _nested(10_000),
    "indefinite bomb": b"\x30\x80" * 500_000,
    "indefinite bomb in a signed data": b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" + b"\xa0\x80" * 100_000,
    "strings in strings": b"\x24\x80" * 100_000,
    "length 2^63": b"\x30\x88\x80" + bytes(7) + bytes(100),
    "length 2^63 - 1 inside": b"\x30\x80\x04\x88\x7f" + b"\xff" * 7 + bytes(100),
    "length of 127 bytes": b"\x30\xff" + b"\xff" * 200,
    "a million empty elements": tlv(0x30, b"\x05\x00" * 1_000_000),
    "100 000 certificates": tlv(
        0x30,
        bytes.fromhex("06092a864886f70d010702"),
        tlv(
            0xA0,
            tlv(
                0x30,
                b"\x02\x01\x01\x31\x00",
                tlv(0x30, bytes.fromhex("06092a864886f70d010701")),
                tlv(0xA0, tlv(0x30, tlv(0x30), b"\x05\x00", b"\x03\x00") * 100_000),
                b"\x31\x00",
            ),
        ),
    ),
    "3 MiB": octets(bytes(3 * 1024 * 1024)),
    "empty pieces": b"\x24\x80" + b"\x04\x00" * 900_000 + b"\x00\x00",
}


@pytest.mark.parametrize("codec", [normalise, parse_signed_data, parse_enveloped_data, decode])
@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_quickly_in_little_memory(bomb: str, codec: Callable[[bytes], object]) -> None:
    """Each is refused at once, with memory that does not grow with what it claims to be."""
    data = BOMBS[bomb]
    with costs_at_most(2 * BATCH), pytest.raises(MalformedRequest):
        codec(data)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedRequest):
            codec(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(data) + 4_000_000


def test_the_bounds_are_what_they_say() -> None:
    """Up to the bounds it works, one beyond it does not."""
    assert normalise(_nested(MAX_DEPTH)) == _nested(MAX_DEPTH)
    with pytest.raises(MalformedRequest):
        normalise(_nested(MAX_DEPTH + 2))
    wide = tlv(0x30, b"\x05\x00" * (MAX_ELEMENTS - 1))
    assert normalise(wide) == wide
    with pytest.raises(MalformedRequest):
        normalise(tlv(0x30, b"\x05\x00" * MAX_ELEMENTS))


@given(st.binary(max_size=300))
def test_any_bytes_give_only_malformed_request(data: bytes) -> None:
    """Nothing else ever comes out, and what comes out is stable."""
    try:
        result = normalise(data)
    except MalformedRequest:
        return
    assert normalise(result) == result
