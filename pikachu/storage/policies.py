"""Enrollment policies other than the default one, which lives in files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

from twisted.internet.defer import Deferred

from sqlalchemy import bindparam, delete, insert, or_, select, update

from pikachu.core.errors import Conflict, EditConflict, NotFound
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import Event
from pikachu.core.model.lists import ListQuery, Page
from pikachu.core.model.policies import Approval, Policy, PolicyLimits
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.lists import any_contains, checked, one_of, page, table_columns
from pikachu.storage.part import RequireQuota, StoreSection, moment, row_id, storable, to_json
from pikachu.storage.schema import policies

_p: Final = policies.c
_FLAGS: Final = {Method.EST: _p.use_for_est, Method.SCEP: _p.use_for_scep}
_VALUES: Final = tuple(column.name for column in policies.columns if column.name != "id")

_by_id: Final = select(*policies.columns).where(_p.id == bindparam("b_id"))
_by_name: Final = select(*policies.columns).where(_p.name == bindparam("b_name"))
_owned: Final = {
    method: select(*policies.columns).where(flag == 1, _p.system == 0, _p.owner_id == bindparam("b_owner"))
    for method, flag in _FLAGS.items()
}
_system: Final = {method: select(*policies.columns).where(flag == 1, _p.system == 1) for method, flag in _FLAGS.items()}
_insert: Final = insert(policies).values({name: bindparam(name) for name in _VALUES}).returning(_p.id)
_update: Final = (
    update(policies)
    .where(_p.id == bindparam("b_id"), _p.version == bindparam("b_version"))
    .values({name: bindparam(f"v_{name}") for name in _VALUES})
)
_delete: Final = delete(policies).where(_p.id == bindparam("b_id"))


def _record(row: Row) -> Policy:
    limits: dict[str, Any] = json.loads(row[10])
    for name in ("keys", "names"):
        limits[name] = tuple(limits[name])
    return Policy(
        row[0],
        row[1],
        row[2],
        row[3],
        system=bool(row[4]),
        use_for_est=bool(row[5]),
        use_for_scep=bool(row[6]),
        owner_id=row[7],
        issuer=row[8],
        approval=Approval(row[9]),
        limits=PolicyLimits(**limits),
        created_at=moment(row[11]),
        updated_at=moment(row[12]),
        version=row[13],
        updated_by=row[14],
    )


def _values(policy: Policy, created_at: datetime, event: Event, now: datetime) -> dict[str, object]:
    """Return the row of what *policy* becomes by the change that *event* records."""
    return {
        "name": storable(policy.name),
        "days": policy.days,
        "extensions": storable(policy.extensions),
        "system": int(policy.system),
        "use_for_est": int(policy.use_for_est),
        "use_for_scep": int(policy.use_for_scep),
        "owner_id": policy.owner_id,
        "issuer": policy.issuer,
        "approval": policy.approval.value,
        "limits": to_json(asdict(policy.limits)),
        "created_at": int(created_at.timestamp()),
        "updated_at": int(now.timestamp()),
        "version": policy.version + 1,
        "updated_by": storable(event.actor),
    }


def find_policy(tx: Transaction, policy_id: int) -> Policy:
    """The policy of that id.

    :raises NotFound: when there is none.
    """
    row = tx.row(_by_id, {"b_id": row_id(policy_id)})
    if row is None:
        raise NotFound("there is no such policy")
    return _record(row)


def _named(tx: Transaction, name: str) -> Policy | None:
    row = tx.row(_by_name, {"b_name": storable(name)})
    return None if row is None else _record(row)


def _policy_for(tx: Transaction, protocol: Method, owner_id: int | None) -> Policy | None:
    if protocol not in _FLAGS:
        return None
    row = tx.row(_system[protocol]) if owner_id is None else tx.row(_owned[protocol], {"b_owner": owner_id})
    return None if row is None else _record(row)


def _refuse_conflict(tx: Transaction, policy: Policy) -> None:
    """Names are unique, and one policy of an owner, or of the system, is used for each protocol."""
    same = _named(tx, policy.name)
    if same is not None and same.id != policy.id:
        raise Conflict(f"there is a policy named {policy.name} already")
    for protocol, wanted in ((Method.EST, policy.use_for_est), (Method.SCEP, policy.use_for_scep)):
        if not wanted or (not policy.system and policy.owner_id is None):
            continue
        holder = _policy_for(tx, protocol, None if policy.system else policy.owner_id)
        if holder is not None and holder.id != policy.id:
            raise Conflict(f"the policy {holder.name} is used for {protocol} already")


def _add(tx: Transaction, policy: Policy, event: Event, now: datetime) -> Policy:
    policy = replace(policy, id=0, version=0)
    _refuse_conflict(tx, policy)
    identity = tx.insert(_insert, _values(policy, now, event, now))
    write_event(tx, event, now)
    return find_policy(tx, identity)


def _change(tx: Transaction, policy: Policy, event: Event, now: datetime, require_quota: RequireQuota) -> Policy:
    old = find_policy(tx, policy.id)
    _refuse_conflict(tx, policy)
    if policy.owner_id != old.owner_id:
        require_quota(tx, "policies", policy.owner_id)
    values = _values(policy, old.created_at or now, event, now)
    of_version = {"b_id": policy.id, "b_version": policy.version}
    if not tx.write(_update, {**of_version, **{f"v_{name}": value for name, value in values.items()}}):
        raise EditConflict.of("policy", old.updated_by, old.updated_at)
    write_event(tx, event, now)
    return find_policy(tx, policy.id)


def _remove(tx: Transaction, policy_id: int, decide: Callable[[Policy], Event], now: datetime) -> None:
    event = decide(find_policy(tx, policy_id))
    tx.write(_delete, {"b_id": policy_id})
    write_event(tx, event, now)


def _list(tx: Transaction, query: ListQuery) -> Page[Policy]:
    checked(query, ("system",))
    conditions = any_contains(query, _p.name, _p.extensions)
    if query.owner_id is not None:
        conditions.append(or_(_p.owner_id == query.owner_id, _p.system == 1))
    system = one_of(query, "system", ("true", "false"))
    if system is not None:
        conditions.append(_p.system == int(system == "true"))
    sorts = {"id": _p.id, "created_at": _p.id, "name": _p.name, "days": _p.days, "updated_at": _p.updated_at}
    return page(tx, query, table_columns(policies), sorts, conditions, _record)


class PolicyStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IPolicyStore`."""

    def policy(self, policy_id: int) -> Deferred[Policy]:
        """The policy of that id; NotFound."""
        return self._read(find_policy, policy_id)

    def policy_by_name(self, name: str) -> Deferred[Policy | None]:
        """The policy of exactly that name."""
        return self._read(_named, name)

    def policy_for(self, protocol: Method, owner_id: int | None) -> Deferred[Policy | None]:
        """The one flagged for EST or SCEP: the owner's own, or with ``None`` the system's."""
        return self._read(_policy_for, protocol, owner_id)

    def policies(self, query: ListQuery) -> Deferred[Page[Policy]]:
        """With *owner_id*: that owner's and the system ones; filter ``system``."""
        return self._read(_list, query)

    def add_policy(self, policy: Policy, event: Event, now: datetime) -> Deferred[Policy]:
        """Keep a new one, whatever its id and version say; Conflict, QuotaExceeded."""
        return self._add_within_quota("policies", policy.owner_id, _add, policy, event, now)

    def update_policy(self, policy: Policy, event: Event, now: datetime) -> Deferred[Policy]:
        """Change the one of that id and version; NotFound, Conflict, EditConflict, QuotaExceeded."""
        return self._write(_change, policy, event, now, self._require_quota)

    def delete_policy(self, policy_id: int, decide: Callable[[Policy], Event], now: datetime) -> Deferred[None]:
        """Remove it; NotFound, and what *decide* raises."""
        return self._write(_remove, policy_id, decide, now)
