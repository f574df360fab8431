"""Recovery of revocations from published CRLs, after the database was restored from an older copy.

The CRL on disk outlives the database, and relying parties have seen it: what it revokes stays revoked until an
administrator decides.  A CRL can have more than the database only if its number is above all that the database has
reserved, so no other start reads its entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pikachu.auth.permissions import require_scope
from pikachu.ca.issuers import IssuingCA
from pikachu.core.audit import event_by
from pikachu.core.concurrency import SingleFlight, uncancelled
from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.certificates import PublishedRevocation, format_serial
from pikachu.core.model.people import SYSTEM, Principal, Scope
from pikachu.core.model.times import utc
from pikachu.core.recovery_interfaces import RecoveredRevocation, RecoveryDecision
from pikachu.va.crl_files import check_signed
from pikachu.x509.crl import CRLSummary, crl_entries

log = Logger()
T = TypeVar("T")

# Entries that one read compares, and revocations that one transaction writes.
_COMPARED: Final = 1000
_WRITTEN: Final = 100


class RevocationRecovery:
    """Keeps what published CRLs revoke and the database lacks, and takes an administrator's decisions."""

    def __init__(self, clock: IClock, store: IStore, pool: IWorkerPool) -> None:
        self._clock = clock
        self._store = store
        self._pool = pool
        self._flights: SingleFlight[None] = SingleFlight()

    def recover(self, issuer: IssuingCA, path: Path, number: int) -> Deferred[None]:
        """Take the revocations that the database lacks from an issuer's CRL on disk.

        :param path: of the DER; a file that *issuer* has not signed is ignored.
        :param number: its CRL number.
        :return: fails with StoreUnavailable.
        """
        return self._flights.run(issuer.id, lambda: self._recover(issuer, path, number))

    async def _recover(self, issuer: IssuingCA, path: Path, number: int) -> None:
        if number <= await self._store.crl_number(issuer.id):
            # The database reserved this number after it had stored what the CRL lists.
            return

        def read() -> tuple[CRLSummary, Iterator[PublishedRevocation]]:
            data = path.read_bytes()
            summary = check_signed(data, issuer.certificate)
            if summary.critical_extensions:
                raise MalformedRequest("this is a delta CRL, or one of some certificates only")
            return summary, crl_entries(data)

        count = 0
        try:
            summary, remaining = await self._pool.run(read)
            while entries := await self._pool.run(_take, remaining, _COMPARED):
                count += await self._recover_batch(issuer, entries, summary)
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

    async def _recover_batch(
        self, issuer: IssuingCA, entries: Sequence[PublishedRevocation], summary: CRLSummary
    ) -> int:
        missing = await self._store.missing_revocations(issuer.id, entries)
        event = event_by(SYSTEM, "recover", "CRL", issuer.key_identifier.hex(), None, number=summary.number)
        period = (summary.this_update, issuer.certificate.not_after)
        now = utc(self._clock.seconds())
        count = 0
        remaining = iter(missing)
        while some := _take(remaining, _WRITTEN):
            count += await self._store.recover_revocations(issuer.id, some, period, event, now)
        return count

    async def undecided(self, issuer: IssuingCA) -> int:
        """Return the number of recovered revocations of an issuer without a decision."""
        return (await self._store.undecided_revocations()).get(issuer.id, 0)

    async def notice(self) -> str | None:
        """Return what to tell administrators about recovered revocations of all issuers, or None without any."""
        count = sum((await self._store.undecided_revocations()).values())
        return recovery_message(count) if count else None

    @uncancelled
    async def page(self, actor: Principal, after: int, limit: int) -> list[RecoveredRevocation]:
        """Return recovered revocations without a decision, with ids above *after*; for administrators."""
        require_scope(actor, Scope.ADMIN)
        return await self._store.recovered_revocations(after, limit)

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
    async def decide_all(self, actor: Principal, decision: RecoveryDecision) -> int:
        """Keep or drop all recovered revocations without a decision, and return their number; for administrators.

        Fails with StoreUnavailable.
        """
        require_scope(actor, Scope.ADMIN)
        count = 0
        while batch := await self._store.recovered_revocations(0, _WRITTEN):
            count += len(await self._decide(actor, [one.serial for one in batch], decision))
        return count

    async def _decide(self, actor: Principal, serials: Sequence[int], decision: RecoveryDecision) -> list[int]:
        event = event_by(actor, decision.value, "certificate", "", None)
        return await self._store.decide_recovered(serials, decision, event, utc(self._clock.seconds()))


def _take(items: Iterator[T], count: int) -> list[T]:
    """Return the next items, at most *count*; parsing them may block."""
    return list(islice(items, count))


def recovery_message(count: int) -> str:
    """Return what to say about *count* recovered revocations without a decision."""
    what = "1 revocation is" if count == 1 else f"{count:,} revocations are"
    return (
        f"The database is an older copy: {what} known only from the published CRL, and in force until an administrator "
        "decides with `pikachu recovered`."
    )
