"""Certificates, requests and CRLs as text (CRT-2, VA-1, UI-7)."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import RevocationReason
from pikachu.x509 import der
from pikachu.x509.crl import assemble_crl, crl_entry, tbs_cert_list
from pikachu.x509.text import certificate_text, crl_text, csr_text
from tests.support.interop import require
from tests.support.pki import KEY_TYPES, Identity, make_ca, make_csr, make_leaf, sign, signature_algorithm

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
CA = make_ca("p256", "Example Issuing CA")
EXTENSIONS = [
    x509.IssuerAlternativeName([x509.UniformResourceIdentifier("http://ca.example.com/")]),
    x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                x509.oid.AuthorityInformationAccessOID.OCSP,
                x509.UniformResourceIdentifier("http://ca.example.com/ocsp"),
            )
        ]
    ),
    x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier("http://ca.example.com/a.crl")], None, None, None)]
    ),
    x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), ["http://ca.example.com/cps"])]),
    x509.NameConstraints([x509.DNSName("example.com")], None),
    x509.TLSFeature([x509.TLSFeatureType.status_request]),
    x509.OCSPNoCheck(),
    x509.UnrecognizedExtension(x509.ObjectIdentifier("2.16.840.1.113730.1.13"), b"\x16\x09made here"),
    x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x30\x03\x02\x01\x05"),
]
LEAF = make_leaf(CA, sans=["device.example.com", "IP:192.0.2.1"], extensions=EXTENSIONS, serial=2**150 + 7)


def make_crl(issuer: Identity, revoked: int, issuing_point: bytes = b"") -> bytes:
    """A CRL with that many entries, of serials from 0x1000."""
    algorithm = signature_algorithm(issuer.key)
    entries = b"".join(
        crl_entry(0x1000 + number, NOW, RevocationReason.KEY_COMPROMISE if number % 2 else None)
        for number in range(revoked)
    )
    tbs = tbs_cert_list(
        algorithm=algorithm,
        issuer_der=issuer.subject_der,
        updates=(NOW, NOW + timedelta(days=7)),
        entries=entries,
        number=12,
        authority_key_identifier=issuer.key_identifier,
    )
    return assemble_crl(tbs, algorithm, sign(issuer.key, tbs))


def openssl(command: str, data: bytes) -> str:
    """Return openssl's text for DER *data*."""
    require("openssl")
    arguments = ["openssl", command, "-inform", "DER", "-noout", "-text"]
    return subprocess.run(arguments, input=data, capture_output=True, check=True, timeout=30).stdout.decode()


def headings(text: str) -> list[str]:
    """The names of the extensions, with their criticality."""
    return re.findall(
        r"^ +((?:X509v3|Authority Information|TLS Feature|OCSP No Check|Netscape|[0-9.]{5,}:).*?): ?(critical)?\s*$",
        text,
        re.MULTILINE,
    )


def octets(text: str) -> list[str]:
    """The runs of hexadecimal octets that are longer than a line's, without anything between."""
    runs = re.findall(r"(?:^ +(?:[0-9a-fA-F]{2}:?)+ *\n)+", text, re.MULTILINE)
    return [run for found in runs if len(run := re.sub(r"[\s:]", "", found).lower()) > 40]


@pytest.mark.parametrize("key_type", [kind for kind in KEY_TYPES if not kind.startswith("mldsa")])
def test_certificates_are_as_openssl_reads_them(key_type: str) -> None:
    """Dates, key, extensions' names and the signature are the same."""
    ca = make_ca(key_type)
    leaf = make_leaf(ca, key_type=key_type, extensions=EXTENSIONS, serial=2**150 + 7)
    ours, theirs = certificate_text(leaf.der), openssl("x509", leaf.der)
    for wanted in ("Version", "Not Before", "Not After ", "Signature Algorithm", "Public Key Algorithm", "ASN1 OID"):
        pattern = rf"^ *{wanted}: *(.*?)\s*$"
        assert re.findall(pattern, ours, re.MULTILINE) == re.findall(pattern, theirs, re.MULTILINE)
    assert headings(ours) == headings(theirs)
    assert octets(ours)[-1] == octets(theirs)[-1]
    assert set(octets(theirs)) <= set(octets(ours))


@pytest.mark.parametrize("key_type", ["mldsa44", "mldsa65", "mldsa87"])
def test_ml_dsa_is_read_without_openssl(key_type: str) -> None:
    """PQC-1: Debian's openssl can't read such certificates."""
    ca = make_ca(key_type)
    text = certificate_text(ca.der)
    name = f"ML-DSA-{key_type[-2:]}"
    assert text.count(f"Signature Algorithm: {name}\n") == 2
    assert f"Public Key Algorithm: {name}\n" in text
    assert ca.key.public_key().public_bytes_raw().hex() in octets(text)  # type: ignore[union-attr]
    assert ca.certificate.signature.hex() in octets(text)
    request = make_csr(key_type)[1]
    assert f"Public Key Algorithm: {name}\n" in csr_text(request)
    assert f"Signature Algorithm: {name}\n" in crl_text(make_crl(ca, 0))


def test_a_certificate_tells_everything() -> None:
    """CRT-2: each field and each extension is there by its name."""
    text = certificate_text(LEAF.der)
    for line in (
        "Version: 3 (0x2)",
        "Issuer: CN=Example Issuing CA",
        "Subject: CN=device.example.com",
        "NIST CURVE: P-256",
        "X509v3 Basic Constraints: critical",
        "CA:FALSE",
        "DNS:device.example.com",
        "IP:192.0.2.1",
        "OCSP - URI:http://ca.example.com/ocsp",
        "URI:http://ca.example.com/a.crl",
        "Policy: 1.2.3.4",
        "Permitted: DNS:example.com",
        "status_request",
        "made here",
        "30:03:02:01:05",
    ):
        assert re.search(rf"^ +{re.escape(line)}$", text, re.MULTILINE), line
    assert f"{2**150 + 7:x}" in text.replace(":", "")


def test_a_challenge_password_is_never_shown() -> None:
    """The attribute is named, its value is not there in any form."""
    secret = "5EC2E7C0DE5EC2E7"
    text = csr_text(make_csr(sans=["a.example.com"], challenge=secret)[1])
    assert "challengePassword: (not shown)" in text
    assert secret not in text
    assert secret.encode().hex() not in text.replace(":", "")
    assert "DNS:a.example.com" in text


@pytest.mark.parametrize("key_type", ["rsa2048", "p384", "ed25519"])
def test_requests_are_as_openssl_reads_them(key_type: str) -> None:
    """Key, extensions' names and the signature are the same."""
    request = make_csr(key_type, sans=["a.example.com"])[1]
    ours, theirs = csr_text(request), openssl("req", request)
    assert headings(ours) == headings(theirs)
    assert set(octets(theirs)) <= set(octets(ours))
    assert "Version: 1 (0x0)" in ours
    assert "Version: 1 (0x0)" in theirs


def test_a_crl_is_as_openssl_reads_it() -> None:
    """VA-1: number, updates, entries with their reasons."""
    crl = make_crl(CA, 3)
    ours, theirs = crl_text(crl), openssl("crl", crl)
    for wanted in ("Version", "Last Update", "Next Update", "Revocation Date", "Signature Algorithm"):
        pattern = rf"^ *{wanted}:? *(.*?)\s*$"
        assert re.findall(pattern, ours, re.MULTILINE) == re.findall(pattern, theirs, re.MULTILINE)
    assert "Revoked Certificates (3):" in ours
    assert ours.count("Key Compromise") == theirs.count("Key Compromise") == 1
    assert re.findall(r"Serial Number: (.*)", ours) == re.findall(r"Serial Number: (.*)", theirs)
    assert octets(ours)[-1] == octets(theirs)[-1]
    assert "X509v3 CRL Number:\n                12\n" in ours


def test_a_long_crl_shows_its_first_entries() -> None:
    """VA-3: a million entries make no million lines."""
    text = crl_text(make_crl(CA, 50), maximum_entries=10)
    assert "Revoked Certificates (50; the first 10 are shown):" in text
    assert text.count("Revocation Date") == 10
    assert "No Revoked Certificates." in crl_text(make_crl(CA, 0))


def test_what_the_rules_refuse_is_shown_too() -> None:
    """Names that this authority would not certify are read, and can't deceive."""
    name = der.sequence(
        der.set_of([der.sequence(der.oid("2.5.4.6"), der.utf8_string("Germany"))]),
        der.set_of([der.sequence(der.oid("2.5.4.3"), der.utf8_string("evil\n\u202etxt"))]),
        der.set_of([der.sequence(der.oid("2.5.4.10"), der.tlv(der.PRINTABLE_STRING, b"a@b_\xff"))]),
    )
    tbs, algorithm, signature = der.parse(LEAF.der).sub()
    fields = tbs.sub()
    body = der.sequence(*(name if number == 5 else field.whole for number, field in enumerate(fields)))
    text = certificate_text(der.sequence(body, algorithm.whole, signature.whole))
    assert "C=Germany" in text
    assert "O=a@b_ÿ" in text
    assert "\u202e" not in text
    assert "evil\\0A\\E2\\80\\AEtxt" in text


def test_the_text_is_bounded() -> None:
    """A certificate of 1 MiB gives a text that a page can show."""
    value = b"".join(der.implicit(2, b"x" * 100) for _ in range(9_000))
    parts = [der.sequence(der.oid(f"1.2.3.{arc}"), der.octet_string(b"\x04" * 9_000)) for arc in range(90)]
    parts.append(der.sequence(der.oid("2.5.29.17"), der.octet_string(der.sequence(value))))
    tbs, algorithm, signature = der.parse(LEAF.der).sub()
    fields = [field.whole for field in tbs.sub()[:-1]]
    body = der.sequence(*fields, der.explicit(3, der.sequence(*parts)))
    text = certificate_text(der.sequence(body, algorithm.whole, signature.whole))
    assert len(text) < 300_000
    assert text.endswith("… the rest is left out\n")


SAMPLES: list[tuple[Callable[[bytes], str], bytes]] = [
    (certificate_text, LEAF.der),
    (certificate_text, make_ca("rsa2048").der),
    (csr_text, make_csr(sans=["a.example.com"], challenge="x" * 8)[1]),
    (crl_text, make_crl(CA, 3)),
]


@given(chosen=st.sampled_from(SAMPLES), data=st.data())
def test_hostile_bytes(chosen: tuple[Callable[[bytes], str], bytes], data: st.DataObject) -> None:
    """Whatever is changed in good ones: a text, or MalformedRequest."""
    read, sample = chosen
    changed = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)) | st.just(len(changed)))
    try:
        text = read(bytes(changed[:cut]))
    except MalformedRequest:
        return
    assert all(line.isprintable() for line in text.split("\n"))


@given(noise=st.binary(max_size=300))
def test_any_bytes(noise: bytes) -> None:
    """Noise is refused in one way."""
    for read, _ in SAMPLES:
        with pytest.raises(MalformedRequest):
            read(noise)


def test_each_octet_set_to_extremes() -> None:
    """No single changed octet leads past the end, or to another failure."""
    for read, sample in SAMPLES:
        for position in range(len(sample)):
            for value in (0x00, 0x80, 0xFF, sample[position] ^ 0x20):
                with contextlib.suppress(MalformedRequest):
                    read(sample[:position] + bytes((value,)) + sample[position + 1 :])


def test_the_wrong_kind_is_refused() -> None:
    """A request is no certificate, and so on."""
    request = make_csr()[1]
    for read, wrong in ((certificate_text, request), (csr_text, LEAF.der), (crl_text, LEAF.der)):
        with pytest.raises(MalformedRequest):
            read(wrong)
    pem = LEAF.certificate.public_bytes(serialization.Encoding.PEM)
    with pytest.raises(MalformedRequest):
        certificate_text(pem)
