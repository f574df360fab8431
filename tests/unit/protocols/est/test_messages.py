"""EST's codec (EST-1), and what hostile clients send."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from pikachu.cms.signed import degenerate
from pikachu.core.errors import AuthenticationFailed, MalformedRequest, NotFound, TooLarge, UnsupportedAlgorithm
from pikachu.protocols.est.messages import (
    ASYMMETRIC_DECRYPT_KEY_IDENTIFIER,
    DECRYPT_KEY_IDENTIFIER,
    ESTPath,
    Operation,
    decode_body,
    encode_body,
    encode_certificates,
    encode_server_key,
    is_raw,
    parse_basic_authorization,
    parse_path,
    refuse_key_encryption,
    wraps_base64,
)
from pikachu.x509 import der
from pikachu.x509.csr import decode_csr_input, parse_csr, verify_csr
from pikachu.x509.keys import load_private_key, private_key_info
from tests.support.pki import make_ca, make_key, make_leaf
from tests.support.reference_work import BATCH, costs_at_most
from tests.unit.x509.requests import attribute, request

REQUEST = request()
BASE64 = base64.b64encode(REQUEST)
PEM = b"-----BEGIN CERTIFICATE REQUEST-----\r\n" + base64.encodebytes(REQUEST).replace(b"\n", b"\r\n")
PEM += b"-----END CERTIFICATE REQUEST-----\r\n"


# --- paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", list(Operation))
def test_paths(operation: Operation) -> None:
    """With and without a label; an escaped label is a policy's name."""
    name = operation.value.encode("ascii")
    assert parse_path([name]) == ESTPath(operation, None)
    assert parse_path([b"Floor%202.b_-", name]) == ESTPath(operation, "Floor 2.b_-")
    assert operation.method == ("GET" if name in (b"cacerts", b"csrattrs") else "POST")


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [b""],
        [b"", b"cacerts"],
        [b"cacerts", b""],
        [b"cacerts", b"cacerts"],
        [b"fullcmc", b"simpleenroll"],
        [b"fullcmc"],
        [b"CACERTS"],
        [b"cacert"],
        [b"a" * 300, b"cacerts"],
        [b"a" * 65, b"cacerts"],
        [b"%2e%2e", b"cacerts"],
        [b"%2e", b"cacerts"],
        [b"a%2fb", b"cacerts"],
        [b"a%00", b"cacerts"],
        [b"a%0a", b"cacerts"],
        [b"%ff", b"cacerts"],
        [b"\xff", b"cacerts"],
        [b"a", b"b", b"cacerts"],
        [b"a", b"\xff"],
    ],
)
def test_paths_that_do_not_exist(segments: list[bytes]) -> None:
    """fullcmc is not offered; nothing lies below an operation."""
    with pytest.raises(NotFound):
        parse_path(segments)


@given(st.lists(st.binary(max_size=40), max_size=3))
def test_any_path(segments: list[bytes]) -> None:
    with contextlib.suppress(NotFound):
        parse_path(segments)


# --- credentials ------------------------------------------------------------------------------


def basic(credentials: bytes) -> bytes:
    return b"Basic " + base64.b64encode(credentials)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (basic(b"user:pass"), ("user", "pass")),
        (basic(b":pass"), ("", "pass")),
        (basic(b"user:"), ("user", "")),
        (basic(b"user:a:b"), ("user", "a:b")),
        (basic("ü:ä".encode()), ("ü", "ä")),
        (b"basic " + base64.b64encode(b"u:p"), ("u", "p")),
        (b" BASIC  " + base64.b64encode(b"u:p") + b" ", ("u", "p")),
    ],
)
def test_basic_credentials(value: bytes | None, expected: tuple[str, str] | None) -> None:
    """Pre-emptive credentials, an empty user name, UTF-8."""
    assert parse_basic_authorization(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Basic",
        b"Basic !!!",
        b"Basic dXNlcg==",
        basic(b"\xff\xfe:x"),
        basic(b"user\0:x"),
        basic(b"user:x\ny"),
        b"Bearer abc",
        b'Digest username="x"',
        b"\xff\xff",
    ],
)
def test_credentials_refused(value: bytes) -> None:
    """401; the text of the credentials is nowhere in the error."""
    with pytest.raises(AuthenticationFailed) as caught:
        parse_basic_authorization(value)
    assert "user" not in caught.value.public


def test_credentials_too_long() -> None:
    """A megabyte is refused before it is decoded."""
    with pytest.raises(MalformedRequest):
        parse_basic_authorization(basic(b"a:" + b"b" * 1_000_000))


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=":"), max_size=50),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=50),
)
def test_credentials_round_trip(username: str, password: str) -> None:
    assert parse_basic_authorization(basic(f"{username}:{password}".encode())) == (username, password)


@given(st.binary(max_size=80))
def test_any_credentials(data: bytes) -> None:
    for candidate in (data, b"Basic " + data, basic(data)):
        with contextlib.suppress(AuthenticationFailed):
            parse_basic_authorization(candidate)


# --- bodies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "raw"),
    [
        (REQUEST, True),
        (BASE64, False),
        (base64.encodebytes(REQUEST), False),
        (base64.encodebytes(REQUEST).replace(b"\n", b"\r\n"), False),
        (b" \t\r\n" + BASE64 + b" \t\r\n", False),
        (PEM, False),
        (PEM.replace(b"CERTIFICATE", b"NEW CERTIFICATE"), False),
    ],
)
def test_request_bodies(body: bytes, raw: bool) -> None:
    """Only a raw DER body is answered in raw DER; no header matters."""
    assert decode_csr_input(body) == REQUEST
    assert is_raw(body) is raw


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        BASE64[:20] + b"-_" + BASE64[22:],
        b"*" + BASE64,
        BASE64 + b"*",
        BASE64 + b"\0",
        BASE64[:-3],
        BASE64 + b"=" + BASE64,
        PEM + PEM,
        PEM[:-40],
        BASE64[:101] + b"\x0b" + BASE64[101:],
    ],
)
def test_request_bodies_refused(body: bytes) -> None:
    """Neither DER, nor PEM, nor base64 of DER, and nothing behind it."""
    with pytest.raises(MalformedRequest):
        decode_csr_input(body)


@pytest.mark.parametrize(
    "body", [REQUEST + b"\0", REQUEST + REQUEST, REQUEST[:-5], base64.b64encode(REQUEST[:-5]), BASE64 + BASE64]
)
def test_requests_that_are_cut_or_doubled(body: bytes) -> None:
    """Two CSRs in one body."""
    with pytest.raises(MalformedRequest):
        parse_csr(decode_csr_input(body))


def test_large_bodies() -> None:
    with pytest.raises(TooLarge):
        decode_csr_input(b"M" * 300_000)


@given(st.binary(max_size=200))
def test_any_body(data: bytes) -> None:
    with contextlib.suppress(MalformedRequest, TooLarge):
        decode_csr_input(data)


@given(st.binary(max_size=300), st.booleans())
def test_bodies_round_trip(content: bytes, wrap: bool) -> None:
    body = encode_body(content, wrap=wrap)
    assert decode_body(body) == content
    assert max((len(line) for line in body.split(b"\n")), default=0) <= (64 if wrap else 400)
    assert (b"\n" in body) is (wrap and content != b"")


@pytest.mark.parametrize(
    ("agent", "setting", "wraps"),
    [
        (None, "auto", False),
        ("strongSwan 5.9.8", "auto", False),
        ("libest 3.2.0p", "auto", True),
        ("curl/8", "auto", False),
        ("curl/8", "always", True),
        ("libest 3.2.0p", "never", False),
    ],
)
def test_wrapping(agent: str | None, setting: str, wraps: bool) -> None:
    """64 columns for libest, one line for all others, unless the setting says so."""
    assert wraps_base64(agent, setting) is wraps


@pytest.mark.parametrize("key_type", ["p256", "mldsa44"])
def test_certificates_answer(key_type: str) -> None:
    """A degenerate PKCS#7 that others read, in base64 or in DER."""
    authority = make_ca(key_type=key_type)
    leaf = make_leaf(authority)
    ders = [identity.der for identity in (leaf, authority)]
    body = encode_certificates(ders)
    assert b"\n" not in body
    raw = encode_certificates(ders, raw=True)
    assert base64.b64decode(body) == raw == degenerate(ders)
    found = pkcs7.load_der_pkcs7_certificates(raw)
    assert {certificate.public_bytes(Encoding.DER) for certificate in found} == set(ders)
    assert raw == pkcs7.serialize_certificates(found, Encoding.DER)


def test_server_key_answer() -> None:
    """Two base64 parts that a MIME reader takes apart, CRLF throughout."""
    key = make_key("p256")
    leaf = make_leaf(make_ca())
    for wrap in (False, True):
        content_type, body = encode_server_key(private_key_info(key), leaf.der, wrap=wrap)
        assert body.count(b"\n") == body.count(b"\r\n")
        message = email.message_from_bytes(
            b"Content-Type: " + content_type.encode("ascii") + b"\r\n\r\n" + body, policy=email.policy.HTTP
        )
        first, second = message.iter_parts()
        assert not message.defects
        assert first["Content-Transfer-Encoding"] == second["Content-Transfer-Encoding"] == "base64"
        assert first["Content-Type"] == "application/pkcs8"
        assert second.get_content_type() == "application/pkcs7-mime"
        assert b"\r\nContent-Type: application/pkcs7-mime; smime-type=certs-only\r\n" in body
        first_bytes, second_bytes = first.get_payload(decode=True), second.get_payload(decode=True)
        assert isinstance(first_bytes, bytes)
        assert private_key_info(load_private_key(first_bytes)) == private_key_info(key)
        assert second_bytes == degenerate([leaf.der])
        assert len(message.get_boundary() or "") <= 70


@pytest.mark.parametrize("oid", [DECRYPT_KEY_IDENTIFIER, ASYMMETRIC_DECRYPT_KEY_IDENTIFIER])
def test_key_encryption_is_refused(oid: str) -> None:
    """Never a plain key for who asked for an encrypted one."""
    with pytest.raises(UnsupportedAlgorithm):
        refuse_key_encryption(parse_csr(request(attributes=[attribute(oid, der.octet_string(b"id"))])))
    refuse_key_encryption(parse_csr(REQUEST))


def test_server_key_requests_need_no_good_signature() -> None:
    """Reading does not verify."""
    csr = parse_csr(request(signature=b"nonsense"))
    assert csr.common_name == "device"


def test_the_whole_way_is_quick() -> None:
    """The hot path: base64 to a verified key."""
    with costs_at_most(20 * BATCH):
        for _ in range(100):
            verify_csr(parse_csr(decode_csr_input(BASE64)))
