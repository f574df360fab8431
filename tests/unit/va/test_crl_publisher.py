"""CRLs as they are published (VA-2, VA-3)."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

import pytest
from cryptography import x509

from pikachu.core.errors import NotFound, SignerUnavailable, StoreUnavailable
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.times import utc
from pikachu.va.crl_files import CRLSettings, PublishedCRL
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.x509.crl_verification import decode_crl
from tests.support.deferreds import failure_of, result_of
from tests.support.pki import brought, make_ca
from tests.support.stack import Stack, build_core, open_stack
from tests.unit.va.publishing import DAY, crl_of, make, number_of, serials, settle, slow_publisher
from tests.unit.va.test_ocsp import signer_of

# --- what is on it -----------------------------------------------------------------------


def test_an_empty_crl_has_no_list(stack: Stack) -> None:
    """Version 2, and the field is absent."""
    crl = crl_of(stack)
    assert len(crl) == 0
    assert number_of(crl) == 1
    assert crl.next_update_utc is not None
    assert crl.next_update_utc - crl.last_update_utc == timedelta(days=7)
    # Two times follow the issuer, then the extensions, without an empty SEQUENCE between them.
    assert b"\x30\x00\xa0" not in crl.tbs_certlist_bytes


def test_reasons_and_dates(stack: Stack) -> None:
    """Unspecified is left out; no entry is later than the list."""
    revoked: dict[int, RevocationReason] = {}
    for reason in RevocationReason:
        leaf = stack.issue()
        stack.revoke(leaf, reason)
        revoked[leaf.serial] = reason
        stack.clock.advance(0.01)
    settle(stack)
    crl = crl_of(stack)
    assert len(crl) == len(revoked)
    for entry in crl:
        assert entry.revocation_date_utc <= crl.last_update_utc
        reason = revoked[entry.serial_number]
        if reason is RevocationReason.UNSPECIFIED:
            assert not list(entry.extensions)
        else:
            assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value == reason.wire_name


def test_hold_and_release(stack: Stack) -> None:
    """A full CRL drops what was released; a hold may become final."""
    held, final = stack.issue(), stack.issue()
    for leaf in (held, final):
        stack.revoke(leaf, RevocationReason.CERTIFICATE_HOLD)
    settle(stack)
    assert serials(crl_of(stack)) == [held.serial, final.serial]
    stack.release(held)
    stack.revoke(final, RevocationReason.KEY_COMPROMISE)
    settle(stack)
    (entry,) = crl_of(stack)
    assert entry.serial_number == final.serial
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason is x509.ReasonFlags.key_compromise


def test_an_entry_stays_for_one_list_after_its_certificate_has_ended(stack: Stack) -> None:
    """RFC 5280 section 3.3."""
    short, long = stack.issue(days=1), stack.issue(days=100)
    stack.revoke(short)
    stack.revoke(long)
    settle(stack)
    stack.clock.advance(2 * DAY)
    make(stack)
    assert serials(crl_of(stack)) == [short.serial, long.serial]
    make(stack)
    assert serials(crl_of(stack)) == [long.serial]
    assert result_of(stack.app.statuses.status(short.serial)).status == "revoked"


def test_what_is_revoked_after_its_end_is_listed_once(stack: Stack) -> None:
    """Also when a list was made between the end and the revocation."""
    leaf = stack.issue(days=1)
    stack.clock.advance(3 * DAY)
    make(stack)
    stack.clock.advance(DAY)
    stack.revoke(leaf)
    settle(stack)
    assert serials(crl_of(stack)) == [leaf.serial]
    stack.clock.advance(1)
    make(stack)
    assert serials(crl_of(stack)) == []


# --- when it is made ---------------------------------------------------------------------


def test_revocations_that_come_together_share_a_list(stack: Stack) -> None:
    """VA-3: 100 within the delay are one CRL."""
    leaves = [stack.issue() for _ in range(100)]
    before = number_of(crl_of(stack))
    for leaf in leaves:
        stack.revoke(leaf)
        stack.clock.advance(0.004)
    settle(stack)
    crl = crl_of(stack)
    assert (number_of(crl), len(crl)) == (before + 1, 100)
    stack.clock.advance(10)
    assert number_of(crl_of(stack)) == before + 1


def test_a_steady_stream_is_not_put_off_for_ever(stack: Stack) -> None:
    """The delay counts from the first that waits."""
    first = stack.issue()
    stack.revoke(first)
    for _ in range(10):
        stack.revoke(stack.issue())
        stack.clock.advance(0.1)
    assert first.serial in serials(crl_of(stack))


def test_on_schedule(stack: Stack) -> None:
    """When a quarter is left, though nothing has changed."""
    assert number_of(crl_of(stack)) == 1
    stack.clock.pump([3600.0] * (24 * 5))
    assert number_of(crl_of(stack)) == 1
    stack.clock.pump([3600.0] * 10)
    crl = crl_of(stack)
    assert number_of(crl) == 2
    assert crl.next_update_utc is not None
    assert crl.next_update_utc > utc(stack.clock.seconds()) + timedelta(days=6)
    stack.clock.pump([3600.0] * (24 * 30))
    assert 6 <= number_of(crl_of(stack)) <= 8


def test_after_downtime_it_is_made_up_for_once(stack: Stack) -> None:
    """One list, not one for each that was missed."""
    stack.close()
    stack.clock.advance(40 * DAY)
    again = open_stack(stack.files, stack.clock)
    result_of(again.app.publisher.begin())
    settle(again)
    assert number_of(crl_of(again)) == 2
    again.clock.advance(60)
    assert number_of(crl_of(again)) == 2
    again.close()


def test_a_restart_alone_makes_none(stack: Stack) -> None:
    """A restart takes over a good published CRL, and appends the next revocation to it."""
    first, second = stack.issue(), stack.issue()
    stack.revoke(first)
    settle(stack)
    again = stack.restart()
    result_of(again.app.publisher.begin())
    assert again.app.publisher.published(again.issuer()).number == 2
    again.revoke(second)
    settle(again)
    crl = crl_of(again)
    assert (number_of(crl), serials(crl)) == (3, [first.serial, second.serial])
    again.close()


def test_what_was_revoked_while_no_server_ran(stack: Stack) -> None:
    """It is on a list at start."""
    leaf = stack.issue()
    stack.close()
    command = open_stack(stack.files, stack.clock)
    command.app.publisher.stop()
    command.revoke(leaf)
    command.close()
    again = open_stack(stack.files, stack.clock)
    result_of(again.app.publisher.begin())
    assert serials(crl_of(again)) == [leaf.serial]
    again.close()


def test_another_process_revokes(stack: Stack) -> None:
    """The server sees the change in the log, and makes the list."""
    leaf = stack.issue()
    seen = stack.app.store.latest_change()
    elsewhere = Clock()
    elsewhere.advance(stack.clock.seconds())
    other = open_stack(stack.files, elsewhere, process="command")
    other.revoke(leaf)
    other.close()
    changes = result_of(stack.app.store.changes_since(seen))
    stack.app.publisher.changed(changes)
    settle(stack)
    assert serials(crl_of(stack)) == [leaf.serial]


def test_a_ca_that_has_ended_signs_no_more(stack: Stack) -> None:
    """And nothing is tried again and again."""
    leaf = stack.issue()
    stack.clock.rightNow += 3700 * DAY
    failure_of(stack.app.publisher.make(stack.issuer()), NotFound)
    stack.revoke(leaf)
    stack.clock.advance(1)
    assert not stack.clock.getDelayedCalls()


def test_next_update_ends_with_the_ca(stack: Stack) -> None:
    """Nobody can verify a list after its issuer's end."""
    end = stack.issuer().certificate.not_after
    stack.app.publisher.stop()
    stack.clock.rightNow = end.timestamp() - 2 * DAY
    assert make(stack).next_update == end


# --- numbers -----------------------------------------------------------------------------


def test_a_crash_between_number_and_file(stack: Stack) -> None:
    """The number is not used again, the old list stays."""
    store = stack.app.store
    before = stack.app.publisher.paths(stack.issuer())[0].read_bytes()
    lost = result_of(store.next_crl_number(stack.issuer().id, 0))
    again = stack.restart()
    result_of(again.app.publisher.begin())
    assert again.app.publisher.paths(again.issuer())[0].read_bytes() == before
    assert make(again).number > lost
    again.close()


@pytest.mark.parametrize("keep_database", [True, False])
def test_an_older_database_beside_a_newer_file(stack: Stack, keep_database: bool) -> None:
    """Numbers rise above what is published, also when the database knows less."""
    stack.close()
    folder = stack.files.folder
    saved = folder / "saved"
    saved.mkdir()
    for path in folder.glob("pikachu.sqlite*"):
        shutil.copy(path, saved)
    running = open_stack(stack.files, stack.clock)
    result_of(running.app.publisher.begin())
    for _ in range(5):
        newest = make(running).number
    running.close()
    for path in folder.glob("pikachu.sqlite*"):
        path.unlink()
    for path in saved.iterdir():
        shutil.copy(path, folder)
    again = open_stack(stack.files, stack.clock)
    if keep_database:
        result_of(again.app.publisher.begin())
    else:
        # Without a look at what is published, as a command does.
        make(again)
    assert number_of(crl_of(again)) > newest
    again.close()


def test_two_publishers(stack: Stack) -> None:
    """Distinct numbers, and the file never goes back."""
    other = open_stack(stack.files, stack.clock, process="other")
    result_of(other.app.publisher.begin())
    numbers = []
    for number in range(6):
        which = (stack, other)[number % 2]
        which.revoke(which.issue())
        numbers.append(make(which).number)
        assert number_of(crl_of(stack)) == numbers[-1]
        assert len(crl_of(stack)) == number + 1
    assert sorted(set(numbers)) == numbers
    other.close()


def test_the_slower_of_two_publishers_does_not_undo_the_other(stack: Stack) -> None:
    """It has taken the lower number and comes to write last: it makes another, with what both knew."""
    slow, pool = slow_publisher(stack)
    made: list[PublishedCRL] = []
    slow.make(stack.issuer()).addCallback(made.append)
    # Number in the file, then the TBSCertList; what waits next is to be written.
    pool.go()
    pool.go()
    leaf = stack.issue()
    stack.revoke(leaf)
    fast = make(stack)
    while pool.work:
        pool.go()
    assert made[0].number > fast.number
    crl = crl_of(stack)
    assert (number_of(crl), serials(crl)) == (made[0].number, [leaf.serial])
    slow.stop()


class _Late:
    """A store whose CRL numbers are given by somebody else."""

    def __init__(self, store: Any, numbers: Callable[[int, int], Coroutine[Any, Any, int]]) -> None:
        self._store = store
        self._numbers = numbers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def next_crl_number(self, issuer_id: int, above: int) -> Deferred[int]:
        return Deferred.fromCoroutine(self._numbers(issuer_id, above))


def test_a_slower_publisher_with_a_higher_number_does_not_undo_the_other(stack: Stack) -> None:
    """It has read the entries before a revocation, and takes its number after the other has published."""
    made: list[PublishedCRL] = []
    numbers = stack.app.store.next_crl_number
    waiting: list[Deferred[None]] = []

    async def later(issuer_id: int, above: int) -> int:
        if not waiting:
            waiting.append(Deferred())
            await waiting[0]
        return await numbers(issuer_id, above)

    slow, pool = slow_publisher(stack, _Late(stack.app.store, later))
    slow.make(stack.issuer()).addCallback(made.append)
    while not waiting:
        pool.go()
    leaf = stack.issue()
    stack.revoke(leaf)
    fast = make(stack)
    waiting[0].callback(None)
    while pool.work:
        pool.go()
    assert made[0].number > fast.number
    assert serials(crl_of(stack)) == [leaf.serial]
    slow.stop()


def test_somebody_else_s_file_in_its_place_is_replaced(stack: Stack) -> None:
    """Only the number of what the issuer has signed counts."""
    foreign = make_ca(name="Somebody else")
    path = stack.app.publisher.paths(stack.issuer())[0]
    path.write_bytes(decode_crl(brought(foreign, number=1 << 100)))
    leaf = stack.issue()
    stack.revoke(leaf)
    settle(stack)
    assert serials(crl_of(stack)) == [leaf.serial]
    path.write_bytes(decode_crl(brought(foreign, number=1 << 100)))
    settings = CRLSettings(7 * DAY, 0.5, path.parent, stack.app.config.paths.crl_path)
    again = CRLPublisher(
        stack.clock, stack.app.store, stack.app.issuers, stack.app.pools.files, settings, stack.app.recovery
    )
    result_of(again.begin())
    assert serials(crl_of(stack)) == [leaf.serial]
    again.stop()


def test_who_asks_while_a_list_is_made_gets_the_next(stack: Stack) -> None:
    """A CRL requested while another is being made includes the newest revocation."""
    slow, pool = slow_publisher(stack)
    stack.app.store.subscribe(slow.changed)
    made: list[PublishedCRL] = []
    slow.make(stack.issuer()).addCallback(made.append)
    leaf = stack.issue()
    pool.go()
    stack.app.publisher.stop()
    stack.revoke(leaf)
    for _ in range(3):
        slow.make(stack.issuer()).addCallback(made.append)
    while pool.work:
        pool.go()
    assert len(made) == 4
    assert made[1] is made[2] is made[3]
    assert made[0].number < made[1].number
    assert serials(crl_of(stack)) == [leaf.serial]
    slow.stop()


# --- failures ----------------------------------------------------------------------------


def test_a_signer_that_fails(stack: Stack) -> None:
    """The old CRL stays and publishing is retried; the callers get the error."""
    leaf = stack.issue()
    path = stack.app.publisher.paths(stack.issuer())[0]
    before = path.read_bytes()
    signer = signer_of(stack, stack.files.issuers["ec"])
    stack.issuer().signer = signer
    signer.broken = True
    stack.revoke(leaf)
    settle(stack)
    failure_of(stack.app.publisher.make(stack.issuer()), SignerUnavailable)
    assert path.read_bytes() == before
    signer.broken = False
    stack.clock.advance(11)
    assert serials(crl_of(stack)) == [leaf.serial]


def test_a_signature_that_does_not_verify(stack: Stack) -> None:
    """It is not published."""
    path = stack.app.publisher.paths(stack.issuer())[0]
    before = path.read_bytes()
    stack.issuer().signer = signer_of(stack, stack.files.root)
    failure_of(stack.app.publisher.make(stack.issuer()), SignerUnavailable)
    assert path.read_bytes() == before


def test_a_full_disk(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old list stays, nothing is left lying about, and the next try succeeds."""
    leaf = stack.issue()
    folder = stack.app.publisher.folder.path
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        failure = failure_of(stack.app.publisher.make(stack.issuer()), StoreUnavailable)
        assert "No space left" in failure.public
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    stack.revoke(leaf)
    stack.clock.advance(11)
    assert serials(crl_of(stack)) == [leaf.serial]


def test_one_failure_at_start_does_not_stop_the_others(tmp_path: Path) -> None:
    """Each CA has a list of its own."""
    stack = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"))
    ec = stack.app.issuers.named("ec")
    ec.signer = signer_of(stack, stack.files.issuers["ec"])
    ec.signer.broken = True
    result_of(stack.app.publisher.begin())
    assert {issuer.name for issuer in stack.app.issuers.all() if stack.app.publisher.paths(issuer)[0].exists()} == {
        "rsa",
        "root",
    }
    ec.signer.broken = False
    stack.clock.advance(11)
    assert number_of(crl_of(stack, "ec")) >= 1
    stack.close()


def test_a_file_that_is_no_crl_of_ours(stack: Stack) -> None:
    """It is replaced at start."""
    stack.close()
    der_path, _ = stack.app.publisher.paths(stack.issuer())
    for content in (b"", b"garbage", der_path.read_bytes()[:-1] + b"\x00"):
        der_path.write_bytes(content)
        again = open_stack(stack.files, stack.clock)
        result_of(again.app.publisher.begin())
        crl_of(again)
        again.close()


def test_a_listener_that_fails(stack: Stack) -> None:
    """The CRL is published all the same."""
    told: list[int] = []

    def broken(issuer: object, crl: PublishedCRL) -> None:
        told.append(crl.number)
        raise RuntimeError("no broker")

    stack.app.publisher.subscribe(broken)
    assert [make(stack).number, make(stack).number] == told
