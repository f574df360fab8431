"""Certificate requests as people paste them and devices send them, and damaged ones."""

from __future__ import annotations

import base64
import contextlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import (
    MalformedRequest,
    RequestError,
    TooLarge,
)
from pikachu.x509 import der
from pikachu.x509.csr import (
    decode_csr_input,
)
from tests.support.reference_work import BATCH, costs_at_most
from tests.unit.x509.requests import (
    ECDSA_SHA256,
    KEY,
    accept,
    dns,
    ecdsa,
    request,
    san,
)


class TestInput:
    """The forms in which people paste and devices send a CSR."""

    der_bytes = request()

    @pytest.mark.parametrize("label", ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
    def test_private_key(self, label: str) -> None:
        """A key instead of the CSR is refused by name, without any of it; beside a CSR it is left out."""
        secret = "c2VjcmV0"
        text = f"-----BEGIN {label}-----\n{secret}\n-----END {label}-----\n".encode()
        with pytest.raises(MalformedRequest, match="This is a private key") as caught:
            decode_csr_input(text)
        assert secret not in str(caught.value)
        block = base64.encodebytes(self.der_bytes).decode()
        csr = f"-----BEGIN CERTIFICATE REQUEST-----\n{block}-----END CERTIFICATE REQUEST-----\n".encode()
        assert decode_csr_input(text + csr) == self.der_bytes

    @staticmethod
    def pem(data: bytes, label: bytes = b"CERTIFICATE REQUEST", newline: bytes = b"\n") -> bytes:
        text = base64.encodebytes(data).replace(b"\n", newline)
        return b"-----BEGIN " + label + b"-----" + newline + text + b"-----END " + label + b"-----" + newline

    def test_forms(self) -> None:
        pem = self.pem(self.der_bytes)
        forms = (
            self.der_bytes,
            pem,
            self.pem(self.der_bytes, b"NEW CERTIFICATE REQUEST"),
            self.pem(self.der_bytes, newline=b"\r\n"),
            b"Certificate Request:\n    Data:\n" + pem + b"\ntrailer",
            b"\xef\xbb\xbf" + pem,
            pem.rstrip(),
            base64.b64encode(self.der_bytes),
            base64.encodebytes(self.der_bytes),
        )
        for form in forms:
            assert decode_csr_input(form) == self.der_bytes

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b" \n",
            pem(request())[:-30],
            pem(request()) + pem(request()),
            pem(request(), b"CERTIFICATE"),
            pem(request()).replace(b"M", b"*", 1),
            pem(request()).replace(b"M", b"_", 1),
            base64.urlsafe_b64encode(b"\xff\xff\xff") * 4,
            base64.b64encode(request())[:-3],
            b"hello, world",
        ],
    )
    def test_refused(self, data: bytes) -> None:
        """CSRs cut short, with trailing bytes, empty; two CSRs in one body."""
        with pytest.raises(MalformedRequest):
            decode_csr_input(data)

    def test_sizes_and_time(self) -> None:
        """Bounded, and linear in what comes."""
        with pytest.raises(TooLarge):
            decode_csr_input(b"A" * 200_000)
        with pytest.raises(TooLarge):
            decode_csr_input(b"0" + bytes(70_000))
        with costs_at_most(4 * BATCH):
            with pytest.raises(MalformedRequest):
                decode_csr_input(b"-----BEGIN A-----" * 7000)
            with pytest.raises(MalformedRequest):
                decode_csr_input(b"-----BEGIN " * 11000)

    @given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8")))
    def test_any_bytes(self, data: bytes) -> None:
        with contextlib.suppress(MalformedRequest, TooLarge):
            decode_csr_input(data)


GOOD = request(subject="CN=a,O=b,C=DE", attributes=[san(dns(b"a.example.com"))])


@given(st.data())
def test_damaged_requests_give_only_our_errors(data: st.DataObject) -> None:
    """Any change to a good request is refused, or leaves a request that verifies."""
    good = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RequestError):
        accept(bytes(good))


@given(st.binary(max_size=200))
def test_any_bytes_give_only_our_errors(data: bytes) -> None:
    with pytest.raises(RequestError):
        accept(data)
    with pytest.raises(RequestError):
        accept(der.sequence(data, ECDSA_SHA256, der.bit_string(ecdsa(data))))


def test_rfc4514_agrees_with_cryptography() -> None:
    """Another implementation writes the same text."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'A, "B" + <C>; #\\'),
            x509.NameAttribute(NameOID.COMMON_NAME, " #x= "),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder(subject)
    data = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert accept(data).subject == subject.rfc4514_string()
