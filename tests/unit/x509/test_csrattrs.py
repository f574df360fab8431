"""CSR attributes."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import BadCSR, UnsupportedAlgorithm
from pikachu.x509 import der
from pikachu.x509.csr import CHALLENGE_PASSWORD, EXTENSION_REQUEST, parse_csr, verify_csr
from pikachu.x509.csrattrs import (
    EXTENSION_TEMPLATE,
    LIBEST_LIMIT,
    REQUEST_TEMPLATE,
    CSRAttribute,
    RequiredAttributes,
    encode_csrattrs,
)
from pikachu.x509.extension import Extension, parse_extensions
from tests.support.csrattrs import parse_csrattrs
from tests.unit.x509.requests import attribute, dns, extension, extension_request, request, san

VECTOR = "MEEGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiMBYGCSqGSIb3DQEJDjEJBgcrBgEBAQEWBggqhkjOPQQDAw=="
KEY_USAGE = Extension("2.5.29.15", True, der.named_bits([0]))


def test_rfc_7030_vector() -> None:
    """The old form is read, and encodes to the same bytes."""
    data = base64.b64decode(VECTOR)
    attributes = parse_csrattrs(data)
    assert attributes == (
        CSRAttribute(CHALLENGE_PASSWORD),
        CSRAttribute("1.2.840.10045.2.1", (der.oid("1.3.132.0.34"),)),
        CSRAttribute(EXTENSION_REQUEST, (der.oid("1.3.6.1.1.1.1.22"),)),
        CSRAttribute("1.2.840.10045.4.3.3"),
    )
    assert encode_csrattrs(attributes) == data


def test_nothing_demanded() -> None:
    """Answered by 204."""
    assert RequiredAttributes().attributes() == ()
    assert encode_csrattrs(()) == b"\x30\x00"
    assert parse_csrattrs(b"\x30\x00") == ()


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            "RSA/3072",
            [CSRAttribute("1.2.840.113549.1.1.1", (der.integer(3072),)), CSRAttribute("1.2.840.113549.1.1.11")],
        ),
        (
            "EC/secp384r1",
            [
                CSRAttribute("1.2.840.10045.2.1", (der.oid("1.3.132.0.34"),)),
                CSRAttribute("1.2.840.10045.4.3.3"),
            ],
        ),
        ("Ed25519", [CSRAttribute("1.3.101.112")]),
        ("PQC/mldsa65", [CSRAttribute("2.16.840.1.101.3.4.3.18")]),
    ],
)
def test_key_types(key: str, expected: list[CSRAttribute]) -> None:
    """The key type with its parameter, the signature algorithm as a bare OID."""
    assert list(RequiredAttributes(keys=(key,)).attributes()) == expected


@pytest.mark.parametrize("key", ["", "RSA/x", "EC/foo", "DSA/2048"])
def test_key_types_that_do_not_exist(key: str) -> None:
    with pytest.raises(UnsupportedAlgorithm):
        RequiredAttributes(keys=(key,)).attributes()


def test_linking_and_extensions() -> None:
    """The challengePassword OID when linking is demanded; whole Extensions in one attribute."""
    link, asked = RequiredAttributes(channel_binding=True, extensions=(KEY_USAGE,)).attributes()
    assert link == CSRAttribute(CHALLENGE_PASSWORD)
    assert asked.oid == EXTENSION_REQUEST
    assert [parse_extensions(value) for value in asked.values] == [(KEY_USAGE,)]


def test_template() -> None:
    """Demands that only RFC 9908's template can express, byte for byte."""
    demands = RequiredAttributes(
        keys=("EC/prime256v1",), extensions=(KEY_USAGE,), extension_types=("2.5.29.17",), subject_types=("2.5.4.3",)
    )
    *_, template = demands.attributes()
    assert template.oid == REQUEST_TEMPLATE
    extensions = der.sequence(KEY_USAGE.der, der.sequence(der.oid("2.5.29.17")))
    assert template.values == (
        der.sequence(
            der.integer(0),
            der.sequence(der.set_of((der.sequence(der.oid("2.5.4.3")),))),
            der.explicit(0, der.sequence(der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7"))),
            der.explicit(1, der.sequence(der.oid(EXTENSION_TEMPLATE), der.set_of((extensions,)))),
        ),
    )
    for keys in (("RSA/2048",), ("PQC/mldsa44",), ("RSA",), ("RSA/2048", "Ed25519"), ()):
        assert RequiredAttributes(keys=keys, subject_types=("2.5.4.3",)).attributes()[-1].oid == REQUEST_TEMPLATE


def test_libest_can_read_it() -> None:
    """Base64 of at most 1024 characters; the template is what goes."""
    large = Extension("1.2.3", False, der.octet_string(bytes(500)))
    attributes = RequiredAttributes(extensions=(large,), extension_types=("2.5.29.17",)).attributes()
    assert [found.oid for found in attributes] == [EXTENSION_REQUEST]
    assert len(base64.b64encode(encode_csrattrs(attributes))) <= 1024
    assert LIBEST_LIMIT * 4 // 3 == 1024


def test_requests_are_compared() -> None:
    """The answer names all that is missing."""
    demands = RequiredAttributes(
        channel_binding=True,
        keys=("EC/secp384r1",),
        extensions=(KEY_USAGE,),
        extension_types=("2.5.29.17", "1.2.3.4"),
        subject_types=("2.5.4.10",),
    )
    csr = parse_csr(request())
    with pytest.raises(BadCSR) as caught:
        demands.check(csr, verify_csr(csr))
    for part in ("challengePassword", "EC/secp384r1", "keyUsage", "subjectAltName", "1.2.3.4", "2.5.4.10"):
        assert part in caught.value.public
    RequiredAttributes().check(csr, verify_csr(csr))
    asked = extension_request(
        extension(KEY_USAGE.oid, KEY_USAGE.value), extension("2.5.29.17", der.sequence(dns(b"a.example")))
    )
    good = parse_csr(request("CN=x,O=y", [asked, attribute(CHALLENGE_PASSWORD, der.utf8_string("x"))]))
    RequiredAttributes(
        channel_binding=True,
        keys=("EC/prime256v1",),
        extensions=(KEY_USAGE,),
        extension_types=("2.5.29.17",),
        subject_types=("2.5.4.10",),
    ).check(good, verify_csr(good))
    other = parse_csr(request(attributes=[san(dns(b"a.example"))]))
    with pytest.raises(BadCSR, match="keyUsage"):
        RequiredAttributes(extensions=(KEY_USAGE,)).check(other, verify_csr(other))


oids = st.lists(st.integers(0, 2**40), min_size=1, max_size=5).map(lambda arcs: ".".join(map(str, [1, 2, *arcs])))
elements = st.binary(max_size=20).map(der.octet_string) | st.integers().map(der.integer) | oids.map(der.oid)


@given(
    st.lists(st.builds(CSRAttribute, oids, st.lists(elements, max_size=3).map(lambda v: tuple(sorted(v)))), max_size=8)
)
def test_round_trip(attributes: list[CSRAttribute]) -> None:
    """decode(encode(m)) == m."""
    assert parse_csrattrs(encode_csrattrs(tuple(attributes))) == tuple(attributes)
