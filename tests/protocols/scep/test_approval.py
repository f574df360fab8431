"""Manual approval: PENDING until an administrator decides (RFC 8894 sections 2.3 and 3.3.3)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pikachu.core.model.policies import Approval
from tests.support.deferreds import result_of
from tests.support.est import ADMIN
from tests.support.faults import FaultySigner
from tests.support.scep import BAD_CERT_ID, BAD_REQUEST, FAILURE, PENDING, SCEP
from tests.support.scep_client import CertRep, SCEPClient, csr, name, rsa_key, self_signed


@pytest.fixture(autouse=True)
def manual(scep: SCEP) -> None:
    """The system's SCEP policy wants a person to look."""
    scep.policy("looked at", approval=Approval.MANUAL, use_for_est=False, use_for_scep=True)


def poll(scep: SCEP, client: SCEPClient, **how: str) -> CertRep:
    """CertPoll; the names in it count for nothing."""
    return scep.ask_scep(client, client.cert_poll(name("any"), name("whoever"), **how))


def waiting(scep: SCEP, client: SCEPClient, challenge: str | None = None) -> bytes:
    """A PKCSReq that waits."""
    message = client.pkcs_req(csr(client.key, challenge=challenge))
    assert scep.ask_scep(client, message).status == PENDING
    return message


@pytest.mark.parametrize("challenged", [False, True])
def test_approved(scep: SCEP, challenged: bool) -> None:
    """CHP-2: by CertPoll or by sending the request again; a challenge may be missing."""
    client = scep.client()
    message = waiting(scep, client, scep.admin_challenge() if challenged else None)
    assert poll(scep, client).status == PENDING
    assert scep.ask_scep(client, message).status == PENDING
    (request,) = scep.approvals()
    scep.approve(request.id)
    leaf = scep.leaf(poll(scep, client))
    assert scep.leaf(scep.ask_scep(client, message)) == leaf
    assert scep.leaf(poll(scep, client)) == leaf
    assert scep.issued() == 1


def test_rejected(scep: SCEP) -> None:
    """badRequest, and the challenge password is free again."""
    client = scep.client()
    challenge = scep.admin_challenge()
    message = waiting(scep, client, challenge)
    scep.reject(scep.approvals()[0].id)
    for reply in (poll(scep, client), scep.ask_scep(client, message)):
        assert (reply.status, reply.fail_info) == (FAILURE, BAD_REQUEST)
    other = scep.client(2)
    waiting(scep, other, challenge)
    assert scep.issued() == 0


def test_a_wrong_challenge_does_not_wait(scep: SCEP) -> None:
    """Only a missing one may."""
    reply = scep.enroll_scep(scep.client(), challenge="wrong")
    assert (reply.status, reply.fail_info) == (FAILURE, BAD_REQUEST)
    assert scep.approvals() == []


def test_a_challenge_is_reserved(scep: SCEP) -> None:
    """While a request waits nobody else has its password."""
    challenge = scep.admin_challenge()
    waiting(scep, scep.client(1), challenge)
    assert scep.enroll_scep(scep.client(2), "other", challenge).fail_info == BAD_REQUEST


def test_somebody_elses_transaction(scep: SCEP) -> None:
    """Another key, another id, no id: one answer."""
    client, stranger = scep.client(1), scep.client(2)
    waiting(scep, client)
    for asking, transaction in ((stranger, "transaction-1"), (client, "transaction-2"), (stranger, "x")):
        reply = poll(scep, asking, transaction_id=transaction)
        assert (reply.status, reply.fail_info) == (FAILURE, BAD_CERT_ID)
        assert reply.fail_info_text == "no request of that transaction waits here"
    scep.approve(scep.approvals()[0].id)
    assert poll(scep, stranger).fail_info == BAD_CERT_ID


def test_the_key_polls_whatever_certificate_it_has(scep: SCEP) -> None:
    """A client is recognised by its key, as it makes a new throw-away certificate each time."""
    client = scep.client()
    waiting(scep, client)
    anew = replace(client, certificate=self_signed(rsa_key(1), serial=77))
    assert poll(scep, anew).status == PENDING


def test_waiting_survives_a_restart(scep: SCEP) -> None:
    """The answer to a poll comes from the database."""
    client = scep.client()
    message = waiting(scep, client, scep.admin_challenge())
    again = scep.restart()
    try:
        assert again.ask_scep(client, message).status == PENDING
        (request,) = again.approvals()
        again.approve(request.id)
        again.leaf(poll(again, client))
    finally:
        scep.stack.app = again.stack.app


def test_renewals_wait_too(scep: SCEP) -> None:
    """The policy decides which renewals need approval; the renewed certificate signs the polls."""
    client = scep.client()
    waiting(scep, client)
    scep.approve(scep.approvals()[0].id)
    renewing = replace(client, certificate=scep.leaf(poll(scep, client)))
    reply = scep.ask_scep(renewing, renewing.renewal_req(csr(client.key)))
    assert reply.status == PENDING
    scep.approve(scep.approvals()[0].id)
    assert scep.leaf(poll(scep, renewing)) != renewing.certificate


def test_while_it_is_being_signed(scep: SCEP) -> None:
    """A poll between approval and certificate waits: a failure would be final for the client."""
    issuer = scep.stack.issuer()
    signer = FaultySigner(issuer.signer)
    issuer.signer = signer
    client = scep.client()
    message = waiting(scep, client, scep.admin_challenge())
    signer.held = []
    approved = scep.stack.app.registration.approve(ADMIN, scep.approvals()[0].id)
    assert poll(scep, client).status == PENDING
    assert scep.ask_scep(client, message).status == PENDING
    signer.release()
    record = result_of(approved)
    assert record is not None
    assert record.der == scep.leaf(poll(scep, client))
    assert scep.issued() == 1


def test_one_message_under_two_labels(scep: SCEP) -> None:
    """Each label has its own policy: a copy under another one is another request, and is polled there."""
    for label in ("first", "second"):
        scep.policy(label, approval=Approval.MANUAL, use_for_est=False, use_for_scep=True)
    client = scep.client()
    message = client.pkcs_req(csr(client.key))
    for path in ("/scep", "/scep/first", "/scep/second") * 2:
        assert scep.ask_scep(client, message, path).status == PENDING
    by_label = {request.label: request.id for request in scep.approvals()}
    assert by_label.keys() == {None, "first", "second"}
    scep.approve(by_label["first"])

    def polled(path: str) -> CertRep:
        return scep.ask_scep(client, client.cert_poll(name("any"), name("whoever")), path)

    assert polled("/scep").status == polled("/scep/second").status == PENDING
    assert scep.leaf(polled("/scep/first")) == scep.leaf(scep.ask_scep(client, message, "/scep/first"))
    scep.reject(by_label["second"])
    assert polled("/scep/second").status == FAILURE
    assert polled("/scep").status == PENDING
    assert scep.issued() == 1
