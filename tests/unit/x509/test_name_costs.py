"""Costs of names of strangers: comparing, showing and checking them is linear in bounded sizes."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import pytest

from pikachu.core.errors import BadCSR, MalformedRequest, PolicyViolation, RequestError
from pikachu.x509 import der
from pikachu.x509.constraints import NameConstraints, check_names
from pikachu.x509.csr import MAXIMUM_SIZE as CSR_SIZE
from pikachu.x509.extension import Extension
from pikachu.x509.names import MAXIMUM_SIZE, build_name, name_from_text, names_equal, parse_name
from pikachu.x509.san import MAXIMUM_A_LABELS, name_from_san_text, parse_san, same_names
from tests.support.reference_work import BATCH, cost_in_signatures

SURNAME, NAME, COMMON_NAME = "2.5.4.4", "2.5.4.41", "2.5.4.3"
OTHER = build_name([(COMMON_NAME, "x")])

_fresh = itertools.count()

# Combining marks of many scripts, what decomposes into marks or into very much, and what is shown escaped.
REPEATED = {
    "Latin, marks of two classes": "\u0301\u0316",
    "Latin, marks of four classes": "\u0315\u0300\u0316\u0321",
    "Greek, iota subscript": "\u0345\u0301",
    "Greek, three code points in one": "\u0390",
    "Hebrew": "\u05b4\u05bc",
    "Arabic": "\u064b\u0651",
    "Arabic, 18 letters in one": "\ufdfa",
    "Devanagari": "\u093c\u094d",
    "Tibetan": "\u0f71\u0f72",
    "Tibetan, a mark once it is decomposed": "\u0f73",
    "kana, a mark once it is decomposed": "\uff9e",
    "Latin, two marks in one": "\u0344",
    "Hangul": "\u1100\u1161",
    "musical symbols": "\U0001d15e\U0001d165",
    "writing direction": "\u202e",
    "private use": "\ue000\U000f0001",
    "emoji": "\U0001f468\u200d",
    "ASCII": "aB",
}


def filled(unit: str, size: int, start: str = "") -> str:
    """*unit* again and again, up to *size* octets of UTF-8."""
    return (start + unit * size).encode()[:size].decode("utf-8", "ignore")


def name_of(*attributes: tuple[str, str], one_rdn: bool = False) -> bytes:
    """A Name that nobody has checked."""
    encoded = [der.sequence(der.oid(kind), der.utf8_string(value)) for kind, value in attributes]
    return der.sequence(*([der.set_of(encoded)] if one_rdn else (der.set_of([one]) for one in encoded)))


def marks_in(size: int) -> Callable[[str], bytes]:
    """Names of one long value."""
    return lambda unit: name_of((SURNAME, filled(unit, size, f"{next(_fresh)}")))


SHAPES: dict[str, Callable[[str], bytes]] = {
    "one value": marks_in(8000),
    "a value as long as a message": marks_in(60_000),
    "many attributes": lambda unit: name_of(*((NAME, filled(unit, 100, f"{next(_fresh)}")) for _ in range(64))),
    "many attributes in one RDN": lambda unit: name_of(
        *((NAME, filled(unit, 100, f"{next(_fresh)}")) for _ in range(64)), one_rdn=True
    ),
    "very many attributes": lambda unit: name_of(*((NAME, unit) for _ in range(4000))),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("script", REPEATED)
def test_comparing_names(script: str, shape: str) -> None:
    """Normalization takes quadratic time for marks in a row: 29,000 of them stopped everybody for seconds."""

    def compare() -> None:
        name = SHAPES[shape](REPEATED[script])
        with contextlib.suppress(BadCSR):
            names_equal(name, OTHER)
        with contextlib.suppress(BadCSR):
            assert parse_name(name).text

    assert cost_in_signatures(compare) < BATCH


@pytest.mark.parametrize("script", REPEATED)
def test_long_values_are_still_compared(script: str) -> None:
    """Equal in another string type and spacing, and not equal where one character differs at the end."""
    value = filled(REPEATED[script], 2000)
    first = name_of((SURNAME, f"A {value}"))
    text = f"  a   {value} ".encode("utf-32-be")
    second = der.sequence(der.set_of([der.sequence(der.oid(SURNAME), der.tlv(der.UNIVERSAL_STRING, text))]))
    assert len(second) > MAXIMUM_SIZE or names_equal(first, second)
    assert not names_equal(first, name_of((SURNAME, f"A {value}x")))
    assert not names_equal(first, name_of((NAME, f"A {value}")))


def test_equivalent_marks_compare_equal() -> None:
    """As far as any language goes; the order of marks of different classes does not count."""
    for count in (1, 2, 10, 15):
        assert names_equal(
            name_of((COMMON_NAME, "e" + "\u0301\u0316" * count)), name_of((COMMON_NAME, "e" + "\u0316\u0301" * count))
        )


@pytest.mark.parametrize("more", [0, 1])
def test_size_of_a_name(more: int) -> None:
    """The bound is exact, and the error names it in one line."""
    content = MAXIMUM_SIZE - len(name_of((SURNAME, "x" * 8000))) + 8000
    name = name_of((SURNAME, "x" * (content + more)))
    assert len(name) == MAXIMUM_SIZE + more
    if not more:
        assert len(parse_name(name).values(SURNAME)[0]) == content
        return
    with pytest.raises(BadCSR, match=f"longer than {MAXIMUM_SIZE} bytes"):
        parse_name(name)
    with pytest.raises(BadCSR):
        names_equal(name, OTHER)


@pytest.mark.parametrize(
    "text",
    [
        *("OID.4=x", "OID.=x", "oid.CN=x", ".=x", "4.=x", "1.=x", "1..2=x", "C.N=x", "0.40=x", "3.1=x"),
        *("1.2.-3=x", "1.2.+3=x", "1.2. 3=x", "1.2.3_4=x", "2.5.4.\uff13=x", "oid.oid.2.5.4.3=x"),
        *(f"{'9' * 5000}.1=x", f"OID.1.{'9' * 5000}=x", f"1.2.{'9' * 5000}=x", f"1{'.2' * 2000}=x"),
        *("CN=a" + "+CN=a" * 1600, "CN=a" + ",CN=a" * 1600, "=" * 8192, "CN=" + "\\" * 8188, "CN=" + "\\c3" * 2700),
    ],
)
def test_attribute_types_that_are_none(text: str) -> None:
    """In all forms of a name and as a directoryName: a clear error, never one of Python's."""

    def read() -> None:
        for written in (text, f"/{text}", f"CN=a,{text}", f"CN=a+{text}"):
            with pytest.raises(RequestError):
                name_from_text(written)
            with pytest.raises(RequestError):
                name_from_san_text(f"dirName:{written}")

    assert cost_in_signatures(read) < BATCH


# --- subjectAltName ----------------------------------------------------------------------------


def san_of(tag: int, contents: list[bytes]) -> bytes:
    return der.sequence(*(der.tlv(tag, content) for content in contents))


def a_label(text: str) -> str:
    return "xn--" + text.encode("punycode").decode("ascii")


def a_labels(count: int, letters: str) -> list[str]:
    """Different A-labels, and at each call others, which nothing remembers."""
    start = next(_fresh) * 10
    return [a_label(letters + chr(0x4E00 + start % 10_000 + number)) for number in range(count)]


def joined(labels: list[str], size: int) -> list[str]:
    """Host names of so many labels each."""
    return [".".join(labels[at : at + size]) for at in range(0, len(labels), size)]


HOSTS: dict[str, Callable[[], list[str]]] = {
    "long A-labels": lambda: joined(a_labels(300, "\u0e01" * 18), 3),
    "short A-labels": lambda: joined(a_labels(2000, ""), 20),
    "A-labels in capitals": lambda: [host.upper() for host in joined(a_labels(2000, ""), 20)],
    "Arabic A-labels": lambda: joined(a_labels(300, "\u0628" * 20), 3),
    "as many as there may be": lambda: joined(a_labels(MAXIMUM_A_LABELS, "\u0e01" * 18), 3),
    "the same again": lambda: [f"h{n}.{a_label('ü' * 10)}.{a_label('рф')}" for n in range(100)],
    "invalid": lambda: [".".join(["xn--" + "9" * 59] * 3) for _ in range(100)],
    "many labels": lambda: ["a." * 120 + f"x{n}" for n in range(100)],
}


@pytest.mark.parametrize("kind", HOSTS)
def test_host_names(kind: str) -> None:
    """Each A-label is decoded and checked, which takes as long as some signatures."""

    def read() -> None:
        for tag, before in ((0x82, b""), (0x81, b"a@")):
            value = san_of(tag, [before + host.encode() for host in HOSTS[kind]()])
            with contextlib.suppress(BadCSR):
                parse_san(value)

    assert cost_in_signatures(read) < BATCH


def test_the_number_of_a_labels() -> None:
    """Different ones count, whatever their case; ordinary requests stay below."""
    labels = a_labels(MAXIMUM_A_LABELS + 1, "")
    packed = [".".join(labels[at : at + 10]).encode() for at in range(0, len(labels), 10)]
    with pytest.raises(BadCSR, match="different A-labels"):
        parse_san(san_of(0x82, packed))
    fewer = packed[:-1]
    assert len(parse_san(san_of(0x82, [*fewer, *(host.upper() for host in fewer)]))) == 2 * len(fewer)


@pytest.mark.parametrize("script", REPEATED)
@pytest.mark.parametrize("count", [8, 100])
@pytest.mark.parametrize("total", [CSR_SIZE, 2 * MAXIMUM_SIZE])
def test_directory_names(script: str, count: int, total: int) -> None:
    """As many as one request can hold, read, shown and compared."""

    def names() -> bytes:
        size = total // count - 60
        return san_of(
            0xA4, [name_of((SURNAME, filled(REPEATED[script], size, f"{next(_fresh)}"))) for _ in range(count)]
        )

    def read() -> None:
        with contextlib.suppress(BadCSR):
            first, second = parse_san(names()), parse_san(names())
            assert all(name.text for name in first)
            assert not same_names(first, second)

    assert cost_in_signatures(read) < BATCH


# --- name constraints --------------------------------------------------------------------------

# Tag: a subtree among a thousand, and names beside all of them.
SUBTREES: dict[str, tuple[int, Callable[[int], bytes], Callable[[int], bytes]]] = {
    "DNS": (0x82, lambda n: b"h%d.example.org" % n, lambda n: b"h%d.example.com" % n),
    "DNS of many labels": (0x82, lambda n: b"h%d.example.org" % n, lambda n: b"a." * 110 + b"h%d.example.com" % n),
    "e-mail hosts": (0x81, lambda n: b"h%d.example.org" % n, lambda n: b"u%d@example.com" % n),
    "e-mail addresses": (0x81, lambda n: b"u%d@example.org" % n, lambda n: b"u%d@example.com" % n),
    "URI": (0x86, lambda n: b".h%d.example.org" % n, lambda n: b"http://example.com/" + b"a" * 600),
    "URI of signs": (0x86, lambda n: b".h%d.example.org" % n, lambda n: b"http://" + b"@" * 600 + b"example.com"),
    "URI that can't be read": (0x86, lambda n: b".h%d.example.org" % n, lambda n: b"x:" * 300),
    "IP": (0x87, lambda n: bytes((10, n >> 8, n & 255, 0, 255, 255, 255, 0)), lambda n: bytes((192, 0, 2, n))),
    "IP, many masks": (0x87, lambda n: bytes((10, 0, 0, 0, 255, 1 + n % 255, n >> 8, 0)), lambda n: b"\xc0\0\2\1"),
    "directory": (
        0xA4,
        lambda n: build_name([("2.5.4.10", f"Organization {n} é")]),
        lambda n: name_of((SURNAME, f"{next(_fresh)}" + "\u0301\u0316" * 100)),
    ),
}


@pytest.mark.parametrize("kind", SUBTREES)
@pytest.mark.parametrize("excluded", [False, True])
def test_name_constraints(kind: str, excluded: bool) -> None:
    """A hundred names under a CA of a thousand subtrees."""
    tag, base, content = SUBTREES[kind]
    subtrees = tuple((tag, base(number)) for number in range(1000))
    constraints = NameConstraints((), subtrees) if excluded else NameConstraints(subtrees, ())
    subject = parse_name(OTHER)

    def check() -> None:
        value = san_of(tag, [content(number) for number in range(100)])
        with contextlib.suppress(PolicyViolation, MalformedRequest):
            check_names([constraints], subject, [Extension("2.5.29.17", False, value)])

    assert cost_in_signatures(check) < BATCH
