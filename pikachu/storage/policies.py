"""Enrollment policies, except the default policy, which is in files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, or_, select, update

from pikachu.core.errors import Conflict, EditConflict, NotFound
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.policies import Approval, Policy, PolicyLimits
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.pagination import ListSource, any_contains, checked, one_of, page, table_columns
from pikachu.storage.schema import policies
from pikachu.storage.transactions import (
    StoreSection,
    moment,
    read_transaction,
    row_id,
    storable,
    to_json,
    write_transaction,
)

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
    for name in ("keys", "names", "other_names"):
        # Rows that an earlier version wrote lack the newer limits.
        limits[name] = tuple(limits.get(name, ()))
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
    """Return the row of *policy* after the change that *event* records."""
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
    """Return the policy with that id.

    :raises NotFound: when it does not exist.
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
    """Raise Conflict if the name is taken or another policy of the owner is used for the same protocol."""
    same = _named(tx, policy.name)
    if same is not None and same.id != policy.id:
        raise Conflict(f"there is a policy named {policy.name} already")
    for protocol, wanted in ((Method.EST, policy.use_for_est), (Method.SCEP, policy.use_for_scep)):
        if not wanted or (not policy.system and policy.owner_id is None):
            continue
        holder = _policy_for(tx, protocol, None if policy.system else policy.owner_id)
        if holder is not None and holder.id != policy.id:
            raise Conflict(f"the policy {holder.name} is used for {protocol} already")


class PolicyStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IPolicyStore`."""

    @read_transaction
    def policy(self, tx: Transaction, policy_id: int) -> Policy:
        """Return the policy with that id; NotFound."""
        return find_policy(tx, policy_id)

    @read_transaction
    def policy_by_name(self, tx: Transaction, name: str) -> Policy | None:
        """Return the policy with exactly that name."""
        return _named(tx, name)

    @read_transaction
    def policy_for(self, tx: Transaction, protocol: Method, owner_id: int | None) -> Policy | None:
        """Return the policy flagged for EST or SCEP: the owner's, or the system's for None."""
        return _policy_for(tx, protocol, owner_id)

    @read_transaction
    def policies(self, tx: Transaction, query: ListQuery) -> Page[Policy]:
        """List policies; *owner_id* selects that owner's and the system's; filter ``system``."""
        checked(query, ("system",))
        conditions = any_contains(query, _p.name, _p.extensions)
        if query.owner_id is not None:
            conditions.append(or_(_p.owner_id == query.owner_id, _p.system == 1))
        system = one_of(query, "system", ("true", "false"))
        if system is not None:
            conditions.append(_p.system == int(system == "true"))
        sorts = {"id": _p.id, "created_at": _p.id, "name": _p.name, "days": _p.days, "updated_at": _p.updated_at}
        return page(tx, query, ListSource(table_columns(policies), sorts, _record), conditions)

    @write_transaction
    def add_policy(self, tx: Transaction, policy: Policy, event: Event, now: datetime) -> Policy:
        """Create a policy, ignoring its id and version; Conflict, QuotaExceeded."""
        self._require_quota(tx, "policies", policy.owner_id)
        policy = replace(policy, id=0, version=0)
        _refuse_conflict(tx, policy)
        identity = tx.insert(_insert, _values(policy, now, event, now))
        write_event(tx, event, now)
        return find_policy(tx, identity)

    @write_transaction
    def update_policy(self, tx: Transaction, policy: Policy, event: Event, now: datetime) -> Policy:
        """Update the policy with that id and version; NotFound, Conflict, EditConflict, QuotaExceeded."""
        old = find_policy(tx, policy.id)
        _refuse_conflict(tx, policy)
        if policy.owner_id != old.owner_id:
            self._require_quota(tx, "policies", policy.owner_id)
        values = _values(policy, old.created_at or now, event, now)
        of_version = {"b_id": policy.id, "b_version": policy.version}
        if not tx.write(_update, {**of_version, **{f"v_{name}": value for name, value in values.items()}}):
            raise EditConflict.of("policy", old.updated_by, old.updated_at)
        write_event(tx, event, now)
        return find_policy(tx, policy.id)

    @write_transaction
    def delete_policy(self, tx: Transaction, policy_id: int, decide: Callable[[Policy], Event], now: datetime) -> None:
        """Delete a policy; NotFound, and the errors of *decide*."""
        event = decide(find_policy(tx, policy_id))
        tx.write(_delete, {"b_id": policy_id})
        write_event(tx, event, now)
