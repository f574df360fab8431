"""Enrollment that waits for a person (EST-4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pikachu.core.model.policies import Approval
from pikachu.server.listeners import ClientCertificates
from tests.protocols.est.refusals import refused
from tests.support.est import EST, channel_binding, est_server, est_site
from tests.support.pki import make_csr
from tests.support.stack import Response


@pytest.fixture(autouse=True)
def manual(est: EST) -> None:
    """Every enrollment waits."""
    est.policy("manual", approval=Approval.MANUAL, days=2)


def waits(response: Response) -> None:
    assert response.status == 202
    assert response.headers["Retry-After"] == "60"
    assert response.headers["Content-Type"] == "text/plain"


def test_approved(est: EST) -> None:
    """202 with Retry-After in seconds; the certificate once an admin has approved, again and again."""
    _, csr = make_csr(sans=["DNS:device.example.com"])
    waits(est.enroll(csr, user="alice"))
    waits(est.enroll(csr, user="alice"))
    (waiting,) = est.approvals()
    assert waiting.subject == "CN=device.example.com"
    assert est.issued() == 0
    approved = est.approve(waiting.id)
    found = est.certificate(est.enroll(csr, user="alice"))
    assert found.serial_number == approved.serial
    assert est.certificate(est.enroll(csr, user="alice")) == found
    assert est.issued() == 1
    event = est.events("create")[-1].event
    assert event.details["approved_by"] == "admin"
    assert event.actor == "alice"


def test_signed_anew(est: EST) -> None:
    """The same key and names, signed again, is the same request."""
    key, csr = make_csr(sans=["DNS:device.example.com"])
    _, again = make_csr(sans=["DNS:device.example.com"], key=key)
    assert csr != again
    waits(est.enroll(csr, user="alice"))
    waits(est.enroll(again, user="alice"))
    (waiting,) = est.approvals()
    est.approve(waiting.id)
    assert est.certificate(est.enroll(again, user="alice")).serial_number > 0
    # Another name is another request; so is another person's.
    waits(est.enroll(make_csr(key=key)[1], user="alice"))
    assert len(est.approvals()) == 1


def test_after_a_revocation(est: EST) -> None:
    """A repeated request whose certificate is revoked or expired awaits approval again instead of returning it."""
    _, csr = make_csr()
    serials = set()
    for number in range(3):
        waits(est.enroll(csr, user="alice"))
        (waiting,) = est.approvals()
        serial = est.approve(waiting.id).serial
        assert est.certificate(est.enroll(csr, user="alice")).serial_number == serial
        serials.add(serial)
        if number == 1:
            est.stack.clock.advance(3 * 86400)
        else:
            est.stack.revoke(serial)
    assert len(serials) == 3


def test_linked_requests(est: EST) -> None:
    """A linked request differs on each connection, and is the same request."""
    key = make_csr()[0]
    for _ in range(2):
        tls = est.connect(clients=ClientCertificates.NONE)
        _, csr = make_csr(key=key, challenge=channel_binding(tls))
        waits(est.enroll(csr, user="alice", tls=tls))
    (waiting,) = est.approvals()
    est.approve(waiting.id)
    tls = est.connect(clients=ClientCertificates.NONE)
    est.certificate(est.enroll(make_csr(key=key, challenge=channel_binding(tls))[1], user="alice", tls=tls))


def test_rejected(est: EST) -> None:
    """403."""
    _, csr = make_csr()
    waits(est.enroll(csr, user="alice"))
    (waiting,) = est.approvals()
    est.reject(waiting.id)
    assert "rejected" in refused(est.enroll(csr, user="alice"), 403)
    assert est.issued() == 0


def test_a_hundred_copies(est: EST) -> None:
    """One row, all 202."""
    _, csr = make_csr()
    assert {est.enroll(csr, user="alice").status for _ in range(100)} == {202}
    assert len(est.approvals()) == 1


def test_restart(tmp_path: Path) -> None:
    """A pending request survives a restart."""
    with est_server(tmp_path / "another") as est:
        est.account("alice")
        est.policy("manual", approval=Approval.MANUAL, days=2)
        _, csr = make_csr()
        waits(est.enroll(csr, user="alice"))
        est.stack = est.stack.restart()
        est.site = est_site(est.stack)
        waits(est.enroll(csr, user="alice"))
        (waiting,) = est.approvals()
        est.approve(waiting.id)
        est.stack = est.stack.restart()
        est.site = est_site(est.stack)
        est.certificate(est.enroll(csr, user="alice"))


def test_keys_are_not_made(est: EST) -> None:
    """A generated key can't wait for a person: it is not stored."""
    refused(est.enroll(make_csr()[1], "serverkeygen", user="alice"), 400)


def test_reenrollment_waits(est: EST) -> None:
    """EST-4: re-enrollment as well; it is another request than an enrollment."""
    device = est.identity()
    _, csr = make_csr(key=device.key)
    tls = est.connect(device)
    waits(est.enroll(csr, tls=tls))
    waits(est.enroll(csr, "simplereenroll", tls=tls))
    assert len(est.approvals()) == 2
