"""Free text in lists of certificates.

A word of the text matches a certificate whose subject, subject alternative names (also in their Unicode form), key type
or method contains it, whose serial number begins with it, if it has at least three hexadecimal digits, whose SHA-256
fingerprint or public key begins with it, if it has at least 16, whose id it is, whose owner's name begins with it,
whose policy's name has it as a word, or that was issued or ends on that day (UTC), such as ``2026-11-29``.  All words
must match.  A serial number or fingerprint may be in groups: ``3a:4f:00:12``, ``3A 4F 00 12``.

The index of texts has their trigrams, and the single characters and pairs of scripts other than ASCII: SQLite's FTS5
with the trigram tokenizer; in PostgreSQL, of which extensions need not be installed, a GIN index of numbers.  Shorter
ASCII words are looked for at the beginning of all names and anywhere in the newest few thousand certificates.

A text that may match thousands of certificates is searched at the beginning of all names, and elsewhere in the newest
few thousand only.  If thousands of names begin with it, only these are searched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    String,
    and_,
    bindparam,
    cast,
    column,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.storage.certificate_filters import kinds_condition, kinds_of_policy, of_kind
from pikachu.storage.database import Transaction
from pikachu.storage.pagination import begins_with
from pikachu.storage.schema import accounts, certificates
from pikachu.x509.search_text import (
    MARK,
    content_entries,
    entry_number,
    fold,
    index_content,
    index_entries,
    is_indexed,
)

# Accounts whose certificates a word selects by the beginning of the account's name.
_MAX_OWNERS: Final = 20
# Policies that a word selects, their kinds of certificates, and policies of which the names are compared.
_MAX_POLICIES: Final = 20
_MAX_KINDS: Final = 40
_MAX_POLICY_NAMES: Final = 500
# Index entries that are looked up where most certificates have all of them.
_MAX_COMMON: Final = 2
# Size of fingerprints and key identifiers.
_DIGEST_SIZE: Final = 32

_c: Final = certificates.c
_sqlite_index: Final = table("certificate_search", column("rowid", BigInteger), column("content", String))
_postgresql_index: Final = table(
    "certificate_search", column("certificate_id", BigInteger), column("entries", ARRAY(BigInteger))
)
# The names of the policies of all certificates, each by one seek in their index.
_policies: Final = select(func.min(_c.policy).label("name")).cte("policies", recursive=True)
_next_policy: Final = select(func.min(_c.policy)).where(_c.policy > _policies.c.name).scalar_subquery()
_policy_names: Final = select(
    _policies.union_all(select(_next_policy).where(_policies.c.name.is_not(None))).c.name
).limit(literal_column(str(_MAX_POLICY_NAMES)))
_matched: Final = text("certificate_search MATCH :match")
_samples: Final = (
    select(_c.search_text).where(_c.search_text.is_not(None)).order_by(_c.id.desc()).limit(literal_column("200"))
)
_insert_sqlite: Final = insert(_sqlite_index).values(rowid=bindparam("row"), content=bindparam("content"))
_insert_postgresql: Final = insert(_postgresql_index).values(
    certificate_id=bindparam("row"), entries=cast(bindparam("content"), ARRAY(BigInteger))
)


def write_index(tx: Transaction) -> None:
    """Write the index entries of the texts that a transaction has collected."""
    if tx.dialect == "sqlite":
        tx.write_many(_insert_sqlite, [{"row": row, "content": index_content(text)} for row, text in tx.texts])
    else:
        tx.write_many(_insert_postgresql, [{"row": row, "content": content_entries(text)} for row, text in tx.texts])


class CertificateSearch:
    """A search for certificates.

    :param terms: folded words, at least one.
    :param by_owner: whether the words also match names of owners.
    """

    def __init__(self, tx: Transaction, terms: Sequence[str], *, by_owner: bool) -> None:
        self._tx = tx
        self._terms = terms
        policies = _policies_by_word(tx)
        self._alternatives = [
            _alternatives(tx, term, policies.get(term, ())[:_MAX_POLICIES], by_owner=by_owner) for term in terms
        ]
        self._indexed = [term for term in terms if tx.search and is_indexed(term)]
        self._few = tx.settings.few_certificates

    @cached_property
    def condition(self) -> ColumnElement[bool]:
        """The condition on a row."""
        return and_(
            *(
                or_(
                    _c.search_text.like(literal(_pattern(term), String), escape="\\"),
                    *(other.condition for other in others),
                )
                for term, others in zip(self._terms, self._alternatives, strict=True)
            )
        )

    def candidates(self) -> Select[Any]:
        """Return a query for ids that contain all matches if they are few, and many otherwise."""
        ids = self._other_ids()
        if self._indexed:
            ids.append(self._indexed_ids())
        else:
            ids += [select(_c.id).where(self._begins()), self._newest()]
        return _union(ids)

    def many(self) -> tuple[ColumnElement[bool], Select[Any] | None]:
        """Return (condition on a row, query for candidate ids), when there are many; ids are None for all rows."""
        beginning = select(_c.id).where(self._begins())
        most = self._tx.settings.common_names
        ids = self._other_ids()
        if _count(self._tx, beginning, most + 1) <= most:
            ids.append(beginning)
        elif len(self._terms) == 1:
            return self._begins(), None
        if self._indexed:
            matches = self._indexed_ids()
            if self._tx.dialect != "sqlite":
                # The index would fetch all matches first.
                matches = matches.where(_postgresql_index.c.certificate_id > _newest_id() - 4 * self._few)
            matches = matches.order_by(matches.selected_columns[0].desc()).limit(self._few)
        else:
            matches = self._newest()
        return self.condition, _union([*ids, matches])

    def _begins(self) -> ColumnElement[bool]:
        return begins_with(_c.name_key, self._terms[0])

    def _other_ids(self) -> list[Select[Any]]:
        """Return queries for the ids that match a word by anything but the text."""
        return [
            ids.limit(self._few + 1)
            for alternatives in self._alternatives
            for alternative in alternatives
            for ids in alternative.ids
        ]

    def _newest(self) -> Select[Any]:
        """Return a query for the matches among the newest certificates."""
        return select(_c.id).where(_c.id > _newest_id() - self._few, self.condition)

    @cached_property
    def _entries(self) -> list[str]:
        """The index entries to look up: without those of most certificates, which cost much and select little."""
        entries = index_entries(self._indexed)
        samples = [row[0] for row in self._tx.rows(_samples)]
        frequencies = {entry: sum(entry in text for text in samples) for entry in entries if MARK not in entry}
        selective = [entry for entry in entries if 2 * frequencies.get(entry, 0) <= len(samples)]
        return selective or sorted(entries, key=lambda entry: frequencies.get(entry, 0))[:_MAX_COMMON]

    def _indexed_ids(self) -> Select[Any]:
        entries = self._entries
        if self._tx.dialect == "sqlite":
            # The index has no positions, which makes updates cheap; the condition on the row excludes false matches.
            match = " AND ".join('"' + entry.replace('"', '""') + '"' for entry in entries)
            return select(_sqlite_index.c.rowid).where(_matched.bindparams(match=match))
        numbers = [entry_number(entry) for entry in entries]
        return select(_postgresql_index.c.certificate_id).where(
            _postgresql_index.c.entries.contains(cast(numbers, ARRAY(BigInteger)))
        )


@dataclass(frozen=True, slots=True)
class _Alternative:
    """Another column by which a word matches.

    :ivar ids: queries for the ids of its matches, the newest first.
    """

    condition: ColumnElement[bool]
    ids: tuple[Select[Any], ...]


def _newest_id() -> ColumnElement[int]:
    return select(func.max(certificates.alias("newest").c.id)).scalar_subquery()


def _alternatives(tx: Transaction, term: str, policies: Sequence[str], *, by_owner: bool) -> list[_Alternative]:
    """Return the alternatives by which a word matches other columns than the text, each with an index.

    :param policies: the names of the policies that it matches.
    """
    conditions: list[ColumnElement[bool]] = []
    number = term.removeprefix("0x").replace(":", "")
    digits = number.lstrip("0")
    if re.fullmatch("[0-9a-f]{1,40}", digits):
        # Prefixes of one or two digits match too many serial numbers; require equality.
        conditions.append(begins_with(_c.serial, digits) if len(digits) >= 3 else _c.serial == digits)
    if re.fullmatch("[0-9a-f]{16,64}", number) and len(number) % 2 == 0:
        # The fingerprint, or its beginning, and the key.
        beginning = bytes.fromhex(number)
        conditions += [_begins_with_bytes(column, beginning) for column in (_c.fingerprint, _c.key_id)]
    identity = parse_number(term, MAX_ID)
    if identity is not None:
        conditions.append(_c.id == identity)
    if by_owner:
        owners = select(accounts.c.id).where(begins_with(accounts.c.name_key, term)).limit(_MAX_OWNERS)
        owner_ids = [row[0] for row in tx.query(owners)]
        if owner_ids:
            conditions.append(_c.owner_id.in_(owner_ids))
    alternatives = [_Alternative(one, (_ids(one, _c.id),)) for one in conditions]
    if policies:
        kinds = [kind for policy in policies for kind in kinds_of_policy(tx, policy)][:_MAX_KINDS]
        ids = tuple(of_kind(_ids(kinds_condition([kind]), _c.id)) for kind in kinds)
        alternatives.append(_Alternative(_c.policy.in_(policies), ids))
    for time in (_c.created_at, _c.not_after):
        in_day = _on_day(time, term)
        if in_day is not None:
            # Sorted by the time, so that its index is used.
            alternatives.append(_Alternative(in_day, (_ids(in_day, time),)))
    return alternatives


def _ids(condition: ColumnElement[bool], order: ColumnElement[Any]) -> Select[Any]:
    return select(_c.id).where(condition).order_by(order.desc())


def _on_day(column: ColumnElement[int], term: str) -> ColumnElement[bool] | None:
    """Return the condition that a time is on the day (UTC) that a word is, such as ``2026-11-29``, or None."""
    if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", term):
        return None
    try:
        start = datetime.fromisoformat(term).replace(tzinfo=UTC)
        end = start + timedelta(days=1)
    except (ValueError, OverflowError):
        return None
    return and_(column >= int(start.timestamp()), column < int(end.timestamp()))


def _policies_by_word(tx: Transaction) -> dict[str, list[str]]:
    """Return the names of the policies of certificates by each folded word of theirs."""
    policies: dict[str, list[str]] = {}
    for (name,) in tx.query(_policy_names):
        for word in dict.fromkeys(fold(name or "").split()):
            policies.setdefault(word, []).append(name)
    return policies


def _begins_with_bytes(column: ColumnElement[bytes], prefix: bytes) -> ColumnElement[bool]:
    return and_(column >= prefix, column <= prefix.ljust(_DIGEST_SIZE, b"\xff"))


def _pattern(term: str) -> str:
    escaped = term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _count(tx: Transaction, ids: Select[Any], most: int) -> int:
    """Count ids, up to *most*."""
    return int(tx.query(select(func.count()).select_from(ids.limit(most).subquery()))[0][0])


def _union(ids: list[Select[Any]]) -> Select[Any]:
    if len(ids) == 1:
        return ids[0]
    selects = [select(query.subquery().c[0]) for query in ids]
    return select(selects[0].union_all(*selects[1:]).subquery().c[0])
