"""Copies of a request that arrive at the same time are one request (EST-4, API-2), by whatever way they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed

import pytest

from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.errors import IssuanceFailed
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import SYSTEM, AccountState, Credentials, Role
from pikachu.ra.enrollment import Issued, Pending
from pikachu.ra.est import ESTEnrollment
from pikachu.ra.scep import SCEPEnrollment
from pikachu.server.registration import Registration, build_registration
from tests.support.deferreds import failure_of, result_of
from tests.support.faults import FaultySigner
from tests.support.pki import make_csr, make_key, spki
from tests.support.stack import Stack, build_core

PASSWORD = "correct horse battery"


class Desk:
    """A registration authority whose CA signs when the test says so."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        app = stack.app
        issuer = app.issuers.default
        self.signer = FaultySigner(issuer.signer)
        self.signer.held = []
        issuers = IssuingCAs("ec", {"ec": IssuingCA(issuer.record, self.signer)})
        authority = CertificateAuthority(stack.clock, app.store, issuers, app.authority.process)
        self.registration: Registration = build_registration(
            app.config, app.store, authority, app.policies, app.authenticator
        )
        result_of(app.accounts.add_user(SYSTEM, "alice", "a@example.com", Role.USER, AccountState.ACTIVE, PASSWORD))

    def challenge(self) -> str:
        """A new challenge password."""
        return result_of(self.stack.app.challenge_passwords.create(SYSTEM))[1]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    stack = build_core(tmp_path)
    yield Desk(stack)
    stack.close()


def _est(desk: Desk, credentials: Credentials, **how: Any) -> Callable[[], Deferred[Issued | Pending]]:
    body = make_csr(**how)[1]
    return lambda: Deferred.fromCoroutine(desk.registration.est.enroll(ESTEnrollment(credentials, body)))


def est_with_password(desk: Desk) -> Callable[[], Deferred[Issued | Pending]]:
    """EST, HTTP Basic."""
    return _est(desk, Credentials("192.0.2.1", username="alice", password=PASSWORD))


def est_with_challenge(desk: Desk) -> Callable[[], Deferred[Issued | Pending]]:
    """EST, a challenge password."""
    return _est(desk, Credentials("192.0.2.1"), challenge=desk.challenge())


def est_bound(desk: Desk) -> Callable[[], Deferred[Issued | Pending]]:
    """EST, HTTP Basic and a CSR bound to the TLS session."""
    credentials = Credentials(
        "192.0.2.1", username="alice", password=PASSWORD, channel_bindings=lambda: ("binding", "another")
    )
    return _est(desk, credentials, challenge="binding")


def scep(desk: Desk) -> Callable[[], Deferred[Issued | Pending]]:
    """SCEP, with another throw-away certificate in each copy."""
    key = make_key("rsa2048")
    csr = make_csr(key=key, challenge=desk.challenge())[1]
    numbers = iter(range(100))

    def enroll() -> Deferred[Issued | Pending]:
        signer = b"throw-away certificate %d" % next(numbers)
        enrollment = SCEPEnrollment(csr, signer, spki(key), True, False, b"transaction", None, "192.0.2.1")
        return Deferred.fromCoroutine(desk.registration.scep.enroll(enrollment))

    return enroll


def idempotent(desk: Desk) -> Callable[[], Deferred[Issued | Pending]]:
    """REST, an idempotency key."""
    csr = make_csr()[1]
    return lambda: desk.registration.accounts.sign(SYSTEM, csr, Method.API, idempotency_key="k")


WAYS = pytest.mark.parametrize("way", [est_with_password, est_with_challenge, est_bound, scep, idempotent])


@WAYS
def test_one_signature(desk: Desk, way: Callable[[Desk], Callable[[], Deferred[Issued | Pending]]]) -> None:
    """Three copies, of which the first is cancelled: one signature, and the others get its certificate."""
    enroll = way(desk)
    first, second, third = enroll(), enroll(), enroll()
    first.cancel()
    failure_of(first, CancelledError)
    desk.signer.release()
    issued = result_of(second)
    assert isinstance(issued, Issued)
    assert issued.record.serial == desk.signer.signed[0]
    assert result_of(third) == issued
    assert len(desk.signer.signed) == 1
    # The database recognizes a later copy.
    assert result_of(enroll()) == issued


class Late:
    """A store in which a copy that another node takes is not found at first."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._looked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def repeated(self, *arguments: Any) -> Any:
        """Look for a copy."""
        self._looked += 1
        return succeed(None) if self._looked == 1 else self._store.repeated(*arguments)


@pytest.mark.parametrize("way", [est_with_challenge, scep])
def test_another_node_is_quicker(desk: Desk, way: Callable[[Desk], Callable[[], Deferred[Issued | Pending]]]) -> None:
    """HA-1: its copy is recorded between the look for copies and the authentication, and has the challenge password."""
    enroll = way(desk)
    first = enroll()
    desk.signer.release()
    issued = result_of(first)
    app = desk.stack.app
    desk.registration = build_registration(app.config, Late(app.store), app.authority, app.policies, app.authenticator)
    again = result_of(enroll())
    assert isinstance(issued, Issued)
    assert isinstance(again, Issued)
    assert again.record == issued.record


@WAYS
def test_one_failure(desk: Desk, way: Callable[[Desk], Callable[[], Deferred[Issued | Pending]]]) -> None:
    """When the signature is wrong, every copy fails, and the next one is a new request."""
    enroll = way(desk)
    desk.signer.change = lambda certificate: certificate[:-1] + bytes([certificate[-1] ^ 1])
    first, second = enroll(), enroll()
    desk.signer.release()
    failure_of(first, IssuanceFailed)
    failure_of(second, IssuanceFailed)
    desk.signer.change, desk.signer.held = None, None
    assert isinstance(result_of(enroll()), Issued)
    assert len(desk.signer.signed) == 2


def test_without_a_key_each_copy_is_a_request(desk: Desk) -> None:
    """REST without an idempotency key: each copy gets its own certificate."""
    csr = make_csr()[1]
    copies = [desk.registration.accounts.sign(SYSTEM, csr, Method.API) for _ in range(2)]
    desk.signer.release()
    assert len({result_of(one) for one in copies}) == len(desk.signer.signed) == 2
