"""Typed subject alternative names."""

from __future__ import annotations

import pytest

from pikachu.core.errors import MalformedRequest
from pikachu.x509.san_input import parse_names, read_names, with_prefix

RIGHT = {
    "DNS:host.example.com": "DNS:host.example.com",
    " dns : Host.example.com ": "DNS:Host.example.com",
    "DNS:*.example.com": "DNS:*.example.com",
    "DNS:localhost": "DNS:localhost",
    "DNS:bücher.example": "DNS:xn--bcher-kva.example",
    "DNS:*.bücher.example": "DNS:*.xn--bcher-kva.example",
    "DNS:xn--bcher-kva.example": "DNS:xn--bcher-kva.example",
    "IP:192.0.2.1": "IP:192.0.2.1",
    "IP:2001:DB8:0::1": "IP:2001:db8::1",
    "email:a.b@example.com": "email:a.b@example.com",
    "email:a@bücher.example": "email:a@xn--bcher-kva.example",
    "URI:https://example.com/a?b=c": "URI:https://example.com/a?b=c",
    "uri:urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6": "URI:urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
}

WRONG = {
    "host.example.com": "Write a subject alternative name as DNS:",
    "RID:1.2.3": "Write a subject alternative name as DNS:",
    "": "Write a subject alternative name as DNS:",
    "DNS:": "Enter a value after “DNS:”",
    "DNS:host.example.com.": "Remove the dot at the end",
    "email:a@example.com.": "Remove the dot at the end",
    "DNS:a_b.example.com": "Remove the underscore",
    "DNS:*": "A wildcard stands alone, first",
    "DNS:*.com": "A wildcard stands alone, first",
    "DNS:a*.example.com": "A wildcard stands alone, first",
    "DNS:a.*.example.com": "A wildcard stands alone, first",
    "DNS:xn--a-.example": "Enter a host name such as",
    "DNS:" + "bücher." * 60 + "example": "A host name has at most 253 characters.",
    "DNS:-a.example.com": "Enter a host name such as",
    "DNS:a b.example.com": "Enter a host name such as",
    "DNS:" + "a" * 64 + ".example.com": "Enter a host name such as",
    "DNS:192.0.2.1": "Write it as “IP:…”",
    "DNS:2001:db8::1": "Write it as “IP:…”",
    "DNS:a@example.com": "Write it as “email:…”",
    "DNS:https://example.com/": "Write it as “URI:…”",
    "DNS:bü cher.example": "no valid internationalized domain name",
    "IP:192.0.2.256": "four numbers from 0 to 255",
    "IP:192.0.2.01": "four numbers from 0 to 255",
    "IP:192.0.2.0/24": "This is a network",
    "IP:[2001:db8::1]": "Remove the brackets",
    "IP:fe80::1%eth0": "Remove the zone",
    "IP:192.0.2.1:443": "Remove the port",
    "IP:0.0.0.0": "The unspecified address",
    "IP:host.example.com": "Enter an IPv4 address such as",
    "email:example.com": "Enter an e-mail address such as",
    "email:a@b@example.com": "Enter an e-mail address such as",
    "email:ä@example.com": "must be ASCII",
    "URI:example.com": "Enter an absolute URI",
    "URI:https:///x": "Enter an absolute URI",
    "URI:javascript:alert(1)": "Enter an absolute URI",
    "URI:https://bücher.example/": "Write the host of the URI in its ASCII form",
}


@pytest.mark.parametrize("text", RIGHT)
def test_right(text: str) -> None:
    """Host names, addresses, e-mail addresses and URIs; internationalized domain names become A-labels."""
    assert [name.text for name in parse_names([text])] == [RIGHT[text]]


@pytest.mark.parametrize("text", WRONG)
def test_wrong(text: str) -> None:
    """Each message says what to enter instead."""
    with pytest.raises(MalformedRequest) as error:
        parse_names(["DNS:right.example.com", text])
    assert WRONG[text] in error.value.public
    assert "right.example.com" not in error.value.public


def test_a_message_for_each_wrong_name() -> None:
    """All wrong names are reported at once, without their control characters."""
    with pytest.raises(MalformedRequest) as error:
        parse_names(["DNS:a_b", "IP:1.2.3", "DNS:c\nd"])
    assert error.value.public.count("“") >= 3
    assert "\n" not in error.value.public


def test_equal_names_are_one() -> None:
    """The same name twice is one, also in another spelling."""
    names = parse_names(["DNS:a.example.com", "DNS:A.EXAMPLE.COM", "IP:2001:db8::1", "IP:2001:db8:0::1"])
    assert [name.text for name in names] == ["DNS:a.example.com", "IP:2001:db8::1"]
    assert len(read_names(["DNS:a_b", "DNS:a_b", "DNS:c"])) == 3


def test_limits() -> None:
    """At most a hundred names."""
    with pytest.raises(MalformedRequest):
        parse_names([f"DNS:h{number}.example.com" for number in range(101)])


def test_too_many_a_labels() -> None:
    """Checking one costs as much as several signatures."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    names = [f"DNS:ü{one}{two}.ä{one}{two}.example" for one in alphabet[:8] for two in alphabet[:10]]
    with pytest.raises(MalformedRequest, match="at most 128"):
        parse_names(names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host.example.com", "DNS:host.example.com"),
        (" *.example.com", "DNS:*.example.com"),
        ("192.0.2.1", "IP:192.0.2.1"),
        ("192.0.2.0/24", "IP:192.0.2.0/24"),
        ("2001:db8::1", "IP:2001:db8::1"),
        ("[2001:db8::1]", "IP:[2001:db8::1]"),
        ("a@example.com", "email:a@example.com"),
        ("https://example.com", "URI:https://example.com"),
        ("spiffe://a@example.com/x", "URI:spiffe://a@example.com/x"),
        ("urn:uuid:f81d4fae", "URI:urn:uuid:f81d4fae"),
        ("mailto:a@example.com", "URI:mailto:a@example.com"),
        ("host.example.com:443", "DNS:host.example.com:443"),
        ("ip:192.0.2.1", "ip:192.0.2.1"),
        ("DNS:a", "DNS:a"),
    ],
)
def test_kinds_are_guessed(text: str, expected: str) -> None:
    """A name without a prefix gets that of its kind."""
    assert with_prefix(text) == expected


@pytest.mark.parametrize("separator", [".", "\u3002", "\uff0e"])
def test_many_internationalized_labels(separator: str) -> None:
    """Converting a label costs as much as a signature, so too many are refused before the first one too many."""
    domains = [separator.join(f"ü{number}x{part}" for part in range(12)) + ".example" for number in range(100)]
    typed = read_names(f"DNS:{domain}" for domain in domains)
    assert [one.name is not None for one in typed] == [True] * 10 + [False] * 90
    assert typed[-1].error == "Use at most 128 internationalized labels in all names."
