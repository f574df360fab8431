"""Decoding OCSP requests, ordinary and hostile ones, and the headers of responses."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp as pyca
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import MalformedRequest, TooLarge
from pikachu.protocols.ocsp.messages import (
    MAX_GET,
    NOT_CACHEABLE,
    OCSPRequest,
    cache_headers,
    decode_get,
    decode_request,
)
from pikachu.x509 import der
from pikachu.x509.ocsp import (
    ACCEPTABLE_RESPONSES,
    NONCE,
    PREFERRED_SIGNATURE_ALGORITHMS,
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    CertID,
    IssuerHashes,
)
from tests.support import pki
from tests.support.interop import require
from tests.support.reference_work import BATCH, costs_at_most

ISSUER = IssuerHashes(b"\x30\x00", b"key bits")
CERT_ID = ISSUER.cert_id(0x1234)
SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def extension(oid: str, value: bytes, critical: bool | None = None) -> bytes:
    flag = b"" if critical is None else der.boolean(critical)
    return der.sequence(der.oid(oid), flag, der.octet_string(value))


def nonce_extension(nonce: bytes, critical: bool | None = None) -> bytes:
    return extension(NONCE, der.octet_string(nonce), critical)


def encode(
    cert_ids: Iterable[bytes] = (CERT_ID.der,),
    extensions: Iterable[bytes] = (),
    *,
    single: bytes = b"",
    version: bytes = b"",
    requestor: bytes = b"",
    signature: bytes = b"",
) -> bytes:
    requests = der.sequence(*(der.sequence(cert_id, single) for cert_id in cert_ids))
    found = b"".join(extensions)
    last = der.explicit(2, der.sequence(found)) if found else b""
    return der.sequence(der.sequence(version, requestor, requests, last), signature)


def cert_id_der(
    algorithm: bytes = bytes.fromhex("300906052b0e03021a0500"),
    name: bytes = der.octet_string(bytes(20)),
    key: bytes = der.octet_string(bytes(20)),
    serial: bytes = der.integer(5),
    more: bytes = b"",
) -> bytes:
    return der.sequence(algorithm, name, key, serial, more)


cert_ids = st.builds(
    ISSUER.cert_id,
    st.integers(0, 2**160 - 1),
    st.sampled_from([SHA1, SHA256, SHA384, SHA512]),
    null=st.booleans(),
)


@given(
    st.lists(cert_ids, min_size=1, max_size=50),
    st.none() | st.binary(min_size=1, max_size=128),
    st.booleans(),
    st.lists(st.sampled_from([SHA1, "1.2.3.4"]), max_size=3),
)
def test_round_trip(asked: list[CertID], nonce: bytes | None, signed: bool, acceptable: list[str]) -> None:
    """Every CertID in order, duplicates kept, each with the bytes it came in."""
    extensions = [nonce_extension(nonce)] if nonce is not None else []
    if acceptable:
        extensions.append(extension(ACCEPTABLE_RESPONSES, der.sequence(*map(der.oid, acceptable))))
    signature = der.explicit(0, der.sequence(SHA256_WITH_RSA, der.bit_string(b"not one"))) if signed else b""
    decoded = decode_request(encode([cert_id.der for cert_id in asked], extensions, signature=signature))
    assert decoded == OCSPRequest(tuple(asked), nonce, signed, (), tuple(acceptable))
    assert all(ISSUER.matches(cert_id) for cert_id in decoded.cert_ids)


@given(st.binary(max_size=200))
def test_any_bytes_give_malformed_request(data: bytes) -> None:
    """No other error, whatever comes."""
    with pytest.raises(MalformedRequest):
        decode_request(data)


VALID = encode(
    [CERT_ID.der, ISSUER.cert_id(7, SHA256).der],
    [nonce_extension(bytes(32)), extension(ACCEPTABLE_RESPONSES, der.sequence(der.oid("1.3.6.1.5.5.7.48.1.1")))],
    version=b"\xa0\x03\x02\x01\x00",
    requestor=der.explicit(1, der.implicit(2, b"client")),
    signature=der.explicit(0, der.sequence(SHA256_WITH_RSA, der.bit_string(b"x"))),
)


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255))
def test_a_changed_octet_is_read_or_refused(place: int, octet: int) -> None:
    """Whatever is accepted still lists CertIDs that stand in the request."""
    data = VALID[:place] + bytes((octet,)) + VALID[place + 1 :]
    try:
        decoded = decode_request(data)
    except MalformedRequest:
        return
    assert all(cert_id.der in data for cert_id in decoded.cert_ids)


@pytest.mark.parametrize("size", range(len(VALID)))
def test_cut_short(size: int) -> None:
    with pytest.raises(MalformedRequest):
        decode_request(VALID[:size])


UNKNOWN_OID = "1.3.6.1.4.1.99999.1"
ONE_SINGLE = der.explicit(0, der.sequence(extension(UNKNOWN_OID, b"", True)))

MALFORMED = {
    "4e 1: empty": b"",
    "one byte": b"\x30",
    "4e 6, O9: version 2": encode(version=b"\xa0\x03\x02\x01\x01"),
    "version without a value": encode(version=b"\xa0\x00"),
    "O9: bytes at the end": encode() + b"\x00",
    "bytes at the end of the outer sequence": encode(signature=b"\x05\x00"),
    "bytes after the signature": encode(
        signature=der.explicit(0, der.sequence(SHA256_WITH_RSA, der.bit_string(b"x"))) + der.null()
    ),
    "signature with something else": encode(
        signature=der.explicit(0, der.sequence(SHA256_WITH_RSA, der.bit_string(b"x"), der.null()))
    ),
    "signature without a value": encode(signature=der.explicit(0, der.sequence(SHA256_WITH_RSA))),
    "no certificate": encode([]),
    "no list": der.sequence(der.sequence()),
    "O11: more than the cap": encode([CERT_ID.der] * 51),
    "4e 25, O17: nonce of 0 bytes": encode(extensions=[nonce_extension(b"")]),
    "4e 26, O17: nonce of 129 bytes": encode(extensions=[nonce_extension(bytes(129))]),
    "4e 26: nonce of 10,000 bytes": encode(extensions=[nonce_extension(bytes(10_000))]),
    "4e 27, O18: nonce that is no OCTET STRING": encode(extensions=[extension(NONCE, bytes(16))]),
    "nonce with bytes behind": encode(extensions=[extension(NONCE, der.octet_string(bytes(16)) + b"\x00")]),
    "O18: nonce twice": encode(extensions=[nonce_extension(bytes(16)), nonce_extension(bytes(16))]),
    "4e 29, O16: unknown critical extension": encode(extensions=[extension(UNKNOWN_OID, b"", True)]),
    "O16: the same for one certificate": encode(single=ONE_SINGLE),
    "unknown extension twice": encode(extensions=[extension(UNKNOWN_OID, b"")] * 2),
    "extensions without an extension": der.sequence(
        der.sequence(der.sequence(der.sequence(CERT_ID.der)), der.explicit(2, der.sequence()))
    ),
    "something in place of the extensions": der.sequence(
        der.sequence(der.sequence(der.sequence(CERT_ID.der)), der.null())
    ),
    "something after the extension's value": encode(
        extensions=[der.sequence(der.oid(UNKNOWN_OID), der.octet_string(b""), der.null())]
    ),
    "critical written as 1": encode(
        extensions=[der.sequence(der.oid(UNKNOWN_OID), b"\x01\x01\x01", der.octet_string(b""))]
    ),
    "something after the CertID": encode(single=der.null()),
    "serial padded and negative": encode([cert_id_der(serial=b"\x02\x02\xff\x85")]),
    "serial padded": encode([cert_id_der(serial=b"\x02\x02\x00\x05")]),
    "serial without octets": encode([cert_id_der(serial=b"\x02\x00")]),
    "serial that is a string": encode([cert_id_der(serial=der.octet_string(b"5"))]),
    "five fields in the CertID": encode([cert_id_der(more=der.null())]),
    "digest with odd parameters": encode([cert_id_der(algorithm=der.sequence(der.oid(SHA1), der.integer(1)))]),
    "digest with two parameters": encode([cert_id_der(algorithm=der.sequence(der.oid(SHA1), b"\x05\x00\x05\x00"))]),
    "digest without an OID": encode([cert_id_der(algorithm=der.sequence())]),
    "digest OID cut short": encode([cert_id_der(algorithm=der.sequence(b"\x06\x01\x80"))]),
    "hash that is no string": encode([cert_id_der(name=der.integer(1))]),
    "indefinite length": b"\x30\x80" + encode()[2:] + b"\x00\x00",
    "length of 2**32": b"\x30\x85\x01\x00\x00\x00\x00" + encode()[2:],
    "length padded": b"\x30\x81" + encode()[1:],
    "preferred algorithms empty inside": encode(
        extensions=[extension(PREFERRED_SIGNATURE_ALGORITHMS, der.sequence(der.sequence()))]
    ),
    "acceptable responses of integers": encode(
        extensions=[extension(ACCEPTABLE_RESPONSES, der.sequence(der.integer(1)))]
    ),
    "digest OID of 65,000 octets": encode([cert_id_der(algorithm=der.sequence(der.tlv(6, b"\x01" * 65_000)))]),
    "10,000 acceptable responses": encode(
        extensions=[extension(ACCEPTABLE_RESPONSES, der.sequence(der.oid("1.2.3.4") * 10_000))]
    ),
    "nesting 10,000 deep": b"\x30\x80" * 10_000,
}


@pytest.mark.parametrize(
    "serial",
    [0, -1, -5, -(2**159), 2**159, 2**160 - 1, 2**160, 2**168, 2**8_000, -(2**8_000)],
    ids=lambda number: f"{number.bit_length()} bits",
)
def test_any_integer_is_a_serial_number(serial: int) -> None:
    """Any INTEGER is accepted, though RFC 5280 limits serial numbers of certificates to 20 octets."""
    (asked,) = decode_request(encode([cert_id_der(serial=der.integer(serial))])).cert_ids
    assert asked.serial == serial


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_hostile_requests_are_malformed(data: bytes) -> None:
    """Each at once, with a message of one line."""
    with costs_at_most(2 * BATCH), pytest.raises(MalformedRequest) as caught:
        decode_request(data)
    assert "\n" not in caught.value.public


SERVED = {
    "plain": (encode(), {}),
    "version written out": (encode(version=b"\xa0\x03\x02\x01\x00"), {}),
    "4e 30, O16: unknown extension, not critical": (encode(extensions=[extension(UNKNOWN_OID, b"\x05\x00")]), {}),
    "FALSE written out": (encode(extensions=[extension(UNKNOWN_OID, b"", False)]), {}),
    "4e 31, O15: requestorName of garbage": (encode(requestor=der.explicit(1, b"garbage")), {}),
    "4e 32, O15: bad signature": (
        encode(
            signature=der.explicit(
                0, der.sequence(SHA256_WITH_RSA, der.bit_string(b"x"), der.explicit(0, der.sequence(b"\x30\x00")))
            )
        ),
        {"signed": True},
    ),
    "O17: nonce of 1 byte, critical": (encode(extensions=[nonce_extension(b"n", True)]), {"nonce": b"n"}),
    "O17: nonce of 128 bytes": (encode(extensions=[nonce_extension(bytes(128))]), {"nonce": bytes(128)}),
    "4e 34, O20: acceptable responses of an odd kind": (
        encode(extensions=[extension(ACCEPTABLE_RESPONSES, der.sequence(der.oid("1.2.3")), True)]),
        {"acceptable_responses": ("1.2.3",)},
    ),
    "O19: preferred algorithms": (
        encode(
            extensions=[
                extension(
                    PREFERRED_SIGNATURE_ALGORITHMS,
                    der.sequence(der.sequence(SHA256_WITH_RSA), der.sequence(der.sequence(der.oid("1.2.3")), b"0\x00")),
                )
            ]
        ),
        {"preferred_algorithms": (SHA256_WITH_RSA, der.sequence(der.oid("1.2.3")))},
    ),
    "extension of one certificate": (
        encode(single=der.explicit(0, der.sequence(extension(UNKNOWN_OID, b"")))),
        {},
    ),
}


@pytest.mark.parametrize(("data", "expected"), SERVED.values(), ids=SERVED)
def test_odd_requests_are_served(data: bytes, expected: dict[str, Any]) -> None:
    assert decode_request(data) == OCSPRequest((CERT_ID,))._replace(**expected)


@pytest.mark.parametrize(
    ("encoded", "algorithm"),
    [
        (cert_id_der(algorithm=der.sequence(der.oid("1.2.840.113549.2.5"), der.null())), "1.2.840.113549.2.5"),
        (cert_id_der(algorithm=der.sequence(der.oid(UNKNOWN_OID))), UNKNOWN_OID),
        (cert_id_der(name=der.octet_string(bytes(19))), SHA1),
    ],
)
def test_foreign_cert_ids_are_read_and_match_nothing(encoded: bytes, algorithm: str) -> None:
    """A digest that is not known here, or a hash of another length, is a foreign issuer's."""
    [cert_id] = decode_request(encode([encoded])).cert_ids
    assert (cert_id.der, cert_id.algorithm) == (encoded, algorithm)
    assert not ISSUER.matches(cert_id)


def test_the_cap_is_the_callers() -> None:
    """One more than the cap is refused."""
    assert len(decode_request(encode([CERT_ID.der] * 3), 3).cert_ids) == 3
    with pytest.raises(MalformedRequest, match="3 certificates at most"):
        decode_request(encode([CERT_ID.der] * 4), 3)


# --- GET ---------------------------------------------------------------------------------

# Its base64 has "//", "+" and padding.
AWKWARD = encode(
    [
        cert_id_der(
            name=der.octet_string(b"\xff" * 12),
            key=der.octet_string(b"\xfb\xef\xbe" * 4 + b"\xef\xbe\xfb" * 4 + b"\xbe\xfb\xef" * 4),
            serial=der.integer(0x1234),
        )
    ]
)
AWKWARD_BASE64 = base64.b64encode(AWKWARD)


def test_the_awkward_request_is_awkward() -> None:
    assert b"//" in AWKWARD_BASE64
    assert b"+" in AWKWARD_BASE64
    assert AWKWARD_BASE64.endswith(b"=")


@pytest.mark.parametrize(
    "tail",
    [
        quote_from_bytes(AWKWARD_BASE64, safe="").encode(),
        AWKWARD_BASE64,
        b"/" + AWKWARD_BASE64,
        b"///" + AWKWARD_BASE64,
        b"%2F" + AWKWARD_BASE64,
        AWKWARD_BASE64.replace(b"+", b"%20"),
        AWKWARD_BASE64.rstrip(b"="),
        base64.urlsafe_b64encode(AWKWARD),
        base64.urlsafe_b64encode(AWKWARD).rstrip(b"="),
        AWKWARD_BASE64[:64] + b"%0D%0A" + AWKWARD_BASE64[64:] + b"%0A",
        AWKWARD_BASE64 + b"?x=%00",
        AWKWARD_BASE64 + b"?",
    ],
)
def test_get(tail: bytes) -> None:
    """GET requests decode in every form that clients and proxies give the URL."""
    assert decode_get(tail) == AWKWARD


@given(st.binary(min_size=1, max_size=300), st.sampled_from(["", "/"]), st.booleans())
def test_get_round_trip(data: bytes, safe: str, url_alphabet: bool) -> None:
    """For everything that begins as a request does (a leading slash belongs to the path)."""
    data = b"\x30" + data
    text = base64.urlsafe_b64encode(data) if url_alphabet else base64.b64encode(data)
    assert decode_get(quote_from_bytes(text, safe=safe).encode()) == data


@pytest.mark.parametrize(
    "tail",
    [b"", b"/", b"?MAA=", b"M", b"MAA===", b"MAA=MAA=", b"M*A=", b"%%%", b"M\x00A=", b"M%C3%A4A", b"=", b"%2520MAA"],
)
def test_get_of_something_else(tail: bytes) -> None:
    """Neither base64 nor a request; escapes are undone once only."""
    with pytest.raises(MalformedRequest):
        decode_get(tail)


@given(st.binary(max_size=100))
def test_get_of_any_bytes(tail: bytes) -> None:
    with contextlib.suppress(MalformedRequest):
        decode_get(tail)


def test_get_is_bounded() -> None:
    """RFC 5019: GET is for small requests."""
    with pytest.raises(TooLarge):
        decode_get(b"M" * (MAX_GET + 1))


# --- other programs' requests -------------------------------------------------------------


@pytest.mark.parametrize("digest", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
@pytest.mark.parametrize("nonce", [None, b"n" * 32], ids=["plain", "nonce"])
def test_reads_what_pyca_writes(digest: hashes.HashAlgorithm, nonce: bytes | None) -> None:
    """The hashes of the issuer are those that a client computes."""
    ca = pki.make_ca()
    leaf = pki.make_leaf(ca, serial=2**159 - 1)
    builder = pyca.OCSPRequestBuilder().add_certificate(leaf.certificate, ca.certificate, digest)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    decoded = decode_request(builder.build().public_bytes(serialization.Encoding.DER))
    [cert_id] = decoded.cert_ids
    assert decoded.nonce == nonce
    assert cert_id.serial == leaf.certificate.serial_number
    assert issuer_hashes(ca).matches(cert_id)
    assert cert_id.issuer_key in issuer_hashes(ca).keys
    assert not issuer_hashes(pki.make_ca()).matches(cert_id)


def issuer_hashes(ca: pki.Identity) -> IssuerHashes:
    bits = der.parse(pki.spki(ca.key)).sub()[1].content[1:]
    return IssuerHashes(ca.subject_der, bits)


@pytest.mark.interop
@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("nonce", [True, False])
def test_reads_what_openssl_writes(tmp_path: Path, digest: str, nonce: bool) -> None:
    """The openssl command, with several certificates."""
    require("openssl")
    ca = pki.make_ca()
    ca_path, _ = ca.write(tmp_path, "ca")
    leaves = [pki.make_leaf(ca, f"device {number}") for number in range(3)]
    arguments = ["openssl", "ocsp", "-issuer", str(ca_path), "-reqout", str(tmp_path / "request")]
    for number, leaf in enumerate(leaves):
        arguments += [f"-{digest}", "-cert", str(leaf.write(tmp_path, str(number))[0])]
    subprocess.run([*arguments, "-nonce" if nonce else "-no_nonce"], check=True, capture_output=True)
    decoded = decode_request((tmp_path / "request").read_bytes())
    assert [cert_id.serial for cert_id in decoded.cert_ids] == [leaf.certificate.serial_number for leaf in leaves]
    assert all(issuer_hashes(ca).matches(cert_id) for cert_id in decoded.cert_ids)
    assert (decoded.nonce is not None) == nonce


@pytest.mark.interop
def test_reads_what_openssl_signs(tmp_path: Path) -> None:
    """A signed request is known as such, and served."""
    require("openssl")
    ca = pki.make_ca()
    ca_path, _ = ca.write(tmp_path, "ca")
    certificate, key = pki.make_leaf(ca).write(tmp_path, "leaf")
    arguments = ["openssl", "ocsp", "-issuer", str(ca_path), "-cert", str(certificate), "-signer", str(certificate)]
    arguments += ["-signkey", str(key), "-reqout", str(tmp_path / "request")]
    subprocess.run(arguments, check=True, capture_output=True)
    assert decode_request((tmp_path / "request").read_bytes()).signed


# --- headers -----------------------------------------------------------------------------


def test_headers_of_an_answer_that_may_be_kept() -> None:
    """RFC 5019 section 6.2: the dates of the answer are those of the headers."""
    headers = cache_headers(b"response", NOW - timedelta(minutes=5), NOW + timedelta(days=7), NOW)
    assert headers == {
        "Last-Modified": "Fri, 01 May 2026 11:55:00 GMT",
        "Expires": "Fri, 08 May 2026 12:00:00 GMT",
        "ETag": f'"{hashlib.sha256(b"response").hexdigest()}"',
        "Cache-Control": "max-age=3600, public, no-transform, must-revalidate",
    }


@given(st.integers(-10_000, 10_000), st.integers(0, 10_000))
def test_max_age_ends_before_the_next_update(left: int, max_age: int) -> None:
    """n < nextUpdate - now, and never negative; nothing that forbids keeping it."""
    headers = cache_headers(b"", NOW - timedelta(days=1), NOW + timedelta(seconds=left), NOW, max_age)
    seconds = int(headers["Cache-Control"].partition(",")[0].removeprefix("max-age="))
    assert 0 <= seconds <= max_age
    assert seconds < left or seconds == 0
    assert "no-store" not in headers["Cache-Control"]
    assert "no-cache" not in headers["Cache-Control"]


def test_headers_of_an_answer_that_may_not() -> None:
    """One with a nonce is for one client."""
    assert dict(NOT_CACHEABLE) == {"Cache-Control": "no-store"}
