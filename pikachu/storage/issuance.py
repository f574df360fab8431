"""Writes of the RA and the CA: requests, intents, certificates.

A request goes ``pending`` → ``issuing`` (its intent is stored) → ``issued``, or ends ``rejected`` or ``failed``.  The
CSR and the TBSCertificate are deleted from its row when the certificate is stored.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Update, and_, bindparam, exists, func, literal_column, null, or_, select, update

from pikachu.core.approvals import Approver
from pikachu.core.errors import Conflict, InactiveOwner, IssuanceFailed, NotFound, PolicyViolation
from pikachu.core.interfaces import Begun, Repeated
from pikachu.core.model.certificates import (
    CertificateRecord,
    Infrastructure,
    Method,
    RevocationReason,
    format_serial,
)
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.requests import Intent, NewRequest, RequestRecord, RequestState
from pikachu.storage.accounts import require_active_owner, require_unchanged
from pikachu.storage.audit import write_event
from pikachu.storage.certificates import CERTIFICATE_COLUMNS, ISSUED_FIELDS, certificate_record
from pikachu.storage.challenge_passwords import (
    consume_challenge,
    release_challenge,
    require_available_challenge,
    reserve_challenge,
)
from pikachu.storage.csrs import describe_csr
from pikachu.storage.database import Row, Transaction
from pikachu.storage.device_rows import (
    Enrollment,
    add_enrollment,
    refresh_device,
    require_device_in_service,
    require_in_service,
)
from pikachu.storage.infrastructure import require_unrevoked_issuer
from pikachu.storage.lint_overrides import record_override
from pikachu.storage.request_approvals import find_first_of_two, record_first, second_approval, waiting_values
from pikachu.storage.request_rows import REQUEST_COLUMNS, UNISSUED, list_requests, request_record
from pikachu.storage.revocation import list_revocation
from pikachu.storage.schema import certificates, requests
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    maybe_moment,
    moment,
    point_read,
    read_transaction,
    row_id,
    storable,
    to_json,
    write_transaction,
)
from pikachu.x509.crl import crl_entry
from pikachu.x509.device_names import certified_device_name
from pikachu.x509.san_text import certificate_sans
from pikachu.x509.search_text import name_key, search_text

_r: Final = requests.c
_c: Final = certificates.c
_REQUEST_FIELDS: Final = (
    "state",
    "method",
    "csr",
    "subject",
    "key_type",
    "key_id",
    "policy",
    "issuer",
    "principal",
    "owner_id",
    "address",
    "created_at",
    "dedupe",
    "dedupe_until",
    "transaction_digest",
    "requester_key",
    "challenge_id",
    "csr_id",
    "label",
    "validity_days",
    "details",
    "added_names",
    "approvals",
    "requester_ids",
)
_INTENT_FIELDS: Final = (
    "serial",
    "issuer_id",
    "certified_subject",
    "common_name",
    "not_before",
    "not_after",
    "process",
    "tbs",
)
_insert_request: Final = insert_into(requests, *_REQUEST_FIELDS, *_INTENT_FIELDS)
_insert_certificate: Final = insert_into(
    certificates, *ISSUED_FIELDS, "owner_id", "revoked_at", "reason", "infrastructure", "device_id"
)
_by_id: Final = select(*REQUEST_COLUMNS).where(_r.id == bindparam("b_id"))
_by_dedupe: Final = select(*REQUEST_COLUMNS, _r.dedupe_until).where(_r.dedupe == bindparam("b_dedupe"))
_by_transaction: Final = (
    select(*REQUEST_COLUMNS).where(_r.transaction_digest == bindparam("b_digest")).order_by(_r.id.desc()).limit(1)
)
_certificate: Final = select(*CERTIFICATE_COLUMNS).where(_c.id == bindparam("b_id"))
_forget_dedupe: Final = update(requests).where(_r.id == bindparam("b_id")).values(dedupe=null(), dedupe_until=null())


def _other(owner: ColumnElement[Any], subject: ColumnElement[str]) -> list[ColumnElement[bool]]:
    return [owner.is_distinct_from(bindparam("b_owner")), subject != bindparam("b_subject")]


_certified: Final = select(_c.id).where(_c.serial == bindparam("b_serial"))
_foreign_certificate: Final = (
    select(_c.reason)
    .where(
        _c.key_id == bindparam("b_key"),
        or_(
            _c.reason == literal_column("1"),
            and_(*_other(_c.owner_id, _c.subject), _c.method != literal_column("'CA'")),
        ),
    )
    .limit(1)
)
_foreign_request: Final = (
    select(_r.id)
    .where(
        _r.key_id == bindparam("b_key"),
        UNISSUED,
        _r.state.in_([literal_column("'pending'"), literal_column("'issuing'")]),
        _r.id != bindparam("b_id"),
        *_other(_r.owner_id, func.coalesce(_r.certified_subject, _r.subject)),
        _r.method != literal_column("'CA'"),
    )
    .limit(1)
)


def _moving(*names: str) -> Update:
    return update(requests).where(_r.id == bindparam("b_id")).values({name: bindparam(f"v_{name}") for name in names})


_approve: Final = _moving("state", "policy", "key_type", "key_id", "decided_at", "decided_by", *_INTENT_FIELDS)
_reject: Final = _moving("state", "decided_at", "decided_by", "reason")
_fail: Final = _moving("state", "reason").values(dedupe=null(), dedupe_until=null())
_one: Final[ColumnElement[Any]] = literal_column("1")
# One statement: each hands the interpreter's lock to the reactor's thread and waits for it again, which takes longer
# than the lookup of an indexed row.
_known: Final = select(
    or_(
        exists(select(_one).where(_r.dedupe == bindparam("b_dedupe"))),
        exists(select(_one).where(_c.key_id == bindparam("b_key"))),
        exists(select(_one).where(_r.key_id == bindparam("b_key"), UNISSUED)),
        exists(select(_one).where(_c.serial == bindparam("b_serial"))),
        exists(
            select(_one).where(
                _c.infrastructure == literal_column(f"'{Infrastructure.ISSUING_CA}'"), _c.revoked_at.is_not(None)
            )
        ),
    )
)
_issued: Final = _moving("certificate_id").values(state=literal_column("'issued'"), csr=null(), tbs=null())
_to_complete: Final = select(
    _r.state,
    _r.serial,
    _r.issuer_id,
    func.coalesce(_r.certified_subject, _r.subject),
    _r.common_name,
    _r.key_type,
    _r.key_id,
    _r.not_before,
    _r.not_after,
    _r.owner_id,
    _r.policy,
    _r.challenge_id,
    _r.csr_id,
    _r.revoked_at,
    _r.revocation_reason,
    _r.address,
).where(_r.id == bindparam("b_id"))


def _find(tx: Transaction, request_id: int) -> RequestRecord:
    row = tx.row(_by_id, {"b_id": row_id(request_id)})
    if row is None:
        raise NotFound("there is no such request")
    return request_record(row)


def _repeated(tx: Transaction, request: RequestRecord) -> Repeated:
    # A repeated request or a poll returns the result of the first request's owner.
    require_active_owner(tx, request.owner_id)
    if request.certificate_id is None:
        return Repeated(request, None)
    row = tx.row(_certificate, {"b_id": request.certificate_id})
    certificate = None if row is None else certificate_record(row)
    if certificate is not None:
        # An earlier version took the owner from requests when it deleted an account, but the certificate has it again.
        require_active_owner(tx, certificate.owner_id)
        require_device_in_service(tx, certificate.device_id)
    return Repeated(request, certificate)


def _refuse_foreign_key(
    tx: Transaction, key_id: bytes, owner_id: int | None, subject: str, request_id: int = 0
) -> None:
    """Raise PolicyViolation for a compromised key, or a key certified for another owner and another subject."""
    values = {"b_key": key_id, "b_owner": owner_id, "b_subject": subject}
    certificate = tx.row(_foreign_certificate, values)
    if certificate is not None and certificate[0] == RevocationReason.KEY_COMPROMISE:
        raise PolicyViolation("this key was revoked as compromised; make a new one")
    if certificate is not None or tx.row(_foreign_request, {**values, "b_id": request_id}):
        raise PolicyViolation("this key was certified for somebody else; make a new one")


def _meets_nothing(tx: Transaction, dedupe: bytes | None, intent: Intent) -> bool:
    """Return whether no earlier request has *dedupe*, nothing has the key or the serial number, and no CA is revoked.

    Otherwise, closer looks decide what follows from it.
    """
    values = {"b_dedupe": dedupe, "b_key": intent.key_id, "b_serial": format_serial(intent.serial)}
    row = tx.row(_known, values)
    return row is not None and not row[0]


def _refuse_known_serial(tx: Transaction, intent: Intent) -> None:
    """Raise IssuanceFailed for the serial number of a certificate; the unique index of intents excludes issued ones."""
    if tx.row(_certified, {"b_serial": format_serial(intent.serial)}) is not None:
        raise IssuanceFailed("this serial number was given before", serial=intent.serial)


def _intent_values(intent: Intent, subject: str) -> dict[str, object]:
    return {
        "serial": format_serial(intent.serial),
        "issuer_id": intent.issuer_id,
        "certified_subject": None if intent.subject == subject else intent.subject,
        "common_name": intent.common_name,
        "not_before": int(intent.not_before.timestamp()),
        "not_after": int(intent.not_after.timestamp()),
        "process": intent.process,
        "tbs": intent.tbs,
    }


_NOT_WAITING: Final[dict[str, object]] = {"approvals": None, "requester_ids": None}
_NO_INTENT: Final = dict.fromkeys(_INTENT_FIELDS)


def _is_in_window(row: Row, at: int) -> bool:
    """Return whether a request with the same digest is still within its repetition window."""
    return row[-1] is None or row[-1] > at


def _in_state(request: RequestRecord, state: RequestState) -> None:
    if request.state is not state:
        raise Conflict(f"this request is {request.state}, not {state}")


def _move(tx: Transaction, statement: Update, request_id: int, values: dict[str, object]) -> None:
    tx.write(statement, {"b_id": request_id, **{f"v_{name}": value for name, value in values.items()}})


def _give_up(tx: Transaction, request_id: int, reason: str, event: Event, now: datetime) -> None:
    """Fail a request being issued, but keep its serial number, since a signature may exist."""
    request = _find(tx, request_id)
    _in_state(request, RequestState.ISSUING)
    _move(tx, _fail, request_id, {"state": "failed", "reason": storable(reason)})
    release_challenge(tx, request.challenge_id, request.id)
    write_event(tx, event, now)


class IssuanceStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IIssuanceStore`."""

    @write_transaction
    def begin(self, tx: Transaction, request: NewRequest, intent: Intent | None, now: datetime) -> Begun | Repeated:
        """Record the request and its intent, reserve its challenge password; Conflict, PolicyViolation,
        IssuanceFailed (the serial number was used before).
        """
        at = int(now.timestamp())
        accounts = {request.owner_id, *request.actor_ids}
        if request.cached_account is not None:
            # It was active then.
            require_unchanged(tx, request.cached_account)
            accounts.discard(request.cached_account.id)
        outdated = None
        is_new = intent is not None and _meets_nothing(tx, request.dedupe, intent)
        if request.dedupe is not None and not is_new:
            row = tx.row(_by_dedupe, {"b_dedupe": request.dedupe})
            if row is not None:
                if _is_in_window(row, at):
                    return _repeated(tx, request_record(row))
                outdated = row[0]
        for account_id in accounts:
            require_active_owner(tx, account_id)
        subject = request.subject if intent is None else intent.subject
        key_id = request.key_id if intent is None else intent.key_id
        if request.method is not Method.CA:
            if not is_new:
                _refuse_foreign_key(tx, key_id, request.owner_id, subject)
            require_in_service(tx, request.device, request.owner_id)
        challenge = request.challenge_id
        if challenge is not None:
            require_available_challenge(tx, challenge, at)
        if intent is not None and not is_new:
            require_unrevoked_issuer(tx, intent.issuer_id)
            _refuse_known_serial(tx, intent)
        if outdated is not None:
            tx.write(_forget_dedupe, {"b_id": outdated})
        created_at = int(request.created_at.timestamp())
        values: dict[str, object] = {
            "state": "pending" if intent is None else "issuing",
            "method": request.method.value,
            "csr": request.csr,
            "subject": request.subject,
            "key_type": request.key_type if intent is None else intent.key_type,
            "key_id": key_id,
            "policy": request.policy if intent is None else intent.policy,
            "issuer": request.issuer,
            "principal": storable(request.principal),
            "owner_id": request.owner_id,
            "address": request.address,
            "created_at": created_at,
            "dedupe": request.dedupe,
            "dedupe_until": None if request.dedupe_seconds is None else created_at + request.dedupe_seconds,
            "transaction_digest": request.transaction,
            "requester_key": request.requester_key,
            "challenge_id": challenge,
            "csr_id": request.csr_id,
            "label": request.label,
            "validity_days": request.validity_days,
            "details": to_json({"identity": request.identity}) if request.identity else None,
            "added_names": request.added_names or None,
        }
        if intent is None:
            values |= _NO_INTENT | waiting_values(tx, request)
        else:
            values |= _NOT_WAITING | _intent_values(intent, request.subject)
        try:
            request_id = tx.insert(_insert_request, values)
        except tx.constraint_error as error:
            raise IssuanceFailed("this serial number was given before", serial=values["serial"]) from error
        if challenge is not None:
            reserve_challenge(tx, challenge, request_id, at)
        return Begun(request_id)

    @write_transaction
    def approve(
        self, tx: Transaction, request_id: int, intent: Intent, approver: Approver, event: Event, now: datetime
    ) -> RequestRecord:
        """Approve a pending request (→ issuing, or pending after one of two); NotFound, NotAuthorized, Conflict."""
        request = _find(tx, request_id)
        _in_state(request, RequestState.PENDING)
        first = find_first_of_two(tx, approver, request)
        try:
            require_active_owner(tx, request.owner_id)
        except InactiveOwner as error:
            raise Conflict("The requester's account is not active. Activate it, or reject the request.") from error
        require_unrevoked_issuer(tx, intent.issuer_id)
        require_in_service(tx, intent.device, request.owner_id)
        _refuse_foreign_key(tx, intent.key_id, request.owner_id, intent.subject, request.id)
        _refuse_known_serial(tx, intent)
        if request.approvals_needed > 1 and first is None:
            record_first(tx, request_id, approver, event, now)
            return _find(tx, request_id)
        values = {
            "state": "issuing",
            "policy": intent.policy,
            "key_type": intent.key_type,
            "key_id": intent.key_id,
            "decided_at": int(now.timestamp()),
            "decided_by": storable(approver.name),
            **_intent_values(intent, request.subject),
        }
        try:
            _move(tx, _approve, request_id, values)
        except tx.constraint_error as error:
            raise IssuanceFailed("this serial number was given before", serial=values["serial"]) from error
        write_event(tx, second_approval(event, first), now)
        return _find(tx, request_id)

    @write_transaction
    def reject(
        self, tx: Transaction, request_id: int, actor: str, reason: str, event: Event, now: datetime
    ) -> RequestRecord:
        """Reject a pending request; NotFound, Conflict."""
        request = _find(tx, request_id)
        _in_state(request, RequestState.PENDING)
        values = {
            "state": "rejected",
            "decided_at": int(now.timestamp()),
            "decided_by": storable(actor),
            "reason": storable(reason),
        }
        _move(tx, _reject, request_id, values)
        release_challenge(tx, request.challenge_id, request.id)
        write_event(tx, event, now)
        if request.csr_id is not None:
            describe_csr(tx, request.csr_id, "rejected", None, event, now)
        return _find(tx, request_id)

    @write_transaction
    def complete(
        self,
        tx: Transaction,
        request_id: int,
        certificate: bytes,
        method: Method,
        event: Event,
        now: datetime,
        infrastructure: Infrastructure | None = None,
    ) -> CertificateRecord:
        """Store the certificate (issuing → issued); IssuanceFailed when the request is not being issued."""
        row = tx.row(_to_complete, {"b_id": row_id(request_id)})
        if row is None or row[0] != "issuing":
            raise IssuanceFailed("the certificate could not be recorded", request_id=request_id)
        (
            _,
            serial,
            issuer_id,
            subject,
            common_name,
            key_type,
            key_id,
            not_before,
            not_after,
            owner_id,
            policy,
            challenge_id,
            csr_id,
            revoked_at,
            reason,
            address,
        ) = row
        at = int(now.timestamp())
        sans = certificate_sans(certificate)
        text = search_text(subject, sans, key_type, method)
        device, is_retired = None, False
        name = (
            ""
            if method is Method.CA or infrastructure is not None
            else certified_device_name(certificate, common_name, sans)
        )
        if name:
            in_force = revoked_at is None
            device = add_enrollment(
                tx, Enrollment(name, owner_id, policy, method.value, address, at, not_before, not_after, in_force)
            )
            if device.retired is not None and in_force:
                # Retired since its intent was stored.
                is_retired = True
                revoked_at, reason = at, device.retired[1]
        try:
            certificate_id = tx.insert(
                _insert_certificate,
                {
                    "serial": serial,
                    "issuer_id": issuer_id,
                    "subject": subject,
                    "common_name": common_name,
                    "name_key": name_key(common_name, sans, serial),
                    "key_type": key_type,
                    "key_id": key_id,
                    "not_before": not_before,
                    "not_after": not_after,
                    "method": method.value,
                    "owner_id": owner_id,
                    "policy": policy,
                    "der": certificate,
                    "created_at": at,
                    # The serial number of an orphaned intent may have been revoked.
                    "revoked_at": revoked_at,
                    "reason": reason,
                    "infrastructure": None if infrastructure is None else infrastructure.value,
                    "sans": json.dumps(sans),
                    "search_text": text,
                    "fingerprint": hashlib.sha256(certificate).digest(),
                    "device_id": None if device is None else device.id,
                },
            )
        except tx.constraint_error as error:
            raise IssuanceFailed("a certificate of this serial number exists", serial=serial) from error
        tx.texts.append((certificate_id, text))
        if device is not None and revoked_at is not None:
            # It is the newest one, but not in force.
            refresh_device(tx, device.id)
        tx.write(_issued, {"b_id": request_id, "v_certificate_id": certificate_id})
        if challenge_id is not None:
            consume_challenge(tx, challenge_id, serial, at)
        write_event(tx, event, now)
        if is_retired:
            list_revocation(
                tx,
                issuer_id,
                int(serial, 16),
                moment(not_after),
                crl_entry(int(serial, 16), now, RevocationReason(reason)),
            )
            write_event(tx, replace(event, type="revoke"), now)
        if csr_id is not None:
            describe_csr(tx, csr_id, "signed", certificate_id, event, now)
        return CertificateRecord(
            certificate_id,
            int(serial, 16),
            issuer_id,
            subject,
            common_name,
            key_type,
            bytes(key_id),
            moment(not_before),
            moment(not_after),
            method,
            owner_id,
            policy,
            certificate,
            moment(at),
            maybe_moment(revoked_at),
            None if reason is None else RevocationReason(reason),
            infrastructure=infrastructure,
            sans=sans,
            device_id=None if device is None else device.id,
            lint_override=record_override(tx, certificate_id, event) if "lint_override" in event.details else None,
        )

    @write_transaction
    def fail(self, tx: Transaction, request_id: int, reason: str, event: Event, now: datetime) -> None:
        """Record that no signature was made (issuing → failed); NotFound, Conflict."""
        _give_up(tx, request_id, reason, event, now)

    @write_transaction
    def abandon(self, tx: Transaction, request_id: int, event: Event, now: datetime) -> None:
        """Give up an orphaned intent (issuing → failed); NotFound, Conflict."""
        _give_up(tx, request_id, "interrupted before the certificate was stored", event, now)

    @point_read
    def repeated(self, tx: Transaction, dedupe: bytes, now: datetime) -> Repeated | None:
        """Return the earlier request that ``begin`` would return for that digest."""
        row = tx.row(_by_dedupe, {"b_dedupe": dedupe})
        if row is None or not _is_in_window(row, int(now.timestamp())):
            return None
        return _repeated(tx, request_record(row))

    @point_read
    def request(self, tx: Transaction, request_id: int) -> RequestRecord:
        """Return the request with that id; NotFound."""
        return _find(tx, request_id)

    @point_read
    def request_by_transaction(self, tx: Transaction, transaction: bytes) -> Repeated | None:
        """Return the newest request with that transaction digest."""
        row = tx.row(_by_transaction, {"b_digest": transaction})
        return None if row is None else _repeated(tx, request_record(row))

    @point_read
    def check_key(
        self, tx: Transaction, key_id: bytes, owner_id: int | None, subject: str, request_id: int = 0
    ) -> None:
        """Require that ``begin`` would accept the key for this owner and subject; PolicyViolation."""
        _refuse_foreign_key(tx, key_id, owner_id, subject, request_id)

    @read_transaction
    def requests(self, tx: Transaction, query: ListQuery) -> Page[RequestRecord]:
        """List requests; sort fields ``id``, ``created_at``; filters ``state``, ``method``, and ``approval`` (``true``)
        for those that wait for approval or were decided manually.
        """
        return list_requests(tx, query)
