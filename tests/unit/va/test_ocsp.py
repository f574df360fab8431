"""The OCSP responder and the status of certificates (OCSP-2, OCSP-3, CRT-8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

import pytest

from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.ca.service_certificates import OCSP, ServiceCertificates
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import IssuanceFailed, MalformedRequest, NotAuthorized, SignerUnavailable, StoreUnavailable
from pikachu.core.interfaces import ToBeSigned
from pikachu.core.model.certificates import CertificateStatus, RevocationReason, StatusRecord
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.times import utc
from pikachu.protocols.ocsp.messages import decode_request
from pikachu.signers.key import KeySigner
from pikachu.va.ocsp import OCSPAnswer, OCSPResponder, OCSPSettings
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.keys import load_private_key
from pikachu.x509.ocsp import SHA1, SHA256, CertID
from tests.support import ocsp
from tests.support.deferreds import failure_of, result_of
from tests.support.pki import Identity, make_ca
from tests.support.stack import Leaf, Stack, build_core, open_stack

DAY = 86400


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """An EC CA."""
    made = build_core(tmp_path / "ca")
    yield made
    made.close()


def ids(stack: Stack, *leaves: Leaf | int, algorithm: str = SHA1, null: bool = True) -> tuple[CertID, ...]:
    """CertIDs as a request would give them."""
    ca = stack.issuer().certificate
    serials = [leaf if isinstance(leaf, int) else leaf.serial for leaf in leaves]
    asked = [ocsp.cert_id(ca, serial, algorithm, null=null) for serial in serials]
    return decode_request(ocsp.request(*asked)).cert_ids


def ask(stack: Stack, *leaves: Leaf | int, nonce: bytes | None = None, algorithm: str = SHA1) -> OCSPAnswer:
    """An answer of the responder."""
    return result_of(stack.app.responder.answer(ids(stack, *leaves, algorithm=algorithm), nonce))


def told(stack: Stack, answer: OCSPAnswer) -> ocsp.Answer:
    """Verify an answer and return its content."""
    return ocsp.verify(answer.der, stack.issuer().certificate, utc(stack.clock.seconds()))


def status(stack: Stack, leaf: Leaf | int) -> str:
    """good, revoked or unknown."""
    return told(stack, ask(stack, leaf)).status


class _Reader:
    """A store whose answers about status come when they are let go."""

    def __init__(self, stack: Stack) -> None:
        self.store = stack.app.store
        self.held: list[tuple[Deferred[StatusRecord | None], StatusRecord | None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def status(self, issuer_id: int, serial: int) -> Deferred[StatusRecord | None]:
        answer: Deferred[StatusRecord | None] = Deferred()
        self.held.append((answer, result_of(self.store.status(issuer_id, serial))))
        return answer

    def let_go(self) -> None:
        held, self.held = self.held, []
        for answer, record in held:
            answer.callback(record)


class _Signer(KeySigner):
    """A key that fails on demand, or signs when released."""

    broken = False
    held: list[Callable[[], object]] | None = None

    def sign(self, data: bytes) -> Deferred[bytes]:
        if self.broken:
            failed: Deferred[bytes] = Deferred()
            failed.errback(SignerUnavailable("the key is locked"))
            return failed
        if self.held is None:
            return super().sign(data)
        later: Deferred[bytes] = Deferred()
        self.held.append(lambda: super(_Signer, self).sign(data).chainDeferred(later))
        return later

    def sign_certificate(self, to_be_signed: ToBeSigned) -> Deferred[bytes]:
        if self.broken:
            failed: Deferred[bytes] = Deferred()
            failed.errback(SignerUnavailable("the key is locked"))
            return failed
        return super().sign_certificate(to_be_signed)

    def try_sign(self, data: bytes) -> bytes | None:
        return None


def signer_of(stack: Stack, identity: Identity) -> _Signer:
    """A signer with the key of *identity*."""
    chain = (identity.der, *(() if identity.issuer is None else (identity.issuer.der,)))
    return _Signer(load_private_key(identity.key_pem, None), identity.der, chain, ImmediatePool())


def replace_signer(stack: Stack) -> _Signer:
    """Give the default CA a signer that tests can disturb."""
    signer = signer_of(stack, stack.files.issuers["ec"])
    stack.issuer().signer = signer
    return signer


# --- a change of status ------------------------------------------------------------------


def test_a_revocation_shows_before_it_is_reported(stack: Stack) -> None:
    """A cached "good" is dropped before the revocation is reported as done."""
    leaf = stack.issue()
    good = ask(stack, leaf)
    assert ask(stack, leaf) is good
    seen: list[tuple[bool, str]] = []

    def when_done(record: object) -> None:
        seen.append((good.dropped, status(stack, leaf)))

    result_of(stack.app.authority.revoke(leaf.serial, RevocationReason.UNSPECIFIED, SYSTEM).addCallback(when_done))
    assert seen == [(True, "revoked")]


def test_every_spelling_of_a_question_is_forgotten(stack: Stack) -> None:
    """Answers are kept by CertID, and all of one serial go together."""
    leaf, other = stack.issue(), stack.issue()
    kept = [ask(stack, leaf), ask(stack, leaf, algorithm=SHA256)]
    spared = ask(stack, other)
    stack.revoke(leaf)
    assert [answer.dropped for answer in kept] == [True, True]
    assert ask(stack, other) is spared
    assert told(stack, ask(stack, leaf, algorithm=SHA256)).status == "revoked"


def test_hold_and_release(stack: Stack) -> None:
    """RFC 5280 section 5.3.1: a hold is a revocation until it is released."""
    leaf = stack.issue()
    stack.revoke(leaf, RevocationReason.CERTIFICATE_HOLD)
    assert status(stack, leaf) == "revoked"
    stack.release(leaf)
    assert status(stack, leaf) == "good"


def test_a_revocation_while_the_status_is_read(stack: Stack) -> None:
    """The reader saw the certificate before the revocation was committed, and answers after it."""
    reader = _Reader(stack)
    responder = OCSPResponder(
        stack.clock,
        reader,
        stack.app.issuers,
        stack.app.credentials,
        OCSPSettings(),
    )
    stack.app.store.subscribe(responder.forget)
    leaf = stack.issue()
    answers: list[OCSPAnswer] = []
    responder.answer(ids(stack, leaf), None).addCallback(answers.append)
    assert len(reader.held) == 1
    stack.revoke(leaf)
    reader.let_go()
    assert not answers, "it has to look again"
    reader.let_go()
    assert told(stack, answers[0]).status == "revoked"
    assert responder.cached_answer(ids(stack, leaf), None) is answers[0]


def test_a_revocation_while_the_answer_is_signed(stack: Stack) -> None:
    """A revocation during signing discards the "good" response that was being signed."""
    stack.close()
    changes = {("OCSP", "ocsp_delegated"): "false"}
    other = build_core(stack.files.folder.parent / "other", changes=changes)
    signer = replace_signer(other)
    leaf = other.issue()
    signer.held = []
    answers: list[OCSPAnswer] = []
    for nonce in (None, b"n" * 16):
        other.app.responder.answer(ids(other, leaf), nonce).addCallback(answers.append)
    other.revoke(leaf)
    while signer.held:
        signer.held.pop(0)()
    assert [told(other, answer).status for answer in answers] == ["revoked", "revoked"]
    other.close()


def test_another_process_revokes(stack: Stack) -> None:
    """Its changes come through the log of the database."""
    leaf = stack.issue()
    seen = stack.app.store.latest_change()
    assert status(stack, leaf) == "good"
    other = open_stack(stack.files, stack.clock, process="other")
    other.revoke(leaf)
    other.close()
    changes = result_of(stack.app.store.changes_since(seen))
    assert [change.serial for change in changes] == [leaf.serial]
    stack.app.responder.forget(changes)
    assert status(stack, leaf) == "revoked"


# --- what is kept ------------------------------------------------------------------------


def test_unknown_serials_take_no_memory(stack: Stack) -> None:
    """10,000 of them are answered, none is kept; one that is issued later is good at once."""
    responder = stack.app.responder
    leaf = stack.issue()
    ask(stack, leaf)
    before = responder.cache_usage
    for serial in range(1 << 64, (1 << 64) + 10_000):
        result_of(responder.answer(ids(stack, serial), None))
    assert responder.cache_usage == before
    assert len(responder._statuses) == 1
    assert not responder._queries


def test_answers_are_bounded_in_octets(stack: Stack) -> None:
    """OCSP-3: the oldest go first."""
    stack.close()
    other = build_core(stack.files.folder.parent / "other", changes={("OCSP", "cache_size"): "20K"})
    leaves = [other.issue() for _ in range(40)]
    answers = [ask(other, leaf) for leaf in leaves]
    number, octets = other.app.responder.cache_usage
    assert 5 < number < 30
    assert octets <= 20 * 1024
    assert answers[0].dropped
    assert ask(other, leaves[-1]) is answers[-1]
    assert ask(other, leaves[0]) is not answers[0]
    other.close()


def test_nothing_is_kept_where_there_is_no_memory_for_it(stack: Stack) -> None:
    """``cache_size = 0``."""
    stack.close()
    other = build_core(stack.files.folder.parent / "other", changes={("OCSP", "cache_size"): "0"})
    leaf = other.issue()
    assert status(other, leaf) == "good"
    assert other.app.responder.cache_usage == (0, 0)
    other.close()


def test_answers_with_a_nonce_are_not_kept(stack: Stack) -> None:
    """A response with a nonce is signed for each request."""
    leaf = stack.issue()
    first = ask(stack, leaf, nonce=b"n" * 16)
    assert not first.cacheable
    assert stack.app.responder.cache_usage[0] == 0
    assert told(stack, first).nonce == b"n" * 16


def test_an_answer_is_renewed_when_half_of_its_time_is_over(stack: Stack) -> None:
    """And its dates fit the clock."""
    leaf = stack.issue()
    first = ask(stack, leaf)
    now = utc(stack.clock.seconds())
    assert first.next_update - now == timedelta(days=7)
    assert now - first.this_update == timedelta(minutes=5)
    stack.clock.advance(3 * DAY)
    assert ask(stack, leaf) is first
    stack.clock.advance(DAY)
    second = ask(stack, leaf)
    assert second is not first
    assert told(stack, second).produced_at == utc(stack.clock.seconds())


def test_a_clock_that_is_set_back(stack: Stack) -> None:
    """A cached response from the future is not served."""
    leaf = stack.issue()
    ask(stack, leaf)
    stack.clock.advance(4 * DAY)
    late = ask(stack, leaf)
    stack.clock.rightNow -= DAY
    early = ask(stack, leaf)
    assert told(stack, early).singles[0].this_update < late.this_update
    stack.clock.advance(2 * DAY)
    assert status(stack, leaf) == "good"


# --- who signs ---------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", ["p256", "rsa2048", "mldsa65"])
def test_the_delegated_responder(tmp_path: Path, key_type: str) -> None:
    """OCSP-2: of the issuer's family, issued by it, kept over a restart, sealed."""
    stack = build_core(tmp_path / "ca", key_types=[key_type])
    result_of(stack.app.responder.prepare())
    first = result_of(stack.app.credentials.get(stack.issuer(), OCSP))
    certificate = parse_certificate(first.signer.certificate)
    assert first.key.text in {"EC/prime256v1", "RSA/2048", "PQC/mldsa44"}
    assert certificate.not_after - utc(stack.clock.seconds()) <= timedelta(days=31)
    assert certificate.extension("1.3.6.1.5.5.7.1.1") is None
    stored = (stack.files.folder / "pikachu.sqlite-wal").read_bytes()
    assert b"PRIVATE KEY" not in stored
    again = stack.restart()
    second = result_of(again.app.credentials.get(again.issuer(), OCSP))
    assert second.signer.certificate == first.signer.certificate
    again.close()


def test_the_issuing_key_answers_where_that_is_set(stack: Stack) -> None:
    """OCSP-2: then no certificate is in the answer."""
    stack.close()
    other = build_core(stack.files.folder.parent / "other", changes={("OCSP", "ocsp_delegated"): "false"})
    answer = told(other, ask(other, other.issue()))
    assert answer.responder.der == other.issuer().certificate.der
    other.close()


def test_the_responder_is_renewed_in_time(stack: Stack) -> None:
    """And no answer outlives the responder that signed it."""
    leaf = stack.issue(days=300)
    responders = set()
    for _ in range(60):
        answer = told(stack, ask(stack, leaf))
        assert answer.singles[0].next_update <= answer.responder.not_after
        assert answer.responder.not_after - utc(stack.clock.seconds()) >= timedelta(days=7)
        responders.add(answer.responder.der)
        stack.clock.advance(DAY)
    assert 3 <= len(responders) <= 5


def test_a_renewal_that_fails(stack: Stack) -> None:
    """The old responder answers on to its end, without a new try at each request; then nothing is signed."""
    leaf = stack.issue(days=300)
    old = told(stack, ask(stack, leaf)).responder.der
    signer = replace_signer(stack)
    signer.broken = True
    stack.clock.advance(20 * DAY)
    requests = result_of(stack.app.store.orphans(None, utc(stack.clock.seconds())))
    with capturedLogs() as logs:
        for number in range(20):
            answer = told(stack, ask(stack, leaf, nonce=b"%016d" % number))
            assert answer.responder.der == old
    assert len([event for event in logs if "was not renewed" in str(event.get("log_format"))]) == 1
    assert requests == []
    stack.clock.advance(9 * DAY)
    answer = told(stack, ask(stack, leaf))
    assert answer.singles[0].next_update == answer.responder.not_after
    stack.clock.advance(2 * DAY)
    failure_of(stack.app.responder.answer(ids(stack, leaf), None), SignerUnavailable)
    assert stack.app.responder.cached_answer(ids(stack, leaf), None) is None
    signer.broken = False
    assert told(stack, ask(stack, leaf)).responder.der != old


def test_many_ask_while_the_responder_is_made(stack: Stack) -> None:
    """One is made for all of them."""

    class Later:
        """A pool whose work is done when the test says so."""

        def __init__(self) -> None:
            self.work: list[Callable[[], None]] = []

        def run(self, work: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
            result: Deferred[Any] = Deferred()
            self.work.append(lambda: result.callback(work(*args, **kwargs)))
            return result

    pool = Later()
    app = stack.app
    credentials = ServiceCertificates(app.store, app.authority, app.sealer, pool)
    found: list[Any] = []
    for _ in range(5):
        credentials.get(stack.issuer(), OCSP).addCallback(found.append)
    assert len(pool.work) == 1
    pool.work.pop()()
    assert len(found) == 5
    assert all(one is found[0] for one in found)


def test_a_key_that_was_rolled_over(stack: Stack) -> None:
    """One name, two keys: each certificate is answered for by its own CA's responder."""
    old = stack.issuer()
    before = stack.issue()
    root = stack.files.root
    identity = make_ca("p256", "Test ec CA", issuer=root, path_length=0)
    record = stack.app.store.register_issuer("ec", identity.key_identifier, identity.der, utc(stack.clock.seconds()))
    new = IssuingCA(record, signer_of(stack, identity))
    stack.app.issuers.switch_to(new)
    after = stack.issue()
    assert old.certificate.subject_der == new.certificate.subject_der
    now = utc(stack.clock.seconds())
    for issuer, leaf, stranger in ((old, before, after), (new, after, before)):
        for serial, expected in ((leaf.serial, "good"), (stranger.serial, "unknown")):
            asked = decode_request(ocsp.request(ocsp.cert_id(issuer.certificate, serial))).cert_ids
            answer = result_of(stack.app.responder.answer(asked, None))
            assert ocsp.verify(answer.der, issuer.certificate, now).status == expected


def test_two_cas_with_one_name(tmp_path: Path) -> None:
    """CertIDs of both are distinguished by the hash of the key."""
    stack = build_core(tmp_path / "ca")
    other = make_ca("rsa2048", "Test ec CA", issuer=stack.files.root, path_length=0, slot=20)
    record = stack.app.store.register_issuer("rsa", other.key_identifier, other.der, utc(stack.clock.seconds()))
    twin = IssuingCA(record, signer_of(stack, other))
    issuers: IssuingCAs = stack.app.issuers
    issuers.add_other(twin)
    stack.app.responder.refresh_issuers()
    leaf = stack.issue()
    now = utc(stack.clock.seconds())
    asked = decode_request(ocsp.request(ocsp.cert_id(twin.certificate, leaf.serial))).cert_ids
    answer = result_of(stack.app.responder.answer(asked, None))
    assert ocsp.verify(answer.der, twin.certificate, now).status == "unknown"
    assert status(stack, leaf) == "good"
    stack.close()


# --- failures ----------------------------------------------------------------------------


def test_failures_have_names(stack: Stack) -> None:
    """The outlet turns each into an OCSP status of its own."""
    leaf = stack.issue()
    foreign = make_ca("p256", "Elsewhere")
    asked = decode_request(ocsp.request(ocsp.cert_id(parse_certificate(foreign.der), leaf.serial))).cert_ids
    failure_of(stack.app.responder.answer(asked, None), NotAuthorized)
    assert stack.app.responder.cached_answer(asked, None) is None
    stack.clock.advance(3700 * DAY)
    failure_of(stack.app.responder.answer(ids(stack, leaf), None), IssuanceFailed)
    result_of(stack.app.store.close())
    stack.clock.rightNow -= 3700 * DAY
    failure_of(stack.app.responder.answer(ids(stack, 5), None), StoreUnavailable)


# --- status for people -------------------------------------------------------------------


def test_status_of_a_serial(stack: Stack) -> None:
    """CRT-8: hold counts as revoked, revoked beats expired, deleted is not found."""
    statuses = stack.app.statuses
    valid, held, deleted, gone = stack.issue(), stack.issue(days=1), stack.issue(), stack.issue(days=1)
    stack.revoke(held, RevocationReason.CERTIFICATE_HOLD)
    stack.delete(deleted)
    stack.clock.advance(2 * DAY)
    found = [result_of(statuses.status(leaf.serial)).status for leaf in (valid, held, deleted, gone)]
    assert found == [CertificateStatus.VALID, CertificateStatus.REVOKED, None, CertificateStatus.EXPIRED]
    assert result_of(statuses.status(12345)).record is None


def test_expired_ids(stack: Stack) -> None:
    """CRT-8: ascending, in pages."""
    statuses = stack.app.statuses
    short = [stack.issue(days=1).record.id for _ in range(5)]
    stack.issue(days=9)
    assert result_of(statuses.expired_ids(0, 10)) == []
    stack.clock.advance(2 * DAY)
    assert result_of(statuses.expired_ids(0, 10)) == short
    assert result_of(statuses.expired_ids(short[1], 2)) == short[2:4]
    for after, limit in ((0, 0), (0, 10_001), (-1, 5)):
        with pytest.raises(MalformedRequest):
            statuses.expired_ids(after, limit)
