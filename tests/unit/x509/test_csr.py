"""Certification requests (RA-2): real ones, sloppy ones, hostile ones."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, mldsa, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import (
    BadCSR,
    BadPublicKey,
    MalformedRequest,
    ProofOfPossessionFailed,
    RequestError,
    TooLarge,
    UnsupportedAlgorithm,
)
from pikachu.x509 import der
from pikachu.x509.csr import (
    CHALLENGE_PASSWORD,
    EXTENSION_REQUEST,
    MICROSOFT_EXTENSIONS,
    decode_csr_input,
    parse_csr,
    verify_csr,
)
from pikachu.x509.keys import KeyFamily
from pikachu.x509.names import name_from_text
from tests.support.interop import require
from tests.support.pki import make_csr
from tests.support.reference_work import BATCH, costs_at_most
from tests.unit.x509.requests import (
    ECDSA_SHA256,
    SAN,
    SPKI,
    accept,
    attribute,
    dns,
    extension,
    extension_request,
    request,
    san,
)

RSA_KEY = rsa.generate_private_key(65537, 2048)


def spki_of(algorithm: bytes, key: bytes) -> bytes:
    return der.sequence(algorithm, der.bit_string(key))


def rsa_spki(modulus: int, exponent: int) -> bytes:
    algorithm = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null())
    return spki_of(algorithm, der.sequence(der.integer(modulus), der.integer(exponent)))


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048", "ed25519", "mldsa44", "mldsa65", "mldsa87"])
def test_requests_of_every_key_type(key_type: str) -> None:
    """PQC-1: requests that cryptography made are read and verify."""
    key, data = make_csr(key_type, "dev,ice", sans=["a.example.com", "IP:192.0.2.1"], challenge="1234 abc")
    csr = parse_csr(data)
    description = verify_csr(csr)
    loaded = x509.load_der_x509_csr(data)
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert csr.der == data
    assert csr.info_der == loaded.tbs_certrequest_bytes
    assert csr.signature == loaded.signature
    assert csr.spki_der == description.spki == public
    assert csr.subject_der == loaded.subject.public_bytes()
    assert csr.subject == loaded.subject.rfc4514_string()
    assert csr.common_name == "dev,ice"
    assert [name.text for name in csr.names] == ["DNS:a.example.com", "IP:192.0.2.1"]
    assert csr.challenge_password == "1234 abc"
    assert "1234" not in repr(csr)


PSS = ("-sigopt", "rsa_padding_mode:pss")
OPENSSL_KEYS = {
    "RSA/2048": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "EC/prime256v1": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "EC/secp384r1": ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "EC/secp521r1": ["EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "EC/secp256k1": ["EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
    "Ed25519": ["ED25519"],
}


@pytest.mark.interop
@pytest.mark.parametrize("text", OPENSSL_KEYS)
@pytest.mark.parametrize("outform", ["PEM", "DER"])
def test_requests_by_openssl(tmp_path: Path, text: str, outform: str) -> None:
    """Requests by the openssl command, with SANs, in PEM and DER."""
    require("openssl")
    key, out = tmp_path / "key.pem", tmp_path / "out"
    subprocess.run(["openssl", "genpkey", "-algorithm", *OPENSSL_KEYS[text], "-out", str(key)], check=True, timeout=60)
    names = "subjectAltName=DNS:*.example.com,IP:2001:db8::1,email:a@example.com,URI:urn:uuid:1-2-3"
    subprocess.run(
        [
            *("openssl", "req", "-new", "-key", str(key), "-subj", "/C=DE/O=Ä/CN=x+UID=1", "-utf8", "-multivalue-rdn"),
            *("-addext", names, "-outform", outform, "-out", str(out)),
        ],
        check=True,
        timeout=60,
        capture_output=True,
    )
    csr = parse_csr(decode_csr_input(out.read_bytes()))
    assert verify_csr(csr).text == text
    assert csr.subject in ("CN=x+UID=1,O=Ä,C=DE", "UID=1+CN=x,O=Ä,C=DE")
    assert [name.text for name in csr.names] == [
        "DNS:*.example.com",
        "IP:2001:db8::1",
        "email:a@example.com",
        "URI:urn:uuid:1-2-3",
    ]


@pytest.mark.interop
@pytest.mark.parametrize(
    "options",
    [
        ["-sha384"],
        [*PSS],
        *([*PSS, "-sigopt", f"rsa_pss_saltlen:{salt}"] for salt in (-1, -2, -3, 0, 20, 129, 222)),
        [*PSS, "-sha512", "-sigopt", "rsa_pss_saltlen:-3"],
    ],
)
def test_openssl_rsa_signature_variants(tmp_path: Path, options: list[str]) -> None:
    """Other digests and RSASSA-PSS."""
    require("openssl")
    out = tmp_path / "out"
    subprocess.run(
        [
            *("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", str(tmp_path / "k")),
            *("-subj", "/CN=x", *options, "-out", str(out)),
        ],
        check=True,
        timeout=60,
        capture_output=True,
    )
    csr = parse_csr(decode_csr_input(out.read_bytes()))
    assert verify_csr(csr).family is KeyFamily.RSA


def test_unsorted_attributes_like_strongswan() -> None:
    """challengePassword behind the extension request; cryptography refuses it, we verify it."""
    long_first = (san(dns(b"a.example.com")), attribute(CHALLENGE_PASSWORD, der.printable_string("secret")))
    assert sorted(long_first) != list(long_first)
    data = request(attributes=long_first)
    with pytest.raises(ValueError, match="InvalidSetOrdering"):
        list(x509.load_der_x509_csr(data).attributes)
    csr = accept(data)
    assert csr.challenge_password == "secret"
    assert [name.text for name in csr.names] == ["DNS:a.example.com"]


def test_absent_attributes_and_unknown_ones_are_tolerated() -> None:
    """Some clients leave out the [0], which RFC 2986 demands."""
    assert accept(request(attributes=None)).attributes == ()
    csr = accept(request(attributes=[attribute("1.2.3.4", der.null(), der.integer(5))]))
    assert csr.attributes == (("1.2.3.4", (der.integer(5), der.null())),)
    assert csr.attribute("1.2.3.4") == (der.integer(5), der.null())
    assert csr.attribute("1.2.3.5") is None
    assert accept(request(attributes=[extension_request()])).extensions == ()
    pair = attribute("1.3.6.1.4.1.311.13.2.1", der.null())
    assert len(accept(request(attributes=[pair, pair])).attributes) == 2


def test_microsoft_extension_attribute() -> None:
    """1.3.6.1.4.1.311.2.1.14 alone, beside an equal one, and beside another one."""
    wanted = extension(SAN, der.sequence(dns(b"a.example.com")))
    microsoft = extension_request(wanted, oid=MICROSOFT_EXTENSIONS)
    assert accept(request(attributes=[microsoft])).names[0].value == "a.example.com"
    assert len(accept(request(attributes=[microsoft, extension_request(wanted)])).extensions) == 1
    with pytest.raises(MalformedRequest, match="two extension requests"):
        accept(request(attributes=[microsoft, san(dns(b"b.example.com"))]))


@pytest.mark.parametrize(
    "value",
    [
        der.printable_string("secret"),
        der.utf8_string("secret"),
        der.ia5_string("secret"),
        der.tlv(der.T61_STRING, b"secret"),
        der.tlv(der.BMP_STRING, "secret".encode("utf-16-be")),
    ],
)
def test_challenge_password_in_every_string_type(value: bytes) -> None:
    """PKCS #9 gives it a DirectoryString; clients use every one."""
    assert accept(request(attributes=[attribute(CHALLENGE_PASSWORD, value)])).challenge_password == "secret"


def test_requested_extensions_are_kept_apart() -> None:
    """CA:TRUE, keyCertSign and unknown critical extensions are only what was asked for."""
    asked = (
        extension("2.5.29.19", der.sequence(der.boolean(True)), critical=True),
        extension("2.5.29.15", der.named_bits([5]), critical=True),
        extension("1.2.3.4", der.null(), critical=True),
    )
    csr = accept(request(attributes=[extension_request(*asked)]))
    assert [(found.oid, found.critical) for found in csr.extensions] == [
        ("2.5.29.19", True),
        ("2.5.29.15", True),
        ("1.2.3.4", True),
    ]
    found = csr.extension("2.5.29.15")
    assert found is not None
    assert found.value == der.named_bits([5])
    assert csr.extension("2.5.29.37") is None


def explicit_curve_spki() -> bytes:
    field = der.sequence(der.oid("1.2.840.10045.1.1"), der.integer(2**256 - 2**224 + 2**192 + 2**96 - 1))
    parameters = der.sequence(der.integer(1), field, der.sequence(der.octet_string(b"a"), der.octet_string(b"b")))
    return spki_of(der.sequence(der.oid("1.2.840.10045.2.1"), parameters), SPKI[-65:])


def ec_spki(curve: str, point: bytes) -> bytes:
    return spki_of(der.sequence(der.oid("1.2.840.10045.2.1"), der.oid(curve)), point)


def name(*attributes: tuple[str, bytes]) -> bytes:
    return der.sequence(*(der.set_of((der.sequence(der.oid(oid), value),)) for oid, value in attributes))


def nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = der.tlv(der.SEQUENCE, data)
    return data


def weak_hash(algorithm: bytes) -> bytes:
    return request(algorithm=algorithm)


def with_names(names: Iterable[bytes]) -> bytes:
    return request(attributes=[san(*names)])


P256 = "1.2.840.10045.3.1.7"
CN = "2.5.4.3"
N = RSA_KEY.public_key().public_numbers().n
ED448 = ed448.Ed448PrivateKey.generate().public_key()
HOSTILE: dict[str, tuple[Callable[[], bytes], type[RequestError]]] = {
    "1 empty": (lambda: b"", MalformedRequest),
    "3 text": (lambda: b"hello", MalformedRequest),
    "4 trailing bytes": (lambda: request() + b"\x00", MalformedRequest),
    "4 two requests": (lambda: request() + request(), MalformedRequest),
    "5 cut short": (lambda: request()[:-1], MalformedRequest),
    "5 a certificate's shape": (lambda: der.sequence(der.sequence(), der.sequence()), MalformedRequest),
    "6 signed by another key": (
        lambda: request(
            spki=ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        ),
        ProofOfPossessionFailed,
    ),
    "6 empty signature": (lambda: request(signature=b""), ProofOfPossessionFailed),
    "6 signature of another algorithm": (
        lambda: request(algorithm=der.sequence(der.oid("1.2.840.113549.1.1.11"), der.null())),
        ProofOfPossessionFailed,
    ),
    "7 unused bits in the signature": (
        lambda: der.sequence(der.sequence(), ECDSA_SHA256, der.bit_string(b"\x00\x00", 3)),
        MalformedRequest,
    ),
    "8 ECDSA with SHA-1": (lambda: weak_hash(der.sequence(der.oid("1.2.840.10045.4.1"))), UnsupportedAlgorithm),
    "8 RSA with MD5": (
        lambda: weak_hash(der.sequence(der.oid("1.2.840.113549.1.1.4"), der.null())),
        UnsupportedAlgorithm,
    ),
    "8 MD2": (lambda: weak_hash(der.sequence(der.oid("1.2.840.113549.1.1.2"), der.null())), UnsupportedAlgorithm),
    "8 ECDSA with other parameters": (
        lambda: weak_hash(der.sequence(der.oid("1.2.840.10045.4.3.2"), der.integer(0))),
        UnsupportedAlgorithm,
    ),
    "8 Ed25519 with NULL": (lambda: weak_hash(der.sequence(der.oid("1.3.101.112"), der.null())), UnsupportedAlgorithm),
    "8 SHA-1 with NULL": (
        lambda: weak_hash(der.sequence(der.oid("1.2.840.10045.4.1"), der.null())),
        UnsupportedAlgorithm,
    ),
    "9 no algorithm": (lambda: weak_hash(der.sequence()), MalformedRequest),
    "10 e=1": (lambda: request(spki=rsa_spki(N, 1)), BadPublicKey),
    "10 e=3": (lambda: request(spki=rsa_spki(N, 3)), BadPublicKey),
    "10 e even": (lambda: request(spki=rsa_spki(N, 65538)), BadPublicKey),
    "10 e negative": (lambda: request(spki=rsa_spki(N, -65537)), BadPublicKey),
    "10 e huge": (lambda: request(spki=rsa_spki(N, 2**2000 + 1)), BadPublicKey),
    "10 RSA-1024": (lambda: request(spki=rsa_spki(2**1023 + 1, 65537)), BadPublicKey),
    "11 modulus even": (lambda: request(spki=rsa_spki(N + 1, 65537)), BadPublicKey),
    "11 modulus negative": (lambda: request(spki=rsa_spki(-N, 65537)), BadPublicKey),
    "11 small factor": (lambda: request(spki=rsa_spki((N >> 11) * 2 * 1999 * 7 + 7 * 1999, 65537)), BadPublicKey),
    "12 RSA 16384": (lambda: request(spki=rsa_spki(2**16383 + 1, 65537)), BadPublicKey),
    "12 RSA 65537 bits": (lambda: request(spki=rsa_spki(2**65536 + 1, 65537)), BadPublicKey),
    "12 RSA 400000 bits": (lambda: request(spki=rsa_spki(2**400000 + 1, 65537)), BadPublicKey),
    "13 explicit parameters": (lambda: request(spki=explicit_curve_spki()), BadPublicKey),
    "13 P-192": (lambda: request(spki=ec_spki("1.2.840.10045.3.1.1", b"\x04" + bytes(48))), BadPublicKey),
    "13 P-224": (lambda: request(spki=ec_spki("1.3.132.0.33", b"\x04" + bytes(56))), BadPublicKey),
    "14 point not on the curve": (lambda: request(spki=SPKI[:-1] + bytes((SPKI[-1] ^ 1,))), BadPublicKey),
    "14 point at infinity": (lambda: request(spki=ec_spki(P256, b"\x00")), BadPublicKey),
    "14 compressed point": (lambda: request(spki=ec_spki(P256, b"\x02" + SPKI[-64:-32])), BadPublicKey),
    "14 hybrid point": (lambda: request(spki=ec_spki(P256, b"\x06" + SPKI[-64:])), BadPublicKey),
    "14 no curve": (
        lambda: request(spki=spki_of(der.sequence(der.oid("1.2.840.10045.2.1")), b"\x04" + bytes(64))),
        BadPublicKey,
    ),
    "15 Ed25519 of 31 octets": (
        lambda: request(spki=spki_of(der.sequence(der.oid("1.3.101.112")), bytes(31))),
        BadPublicKey,
    ),
    "15 Ed25519 of small order": (
        lambda: request(spki=spki_of(der.sequence(der.oid("1.3.101.112")), b"\x01" + bytes(31))),
        BadPublicKey,
    ),
    "16 Ed448": (
        lambda: request(
            spki=ED448.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        ),
        BadPublicKey,
    ),
    "17 ML-DSA of a wrong length": (
        lambda: request(spki=spki_of(der.sequence(der.oid("2.16.840.1.101.3.4.3.17")), bytes(1311))),
        BadPublicKey,
    ),
    "17 ML-DSA with parameters": (
        lambda: request(spki=spki_of(der.sequence(der.oid("2.16.840.1.101.3.4.3.17"), der.null()), bytes(1312))),
        BadPublicKey,
    ),
    "18 HashML-DSA": (
        lambda: request(spki=spki_of(der.sequence(der.oid("2.16.840.1.101.3.4.3.32")), bytes(1312))),
        BadPublicKey,
    ),
    "19 version 1": (lambda: request(version=der.integer(1)), MalformedRequest),
    "19 version 5": (lambda: request(version=der.integer(5)), MalformedRequest),
    "19 version padded": (lambda: request(version=b"\x02\x02\x00\x00"), MalformedRequest),
    "20 subject empty and no SAN": (lambda: request(subject=der.sequence()), BadCSR),
    "21 empty RDN": (lambda: request(subject=der.sequence(der.set_of(()))), MalformedRequest),
    "22 CN with NUL": (lambda: request(subject=name((CN, der.utf8_string("a\0b")))), BadCSR),
    "22 CN with newline": (lambda: request(subject=name((CN, der.utf8_string("a\nb")))), BadCSR),
    "22 CN of 65": (lambda: request(subject=name((CN, der.utf8_string("a" * 65)))), BadCSR),
    "22 CN empty": (lambda: request(subject=name((CN, der.utf8_string("")))), BadCSR),
    "22 CN bad UTF-8": (lambda: request(subject=name((CN, der.tlv(der.UTF8_STRING, b"\xff")))), BadCSR),
    "22 C of three letters": (lambda: request(subject=name(("2.5.4.6", der.printable_string("DEU")))), BadCSR),
    "22 1000 attributes": (lambda: request(subject=name(*((CN, der.utf8_string("a")),) * 1000)), BadCSR),
    "23 10000 names": (lambda: with_names(dns(b"a") for _ in range(10000)), BadCSR),
    "23 101 names": (lambda: with_names(dns(b"a") for _ in range(101)), BadCSR),
    "23 empty SAN": (lambda: with_names(()), BadCSR),
    "23 NUL": (lambda: with_names([dns(b"a.example.com\0.evil")]), BadCSR),
    "23 space": (lambda: with_names([dns(b" ")]), BadCSR),
    "23 empty DNS name": (lambda: with_names([dns(b"")]), BadCSR),
    "23 IP of 3 octets": (lambda: with_names([der.implicit(7, b"\x01\x02\x03")]), BadCSR),
    "23 IP with mask": (lambda: with_names([der.implicit(7, bytes(8))]), BadCSR),
    "23 IP 0.0.0.0": (lambda: with_names([der.implicit(7, bytes(4))]), BadCSR),
    "23 IP ::": (lambda: with_names([der.implicit(7, bytes(16))]), BadCSR),
    "23 javascript:": (lambda: with_names([der.implicit(6, b"javascript:alert(1)")]), BadCSR),
    "23 SAN that is no sequence": (
        lambda: request(attributes=[extension_request(extension(SAN, b"x"))]),
        MalformedRequest,
    ),
    "24 SAN twice": (
        lambda: request(attributes=[extension_request(*(extension(SAN, der.sequence(dns(b"a"))),) * 2)]),
        MalformedRequest,
    ),
    "24 SAN that is no extension": (
        lambda: request(attributes=[extension_request(der.sequence(der.oid(SAN), der.null()))]),
        MalformedRequest,
    ),
    "24 two values with different names": (
        lambda: request(
            attributes=[
                attribute(
                    EXTENSION_REQUEST,
                    *(der.sequence(extension(SAN, der.sequence(dns(host)))) for host in (b"a", b"b")),
                )
            ]
        ),
        MalformedRequest,
    ),
    "24 100 attributes": (
        lambda: request(attributes=[attribute(f"1.2.3.{n}", der.null()) for n in range(100)]),
        MalformedRequest,
    ),
    "24 100 extensions": (
        lambda: request(attributes=[extension_request(*(extension(f"1.2.3.{n}", der.null()) for n in range(100)))]),
        MalformedRequest,
    ),
    "27 BMPString odd": (lambda: request(subject=name((CN, der.tlv(der.BMP_STRING, b"\0a\0")))), BadCSR),
    "27 BMPString surrogate": (lambda: request(subject=name((CN, der.tlv(der.BMP_STRING, b"\xd8\0\xdc\0")))), BadCSR),
    "27 UniversalString odd": (
        lambda: request(subject=name((CN, der.tlv(der.UNIVERSAL_STRING, b"\0\0\0a\0")))),
        BadCSR,
    ),
    "27 UniversalString beyond Unicode": (
        lambda: request(subject=name((CN, der.tlv(der.UNIVERSAL_STRING, b"\x7f\0\0a")))),
        BadCSR,
    ),
    "27 T61String empty": (lambda: request(subject=name((CN, der.tlv(der.T61_STRING, b"")))), BadCSR),
    "27 CN is an integer": (lambda: request(subject=name((CN, der.integer(1)))), BadCSR),
    "28 length 2^32": (lambda: b"\x30\x85\x01\x00\x00\x00\x00", MalformedRequest),
    "28 length 2^32-1": (lambda: b"\x30\x84\xff\xff\xff\xff", MalformedRequest),
    "28 depth 10000": (lambda: nested(10000), MalformedRequest),
    "28 depth 1000 in the subject": (lambda: request(subject=nested(1000)), MalformedRequest),
    "28 depth 10000 in the subject": (lambda: request(subject=nested(10000)), BadCSR),
    "28 indefinite": (lambda: b"\x30\x80" + request()[4:] + b"\0\0", MalformedRequest),
    "29 65 KiB": (lambda: request(attributes=[attribute("1.2.3", der.octet_string(bytes(65536)))]), TooLarge),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_requests(case: str) -> None:
    """Each gives its error with one line, at once."""
    make, expected = HOSTILE[case]
    data = make()
    with costs_at_most(4 * BATCH), pytest.raises(expected) as caught:
        accept(data)
    assert caught.value.public
    assert "\n" not in caught.value.public
    assert len(caught.value.public) < 200


def test_depth_in_an_unknown_attribute_is_never_entered() -> None:
    """An unknown attribute is not parsed, however deeply it nests."""
    accept(request(attributes=[attribute("1.2.3.4", nested(10000))]))


def test_weak_digests_only_where_allowed() -> None:
    """SHA-1 and MD5 verify only with their switches, and still have to verify."""
    name_der = name_from_text("CN=old")
    public = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    info = der.sequence(der.integer(0), name_der, public, der.explicit(0, b""))
    for oid, digest, switch in (
        ("1.2.840.113549.1.1.5", hashes.SHA1(), {"allow_sha1": True}),
        ("1.2.840.113549.1.1.4", hashes.MD5(), {"allow_md5": True}),
    ):
        algorithm = der.sequence(der.oid(oid), der.null())
        good = der.sequence(info, algorithm, der.bit_string(RSA_KEY.sign(info, padding.PKCS1v15(), digest)))
        with pytest.raises(UnsupportedAlgorithm):
            verify_csr(parse_csr(good))
        assert verify_csr(parse_csr(good), **switch).text == "RSA/2048"
        with pytest.raises(ProofOfPossessionFailed):
            verify_csr(parse_csr(der.sequence(info, algorithm, der.bit_string(bytes(256)))), **switch)


def test_the_roca_fingerprint() -> None:
    """A modulus that is a power of 65537 modulo all the primes of the fingerprint."""
    product = 1
    for prime in (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157):
        product *= prime
    modulus = pow(65537, 12345, product)
    while modulus.bit_length() < 2048 or any(modulus % p == 0 for p in range(2, 2000)):
        modulus += product << (2047 - product.bit_length()) | product if modulus.bit_length() < 2048 else product
    with pytest.raises(BadPublicKey, match="ROCA"):
        verify_csr(parse_csr(request(spki=rsa_spki(modulus, 65537))))


@pytest.mark.parametrize(("salt", "expected"), [(223, ProofOfPossessionFailed), (1025, UnsupportedAlgorithm)])
def test_salts_that_no_key_allows(salt: int, expected: type[RequestError]) -> None:
    """A key of 2048 bits leaves 222 bytes beside SHA-256."""
    digest = der.sequence(der.oid("2.16.840.1.101.3.4.2.1"), der.null())
    mask = der.sequence(der.oid("1.2.840.113549.1.1.8"), digest)
    parameters = der.sequence(der.explicit(0, digest), der.explicit(1, mask), der.explicit(2, der.integer(salt)))
    public = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    algorithm = der.sequence(der.oid("1.2.840.113549.1.1.10"), parameters)
    with pytest.raises(expected):
        accept(request(spki=public, algorithm=algorithm, signature=bytes(256)))


def test_an_ml_dsa_signature_with_another_parameter_set() -> None:
    """The OIDs of key and signature are the same."""
    key = mldsa.MLDSA44PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    info = der.sequence(der.integer(0), name_from_text("CN=x"), public, der.explicit(0, b""))
    for oid, expected in (
        ("2.16.840.1.101.3.4.3.18", ProofOfPossessionFailed),
        ("2.16.840.1.101.3.4.3.32", UnsupportedAlgorithm),
    ):
        with pytest.raises(expected):
            accept(der.sequence(info, der.sequence(der.oid(oid)), der.bit_string(key.sign(info))))
    accept(der.sequence(info, der.sequence(der.oid("2.16.840.1.101.3.4.3.17")), der.bit_string(key.sign(info))))
    with pytest.raises(ProofOfPossessionFailed):
        accept(
            der.sequence(
                info, der.sequence(der.oid("2.16.840.1.101.3.4.3.17")), der.bit_string(key.sign(info, b"context"))
            )
        )


def test_a_subject_may_be_empty_beside_a_name() -> None:
    """The SAN is the identity then."""
    csr = accept(request(subject=der.sequence(), attributes=[san(dns(b"a.example.com"))]))
    assert (csr.subject, csr.common_name) == ("", "")


@given(
    common_name=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=64),
    challenge=st.none() | st.text(st.characters(codec="utf-8"), max_size=255),
)
def test_what_was_written_is_read(common_name: str, challenge: str | None) -> None:
    """decode(encode(m)) == m."""
    attributes = [] if challenge is None else [attribute(CHALLENGE_PASSWORD, der.utf8_string(challenge))]
    csr = accept(request(subject=name((CN, der.utf8_string(common_name))), attributes=attributes))
    assert csr.common_name == common_name
    assert csr.challenge_password == challenge
    assert csr.subject.isprintable()
