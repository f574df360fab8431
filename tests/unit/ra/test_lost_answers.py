"""A challenge password is good for one certificate, also when the database fails (EST-4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

import pytest

from pikachu.ca.issuance import CertificateAuthority
from pikachu.core.errors import StoreUnavailable, Unavailable
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import SYSTEM, Credentials
from pikachu.ra.enrollment import Issued, Pending
from pikachu.ra.est import ESTEnrollment
from pikachu.server.registration import build_registration
from tests.support.deferreds import failure_of, result_of
from tests.support.faults import FaultyStore
from tests.support.pki import make_csr
from tests.support.stack import Stack, build_core


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(("step", "after"), [("begin", True), ("complete", False), ("complete", True)])
def test_the_repetition_of_a_request_whose_answer_was_lost(stack: Stack, step: str, after: bool) -> None:
    """The device sends the same bytes again; its challenge password is held by its own first try."""
    app = stack.app
    store: Any = FaultyStore(app.store)
    authority = CertificateAuthority(stack.clock, store, app.issuers, "server:test")
    est = build_registration(app.config, store, authority, app.policies, app.authenticator).est
    _, text = result_of(app.challenge_passwords.create(SYSTEM))
    _, body = make_csr(challenge=text)

    def enroll() -> Deferred[Issued | Pending]:
        return Deferred.fromCoroutine(est.enroll(ESTEnrollment(Credentials("192.0.2.1"), body)))

    store.failing[step] = 1
    store.after = after
    failure_of(enroll(), StoreUnavailable)
    store.after = False
    issued = result_of(enroll())
    assert isinstance(issued, Issued)
    assert result_of(enroll()) == issued
    assert issued.record.method is Method.EST


@pytest.mark.parametrize("is_alive", [True, False])
def test_the_repetition_goes_to_another_node(stack: Stack, is_alive: bool) -> None:
    """HA-1: it is signed at once where the first node lives no more, and never while it does."""
    app = stack.app
    first, second = (app.store.register_node("one name", app.authority.now()) for _ in range(2))
    app.store.hold_node(first if is_alive else second)
    faulty: Any = FaultyStore(app.store)
    _, text = result_of(app.challenge_passwords.create(SYSTEM))
    _, body = make_csr(challenge=text)

    def enroll(store: Any, process: str) -> Deferred[Issued | Pending]:
        authority = CertificateAuthority(stack.clock, store, app.issuers, process)
        registration = build_registration(app.config, store, authority, app.policies, app.authenticator)
        return Deferred.fromCoroutine(registration.est.enroll(ESTEnrollment(Credentials("192.0.2.1"), body)))

    faulty.failing["complete"] = 1
    failure_of(enroll(faulty, first.process), StoreUnavailable)
    if is_alive:
        stack.clock.advance(120)
        failure_of(enroll(app.store, second.process), Unavailable)
    else:
        assert isinstance(result_of(enroll(app.store, second.process)), Issued)


class _WaitingStore:
    """A store that delays the start of ``complete`` and the result of ``repeated``.

    :ivar held: callables that release the delayed operations.
    :ivar late: whether the results of ``repeated`` are delayed, too.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.held: list[Deferred[None]] = []
        self.late = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def complete(self, *arguments: Any, **options: Any) -> Deferred[Any]:
        """Complete the request when released."""
        gate: Deferred[None] = Deferred()
        self.held.append(gate)
        return gate.addCallback(lambda _: self._store.complete(*arguments, **options))

    def repeated(self, *arguments: Any) -> Deferred[Any]:
        """Read now, and return the result when released."""
        read: Deferred[Any] = self._store.repeated(*arguments)
        if not self.late:
            return read
        self.late = False
        gate: Deferred[None] = Deferred()
        self.held.append(gate)
        return gate.addCallback(lambda _: read)


def test_a_repetition_while_the_first_is_signed(stack: Stack) -> None:
    """API-2: it waits for the certificate of the first, and is not turned away."""
    app = stack.app
    store: Any = _WaitingStore(app.store)
    authority = CertificateAuthority(stack.clock, store, app.issuers, "server:test")
    registration = build_registration(app.config, store, authority, app.policies, app.authenticator).accounts
    _, csr = make_csr()

    def sign() -> Deferred[Issued | Pending]:
        return registration.sign(SYSTEM, csr, Method.API, idempotency_key="k")

    first, second = sign(), sign()
    assert len(store.held) == 1
    assert not first.called
    assert not second.called
    store.held[0].callback(None)
    assert result_of(second) == result_of(first)


def test_a_repetition_that_reads_just_before_the_first_ends(stack: Stack) -> None:
    """API-2: the copy comes after a restart, and the state that it has read of the first is out of date by the time
    it uses it; it gets the certificate of the first.
    """
    app = stack.app
    store: Any = _WaitingStore(app.store)
    _, csr = make_csr()

    def sign() -> Deferred[Issued | Pending]:
        authority = CertificateAuthority(stack.clock, store, app.issuers, "server:test")
        registration = build_registration(app.config, store, authority, app.policies, app.authenticator).accounts
        return registration.sign(SYSTEM, csr, Method.API, idempotency_key="k")

    first = sign()
    store.late = True
    second = sign()
    completing, reading = store.held
    completing.callback(None)
    issued = result_of(first)
    reading.callback(None)
    assert result_of(second) == issued
