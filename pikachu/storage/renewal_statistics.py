"""Counts of renewals by policy and method: bounded reads of the index of ends, with one seek for each name."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, or_, select

from pikachu.core.model.counts import RenewalCount, RenewalCounts
from pikachu.core.model.devices import renewal_times
from pikachu.storage.certificates import OWN_IDS
from pikachu.storage.database import Transaction
from pikachu.storage.schema import certificates
from pikachu.storage.transactions import StoreSection, moment, read_transaction

#: The time before now in which certificates have expired that are counted, and the greatest number of them.
SPAN: Final = timedelta(days=30)
MAX_READ: Final = 2000

_c: Final = certificates.c


def _rows(*conditions: ColumnElement[bool], newest_first: bool) -> Select[Any]:
    """Return the statement for certificates in the order of their ends, with whether they have a successor."""
    order = (_c.not_after.desc(), _c.id.desc()) if newest_first else (_c.not_after, _c.id)
    columns = (_c.id, _c.policy, _c.method, _c.created_at, _c.not_after, _c.name_key, _c.owner_id)
    found = (
        select(*columns)
        .where(
            _c.not_after >= bindparam("b_from"),
            _c.not_after < bindparam("b_to"),
            _c.deleted_at.is_(None),
            _c.revoked_at.is_(None),
            _c.id.not_in(OWN_IDS),
            *conditions,
        )
        .with_hint(certificates, "INDEXED BY certificates_end", "sqlite")
        .order_by(*order)
        .limit(bindparam("b_limit"))
        .subquery()
    )
    following = certificates.alias("following")
    same_owner = or_(
        following.c.owner_id == found.c.owner_id, and_(following.c.owner_id.is_(None), found.c.owner_id.is_(None))
    )
    later = (following.c.name_key == found.c.name_key, following.c.id > found.c.id, same_owner)
    in_time = exists().where(*later, following.c.created_at < found.c.not_after)
    return select(
        found.c.policy, found.c.method, found.c.created_at, found.c.not_after, in_time, exists().where(*later)
    )


_mine: Final = _c.owner_id == bindparam("b_owner")
_ended: Final = _rows(newest_first=True)
_my_ended: Final = _rows(_mine, newest_first=True)
_ending: Final = _rows(newest_first=False)
_my_ending: Final = _rows(_mine, newest_first=False)


class RenewalStatisticsStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IStatisticsStore`."""

    @read_transaction
    def renewals(self, tx: Transaction, owner_id: int | None, now: datetime) -> RenewalCounts:
        """Return how certificates that expired lately were renewed."""
        at, span = int(now.timestamp()), int(SPAN.total_seconds())
        mine = {"b_limit": MAX_READ} if owner_id is None else {"b_limit": MAX_READ, "b_owner": owner_id}
        ended = tx.rows(_ended if owner_id is None else _my_ended, {**mine, "b_from": at - span, "b_to": at})
        valid = tx.rows(_ending if owner_id is None else _my_ending, {**mine, "b_from": at, "b_to": at + span})
        counts: Counter[tuple[str, str, str]] = Counter()
        for policy, method, _, _, in_time, later in ended:
            counts[policy, method, "renewed" if in_time else "late" if later else "missed"] += 1
        for policy, method, begin, end, _, later in valid:
            due, overdue = renewal_times(begin, end)
            if not later and due <= at:
                counts[policy, method, "due"] += 1
                counts[policy, method, "overdue"] += overdue <= at
        kinds = sorted({(policy, method) for policy, method, _ in counts})
        names = ("renewed", "late", "missed", "due", "overdue")
        return RenewalCounts(
            moment(at - span),
            now,
            max(len(ended), len(valid)) < MAX_READ,
            tuple(RenewalCount(*kind, *(counts[*kind, name] for name in names)) for kind in kinds),
        )
