# mypy: allow-untyped-calls
"""Requests that are wrong, and what clients of other makes need of the answers."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pikachu.x509 import der
from tests.protocols.est.refusals import refused
from tests.support.connections import Plain
from tests.support.est import EST, basic, path
from tests.support.pki import make_csr
from tests.support.reference_work import BATCH, costs_at_most
from tests.support.stack import Response
from tests.unit.x509.requests import attribute, dns, request, san

P192 = "1.2.840.10045.3.1.1"
EC_KEY = "1.2.840.10045.2.1"
RSA_KEY = "1.2.840.113549.1.1.1"


def rsa_key(modulus: int, exponent: int) -> bytes:
    """A SubjectPublicKeyInfo."""
    numbers = der.sequence(der.integer(modulus), der.integer(exponent))
    return der.sequence(der.sequence(der.oid(RSA_KEY), der.null()), der.bit_string(numbers))


def explicit_curve() -> bytes:
    """P-256 by its parameters."""
    octets = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    point = octets.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    parameters = der.sequence(der.integer(1), der.sequence(der.oid("1.2.840.10045.1.1"), der.integer(23)))
    return der.sequence(der.sequence(der.oid(EC_KEY), parameters), der.bit_string(point))


GOOD = make_csr()[1]
LARGE = "A" * 70_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"*" + base64.b64encode(GOOD),
        base64.urlsafe_b64encode(GOOD).replace(b"A", b"-", 1),
        base64.b64encode(GOOD)[:-5],
        base64.b64encode(GOOD[:-5]),
        base64.b64encode(GOOD + b"\0"),
        base64.b64encode(GOOD + GOOD),
        base64.b64encode(GOOD) * 2,
        base64.b64encode(GOOD) + b"\n" + base64.b64encode(GOOD),
        GOOD[:-1],
        GOOD + b"\0",
        b"\x30\x80" + GOOD[4:] + b"\0\0",
        b"\x30\x84\xff\xff\xff\xff" + GOOD[4:],
        b"\x30\x82\x10",
        b"0",
        b"\x30" * 60_000,
        base64.b64encode(b"\x30\x80" * 20_000),
        b"-----BEGIN CERTIFICATE REQUEST-----\n",
        b"<html>",
        b"\0" * 60_000,
    ],
)
@pytest.mark.parametrize("operation", ["simpleenroll", "serverkeygen"])
def test_bodies(est: EST, operation: str, body: bytes) -> None:
    """400 at once."""
    with costs_at_most(20 * BATCH):
        line = refused(est.send(path(operation), body=body, headers=basic("alice")), 400)
    assert len(line) < 200


@pytest.mark.parametrize(
    "csr",
    [
        GOOD[:-4] + bytes(4),
        request(signature=b""),
        request(spki=rsa_key((1 << 1024) - 105, 65537)),
        request(spki=rsa_key((1 << 2048) - 1, 1)),
        request(spki=rsa_key((1 << 2048) - 1, 2)),
        request(spki=der.sequence(der.sequence(der.oid(EC_KEY), der.oid(P192)), der.bit_string(b"\x04" + bytes(48)))),
        request(spki=explicit_curve()),
        request(spki=der.sequence(der.sequence(der.oid("1.2.840.10040.4.1")), der.bit_string(b"x"))),
        request(subject=b"\x30\x00"),
        request(version=der.integer(1)),
        request(attributes=[san(dns(b"a\0.example.com"))]),
        request(attributes=[san(dns(b"*."))]),
        request(attributes=[san(dns(b"xn--zzzz--.example.com"))]),
        request(attributes=[san(*(dns(b"n%d.example.com" % number) for number in range(1000)))]),
        request(attributes=[san(der.implicit(7, bytes(5)))]),
        request(attributes=[attribute("1.2.840.113549.1.9.7", b"\x30\x00")]),
        request(attributes=[attribute("1.2.840.113549.1.9.7", b"\x13\x01a"), attribute("1.2.840.113549.1.9.7")]),
    ],
)
def test_requests(est: EST, csr: bytes) -> None:
    """400 and one line."""
    refused(est.enroll(csr, user="alice"), 400)
    assert est.issued() == 0


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data", "x"])
def test_content_types(est: EST, kind: str) -> None:
    """415 for another type than PKCS #10."""
    refused(est.enroll(GOOD, user="alice", headers={"Content-Type": kind}), 415)


@pytest.mark.parametrize(
    ("operation", "method", "allowed"),
    [
        ("cacerts", "POST", "GET, HEAD"),
        ("csrattrs", "PUT", "GET, HEAD"),
        ("cacerts", "BREW", "GET, HEAD"),
        ("simpleenroll", "GET", "POST"),
        ("simplereenroll", "HEAD", "POST"),
        ("serverkeygen", "DELETE", "POST"),
        ("simpleenroll", "OPTIONS", "POST"),
    ],
)
def test_methods(est: EST, operation: str, method: str, allowed: str) -> None:
    """405 with what is allowed there."""
    response = est.send(path(operation), method, b"" if method in ("GET", "HEAD") else b"x")
    assert response.status == 405
    assert response.headers["Allow"] == allowed


def test_large_bodies(est: EST) -> None:
    """413, announced or not."""
    response = est.send(path("simpleenroll"), body=LARGE.encode(), headers=basic("alice"))
    assert response.status == 413
    connection = Plain(est.site, est.stack.clock)
    top = f"POST {path('simpleenroll')} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = connection.send(f"{top}11170\r\n{LARGE}\r\n0\r\n\r\n".encode())
    assert received.startswith(b"HTTP/1.1 413 ")


def test_names_are_escaped(est: EST) -> None:
    """Names with special characters, other than control characters, are issued."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, '<script>"&\u00fc, =+\\')])
    found = est.certificate(est.enroll(make_csr(subject=name)[1], user="alice"))
    assert found.subject == name


# --- what clients of other makes need ---------------------------------------------------------


def header_block(response: Response) -> bytes:
    return response.raw.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("operation", ["cacerts", "simpleenroll", "wrong password"])
def test_small_headers(est: EST, operation: str) -> None:
    """A response has at most 12 header fields in canonical case, under 1000 bytes, with a length, never chunked."""
    if operation == "cacerts":
        response = est.get("cacerts")
    elif operation == "wrong password":
        response = est.enroll(GOOD, headers=basic("alice", "wrong"))
    else:
        response = est.enroll(GOOD, user="alice")
    assert len(header_block(response)) < 1000
    assert len(response.headers) <= 12
    assert "Transfer-Encoding" not in response.headers
    for name in response.headers:
        assert name == "-".join(part.upper() if part == "WWW" else part.capitalize() for part in name.split("-"))
    assert response.headers["Server"] == "Pikachu"


def test_one_write(est: EST) -> None:
    """Status, header and body go out in one piece."""
    tls = est.connect()
    sizes = []
    transport = tls.transport
    write = transport.write

    def count(data: bytes) -> None:
        sizes.append(len(data))
        write(data)

    transport.write = count  # type: ignore[method-assign]
    response = est.get_on(tls, "cacerts")
    assert response.status == 200
    (size,) = sizes
    assert size > len(response.raw)


def test_libest(est: EST) -> None:
    """Wrapped at 64, the exact type, and the connection closed when it says so."""
    headers = {**basic("alice"), "User-Agent": "libest 3.2.0p", "Connection": "close", "Accept": "*/*"}
    for operation in ("cacerts", "simpleenroll"):
        method = "GET" if operation == "cacerts" else "POST"
        body = b"" if method == "GET" else base64.encodebytes(GOOD)
        connection = Plain(est.site, est.stack.clock)
        lines = [f"{method} {path(operation)} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["Content-Type: application/pkcs10", "", ""]
        response = Response.parse(connection.send("\r\n".join(lines).encode() + body))
        assert response.status == 200
        assert not connection.open
        assert response.headers["Connection"] == "close"
        assert response.body.endswith(b"\n")
        assert {len(line) for line in response.body.split(b"\n")[:-2]} == {64}
        assert response.headers["Content-Type"].startswith("application/pkcs7-mime")


def test_libest_asks_without_a_password_first(est: EST) -> None:
    """401, then the same again with a password, on a new connection."""
    response = est.enroll(GOOD, headers={"User-Agent": "libest 3.2.0p"})
    refused(response, 401)
    assert list(response.headers).count("WWW-Authenticate") == 1
    assert est.enroll(GOOD, user="alice", headers={"User-Agent": "libest 3.2.0p"}).status == 200


@pytest.mark.parametrize("size", [1, 7, 76, 1000])
def test_chunked_requests(est: EST, size: int) -> None:
    """estclient sends chunks only, of base64 with CRLF at 76 columns."""
    text = base64.encodebytes(GOOD).replace(b"\n", b"\r\n")
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    connection = Plain(est.site, est.stack.clock)
    fields = {
        **basic("alice"),
        "Content-Type": "application/pkcs10",
        "Content-Transfer-Encoding": "base64",
        "Transfer-Encoding": "chunked",
        "Accept-Encoding": "gzip",
    }
    lines = [f"POST {path('simpleenroll')} HTTP/1.1", "Host: x", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
    response = Response.parse(connection.send("\r\n".join(lines).encode() + body))
    est.certificate(response)


def test_old_http(est: EST) -> None:
    """HTTP/1.0 without Host: an answer with a length, then the end."""
    connection = Plain(est.site, est.stack.clock)
    response = Response.parse(connection.send(f"GET {path('cacerts')} HTTP/1.0\r\n\r\n".encode()))
    assert response.status == 200
    assert not connection.open


def test_many_requests_on_a_connection(est: EST) -> None:
    """A connection serves one request after the other."""
    tls = est.connect(est.identity())
    for number in range(5):
        est.certificate(est.enroll(make_csr(subject=f"device{number}")[1], tls=tls))
    assert est.get_on(tls, "csrattrs").status == 204


def test_digests(est: EST) -> None:
    """A SHA-1 signature is refused; SHA-384 and SHA-512 are not."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    )
    for digest in (hashes.SHA384(), hashes.SHA512()):
        csr = builder.sign(key, digest).public_bytes(serialization.Encoding.DER)
        est.certificate(est.enroll(csr, user="alice"))
