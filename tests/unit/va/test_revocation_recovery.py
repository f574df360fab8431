"""Revocations that only a published CRL still has, after an older copy of the database was restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import LogLevel, capturedLogs

import pytest

from pikachu.cli.main import main
from pikachu.core.errors import AuthenticationFailed, NotFound
from pikachu.core.model.certificates import CertificateStatus, RevocationReason, format_serial
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import ANONYMOUS, SYSTEM
from pikachu.core.model.times import utc
from pikachu.core.recovery_interfaces import RecoveryDecision
from pikachu.protocols.ocsp.messages import decode_request
from pikachu.server.composition import database_url
from pikachu.va.crl_files import decode_crl
from pikachu.x509.crl import assemble_crl, crl_entry, tbs_cert_list
from tests.support import ocsp
from tests.support.deferreds import failure_of, result_of
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
    return [one.serial for one in result_of(stack.app.recovery.page(SYSTEM, 0, 1000))]


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

    before: Callable[[Stack], Leaf | None]
    reason: RevocationReason
    dropped: tuple[str, CertificateStatus | None]
    listed: bool = False


CASES = {
    "a certificate": Case(known, COMPROMISED, ("good", CertificateStatus.VALID)),
    "without a reason": Case(known, RevocationReason.UNSPECIFIED, ("good", CertificateStatus.VALID)),
    "put on hold": Case(known, HOLD, ("good", CertificateStatus.VALID)),
    "a deleted certificate": Case(deleted, COMPROMISED, ("unknown", None)),
    "a certificate on hold": Case(on_hold, COMPROMISED, ("revoked", CertificateStatus.REVOKED), listed=True),
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
    stack.revoke(leaf, case.reason)
    settle(stack)
    number = number_of(crl_of(stack))
    assert serials(crl_of(stack)) == [leaf.serial]
    with capturedLogs() as logs:
        stack = backup.restore(stack)
    (error,) = (entry for entry in logs if entry["log_level"] is LogLevel.error)
    assert error["count"] == 1
    assert error["number"] == number
    assert number_of(crl_of(stack)) > number
    return stack, leaf.serial


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
    assert result_of(stack.app.recovery.decide_all(SYSTEM, DROP)) == 1
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


def _forge(stack: Stack, *, foreign: bool) -> bytes:
    """A CRL with a high number that another key has signed, or whose content was changed after its signature."""
    issuer = stack.issuer()
    now = utc(stack.clock.seconds())
    signer = stack.app.issuers.named("rsa") if foreign else issuer
    tbs = tbs_cert_list(
        algorithm=signer.signer.algorithm,
        issuer_der=signer.certificate.subject_der if foreign else issuer.certificate.subject_der,
        this_update=now,
        next_update=issuer.certificate.not_after,
        entries=crl_entry(0x1234, now, COMPROMISED),
        number=1000,
        authority_key_identifier=issuer.key_identifier,
    )
    signature = result_of(signer.signer.sign(tbs if foreign else tbs + b"\0"))
    return assemble_crl(tbs, signer.signer.algorithm, signature)


@pytest.mark.parametrize("foreign", [False, True])
def test_a_forged_crl_is_not_believed(tmp_path: Path, foreign: bool) -> None:
    """Only what this CA has signed counts."""
    stack = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"))
    result_of(stack.app.publisher.begin())
    path = stack.app.publisher.paths(stack.issuer())[0]
    forged = _forge(stack, foreign=foreign)
    assert decode_crl(forged) == forged
    path.write_bytes(forged)
    stack.close()
    stack = open_started(stack)
    assert undecided(stack) == []
    assert status(stack, 0x1234) is None
    assert serials(crl_of(stack)) == []
    assert number_of(crl_of(stack)) < 1000
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
    assert result_of(stack.app.recovery.decide_all(SYSTEM, KEEP)) == 120
    assert undecided(stack) == []
    stack.close()


def test_administrators_decide(tmp_path: Path) -> None:
    """Nobody else sees or decides anything."""
    stack, serial = restored(tmp_path, CASES["a certificate"])
    for attempt in (
        lambda: stack.app.recovery.page(ANONYMOUS, 0, 10),
        lambda: stack.app.recovery.decide(ANONYMOUS, [serial], DROP),
        lambda: stack.app.recovery.decide_all(ANONYMOUS, DROP),
    ):
        failure_of(attempt(), AuthenticationFailed)
    assert undecided(stack) == [serial]
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
