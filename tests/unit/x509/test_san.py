"""Subject alternative names (POL-4)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import BadCSR, MalformedRequest, RequestError
from pikachu.x509 import der
from pikachu.x509.names import name_from_text
from pikachu.x509.san import (
    GeneralName,
    NameKind,
    encode_san,
    name_from_san_text,
    parse_san,
    same_names,
)
from tests.support.reference_work import BATCH, costs_at_most

DNS, EMAIL, URI, IP = 2, 1, 6, 7

USER_PRINCIPAL_NAME = "1.3.6.1.4.1.311.20.2.3"


def san_text(names: Iterable[GeneralName]) -> str:
    """Format names as ``DNS:a.example.com, IP:192.0.2.1``."""
    return ", ".join(name.text for name in names)


def san(*names: bytes) -> bytes:
    return der.sequence(*names)


def one(tag: int, content: bytes) -> bytes:
    return san(der.implicit(tag, content))


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (der.implicit(DNS, b"a.example.com"), "DNS:a.example.com"),
        (der.implicit(DNS, b"*.example.com"), "DNS:*.example.com"),
        (der.implicit(DNS, b"router1"), "DNS:router1"),
        (der.implicit(DNS, b"xn--bcher-kva.example"), "DNS:xn--bcher-kva.example"),
        (der.implicit(DNS, b"1.2.example"), "DNS:1.2.example"),
        (der.implicit(IP, b"\xc0\x00\x02\x01"), "IP:192.0.2.1"),
        (der.implicit(IP, b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01"), "IP:2001:db8::1"),
        (der.implicit(EMAIL, b"a.b+c@example.com"), "email:a.b+c@example.com"),
        (der.implicit(URI, b"https://example.com/x?y#z"), "URI:https://example.com/x?y#z"),
        (der.implicit(URI, b"spiffe://example.com/x"), "URI:spiffe://example.com/x"),
        (
            der.implicit(URI, b"urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
            "URI:urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        ),
        (der.implicit(8, der.parse(der.oid("1.2.3")).content), "RID:1.2.3"),
        (der.explicit(4, name_from_text("CN=x,O=y")), "dirName:CN=x,O=y"),
    ],
)
def test_accepted_and_shown(encoded: bytes, text: str) -> None:
    names = parse_san(san(encoded))
    assert san_text(names) == text
    assert encode_san(names) == san(encoded)
    assert name_from_san_text(text) == names[0]


def test_what_cryptography_writes() -> None:
    """The same names in the same order."""
    extension = x509.SubjectAlternativeName([x509.DNSName("a.example.com"), x509.RFC822Name("a@example.com")])
    assert san_text(parse_san(extension.public_bytes())) == "DNS:a.example.com, email:a@example.com"


@pytest.mark.parametrize(
    "value",
    [
        san(),
        one(DNS, b""),
        one(DNS, b"*."),
        one(DNS, b"*"),
        one(DNS, b"*.com"),
        one(DNS, b"a.*.example.com"),
        one(DNS, b"a*.example.com"),
        one(DNS, b"*.*.example.com"),
        one(DNS, b"a..b"),
        one(DNS, b".a"),
        one(DNS, b"a."),
        one(DNS, b"-a.example"),
        one(DNS, b"a-.example"),
        one(DNS, b"a_b.example"),
        one(DNS, b"a b"),
        one(DNS, b"a\x00.example.com"),
        one(DNS, b"a\n"),
        one(DNS, b"a\xe4"),
        one(DNS, b"a" * 64),
        one(DNS, b"a." * 127 + b"aa"),
        one(DNS, b"xn--"),
        one(DNS, b"xn--a"),
        one(DNS, b"xn--zzzzzzzzzz99999"),
        one(DNS, b"ab--cd.example"),
        one(IP, b""),
        one(IP, bytes(3)),
        one(IP, bytes(4)),
        one(IP, bytes(8)),
        one(IP, bytes(16)),
        one(EMAIL, b""),
        one(EMAIL, b"a"),
        one(EMAIL, b"@example.com"),
        one(EMAIL, b"a@"),
        one(EMAIL, b"a b@example.com"),
        one(EMAIL, b"a\x00@example.com"),
        one(EMAIL, b"a@*.example.com"),
        one(EMAIL, b"a" * 65 + b"@example.com"),
        one(URI, b""),
        one(URI, b"/relative"),
        one(URI, b"javascript:alert(1)"),
        one(URI, b"JavaScript:alert(1)"),
        one(URI, b"data:text/html,x"),
        one(URI, b"http:///x"),
        one(URI, b"http:x"),
        one(URI, b"http://u@/"),
        one(URI, b"http://a b/"),
        one(URI, b"http://a/<script>"),
        one(URI, b"http://a/" + b"x" * 3000),
        san(der.explicit(4, der.sequence())),
        san(der.explicit(3, b"")),
        san(der.explicit(5, b"")),
        san(der.utf8_string("a.example.com")),
        san(der.implicit(0, b"")),
        san(der.implicit(4, b"")),
    ],
)
def test_refused(value: bytes) -> None:
    """Empty, malformed or forbidden names."""
    with pytest.raises(BadCSR):
        parse_san(value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x30",
        der.set_of(()),
        san() + b"\0",
        san(der.explicit(4, b"")),
        san(der.explicit(0, b"")),
        one(8, b"\x80"),
    ],
)
def test_malformed(value: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_san(value)


def test_limit() -> None:
    """One name too many."""
    names = [der.implicit(DNS, b"a%d.example.com" % index) for index in range(101)]
    assert len(parse_san(san(*names[:100]))) == 100
    with pytest.raises(BadCSR, match="more than 100"):
        parse_san(san(*names))
    assert len(parse_san(san(*names), limit=101)) == 101


def test_switches() -> None:
    """POL-4: wildcards and otherNames only where allowed."""
    with pytest.raises(BadCSR, match="wildcard"):
        parse_san(one(DNS, b"*.example.com"), allow_wildcard=False)
    principal = san(
        der.explicit(0, der.oid(USER_PRINCIPAL_NAME) + der.explicit(0, der.utf8_string("user@example.com")))
    )
    with pytest.raises(BadCSR, match="otherName"):
        parse_san(principal)
    (found,) = parse_san(principal, allow_other_name=True)
    assert (found.kind, found.text) == (NameKind.OTHER, f"otherName:{USER_PRINCIPAL_NAME};user@example.com")
    number = san(der.explicit(0, der.oid("1.2.3") + der.explicit(0, der.integer(5))))
    assert san_text(parse_san(number, allow_other_name=True)) == "otherName:1.2.3;#020105"
    for value in ("", "a\0b", "a\u202eb", "x" * 1025):
        other = san(der.explicit(0, der.oid("1.2.3") + der.explicit(0, der.utf8_string(value))))
        with pytest.raises(BadCSR):
            parse_san(other, allow_other_name=True)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (["DNS:a.example", "IP:192.0.2.1"], ["IP:192.0.2.1", "DNS:A.Example"], True),
        (["email:a@Example.com"], ["email:a@example.COM"], True),
        (["email:A@example.com"], ["email:a@example.com"], False),
        (["dirName:CN=A"], ["dirName:CN=a"], True),
        (["dirName:CN=A", "dirName:CN=b"], ["dirName:CN=a"], False),
        (["DNS:a.example"], ["DNS:b.example"], False),
        (["DNS:a.example"], ["DNS:a.example", "DNS:b.example"], False),
        (["DNS:a.example"], [], False),
        ([], [], True),
    ],
)
def test_comparison(first: list[str], second: list[str], same: bool) -> None:
    """As sets."""
    left, right = ([name_from_san_text(text) for text in names] for names in (first, second))
    assert same_names(left, right) is same
    assert same_names(right, left) is same


@pytest.mark.parametrize(
    "text", ["", "a.example", "DNS:", "DNS:ä", "IP:x", "IP:1.2.3", "RID:x", "foo:bar", "otherName:x", "dirName:x"]
)
def test_text_refused(text: str) -> None:
    with pytest.raises((MalformedRequest, BadCSR)):
        name_from_san_text(text)


@given(st.binary(max_size=80), st.integers(0, 255))
def test_any_bytes_give_only_our_errors(data: bytes, tag: int) -> None:
    for candidate in (data, san(data), san(der.tlv(tag, data))):
        try:
            assert san_text(parse_san(candidate, allow_other_name=True)).isprintable()
        except RequestError:
            continue


@given(st.lists(st.ip_addresses().filter(lambda address: not address.is_unspecified), min_size=1, max_size=10))
def test_addresses_round_trip(addresses: list[object]) -> None:
    names = [name_from_san_text(f"IP:{address}") for address in addresses]
    assert parse_san(encode_san(names)) == tuple(names)


def test_hostile_sizes_take_no_time() -> None:
    with costs_at_most(4 * BATCH):
        for content in (b"a." * 30000, b"xn--" + b"a" * 60000, b"-" * 60000):
            with pytest.raises(BadCSR):
                parse_san(one(DNS, content))
        with pytest.raises(BadCSR):
            parse_san(one(EMAIL, b"a." * 30000))
        label = b"xn--" + b"9" * 59
        with pytest.raises(BadCSR):
            parse_san(san(*[der.implicit(DNS, b".".join([label] * 3))] * 100))


def test_many_directory_names_are_compared_in_no_time() -> None:
    """Each is folded once, not once for each of the others."""
    names = [name_from_text(f"CN=n{number},O=" + "\u2167" * 20) for number in range(100)]
    first, second = (
        parse_san(der.sequence(*(der.explicit(4, name) for name in order))) for order in (names, names[::-1])
    )
    with costs_at_most(2 * BATCH):
        assert same_names(first, second)
        assert not same_names(first, second[1:])
