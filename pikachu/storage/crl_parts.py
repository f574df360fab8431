"""Delta CRLs and sharded CRLs: what they are made of, and which are published (docs/adr/0051)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import BindParameter, Integer, and_, bindparam, delete, func, insert, select, text, update

from pikachu.core.crl_part_interfaces import DeltaContent, PartRecord
from pikachu.core.errors import MalformedRequest
from pikachu.storage.crl_part_schema import crl_parts, crl_shards, expired_crl_entries
from pikachu.storage.database import Transaction
from pikachu.storage.schema import certificates, crl_entries, crls, requests, status_changes
from pikachu.storage.transactions import StoreSection, read_transaction, write_transaction
from pikachu.x509.certificate import parts_of, tbs_extensions
from pikachu.x509.crl_scope import distribution_point_urls

_ENTRIES: Final = 10_000

_s: Final = status_changes.c
_e: Final = crl_entries.c
_x: Final = expired_crl_entries.c
_p: Final = crl_parts.c
_issuer: Final[BindParameter[int]] = bindparam("b_issuer")
_rows: Final = bindparam("rows", type_=Integer)

_latest: Final = select(func.max(_s.id)).where(_s.issuer_id == _issuer)
# Full CRLs that clients may still use.  A negative last_change is that of a database from before a restoration.
_bases: Final = (
    select(crls.c.number, crls.c.last_change)
    .where(
        crls.c.issuer_id == _issuer,
        crls.c.next_update > bindparam("now"),
        crls.c.this_update <= bindparam("now"),
        crls.c.last_change >= 0,
    )
    .order_by(crls.c.number)
)
_beyond: Final = (
    select(_s.id)
    .where(_s.issuer_id == _issuer, _s.id > bindparam("after"))
    .order_by(_s.id.desc())
    .limit(1)
    .offset(_rows)
)
_changes: Final = (
    select(_s.serial, func.max(_s.replaces), _e.entry)
    .outerjoin(crl_entries, and_(_e.serial == _s.serial, _e.issuer_id == _s.issuer_id))
    .where(_s.issuer_id == _issuer, _s.id > bindparam("after"))
    .group_by(_s.serial, _e.entry)
    .order_by(func.max(_s.id))
)
_expired: Final = (
    select(_x.serial)
    .outerjoin(crl_entries, _e.serial == _x.serial)
    .where(_x.issuer_id == _issuer, _x.number >= bindparam("number"), _e.serial.is_(None))
    .order_by(_x.number.desc(), _x.serial)
    .limit(_rows)
)
_keep_expired: Final = insert(expired_crl_entries).from_select(
    ["issuer_id", "number", "serial"],
    select(_e.issuer_id, bindparam("number", type_=Integer), _e.serial).where(
        _e.issuer_id == _issuer,
        _e.not_after < bindparam("b_end"),
        # An expression, as in the deletion that follows.
        _e.change_id + 0 <= bindparam("b_listed"),
        ~select(_x.serial)
        .where(
            _x.issuer_id == _e.issuer_id,
            _x.number == bindparam("number", type_=Integer),
            _x.serial == _e.serial,
        )
        .exists(),
    ),
)
_forget_expired: Final = delete(expired_crl_entries).where(_x.issuer_id == _issuer, _x.number < bindparam("number"))
_oldest_usable: Final = select(func.min(crls.c.number)).where(
    crls.c.issuer_id == _issuer, crls.c.next_update > bindparam("now")
)

_shards: Final = (
    select(crl_shards.c.shard, crl_shards.c.url).where(crl_shards.c.issuer_id == _issuer).order_by(crl_shards.c.url)
)
_shard_count: Final = select(func.max(crl_shards.c.shard) + 1).where(crl_shards.c.issuer_id == _issuer)
_shard_of: Final = select(crl_shards.c.shard).where(
    crl_shards.c.issuer_id == _issuer, crl_shards.c.url == bindparam("url")
)
_add_shard: Final = insert(crl_shards).values(issuer_id=_issuer, url=bindparam("v_url"), shard=bindparam("v_shard"))
_der: Final = select(certificates.c.der).where(certificates.c.serial == bindparam("b_serial"))
_tbs: Final = select(requests.c.tbs).where(requests.c.serial == bindparam("b_serial"), text("tbs IS NOT NULL"))
_changed_shards: Final = (
    select(_s.shard, func.max(_s.id))
    .where(_s.issuer_id == _issuer, _s.id > bindparam("after"), _s.shard.is_not(None))
    .group_by(_s.shard)
)
_shard_entries: Final = (
    select(_e.entry)
    .where(_e.issuer_id == _issuer, _e.shard == bindparam("shard"), text("shard IS NOT NULL"))
    .order_by(_e.change_id)
)

_parts: Final = select(_p.part, _p.number, _p.last_change).where(_p.issuer_id == _issuer)
_set_part: Final = (
    update(crl_parts)
    .where(_p.issuer_id == _issuer, _p.part == bindparam("b_part"))
    .values(number=bindparam("v_number"), last_change=bindparam("v_change"))
)
_add_part: Final = insert(crl_parts).values(
    issuer_id=_issuer, part=bindparam("b_part"), number=bindparam("v_number"), last_change=bindparam("v_change")
)


def shard_of(tx: Transaction, issuer_id: int, serial: str) -> int | None:
    """Return the shard whose address a certificate names, or None: what it says counts, not the present settings.

    A serial number whose certificate is lost is in the shard that the greatest number of shards gives it.
    """
    count = tx.row(_shard_count, {"b_issuer": issuer_id})
    if count is None or count[0] is None:
        return None
    certificate = tx.row(_der, {"b_serial": serial})
    intent = tx.row(_tbs, {"b_serial": serial}) if certificate is None else None
    try:
        if certificate is not None:
            extensions = tbs_extensions(parts_of(bytes(certificate[0]))[0])
        elif intent is not None:
            extensions = tbs_extensions(bytes(intent[0]))
        else:
            return int(serial, 16) % int(count[0])
    except MalformedRequest:
        # An imported certificate of another program.
        return None
    for url in distribution_point_urls(extensions):
        shard = tx.row(_shard_of, {"b_issuer": issuer_id, "url": url})
        if shard is not None:
            return int(shard[0])
    return None


def keep_expired(tx: Transaction, issuer_id: int, number: int, end: int, listed: int) -> None:
    """Remember, for delta CRLs, which entries are about to leave full CRLs.

    :param number: the number of the newest full CRL, which lists them.
    :param end: certificates that expired before leave, in seconds since 1970.
    :param listed: the last change on that CRL; later entries stay.
    """
    values = {"b_issuer": issuer_id, "number": number, "b_end": end, "b_listed": listed}
    tx.write(_keep_expired, values)
    oldest = tx.row(_oldest_usable, {"b_issuer": issuer_id, "now": end})
    if oldest is not None and oldest[0] is not None:
        tx.write(_forget_expired, {"b_issuer": issuer_id, "number": oldest[0]})


def _latest_change(tx: Transaction, issuer_id: int) -> int:
    row = tx.row(_latest, {"b_issuer": issuer_id})
    return 0 if row is None else int(row[0] or 0)


class CRLPartStore(StoreSection):
    """See :class:`pikachu.core.crl_part_interfaces.ICRLPartStore`."""

    @read_transaction
    def delta_content(self, tx: Transaction, issuer_id: int, now: datetime, limit: int) -> DeltaContent | None:
        """Return what has changed since the oldest full CRL that clients may still use, or None without any."""
        bases = tx.rows(_bases, {"b_issuer": issuer_id, "now": int(now.timestamp())})
        if not bases:
            return None
        beyond = tx.row(_beyond, {"b_issuer": issuer_id, "after": bases[0][1], "rows": limit})
        least = 0 if beyond is None else beyond[0]
        number, change = next((base for base in bases if base[1] >= least), bases[-1])
        entries, removed = [], []
        for serial, replaced, entry in tx.rows(_changes, {"b_issuer": issuer_id, "after": change}):
            if entry is not None:
                entries.append(bytes(entry))
            elif replaced:
                removed.append(int(serial, 16))
        expired = tx.rows(_expired, {"b_issuer": issuer_id, "number": number, "rows": limit})
        removed = list(dict.fromkeys((*removed, *(int(row[0], 16) for row in expired))))
        return DeltaContent(number, _latest_change(tx, issuer_id), len(entries), b"".join(entries), removed)

    @write_transaction
    def add_crl_shards(self, tx: Transaction, issuer_id: int, urls: Mapping[str, int]) -> None:
        """Remember the shards of the sharded CRLs at these URLs."""
        known = {row[1] for row in tx.rows(_shards, {"b_issuer": issuer_id})}
        new = [
            {"b_issuer": issuer_id, "v_url": url, "v_shard": shard} for url, shard in urls.items() if url not in known
        ]
        if new:
            tx.write_many(_add_shard, new)

    @read_transaction
    def crl_shards(self, tx: Transaction, issuer_id: int) -> dict[int, list[str]]:
        """Return the URLs of all sharded CRLs of an issuer, by shard."""
        shards: dict[int, list[str]] = {}
        for shard, url in tx.rows(_shards, {"b_issuer": issuer_id}):
            shards.setdefault(shard, []).append(url)
        return shards

    @read_transaction
    def changed_shards(self, tx: Transaction, issuer_id: int, after: int) -> tuple[int, dict[int, int]]:
        """Return the newest status change, and the newest one of each shard with one after *after*."""
        rows = tx.rows(_changed_shards, {"b_issuer": issuer_id, "after": after})
        return _latest_change(tx, issuer_id), {row[0]: row[1] for row in rows}

    @read_transaction
    def shard_entries(self, tx: Transaction, issuer_id: int, shard: int) -> tuple[int, int, bytes]:
        """Return (last change id, number of entries, their joined DER)."""
        count, chunks = 0, []
        for rows in tx.batches(_shard_entries, {"b_issuer": issuer_id, "shard": shard}, _ENTRIES):
            count += len(rows)
            chunks.append(b"".join([row[0] for row in rows]))
        return _latest_change(tx, issuer_id), count, b"".join(chunks)

    @read_transaction
    def crl_parts(self, tx: Transaction, issuer_id: int) -> dict[str, PartRecord]:
        """Return the records of an issuer's delta CRL and sharded CRLs."""
        rows = tx.rows(_parts, {"b_issuer": issuer_id})
        return {part: PartRecord(number, last_change) for part, number, last_change in rows}

    @write_transaction
    def record_crl_part(self, tx: Transaction, issuer_id: int, part: str, record: PartRecord) -> None:
        """Record a published one."""
        values = {
            "b_issuer": issuer_id,
            "b_part": part,
            "v_number": record.number,
            "v_change": record.last_change,
        }
        if not tx.write(_set_part, values):
            tx.write(_add_part, values)
