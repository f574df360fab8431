"""EnvelopedData (RFC 5652 section 6), as real clients write it."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from pikachu.cms.algorithms import LEGACY, MODERN, WITH_SHA1_3DES, AllowedAlgorithms, Cipher
from pikachu.cms.enveloped import NOT_READABLE, envelop, open_envelope, parse_enveloped_data, recipient_for
from pikachu.cms.identity import identify
from pikachu.core.errors import (
    MalformedRequest,
    MessageCheckFailed,
    RequestError,
    UnknownRecipient,
    UnsupportedAlgorithm,
)
from pikachu.protocols.scep.messages import csr_in
from tests.support import scep_client as client
from tests.support.scep_client import as_ber, octets, rsa_key, self_signed, tlv

CERTIFICATE = self_signed(rsa_key(), "RA", 2**64, b"ra key identifier")
NAMES = {
    "des": Cipher.DES,
    "des3": Cipher.DES3,
    "aes128": Cipher.AES128,
    "aes192": Cipher.AES192,
    "aes256": Cipher.AES256,
}


def decrypt(encrypted_key: bytes, oaep_hash: str | None) -> bytes | None:
    """Decrypt as the holder of the key; return None on failure."""
    scheme: padding.AsymmetricPadding = padding.PKCS1v15()
    if oaep_hash is not None:
        digest = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}[oaep_hash]
        scheme = padding.OAEP(padding.MGF1(digest), digest, None)
    try:
        return rsa_key().decrypt(encrypted_key, scheme)
    except ValueError:
        return None


def opened(data: bytes, allowed: AllowedAlgorithms = MODERN) -> bytes:
    enveloped = parse_enveloped_data(data, allowed)
    recipient = recipient_for(enveloped, [identify(self_signed(rsa_key(1))), identify(CERTIFICATE)])
    assert recipient.certificate == CERTIFICATE
    return open_envelope(enveloped, decrypt(recipient.encrypted_key, recipient.oaep_hash))


@pytest.mark.parametrize("cipher", list(NAMES))
def test_each_cipher_opens_what_its_switch_lets_in(cipher: str) -> None:
    """AES always, triple DES with its switch, single DES with the legacy switch only."""
    data = client.envelope(b"content", CERTIFICATE, cipher)
    assert opened(data, LEGACY) == b"content"
    for allowed in (MODERN, WITH_SHA1_3DES):
        if NAMES[cipher] in allowed.ciphers:
            assert opened(data, allowed) == b"content"
        else:
            with pytest.raises(UnsupportedAlgorithm):
                parse_enveloped_data(data, allowed)


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_oaep(digest: str) -> None:
    """RSAES-OAEP with SHA-1 and SHA-256."""
    data = client.envelope(b"content", CERTIFICATE, oaep_digest=digest)
    recipient = recipient_for(parse_enveloped_data(data), [identify(CERTIFICATE)])
    assert recipient.oaep_hash == digest
    assert opened(data) == b"content"


def test_oaep_with_other_hashes_is_unsupported() -> None:
    """An OAEP hash that the recipient does not support is refused before decryption."""
    data = client.envelope(b"content", CERTIFICATE, oaep_digest="sha512")
    with pytest.raises(UnsupportedAlgorithm):
        recipient_for(parse_enveloped_data(data), [identify(CERTIFICATE)])


def test_oaep_defaults_are_sha1() -> None:
    """RFC 4055 section 4.1: absent parameters mean SHA-1 and MGF1 with SHA-1."""
    explicit = client.oaep("sha1")[1]
    for parameters in (tlv(0x30), b""):
        data = _with_key_algorithm(client.algorithm("1.2.840.113549.1.1.7", parameters))
        assert recipient_for(parse_enveloped_data(data), [identify(CERTIFICATE)]).oaep_hash == "sha1"
    data = _with_key_algorithm(explicit)
    assert recipient_for(parse_enveloped_data(data), [identify(CERTIFICATE)]).oaep_hash == "sha1"


def _with_key_algorithm(algorithm: bytes) -> bytes:
    transport = tlv(0x30, client.integer(0), client.issuer_and_serial(CERTIFICATE), algorithm, octets(bytes(256)))
    return _around(transport)


def _around(*recipients: bytes, encrypted: bytes | None = None) -> bytes:
    vector = octets(bytes(16))
    if encrypted is None:
        encrypted = tlv(
            0x30, client.oid(client.DATA), client.algorithm(client.CIPHERS["aes128"][0], vector), tlv(0x80, bytes(32))
        )
    body = tlv(0x30, client.integer(0), tlv(0x31, *recipients), encrypted)
    return tlv(0x30, client.oid(client.ENVELOPED_DATA), tlv(0xA0, body))


def test_other_key_encryption_is_unsupported() -> None:
    """RSA with PKCS #1 v1.5 or OAEP is all."""
    for algorithm in (
        client.algorithm("1.2.3.4"),
        client.algorithm(
            "1.2.840.113549.1.1.7", tlv(0x30, tlv(0xA2, client.algorithm("1.2.840.113549.1.1.9", octets(b"label"))))
        ),
        client.algorithm("1.2.840.113549.1.1.7", tlv(0x30, tlv(0xA1, client.algorithm("1.2.3")))),
    ):
        with pytest.raises(UnsupportedAlgorithm):
            recipient_for(parse_enveloped_data(_with_key_algorithm(algorithm)), [identify(CERTIFICATE)])


def test_recipient_by_key_identifier() -> None:
    """RFC 5652 section 6.2.1: the other form of RecipientIdentifier."""
    data = client.envelope(b"content", CERTIFICATE, key_identifier=b"ra key identifier")
    assert opened(data) == b"content"
    with pytest.raises(UnknownRecipient):
        opened(client.envelope(b"content", CERTIFICATE, key_identifier=b"other"))


def test_other_recipient_is_unknown() -> None:
    """Its own error, since the recipient is not secret."""
    data = client.envelope(b"content", self_signed(rsa_key(1), "someone else"))
    with pytest.raises(UnknownRecipient):
        opened(data)


@pytest.mark.parametrize("how", [{"constructed": True}, {}])
@pytest.mark.parametrize("piece", [None, 5, 1000])
def test_ber_is_read(how: dict[str, Any], piece: int | None) -> None:
    """encryptedContent with an OCTET STRING inside (scepclient), in pieces, indefinite lengths (jscep, iOS)."""
    data = client.envelope(b"content" * 30, CERTIFICATE, **how)
    if piece is not None:
        # The recipient's name must stay as it is: it is compared byte for byte.
        data = as_ber(data, [client.issuer_and_serial(CERTIFICATE)], piece)
    assert opened(data) == b"content" * 30


@pytest.mark.parametrize(
    "how",
    [
        {"encrypted_key": bytes(256)},
        {"encrypted_key": os.urandom(256)},
        {"encrypted_key": b""},
        {"encrypted_key": b"\xff" * 256},
        {"encrypted_key": b"\xff" * 1000},
        {"content_key": b"k" * 32, "ciphertext": bytes(32)},
        {"content_key": b"k" * 1, "ciphertext": bytes(32)},
        {"content_key": b"k" * 16, "ciphertext": b""},
        {"content_key": b"k" * 16, "ciphertext": bytes(31)},
        {"content_key": b"k" * 16, "ciphertext": bytes(16)},
    ],
)
def test_all_failures_to_decrypt_are_one(how: dict[str, Any]) -> None:
    """Padding of the key, size of the key, padding of the content: one error with one text."""
    with pytest.raises(MessageCheckFailed) as failed:
        csr_in(opened(client.envelope(b"content", CERTIFICATE, **how)))
    assert failed.value.public == NOT_READABLE
    assert failed.value.context == {}


def test_a_wrong_key_never_opens_with_the_right_prefix() -> None:
    """Without a key a random one is used, so that each run differs, and never a constant one."""
    enveloped = parse_enveloped_data(client.envelope(b"content" * 100, CERTIFICATE))
    outcomes = set()
    for _ in range(600):
        with contextlib.suppress(MessageCheckFailed):
            outcomes.add(open_envelope(enveloped, None))
    assert b"content" * 100 not in outcomes
    # About one random key in 256 leaves what looks like padding, with different content each time.
    assert all(outcome[:7] != b"content" for outcome in outcomes)


@given(content=st.binary(max_size=200), name=st.sampled_from(list(NAMES)), serial=st.integers(-(2**300), 2**300))
@settings(max_examples=60)
def test_what_is_enveloped_is_opened_by_both(content: bytes, name: str, serial: int) -> None:
    """Version 0, PKCS#1 v1.5, issuer and serial copied; decode(encode(m)) = m for any serial number."""
    certificate = self_signed(rsa_key(), "device", serial)
    data = envelop(content, identify(certificate), NAMES[name])
    assert client.issuer_and_serial(certificate) in data
    assert client.open_envelope(data, rsa_key()) == (name, content)
    enveloped = parse_enveloped_data(data, LEGACY)
    recipient = recipient_for(enveloped, [identify(certificate)])
    assert open_envelope(enveloped, decrypt(recipient.encrypted_key, recipient.oaep_hash)) == content


def test_vectors_and_keys_are_fresh() -> None:
    """A random initialisation vector each."""
    recipient = identify(CERTIFICATE)
    made = [parse_enveloped_data(envelop(b"x", recipient, Cipher.AES128)) for _ in range(20)]
    assert len({one.initialisation_vector for one in made}) == 20
    assert len({one.ciphertext for one in made}) == 20


def test_only_rsa_keys_can_be_recipients() -> None:
    """Never un-enveloped, but refused."""
    certificate = self_signed(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(UnsupportedAlgorithm):
        envelop(b"x", identify(certificate), Cipher.AES128)


@pytest.mark.parametrize("tag", [0xA1, 0xA2, 0xA3, 0xA4])
def test_other_recipient_kinds_are_unsupported(tag: int) -> None:
    """Passwords, key agreement and the rest; beside an RSA recipient they are passed over."""
    with pytest.raises(UnsupportedAlgorithm):
        parse_enveloped_data(_around(tlv(tag, client.integer(0))))
    transport = tlv(
        0x30,
        client.integer(0),
        client.issuer_and_serial(CERTIFICATE),
        client.algorithm("1.2.840.113549.1.1.1"),
        octets(bytes(256)),
    )
    assert len(parse_enveloped_data(_around(transport, tlv(tag, client.integer(0)))).recipients) == 1


def test_authenticated_encryption_is_unsupported() -> None:
    """AuthEnvelopedData (RFC 5083) is refused as an unsupported algorithm."""
    data = tlv(0x30, client.oid("1.2.840.113549.1.9.16.1.23"), tlv(0xA0, tlv(0x30)))
    with pytest.raises(UnsupportedAlgorithm):
        parse_enveloped_data(data)


def test_malformed_encrypted_content() -> None:
    """No initialisation vector, one of a wrong size, no content."""
    aes = client.CIPHERS["aes128"][0]
    transport = tlv(
        0x30,
        client.integer(0),
        client.issuer_and_serial(CERTIFICATE),
        client.algorithm("1.2.840.113549.1.1.1"),
        octets(bytes(256)),
    )
    for parts in (
        (client.algorithm(aes), tlv(0x80, bytes(16))),
        (client.algorithm(aes, octets(bytes(8))), tlv(0x80, bytes(16))),
        (client.algorithm(aes, octets(bytes(16))),),
        (client.algorithm(aes, octets(bytes(16))), tlv(0xA0, b"\x05\x00")),
    ):
        with pytest.raises(MalformedRequest):
            parse_enveloped_data(_around(transport, encrypted=tlv(0x30, client.oid(client.DATA), *parts)))
    unknown = tlv(0x30, client.oid(client.DATA), client.algorithm("1.2.3", octets(bytes(16))), tlv(0x80, bytes(16)))
    with pytest.raises(UnsupportedAlgorithm):
        parse_enveloped_data(_around(transport, encrypted=unknown))


def test_too_many_recipients() -> None:
    """Bounded."""
    with pytest.raises(MalformedRequest):
        parse_enveloped_data(_around(*[tlv(0xA3)] * 40))


def test_a_large_rsa_key_is_not_used() -> None:
    """Work that a client can cause is bounded."""
    numbers = rsa.RSAPublicNumbers(65537, (1 << 8999) | 1)
    spki = tlv(
        0x30,
        client.algorithm("1.2.840.113549.1.1.1"),
        tlv(0x03, b"\0", tlv(0x30, client.integer(numbers.n), client.integer(numbers.e))),
    )
    fields = client.members(client.split(client.members(client.split(CERTIFICATE)[1])[0])[1])
    certificate = tlv(0x30, tlv(0x30, *fields[:6], spki), client.algorithm("1.2.3"), b"\x03\x01\x00")
    with pytest.raises(UnsupportedAlgorithm):
        identify(certificate).public_key()


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
@settings(max_examples=200)
def test_spoilt_envelopes_give_only_our_errors(at: int, spoil: bytes) -> None:
    """Changed at any place."""
    data = ENVELOPE[: at % len(ENVELOPE)] + spoil + ENVELOPE[at % len(ENVELOPE) + len(spoil) :]
    try:
        opened(data, LEGACY)
    except RequestError:
        return


ENVELOPE = client.envelope(b"content", CERTIFICATE)


@given(st.binary(max_size=300))
def test_any_bytes_give_only_malformed_request(data: bytes) -> None:
    """Nothing else ever comes out of the parser."""
    with pytest.raises(MalformedRequest):
        parse_enveloped_data(data)
