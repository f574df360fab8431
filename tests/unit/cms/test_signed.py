"""SignedData (RFC 5652 section 5), as real clients write it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pikachu.cms.algorithms import LEGACY, MODERN, WITH_SHA1_3DES, Digest, allowed_algorithms
from pikachu.cms.identity import identify
from pikachu.cms.signed import DATA, attribute, degenerate, parse_signed_data, prepare
from pikachu.core.errors import MalformedRequest, MessageCheckFailed, RequestError, UnsupportedAlgorithm
from pikachu.x509 import der
from tests.support import scep_client as client
from tests.support.reference_work import BATCH, costs_at_most
from tests.support.scep_client import as_ber, octets, printable, rsa_key, self_signed, signed, tlv, verify_signed
from tests.support.signature_algorithms import rsa_signature_algorithm

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
TID = {client.TRANSACTION_ID: [printable("t")]}

ASYMMETRIC_KEY_PACKAGE = "2.16.840.1.101.2.1.2.78.5"


def message(content: bytes | None = b"content", **how: Any) -> bytes:
    certificate = how.pop("certificate", None) or self_signed(rsa_key())
    return signed(content, rsa_key(), certificate, TID, **how)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_verifies_modern_digests(digest: str) -> None:
    """The signer's certificate comes back, and the content."""
    data = parse_signed_data(message(digest=digest))
    assert data.content == b"content"
    assert data.verify().certificate == self_signed(rsa_key())


@pytest.mark.parametrize(("digest", "allowed"), [("sha1", WITH_SHA1_3DES), ("sha1", LEGACY), ("md5", LEGACY)])
def test_old_digests_only_behind_their_switch(digest: str, allowed: Any) -> None:
    """SHA-1 with its switch, MD5 only with the legacy one."""
    data = parse_signed_data(message(digest=digest))
    data.verify(allowed)
    with pytest.raises(UnsupportedAlgorithm):
        data.verify(MODERN)
    if digest == "md5":
        with pytest.raises(UnsupportedAlgorithm):
            data.verify(WITH_SHA1_3DES)


def test_switches() -> None:
    """Legacy lets in everything known, the other switch SHA-1 and triple DES."""
    assert allowed_algorithms() is MODERN
    assert allowed_algorithms(sha1_3des=True) is WITH_SHA1_3DES
    assert allowed_algorithms(legacy=True) is LEGACY


def test_unknown_digest_is_unsupported() -> None:
    """SHA-224 is nowhere in the list."""
    with pytest.raises(UnsupportedAlgorithm):
        parse_signed_data(message(digest="sha224")).verify(LEGACY)


def test_digest_inside_the_signature_algorithm_counts() -> None:
    """sha1WithRSAEncryption is not let in because the message digest is SHA-256."""
    data = parse_signed_data(message(signature_oid="1.2.840.113549.1.1.5"))
    with pytest.raises(UnsupportedAlgorithm):
        data.verify()
    parse_signed_data(message(signature_oid="1.2.840.113549.1.1.11")).verify()


def test_pss_verifies() -> None:
    """strongSwan's ``--rsa-padding pss``."""
    parse_signed_data(message(pss=True)).verify()
    with pytest.raises(MessageCheckFailed):
        parse_signed_data(message(pss=True, flip=True)).verify()


def test_ecdsa_verifies() -> None:
    """EC signers, with the digest in the signature algorithm or beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    for oid in ("1.2.840.10045.4.3.2", "1.2.840.10045.2.1"):
        parse_signed_data(signed(b"x", key, self_signed(key), TID, signature_oid=oid)).verify()
    wrong = signed(b"x", key, self_signed(key), TID, signature_oid="1.2.840.113549.1.1.11")
    with pytest.raises(UnsupportedAlgorithm):
        parse_signed_data(wrong).verify()


@pytest.mark.parametrize("serial", [0, -5, 2**255, 2**520 + 1, -(2**200)])
def test_odd_serials_of_throw_away_certificates(serial: int) -> None:
    """Zero, negative and very long serial numbers are tolerated there."""
    certificate = self_signed(rsa_key(), serial=serial)
    identity = parse_signed_data(message(certificate=certificate)).verify()
    assert identity.serial == serial
    assert identity.issuer_and_serial == client.issuer_and_serial(certificate)


def test_signer_by_key_identifier() -> None:
    """The signer may be named by its subjectKeyIdentifier (SignerInfo version 3)."""
    certificate = self_signed(rsa_key(), key_identifier=b"k" * 20)
    data = parse_signed_data(message(certificate=certificate, key_identifier=b"k" * 20))
    assert data.verify().certificate == certificate
    other = parse_signed_data(message(certificate=certificate, key_identifier=b"x" * 20))
    with pytest.raises(MessageCheckFailed):
        other.verify()


def test_signer_is_found_among_several_certificates() -> None:
    """And what is no certificate does not get in the way."""
    certificate = self_signed(rsa_key(), "device", 7)
    others = [self_signed(rsa_key(), "other", 7), self_signed(rsa_key(), "device", 8), tlv(0x30), certificate]
    assert parse_signed_data(message(certificate=certificate, certificates=others)).verify().serial == 7


@pytest.mark.parametrize(
    "how",
    [
        {"flip": True},
        {"message_digest": bytes(32)},
        {"extra": [], "certificates": []},
        {"certificates": [self_signed(rsa_key(), serial=99)]},
        {"certificates": [self_signed(rsa_key(1))]},
    ],
)
def test_what_does_not_match_fails_the_message_check(how: dict[str, Any]) -> None:
    """One kind of error for any mismatch."""
    with pytest.raises(MessageCheckFailed):
        parse_signed_data(message(**how)).verify()


def test_wrong_content_type_attribute() -> None:
    """contentType must be that of the content."""
    other = signed(b"c", rsa_key(), self_signed(rsa_key()), {client.CONTENT_TYPE: [client.oid(client.SIGNED_DATA)]})
    with pytest.raises(MessageCheckFailed):
        parse_signed_data(other).verify()
    missing = signed(b"c", rsa_key(), self_signed(rsa_key()), {client.CONTENT_TYPE: None})
    with pytest.raises(MessageCheckFailed):
        parse_signed_data(missing).verify()


def test_two_message_digests_are_malformed() -> None:
    """RFC 5652 section 11.2: there is exactly one value."""
    data = message(extra=[client.attribute(client.MESSAGE_DIGEST, octets(bytes(32)))])
    with pytest.raises(MalformedRequest):
        parse_signed_data(data).verify()


def test_no_signer_and_two_signers_are_malformed() -> None:
    """Exactly one SignerInfo."""
    for signers in (0, 2):
        with pytest.raises(MalformedRequest):
            parse_signed_data(message(signers=signers)).verify()


def test_unsorted_attributes_signed_in_der_order_or_as_sent() -> None:
    """Both kinds of client are understood."""
    parse_signed_data(message(unsorted=True)).verify()
    parse_signed_data(message(unsorted=True, sign_as_sent=True)).verify()
    with pytest.raises(MessageCheckFailed):
        parse_signed_data(message(unsorted=True, flip=True)).verify()


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_ber_is_read(piece: int) -> None:
    """Indefinite lengths and pieces everywhere but in the certificate."""
    certificate = self_signed(rsa_key())
    data = parse_signed_data(as_ber(message(b"c" * 300), [certificate], piece))
    assert data.verify().certificate == certificate
    assert data.content == b"c" * 300


def test_a_certificate_in_ber_is_refused() -> None:
    """A certificate is never re-encoded."""
    with pytest.raises(MalformedRequest, match="not DER"):
        parse_signed_data(as_ber(message()))


def test_absent_and_empty_content() -> None:
    """Absent and empty content are distinguished, and both verify."""
    assert parse_signed_data(message(None)).content is None
    assert parse_signed_data(message(b"")).content == b""
    parse_signed_data(message(None)).verify()
    parse_signed_data(message(b"")).verify()


def test_content_without_signed_attributes() -> None:
    """RFC 5652 section 5.4: then the signature covers the content itself, which must be data."""
    certificate = self_signed(rsa_key())
    signature = rsa_key().sign(b"plain", padding.PKCS1v15(), hashes.SHA256())
    sha256 = client.algorithm(client.DIGESTS["sha256"][0])
    info = tlv(
        0x30,
        client.integer(1),
        client.issuer_and_serial(certificate),
        sha256,
        client.algorithm("1.2.840.113549.1.1.1"),
        octets(signature),
    )

    def build(content_type: str) -> bytes:
        body = tlv(
            0x30,
            client.integer(1),
            tlv(0x31, sha256),
            tlv(0x30, client.oid(content_type), tlv(0xA0, octets(b"plain"))),
            tlv(0xA0, certificate),
            tlv(0x31, info),
        )
        return tlv(0x30, client.oid(client.SIGNED_DATA), tlv(0xA0, body))

    parse_signed_data(build(DATA)).verify()
    with pytest.raises(MessageCheckFailed):
        parse_signed_data(build(ASYMMETRIC_KEY_PACKAGE)).verify()


def _sign(to_be_signed: bytes) -> bytes:
    return rsa_key().sign(to_be_signed, padding.PKCS1v15(), hashes.SHA256())


@given(content=st.binary(max_size=500), value=st.binary(max_size=50))
@example(content=b"", value=b"")
@settings(max_examples=25)
def test_what_is_built_is_read_by_both(content: bytes, value: bytes) -> None:
    """Sorted attributes, contentType, messageDigest and signingTime; decode(encode(m)) = m."""
    certificate = self_signed(rsa_key())
    unsigned = prepare(
        content,
        signer=identify(certificate),
        algorithm=rsa_signature_algorithm(Digest.SHA256),
        signing_time=NOW,
        attributes=[attribute(client.SENDER_NONCE, der.octet_string(value))],
        certificates=[certificate],
    )
    data = unsigned.assemble(_sign(unsigned.to_be_signed))
    _signed_data, attributes = verify_signed(data, certificate)
    assert attributes[client.SENDER_NONCE] == [octets(value)]
    assert attributes[client.SIGNING_TIME] == [tlv(0x17, b"260504030201Z")]
    again = parse_signed_data(data)
    assert again.content == content
    assert again.certificates == (certificate,)
    assert again.verify().certificate == certificate


def test_ecdsa_is_built() -> None:
    """An EC authority's answers carry its own signature algorithm."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = self_signed(key)
    unsigned = prepare(b"c", signer=identify(certificate), algorithm=ECDSA_SHA256, certificates=[certificate])
    data = unsigned.assemble(key.sign(unsigned.to_be_signed, ec.ECDSA(hashes.SHA256())))
    verify_signed(data, certificate)
    parse_signed_data(data).verify()


def test_key_packages_make_version_3() -> None:
    """SignedData of an AsymmetricKeyPackage (RFC 5652 section 5.1, RFC 5958)."""
    certificate = self_signed(rsa_key())
    unsigned = prepare(
        b"package",
        signer=identify(certificate),
        algorithm=rsa_signature_algorithm(Digest.SHA256),
        certificates=[certificate],
        content_type=ASYMMETRIC_KEY_PACKAGE,
    )
    data = unsigned.assemble(_sign(unsigned.to_be_signed))
    verified, _attributes = verify_signed(data, certificate)
    assert verified["version"].native == "v3"
    assert verified["encap_content_info"]["content_type"].dotted == ASYMMETRIC_KEY_PACKAGE
    assert parse_signed_data(data).verify().certificate == certificate


def test_degenerate_is_exact() -> None:
    """Version 1, no digest algorithms, data without content, certificates in DER order, no signers."""
    one, two = self_signed(rsa_key(), serial=1), self_signed(rsa_key(), serial=2)
    data = degenerate([two, one, two])
    body = data[data.index(b"\xa0") :]
    assert data == degenerate([one, two])
    expected = tlv(
        0x30,
        client.integer(1),
        tlv(0x31),
        tlv(0x30, client.oid(DATA)),
        tlv(0xA0, *sorted([one, two])),
        tlv(0x31),
    )
    assert data == tlv(0x30, client.oid(client.SIGNED_DATA), tlv(0xA0, expected))
    assert body
    assert client.read_degenerate(data) == (sorted([one, two]), [])
    assert set(parse_signed_data(data).certificates) == {one, two}


def test_degenerate_of_crls() -> None:
    """CRLs only."""
    crl = tlv(0x30, tlv(0x30), tlv(0x30), b"\x03\x01\x00")
    data = degenerate(crls=[crl])
    assert parse_signed_data(data).crls == (crl,)
    assert parse_signed_data(data).certificates == ()
    assert b"\xa1" + tlv(0x30, crl)[1:2] in data


@pytest.mark.parametrize(
    "key",
    [
        tlv(0x30),
        tlv(0x30, tlv(0x30, client.oid("1.2.3.4")), b"\x03\x02\x00\x00"),
        client.tlv(0x30, client.algorithm("1.2.840.113549.1.1.1"), b"\x03\x02\x00\x30"),
        tlv(0x30, client.algorithm("1.2.840.10045.2.1", client.oid("1.2.840.10045.3.1.7")), b"\x03\x02\x00\x04"),
    ],
)
def test_broken_keys_are_unsupported(key: bytes) -> None:
    """A key that can't be read is an error of ours, and no other."""
    certificate = self_signed(rsa_key()).replace(client.spki(rsa_key()), key)
    fields = client.members(client.split(client.members(client.split(certificate)[1])[0])[1])
    rebuilt = tlv(0x30, tlv(0x30, *fields[:6], key), client.algorithm("1.2.3"), b"\x03\x01\x00")
    with pytest.raises(UnsupportedAlgorithm):
        parse_signed_data(message(certificate=rebuilt)).verify()


@pytest.mark.parametrize("mutate", [lambda data, at: data[:at], lambda data, at: data[:at] + b"\xff" + data[at + 1 :]])
def test_spoilt_messages_give_only_our_errors(mutate: Callable[[bytes, int], bytes]) -> None:
    """Cut or changed at any place, quickly."""
    data = message()
    for at in range(0, len(data), 3):
        with costs_at_most(2 * BATCH), contextlib.suppress(RequestError):
            parse_signed_data(mutate(data, at)).verify(LEGACY)


@given(st.binary(max_size=400))
def test_any_bytes_give_only_malformed_request(data: bytes) -> None:
    """Nothing else ever comes out of the parser."""
    with pytest.raises(MalformedRequest):
        parse_signed_data(data)


def test_a_key_is_loaded_once() -> None:
    """One key verifies the message and gets the answer's key."""
    signer = parse_signed_data(message()).verify()
    assert signer.public_key() is signer.public_key()
