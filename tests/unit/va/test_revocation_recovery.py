"""Revocations that only a published CRL still has, after an older copy of the database was restored."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogLevel, capturedLogs

import pytest

from pikachu.ca.issuers import IssuingCA
from pikachu.cli.main import main
from pikachu.core.errors import AuthenticationFailed, Conflict, NotFound, StoreUnavailable
from pikachu.core.interfaces import IStore
from pikachu.core.model.certificates import CertificateStatus, RevocationReason, format_serial
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import ANONYMOUS, SYSTEM
from pikachu.core.model.times import utc
from pikachu.core.recovery_interfaces import UNDECIDED, RecoveryDecision
from pikachu.protocols.ocsp.messages import decode_request
from pikachu.server.files import database_url
from pikachu.va.revocation_recovery import RevocationRecovery
from pikachu.x509 import der
from pikachu.x509.crl import CRL_NUMBER, assemble_crl, crl_entry, parse_crl_summary, tbs_cert_list
from pikachu.x509.crl_verification import decode_crl
from tests.support import ocsp
from tests.support.deferreds import failure_of, result_of
from tests.support.intents import begin_only
from tests.support.recovered import recover
from tests.support.stack import Leaf, Stack, build_core, open_stack
from tests.unit.va.publishing import crl_of, number_of, serials, settle

HOLD = RevocationReason.CERTIFICATE_HOLD
COMPROMISED = RevocationReason.KEY_COMPROMISE
KEEP, DROP = RecoveryDecision.KEEP, RecoveryDecision.DROP


def ocsp_status(stack: Stack, serial: int) -> str:
    """The verified answer of the responder."""
    ca = stack.issuer().certificate
    cert_ids = decode_request(ocsp.request(ocsp.cert_id(ca, serial))).cert_ids
    answer = result_of(stack.app.responder.answer(cert_ids, None))
    return ocsp.verify(answer.der, ca, utc(stack.clock.seconds())).status


def status(stack: Stack, serial: int) -> CertificateStatus | None:
    """The status for people and scripts."""
    return result_of(stack.app.statuses.status(serial)).status


def undecided(stack: Stack) -> list[int]:
    """The serial numbers that wait for a decision."""
    query = ListQuery(limit=1000, sort="id", filters={"decision": UNDECIDED})
    return [one.serial for one in result_of(stack.app.recovery.page(SYSTEM, query)).items]


def readiness(stack: Stack) -> tuple[str, str]:
    """State and message of the check of the issuing CA's CRL."""
    state = result_of(stack.app.readiness.states())["crl ec"]
    return state.state, state.message


def database(stack: Stack) -> Path:
    """The file of the database."""
    return Path(database_url(stack.app.config).removeprefix("sqlite:///"))


@dataclass
class Backup:
    """A copy of the database of a stack that has ended."""

    path: Path
    content: bytes

    @classmethod
    def take(cls, stack: Stack) -> tuple[Backup, Stack]:
        """Copy the database, and start again."""
        stack.close()
        path = database(stack)
        return cls(path, path.read_bytes()), open_started(stack)

    def restore(self, stack: Stack) -> Stack:
        """Replace the database by the copy, and start again."""
        stack.close()
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.write_bytes(self.content)
        return open_started(stack)


class _Outage:
    """A store that writes after *gate* has fired, and is gone after some batches."""

    def __init__(self, store: IStore, *, batches: int = 1000, gate: Deferred[None] | None = None) -> None:
        self._store = store
        self._batches = batches
        self._gate = succeed(None) if gate is None else gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def _next(self) -> None:
        await self._gate
        if not self._batches:
            raise StoreUnavailable("The database is gone.")
        self._batches -= 1

    async def decide_recovered(self, *arguments: Any) -> list[int]:
        await self._next()
        return await self._store.decide_recovered(*arguments)

    async def recover_revocations(self, *arguments: Any) -> int:
        await self._next()
        return await self._store.recover_revocations(*arguments)


def open_started(stack: Stack) -> Stack:
    """Start again with the same files."""
    again = open_stack(stack.files, stack.clock)
    result_of(again.app.publisher.begin())
    return again


def known(stack: Stack) -> Leaf:
    return stack.issue()


def deleted(stack: Stack) -> Leaf:
    leaf = stack.issue()
    stack.delete(leaf)
    return leaf


def on_hold(stack: Stack) -> Leaf:
    leaf = stack.issue()
    stack.revoke(leaf, HOLD)
    return leaf


def without_certificate(stack: Stack) -> int:
    """An intent that no certificate follows."""
    return begin_only(stack.app, "another process")


def issued_later(_: Stack) -> Leaf | None:
    """The copy knows nothing of the certificate."""
    return None


@dataclass(frozen=True)
class Case:
    """A revocation after the copy was made.

    :ivar before: issues the certificate before the copy is made.
    :ivar dropped: the answers of OCSP and of ``/status`` after the revocation was dropped.
    :ivar listed: whether the CRL lists it even then.
    """

    before: Callable[[Stack], Leaf | int | None]
    reason: RevocationReason
    dropped: tuple[str, CertificateStatus | None]
    listed: bool = False


CASES = {
    "a certificate": Case(known, COMPROMISED, ("good", CertificateStatus.VALID)),
    "without a reason": Case(known, RevocationReason.UNSPECIFIED, ("good", CertificateStatus.VALID)),
    "put on hold": Case(known, HOLD, ("good", CertificateStatus.VALID)),
    "a deleted certificate": Case(deleted, COMPROMISED, ("unknown", None)),
    "a certificate on hold": Case(on_hold, COMPROMISED, ("revoked", CertificateStatus.REVOKED), listed=True),
    "an intent": Case(without_certificate, COMPROMISED, ("unknown", None)),
    "an intent on hold": Case(without_certificate, HOLD, ("unknown", None)),
    "issued after the copy": Case(issued_later, COMPROMISED, ("unknown", None)),
    "issued and on hold after the copy": Case(issued_later, HOLD, ("unknown", None)),
}


def restored(folder: Path, case: Case) -> tuple[Stack, int]:
    """A server with a restored database, and the serial number that was revoked since."""
    stack = build_core(folder / "ca")
    result_of(stack.app.publisher.begin())
    leaf = case.before(stack)
    settle(stack)
    backup, stack = Backup.take(stack)
    leaf = leaf or stack.issue("later.example.com")
    serial = leaf if isinstance(leaf, int) else leaf.serial
    stack.revoke(leaf, case.reason)
    settle(stack)
    number = number_of(crl_of(stack))
    assert serials(crl_of(stack)) == [serial]
    with capturedLogs() as logs:
        stack = backup.restore(stack)
    (error,) = (entry for entry in logs if entry["log_level"] is LogLevel.error)
    assert error["count"] == 1
    assert error["number"] == number
    assert number_of(crl_of(stack)) > number
    return stack, serial


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("decision", [KEEP, DROP])
def test_a_restored_database(tmp_path: Path, name: str, decision: RecoveryDecision) -> None:
    """VA-2: what relying parties have seen revoked stays so until an administrator decides, also over restarts."""
    case = CASES[name]
    stack, serial = restored(tmp_path, case)
    for _ in range(2):
        (entry,) = crl_of(stack)
        assert entry.serial_number == serial
        assert ocsp_status(stack, serial) == "revoked"
        answer = result_of(stack.app.statuses.status(serial))
        assert answer.status is CertificateStatus.REVOKED
        assert answer.record is not None
        assert answer.record.reason is case.reason
        assert answer.record.revoked_at == entry.revocation_date_utc
        assert undecided(stack) == [serial]
        state, message = readiness(stack)
        assert (state, "older copy: 1 revocation is" in message) == ("degraded", True)
        stack.close()
        stack = open_started(stack)
    assert result_of(stack.app.recovery.decide(SYSTEM, [serial], decision)) == [serial]
    assert undecided(stack) == []
    for _ in range(2):
        settle(stack)
        assert readiness(stack) == ("ok", "Ready.")
        dropped = decision is DROP
        assert serials(crl_of(stack)) == ([serial] if case.listed or not dropped else [])
        expected = case.dropped if dropped else ("revoked", CertificateStatus.REVOKED)
        assert (ocsp_status(stack, serial), status(stack, serial)) == expected
        stack.close()
        stack = open_started(stack)
    events = [one.event for one in result_of(stack.app.store.events(ListQuery(sort="-id", limit=20))).items]
    about = [one for one in events if one.type in ("recover", decision.value)]
    assert [(one.type, one.resource_type, one.resource_name) for one in about] == [
        (decision.value, "certificate", format_serial(serial)),
        ("recover", "CRL", stack.issuer().key_identifier.hex()),
    ]
    assert about[1].details["count"] == 1
    failure = failure_of(stack.app.recovery.decide(SYSTEM, [serial], decision), NotFound)
    assert format_serial(serial) in failure.public
    stack.close()


def test_a_released_hold_is_decided(tmp_path: Path) -> None:
    """Releasing the certificate leaves nothing to decide, and no restart recovers it again."""
    stack, serial = restored(tmp_path, CASES["put on hold"])
    result_of(stack.app.authority.release(serial, SYSTEM))
    stack.close()
    stack = open_started(stack)
    assert undecided(stack) == []
    assert serials(crl_of(stack)) == []
    stack.close()


def test_a_later_revocation_outlives_a_dropped_one(tmp_path: Path) -> None:
    """Dropping does not touch what was revoked for another reason since."""
    stack, serial = restored(tmp_path, CASES["put on hold"])
    stack.revoke(serial, COMPROMISED)
    assert result_of(stack.app.recovery.decide_all(SYSTEM, DROP)).decided == 1
    settle(stack)
    assert serials(crl_of(stack)) == [serial]
    assert ocsp_status(stack, serial) == "revoked"
    stack.close()


def test_a_release_that_no_crl_has_yet_is_not_undone(tmp_path: Path) -> None:
    """The database is newer than the CRL on disk here: a server ended before it published."""
    stack = build_core(tmp_path / "ca")
    result_of(stack.app.publisher.begin())
    leaf = on_hold(stack)
    settle(stack)
    assert serials(crl_of(stack)) == [leaf.serial]
    stack.release(leaf)
    stack.close()
    stack = open_started(stack)
    assert undecided(stack) == []
    assert serials(crl_of(stack)) == []
    assert ocsp_status(stack, leaf.serial) == "good"
    stack.close()


def test_certificates_that_expired_since_are_listed_once_more(tmp_path: Path) -> None:
    """RFC 5280 section 3.3: an entry stays until one CRL was made after the certificate's end."""
    stack = build_core(tmp_path / "ca")
    result_of(stack.app.publisher.begin())
    leaf = stack.issue(days=1)
    backup, stack = Backup.take(stack)
    stack.revoke(leaf)
    settle(stack)
    assert serials(crl_of(stack)) == [leaf.serial]
    stack.app.publisher.stop()
    stack.clock.advance(2 * 86400)
    stack = backup.restore(stack)
    assert undecided(stack) == [leaf.serial]
    assert serials(crl_of(stack)) == [leaf.serial]
    result_of(stack.app.publisher.make(stack.issuer()))
    assert serials(crl_of(stack)) == []
    stack.close()


def signed_crl(
    stack: Stack, *serials: int, number: int = 1000, signer: IssuingCA | None = None, changed: bytes = b""
) -> bytes:
    """A CRL of the issuing CA, or of *signer*.

    :param changed: what the signature covers beyond the content.
    """
    issuer = stack.issuer()
    now = utc(stack.clock.seconds())
    signer = signer or issuer
    tbs = tbs_cert_list(
        algorithm=signer.signer.algorithm,
        issuer_der=signer.certificate.subject_der,
        updates=(now, issuer.certificate.not_after),
        entries=b"".join(crl_entry(serial, now, COMPROMISED) for serial in serials),
        number=number,
        authority_key_identifier=issuer.key_identifier,
    )
    return assemble_crl(tbs, signer.signer.algorithm, result_of(signer.signer.sign(tbs + changed)))


def restart_with(stack: Stack, crl: bytes) -> Stack:
    """Start again with another CRL of the issuing CA on disk."""
    path = stack.app.publisher.paths(stack.issuer())[0]
    stack.close()
    path.write_bytes(crl)
    return open_started(stack)


@pytest.mark.parametrize("foreign", [False, True])
def test_a_forged_crl_is_not_believed(tmp_path: Path, foreign: bool) -> None:
    """Only what this CA has signed counts."""
    stack = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"))
    result_of(stack.app.publisher.begin())
    if foreign:
        forged = signed_crl(stack, 0x1234, signer=stack.app.issuers.named("rsa"))
    else:
        forged = signed_crl(stack, 0x1234, changed=b"\0")
    assert decode_crl(forged) == forged
    stack = restart_with(stack, forged)
    assert undecided(stack) == []
    assert status(stack, 0x1234) is None
    assert serials(crl_of(stack)) == []
    assert number_of(crl_of(stack)) < 1000
    stack.close()


@pytest.mark.parametrize("bits", [62, 63, 64, 80, 159])
@pytest.mark.parametrize("foreign", [False, True])
def test_numbers_of_other_programs(tmp_path: Path, bits: int, foreign: bool) -> None:
    """RFC 5280 section 5.2.3: up to 20 bytes.  The CRL is believed by its signature, whatever its number."""
    stack = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"))
    result_of(stack.app.publisher.begin())
    signer = stack.app.issuers.named("rsa") if foreign else None
    number = (1 << bits) - 1
    crl = signed_crl(stack, 0x1234, number=number, signer=signer)
    with capturedLogs() as logs:
        stack = restart_with(stack, crl)
    for _ in range(2):
        assert undecided(stack) == ([] if foreign else [0x1234])
        assert serials(crl_of(stack)) == undecided(stack)
        if bits <= 62:
            assert foreign or number_of(crl_of(stack)) > number
        else:
            assert 0 < number_of(crl_of(stack)) < 100
            said = [one for one in logs if "above all that this server can count to" in (one["log_format"] or "")]
            assert len(said) == (0 if foreign else 1)
        before = number_of(crl_of(stack))
        result_of(stack.app.publisher.make(stack.issuer()))
        assert number_of(crl_of(stack)) == before + 1
        stack.close()
        stack = open_started(stack)
    stack.close()


def test_a_crl_without_a_number(tmp_path: Path) -> None:
    """Nobody can tell whether it is newer than the database: it is replaced, and nothing is recovered."""
    stack = build_core(tmp_path / "ca")
    result_of(stack.app.publisher.begin())
    crl = signed_crl(stack, 0x1234)
    issuer = stack.issuer()
    tbs = bytes(parse_crl_summary(crl).tbs).replace(der.oid(CRL_NUMBER), der.oid("2.5.29.99"))
    signature = result_of(issuer.signer.sign(tbs))
    stack = restart_with(stack, assemble_crl(tbs, issuer.signer.algorithm, signature))
    assert undecided(stack) == []
    assert serials(crl_of(stack)) == []
    stack.close()


def test_the_crl_of_a_root_whose_key_is_here(tmp_path: Path) -> None:
    """A revoked issuing CA stays revoked, too."""
    stack = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"))
    result_of(stack.app.publisher.begin())
    settle(stack)
    backup, stack = Backup.take(stack)
    serial = stack.app.issuers.named("rsa").certificate.serial
    stack.revoke(serial, RevocationReason.CESSATION_OF_OPERATION)
    settle(stack)
    assert serials(crl_of(stack, "root")) == [serial]
    stack = backup.restore(stack)
    assert undecided(stack) == [serial]
    assert serials(crl_of(stack, "root")) == [serial]
    assert status(stack, serial) is CertificateStatus.REVOKED
    result_of(stack.app.recovery.decide_all(SYSTEM, DROP))
    settle(stack)
    assert serials(crl_of(stack, "root")) == []
    assert status(stack, serial) is CertificateStatus.VALID
    stack.close()


def test_a_recovery_that_was_interrupted(tmp_path: Path) -> None:
    """Killed between two transactions: the CRL on disk is as it was, and the next start recovers the rest."""
    stack = build_core(tmp_path / "ca")
    result_of(stack.app.publisher.begin())
    late = list(range(0x70000, 0x70000 + 250))
    crl = signed_crl(stack, *late)
    path = stack.app.publisher.paths(stack.issuer())[0]
    path.write_bytes(crl)
    outage = cast(IStore, _Outage(stack.app.store, batches=2))
    recovery = RevocationRecovery(stack.clock, outage, stack.app.pools.files)
    failure_of(recovery.recover(stack.issuer(), path, 1000), StoreUnavailable)
    assert undecided(stack) == late[:200]
    stack = restart_with(stack, crl)
    assert undecided(stack) == late
    assert sorted(serials(crl_of(stack))) == late
    stack.close()


@pytest.mark.parametrize("order", ["same", "reversed"])
def test_a_large_crl(tmp_path: Path, order: str) -> None:
    """Each entry is compared, wherever it stands, and only what is missing is recovered."""
    stack = build_core(tmp_path / "ca")
    result_of(stack.app.publisher.begin())
    known = list(range(0x100000, 0x100000 + 60_000))
    now = utc(stack.clock.seconds())
    rows = [
        (format_serial(serial), stack.issuer().id, serial, 1 << 40, crl_entry(serial, now, COMPROMISED))
        for serial in known
    ]
    with closing(sqlite3.connect(database(stack))) as connection, connection:
        connection.executemany(
            "INSERT INTO crl_entries (serial, issuer_id, change_id, not_after, entry) VALUES (?, ?, ?, ?, ?)", rows
        )
    lost = [0x500000, 0x500001, 0x500002]
    listed = [lost[0], *known[:30_000], lost[1], *known[30_000:], lost[2]]
    stack = restart_with(stack, signed_crl(stack, *(listed if order == "same" else listed[::-1])))
    assert sorted(undecided(stack)) == lost
    stack.close()


def test_many_revocations_and_two_processes(tmp_path: Path) -> None:
    """Batches end where they should; a second process recovers nothing twice; the command publishes them as well."""
    stack = build_core(tmp_path / "ca")
    result_of(stack.app.publisher.begin())
    early = [stack.issue(f"early-{index}.example.com").serial for index in range(5)]
    for serial in early:
        stack.revoke(serial)
    settle(stack)
    backup, stack = Backup.take(stack)
    late = [stack.issue(f"late-{index}.example.com").serial for index in range(120)]
    for serial in late:
        stack.revoke(serial)
    settle(stack)
    stack.close()
    backup.path.write_bytes(backup.content)
    assert main(["crl", "--config", str(stack.files.config)]) == 0
    assert sorted(serials(crl_of(stack))) == sorted(early + late)
    stack, other = open_started(stack), open_started(stack)
    assert sorted(undecided(stack)) == sorted(late)
    assert sorted(serials(crl_of(stack))) == sorted(early + late)
    other.close()
    assert result_of(stack.app.recovery.decide_all(SYSTEM, KEEP)).decided == 120
    assert undecided(stack) == []
    stack.close()


def test_administrators_decide(tmp_path: Path) -> None:
    """Nobody else sees or decides anything."""
    stack, serial = restored(tmp_path, CASES["a certificate"])
    for attempt in (
        lambda: stack.app.recovery.page(ANONYMOUS, ListQuery()),
        lambda: stack.app.recovery.get(ANONYMOUS, 1),
        lambda: stack.app.recovery.count(ANONYMOUS),
        lambda: stack.app.recovery.decide_one(ANONYMOUS, 1, DROP),
        lambda: stack.app.recovery.decide(ANONYMOUS, [serial], DROP),
        lambda: stack.app.recovery.decide_all(ANONYMOUS, DROP),
    ):
        failure_of(attempt(), AuthenticationFailed)
    assert undecided(stack) == [serial]
    stack.close()


def test_a_decision_on_all_that_is_interrupted(tmp_path: Path) -> None:
    """One run at a time, and only of the number that was seen; after an outage, the next run decides the rest."""
    stack = build_core(tmp_path / "ca")
    result_of(stack.app.publisher.begin())
    recover(stack.app, stack.clock, *range(0x70000, 0x70000 + 250))
    recovery = RevocationRecovery(stack.clock, cast(IStore, _Outage(stack.app.store, batches=1)), stack.app.pools.files)
    for expected in (249, 251, 0):
        assert (
            "250 recovered revocations wait" in failure_of(recovery.decide_all(SYSTEM, DROP, expected), Conflict).public
        )
    assert recovery.run is None
    failure_of(recovery.decide_all(SYSTEM, KEEP, 250), StoreUnavailable)
    run = recovery.run
    assert run is not None
    assert (run.active, run.decided, run.total, run.failure) == (False, 100, 250, "The database is gone.")
    assert len(undecided(stack)) == 150
    run = result_of(stack.app.recovery.decide_all(SYSTEM, DROP, 150))
    assert (run.active, run.decided, run.total, run.failure) == (False, 150, 150, "")
    assert undecided(stack) == []
    stack.close()


def test_a_long_decision_on_all_is_not_waited_for(tmp_path: Path) -> None:
    """A page returns at once, shows the progress, and no second run begins meanwhile."""
    stack = build_core(tmp_path / "ca")
    recover(stack.app, stack.clock, *range(0x70000, 0x70000 + 1001))
    gate: Deferred[None] = Deferred()
    recovery = RevocationRecovery(stack.clock, cast(IStore, _Outage(stack.app.store, gate=gate)), stack.app.pools.files)
    run = result_of(recovery.decide_all(SYSTEM, KEEP, 1001, wait=False))
    assert run is recovery.run
    assert (run.active, run.decided, run.total) == (True, 0, 1001)
    assert "already" in failure_of(recovery.decide_all(SYSTEM, DROP), Conflict).public
    gate.callback(None)
    assert (run.active, run.decided, run.failure) == (False, 1001, "")
    stack.close()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lists, keeps and drops."""
    stack, serial = restored(tmp_path, CASES["a certificate"])
    stack.close()
    digits = format_serial(serial)
    config = ["--config", str(stack.files.config)]
    capsys.readouterr()
    assert main(["recovered", "list", *config]) == 0
    cells = capsys.readouterr().out.strip().split("\t")
    assert [*cells[:2], *cells[3:]] == [digits, "ec", "keyCompromise", "CN=device.example.com"]
    for wrong in (["drop"], ["keep"], ["drop", "--all", digits]):
        assert main(["recovered", *wrong, *config]) == 2
    assert main(["recovered", "drop", "1f", *config]) == 1
    assert "1f" in capsys.readouterr().err
    assert main(["recovered", "drop", digits, *config]) == 0
    assert capsys.readouterr().out == "dropped 1\n"
    assert main(["recovered", "keep", "--all", *config]) == 0
    assert capsys.readouterr().out == "kept 0\n"
    assert main(["recovered", "list", *config]) == 0
    assert capsys.readouterr().out == ""
