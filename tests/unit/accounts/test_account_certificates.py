"""Suspending or deleting an account revokes its certificates, where the administrator chooses so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.accounts.account_certificates import BATCH
from pikachu.auth.authenticator import account_principal
from pikachu.core.errors import Conflict, MalformedRequest
from pikachu.core.model.certificates import CertificateStatus, Method, RevocationReason
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, Account, AccountState, NewAccount, Role
from pikachu.ra.enrollment import Issued
from tests.support.deferreds import failure_of, result_of
from tests.support.faults import FaultySigner
from tests.support.pki import make_csr, make_key
from tests.support.stack import Leaf, Stack, build_core

WITHDRAWN = RevocationReason.PRIVILEGE_WITHDRAWN


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path / "server")
    yield made
    made.close()


def add(stack: Stack, name: str) -> Account:
    app = stack.app
    event = Event("add", "user", name, "test", about_account=True)
    return result_of(
        app.store.add_account(
            NewAccount(name, f"{name}@example.com", Role.USER, AccountState.ACTIVE, None), event, app.authority.now()
        )
    )


def issue(stack: Stack, account: Account, count: int = 1) -> list[Leaf]:
    """Issue certificates for one key, which the account may have certified again."""
    key = make_key("p256", 500 + account.id)
    return [stack.issue(f"device-{one}", owner_id=account.id, key=key) for one in range(count)]


def statuses(stack: Stack, leaves: list[Leaf]) -> set[CertificateStatus]:
    app = stack.app
    found = [result_of(app.store.certificate_by_serial(one.serial)) for one in leaves]
    return {one.status(app.authority.now()) for one in found}


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1, 2 * BATCH])
@pytest.mark.parametrize("how", ["suspend", "delete", "update"])
def test_all_valid_ones_are_revoked(stack: Stack, how: str, count: int) -> None:
    """With the actor in each event, and nothing of anybody else's."""
    accounts = stack.app.accounts
    alice, bob = add(stack, "alice"), add(stack, "bob")
    leaves, others = issue(stack, alice, count), issue(stack, bob, 2)
    assert result_of(accounts.valid_certificates(SYSTEM, alice.id)) == count
    if how == "suspend":
        result_of(accounts.suspend(SYSTEM, alice.id, WITHDRAWN))
    elif how == "delete":
        result_of(accounts.delete(SYSTEM, alice.id, WITHDRAWN))
    else:
        result_of(accounts.update(SYSTEM, alice.id, state=AccountState.PENDING, revoke=WITHDRAWN))
    assert statuses(stack, leaves) <= {CertificateStatus.REVOKED}
    assert statuses(stack, others) == {CertificateStatus.VALID}
    events = result_of(stack.app.store.events(ListQuery(limit=1000, filters={"type": "revoke"}))).items
    assert [one.event.actor for one in events] == [SYSTEM.name] * count
    assert {one.event.details["reason"] for one in events} <= {"privilegeWithdrawn"}
    assert result_of(stack.app.store.owner_revocations()) == []
    assert result_of(accounts.valid_certificates(SYSTEM, alice.id)) == 0


@pytest.mark.parametrize("count", [1, BATCH + 1])
@pytest.mark.parametrize("how", ["suspend", "delete", "update"])
def test_certificates_on_hold_are_revoked(stack: Stack, how: str, count: int) -> None:
    """A hold could be released, which would make the certificate valid again; what is revoked keeps its reason."""
    accounts = stack.app.accounts
    alice = add(stack, "alice")
    leaves = issue(stack, alice, count + 2)
    for one in leaves[2:]:
        stack.revoke(one, RevocationReason.CERTIFICATE_HOLD)
    stack.revoke(leaves[0], RevocationReason.KEY_COMPROMISE)
    assert result_of(accounts.valid_certificates(SYSTEM, alice.id)) == count + 1
    if how == "suspend":
        result_of(accounts.suspend(SYSTEM, alice.id, WITHDRAWN))
    elif how == "delete":
        result_of(accounts.delete(SYSTEM, alice.id, WITHDRAWN))
    else:
        result_of(accounts.update(SYSTEM, alice.id, state=AccountState.PENDING, revoke=WITHDRAWN))
    found = [result_of(stack.app.store.certificate_by_serial(one.serial)).reason for one in leaves]
    assert found == [RevocationReason.KEY_COMPROMISE, *[WITHDRAWN] * (count + 1)]
    assert result_of(accounts.valid_certificates(SYSTEM, alice.id)) == 0
    assert result_of(stack.app.store.owner_revocations()) == []


@pytest.mark.parametrize("count", [1, BATCH + 1])
@pytest.mark.parametrize("how", ["suspend", "delete", "update"])
@pytest.mark.parametrize("reason", [None, RevocationReason.CERTIFICATE_HOLD, RevocationReason.KEY_COMPROMISE])
def test_deleted_certificates_are_revoked(stack: Stack, reason: RevocationReason | None, how: str, count: int) -> None:
    """Deleting certificates keeps none of them valid; one that is revoked for good keeps its reason."""
    accounts = stack.app.accounts
    alice, bob = add(stack, "alice"), add(stack, "bob")
    leaves, others = issue(stack, alice, count), issue(stack, bob)
    for one in leaves:
        if reason is not None:
            stack.revoke(one, reason)
        stack.delete(one)
    stack.delete(others[0])
    is_final = reason is RevocationReason.KEY_COMPROMISE
    assert result_of(accounts.valid_certificates(SYSTEM, alice.id)) == (0 if is_final else count)
    if how == "suspend":
        result_of(accounts.suspend(SYSTEM, alice.id, WITHDRAWN))
    elif how == "delete":
        result_of(accounts.delete(SYSTEM, alice.id, WITHDRAWN))
    else:
        result_of(accounts.update(SYSTEM, alice.id, state=AccountState.PENDING, revoke=WITHDRAWN))
    found = [result_of(stack.app.store.certificate_by_serial(one.serial, deleted=True)) for one in leaves + others]
    assert [one.reason for one in found] == [reason if is_final else WITHDRAWN] * count + [None]
    assert result_of(stack.app.store.owner_revocations()) == []


def test_only_where_it_is_asked_for(stack: Stack) -> None:
    alice = add(stack, "alice")
    leaves = issue(stack, alice, 2)
    result_of(stack.app.accounts.suspend(SYSTEM, alice.id))
    assert statuses(stack, leaves) == {CertificateStatus.VALID}
    # Later, of an account that is suspended already.
    result_of(stack.app.accounts.update(SYSTEM, alice.id, state=AccountState.SUSPENDED, revoke=WITHDRAWN))
    assert statuses(stack, leaves) == {CertificateStatus.REVOKED}


def test_not_of_an_account_that_is_active(stack: Stack) -> None:
    alice = add(stack, "alice")
    leaves = issue(stack, alice)
    failure_of(stack.app.accounts.update(SYSTEM, alice.id, revoke=WITHDRAWN), MalformedRequest)
    assert statuses(stack, leaves) == {CertificateStatus.VALID}


def test_what_is_revoked_deleted_or_expired_stays_so(stack: Stack) -> None:
    alice = add(stack, "alice")
    revoked, hidden, kept = issue(stack, alice, 3)
    stack.revoke(revoked, RevocationReason.SUPERSEDED)
    stack.delete(hidden)
    result_of(stack.app.accounts.suspend(SYSTEM, alice.id, WITHDRAWN))
    assert result_of(stack.app.store.certificate_by_serial(revoked.serial)).reason is RevocationReason.SUPERSEDED
    assert statuses(stack, [kept]) == {CertificateStatus.REVOKED}


def test_a_restart_goes_on(stack: Stack) -> None:
    """The order is stored with the suspension, and until it is carried out the account stays inactive."""
    app = stack.app
    alice = add(stack, "alice")
    leaves = issue(stack, alice, 3)
    result_of(app.holdings.stop())
    result_of(app.accounts.suspend(SYSTEM, alice.id, WITHDRAWN))
    assert statuses(stack, leaves) == {CertificateStatus.VALID}
    assert "still being revoked" in failure_of(app.accounts.activate(SYSTEM, alice.id), Conflict).public
    again = stack.restart()
    result_of(again.app.holdings.resume())
    assert statuses(again, leaves) == {CertificateStatus.REVOKED}
    result_of(again.app.accounts.activate(SYSTEM, alice.id))
    stack.app = again.app


def test_what_is_being_signed_is_revoked(stack: Stack) -> None:
    """Its serial is revoked before it is a certificate, which is then stored as a revoked one."""
    app = stack.app
    alice = add(stack, "alice")
    signer = FaultySigner(app.issuers.default.signer)
    signer.held = []
    app.issuers.default.signer = signer
    csr = make_csr(subject="device", key=make_key("p256", 600))[1]
    signing = app.registration.sign(account_principal(alice, "192.0.2.7"), csr, Method.API)
    result_of(app.accounts.suspend(SYSTEM, alice.id, WITHDRAWN))
    signer.release()
    issued = result_of(signing)
    assert isinstance(issued, Issued)
    assert issued.record.revoked_at is not None
    assert issued.record.owner_id == alice.id
