"""Issuance by engines that build certificates and pick serial numbers themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select, update

from pikachu.core.errors import Conflict, IssuanceFailed
from pikachu.core.model.certificates import format_serial
from pikachu.storage.database import Transaction
from pikachu.storage.request_rows import UNISSUED
from pikachu.storage.schema import certificates, requests
from pikachu.storage.transactions import StoreSection, read_transaction, row_id, write_transaction

_r: Final = requests.c
_state: Final = select(_r.state, _r.revoked_at).where(_r.id == bindparam("b_id"))
_certified: Final = select(certificates.c.id).where(certificates.c.serial == bindparam("b_serial"))
_signed: Final = (
    update(requests)
    .where(_r.id == bindparam("b_id"))
    .values(serial=bindparam("v_serial"), tbs=bindparam("v_tbs"), not_before=bindparam("v_not_before"))
)


class EngineStore(StoreSection):
    """See :class:`pikachu.core.engine_interfaces.IEngineStore`."""

    @read_transaction
    def known_serials(self, tx: Transaction, serials: Collection[int]) -> frozenset[int]:
        """Return those that certificates have."""
        serial = certificates.c.serial
        rows = tx.query(select(serial).where(serial.in_([format_serial(one) for one in serials])))
        return frozenset(int(row[0], 16) for row in rows)

    @read_transaction
    def intended(self, tx: Transaction, request_ids: Collection[int]) -> Mapping[int, bytes]:
        """Return the TBSCertificates of requests being issued."""
        chosen = _r.id.in_([row_id(request_id) for request_id in request_ids])
        rows = tx.query(select(_r.id, _r.tbs).where(chosen, UNISSUED, _r.state == "issuing"))
        return {row[0]: bytes(row[1]) for row in rows}

    @write_transaction
    def record_signed(self, tx: Transaction, request_id: int, serial: int, tbs: bytes, not_before: datetime) -> None:
        """Replace the intent of a request being issued; IssuanceFailed, Conflict."""
        row = tx.row(_state, {"b_id": row_id(request_id)})
        text = format_serial(serial)
        if row is None or row[0] != "issuing" or tx.row(_certified, {"b_serial": text}) is not None:
            raise IssuanceFailed("the certificate could not be recorded", request_id=request_id, serial=serial)
        if row[1] is not None:
            raise Conflict("this serial number was revoked before its certificate was signed", serial=serial)
        values = {
            "b_id": row_id(request_id),
            "v_serial": text,
            "v_tbs": tbs,
            "v_not_before": int(not_before.timestamp()),
        }
        try:
            tx.write(_signed, values)
        except tx.constraint_error as error:
            raise IssuanceFailed("this serial number was given before", serial=serial) from error
