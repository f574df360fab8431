"""Recovery of revocations from published CRLs, after the database was restored from an older copy.

The CRL on disk outlives the database, and relying parties have seen it: what it revokes stays revoked until an
administrator decides.  A CRL can have more than the database only if its number is above all that the database has
reserved, so no other start reads its entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.permissions import require_scope
from pikachu.ca.issuers import IssuingCA
from pikachu.core.audit import event_by
from pikachu.core.concurrency import SingleFlight, start, uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, NotFound, PikachuError
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import SYSTEM, Principal, Scope
from pikachu.core.model.times import utc
from pikachu.core.number_parsing import parse_number
from pikachu.core.recovery_interfaces import UNDECIDED, RecoveredRevocation, RecoveryDecision
from pikachu.x509.crl import CRLSummary, crl_entries, is_removal, parse_crl_entry
from pikachu.x509.crl_verification import check_signed

log = Logger()
T = TypeVar("T")

# Entries of the CRL that are taken, read or looked up at once; and revocations that one transaction writes.
_COMPARED: Final = 2000
_LOOKED_UP: Final = 1000
_WRITTEN: Final = 100
# Maximum number of entries that have no counterpart yet.
_HELD: Final = 50_000
# RFC 5280 section 5.2.3 allows CRL numbers of 20 bytes; the database counts to 63 bits.
_MAX_NUMBER: Final = 1 << 62
# Maximum number of decisions that a page waits for.
_WAITED: Final = 1000


@dataclass(slots=True)
class DecisionRun:
    """One decision on all recovered revocations.

    :ivar total: how many waited for it when it began.
    :ivar failure: why it ended early, or empty; it can be repeated for the rest.
    """

    decision: RecoveryDecision
    total: int
    decided: int = 0
    active: bool = True
    failure: str = ""


class RevocationRecovery:
    """Keeps what published CRLs revoke and the database lacks, and takes an administrator's decisions."""

    def __init__(self, clock: IClock, store: IStore, pool: IWorkerPool) -> None:
        self._clock = clock
        self._store = store
        self._pool = pool
        self._flights: SingleFlight[None] = SingleFlight()
        self._run: DecisionRun | None = None

    def recover(self, issuer: IssuingCA, path: Path, number: int, part: str = "") -> Deferred[None]:
        """Take the revocations that the database lacks from an issuer's CRL on disk.

        :param path: of the DER; a file that *issuer* has not signed is ignored.
        :param number: its CRL number.
        :param part: empty for a full CRL, ``delta``, or the number of a shard.
        :return: fails with StoreUnavailable.
        """
        return self._flights.run((issuer.id, part), lambda: self._recover(issuer, path, number, part))

    async def _recover(self, issuer: IssuingCA, path: Path, number: int, part: str) -> None:
        if number <= await self._store.crl_number(issuer.id):
            # The database reserved this number after it had stored what the CRL lists.
            return

        def read() -> tuple[CRLSummary, Iterator[tuple[str, bytes]]]:
            data = path.read_bytes()
            summary = check_signed(data, issuer.certificate)
            if summary.critical_extensions and not part:
                raise MalformedRequest("this is a delta CRL, or one of some certificates only")
            # A certificate that was released after the database was copied stays on hold: an administrator decides.
            return summary, ((serial, entry) for serial, entry in crl_entries(data) if not is_removal(entry))

        count = 0
        try:
            summary, remaining = await self._pool.run(read)
            shard = parse_number(part)
            count = await self._recover_missing(issuer, summary, remaining, shard)
        except (OSError, MalformedRequest) as error:
            log.error("The revocations on the CRL in {path} were not read: {error}", path=str(path), error=str(error))
        if count:
            log.error(
                "CRL {number} of {issuer} ({key}) lists {count} revocations that the database lacks: it is an older "
                "copy. They stay revoked until you decide: `pikachu recovered list` shows them, `pikachu recovered "
                "keep --all` keeps them, `pikachu recovered drop SERIAL` ends one.",
                number=number,
                issuer=issuer.name,
                key=issuer.key_identifier.hex(),
                count=count,
            )

    async def _recover_missing(
        self, issuer: IssuingCA, summary: CRLSummary, entries: Iterator[tuple[str, bytes]], shard: int | None
    ) -> int:
        """Recover those of a CRL's entries that are not stored; return their number."""
        comparison = _Comparison(entries)
        count = after = 0
        while not comparison.ended:
            stored = await self._store.stored_crl_entries(issuer.id, after, _COMPARED)
            after = stored[-1][0] if stored else after
            different = iter(await self._pool.run(comparison.advance, stored))
            while some := dict(islice(different, _LOOKED_UP)):
                missing = await self._store.missing_revocations(issuer.id, some)
                count += await self._recover_batch(issuer, summary, missing, shard)
        return count

    async def _recover_batch(
        self, issuer: IssuingCA, summary: CRLSummary, missing: Sequence[bytes], shard: int | None
    ) -> int:
        event = event_by(SYSTEM, "recover", "CRL", issuer.key_identifier.hex(), None, number=summary.number)
        period = (summary.this_update, issuer.certificate.not_after)
        now = utc(self._clock.seconds())
        count = 0
        remaining = map(parse_crl_entry, missing)
        while some := await self._pool.run(_take, remaining, _WRITTEN):
            count += await self._store.recover_revocations(issuer.id, some, period, event, now, shard)
        return count

    async def undecided(self, issuer: IssuingCA) -> int:
        """Return the number of recovered revocations of an issuer without a decision."""
        return (await self._store.undecided_revocations()).get(issuer.id, 0)

    async def notice(self) -> str | None:
        """Return what to tell administrators about recovered revocations of all issuers, or None without any."""
        count = await self._count()
        return recovery_message(count) if count else None

    @property
    def run(self) -> DecisionRun | None:
        """Return the decision on all recovered revocations that is being carried out, or the last one."""
        return self._run

    @uncancelled
    async def page(self, actor: Principal, query: ListQuery) -> Page[RecoveredRevocation]:
        """List them, for administrators and auditors; see :meth:`IRecoveryStore.recovered_revocations`."""
        require_scope(actor, Scope.AUDIT)
        return await self._store.recovered_revocations(query)

    @uncancelled
    async def get(self, actor: Principal, recovered_id: int) -> RecoveredRevocation:
        """Return one recovered revocation, for administrators and auditors; fails with NotFound."""
        require_scope(actor, Scope.AUDIT)
        return await self._store.recovered_revocation(recovered_id)

    @uncancelled
    async def decide_one(self, actor: Principal, recovered_id: int, decision: RecoveryDecision) -> RecoveredRevocation:
        """Keep or drop one recovered revocation, and return it; for administrators.

        Fails with NotFound, with Conflict when it has a decision, and with StoreUnavailable.
        """
        require_scope(actor, Scope.ADMIN)
        recovered = await self._store.recovered_revocation(recovered_id)
        if recovered.decision is not None or not await self._decide(actor, [recovered.serial], decision):
            raise Conflict("This revocation does not wait for a decision any more. Reload to see what was decided.")
        return await self._store.recovered_revocation(recovered_id)

    @uncancelled
    async def decide(self, actor: Principal, serials: Iterable[int], decision: RecoveryDecision) -> list[int]:
        """Keep or drop recovered revocations, and return their serial numbers; for administrators.

        Fails with NotFound when one of *serials* has no recovered revocation without a decision, after the others were
        decided, and with StoreUnavailable.
        """
        require_scope(actor, Scope.ADMIN)
        requested = set(serials)
        remaining = iter(sorted(requested))
        decided: list[int] = []
        while some := _take(remaining, _WRITTEN):
            decided += await self._decide(actor, some, decision)
        unknown = requested.difference(decided)
        if unknown:
            raise NotFound(
                "No recovered revocation waits for a decision with the serial number "
                f"{', '.join(map(format_serial, sorted(unknown)[:5]))}; {len(decided)} others were decided."
            )
        return decided

    @uncancelled
    async def count(self, actor: Principal) -> int:
        """Return the number of recovered revocations of all issuers without a decision; for admins and auditors."""
        require_scope(actor, Scope.AUDIT)
        return await self._count()

    async def _count(self) -> int:
        return sum((await self._store.undecided_revocations()).values())

    @uncancelled
    async def decide_all(
        self, actor: Principal, decision: RecoveryDecision, expected: int | None = None, *, wait: bool = True
    ) -> DecisionRun:
        """Keep or drop all recovered revocations without a decision; for administrators.

        :param expected: their number, as the administrator has seen it.
        :param wait: wait for the end also when there are more than a thousand.
        :return: fails with Conflict when there are not *expected*, or another run is active, and with StoreUnavailable.
        """
        require_scope(actor, Scope.ADMIN)
        total = await self._count()
        if expected is not None and expected != total:
            raise Conflict(
                f"{total:,} recovered revocations wait for a decision now, not {expected:,}. Review the list and "
                "confirm again."
            )
        if self._run is not None and self._run.active:
            raise Conflict("All recovered revocations are being decided already. Wait until that has ended.")
        self._run = run = DecisionRun(decision, total)
        work = start(self._decide_run(actor, run))
        if wait or total <= _WAITED:
            await work
        else:
            work.addErrback(_log_run)
        return run

    async def _decide_run(self, actor: Principal, run: DecisionRun) -> None:
        query = ListQuery(limit=_WRITTEN, sort="id", filters={"decision": UNDECIDED})
        try:
            while True:
                batch = await self._store.recovered_revocations(query)
                if batch.items:
                    serials = [one.serial for one in batch.items]
                    run.decided += len(await self._decide(actor, serials, run.decision))
                if batch.next_cursor is None:
                    break
                query = replace(query, cursor=batch.next_cursor)
        except PikachuError as error:
            run.failure = error.public
            raise
        finally:
            run.active = False

    async def _decide(self, actor: Principal, serials: Sequence[int], decision: RecoveryDecision) -> list[int]:
        event = event_by(actor, decision.value, "certificate", "", None)
        return await self._store.decide_recovered(serials, decision, event, utc(self._clock.seconds()))


class _Comparison:
    """A CRL's entries beside the stored ones.

    Both are in the order of revocation, so nearly all pairs are found by reading each side once.  What is left has to
    be looked up: it is missing, or too far from its place.
    """

    def __init__(self, entries: Iterator[tuple[str, bytes]]) -> None:
        self._entries = entries
        self._unmatched: dict[bytes, str] = {}
        self._stored: set[bytes] = set()
        self.ended = False

    def advance(self, stored: Sequence[tuple[int, bytes]]) -> list[tuple[str, bytes]]:
        """Compare the next entries with the next *stored* ones; return those to look up.  Blocks."""
        listed = _take(self._entries, _COMPARED)
        for serial, entry in listed:
            if entry in self._stored:
                self._stored.remove(entry)
            else:
                self._unmatched[entry] = serial
        for _, entry in stored:
            if self._unmatched.pop(entry, None) is None:
                self._stored.add(entry)
        if len(self._stored) > _HELD:
            self._stored.clear()
        self.ended = not listed and not (stored and self._unmatched)
        if not self.ended and len(self._unmatched) <= _HELD:
            return []
        different = [(serial, entry) for entry, serial in self._unmatched.items()]
        self._unmatched.clear()
        return different


def _take(items: Iterator[T], count: int) -> list[T]:
    """Return the next items, at most *count*; parsing them may block."""
    return list(islice(items, count))


def countable(issuer: IssuingCA, *numbers: int) -> int:
    """Return the greatest of these CRL numbers that this server can count on from."""
    greatest = max(numbers)
    if greatest <= _MAX_NUMBER:
        return greatest
    log.error(
        "CRL {number} of {issuer}, which another program made, has a number above all that this server can count to. "
        "The next CRL has a smaller number: programs that remember the greatest one may refuse it.",
        number=greatest,
        issuer=issuer.name,
    )
    return max((number for number in numbers if number <= _MAX_NUMBER), default=0)


def _log_run(failure: Failure) -> None:
    if failure.check(PikachuError):
        log.error("Deciding on all recovered revocations: {error}", error=failure.value)
    else:
        log.failure("Deciding on all recovered revocations", failure)


def recovery_message(count: int) -> str:
    """Return what to say about *count* recovered revocations without a decision."""
    what = "1 revocation is" if count == 1 else f"{count:,} revocations are"
    return (
        f"The database is an older copy: {what} known only from the published CRL, and in force until an administrator "
        "decides, on the page “Recovered revocations” or with `pikachu recovered`."
    )
