"""The transparency log (TLG-1): events and certificates become leaves of one Merkle tree after their commits.

Nothing enters it in the transaction of an enrollment.  Both tables get their ids in transactions that run one after the
other, on PostgreSQL too, so whatever has a higher id than the last leaf is committed later than it: a transaction that
appends the next ids of each misses none, and every node gives the same order.  See docs/adr/0047.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import Integer, bindparam, func, select

from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, NotFound
from pikachu.core.log_interfaces import LogConsistency, LogInclusion, LogState, OldEvents, PrunedEvents, TreeHead
from pikachu.storage.audit import CLOCK_STEP, first_since, require_audit_key
from pikachu.storage.database import Row, Transaction
from pikachu.storage.log_schema import log_entries, log_tiles
from pikachu.storage.pruning import read_pruning, write_pruning
from pikachu.storage.schema import audit_events, audit_head, certificates
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    moment,
    point_read,
    read_transaction,
    row_id,
    write_transaction,
)
from pikachu.transparency import merkle, tiles
from pikachu.transparency.leaves import certificate_leaf, event_leaf

_EVENT: Final = 0
_CERTIFICATE: Final = 1
# Leaves verified in one transaction.
_CHUNK: Final = 8 * tiles.TILE
_CHANGED: Final = "the transparency log was changed"

_e: Final = log_entries.c
_t: Final = log_tiles.c
_size: Final = select(func.coalesce(func.max(_e.position) + 1, 0))
_last: Final = select(func.coalesce(func.max(_e.ref), 0)).where(_e.kind == bindparam("b_kind"))
_head_count: Final = select(audit_head.c.count).where(audit_head.c.id == 1)
_last_certificate: Final = select(func.coalesce(func.max(certificates.c.id), 0))
_certificate_count: Final = select(func.count()).select_from(certificates).where(certificates.c.id <= bindparam("b_id"))
_events_after: Final = (
    select(audit_events.c.id, audit_events.c.hash)
    .where(audit_events.c.id > bindparam("b_after"))
    .order_by(audit_events.c.id)
    .limit(bindparam("b_limit", type_=Integer))
)
_certificates_after: Final = (
    select(certificates.c.id, certificates.c.der)
    .where(certificates.c.id > bindparam("b_after"))
    .order_by(certificates.c.id)
    .limit(bindparam("b_limit", type_=Integer))
)
_event: Final = select(audit_events.c.at, audit_events.c.hash).where(audit_events.c.id == bindparam("b_id"))
_delete_events: Final = audit_events.delete().where(audit_events.c.id <= bindparam("b_id"))
_insert_entry: Final = insert_into(log_entries, "position", "kind", "ref", returning_id=False)
_tile: Final = select(_t.hashes).where(_t.level == bindparam("b_level"), _t.position == bindparam("b_position"))
_delete_tile: Final = log_tiles.delete().where(_t.level == bindparam("b_level"), _t.position == bindparam("b_position"))
_insert_tile: Final = insert_into(log_tiles, "level", "position", "hashes", returning_id=False)
_position: Final = select(_e.position).where(_e.kind == bindparam("b_kind"), _e.ref == bindparam("b_ref"))
_entries: Final = (
    select(_e.position, _e.kind, _e.ref)
    .where(_e.position >= bindparam("b_first"), _e.position < bindparam("b_end"))
    .order_by(_e.position)
)


def _number(tx: Transaction, statement: object, **parameters: object) -> int:
    row = tx.row(statement, parameters)  # type: ignore[arg-type]  # a constant statement
    return 0 if row is None else int(row[0])


def read_tile(tx: Transaction, level: int, position: int) -> bytes:
    """Return the hashes of a tile; empty if there is none."""
    row = tx.row(_tile, {"b_level": level, "b_position": position})
    return b"" if row is None else bytes(row[0])


def _next_leaves(tx: Transaction, limit: int) -> list[tuple[int, int, bytes]]:
    """Return kind, id and leaf hash of what follows in the log.

    :raises Conflict: when an event is missing.
    """
    after = _number(tx, _last, b_kind=_EVENT)
    leaves: list[tuple[int, int, bytes]] = []
    for number, digest in tx.rows(_events_after, {"b_after": after, "b_limit": limit}):
        after += 1
        if number != after:
            raise Conflict(f"the audit log was changed: event {after} is missing")
        leaves.append((_EVENT, number, event_leaf(number, bytes(digest))))
    last = _number(tx, _last, b_kind=_CERTIFICATE)
    for identity, der in tx.rows(_certificates_after, {"b_after": last, "b_limit": limit}):
        leaves.append((_CERTIFICATE, identity, certificate_leaf(bytes(der))))
    return leaves


def _state(tx: Transaction) -> LogState:
    events = _number(tx, _head_count) - _number(tx, _last, b_kind=_EVENT)
    newer = _number(tx, _last_certificate) - _number(tx, _last, b_kind=_CERTIFICATE)
    return LogState(_number(tx, _size), max(0, events) + max(0, newer))


def _tree_head(tx: Transaction) -> tuple[TreeHead, merkle.NodeReader]:
    node = tiles.node_reader(partial(read_tile, tx))
    size = _number(tx, _size)
    return TreeHead(size, merkle.range_hash(0, size, node)), node


class _Verification:
    """A verification of the log.  Its steps run in transactions of their own, in the threads of the store.

    :param size: the size of the log at its beginning.
    :param kept: an earlier head, which the log must begin with.
    """

    def __init__(self, size: int, kept: TreeHead | None) -> None:
        self.size = size
        self.edge = merkle.RightEdge()
        self._kept = kept
        self._last_event = 0
        self._last_certificate = 0
        self._certificates = 0
        # Hashes of complete tiles.
        self._tops: list[bytes] = []

    def begin(self) -> None:
        """Compare the sizes; Conflict."""
        if self._kept is not None and self._kept.size > self.size:
            raise Conflict(
                f"the log has {self.size} entries, but the checkpoint has {self._kept.size}: the newest entries were "
                "cut off"
            )
        self._compare()

    def step(self, tx: Transaction) -> int:
        """Verify the next leaves against events and certificates; return the number of verified leaves.

        :raises Conflict: naming the first entry that differs.
        """
        first = self.edge.size
        end = min(self.size, first + _CHUNK)
        entries = tx.rows(_entries, {"b_first": first, "b_end": end})
        if [row[0] for row in entries] != list(range(first, end)):
            raise Conflict(f"{_CHANGED}: an entry from {first} to {end - 1} is missing")
        pruned = read_pruning(tx, require_audit_key(tx))
        pruned_count = 0 if pruned is None else pruned.count
        events, issued = self._rows(tx, entries)
        stored = b"".join(read_tile(tx, 0, at) for at in range(first // tiles.TILE, -(-end // tiles.TILE)))
        leaves = tiles.hashes_of(stored)[: end - first]
        if len(leaves) != end - first:
            raise Conflict(f"{_CHANGED}: a hash of the entries from {first} to {end - 1} is missing")
        for (position, kind, ref), leaf in zip(entries, leaves, strict=True):
            if kind == _EVENT:
                self._check_event(position, ref, leaf, events.get(ref), is_pruned=ref <= pruned_count)
            else:
                self._check_certificate(position, ref, leaf, issued.get(ref))
            self.edge.append(leaf)
            self._compare()
        self._tops += [
            merkle.root_of(leaves[at : at + tiles.TILE]) for at in range(0, len(leaves) - tiles.TILE + 1, tiles.TILE)
        ]
        return self.edge.size

    def end(self, tx: Transaction) -> None:
        """Verify what lies above and after the leaves; Conflict."""
        if _number(tx, _head_count) < self._last_event:
            raise Conflict(f"event {self._last_event} is missing, which the transparency log has")
        if _number(tx, _certificate_count, b_id=self._last_certificate) != self._certificates:
            raise Conflict("a certificate was added to the database that the transparency log lacks")
        higher = tiles.append(lambda _, __: b"", 0, self._tops)
        for (level, position), hashes in higher.items():
            # The last one of a level may have grown meanwhile.
            if not read_tile(tx, level + 1, position).startswith(hashes):
                raise Conflict(f"{_CHANGED}: tile {position} of level {level + 1} does not match the leaves")

    def _rows(self, tx: Transaction, entries: list[Row]) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """Return the hashes of events and the certificates that the entries are about, by id."""
        count = sum(kind == _EVENT for _, kind, _ in entries)
        events = tx.rows(_events_after, {"b_after": self._last_event, "b_limit": count})
        limit = len(entries) - count
        issued = tx.rows(_certificates_after, {"b_after": self._last_certificate, "b_limit": limit})
        return {row[0]: bytes(row[1]) for row in events}, {row[0]: bytes(row[1]) for row in issued}

    def _check_event(self, position: int, number: int, leaf: bytes, digest: bytes | None, *, is_pruned: bool) -> None:
        if number != self._last_event + 1:
            raise Conflict(f"{_CHANGED}: its entry {position} is event {number}, not {self._last_event + 1}")
        self._last_event = number
        if digest is None:
            if not is_pruned:
                raise Conflict(f"event {number} is missing, which the transparency log has at its entry {position}")
        elif event_leaf(number, digest) != leaf:
            raise Conflict(f"event {number} is not what the transparency log has at its entry {position}")

    def _check_certificate(self, position: int, identity: int, leaf: bytes, certificate: bytes | None) -> None:
        if certificate is None or identity <= self._last_certificate:
            raise Conflict(f"certificate {identity} is missing, which the transparency log has at its entry {position}")
        self._last_certificate = identity
        self._certificates += 1
        if certificate_leaf(certificate) != leaf:
            raise Conflict(f"certificate {identity} is not what the transparency log has at its entry {position}")

    def _compare(self) -> None:
        kept = self._kept
        if kept is not None and self.edge.size == kept.size and self.edge.root() != kept.root:
            raise Conflict(
                f"the first {kept.size} entries of the log are not those of the checkpoint: entries were rewritten or "
                "removed since"
            )


class LogStore(StoreSection):
    """See :class:`pikachu.core.log_interfaces.ILogStore`."""

    @write_transaction
    def extend_log(self, tx: Transaction, limit: int) -> LogState:
        """Append the next events and certificates, up to *limit* of each; Conflict."""
        leaves = _next_leaves(tx, limit)
        if leaves:
            size = _number(tx, _size)
            changed = tiles.append(partial(read_tile, tx), size, [leaf for _, _, leaf in leaves])
            rows = [{"position": size + index, "kind": kind, "ref": ref} for index, (kind, ref, _) in enumerate(leaves)]
            tx.write_many(_insert_entry, rows)
            for (level, position), hashes in changed.items():
                tx.write(_delete_tile, {"b_level": level, "b_position": position})
                tx.write(_insert_tile, {"level": level, "position": position, "hashes": hashes})
        return _state(tx)

    @point_read
    def log_state(self, tx: Transaction) -> LogState:
        """Return the size of the log, and what is not in it yet."""
        return _state(tx)

    @read_transaction
    def log_head(self, tx: Transaction) -> TreeHead:
        """Return size and root hash of the log."""
        return _tree_head(tx)[0]

    @read_transaction
    def log_inclusion(self, tx: Transaction, certificate_id: int) -> LogInclusion:
        """Return the inclusion proof of a certificate; NotFound."""
        row = tx.row(_position, {"b_kind": _CERTIFICATE, "b_ref": row_id(certificate_id)})
        if row is None:
            raise NotFound("the certificate is not in the transparency log yet; try again soon")
        head, node = _tree_head(tx)
        return LogInclusion(row[0], head, tuple(merkle.inclusion_proof(row[0], head.size, node)))

    @read_transaction
    def log_consistency(self, tx: Transaction, old: int) -> LogConsistency:
        """Return the proof that the log begins with its first *old* leaves; NotFound."""
        head, node = _tree_head(tx)
        if old > head.size:
            raise NotFound(f"the log has {head.size} entries, fewer than the checkpoint, which has {old}")
        former = TreeHead(old, merkle.range_hash(0, old, node))
        return LogConsistency(former, head, tuple(merkle.consistency_proof(old, head.size, node)))

    @read_transaction
    def pruned_events(self, tx: Transaction) -> PrunedEvents | None:
        """Return what housekeeping has removed from the audit log; Conflict."""
        return read_pruning(tx, require_audit_key(tx))

    @read_transaction
    def old_events(self, tx: Transaction, before: datetime) -> OldEvents:
        """Return the events in the log that are older than *before*."""
        pruned = read_pruning(tx, require_audit_key(tx))
        first = 1 if pruned is None else pruned.count + 1
        last = min(first_since(tx, int(before.timestamp()) - CLOCK_STEP) - 1, _number(tx, _last, b_kind=_EVENT))
        row = tx.row(_event, {"b_id": first})
        return OldEvents(first, last, None if row is None or last < first else moment(row[0]))

    @write_transaction
    def prune_events(self, tx: Transaction, last: int, limit: int, note: str, now: datetime) -> int:
        """Remove up to *limit* of the oldest events, none after *last*; Conflict."""
        key = require_audit_key(tx)
        pruned = read_pruning(tx, key)
        count = 0 if pruned is None else pruned.count
        end = min(count + limit, last, _number(tx, _last, b_kind=_EVENT))
        if end <= count:
            return count
        row = tx.row(_event, {"b_id": end})
        if row is None:
            raise Conflict(f"the audit log was changed: event {end} is missing")
        tx.write(_delete_events, {"b_id": end})
        write_pruning(tx, key, PrunedEvents(end, bytes(row[1]), now, note))
        return end

    @uncancelled
    async def verify_log(self, kept: TreeHead | None, progress: Callable[[int], None] | None = None) -> TreeHead:
        """Verify the log in short transactions, and return its head; Conflict."""
        size = await self._read("log_size", lambda tx: _number(tx, _size))
        run = _Verification(size, kept)
        run.begin()
        position = 0
        while position < size:
            position = await self._read("verify_log", run.step)
            if progress is not None:
                progress(position)
        await self._read("verify_log_end", run.end)
        return TreeHead(size, run.edge.root())
