"""Extensions as a person reads them (RA-3, CRT-2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.x509 import der
from pikachu.x509.extension import Extension
from pikachu.x509.extension_text import extension_text, object_name
from pikachu.x509.template import ExtensionContext, parse
from tests.support.pki import make_key, make_name, spki

OIDS = [f"2.5.29.{arc}" for arc in (14, 15, 17, 18, 19, 20, 27, 30, 31, 32, 35, 37, 46, 54)] + [
    "1.3.6.1.5.5.7.1.1",
    "1.3.6.1.5.5.7.1.24",
    "1.3.6.1.5.5.7.48.1.5",
    "2.16.840.1.113730.1.1",
    "1.2.3.4",
]


def text_of(line: str) -> tuple[str, ...]:
    """Return the text of the extension that one line of a template defines."""
    key = make_key("p256")
    context = ExtensionContext(
        spki(key), make_name("a").public_bytes(), issuer_key_identifier=bytes(range(20)), issuer_serial=0xABC
    )
    (extension,) = parse(f"[ v3_ext ]\n{line}\n").extensions(context)
    return extension_text(extension)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("basicConstraints = CA:FALSE", ("CA:FALSE",)),
        ("basicConstraints = critical, CA:TRUE, pathlen:0", ("CA:TRUE, pathlen:0",)),
        ("keyUsage = digitalSignature, keyEncipherment", ("Digital Signature, Key Encipherment",)),
        ("extendedKeyUsage = serverAuth, 1.2.3.4", ("TLS Web Server Authentication, 1.2.3.4",)),
        ("subjectKeyIdentifier = 0a0b", ("0A:0B",)),
        ("authorityKeyIdentifier = keyid", ("keyid:" + bytes(range(20)).hex(":").upper(),)),
        (
            "subjectAltName = DNS:a.example.com, IP:192.0.2.1, IP:2001:db8::1, "
            "email:a@example.com, URI:urn:x, RID:1.2.3",
            (
                "DNS:a.example.com",
                "IP:192.0.2.1",
                "IP:2001:db8::1",
                "email:a@example.com",
                "URI:urn:x",
                "RID:1.2.3",
            ),
        ),
        ("subjectAltName = otherName:1.2.3;UTF8:x", ("otherName:1.2.3;x",)),
        (
            "authorityInfoAccess = OCSP;URI:http://ca.example.com/ocsp, caIssuers;URI:http://ca.example.com/a.cer",
            ("OCSP - URI:http://ca.example.com/ocsp", "CA Issuers - URI:http://ca.example.com/a.cer"),
        ),
        ("crlDistributionPoints = URI:http://ca.example.com/a.crl", ("URI:http://ca.example.com/a.crl",)),
        ("certificatePolicies = 1.2.3.4", ("Policy: 1.2.3.4",)),
        (
            "nameConstraints = permitted;DNS:example.com, excluded;IP:192.0.2.0/255.255.255.0",
            ("Permitted: DNS:example.com", "Excluded: IP:192.0.2.0/255.255.255.0"),
        ),
        ("tlsfeature = status_request", ("status_request",)),
        ("noCheck = yes", ("present",)),
        ("nsComment = made here", ("made here",)),
        ("1.2.3.4 = ASN1:UTF8:text", ("text",)),
        ("1.2.3.4 = DER:0500", ("05:00",)),
    ],
)
def test_text(line: str, text: tuple[str, ...]) -> None:
    """The words are openssl's where it has some."""
    assert text_of(line) == text


def test_names_of_extensions() -> None:
    """An unknown extension is shown by its OID."""
    assert object_name("2.5.29.15") == "X509v3 Key Usage"
    assert object_name("1.2.3.4") == "1.2.3.4"


def test_what_would_deceive_is_escaped() -> None:
    """Control characters and changes of writing direction don't reach the page."""
    name = der.sequence(der.implicit(2, b"a\nb\x00"), der.implicit(2, "\u202e".encode()))
    for line in extension_text(Extension("2.5.29.17", False, name)):
        assert line.isprintable()
    assert extension_text(Extension("1.2.3", False, der.utf8_string("\u202egpj.exe")))[0].isprintable()


def test_bits_are_bounded() -> None:
    """A string of a million bits is no list of names."""
    lines = extension_text(Extension("2.5.29.15", False, der.bit_string(b"\xff" * 100_000)))
    assert lines[0] == "this can't be read"


@given(oid=st.sampled_from(OIDS), value=st.binary(max_size=200))
def test_any_bytes_have_a_text(oid: str, value: bytes) -> None:
    """Unreadable values are shown in hexadecimal digits."""
    lines = extension_text(Extension(oid, False, value))
    assert lines
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("oid", "value", "text"),
    [
        ("2.5.29.21", der.enumerated(1), ("Key Compromise",)),
        ("2.5.29.21", der.enumerated(7), ("7",)),
        ("2.5.29.24", der.tlv(der.GENERALIZED_TIME, b"20260304050607Z"), ("2026-03-04 05:06:07 UTC",)),
        (
            "2.5.29.28",
            der.sequence(der.explicit(0, der.explicit(0, der.implicit(6, b"http://a"))), der.implicit(1, b"\xff")),
            ("URI:http://a", "Only User Certificates"),
        ),
        ("2.5.29.33", der.sequence(der.sequence(der.oid("1.2.3"), der.oid("1.2.4"))), ("1.2.3 : 1.2.4",)),
        ("2.5.29.36", der.sequence(der.implicit(0, b"\x02")), ("Require Explicit Policy: 2",)),
        ("2.5.29.36", der.sequence(der.implicit(5, b"\x02")), ("this can't be read", "30:03:85:01:02")),
    ],
)
def test_extensions_of_lists_and_authorities(oid: str, value: bytes, text: tuple[str, ...]) -> None:
    """VA-1: extensions of CRLs, of their entries and of CA certificates."""
    assert extension_text(Extension(oid, False, value)) == text
