"""Trust in proxies: X-Forwarded-For, and headers with the client's certificate."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import quote

from twisted.internet.address import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import MalformedRequest
from pikachu.http.proxies import (
    CLIENT_CERT,
    MAXIMUM_HOPS,
    TrustedProxies,
    parse_address,
    parse_certificate_header,
    parse_chain_header,
)
from pikachu.x509.pem import pem

PROXIES = TrustedProxies([ipaddress.ip_network(text) for text in ("10.0.0.0/8", "192.0.2.1", "2001:db8:1::/48")])
DER = bytes(range(200))
RFC9440 = b":" + base64.b64encode(DER) + b":"
ESCAPED = quote(pem("CERTIFICATE", DER)).encode()


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # A stranger's header is ignored, whatever it says.
        ("203.0.113.5", [b"198.51.100.1"], "203.0.113.5"),
        ("203.0.113.5", [b"10.0.0.1, 198.51.100.1"], "203.0.113.5"),
        # From the right, the first that is no proxy's.
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", [b"198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", [b"198.51.100.1"], "198.51.100.1"),
        ("192.0.2.1", [b"1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("192.0.2.1", [b"1.2.3.4, 198.51.100.1, 10.0.0.7,10.0.0.8"], "198.51.100.1"),
        ("192.0.2.1", [b"1.2.3.4", b"198.51.100.1", b"10.0.0.7"], "198.51.100.1"),
        ("2001:db8:1::1", [b"2001:DB8:2::7"], "2001:db8:2::7"),
        # All are proxies: the outermost is the client.
        ("192.0.2.1", [b"10.0.0.7"], "10.0.0.7"),
        ("192.0.2.1", [b"10.0.0.9, 10.0.0.7"], "10.0.0.9"),
        # What is no address says nothing, and nothing to its left is believed.
        ("192.0.2.1", [b"198.51.100.1, unknown"], "192.0.2.1"),
        ("192.0.2.1", [b"198.51.100.1, unknown, 10.0.0.7"], "10.0.0.7"),
        ("192.0.2.1", [b""], "192.0.2.1"),
        ("192.0.2.1", [b"198.51.100.1,"], "192.0.2.1"),
        ("192.0.2.1", [b"\xff\x00"], "192.0.2.1"),
        ("192.0.2.1", [b"999.1.1.1"], "192.0.2.1"),
        ("192.0.2.1", [b"01.2.3.4"], "192.0.2.1"),
        # Ports, zones and mapped addresses.
        ("192.0.2.1", [b"198.51.100.1:5678"], "198.51.100.1"),
        ("192.0.2.1", [b"[2001:db8:2::7]:443"], "2001:db8:2::7"),
        ("192.0.2.1", [b"[2001:db8:2::7]"], "2001:db8:2::7"),
        ("192.0.2.1", [b"fe80::1%eth0"], "fe80::1"),
        ("192.0.2.1", [b"::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:192.0.2.1", [b"198.51.100.1"], "198.51.100.1"),
        ("-", [b"198.51.100.1"], "-"),
        # More hops than anybody has.
        ("192.0.2.1", [b"1.2.3.4," + b",".join([b"10.0.0.7"] * MAXIMUM_HOPS)], "10.0.0.7"),
    ],
)
def test_client_address(peer: str, forwarded: Sequence[bytes], client: str) -> None:
    assert PROXIES.client_address(IPv4Address("TCP", peer, 1), forwarded) == client


def test_without_proxies_headers_say_nothing() -> None:
    assert TrustedProxies().client_address(IPv4Address("TCP", "127.0.0.1", 1), [b"198.51.100.1"]) == "127.0.0.1"


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_any_header_gives_an_address(forwarded: list[bytes]) -> None:
    assert parse_address(PROXIES.client_address(IPv4Address("TCP", "192.0.2.1", 1), forwarded)) is not None


@pytest.mark.parametrize(
    ("name", "values", "der"),
    [
        (CLIENT_CERT, [], None),
        (CLIENT_CERT, [b""], None),
        (CLIENT_CERT, [b" "], None),
        (CLIENT_CERT, [RFC9440], DER),
        (CLIENT_CERT, [b" " + RFC9440 + b" "], DER),
        (b"x-ssl-cert", [], None),
        (b"x-ssl-cert", [b""], None),
        (b"x-ssl-cert", [ESCAPED], DER),
        (b"x-ssl-cert", [quote(pem("CERTIFICATE", DER), safe="").encode()], DER),
    ],
)
def test_certificate(name: bytes, values: list[bytes], der: bytes | None) -> None:
    assert parse_certificate_header(name, values) == der


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (CLIENT_CERT, [RFC9440, RFC9440]),
        (CLIENT_CERT, [RFC9440, b""]),
        (CLIENT_CERT, [RFC9440 + b", " + RFC9440]),
        (CLIENT_CERT, [RFC9440[1:-1]]),
        (CLIENT_CERT, [RFC9440 + b";a=1"]),
        (CLIENT_CERT, [b"::"]),
        (CLIENT_CERT, [b":A:"]),
        (CLIENT_CERT, [b":=A==:"]),
        (CLIENT_CERT, [ESCAPED]),
        (b"x-ssl-cert", [RFC9440]),
        (b"x-ssl-cert", [ESCAPED, ESCAPED]),
        (b"x-ssl-cert", [ESCAPED + ESCAPED]),
        (b"x-ssl-cert", [b"(null)"]),
        (b"x-ssl-cert", [ESCAPED.replace(b"CERTIFICATE", b"X509 CRL")]),
        (b"x-ssl-cert", [b"-----BEGIN CERTIFICATE-----AAA-----END CERTIFICATE-----"]),
    ],
)
def test_ambiguous_or_malformed_certificate(name: bytes, values: list[bytes]) -> None:
    with pytest.raises(MalformedRequest, match="the proxy"):
        parse_certificate_header(name, values)


def test_chain() -> None:
    assert parse_chain_header([]) == ()
    assert parse_chain_header([RFC9440 + b", " + RFC9440]) == (DER, DER)
    assert parse_chain_header([RFC9440, RFC9440]) == (DER, DER)
    assert len(parse_chain_header([b", ".join([RFC9440] * 20)])) == 8
    with pytest.raises(MalformedRequest):
        parse_chain_header([b":A:"])


@given(st.sampled_from([CLIENT_CERT, b"x-ssl-cert"]), st.binary(max_size=300))
def test_any_value_is_read_or_refused(name: bytes, value: bytes) -> None:
    with suppress(MalformedRequest):
        parse_certificate_header(name, [value])
