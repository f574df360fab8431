"""SCEP messages (RFC 8894 section 3), and hostile ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from hypothesis import given, settings
from hypothesis import strategies as st

from pikachu.cms.algorithms import LEGACY, MODERN, AllowedAlgorithms, Cipher, Digest
from pikachu.cms.enveloped import NOT_READABLE, open_envelope, recipient_for
from pikachu.cms.identity import identify
from pikachu.cms.signed import Unsigned, parse_signed_data
from pikachu.core.errors import (
    MalformedRequest,
    MessageCheckFailed,
    PikachuError,
    RequestError,
    UnknownRecipient,
    UnsupportedAlgorithm,
)
from pikachu.protocols.scep.messages import (
    FailInfo,
    IssuerAndSerial,
    IssuerAndSubject,
    MessageType,
    PKIMessage,
    Reply,
    csr_in,
    decode,
    encrypt_crl,
    issuer_and_serial_in,
    issuer_and_subject_in,
    next_ca_certificates,
)
from tests.support import scep_client
from tests.support.scep_client import SCEPClient, attribute, joined, octets, printable, rsa_key, self_signed, tlv
from tests.support.signature_algorithms import rsa_signature_algorithm

AUTHORITY = self_signed(rsa_key(0), "RA", 77)
CLIENT = SCEPClient(rsa_key(1), self_signed(rsa_key(1)), AUTHORITY)
OTHER = SCEPClient(rsa_key(2), self_signed(rsa_key(2), "other", 2), AUTHORITY)
CSR = scep_client.csr(rsa_key(1), challenge="secret")
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
ALGORITHM = rsa_signature_algorithm(Digest.SHA256)


def read(data: bytes, allowed: AllowedAlgorithms = MODERN) -> tuple[PKIMessage, MessageType, bytes]:
    """All stages."""
    message = decode(data)
    kind = message.check()
    message.verify(allowed)
    enveloped = message.envelope(allowed)
    recipient = recipient_for(enveloped, [identify(AUTHORITY)])
    try:
        key = rsa_key(0).decrypt(recipient.encrypted_key, padding.PKCS1v15())
    except ValueError:
        key = None
    content = open_envelope(enveloped, key)
    if kind is MessageType.CERT_POLL:
        issuer_and_subject_in(content)
    elif kind in (MessageType.GET_CERT, MessageType.GET_CRL):
        issuer_and_serial_in(content)
    else:
        csr_in(content)
    return message, kind, content


def signed_reply(unsigned: Unsigned) -> bytes:
    return unsigned.assemble(rsa_key(0).sign(unsigned.to_be_signed, padding.PKCS1v15(), hashes.SHA256()))


def reply_to(message: PKIMessage) -> Reply:
    return Reply(message.transaction_id, message.sender_nonce, b"fresh-nonce-16by", NOW, identify(AUTHORITY), ALGORITHM)


# --- requests ----------------------------------------------------------------------------


def test_pkcs_req() -> None:
    """Every field that the server needs."""
    message, kind, content = read(
        CLIENT.pkcs_req(CSR, transaction_id=b"0123ABCD", sender_nonce=b"n" * 16, signing_time=NOW)
    )
    assert kind is MessageType.PKCS_REQ
    assert message.transaction_id == b"0123ABCD"
    assert message.sender_nonce == b"n" * 16
    assert message.signing_time == NOW
    assert message.digest is Digest.SHA256
    assert message.verify().certificate == CLIENT.certificate
    assert message.envelope().cipher is Cipher.AES128
    assert content == CSR


def test_other_types() -> None:
    """17, 20, 21 and 22, and what they hold."""
    name, other = scep_client.name("CA"), scep_client.name("device")
    assert read(CLIENT.renewal_req(CSR))[1:] == (MessageType.RENEWAL_REQ, CSR)
    _message, kind, content = read(CLIENT.cert_poll(name, other))
    assert (kind, issuer_and_subject_in(content)) == (MessageType.CERT_POLL, IssuerAndSubject(name, other))
    for build, expected in ((CLIENT.get_cert, MessageType.GET_CERT), (CLIENT.get_crl, MessageType.GET_CRL)):
        _message, kind, content = read(build(name, 2**159 - 1))
        assert (kind, issuer_and_serial_in(content)) == (expected, IssuerAndSerial(name, 2**159 - 1))


@given(
    transaction_id=st.binary(min_size=1, max_size=255),
    nonce=st.binary(min_size=1, max_size=64),
    kind=st.sampled_from([17, 19]),
    digest=st.sampled_from(["sha256", "sha384", "sha512"]),
    cipher=st.sampled_from(["aes128", "aes192", "aes256"]),
    ber=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_whatever_the_client_builds_is_read(
    transaction_id: bytes, nonce: bytes, kind: int, digest: str, cipher: str, ber: bool
) -> None:
    """decode(encode(m)) = m, in DER and in BER."""
    client = SCEPClient(rsa_key(1), CLIENT.certificate, AUTHORITY, digest, cipher)
    enveloped = scep_client.envelope(CSR, AUTHORITY, cipher)
    if ber:
        enveloped = scep_client.as_ber(enveloped, [scep_client.issuer_and_serial(AUTHORITY)])
    data = client.request(kind, CSR, transaction_id=transaction_id, sender_nonce=nonce, enveloped=enveloped)
    if ber:
        data = scep_client.as_ber(data, [client.certificate])
    message, found, content = read(data)
    assert (message.transaction_id, message.sender_nonce, int(found)) == (transaction_id, nonce, kind)
    assert (message.digest.value, content) == (digest, CSR)


@pytest.mark.parametrize("tag", [0x0C, 0x13, 0x14, 0x16])
def test_other_string_types_are_read(tag: int) -> None:
    """PrintableString is the rule; the bytes count."""
    data = CLIENT.pkcs_req(
        attributes={
            scep_client.TRANSACTION_ID: [tlv(tag, b"tid")],
            scep_client.MESSAGE_TYPE: [tlv(tag, b"19")],
        }
    )
    assert decode(data).transaction_id == b"tid"
    assert decode(data).check() is MessageType.PKCS_REQ


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (tlv(0x17, b"260504030201Z"), NOW),
        (tlv(0x18, b"20260504030201Z"), NOW),
        (tlv(0x17, b"500101000000Z"), datetime(1950, 1, 1, tzinfo=UTC)),
        (tlv(0x18, b"20260504030201.5Z"), None),
        (tlv(0x17, b"2605040302Z"), None),
        (tlv(0x17, b"269904030201Z"), None),
        (tlv(0x17, b"260504030201+0100"), None),
        (tlv(0x13, b"260504030201Z"), None),
    ],
)
def test_signing_time(value: bytes, expected: datetime | None) -> None:
    """Read where it is in a known form; other forms are as good as none."""
    message = decode(CLIENT.pkcs_req(attributes={scep_client.SIGNING_TIME: [value]}))
    assert message.signing_time == expected
    message.check()


def test_legacy_request() -> None:
    """SHA-1 or MD5 with single DES and a constructed [0], behind the switch only."""
    for digest in ("sha1", "md5"):
        enveloped = scep_client.envelope(CSR, AUTHORITY, "des", constructed=True)
        data = CLIENT.pkcs_req(digest=digest, enveloped=enveloped)
        message, _kind, content = read(data, LEGACY)
        assert content == CSR
        assert message.envelope(LEGACY).cipher is Cipher.DES
        with pytest.raises(UnsupportedAlgorithm):
            read(data)


# --- hostile input -----------------------------------------------------------------------

#: No readable transaction id: HTTP 400, nothing to echo.
UNDECODABLE: dict[str, bytes] = {
    "1 empty": b"",
    "2 one byte": b"\x30",
    "2 one random byte": b"\x9c",
    "3 PEM": b"-----BEGIN CMS-----\nMIIB\n-----END CMS-----\n",
    "11 no signer": CLIENT.pkcs_req(signers=0),
    "two signers without a transaction id": CLIENT.pkcs_req(signers=2, attributes={scep_client.TRANSACTION_ID: None}),
    "nine signers": CLIENT.pkcs_req(signers=9),
    "13 no transaction id": CLIENT.pkcs_req(attributes={scep_client.TRANSACTION_ID: None}),
    "15 transaction id of 10 KB": CLIENT.pkcs_req(transaction_id=b"x" * 10_240),
    "transaction id of 256 bytes": CLIENT.pkcs_req(transaction_id=b"x" * 256),
    "empty transaction id": CLIENT.pkcs_req(transaction_id=b""),
    "two transaction ids": CLIENT.pkcs_req(extra=[attribute(scep_client.TRANSACTION_ID, printable("b"))]),
    "two values of transaction id": CLIENT.pkcs_req(
        attributes={scep_client.TRANSACTION_ID: [printable("a"), printable("b")]}
    ),
    "transaction id is a number": CLIENT.pkcs_req(attributes={scep_client.TRANSACTION_ID: [b"\x02\x01\x05"]}),
    "enveloped instead of signed": scep_client.envelope(CSR, AUTHORITY),
    "bytes after the end": CLIENT.pkcs_req() + b"\0",
    "cut short": CLIENT.pkcs_req()[:-1],
    "a certificate": CLIENT.certificate,
    "a request": CSR,
}


@pytest.mark.parametrize("case", UNDECODABLE)
def test_without_a_transaction_id_nothing_is_answered(case: str) -> None:
    """Told apart from all later failures by failing in the first stage."""
    with pytest.raises(MalformedRequest):
        decode(UNDECODABLE[case])


def _other_envelope(**how: Any) -> bytes:
    return CLIENT.pkcs_req(enveloped=scep_client.envelope(CSR, AUTHORITY, **how))


#: A signed CertRep FAILURE with the transaction id: F(0) UnsupportedAlgorithm, F(1) MessageCheckFailed,
#: F(2) MalformedRequest, F(4) UnknownRecipient.
FAILING: dict[str, tuple[bytes, type[PikachuError]]] = {
    "17 no nonce": (CLIENT.pkcs_req(attributes={scep_client.SENDER_NONCE: None}), MalformedRequest),
    "18 nonce of 0 bytes": (CLIENT.pkcs_req(sender_nonce=b""), MalformedRequest),
    "18 nonce of 65 bytes": (CLIENT.pkcs_req(sender_nonce=bytes(65)), MalformedRequest),
    "18 nonce of 1000 bytes": (CLIENT.pkcs_req(sender_nonce=bytes(1000)), MalformedRequest),
    "nonce is a string": (CLIENT.pkcs_req(attributes={scep_client.SENDER_NONCE: [printable("x")]}), MalformedRequest),
    "19 duplicate type": (
        CLIENT.pkcs_req(extra=[attribute(scep_client.MESSAGE_TYPE, printable("17"))]),
        MalformedRequest,
    ),
    "19 two values of type": (
        CLIENT.pkcs_req(attributes={scep_client.MESSAGE_TYPE: [printable("17"), printable("19")]}),
        MalformedRequest,
    ),
    "duplicate signing time": (
        CLIENT.pkcs_req(extra=[attribute(scep_client.SIGNING_TIME, tlv(0x17, b"260504030201Z"))] * 2),
        MalformedRequest,
    ),
    "duplicate nonce": (
        CLIENT.pkcs_req(extra=[attribute(scep_client.SENDER_NONCE, octets(b"other"))]),
        MalformedRequest,
    ),
    "no type": (CLIENT.pkcs_req(attributes={scep_client.MESSAGE_TYPE: None}), MalformedRequest),
    "type 3": (CLIENT.request(3, CSR), MalformedRequest),
    "type 18": (CLIENT.request(18, CSR), MalformedRequest),
    "type 0": (CLIENT.request(0, CSR), MalformedRequest),
    "type 99999": (CLIENT.request(99_999, CSR), MalformedRequest),
    "type -1": (CLIENT.request(-1, CSR), MalformedRequest),
    **{
        f"type {text!r}": (
            CLIENT.pkcs_req(attributes={scep_client.MESSAGE_TYPE: [printable(text)]}),
            MalformedRequest,
        )
        for text in (b"019", b"0019", b"017", b"00", b"", b" 19", b"19 ", b"+19", b"19\0", b"1 9", b"\xb9\xb9")
    },
    "two equal signers": (CLIENT.pkcs_req(signers=2), MalformedRequest),
    "eight equal signers": (CLIENT.pkcs_req(signers=8), MalformedRequest),
    "a signer of another transaction": (
        joined(CLIENT.pkcs_req(), OTHER.pkcs_req(transaction_id="2")),
        MalformedRequest,
    ),
    "a second signer without a transaction id": (
        joined(CLIENT.pkcs_req(), OTHER.pkcs_req(attributes={scep_client.TRANSACTION_ID: None})),
        MalformedRequest,
    ),
    "a first signer without a transaction id": (
        joined(OTHER.pkcs_req(attributes={scep_client.TRANSACTION_ID: None}), CLIENT.pkcs_req()),
        MalformedRequest,
    ),
    "type is a word": (
        CLIENT.pkcs_req(attributes={scep_client.MESSAGE_TYPE: [printable("PKCSReq")]}),
        MalformedRequest,
    ),
    "21 signature bit": (CLIENT.pkcs_req(flip=True), MessageCheckFailed),
    "22 digest": (CLIENT.pkcs_req(message_digest=bytes(32)), MessageCheckFailed),
    "no signer certificate": (CLIENT.pkcs_req(certificates=[]), MessageCheckFailed),
    "another's certificate": (CLIENT.pkcs_req(certificates=[AUTHORITY]), MessageCheckFailed),
    "26 other recipient": (
        CLIENT.pkcs_req(enveloped=scep_client.envelope(CSR, CLIENT.certificate)),
        UnknownRecipient,
    ),
    "27 key padding": (_other_envelope(encrypted_key=b"\x01" * 256), MessageCheckFailed),
    "27 key of 255 bytes": (_other_envelope(encrypted_key=bytes(255)), MessageCheckFailed),
    "key of wrong size": (_other_envelope(content_key=bytes(5), ciphertext=bytes(64)), MessageCheckFailed),
    "content padding": (_other_envelope(content_key=bytes(16), ciphertext=bytes(64)), MessageCheckFailed),
    "content of half a block": (_other_envelope(ciphertext=bytes(40)), MessageCheckFailed),
    "garbage inside": (CLIENT.pkcs_req(b"garbage"), MessageCheckFailed),
    "nothing inside": (CLIENT.pkcs_req(b""), MessageCheckFailed),
    "bytes after the request inside": (CLIENT.pkcs_req(CSR + b"\0"), MessageCheckFailed),
    "31 authenticated encryption": (
        CLIENT.pkcs_req(enveloped=tlv(0x30, scep_client.oid("1.2.840.113549.1.9.16.1.23"), tlv(0xA0, tlv(0x30)))),
        UnsupportedAlgorithm,
    ),
    "digest MD5": (CLIENT.pkcs_req(digest="md5"), UnsupportedAlgorithm),
    "digest SHA-1": (CLIENT.pkcs_req(digest="sha1"), UnsupportedAlgorithm),
    "digest SHA-224": (CLIENT.pkcs_req(digest="sha224"), UnsupportedAlgorithm),
    "cipher DES": (_other_envelope(cipher="des"), UnsupportedAlgorithm),
    "cipher 3DES": (_other_envelope(cipher="des3"), UnsupportedAlgorithm),
    "data instead of an envelope": (
        CLIENT.pkcs_req(enveloped=tlv(0x30, scep_client.oid(scep_client.DATA), tlv(0xA0, octets(CSR)))),
        MalformedRequest,
    ),
    "a request not in an envelope": (CLIENT.pkcs_req(enveloped=CSR), MalformedRequest),
    "empty content": (CLIENT.pkcs_req(enveloped=b""), MalformedRequest),
    "a CertPoll with a CSR": (CLIENT.request(scep_client.CERT_POLL, CSR), MessageCheckFailed),
    "a GetCert with names": (CLIENT.request(scep_client.GET_CERT, tlv(0x30, tlv(0x30), tlv(0x30))), MessageCheckFailed),
}


@pytest.mark.parametrize("case", FAILING)
def test_with_a_transaction_id_a_failure_is_answered(case: str) -> None:
    """The first stage reads it, a later one names the error, and the answer echoes id and nonce."""
    data, expected = FAILING[case]
    message = decode(data)
    assert message.transaction_id == b"transaction-1"
    with pytest.raises(RequestError) as failed:
        read(data)
    assert type(failed.value) is expected
    answer = CLIENT.read(signed_reply(reply_to(message).failure(FailInfo.BAD_REQUEST)), AUTHORITY)
    assert answer.transaction_id == "transaction-1"
    assert answer.recipient_nonce == message.sender_nonce


def test_failures_to_decrypt_have_one_text() -> None:
    """No oracle."""
    texts = set()
    for case, (data, expected) in FAILING.items():
        if expected is MessageCheckFailed and ("key" in case or "content" in case or "inside" in case):
            with pytest.raises(MessageCheckFailed) as failed:
                read(data)
            texts.add(failed.value.public)
    assert texts == {NOT_READABLE}


def test_absent_content() -> None:
    """A request needs an envelope."""
    attributes = {
        scep_client.TRANSACTION_ID: [printable("t")],
        scep_client.MESSAGE_TYPE: [printable("19")],
        scep_client.SENDER_NONCE: [octets(b"n")],
    }
    message = decode(scep_client.signed(None, rsa_key(1), CLIENT.certificate, attributes))
    message.check()
    message.verify()
    with pytest.raises(MalformedRequest):
        message.envelope()


@pytest.mark.parametrize(
    "tid", [b"a\0b", b"'; DROP TABLE x", b"../../etc/passwd", b"\xff\xfe", b"<script>", b"x" * 255]
)
def test_odd_transaction_ids_are_echoed(tid: bytes) -> None:
    """Data, whatever it looks like."""
    message = read(CLIENT.pkcs_req(CSR, transaction_id=tid))[0]
    answer = CLIENT.read(signed_reply(reply_to(message).pending()), AUTHORITY)
    assert answer.transaction_id.encode("latin-1") == tid


def test_odd_serials_of_the_signer() -> None:
    """A serial number of 32 bytes or more is repeated in the answer's recipient, byte for byte."""
    for serial in (2**255 + 1, -3, 0, 2**300):
        client = CLIENT.with_certificate(self_signed(rsa_key(1), serial=serial))
        message = read(client.pkcs_req(CSR))[0]
        unsigned = reply_to(message).success(message.verify(), Cipher.AES128, certificate=AUTHORITY)
        assert client.read(signed_reply(unsigned), AUTHORITY).certificates == [AUTHORITY]
        assert scep_client.issuer_and_serial(client.certificate) in (
            parse_signed_data(signed_reply(unsigned)).content or b""
        )


@given(st.integers(0, 100_000), st.binary(min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_spoilt_messages_give_only_our_errors(at: int, spoil: bytes) -> None:
    """Changed at any place: refused, or the change was in nothing that counts."""
    at %= len(MESSAGE)
    try:
        read(MESSAGE[:at] + spoil + MESSAGE[at + len(spoil) :], LEGACY)
    except RequestError:
        return


MESSAGE = CLIENT.pkcs_req(CSR)


@given(st.binary(max_size=300))
def test_any_bytes_give_only_malformed_request(data: bytes) -> None:
    """Nothing else ever comes out of the first stage."""
    with pytest.raises(MalformedRequest):
        decode(data)


@given(st.binary(max_size=200))
def test_any_content_gives_only_the_one_error(data: bytes) -> None:
    """Any content, such as a wrong key leaves, gives the same public error."""
    for inside in (csr_in, issuer_and_subject_in, issuer_and_serial_in):
        try:
            inside(data)
        except MessageCheckFailed as failed:
            assert failed.public == NOT_READABLE  # noqa: PT017


# --- answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("cipher", list(Cipher))
def test_success(cipher: Cipher) -> None:
    """The certificate alone, encrypted for the request's signer with the request's cipher."""
    message = decode(CLIENT.pkcs_req(CSR, sender_nonce=b"sixteen bytes...", transaction_id=b"T+/="))
    issued = self_signed(rsa_key(2), "issued", 5)
    unsigned = reply_to(message).success(message.verify(), cipher, certificate=issued)
    answer = CLIENT.read(signed_reply(unsigned), AUTHORITY)
    assert answer.status == "0"
    assert answer.transaction_id == "T+/="
    assert answer.recipient_nonce == b"sixteen bytes..."
    assert answer.sender_nonce == b"fresh-nonce-16by"
    assert answer.signing_time == NOW
    assert answer.certificates == [issued]
    assert answer.crls == []
    assert answer.fail_info is None
    assert answer.digest == "sha256"
    assert answer.cipher == next(name for name, row in scep_client.CIPHERS.items() if row[0] == cipher.oid)


def test_success_with_a_crl() -> None:
    """The CRL only, no certificates."""
    message = decode(CLIENT.get_crl(scep_client.name("CA"), 1))
    crl = _crl()
    unsigned = reply_to(message).crl_success(message.verify(), encrypt_crl(crl, Cipher.AES256))
    answer = CLIENT.read(signed_reply(unsigned), AUTHORITY)
    assert (answer.certificates, answer.crls) == ([], [crl])


def _crl() -> bytes:
    algorithm = scep_client.algorithm("1.2.840.113549.1.1.11")
    tbs = tlv(0x30, b"\x02\x01\x01", algorithm, scep_client.name("CA"), tlv(0x17, b"260101000000Z"))
    return tlv(0x30, tbs, algorithm, tlv(0x03, b"\0", bytes(256)))


def test_pending() -> None:
    """Status 3, empty content."""
    answer = CLIENT.read(signed_reply(reply_to(decode(CLIENT.pkcs_req())).pending()), AUTHORITY)
    assert (answer.status, answer.fail_info, answer.fail_info_text) == ("3", None, None)


@pytest.mark.parametrize("fail_info", list(FailInfo))
def test_failure(fail_info: FailInfo) -> None:
    """Status 2, failInfo as a decimal PrintableString, the text as UTF8String, empty content."""
    reply = reply_to(decode(CLIENT.pkcs_req()))
    answer = CLIENT.read(signed_reply(reply.failure(fail_info, "Grund: ü")), AUTHORITY)
    assert (answer.status, answer.fail_info, answer.fail_info_text) == ("2", str(int(fail_info)), "Grund: ü")
    plain = signed_reply(reply.failure(fail_info))
    assert CLIENT.read(plain, AUTHORITY).fail_info_text is None
    assert parse_signed_data(plain).content == b""


def test_wire_values() -> None:
    """RFC 8894 section 3.2.1.4."""
    assert {one.name: one.value for one in FailInfo} == {
        "BAD_ALG": 0,
        "BAD_MESSAGE_CHECK": 1,
        "BAD_REQUEST": 2,
        "BAD_TIME": 3,
        "BAD_CERT_ID": 4,
    }


def test_success_for_a_key_that_is_not_rsa() -> None:
    """Refused, never un-enveloped."""
    key = ec.generate_private_key(ec.SECP256R1())
    client = SCEPClient(key, self_signed(key), AUTHORITY)
    message = decode(client.pkcs_req(CSR))
    with pytest.raises(UnsupportedAlgorithm):
        reply_to(message).success(message.verify(), Cipher.AES128, certificate=AUTHORITY)


def test_next_ca_certificates() -> None:
    """Signed by the current CA; the new certificates are in the content and in the outer set."""
    coming = [self_signed(rsa_key(2), "next", 1), self_signed(rsa_key(1), "next root", 2)]
    unsigned = next_ca_certificates(coming, signer=identify(AUTHORITY), algorithm=ALGORITHM, signing_time=NOW)
    verified, _attributes = scep_client.verify_signed(signed_reply(unsigned), AUTHORITY)
    inner = verified["encap_content_info"]["content"].native
    assert scep_client.read_degenerate(inner) == (sorted(coming), [])
    outer = [bytes(one.dump()) for one in verified["certificates"]]
    assert sorted(outer) == sorted([AUTHORITY, *coming])
