"""Faults at each step of issuance: nothing is signed without an intent, nothing acknowledged is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred

import pytest

from pikachu.ca.issuance import CertificateAuthority, IssuanceRequest
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.errors import (
    IssuanceFailed,
    PolicyViolation,
    SignerUnavailable,
    StoreUnavailable,
    Unavailable,
    UnknownSerial,
)
from pikachu.core.model.certificates import CertificateRecord, Method, RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.requests import NewRequest
from pikachu.core.model.times import utc
from pikachu.x509 import der
from pikachu.x509.certificate import (
    ANY_EXTENDED_KEY_USAGE,
    BASIC_CONSTRAINTS,
    CLIENT_AUTH,
    EXTENDED_KEY_USAGE,
    OCSP_SIGNING,
    SERVER_AUTH,
    parse_certificate,
)
from pikachu.x509.extension import Extension
from pikachu.x509.names import COMMON_NAME, build_name, parse_name
from pikachu.x509.profile import leaf_extensions
from pikachu.x509.spki import describe_spki
from tests.support.deferreds import failure_of, result_of
from tests.support.faults import FaultySigner, FaultyStore
from tests.support.pki import make_ca, make_key, spki
from tests.support.stack import Stack, build_core


class Bench:
    """An authority over a store and a signer that can be made to fail."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        real = stack.app.issuers.default
        self.signer = FaultySigner(real.signer)
        self.issuer = IssuingCA(real.record, self.signer)
        self.store = FaultyStore(stack.app.store)
        self.authority = CertificateAuthority(
            stack.clock, self.store, IssuingCAs("ec", {"ec": self.issuer}), "server:test"
        )
        described = describe_spki(spki(make_key("p256", 1)))
        subject = parse_name(build_name([(COMMON_NAME, "device.example.com")]))
        policy = stack.app.policies.default
        extensions = leaf_extensions(
            policy=(),
            requested_names=None,
            subject_der=subject.der,
            key=described,
            issuer=self.issuer.certificate,
            addresses=None,
        )
        self.order = IssuanceRequest(
            issuer=self.issuer,
            policy=policy,
            subject=subject,
            key=described,
            extensions=extensions,
            days=30,
            csr=b"csr",
        )
        self.challenge, self.text = result_of(stack.app.challenge_passwords.create(SYSTEM))

    def request(self) -> NewRequest:
        """The same each time, so that each try is a repetition of the first."""
        return NewRequest(
            method=Method.EST,
            csr=b"csr",
            subject=self.order.subject.text,
            key_type=self.order.key.text,
            key_id=self.order.key.key_id,
            policy=self.order.policy.name,
            issuer="ec",
            principal="test",
            owner_id=None,
            created_at=self.authority.now(),
            dedupe=b"d" * 32,
            dedupe_seconds=600,
            challenge_id=self.challenge.id,
        )

    def issue(self) -> Deferred[CertificateRecord]:
        """One try."""
        return self.authority.issue(self.request(), self.order, {})

    def known(self, serial: int) -> bool:
        """Whether an operator can revoke it, so that it is not unknown."""
        try:
            result_of(self.stack.app.authority.revoke(serial, RevocationReason.UNSPECIFIED, SYSTEM))
        except UnknownSerial:
            return False
        return True

    def issued(self) -> list[CertificateRecord]:
        """The certificates of devices."""
        page = result_of(self.stack.app.store.certificates(ListQuery(limit=100), utc(self.stack.clock.seconds())))
        return [record for record in page.items if record.method is not Method.CA]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A fresh one."""
    stack = build_core(tmp_path)
    yield Bench(stack)
    stack.close()


def test_a_failed_begin_signs_nothing(bench: Bench) -> None:
    """Steps 4 and 6: without a stored intent there is no signature; the challenge password stays available."""
    bench.store.failing["begin"] = 1
    failure_of(bench.issue(), StoreUnavailable)
    assert bench.signer.signed == []
    record = result_of(bench.issue())
    assert result_of(bench.stack.app.store.challenge(bench.challenge.id)).consumed_serial == record.serial


def test_a_lost_begin_is_found_again(bench: Bench) -> None:
    """The intent was stored though the answer was lost: the repetition gives it up and issues once."""
    bench.store.failing["begin"] = 1
    bench.store.after = True
    failure_of(bench.issue(), StoreUnavailable)
    assert bench.signer.signed == []
    bench.store.after = False
    result_of(bench.issue())
    assert len(bench.issued()) == 1


def test_a_failed_signature_frees_everything(bench: Bench) -> None:
    """Step 7: the request may be repeated with the same challenge password."""
    bench.signer.error = SignerUnavailable("the key does not answer")
    failure_of(bench.issue(), SignerUnavailable)
    assert bench.issued() == []
    assert result_of(bench.stack.app.store.challenge(bench.challenge.id)).reserved_by is None
    result_of(bench.issue())


def _flip_signature(certificate: bytes) -> bytes:
    return certificate[:-1] + bytes((certificate[-1] ^ 1,))


def _flip_content(certificate: bytes) -> bytes:
    at = certificate.index(b"device.example.com")
    return certificate[:at] + b"X" + certificate[at + 1 :]


@pytest.mark.parametrize("change", [_flip_signature, _flip_content])
def test_a_wrong_certificate_is_not_handed_out(bench: Bench, change: object) -> None:
    """Step 8: a certificate that does not verify or differs from the intent is not issued; its serial stays known."""
    bench.signer.change = change  # type: ignore[assignment]
    failure_of(bench.issue(), IssuanceFailed)
    assert bench.issued() == []
    assert bench.known(bench.signer.signed[0])
    bench.signer.change = None
    result_of(bench.issue())


def test_a_failed_store_keeps_the_intent(bench: Bench) -> None:
    """Step 9: the signed certificate was handed to nobody; its serial is known and can be revoked; a repetition
    gets another certificate, and the challenge password is consumed once."""
    bench.store.failing["complete"] = 1
    failure_of(bench.issue(), StoreUnavailable)
    assert bench.issued() == []
    lost = bench.signer.signed[0]
    record = result_of(bench.issue())
    assert record.serial != lost
    assert bench.known(lost)
    assert [one.serial for one in bench.issued()] == [record.serial]


def test_a_lost_completion_gives_the_same_certificate(bench: Bench) -> None:
    """The commit was done though its answer was lost: the repetition gets that very certificate."""
    bench.store.failing["complete"] = 1
    bench.store.after = True
    failure_of(bench.issue(), StoreUnavailable)
    bench.store.after = False
    record = result_of(bench.issue())
    assert [record.serial] == bench.signer.signed == [one.serial for one in bench.issued()]


def test_a_client_that_vanishes_stops_nothing(bench: Bench) -> None:
    """Cancelled while the signature is made: the certificate is stored all the same, and found by a repetition."""
    bench.signer.held = []
    waiting = bench.issue()
    assert bench.signer.signed
    waiting.cancel()
    failure_of(waiting, CancelledError)
    bench.signer.release()
    bench.signer.held = None
    (stored,) = bench.issued()
    assert result_of(bench.issue()).serial == stored.serial == bench.signer.signed[0]
    assert len(bench.signer.signed) == 1


def test_a_crash_leaves_a_known_intent(bench: Bench) -> None:
    """A process that dies between signature and commit: the next start lists the intent, gives it up, and its
    serial can be revoked; the request may be repeated."""
    bench.signer.held = []
    bench.issue()
    lost = bench.signer.signed[0]
    orphans = result_of(Deferred.fromCoroutine(bench.authority.give_up_orphans()))
    assert [orphan.serial for orphan in orphans] == [lost]
    assert bench.known(lost)
    assert result_of(Deferred.fromCoroutine(bench.authority.give_up_orphans())) == []
    bench.signer.held = None
    restarted = CertificateAuthority(bench.stack.clock, bench.store, bench.authority.issuers, "server:test")
    again = result_of(restarted.issue(bench.request(), bench.order, {}))
    assert again.serial != lost


def test_what_was_intended_is_what_was_signed(bench: Bench) -> None:
    """The certificate's content is the stored intent's, inside the CA's validity, and names the serial once."""
    record = result_of(bench.issue())
    parsed = parse_certificate(record.der)
    assert parsed.serial == record.serial
    assert parsed.issuer_der == bench.issuer.certificate.subject_der
    assert parsed.not_after <= bench.issuer.certificate.not_after
    assert isinstance(record, CertificateRecord)


def test_a_failure_that_can_not_be_stored_hides_nothing(bench: Bench) -> None:
    """Step 7 and the database fail together: the error names the first cause, and a repetition is issued."""
    bench.signer.error = SignerUnavailable("the key does not answer")
    bench.store.failing["fail"] = 1
    failure_of(bench.issue(), SignerUnavailable)
    result_of(bench.issue())
    assert len(bench.issued()) == 1


def test_an_unexpected_fault_of_the_signer_frees_everything(bench: Bench) -> None:
    bench.signer.error = RuntimeError("nobody thought of this")  # type: ignore[assignment]
    failure_of(bench.issue(), RuntimeError)
    assert result_of(bench.stack.app.store.challenge(bench.challenge.id)).reserved_by is None


def test_what_is_no_certificate_is_no_fault_of_the_client(bench: Bench) -> None:
    bench.signer.change = lambda certificate: certificate[:-1]
    failure_of(bench.issue(), IssuanceFailed)


def test_what_is_being_signed_here_is_not_given_up(bench: Bench) -> None:
    """A repetition that comes in another way, such as that of a request which was approved just now, waits."""
    bench.signer.held = []
    first = bench.issue()
    orphan = result_of(bench.stack.app.store.repeated(b"d" * 32, bench.authority.now()))
    assert orphan is not None
    failure_of(Deferred.fromCoroutine(bench.authority.give_up_stale(orphan.request)), Unavailable)
    bench.signer.release()
    result_of(first)


@pytest.mark.parametrize(
    ("limits", "purposes", "permitted"),
    [
        ((CLIENT_AUTH,), (CLIENT_AUTH,), True),
        ((CLIENT_AUTH,), (SERVER_AUTH,), False),
        ((CLIENT_AUTH,), (CLIENT_AUTH, SERVER_AUTH), False),
        ((CLIENT_AUTH,), (), True),
        ((CLIENT_AUTH,), (ANY_EXTENDED_KEY_USAGE,), True),
        ((CLIENT_AUTH,), (OCSP_SIGNING,), True),
        ((CLIENT_AUTH, SERVER_AUTH), (CLIENT_AUTH, SERVER_AUTH), True),
        ((ANY_EXTENDED_KEY_USAGE,), (SERVER_AUTH,), True),
        ((CLIENT_AUTH,), ("1.2.3.4",), False),
    ],
)
@pytest.mark.parametrize("above", [False, True])
def test_purposes_of_the_chain(
    bench: Bench, limits: tuple[str, ...], purposes: tuple[str, ...], permitted: bool, above: bool
) -> None:
    """An issuing CA, or one above it, with an extendedKeyUsage certifies for no other purpose."""
    limited = make_ca(purposes=limits).der
    bench.issuer.replace_chain((bench.issuer.chain[0], limited) if above else (limited, bench.issuer.chain[0]))
    usage = Extension(EXTENDED_KEY_USAGE, False, der.sequence(*map(der.oid, purposes)))
    others = tuple(one for one in bench.order.extensions if one.oid != EXTENDED_KEY_USAGE)
    bench.order = replace(bench.order, extensions=(*others, usage) if purposes else others)
    if permitted:
        result_of(bench.issue())
    else:
        assert "extendedKeyUsage of the CA" in failure_of(bench.issue(), PolicyViolation).public
        assert bench.store.calls == []


@pytest.mark.parametrize("ending", ["issuing CA", "CA above"])
def test_nothing_outlives_its_chain(bench: Bench, ending: str) -> None:
    """A validity that is asked for is refused, one of the policy shortened, whichever CA of the chain ends first."""
    ends = bench.authority.now() + timedelta(days=10)
    short, long = make_ca(not_after=ends).der, make_ca().der
    bench.issuer.replace_chain((short, long) if ending == "issuing CA" else (long, short, long))
    bench.order = replace(bench.order, days=30, explicit=True)
    refusal = failure_of(bench.issue(), PolicyViolation).public
    assert f"ends on {ends:%Y-%m-%d}; ask for at most 10 days" in refusal
    assert bench.store.calls == []
    bench.order = replace(bench.order, explicit=False)
    assert result_of(bench.issue()).not_after == ends


def test_a_constrained_ca_prepares_nothing_outside(bench: Bench) -> None:
    """A certificate outside the CA's constraints is refused before anything is stored or signed."""
    root = make_ca(name="Root", path_length=0)
    bench.issuer.replace_chain((*bench.issuer.chain[:1], root.der))
    authority = Extension(BASIC_CONSTRAINTS, True, der.sequence(der.boolean(True)))
    bench.order = replace(bench.order, extensions=(authority,))
    failure_of(bench.issue(), PolicyViolation)
    assert bench.store.calls == []
