"""Old objects (OPS-6): how many there are, and their removal in short transactions."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from twisted.internet.defer import Deferred

from sqlalchemy import Integer, bindparam, delete, func, select

from pikachu.core.housekeeping_interfaces import NOTHING_OLD, OldChallengePasswords, OldObjects
from pikachu.storage.database import Transaction
from pikachu.storage.job_schema import jobs
from pikachu.storage.schema import challenges
from pikachu.storage.transactions import StoreSection, maybe_moment, moment, read_transaction, write_transaction

_ch: Final = challenges.c
_next_challenges: Final = (
    select(_ch.id, _ch.created_at, _ch.expires_at, _ch.reserved_by, _ch.consumed_at, _ch.batch_id)
    .where(_ch.id > bindparam("b_after"))
    .order_by(_ch.id)
    .limit(bindparam("b_limit", type_=Integer))
)
_delete_challenge: Final = delete(challenges).where(_ch.id == bindparam("b_id"))
_old_jobs: Final = select(func.count(), func.min(jobs.c.ended_at)).where(jobs.c.ended_at < bindparam("b_before"))


class HousekeepingStore(StoreSection):
    """See :class:`pikachu.core.housekeeping_interfaces.IHousekeepingStore`."""

    def old_challenge_passwords(
        self, before: datetime, after: int, limit: int, *, remove: bool
    ) -> Deferred[OldChallengePasswords]:
        """Find the used and expired challenge passwords among the next ones, and delete them if asked to."""
        if remove:
            return self._drop_challenges(int(before.timestamp()), after, limit)
        return self._count_challenges(int(before.timestamp()), after, limit)

    @read_transaction
    def _count_challenges(self, tx: Transaction, before: int, after: int, limit: int) -> OldChallengePasswords:
        return _look(tx, before, after, limit)[0]

    @write_transaction
    def _drop_challenges(self, tx: Transaction, before: int, after: int, limit: int) -> OldChallengePasswords:
        found, ids = _look(tx, before, after, limit)
        for identity in ids:
            tx.write(_delete_challenge, {"b_id": identity})
        return found

    @read_transaction
    def old_jobs(self, tx: Transaction, ended_before: datetime) -> OldObjects:
        """Return the jobs that ended before that time."""
        row = tx.row(_old_jobs, {"b_before": int(ended_before.timestamp())})
        return NOTHING_OLD if row is None else OldObjects(int(row[0]), maybe_moment(row[1]))


def _look(tx: Transaction, before: int, after: int, limit: int) -> tuple[OldChallengePasswords, list[int]]:
    """Return what is old among the next challenge passwords, with the ids of these."""
    rows = tx.rows(_next_challenges, {"b_after": after, "b_limit": limit})
    ended: list[tuple[int, int]] = []
    following = rows[-1][0] if len(rows) == limit else None
    for identity, created_at, expires_at, reserved_by, consumed_at, batch_id in rows:
        if created_at >= before:
            # Ids grow with time: none of the following can have ended earlier.
            following = None
            break
        # Those of a batch are its list of names, also of the ones that never enrolled (ENR-1).
        if batch_id is not None:
            continue
        # A reserved one belongs to a request that may still be issued.
        end = consumed_at if consumed_at is not None else expires_at if reserved_by is None else before
        if end < before:
            ended.append((end, identity))
    oldest = moment(min(ended)[0]) if ended else None
    return OldChallengePasswords(OldObjects(len(ended), oldest), following), [identity for _, identity in ended]
