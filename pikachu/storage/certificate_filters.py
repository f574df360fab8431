"""The filters of lists of certificates.

Each filter gives a condition on a row, and a query for the ids that it selects by an index of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Select, and_, bindparam, false, literal_column, or_, select

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import (
    CertificateStatus,
    InfrastructureFilter,
    Method,
    RevocationReason,
    StatusFilter,
)
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.time_ranges import EVER, Bounds, bounds
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.storage.certificates import OWN_IDS
from pikachu.storage.database import Transaction
from pikachu.storage.pagination import checked, one_of
from pikachu.storage.schema import accounts, certificates, issuers
from pikachu.x509.search_text import fold

#: The names of all filters.
FILTERS: Final = (
    "status",
    "method",
    "issuer",
    "infrastructure",
    "policy",
    "key",
    "key_sha256",
    "owner",
    "device",
    "expires",
    "expires_from",
    "expires_to",
    "issued",
    "issued_from",
    "issued_to",
)
#: The families of keys, by which the key type begins.
FAMILIES: Final = ("RSA", "EC", "Ed25519", "PQC")

_c: Final = certificates.c


def _first_kind(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return the query for the first kind with *conditions*, by one seek in its index."""
    kind = (_c.policy, _c.method, _c.key_type)
    statement = select(*kind).where(*conditions).order_by(*kind).limit(literal_column("1"))
    return statement.with_hint(certificates, "INDEXED BY certificates_kind", "sqlite")


_issuer_ids: Final = select(issuers.c.id).where(issuers.c.name == bindparam("b_name"))
_account: Final = select(accounts.c.id).where(accounts.c.name_key == bindparam("b_name"))
_next_policy: Final = _first_kind(_c.policy > bindparam("b_policy"))
_next_method: Final = _first_kind(_c.policy == bindparam("b_policy"), _c.method > bindparam("b_method"))
_next_key: Final = _first_kind(
    _c.policy == bindparam("b_policy"),
    _c.method == bindparam("b_method"),
    _c.key_type > bindparam("b_key_type"),
)
# More kinds are not looked up one by one.
_MAX_KINDS: Final = 200


#: Policy, method and key type.
Kind: TypeAlias = tuple[str, str, str]


@dataclass(slots=True)
class CertificateFilters:
    """The selection by the filters of a query.

    :ivar conditions: the conditions on a row, with that of deleted certificates.
    :ivar narrowing: for each filter the query for the ids that it selects.
    :ivar status: the status that all selected certificates have, if the query names one.
    :ivar kinds: the (policy, method, key type) of all selected certificates; ``None``: any, or too many.
    :ivar issued: the bounds of the time of issuance, if the query has one.
    :ivar ended: the conditions by which all selected certificates have expired, if the query asks for these.
    """

    status: CertificateStatus | None
    kinds: list[Kind] | None = None
    issued: Bounds | None = None
    ended: list[ColumnElement[bool]] = field(default_factory=list)
    conditions: list[ColumnElement[bool]] = field(default_factory=list)
    narrowing: list[Select[Any]] = field(default_factory=list)

    def add(self, *conditions: ColumnElement[bool]) -> None:
        """Add the conditions of one filter."""
        self.conditions.extend(conditions)
        self.narrowing.append(select(_c.id).where(*conditions))


def certificate_filters(tx: Transaction, query: ListQuery, now: datetime) -> CertificateFilters:
    """Return what the filters of *query* select.

    :raises MalformedRequest: for an unknown filter, or a value that it can't have.
    """
    checked(query, FILTERS)
    status = one_of(query, "status", list(StatusFilter))
    is_revoked = status in {StatusFilter.REVOKED, StatusFilter.ON_HOLD}
    selection = CertificateFilters(
        CertificateStatus.REVOKED if is_revoked else None if status is None else CertificateStatus(status),
        conditions=[_c.deleted_at.is_(None)],
    )
    infrastructure = one_of(query, "infrastructure", list(InfrastructureFilter))
    if infrastructure is None:
        selection.conditions.append(_c.id.not_in(OWN_IDS))
    elif infrastructure == InfrastructureFilter.ONLY:
        selection.add(_c.infrastructure.is_not(None))
    if query.owner_id is not None:
        selection.add(_c.owner_id == query.owner_id)
    if "owner" in query.filters:
        selection.add(_c.owner_id == account_id_of(tx, query.filters["owner"]))
    if "device" in query.filters:
        selection.add(_c.device_id == _device_id(query.filters["device"]))
    if "issuer" in query.filters:
        selection.add(issued_by(tx, _c.issuer_id, query.filters["issuer"]))
    _add_kinds(tx, selection, query)
    if "key_sha256" in query.filters:
        selection.add(_c.key_id == _digest(query.filters["key_sha256"]))
    issued = bounds(query.filters, "issued", now, ahead=False)
    selection.issued = issued
    if issued is not None:
        selection.add(*_between(_c.created_at, issued))
    _add_times(selection, query, status, now)
    return selection


def _add_times(selection: CertificateFilters, query: ListQuery, status: str | None, now: datetime) -> None:
    """Add the status, and the times of expiry, which are one range of the same index."""
    first, last = bounds(query.filters, "expires", now, ahead=True) or EVER
    if status in {StatusFilter.REVOKED, StatusFilter.ON_HOLD}:
        revoked: list[ColumnElement[bool]] = [_c.revoked_at.is_not(None)]
        if status == StatusFilter.ON_HOLD:
            revoked.append(_c.reason == int(RevocationReason.CERTIFICATE_HOLD))
        selection.add(*revoked)
    elif status is not None:
        moment = int(now.timestamp())
        first, last = (first, min(last, moment)) if status == StatusFilter.EXPIRED else (max(first, moment), last)
    if (first, last) == EVER:
        return
    in_time = _between(_c.not_after, (first, last))
    if status in {StatusFilter.VALID, StatusFilter.EXPIRED}:
        in_time.append(_c.revoked_at.is_(None))
    if status == StatusFilter.EXPIRED:
        selection.ended = in_time
    selection.add(*in_time)


def _between(column: ColumnElement[int], limits: tuple[int, int]) -> list[ColumnElement[bool]]:
    first, last = limits
    conditions = [column >= first] if first != EVER[0] else []
    return [*conditions, column < last] if last != EVER[1] else conditions


def issued_by(tx: Transaction, issuer_id: ColumnElement[int], name: str) -> ColumnElement[bool]:
    """Return the condition for all generations of the issuing CA with that name.

    :raises MalformedRequest: there is no such CA.
    """
    issuer_ids = [row[0] for row in tx.rows(_issuer_ids, {"b_name": name})]
    if not issuer_ids:
        raise MalformedRequest(f"there is no issuing CA “{name[:40]}”")
    return issuer_id.in_(issuer_ids)


def account_id_of(tx: Transaction, name: str) -> int:
    """Return the id of the user with that name.

    :raises MalformedRequest: there is no such user.
    """
    row = tx.row(_account, {"b_name": fold(name)})
    if row is None:
        raise MalformedRequest(f"there is no user “{name[:40]}”")
    return int(row[0])


def _device_id(text: str) -> int:
    number = parse_number(text, MAX_ID)
    if number is None:
        raise MalformedRequest("device is the id of a device")
    return number


def _add_kinds(tx: Transaction, selection: CertificateFilters, query: ListQuery) -> None:
    """Add the filters by policy, method and key: together they select few of the combinations that are in use."""
    method, policy, key = one_of(query, "method", list(Method)), query.filters.get("policy"), query.filters.get("key")
    family, _, variant = (key or "").partition("/")
    if key is not None and (family not in FAMILIES or (variant and not re.fullmatch("[A-Za-z0-9-]{1,40}", variant))):
        raise MalformedRequest(
            f"“key” must be one of {', '.join(FAMILIES)}, or a type such as RSA/2048 or EC/prime256v1."
        )
    if method is None and policy is None and key is None:
        return
    selection.kinds = _kinds(tx, policy, method, lambda one: key is None or one == key or one.partition("/")[0] == key)
    if selection.kinds is not None:
        selection.add(kinds_condition(selection.kinds))
        return
    if policy is not None:
        selection.add(_c.policy == policy)
    if method is not None:
        selection.add(_c.method == method)
    if key is not None:
        selection.add(_c.key_type == key if variant or family == "Ed25519" else _c.key_type.like(f"{family}/%"))


def kinds_condition(kinds: Sequence[Kind]) -> ColumnElement[bool]:
    """Return the condition that a certificate is of one of these kinds."""
    return or_(
        false(), *(and_(_c.policy == policy, _c.method == method, _c.key_type == key) for policy, method, key in kinds)
    )


def _kinds(tx: Transaction, policy: str | None, method: str | None, is_key: Callable[[str], bool]) -> list[Kind] | None:
    """Return the kinds in use with these values, each by a few seeks in their index; ``None``: there are too many."""
    found: list[Kind] = []
    row = (
        tx.row(_next_method, {"b_policy": policy, "b_method": ""}) if policy else tx.row(_next_policy, {"b_policy": ""})
    )
    for _ in range(_MAX_KINDS):
        if row is None:
            return found
        if (method is None or row[1] == method) and is_key(row[2]):
            found.append((row[0], row[1], row[2]))
        last = {"b_policy": row[0], "b_method": row[1], "b_key_type": row[2]}
        row = tx.row(_next_key, last) or tx.row(_next_method, {"b_policy": row[0], "b_method": row[1]})
        if row is None and policy is None:
            row = tx.row(_next_policy, {"b_policy": last["b_policy"]})
    return None


def all_kinds(tx: Transaction) -> list[Kind] | None:
    """Return all kinds in use; ``None``: there are too many."""
    return _kinds(tx, None, None, lambda _: True)


def kinds_of_policy(tx: Transaction, policy: str) -> list[Kind]:
    """Return the kinds in use with that policy; none when there are too many."""
    return _kinds(tx, policy, None, lambda _: True) or []


def of_kind(ids: Select[Any]) -> Select[Any]:
    """Let SQLite, which has no statistics of the rows, use the index of kinds."""
    return ids.with_hint(certificates, "INDEXED BY certificates_kind", "sqlite")


def _digest(text: str) -> bytes:
    digits = text.replace(":", "")
    if not re.fullmatch("[0-9A-Fa-f]{64}", digits):
        raise MalformedRequest("key_sha256 is the SHA-256 of a public key: 64 hexadecimal digits")
    return bytes.fromhex(digits)
