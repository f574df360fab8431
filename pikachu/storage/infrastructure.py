"""The CA's own certificates in the inventory (CAR-1), and which issuing CAs are revoked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, literal_column, select, update

from pikachu.core.errors import Conflict, IssuerRevoked
from pikachu.core.model.account_objects import NewServiceCredential
from pikachu.core.model.certificates import (
    OWN_POLICY,
    CertificateRecord,
    Infrastructure,
    IssuerRecord,
    Method,
    OwnCertificate,
    RevocationReason,
    RevokedCA,
    format_serial,
)
from pikachu.core.model.events import Event
from pikachu.core.model.people import SealFor
from pikachu.storage.audit import write_event
from pikachu.storage.certificates import CERTIFICATE_COLUMNS, ISSUED_FIELDS, certificate_record
from pikachu.storage.database import Row, Transaction
from pikachu.storage.device_rows import leave_device
from pikachu.storage.revocation import ISSUER_COLUMNS, insert_credential, issuer_record, record_change
from pikachu.storage.schema import certificates, issuers
from pikachu.storage.transactions import StoreSection, insert_into, moment, read_transaction, write_transaction
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.san_text import certificate_sans
from pikachu.x509.search_text import name_key, search_text
from pikachu.x509.spki import describe_spki

_c: Final = certificates.c
_known: Final = select(_c.id, _c.der, _c.infrastructure).where(_c.serial == bindparam("b_serial"))
_mark: Final = update(certificates).where(_c.id == bindparam("b_id")).values(infrastructure=bindparam("role"))
_insert: Final = insert_into(certificates, *ISSUED_FIELDS, "infrastructure")
_issuer_id: Final = select(issuers.c.id).where(issuers.c.key_identifier == bindparam("b_key"))
_issuer_row: Final = select(issuers.c.name, issuers.c.certificate).where(issuers.c.id == bindparam("b_id"))
_insert_issuer: Final = insert_into(issuers, "name", "key_identifier", "certificate", "created_at", "crl_number")
_revoked: Final = select(_c.key_id, _c.der, _c.revoked_at, _c.reason).where(
    _c.infrastructure == literal_column(f"'{Infrastructure.ISSUING_CA}'"), _c.revoked_at.is_not(None)
)


def _revoked_ca(row: Row) -> RevokedCA:
    return RevokedCA(bytes(row[0]), bytes(row[1]), moment(row[2]), RevocationReason(row[3] or 0))


def require_unrevoked_issuer(tx: Transaction, issuer_id: int) -> None:
    """Require that neither an issuing CA nor a known CA above it is revoked.

    :raises IssuerRevoked: when one of them is.
    """
    revoked = revoked_cas(tx)
    row = tx.row(_issuer_row, {"b_id": issuer_id}) if revoked else None
    name = "" if row is None else str(row[0])
    visited: set[int] = set()
    while row is not None and issuer_id not in visited:
        visited.add(issuer_id)
        ca = parse_certificate(bytes(row[1]))
        key_id = describe_spki(ca.spki_der).key_id
        if any(one.applies_to(key_id, ca.der) for one in revoked):
            raise IssuerRevoked.of(name)
        above = tx.row(_issuer_id, {"b_key": ca.authority_key_identifier})
        issuer_id = issuer_id if above is None else above[0]
        row = tx.row(_issuer_row, {"b_id": issuer_id})


def has_all_own(tx: Transaction, found: Sequence[OwnCertificate]) -> bool:
    """Return whether each certificate has a row of its own, and the mark."""
    rows = ((one, tx.row(_known, {"b_serial": format_serial(one.serial)})) for one in found)
    return all(row is not None and bytes(row[1]) == one.der and row[2] is not None for one, row in rows)


def _issuer(tx: Transaction, one: OwnCertificate, now: datetime) -> int:
    row = tx.row(_issuer_id, {"b_key": one.issuer_key_identifier})
    if row is not None:
        return int(row[0])
    values = {
        "name": one.issuer_name,
        "key_identifier": one.issuer_key_identifier,
        "certificate": one.issuer_certificate,
        "created_at": int(now.timestamp()),
        "crl_number": 0,
    }
    return tx.insert(_insert_issuer, values)


def register_own(tx: Transaction, found: Sequence[OwnCertificate], now: datetime) -> list[OwnCertificate]:
    """Insert and mark what is missing; return those whose serial number another certificate has."""
    taken = []
    for one in found:
        row = tx.row(_known, {"b_serial": format_serial(one.serial)})
        if row is None:
            _insert_row(tx, one, now)
        elif bytes(row[1]) != one.der:
            taken.append(one)
        elif row[2] is None:
            tx.write(_mark, {"b_id": row[0], "role": one.role.value})
            leave_device(tx, row[0])
    return taken


def _insert_row(tx: Transaction, one: OwnCertificate, now: datetime) -> None:
    sans, serial = certificate_sans(one.der), format_serial(one.serial)
    text = search_text(one.subject, sans, one.key_type, Method.CA)
    values = {
        "serial": serial,
        "issuer_id": _issuer(tx, one, now),
        "subject": one.subject,
        "common_name": one.common_name,
        "name_key": name_key(one.common_name, sans, serial),
        "key_type": one.key_type,
        "key_id": one.key_id,
        "not_before": int(one.not_before.timestamp()),
        "not_after": int(one.not_after.timestamp()),
        "method": Method.CA.value,
        "policy": OWN_POLICY,
        "der": one.der,
        "created_at": int(now.timestamp()),
        "infrastructure": one.role.value,
        "sans": json.dumps(sans),
        "search_text": text,
        "fingerprint": hashlib.sha256(one.der).digest(),
    }
    tx.texts.append((tx.insert(_insert, values), text))


def revoked_cas(tx: Transaction) -> list[RevokedCA]:
    """Return the revoked certificates of issuing CAs."""
    return [_revoked_ca(row) for row in tx.rows(_revoked)]


_generations: Final = select(*ISSUER_COLUMNS).order_by(issuers.c.id)
_of_issuer: Final = (
    select(*CERTIFICATE_COLUMNS)
    .join(issuers, issuers.c.id == _c.issuer_id)
    .where(
        issuers.c.key_identifier == bindparam("b_key"),
        _c.infrastructure.in_(
            [literal_column(f"'{role}'") for role in (Infrastructure.ISSUING_CA, Infrastructure.OCSP_RESPONDER)]
        ),
    )
)


class InfrastructureStore(StoreSection):
    """See :class:`pikachu.core.infrastructure_interfaces.IInfrastructureStore`."""

    @write_transaction
    def add_own(self, tx: Transaction, found: Sequence[OwnCertificate], now: datetime) -> list[OwnCertificate]:
        """Insert and mark what is missing; return those whose serial number another certificate has."""
        return register_own(tx, found, now)

    @read_transaction
    def revoked_cas(self, tx: Transaction) -> list[RevokedCA]:
        """Return the revoked certificates of issuing CAs."""
        return revoked_cas(tx)

    @read_transaction
    def generations(self, tx: Transaction) -> list[IssuerRecord]:
        """Return the generations of all CAs, of every node, by id."""
        return [issuer_record(row) for row in tx.rows(_generations)]

    @read_transaction
    def issued_by_parent(self, tx: Transaction, key_identifier: bytes) -> list[CertificateRecord]:
        """Return the issuing CAs and OCSP responders that the CA with that key has certified."""
        return [certificate_record(row) for row in tx.rows(_of_issuer, {"b_key": key_identifier})]

    @write_transaction
    def install_responder(
        self, tx: Transaction, own: OwnCertificate, seal: SealFor, event: Event, now: datetime
    ) -> None:
        """Store an OCSP responder of an offline CA, and log a change of status, by which other processes notice it.

        Fails with Conflict when another certificate has its serial number.
        """
        if register_own(tx, [own], now):
            raise Conflict("Another certificate has this serial number. Have it issued with a serial of its own.")
        insert_credential(tx, NewServiceCredential(own.issuer_key_identifier, "ocsp", own.der, seal), now)
        record_change(tx, _issuer(tx, own, now), format_serial(own.serial))
        write_event(tx, event, now)
