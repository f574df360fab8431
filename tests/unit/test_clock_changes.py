"""A clock that was ahead and is set back, while the server runs and across a restart: nothing stays in the future."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import LogLevel, capturedLogs

import pytest
from cryptography import x509

from pikachu.auth.rate_limit import FailureLimiter, Quota
from pikachu.ca.issuers import IssuingCA
from pikachu.ca.service_certificates import OCSP, SCEP_RA, Purpose
from pikachu.core.clock import SystemClock, use_monotonic_timers
from pikachu.core.errors import RateLimited, Unavailable
from pikachu.core.model.times import utc
from tests.support.clocks import SteppedClock
from tests.support.deferreds import result_of
from tests.support.stack import Stack, build_core, open_stack
from tests.unit.va.test_ocsp import ask, told

MINUTE, HOUR, DAY = 60, 3600, 86400
AHEAD = {"seconds": 30, "minutes": 600, "hours": 5 * HOUR, "days": 20 * DAY, "months": 200 * DAY}
CASES = [(length, restart) for length in AHEAD for restart in (False, True)]
IDS = [f"{length}, {'restarted' if restart else 'running'}" for length, restart in CASES]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """An EC and an RSA CA below a root; the first CRLs are published."""
    made = build_core(tmp_path / "ca", SteppedClock(), ("p256", "rsa2048"))
    result_of(made.app.publisher.begin())
    yield made
    made.close()


def step(stack: Stack, seconds: float) -> None:
    """Set the clock."""
    clock: Any = stack.clock
    clock.step(seconds)


def go_on(stack: Stack, restart: bool) -> Stack:
    """Let some minutes go by, or restart."""
    if restart:
        again = stack.restart()
        result_of(again.app.publisher.begin())
        return again
    for _ in range(3):
        stack.clock.advance(MINUTE)
    return stack


def crls(stack: Stack) -> list[x509.CertificateRevocationList]:
    """All that is published: DER, PEM, and the copies for brokers."""
    found = []
    for issuer in stack.app.issuers.all():
        der, pem = stack.app.publisher.paths(issuer)
        found.append(x509.load_der_x509_crl(der.read_bytes()))
        found.append(x509.load_pem_x509_crl(pem.read_bytes()))
    # Named ca.crl and ca-NAME.crl; the others' names begin with any hexadecimal digits.
    copies = (stack.files.folder / "crl").glob("ca[.-]*crl")
    found += [x509.load_pem_x509_crl(path.read_bytes()) for path in copies]
    return found


def number(crl: x509.CertificateRevocationList) -> int:
    """cRLNumber."""
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def number_of(stack: Stack, issuer: IssuingCA) -> int:
    """cRLNumber of the CRL in an issuer's file."""
    return number(x509.load_der_x509_crl(stack.app.publisher.paths(issuer)[0].read_bytes()))


@pytest.mark.parametrize(("length", "restart"), CASES, ids=IDS)
def test_no_crl_stays_in_the_future(stack: Stack, length: str, restart: bool) -> None:
    """VA-2: each is published again at once, with a greater number; the log has the reason."""
    step(stack, AHEAD[length])
    for issuer in stack.app.issuers.all():
        result_of(stack.app.publisher.make(issuer))
    numbers = {issuer.id: number_of(stack, issuer) for issuer in stack.app.issuers.all()}
    step(stack, -AHEAD[length])
    with capturedLogs() as events:
        again = go_on(stack, restart)
    now = utc(again.clock.seconds())
    for crl in crls(again):
        assert crl.last_update_utc <= now
        assert crl.next_update_utc is not None
        assert crl.next_update_utc > now
    # Some seconds have gone by before anybody looks.
    if AHEAD[length] > MINUTE or restart:
        for issuer in again.app.issuers.all():
            assert number_of(again, issuer) > numbers[issuer.id]
        errors = [one for one in events if one["log_level"] is LogLevel.error and "clock" in one["log_format"]]
        assert len(errors) == len(numbers)
    # It is said and done once.
    numbers = {issuer.id: number_of(again, issuer) for issuer in again.app.issuers.all()}
    with capturedLogs() as events:
        go_on(again, restart=False)
    assert not [one for one in events if one["log_level"] is LogLevel.error]
    assert numbers == {issuer.id: number_of(again, issuer) for issuer in again.app.issuers.all()}
    if restart:
        again.close()


# Certificates begin five minutes early, and some minutes go by.
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("length", ["hours", "days", "months"])
@pytest.mark.parametrize("purpose", [OCSP, SCEP_RA], ids=lambda purpose: purpose.name)
def test_no_service_certificate_stays_in_the_future(stack: Stack, length: str, restart: bool, purpose: Purpose) -> None:
    """OCSP-2: clients refuse a responder that is not yet valid; the one of the wrong time is replaced."""
    issuer = stack.issuer("ec")
    step(stack, AHEAD[length])
    late = result_of(stack.app.credentials.get(issuer, purpose))
    step(stack, -AHEAD[length])
    again = go_on(stack, restart)
    with capturedLogs() as events:
        early = result_of(again.app.credentials.get(again.issuer("ec"), purpose))
    assert early.signer.certificate != late.signer.certificate
    assert early.is_valid(utc(again.clock.seconds()))
    errors = [one for one in events if one["log_level"] is LogLevel.error]
    assert len(errors) == 1
    assert "clock" in errors[0]["log_format"]
    assert result_of(again.app.credentials.get(again.issuer("ec"), purpose)) is early
    if restart:
        again.close()


@pytest.mark.parametrize("length", AHEAD)
def test_no_ocsp_answer_of_the_future(stack: Stack, length: str) -> None:
    """OCSP-1: neither thisUpdate nor producedAt is ahead, nextUpdate is, and the responder is valid."""
    leaf = stack.issue(days=300)
    for seconds in (0, AHEAD[length], -AHEAD[length], 2 * AHEAD[length], -2 * AHEAD[length]):
        step(stack, seconds)
        now = utc(stack.clock.seconds())
        for _ in range(2):
            answer = told(stack, ask(stack, leaf))
            assert answer.produced_at <= now
            (single,) = answer.singles
            assert single.this_update <= now
            assert single.next_update is not None
            assert single.next_update > now
            assert answer.responder.not_before <= now < answer.responder.not_after
            stack.clock.advance(0.1)


def test_what_was_revoked_stays_on_the_crl(stack: Stack) -> None:
    """RFC 5280 section 3.3: certificates that had expired only by a wrong clock are listed again."""
    short, long, hold = (stack.issue(days=days) for days in (10, 100, 60))
    for leaf in (short, long, hold):
        stack.revoke(leaf)
    stack.clock.advance(1)
    listed = serials(stack)
    assert listed == {short.serial, long.serial, hold.serial}
    step(stack, 80 * DAY)
    for _ in range(3):
        result_of(stack.app.publisher.make(stack.issuer()))
        stack.clock.advance(1)
    assert serials(stack) == {long.serial}
    step(stack, -80 * DAY)
    go_on(stack, restart=False)
    assert serials(stack) == listed
    again = stack.restart()
    result_of(again.app.publisher.begin())
    assert serials(again) == listed
    again.close()


def serials(stack: Stack) -> set[int]:
    """Return the serial numbers on the default CA's CRL."""
    der_path, _ = stack.app.publisher.paths(stack.issuer())
    return {one.serial_number for one in x509.load_der_x509_crl(der_path.read_bytes())}


def test_a_crl_of_another_node_whose_clock_is_ahead(stack: Stack) -> None:
    """HA-1: it lies in the common folder; one that is in force takes its place, with a greater number."""
    other_clock = SteppedClock()
    other_clock.step(3 * HOUR)
    other = open_stack(stack.files, other_clock, process="other")
    late = result_of(other.app.publisher.make(other.issuer()))
    go_on(stack, restart=False)
    found = result_of_current(stack)
    assert found.number > late.number
    assert found.this_update <= utc(stack.clock.seconds())
    other.close()


def result_of_current(stack: Stack) -> Any:
    """The CRL that clients get."""
    return result_of(Deferred.fromCoroutine(stack.app.publisher.current(stack.issuer())))


def test_a_crl_file_that_is_gone_is_written_again(stack: Stack) -> None:
    der, pem = stack.app.publisher.paths(stack.issuer())
    before = number_of(stack, stack.issuer())
    der.unlink()
    go_on(stack, restart=False)
    assert number_of(stack, stack.issuer()) > before
    assert pem.exists()


def test_a_clock_behind_the_ca_itself(stack: Stack) -> None:
    """By years: no certificate can begin before its issuer, nor end before it begins, so none is made."""
    before = result_of(stack.app.credentials.get(stack.issuer(), OCSP))
    years = stack.clock.seconds() - stack.issuer().certificate.not_before.timestamp() + 900 * DAY
    step(stack, -years)
    for _ in range(3):
        with pytest.raises(Unavailable, match="Check this machine's clock"):
            result_of(stack.app.credentials.get(stack.issuer(), OCSP))
    go_on(stack, restart=False)
    step(stack, years)
    assert result_of(stack.app.credentials.get(stack.issuer(), OCSP)).signer.certificate == before.signer.certificate
    for crl in crls(stack):
        assert crl.last_update_utc <= utc(stack.clock.seconds())


@pytest.mark.parametrize("length", [30 * MINUTE, 30 * DAY, 900 * DAY])
def test_locks_and_quotas_end(length: float) -> None:
    """A lock lasts at most 15 minutes, whatever the clock does."""
    clock = SteppedClock()
    limiter, quota = FailureLimiter(clock, 3), Quota(clock, 1, 3600.0)
    clock.step(length)
    for _ in range(3):
        limiter.failed("account")
    quota.take("address")
    with pytest.raises(RateLimited):
        limiter.check("account")
    clock.step(-length)
    limiter.check("account")
    quota.take("address")
    for _ in range(3):
        limiter.failed("account")
    with pytest.raises(RateLimited) as caught:
        limiter.check("account")
    assert caught.value.retry_after <= 60


def test_timers_do_not_follow_the_clock() -> None:
    """A delay is counted by the monotonic clock, a date by the wall clock."""
    reactor = SelectReactor()
    try:
        use_monotonic_timers(reactor)
        clock = SystemClock(reactor)
        call: Any = clock.callLater(100, lambda: None)
        assert abs(call.getTime() - 100 - time.monotonic()) < 50
        assert abs(clock.seconds() - time.time()) < 50
        # Who comes too late changes nothing: the waiting call would never be made.
        counted = reactor.seconds
        use_monotonic_timers(reactor)
        assert reactor.seconds is counted
        call.cancel()
    finally:
        reactor.removeAll()
        reactor.fireSystemEvent("shutdown")
        for reader in (reactor.waker,):
            reader.connectionLost(None)
