"""Worst cases by kind: names, numbers, nesting, counts."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

from tests.support.scep_client import integer, members, octets, oid, split, tlv

COMMON_NAME: Final = "2.5.4.3"
UNBOUNDED: Final = "1.2.3.4"
"""An attribute type for which RFC 5280 has no upper bound."""
UTF8, PRINTABLE, TELETEX, BMP, UNIVERSAL, IA5 = 0x0C, 0x13, 0x14, 0x1E, 0x1C, 0x16

# Texts of which normalising, folding, matching or encoding to IDNA may cost more than their length.
MARKS: Final = "a" + "\u0300\u0316" * 50_000
"""Classes 230 and 220 in turns: sorting them, which every normalisation form does, is quadratic."""
CLASSES: Final = "".join(
    sorted((chr(code) for code in range(0x300, 0x36F)), key=lambda mark: -unicodedata.combining(mark))
)
SCRIPTS: Final[Mapping[str, str]] = {
    "combining marks": MARKS,
    "marks of falling classes": "a" + CLASSES * 900,
    "Hangul jamo": "\u1100\u1161\u11a8" * 30_000,
    "compatibility ligatures": "\ufdfa" * 30_000,
    "sharp s": "ß" * 60_000,
    "dotted I": "İ" * 60_000,
    "Hebrew marks": "\u05d0" + "\u05b3\u05b0" * 20_000,
    "right to left": "\u202e\u05d0" * 20_000,
    "emoji with joiners": "👩\u200d👩\u200d👧\u200d👦" * 4_000,
    "ASCII": "a" * 100_000,
    "spaces": " " * 100_000 + "x",
    "stars": "*" * 50_000 + "x",
    "percent signs": "%" * 100_000,
    "quotes": "\"'\\" * 30_000,
    "dots": "." * 100_000,
    "digits": "9" * 100_000,
    "A-labels": "xn--" + "a" * 50_000 + "." + "xn--zca." * 5_000,
}


def relative_name(text: str, kind: str = COMMON_NAME, tag: int = UTF8) -> bytes:
    """An RDN of one attribute."""
    encodings = {BMP: "utf-16-be", UNIVERSAL: "utf-32-be", TELETEX: "latin-1"}
    content = text.encode(encodings.get(tag, "utf-8"), "replace")
    return tlv(0x31, tlv(0x30, oid(kind), tlv(tag, content)))


def long_name(text: str, size: int, tag: int = UTF8, kind: str = UNBOUNDED) -> bytes:
    """A Name whose one attribute takes up to *size* bytes."""
    while len(relative_name(text, kind, tag)) > size:
        text = text[: len(text) * 9 // 10]
    return tlv(0x30, relative_name(text, kind, tag))


def names(size: int) -> dict[str, bytes]:
    """Names of about *size* bytes, by their peculiarity."""
    made = {f"name of {script}": long_name(text, size) for script, text in SCRIPTS.items()}
    made["long common name"] = long_name(MARKS, size, kind=COMMON_NAME)
    made["name in BMPString"] = long_name(MARKS, size, BMP)
    made["name in UniversalString"] = long_name(MARKS, size, UNIVERSAL)
    one = relative_name("x")
    made["name of many RDNs"] = tlv(0x30, one * (size // len(one)))
    pair = split(one)[1]
    made["RDN of many attributes"] = tlv(0x30, tlv(0x31, pair * (size // len(pair))))
    made["attribute type of many arcs"] = tlv(
        0x30, tlv(0x31, tlv(0x30, tlv(0x06, b"\x55" + b"\x81" * (size - 40) + b"\x01"), tlv(UTF8, b"x")))
    )
    return made


def nested(depth: int, tag: int = 0x30) -> bytes:
    """Elements inside each other."""
    made = b"\x05\x00"
    for _ in range(depth):
        made = tlv(tag, made)
    return made


def indefinite(depth: int, tag: int = 0x30) -> bytes:
    """Elements of indefinite length inside each other."""
    return bytes((tag, 0x80)) * depth + b"\x05\x00" + b"\0\0" * depth


def structures(size: int) -> dict[str, bytes]:
    """DER and BER of about *size* bytes without a meaning, by its peculiarity."""
    return {
        "nested": nested(size // 5),
        "nested octet strings": nested(size // 5, 0x24),
        "nested, indefinite": indefinite(size // 4),
        "nested octet strings, indefinite": indefinite(size // 4, 0x24),
        "many nulls": tlv(0x30, b"\x05\x00" * (size // 2)),
        "many empty sets": tlv(0x31, b"\x31\x00" * (size // 2)),
        "huge integer": tlv(0x30, integer(1 << (8 * size))),
        "huge enumerated": tlv(0x30, tlv(0x0A, b"\x7f" * size)),
        "huge object identifier": tlv(0x30, tlv(0x06, b"\x2a" + b"\xff" * (size - 2) + b"\x7f")),
        "object identifier of many arcs": tlv(0x30, tlv(0x06, b"\x2a" + b"\x03" * size)),
        "huge bit string": tlv(0x30, tlv(0x03, b"\0" + b"\xff" * size)),
        "sliced octet string": tlv(0x30, tlv(0x24, octets(b"x") * (size // 3))),
        "length that lies": b"\x30\x84\xff\xff\xff\xff" + b"\x30\x00" * (size // 2),
        "zeros": bytes(size),
        "ones": b"\xff" * size,
        "huge tag number": b"\x3f" + b"\xff" * size + b"\x7f\x00",
    }


def with_spki(certificate: bytes, spki: bytes) -> bytes:
    """The same certificate with another key; its signature no longer fits."""
    return _replaced(certificate, 6, spki)


def with_subject(certificate: bytes, subject: bytes) -> bytes:
    """The same certificate with another subject."""
    return _replaced(certificate, 5, subject)


def with_extensions(certificate: bytes, structure: bytes) -> bytes:
    """The same certificate with something after its key."""
    tbs, *rest = members(split(certificate)[1])
    fields = members(split(tbs)[1])[:7]
    return tlv(0x30, tlv(0x30, *fields, tlv(0xA3, structure)), *rest)


def _replaced(certificate: bytes, place: int, element: bytes) -> bytes:
    tbs, *rest = members(split(certificate)[1])
    fields = members(split(tbs)[1])
    fields[place] = element
    return tlv(0x30, tlv(0x30, *fields), *rest)
