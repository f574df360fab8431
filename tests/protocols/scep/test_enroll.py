"""Enrolling, renewing, retransmitting (RFC 8894 sections 2.3 to 2.5 and 3.3)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pikachu.auth.rate_limit import ADDRESS_LIMIT
from pikachu.core.errors import SignerUnavailable
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.policies import PolicyLimits
from pikachu.storage.store import Store
from tests.support.faults import FaultySigner, FaultyStore
from tests.support.scep import BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST, FAILURE, SCEP, SUCCESS, scep_server_in
from tests.support.scep_client import SCEPClient, csr, rsa_key, self_signed


@pytest.mark.parametrize("get", [False, True])
@pytest.mark.parametrize("cipher", ["aes128", "aes192", "aes256"])
def test_enrollment(scep: SCEP, cipher: str, get: bool) -> None:
    """SCEP-1: POST and GET; the answer mirrors cipher, transaction id and nonce."""
    client = scep.client(cipher=cipher)
    request = csr(client.key, "device", scep.admin_challenge(), dns=["device.example.com"])
    message = client.pkcs_req(request, transaction_id="ab+/=", sender_nonce=b"n" * 16)
    reply = scep.ask_scep(client, message, get=get)
    certificate = x509.load_der_x509_certificate(scep.leaf(reply))
    assert certificate.subject.rfc4514_string() == "CN=device"
    assert (reply.cipher, reply.transaction_id, reply.recipient_nonce) == (cipher, "ab+/=", b"n" * 16)


@pytest.mark.parametrize("padded", [True, False])
def test_get_with_base64url(scep: SCEP, padded: bool) -> None:
    """Accepted in a GET, as OCSP accepts it."""
    client = scep.client()
    message = client.pkcs_req(csr(client.key, challenge=scep.admin_challenge()))
    text = base64.urlsafe_b64encode(message)
    assert b"-" in text or b"_" in text
    response = scep.get_scep("PKIOperation", "/scep", text if padded else text.rstrip(b"="))
    scep.leaf(client.read(response.body, client.recipient))


@pytest.mark.parametrize("encode", [base64.b64encode, base64.encodebytes, base64.urlsafe_b64encode])
def test_post_with_base64(scep: SCEP, encode: Callable[[bytes], bytes]) -> None:
    """Accepted in a POST, too; whatever else is no message is refused in one line."""
    client = scep.client()
    message = client.pkcs_req(csr(client.key, challenge=scep.admin_challenge()))
    scep.leaf(client.read(scep.post(encode(message)).body, client.recipient))
    for body, told in ((b"", b"no message"), (b"<xml/>", b"not base64"), (b"MIIB!", b"not base64")):
        response = scep.post(body)
        assert response.status == 400
        assert told in response.body


def test_enrollment_through_an_ra(ra: SCEP) -> None:
    """SCEP-2: the RA's certificate signs the answer, the CA's key the certificate."""
    client = ra.client()
    leaf = ra.leaf(ra.enroll_scep(client, challenge=ra.admin_challenge()))
    assert client.recipient != ra.stack.issuer().certificate.der
    x509.load_der_x509_certificate(leaf).verify_directly_issued_by(
        x509.load_der_x509_certificate(ra.stack.issuer().certificate.der)
    )


def test_enrollment_below_ml_dsa(tmp_path: Path) -> None:
    """PQC-1, SCEP-2: every kind of CA speaks SCEP."""
    with scep_server_in(tmp_path / "server", ("mldsa44",)) as scep:
        client = scep.client()
        scep.leaf(scep.enroll_scep(client, challenge=scep.admin_challenge()))


def test_rsa_is_preferred(tmp_path: Path) -> None:
    """SCEP-2: the RSA issuing CA answers, whatever ``[CA] mode`` says."""
    with scep_server_in(tmp_path / "server", ("p256", "rsa2048")) as scep:
        (certificate,) = scep.ca_certificates()
        assert certificate == scep.stack.issuer("rsa").certificate.der
        scep.leaf(scep.enroll_scep(scep.client(), challenge=scep.admin_challenge()))


def test_an_ra_by_setting(tmp_path: Path) -> None:
    """``ra = always``: also before an RSA CA; messages for the CA's own certificate find no recipient."""
    with scep_server_in(tmp_path / "server", changes={("SCEP", "ra"): "always"}) as scep:
        assert len(scep.ca_certificates()) == 3
        client = scep.client()
        scep.leaf(scep.enroll_scep(client, challenge=scep.admin_challenge()))
        ca = replace(client, recipient=scep.stack.issuer().certificate.der)
        response = scep.post(ca.pkcs_req())
        assert client.read(response.body, client.recipient).fail_info == "4"


def test_a_challenge_password_is_spent_once(scep: SCEP) -> None:
    """SCEP-3, CHP-2."""
    challenge = scep.admin_challenge()
    scep.leaf(scep.enroll_scep(scep.client(1), "one", challenge))
    reply = scep.enroll_scep(scep.client(2), "two", challenge)
    assert (reply.status, reply.fail_info) == (FAILURE, BAD_REQUEST)
    assert scep.issued() == 1


@pytest.mark.parametrize("challenge", [None, "", "wrong", "0" * 32, "x" * 255])
def test_no_challenge_no_certificate(scep: SCEP, challenge: str | None) -> None:
    """A self-signed signer proves nothing."""
    reply = scep.enroll_scep(scep.client(), challenge=challenge)
    assert (reply.status, reply.fail_info) == (FAILURE, BAD_REQUEST)
    assert scep.issued() == 0


def test_a_wrong_request_leaves_the_challenge(scep: SCEP) -> None:
    """Only success burns it."""
    challenge = scep.admin_challenge()
    client = scep.client()
    other = csr(rsa_key(2), "device", challenge)
    assert scep.ask_scep(client, client.pkcs_req(other)).fail_info == BAD_REQUEST
    scep.leaf(scep.enroll_scep(client, challenge=challenge))


def test_guessing_is_limited(scep: SCEP) -> None:
    """After many wrong ones they are no longer looked at and recorded; one that is available is never refused."""
    client = scep.client()
    for _ in range(40):
        assert scep.enroll_scep(client, challenge="wrong").fail_info == BAD_REQUEST
    assert len(scep.events("failed login")) == ADDRESS_LIMIT
    scep.leaf(scep.enroll_scep(client, challenge=scep.admin_challenge()))


def test_without_challenge_passwords(tmp_path: Path) -> None:
    """Open to anyone, also to those with a password that is none."""
    changes = {("SCEP", "challenge_password_enabled"): "false"}
    with scep_server_in(tmp_path / "server", changes=changes) as scep:
        for number, challenge in enumerate([None, *["wrong"] * 40, scep.admin_challenge()]):
            scep.leaf(scep.enroll_scep(scep.client(), "device", challenge, transaction_id=str(number)))
        assert not scep.events("failed login")


def test_owner_of_what_is_enrolled(scep: SCEP) -> None:
    """CHP-2: the challenge password's, and of renewals the renewed certificate's."""
    alice = scep.account("alice")
    client = scep.client()
    reply = scep.enroll_scep(client, challenge=scep.challenge(alice))
    renewing = replace(client, certificate=scep.leaf(reply))
    scep.leaf(scep.ask_scep(renewing, renewing.renewal_req()))
    owners = {event.event.owner_id for event in scep.events("create") if event.event.resource_type == "certificate"}
    assert owners == {alice.owner_id}


# --- transactions ------------------------------------------------------------------------


def test_a_retransmission_gets_the_same_certificate(scep: SCEP) -> None:
    """SCEP-4: the same certificate, in an answer that is new."""
    client = scep.client()
    message = client.pkcs_req(csr(client.key, challenge=scep.admin_challenge()))
    first, second = (scep.post(message) for _ in range(2))
    replies = [client.read(one.body, client.recipient) for one in (first, second)]
    assert scep.leaf(replies[0]) == scep.leaf(replies[1])
    assert replies[0].sender_nonce != replies[1].sender_nonce
    assert scep.issued() == 1


def test_a_retransmission_after_a_restart(scep: SCEP) -> None:
    """A retransmission after a restart gets the certificate that was issued before."""
    client = scep.client()
    message = client.pkcs_req(csr(client.key, challenge=scep.admin_challenge()))
    before = scep.leaf(scep.ask_scep(client, message))
    again = scep.restart()
    try:
        assert again.leaf(again.ask_scep(client, message)) == before
        assert again.issued() == 1
    finally:
        scep.stack.app = again.stack.app


def test_copies_without_a_challenge(tmp_path: Path) -> None:
    """The database recognizes them when they are recorded: nothing is read before, not even of the first one."""
    changes = {("SCEP", "challenge_password_enabled"): "false"}
    stores: list[FaultyStore] = []

    def wrap(store: Store) -> FaultyStore:
        stores.append(FaultyStore(store))
        return stores[0]

    with scep_server_in(tmp_path / "server", changes=changes, wrap_store=wrap) as scep:
        client = scep.client()
        message = client.pkcs_req(csr(client.key))
        assert scep.leaf(scep.ask_scep(client, message)) == scep.leaf(scep.ask_scep(client, message))
        assert scep.issued() == 1
        assert "begin" in stores[0].calls
        assert "repeated" not in stores[0].calls


def test_copies_under_another_policy(tmp_path: Path) -> None:
    """A copy gets the certificate of the first one, also where the policy would refuse a new request."""
    changes = {("SCEP", "challenge_password_enabled"): "false"}
    with scep_server_in(tmp_path / "server", changes=changes) as scep:
        client = scep.client()
        message = client.pkcs_req(csr(client.key))
        leaf = scep.leaf(scep.ask_scep(client, message))
        scep.policy("no RSA", use_for_est=False, use_for_scep=True, limits=PolicyLimits(keys=("EC/prime256v1",)))
        assert scep.leaf(scep.ask_scep(client, message)) == leaf
        assert scep.enroll_scep(client, "other").fail_info == BAD_REQUEST
        assert scep.issued() == 1


def test_a_new_throw_away_certificate_for_each_copy(scep: SCEP) -> None:
    """A client with a new throw-away certificate for each message is recognised by its key."""
    client = scep.client()
    request = csr(client.key, challenge=scep.admin_challenge())
    before = scep.leaf(scep.ask_scep(client, client.pkcs_req(request)))
    anew = replace(client, certificate=self_signed(rsa_key(1), serial=2))
    assert scep.leaf(scep.ask_scep(anew, anew.pkcs_req(request))) == before


def test_one_message_under_another_label(scep: SCEP) -> None:
    """No copy of the first: it needs a challenge password of its own."""
    scep.policy("labelled", use_for_est=False, use_for_scep=True, days=5)
    client = scep.client()
    message = client.pkcs_req(csr(client.key, challenge=scep.admin_challenge()))
    scep.leaf(scep.ask_scep(client, message, "/scep/labelled"))
    reply = scep.ask_scep(client, message)
    assert (reply.status, reply.fail_info) == (FAILURE, BAD_REQUEST)
    assert scep.issued() == 1


def test_the_same_id_with_another_request_is_a_new_transaction(scep: SCEP) -> None:
    """Never the old certificate."""
    client = scep.client()
    first = scep.leaf(scep.enroll_scep(client, challenge=scep.admin_challenge()))
    second = scep.leaf(scep.enroll_scep(client, challenge=scep.admin_challenge()))
    assert first != second


def test_somebody_else_with_the_same_request(scep: SCEP) -> None:
    """A captured request signed by another key gives no certificate and reveals nothing of its content."""
    client, thief = scep.client(1), scep.client(2)
    request = csr(client.key, challenge=scep.admin_challenge())
    scep.leaf(scep.ask_scep(client, client.pkcs_req(request)))
    reply = scep.ask_scep(thief, thief.pkcs_req(request))
    assert (reply.status, reply.fail_info) == (FAILURE, BAD_REQUEST)


# --- renewal -----------------------------------------------------------------------------


def renewed(scep: SCEP, client: SCEPClient, **how: str) -> str:
    """A RenewalReq with the same key; the outcome."""
    reply = scep.ask_scep(client, client.renewal_req(csr(client.key), **how))
    return reply.status if reply.fail_info is None else reply.fail_info


@pytest.mark.parametrize("kind", ["renewal_req", "pkcs_req"])
def test_renewal_needs_no_challenge(scep: SCEP, kind: str) -> None:
    """SCEP-3: RenewalReq, or PKCSReq signed with a certificate of this CA; same key and same transaction id."""
    client = scep.enrolled(scep.client())
    message = getattr(client, kind)(csr(client.key))
    leaf = scep.leaf(scep.ask_scep(client, message))
    assert leaf != client.certificate
    assert scep.leaf(scep.ask_scep(client, message)) == leaf
    again = replace(client, certificate=leaf)
    assert scep.leaf(scep.ask_scep(again, getattr(again, kind)(csr(client.key)))) not in (leaf, client.certificate)


def test_renewal_with_a_new_key_and_a_spent_challenge(scep: SCEP) -> None:
    """Devices go on sending their first challenge password, and that is no failure."""
    client = scep.enrolled(scep.client())
    for number in range(40):
        request = csr(rsa_key(2), challenge="spent long ago")
        scep.leaf(scep.ask_scep(client, client.renewal_req(request, transaction_id=str(number))))
    assert not scep.events("failed login")


def test_renewal_keeps_the_subject(scep: SCEP) -> None:
    """One that names another subject is refused."""
    client = scep.enrolled(scep.client())
    reply = scep.ask_scep(client, client.renewal_req(csr(client.key, "another")))
    assert (reply.status, reply.fail_info) == (FAILURE, BAD_REQUEST)


def test_who_may_not_renew(scep: SCEP) -> None:
    """Self-signed, revoked, expired, or named like the CA."""
    client = scep.client()
    assert renewed(scep, client) == BAD_REQUEST
    named = replace(client, certificate=self_signed(rsa_key(1), "Test rsa CA"))
    assert renewed(scep, named) == BAD_REQUEST
    good = scep.enrolled(client)
    assert renewed(scep, good) == SUCCESS
    serial = x509.load_der_x509_certificate(good.certificate).serial_number
    scep.stack.revoke(serial, RevocationReason.KEY_COMPROMISE)
    assert renewed(scep, good, transaction_id="later") == BAD_REQUEST
    other = scep.enrolled(scep.client(2), "other")
    scep.stack.clock.advance(366 * 86400)
    reply = scep.ask_scep(other, other.renewal_req(csr(other.key, "other")))
    assert reply.fail_info == BAD_REQUEST


def test_a_foreign_certificate_does_not_renew(scep: SCEP, tmp_path: Path) -> None:
    """Issued by another CA, one with the same names even."""
    with scep_server_in(tmp_path / "other") as other:
        foreign = other.enrolled(other.client())
        app = other.stack.app
        record = other.stack.issue("device", key=rsa_key(1))
        assert app.issuers.default.certificate.subject_der == scep.stack.issuer().certificate.subject_der
    for certificate in (foreign.certificate, record.der):
        client = replace(scep.client(), certificate=certificate)
        assert renewed(scep, client) == BAD_REQUEST


def test_the_keys_must_be_one(scep: SCEP) -> None:
    """A self-signed signer with another key than the request's, challenge and all."""
    client = scep.client()
    reply = scep.ask_scep(client, client.pkcs_req(csr(rsa_key(2), challenge=scep.admin_challenge())))
    assert (reply.status, reply.fail_info) == (FAILURE, BAD_REQUEST)


def test_proof_of_possession(scep: SCEP) -> None:
    """Only the request's author learns the reason; to others it looks like any unreadable content."""
    client = scep.client()
    request = bytearray(csr(client.key, challenge=scep.admin_challenge()))
    request[-1] ^= 1
    reply = scep.ask_scep(client, client.pkcs_req(bytes(request)))
    assert (reply.fail_info, reply.fail_info_text) == (BAD_REQUEST, "the signature does not verify with the public key")
    stranger = scep.client(2)
    reply = scep.ask_scep(stranger, stranger.pkcs_req(bytes(request)))
    assert (reply.fail_info, reply.fail_info_text) == (BAD_MESSAGE_CHECK, "the message can't be decrypted")


# --- algorithms --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("digest", "cipher", "modern", "middle", "legacy"),
    [
        ("sha256", "aes128", True, True, True),
        ("sha512", "aes256", True, True, True),
        ("sha1", "aes128", False, True, True),
        ("sha256", "des3", False, True, True),
        ("sha1", "des", False, False, True),
        ("md5", "des", False, False, True),
    ],
)
def test_algorithms(tmp_path: Path, digest: str, cipher: str, modern: bool, middle: bool, legacy: bool) -> None:
    """Each switch lets in what it says, and the answer has the request's cipher."""
    for number, (changes, accepted) in enumerate(
        [
            ({}, modern),
            ({("SCEP", "allow_sha1_3des"): "true"}, middle),
            ({("SCEP", "legacy"): "true"}, legacy),
        ]
    ):
        with scep_server_in(tmp_path / str(number), changes=changes) as scep:
            client = scep.client(digest=digest, cipher=cipher)
            reply = scep.enroll_scep(client, challenge=scep.admin_challenge())
            if accepted:
                scep.leaf(reply)
                assert reply.cipher == cipher
            else:
                assert (reply.status, reply.fail_info) == (FAILURE, BAD_ALG)


def test_an_ec_signer_is_refused_before_anything_is_issued(scep: SCEP) -> None:
    """The answer could not be encrypted."""
    key = ec.generate_private_key(ec.SECP256R1())
    client = SCEPClient(key, self_signed(key), scep.recipient())
    reply = scep.enroll_scep(client, challenge=scep.admin_challenge())
    assert (reply.status, reply.fail_info) == (FAILURE, BAD_ALG)
    assert scep.issued() == 0


def test_odd_serial_numbers_of_throw_away_certificates(scep: SCEP) -> None:
    """Serial numbers of 32 bytes, or negative; the answer repeats them unchanged."""
    for number, serial in enumerate((-5, 1 << 250)):
        client = replace(scep.client(), certificate=self_signed(rsa_key(1), serial=serial))
        reply = scep.enroll_scep(client, challenge=scep.admin_challenge(), transaction_id=str(number))
        scep.leaf(reply)


# --- what fails on the way ---------------------------------------------------------------


@pytest.mark.parametrize("method", ["begin", "complete"])
@pytest.mark.parametrize("after", [False, True])
def test_a_database_that_does_not_answer(tmp_path: Path, method: str, after: bool) -> None:
    """503 with Retry-After, since a FAILURE would be final; the same message gets its certificate later, once."""
    with scep_server_in(tmp_path, wrap_store=FaultyStore) as scep:
        store: Any = scep.stack.app.store
        store.failing[method], store.after = 1, after
        client = scep.client()
        message = client.pkcs_req(csr(client.key, challenge=scep.admin_challenge()))
        response = scep.post(message)
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        scep.leaf(scep.ask_scep(client, message))
        assert scep.issued() == 1


def test_a_signer_that_does_not_answer(scep: SCEP) -> None:
    """503, and the challenge password is still good."""
    issuer = scep.stack.issuer()
    signer = FaultySigner(issuer.signer)
    issuer.signer = signer
    signer.error = SignerUnavailable("the key is away")
    client = scep.client()
    message = client.pkcs_req(csr(client.key, challenge=scep.admin_challenge()))
    assert scep.post(message).status == 503
    scep.leaf(scep.ask_scep(client, message))
