"""Any order of enrolling, deciding, revoking, crashing and restarting, against a model (CHP-2, CRT-5, CRT-6)."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

import pytest
from cryptography import x509
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pikachu.core.errors import AuthenticationFailed, Conflict, NotAuthorized, RateLimited, StoreUnavailable
from pikachu.core.model.certificates import CertificateStatus, RevocationReason
from pikachu.core.model.events import Event
from pikachu.core.model.people import SYSTEM, AccountState, Credentials, Role
from pikachu.core.model.policies import Approval
from pikachu.ra.enrollment import Issued, Pending
from pikachu.ra.est import ESTEnrollment
from tests.support.deferreds import failure_of, result_of
from tests.support.faults import FaultySigner, FaultyStore
from tests.support.pki import make_csr
from tests.support.stack import Stack, make_files, open_stack

GOOD, HELD, REVOKED = "good", "held", "revoked"
VALIDITY = timedelta(days=30)
_numbers = itertools.count()


@dataclass
class Enrollment:
    """One device's enrollment: its CSR, and the answers it has received.

    :ivar request: the id of the request that awaits approval.
    :ivar serial: the serial number of the certificate it received.
    """

    csr: bytes
    challenge: str
    manual: bool
    request: int | None = None
    serial: int | None = None


class Issuance(RuleBasedStateMachine):
    """The model: the available challenge passwords, each device's enrollment, and the status of every serial number."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.stacks: list[Stack] = []
        self.free: dict[str, bool] = {}
        self.consumed: dict[str, int] = {}
        self.waiting: list[Enrollment] = []
        self.issued: list[Enrollment] = []
        self.lost: list[Enrollment] = []
        self.worth: dict[int, str] = {}
        self.deleted: set[int] = set()
        self.orphans: list[int] = []
        self.ids: dict[str, int] = {}
        self.crl_number = 0

    @initialize()
    def begin(self) -> None:
        """A server with an account whose enrollments an administrator has to approve."""
        self.open(open_stack(make_files(Path(self.folder.name)), wrap_store=FaultyStore))
        app = self.stack.app
        account = result_of(
            app.accounts.add_user(
                SYSTEM, "owner", "owner@example.com", Role.USER, AccountState.ACTIVE, "correct horse battery"
            )
        )
        self.owner = account.id
        policy = replace(
            app.policies.default,
            name="manual",
            system=False,
            owner_id=account.id,
            use_for_est=True,
            approval=Approval.MANUAL,
        )
        result_of(app.store.add_policy(policy, Event("create", "policy", "manual", "test"), app.authority.now()))
        for manual in (False, False, True) * 3:
            self.new_challenge_for(manual=manual)

    def open(self, stack: Stack) -> None:
        """Take a process into service, as the server does at its start."""
        self.stacks.append(stack)
        self.stack = stack
        orphans = result_of(Deferred.fromCoroutine(stack.app.authority.give_up_orphans()))
        self.orphans += [orphan.serial for orphan in orphans if orphan.serial is not None]
        self.store: Any = stack.app.store
        issuer = stack.app.issuers.default
        self.signer = FaultySigner(issuer.signer)
        issuer.signer = self.signer
        result_of(stack.app.publisher.begin())

    def teardown(self) -> None:
        """Close every process that there was."""
        for stack in self.stacks:
            stack.close()
        self.folder.cleanup()

    # --- challenge passwords and enrollments --------------------------------------------

    @rule(manual=st.booleans())
    def new_challenge(self, manual: bool) -> None:
        """One more."""
        self.new_challenge_for(manual=manual)

    def new_challenge_for(self, *, manual: bool) -> None:
        """A challenge password of the account, or of nobody."""
        made = self.stack.app.challenge_passwords.create(SYSTEM, self.owner if manual else None, VALIDITY)
        record, text = result_of(made)
        self.free[text] = manual
        self.ids[text] = record.id

    def send(self, enrollment: Enrollment) -> Deferred[Issued | Pending]:
        """simpleenroll, from an address of its own: failures are counted by address."""
        number = next(_numbers)
        credentials = Credentials(address=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")
        return Deferred.fromCoroutine(self.stack.app.est.enroll(ESTEnrollment(credentials, enrollment.csr)))

    def new_enrollment(self, data: st.DataObject) -> Enrollment:
        """One that takes a free challenge password."""
        challenge = data.draw(st.sampled_from(list(self.free)))
        _, csr = make_csr(subject=f"device-{next(_numbers)}", challenge=challenge)
        return Enrollment(csr, challenge, self.free.pop(challenge))

    def given(self, enrollment: Enrollment, result: Issued | Pending) -> None:
        """Record the answer to a device, and check it against earlier ones."""
        if isinstance(result, Pending):
            assert enrollment.manual
            assert enrollment.request in (None, result.request_id)
            enrollment.request = result.request_id
            if enrollment not in self.waiting:
                self.waiting.append(enrollment)
            return
        serial = result.record.serial
        assert enrollment.serial in (None, serial), "another certificate for the same request"
        if enrollment.serial is None:
            assert serial not in self.worth, "a serial was given twice"
            assert serial not in self.orphans
            enrollment.serial = serial
            self.worth[serial] = GOOD
            self.consumed[enrollment.challenge] = serial
            self.issued.append(enrollment)

    @precondition(lambda self: self.free)
    @rule(data=st.data())
    def enroll(self, data: st.DataObject) -> None:
        """A request that is answered."""
        enrollment = self.new_enrollment(data)
        self.given(enrollment, result_of(self.send(enrollment)))

    @precondition(lambda self: self.free)
    @rule(data=st.data(), copies=st.integers(2, 4))
    def enroll_twice(self, data: st.DataObject, copies: int) -> None:
        """Copies of a request that come before the first is answered."""
        enrollment = self.new_enrollment(data)
        self.signer.held = []
        answers = [self.send(enrollment) for _ in range(copies)]
        self.signer.release()
        self.signer.held = None
        for answer in answers:
            self.given(enrollment, result_of(answer))

    @precondition(lambda self: self.consumed)
    @rule(data=st.data())
    def enroll_with_a_used_one(self, data: st.DataObject) -> None:
        """CHP-2: never again."""
        challenge = data.draw(st.sampled_from(list(self.consumed)))
        _, csr = make_csr(subject="thief", challenge=challenge)
        # After several in a row, the address has to wait.
        failure_of(self.send(Enrollment(csr, challenge, manual=False)), AuthenticationFailed, RateLimited)

    @precondition(lambda self: self.issued)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """The same request gives the same certificate."""
        enrollment = data.draw(st.sampled_from(self.issued))
        assert enrollment.serial is not None
        if self.worth[enrollment.serial] == GOOD and enrollment.serial not in self.deleted:
            self.given(enrollment, result_of(self.send(enrollment)))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """A repeated request that awaits approval stays pending."""
        enrollment = data.draw(st.sampled_from(self.waiting))
        self.given(enrollment, result_of(self.send(enrollment)))

    # --- approvals ----------------------------------------------------------------------

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def approve(self, data: st.DataObject) -> None:
        """The device gets what the administrator's approval made."""
        enrollment = data.draw(st.sampled_from(self.waiting))
        assert enrollment.request is not None
        record = result_of(self.stack.app.registration.approve(SYSTEM, enrollment.request))
        assert record is not None
        self.waiting.remove(enrollment)
        result = result_of(self.send(enrollment))
        assert isinstance(result, Issued)
        assert result.record.serial == record.serial
        self.given(enrollment, result)
        failure_of(self.stack.app.registration.approve(SYSTEM, enrollment.request), Conflict)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        """Its challenge password is free again."""
        enrollment = data.draw(st.sampled_from(self.waiting))
        assert enrollment.request is not None
        result_of(self.stack.app.registration.reject(SYSTEM, enrollment.request, "no"))
        self.waiting.remove(enrollment)
        failure_of(self.send(enrollment), NotAuthorized)
        self.free[enrollment.challenge] = enrollment.manual

    # --- revocation ---------------------------------------------------------------------

    def some(self, data: st.DataObject, wanted: Callable[[str], bool]) -> int | None:
        """A serial that is not deleted."""
        found = [s for s, worth in self.worth.items() if s not in self.deleted and wanted(worth)]
        return data.draw(st.sampled_from(found)) if found else None

    @precondition(lambda self: self.worth)
    @rule(data=st.data(), hold=st.booleans())
    def revoke(self, data: st.DataObject, hold: bool) -> None:
        """Repeating changes nothing, but a hold becomes final."""
        serial = self.some(data, lambda worth: True)
        if serial is None:
            return
        self.stack.revoke(serial, RevocationReason.CERTIFICATE_HOLD if hold else RevocationReason.KEY_COMPROMISE)
        if not hold:
            self.worth[serial] = REVOKED
        elif self.worth[serial] == GOOD:
            self.worth[serial] = HELD

    @precondition(lambda self: self.worth)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Only from hold."""
        serial = self.some(data, lambda worth: True)
        if serial is None:
            return
        released = self.stack.app.authority.release(serial, SYSTEM)
        if self.worth[serial] == HELD:
            result_of(released)
            self.worth[serial] = GOOD
        else:
            failure_of(released, Conflict)

    @precondition(lambda self: self.worth)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """CRT-6: delete a certificate of any status; a revoked one stays revoked."""
        serial = self.some(data, lambda worth: True)
        if serial is None:
            return
        record = result_of(self.stack.app.store.certificate_by_serial(serial))
        result_of(self.stack.app.authority.delete(record, SYSTEM))
        self.deleted.add(serial)

    @precondition(lambda self: set(self.orphans) - self.worth.keys())
    @rule(data=st.data())
    def revoke_an_orphan(self, data: st.DataObject) -> None:
        """An intent that no certificate followed."""
        serial = data.draw(st.sampled_from([serial for serial in self.orphans if serial not in self.worth]))
        self.stack.revoke(serial)
        self.worth[serial] = REVOKED
        # Nobody has it, so nobody acts on it.
        self.deleted.add(serial)

    # --- ends ---------------------------------------------------------------------------

    @rule(seconds=st.floats(0.1, 5))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.stack.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        """An orderly end."""
        self.stacks.remove(self.stack)
        self.stack.close()
        self.open(open_stack(self.stack.files, self.stack.clock, wrap_store=FaultyStore))

    def crash(self) -> None:
        """The process is gone; its files are as they are."""
        self.stack.app.publisher.stop()
        self.open(open_stack(self.stack.files, self.stack.clock, wrap_store=FaultyStore))

    @precondition(lambda self: any(not manual for manual in self.free.values()))
    @rule(data=st.data(), when=st.sampled_from(["begin", "begin after", "sign", "complete", "complete after"]))
    def crash_in_enrollment(self, data: st.DataObject, when: str) -> None:
        """At each step; the device does not know how far it came."""
        enrollment = self.new_enrollment(data)
        step, _, after = when.partition(" ")
        if enrollment.manual:
            self.free[enrollment.challenge] = True
            return
        if step == "sign":
            self.signer.held = []
            self.send(enrollment)
        else:
            self.store.failing[step] = 1
            self.store.after = bool(after)
            failure_of(self.send(enrollment), StoreUnavailable)
        self.lost.append(enrollment)
        self.crash()

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def repeat_what_was_lost(self, data: st.DataObject) -> None:
        """A device that was not answered asks again, and is given one certificate."""
        enrollment = data.draw(st.sampled_from(self.lost))
        self.given(enrollment, result_of(self.send(enrollment)))
        self.lost.remove(enrollment)

    # --- what always holds --------------------------------------------------------------

    @invariant()
    def serials_are_worth_what_they_should(self) -> None:
        """The database says what the model says."""
        if not self.stacks:
            return
        for serial, worth in self.worth.items():
            answer = result_of(self.stack.app.statuses.status(serial))
            if worth == GOOD:
                expected = None if serial in self.deleted else CertificateStatus.VALID
            else:
                expected = CertificateStatus.REVOKED
            assert answer.status is expected

    @invariant()
    def the_crl_has_them(self) -> None:
        """After its delay the CRL lists just what is revoked or on hold; its number never falls."""
        if not self.stacks:
            return
        self.stack.clock.advance(0.6)
        issuer = self.stack.issuer()
        path = self.stack.app.publisher.paths(issuer)[0]
        crl = x509.load_der_x509_crl(path.read_bytes())
        assert {entry.serial_number for entry in crl} == {s for s, worth in self.worth.items() if worth != GOOD}
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        assert number >= self.crl_number
        self.crl_number = number

    @invariant()
    def challenges_are_consumed_once(self) -> None:
        """CHP-2: by the certificate that the device has; the others are free."""
        if not self.stacks:
            return
        in_doubt = {enrollment.challenge for enrollment in (*self.lost, *self.waiting)}
        for text, challenge_id in self.ids.items():
            record = result_of(self.stack.app.store.challenge(challenge_id))
            if text not in in_doubt:
                assert record.consumed_serial == self.consumed.get(text)
                assert (text in self.free) is (record.consumed_serial is None)

    @invariant()
    def the_audit_chain_holds(self) -> None:
        """No event is changed or missing."""
        if self.stacks:
            assert result_of(self.stack.app.store.verify_events()) > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("examples", [10, pytest.param(200, marks=pytest.mark.soak)])
def test_issuance_machine(examples: int) -> None:
    """So many examples of up to fifty steps."""
    run_state_machine_as_test(Issuance, settings=settings(max_examples=examples, stateful_step_count=50, deadline=None))
