"""Forbidden requests, and their answers."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.reference_work import BATCH, costs_at_most
from tests.support.scep import BAD_ALG, BAD_CERT_ID, BAD_MESSAGE_CHECK, BAD_REQUEST, FAILURE, SCEP, scep_server_in
from tests.support.scep_client import (
    CONTENT_TYPE,
    DATA,
    ENVELOPED_DATA,
    MESSAGE_TYPE,
    SENDER_NONCE,
    TRANSACTION_ID,
    SCEPClient,
    algorithm,
    as_ber,
    attribute,
    csr,
    envelope,
    integer,
    joined,
    octets,
    oid,
    printable,
    rsa_key,
    self_signed,
    signed,
    split,
    tlv,
)
from tests.support.stack import ask

NOT_DECRYPTED = "the message can't be decrypted"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SCEP]:
    """One server for all: nothing here changes it."""
    with scep_server_in(tmp_path_factory.mktemp("hostile") / "server") as scep:
        yield scep


def enveloped_as(content_oid: str, recipient_tag: int = 0x30) -> Callable[[SCEPClient], bytes]:
    """An EnvelopedData of another kind."""

    def make(client: SCEPClient) -> bytes:
        if recipient_tag == 0x30:
            return tlv(0x30, oid(content_oid), tlv(0xA0, split(split(envelope(b"x", client.recipient))[1])[2][4:]))
        recipient = tlv(recipient_tag, integer(0), algorithm("1.2.840.113549.1.9.16.3.9"), octets(b"k" * 24))
        encrypted = tlv(0x30, oid(DATA), algorithm("2.16.840.1.101.3.4.1.2", octets(b"v" * 16)), tlv(0x80, b"c" * 32))
        return tlv(0x30, oid(ENVELOPED_DATA), tlv(0xA0, tlv(0x30, integer(3), tlv(0x31, recipient), encrypted)))

    return make


def with_attributes(**values: Any) -> dict[str, Any]:
    """Signed attributes that replace the right ones."""
    names = {"transaction": TRANSACTION_ID, "kind": MESSAGE_TYPE, "nonce": SENDER_NONCE}
    return {"attributes": {names[key]: value for key, value in values.items()}}


# how the request differs, failInfo
FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("no senderNonce", with_attributes(nonce=None), BAD_REQUEST),
    ("empty senderNonce", with_attributes(nonce=[octets(b"")]), BAD_REQUEST),
    ("long senderNonce", with_attributes(nonce=[octets(b"n" * 1000)]), BAD_REQUEST),
    ("two values", with_attributes(kind=[printable("19"), printable("17")]), BAD_REQUEST),
    ("twice", {"extra": [attribute(MESSAGE_TYPE, printable("17"))]}, BAD_REQUEST),
    ("type 3", with_attributes(kind=[printable("3")]), BAD_REQUEST),
    ("type 18", with_attributes(kind=[printable("18")]), BAD_REQUEST),
    ("type 0", with_attributes(kind=[printable("0")]), BAD_REQUEST),
    ("type x", with_attributes(kind=[printable("x")]), BAD_REQUEST),
    ("type with sign", with_attributes(kind=[printable("+19")]), BAD_REQUEST),
    ("type with leading zero", with_attributes(kind=[printable("019")]), BAD_REQUEST),
    ("type with space", with_attributes(kind=[printable("19 ")]), BAD_REQUEST),
    ("two signers", {"signers": 2}, BAD_REQUEST),
    ("two signers that don't verify", {"signers": 2, "flip": True}, BAD_REQUEST),
    ("no type", with_attributes(kind=None), BAD_REQUEST),
    ("signature", {"flip": True}, BAD_MESSAGE_CHECK),
    ("messageDigest", {"message_digest": b"d" * 32}, BAD_MESSAGE_CHECK),
    ("signer's certificate not there", {"certificates": []}, BAD_MESSAGE_CHECK),
    ("content type", {"attributes": {CONTENT_TYPE: [oid(ENVELOPED_DATA)]}}, BAD_MESSAGE_CHECK),
    ("unknown digest", {"digest": "sha224"}, BAD_ALG),
]


@pytest.mark.parametrize(("what", "how", "fail_info"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failures(server: SCEP, what: str, how: dict[str, Any], fail_info: str) -> None:
    """HTTP 200 and a signed FAILURE, with transaction id and nonce echoed."""
    client = server.client()
    message = client.pkcs_req(transaction_id="echo me", **how)
    reply = server.ask_scep(client, message)
    assert (reply.status, reply.fail_info, reply.transaction_id) == (FAILURE, fail_info, "echo me")
    nonce = how.get("attributes", {}).get(SENDER_NONCE, [octets(b"0123456789abcdef")])
    assert reply.recipient_nonce == (None if nonce is None else split(nonce[0])[1])


def other_recipient(client: SCEPClient) -> bytes:
    return envelope(csr(client.key), self_signed(rsa_key(3), "other"))


ENVELOPES: list[tuple[str, Callable[[SCEPClient], bytes], str]] = [
    ("another recipient", other_recipient, BAD_CERT_ID),
    ("GCM", enveloped_as("1.2.840.113549.1.9.16.1.23"), BAD_ALG),
    ("password recipient", enveloped_as(ENVELOPED_DATA, 0xA3), BAD_ALG),
    ("not enveloped", lambda client: csr(client.key), BAD_REQUEST),
    ("not DER", lambda client: b"garbage", BAD_REQUEST),
]
#: what differs inside; all of it must look alike
UNREADABLE: list[tuple[str, Callable[[SCEPClient], bytes]]] = [
    ("bad padding", lambda c: envelope(csr(c.key), c.recipient, encrypted_key=os.urandom(256))),
    ("short key block", lambda c: envelope(csr(c.key), c.recipient, encrypted_key=b"x")),
    ("wrong key", lambda c: envelope(csr(c.key), c.recipient, ciphertext=os.urandom(1024))),
    ("ciphertext of odd size", lambda c: envelope(csr(c.key), c.recipient, ciphertext=os.urandom(1023))),
    ("no ciphertext", lambda c: envelope(csr(c.key), c.recipient, ciphertext=b"")),
    ("garbage inside", lambda c: envelope(os.urandom(500), c.recipient)),
    ("nothing inside", lambda c: envelope(b"", c.recipient)),
    ("a name inside", lambda c: envelope(tlv(0x30, tlv(0x31)), c.recipient)),
    ("half a request", lambda c: envelope(csr(c.key)[:-20], c.recipient)),
    ("a shape of a request", lambda c: envelope(tlv(0x30, tlv(0x30), tlv(0x30), tlv(0x03, b"\0")), c.recipient)),
    ("somebody's spoilt request", lambda c: envelope(csr(rsa_key(2))[:-1] + b"x", c.recipient)),
]


@pytest.mark.parametrize(("what", "make", "fail_info"), ENVELOPES, ids=[row[0] for row in ENVELOPES])
def test_envelopes(server: SCEP, what: str, make: Callable[[SCEPClient], bytes], fail_info: str) -> None:
    """Envelopes that can't be decrypted or hold no CSR fail with the right failInfo."""
    client = server.client()
    reply = server.ask_scep(client, client.pkcs_req(enveloped=make(client)))
    assert (reply.status, reply.fail_info) == (FAILURE, fail_info)


@pytest.mark.parametrize(("what", "make"), UNREADABLE, ids=[row[0] for row in UNREADABLE])
def test_one_answer_for_what_does_not_decrypt(server: SCEP, what: str, make: Callable[[SCEPClient], bytes]) -> None:
    """The answer reveals neither padding nor content."""
    client = server.client()
    reply = server.ask_scep(client, client.pkcs_req(enveloped=make(client)))
    assert (reply.status, reply.fail_info, reply.fail_info_text) == (FAILURE, BAD_MESSAGE_CHECK, NOT_DECRYPTED)


def test_no_content(server: SCEP) -> None:
    """A request has content."""
    client = server.client()
    values = {
        TRANSACTION_ID: [printable("t")],
        MESSAGE_TYPE: [printable("19")],
        SENDER_NONCE: [octets(b"n")],
    }
    message = signed(None, client.key, client.certificate, values)
    assert server.ask_scep(client, message).fail_info == BAD_REQUEST


@pytest.mark.parametrize(
    "transaction_id", [b"a\0b", b"'; DROP TABLE requests; --", b"../../x", b"\xff\xfe", b"t" * 255]
)
def test_any_transaction_id(server: SCEP, transaction_id: bytes) -> None:
    """Echoed byte for byte."""
    client = server.client()
    reply = server.ask_scep(client, client.pkcs_req(transaction_id=transaction_id))
    assert reply.transaction_id.encode("latin-1") == transaction_id
    assert reply.fail_info == BAD_REQUEST


def pem(message: bytes) -> bytes:
    return b"-----BEGIN PKCS7-----\n" + base64.encodebytes(message) + b"-----END PKCS7-----\n"


def test_a_second_signer_with_another_transaction(server: SCEP) -> None:
    """The transaction id that stands first is echoed, with the nonce beside it."""
    client, other = server.client(), server.client(2)
    first = client.pkcs_req(transaction_id="first", sender_nonce=b"first nonce")
    reply = server.ask_scep(client, joined(first, other.pkcs_req(transaction_id="second")))
    assert (reply.status, reply.fail_info, reply.transaction_id) == (FAILURE, BAD_REQUEST, "first")
    assert reply.recipient_nonce == b"first nonce"


BAD_BODIES: list[tuple[str, Callable[[SCEPClient], bytes]]] = [
    ("empty", lambda c: b""),
    ("one byte", lambda c: b"\x99"),
    ("PEM", lambda c: pem(c.pkcs_req())),
    ("no signer", lambda c: c.pkcs_req(signers=0)),
    ("two signers without transactionID", lambda c: c.pkcs_req(signers=2, **with_attributes(transaction=None))),
    ("too many signers", lambda c: c.pkcs_req(signers=9)),
    ("no transactionID", lambda c: c.pkcs_req(**with_attributes(transaction=None))),
    ("empty transactionID", lambda c: c.pkcs_req(transaction_id=b"")),
    ("long transactionID", lambda c: c.pkcs_req(transaction_id=b"t" * 10_000)),
    ("depth", lambda c: b"\x30\x80" * 10_000),
    ("nested lengths", lambda c: b"\x30\x82\xff\xff" * 10_000),
    ("length 2**63", lambda c: b"\x30\x88\x80" + bytes(7)),
    ("many certificates", lambda c: c.pkcs_req(certificates=[b"\x30\x00"] * 25_000)),
    ("pieces", lambda c: b"\x30\x80\x06\x09" + bytes(9) + b"\x24\x80" * 20_000),
    ("truncated", lambda c: c.pkcs_req()[:-1]),
    ("trailing", lambda c: c.pkcs_req() + b"\0"),
    ("a CSR", lambda c: csr(c.key)),
]


@pytest.mark.parametrize(("what", "make"), BAD_BODIES, ids=[row[0] for row in BAD_BODIES])
def test_what_has_no_transaction(server: SCEP, what: str, make: Callable[[SCEPClient], bytes]) -> None:
    """400 with one line of text, soon."""
    body = make(server.client())
    with costs_at_most(10 * BATCH):
        response = server.post(body)
    assert response.status == 400
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.body.count(b"\n") == 1


BAD_URLS = [
    ("no message", "/scep?operation=PKIOperation", 400),
    ("empty", "/scep?operation=PKIOperation&message=", 400),
    ("not base64", "/scep?operation=PKIOperation&message=!!!!", 400),
    ("very long", "/scep?operation=PKIOperation&message=" + "A" * 70_000, 414),
    ("two operations", "/scep?operation=GetCACert&operation=GetCACaps", 400),
    ("no operation", "/scep", 400),
    ("empty operation", "/scep?operation=", 400),
    ("unknown operation", "/scep?operation=GetCACertChain", 400),
    ("another letter", "/scep?operation=PKIOperatiön".encode().decode("latin-1"), 400),
    ("many parameters", "/scep?" + "&".join(f"a{n}=1" for n in range(100)), 400),
]


@pytest.mark.parametrize(("what", "url", "status"), BAD_URLS, ids=[row[0] for row in BAD_URLS])
def test_bad_urls(server: SCEP, what: str, url: str, status: int) -> None:
    """Without an operation, with two, or with a message that is no base64: an HTTP status, not a message."""
    assert ask(server.site, server.stack.clock, url.encode("latin-1")).status == status


@pytest.mark.parametrize("operation", ["GetCACaps", "GetCACert", "GetNextCACert", "Other"])
def test_post_of_another_operation(server: SCEP, operation: str) -> None:
    """Only PKIOperation is posted."""
    assert server.post(b"", f"/scep?operation={operation}").status == 400


def test_too_large(server: SCEP) -> None:
    """413 for what no SCEP message needs."""
    assert server.post(bytes(70_000)).status == 413


def test_ber_is_read(tmp_path: Path) -> None:
    """Indefinite lengths and strings in pieces, attributes that are not sorted."""
    with scep_server_in(tmp_path / "server") as scep:
        client = scep.client()
        for number, how in enumerate(({}, {"unsorted": True}, {"unsorted": True, "sign_as_sent": True})):
            message = client.pkcs_req(
                csr(client.key, challenge=scep.admin_challenge()), transaction_id=str(number), **how
            )
            scep.leaf(scep.ask_scep(client, as_ber(message, [client.certificate])))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_message_with_any_byte_changed(server: SCEP, data: st.DataObject) -> None:
    """Never anything but 400 or a FAILURE, and never a certificate."""
    client = server.client()
    message = bytearray(client.pkcs_req(csr(client.key)))
    position = data.draw(st.integers(0, len(message) - 1))
    message[position] ^= data.draw(st.integers(1, 255))
    response = server.post(bytes(message))
    assert response.status in (200, 400)
    if response.status == 200:
        assert client.read(response.body, client.recipient).status == FAILURE
