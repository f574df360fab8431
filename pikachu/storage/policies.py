"""Enrollment policies, except the one in files, and which of them are the defaults of a protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, delete, insert, or_, select, update

from pikachu.core.errors import Conflict, EditConflict, NotFound
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import Event
from pikachu.core.model.lint import LintOverride
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Role
from pikachu.core.model.policies import (
    LABEL_PROTOCOLS,
    NO_NEXT_DEFAULTS,
    Approval,
    NextDefaults,
    Policy,
    PolicyLimits,
    SystemPolicySettings,
)
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.pagination import ListSource, checked, matching, one_of, owner_key, owner_name, page, table_columns
from pikachu.storage.policy_schema import default_policy
from pikachu.storage.schema import policies
from pikachu.storage.transactions import (
    StoreSection,
    moment,
    point_read,
    read_transaction,
    row_id,
    storable,
    to_json,
    write_transaction,
)

_p: Final = policies.c
_FLAGS: Final = {Method.EST: _p.use_for_est, Method.SCEP: _p.use_for_scep}
_DEFAULTS: Final = {Method.EST: _p.default_for_est, Method.SCEP: _p.default_for_scep}
_MAX_LABELS: Final = 200
_VALUES: Final = tuple(column.name for column in policies.columns if column.name != "id")

_by_id: Final = select(*policies.columns).where(_p.id == bindparam("b_id"))
_by_name: Final = select(*policies.columns).where(_p.name == bindparam("b_name"))
# By protocol, and by whether the policies are those of the system or of one owner.
_group: Final = {True: _p.system == 1, False: and_(_p.system == 0, _p.owner_id == bindparam("b_owner"))}
_default_in: Final = {
    (protocol, system): select(*policies.columns).where(mark == 1, group)
    for protocol, mark in _DEFAULTS.items()
    for system, group in _group.items()
}
_used_in: Final = {
    (protocol, system): select(*policies.columns)
    .where(flag == 1, group, _p.id != bindparam("b_id"))
    .order_by(_p.name)
    .limit(_MAX_LABELS)
    for protocol, flag in _FLAGS.items()
    for system, group in _group.items()
}
_set_default: Final = {
    protocol: update(policies)
    .where(_p.id == bindparam("b_id"))
    .values(
        {
            mark.name: bindparam("b_mark"),
            "version": _p.version + 1,
            "updated_at": bindparam("b_now"),
            "updated_by": bindparam("b_actor"),
        }
    )
    for protocol, mark in _DEFAULTS.items()
}
_insert: Final = insert(policies).values({name: bindparam(name) for name in _VALUES}).returning(_p.id)
_update: Final = (
    update(policies)
    .where(_p.id == bindparam("b_id"), _p.version == bindparam("b_version"))
    .values({name: bindparam(f"v_{name}") for name in _VALUES})
)
_delete: Final = delete(policies).where(_p.id == bindparam("b_id"))
_system: Final = select(default_policy.c.roles, default_policy.c.lint_override).where(default_policy.c.id == 1)
_system_values: Final[dict[str, Any]] = {"roles": bindparam("b_roles"), "lint_override": bindparam("b_lint_override")}
_insert_system: Final = insert(default_policy).values(id=1, **_system_values)
_update_system: Final = update(default_policy).where(default_policy.c.id == 1).values(_system_values)


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
        default_for_est=bool(row[15]),
        default_for_scep=bool(row[16]),
        roles=_roles(row[17]),
        lint_override=_override(row[18]),
    )


def _roles(text: str) -> tuple[Role, ...]:
    """Return the roles that are stored as *text*."""
    return tuple(Role(name) for name in text.split())


def _override(text: str | None) -> LintOverride | None:
    """Return the override that is stored as *text*."""
    if text is None:
        return None
    stored = json.loads(text)
    return LintOverride(stored["reason"], stored["by"], moment(stored["at"]), tuple(stored["codes"]))


def _override_text(override: LintOverride | None) -> str | None:
    if override is None:
        return None
    return storable(to_json({**asdict(override), "at": int(override.at.timestamp())}))


def _values(policy: Policy, created_at: datetime, event: Event, now: datetime) -> dict[str, object]:
    """Return the row of *policy* after the change that *event* records."""
    return {
        "name": storable(policy.name),
        "days": policy.days,
        "extensions": storable(policy.extensions),
        "system": int(policy.system),
        "use_for_est": int(policy.use_for_est),
        "use_for_scep": int(policy.use_for_scep),
        "owner_id": _owner_of(policy),
        "issuer": policy.issuer,
        "approval": policy.approval.value,
        "limits": to_json(asdict(policy.limits)),
        "created_at": int(created_at.timestamp()),
        "updated_at": int(now.timestamp()),
        "version": policy.version + 1,
        "updated_by": storable(event.actor),
        "default_for_est": int(policy.default_for_est),
        "default_for_scep": int(policy.default_for_scep),
        "roles": " ".join(policy.roles),
        "lint_override": _override_text(policy.lint_override),
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


def _default_policy(tx: Transaction, protocol: Method, owner_id: int | None) -> Policy | None:
    row = tx.row(_default_in[protocol, owner_id is None], {"b_owner": owner_id})
    return None if row is None else _record(row)


def _labels(tx: Transaction, protocol: Method, owner_id: int | None, other_than: int = 0) -> list[Policy]:
    parameters = {"b_owner": owner_id, "b_id": other_than}
    return [_record(row) for row in tx.rows(_used_in[protocol, owner_id is None], parameters)]


def _require_free_name(tx: Transaction, policy: Policy) -> None:
    same = _named(tx, policy.name)
    if same is not None and same.id != policy.id:
        raise Conflict(f"there is a policy named {policy.name} already", field="name")


def _owner_of(policy: Policy) -> int | None:
    return None if policy.system else policy.owner_id


def _with_defaults(tx: Transaction, before: Policy | None, policy: Policy) -> Policy:
    """Return *policy* with the default marks that it has after a change.

    A mark is given to the first policy of an owner that is used for the protocol, and to the one that is chosen.
    """

    def becomes_default(protocol: Method) -> bool:
        if not policy.is_used_for(protocol) or (policy.owner_id is None and not policy.system):
            return False
        chosen = policy.is_default_for(protocol)
        if before is not None and _is_same_group(before, policy):
            if before.is_used_for(protocol):
                return chosen
        elif before is not None and before.is_default_for(protocol):
            # The mark among the policies of another owner is not taken along.
            chosen = False
        return chosen or not _labels(tx, protocol, _owner_of(policy), policy.id)

    return replace(policy, default_for_est=becomes_default(Method.EST), default_for_scep=becomes_default(Method.SCEP))


def _is_same_group(one: Policy, other: Policy) -> bool:
    """Return whether both are system policies, or of one owner: only one of these is the default."""
    return one.system == other.system and _owner_of(one) == _owner_of(other)


class _Marks:
    """The default marks of other policies that follow from a change of one, with their events.

    :param before: the policy before the change, or ``None`` for a new one.
    :param after: the policy after the change, or ``None`` when it is deleted.
    """

    def __init__(self, tx: Transaction, before: Policy | None, after: Policy | None) -> None:
        self._tx = tx
        self._before = before
        self._after = after
        self._events: list[Event] = []

    def unmark_others(self, event: Event, now: datetime) -> None:
        """Take the mark from the policies that are no longer the default, before the change is written."""
        for protocol in LABEL_PROTOCOLS:
            if self._after is not None and self._after.is_default_for(protocol):
                other = _default_policy(self._tx, protocol, _owner_of(self._after))
                if other is not None and other.id != self._after.id:
                    self._mark(other, protocol, False, event, now)

    def mark_next(self, next_defaults: NextDefaults, event: Event, now: datetime) -> None:
        """Mark the chosen next defaults, after the change was written.

        :raises Conflict: when the changed policy was not the default, or remains it.
        :raises NotFound: when the chosen one is not used for the protocol by the same owner.
        """
        for protocol, policy_id in next_defaults.items():
            before = self._before
            if before is None or not self._gives_up(before, protocol):
                raise Conflict(
                    f"The policy was not the default for {protocol.value}, or remains it. Choose no next default."
                )
            row = self._tx.row(_by_id, {"b_id": row_id(policy_id)})
            chosen = None if row is None else _record(row)
            if chosen is None or not chosen.is_used_for(protocol) or not _is_same_group(chosen, before):
                raise NotFound(
                    f"The next default must be a policy of the same owner that is used for {protocol.value}. "
                    "Choose another one."
                )
            self._mark(chosen, protocol, True, event, now)

    def _gives_up(self, before: Policy, protocol: Method) -> bool:
        after = self._after
        stays = after is not None and _is_same_group(before, after) and after.is_default_for(protocol)
        return before.is_default_for(protocol) and not stays

    def _mark(self, policy: Policy, protocol: Method, mark: bool, event: Event, now: datetime) -> None:
        parameters = {
            "b_id": policy.id,
            "b_mark": int(mark),
            "b_now": int(now.timestamp()),
            "b_actor": storable(event.actor),
        }
        self._tx.write(_set_default[protocol], parameters)
        details = {name: value for name, value in event.details.items() if name == "ip"}
        details[f"default_for_{protocol.value.lower()}"] = mark
        self._events.append(
            replace(event, type="update", resource_name=policy.name, owner_id=policy.owner_id, details=details)
        )

    def write_events(self, event: Event, now: datetime) -> None:
        """Write *event*, with the marks of the changed policy, and the events of the others."""
        if self._after is not None:
            marks = [one.value for one in LABEL_PROTOCOLS if self._after.is_default_for(one)]
            event = replace(event, details={**event.details, "default_for": marks})
        for one in (event, *self._events):
            write_event(self._tx, one, now)


def _concurrent() -> Conflict:
    return Conflict("Policies were changed at the same time. Reload and try again.")


class PolicyStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IPolicyStore`."""

    @point_read
    def policy(self, tx: Transaction, policy_id: int) -> Policy:
        """Return the policy with that id; NotFound."""
        return find_policy(tx, policy_id)

    @point_read
    def policy_by_name(self, tx: Transaction, name: str) -> Policy | None:
        """Return the policy with exactly that name."""
        return _named(tx, name)

    @point_read
    def default_policy(self, tx: Transaction, protocol: Method, owner_id: int | None) -> Policy | None:
        """Return the default policy for EST or SCEP: the owner's, or the system's for None."""
        return _default_policy(tx, protocol, owner_id)

    @read_transaction
    def labels(self, tx: Transaction, protocol: Method, owner_id: int | None) -> Sequence[Policy]:
        """Return the policies used for EST or SCEP: the owner's, or the system's for None; at most 200."""
        return _labels(tx, protocol, owner_id)

    @read_transaction
    def policies(self, tx: Transaction, query: ListQuery) -> Page[Policy]:
        """List policies; *owner_id* selects that owner's and the system's; filter ``system``."""
        checked(query, ("system",))
        conditions: list[ColumnElement[bool]] = []
        if query.owner_id is not None:
            conditions.append(or_(_p.owner_id == query.owner_id, _p.system == 1))
        system = one_of(query, "system", ("true", "false"))
        if system is not None:
            conditions.append(_p.system == int(system == "true"))
        searched = (_p.id, _p.name, _p.extensions, _p.issuer, owner_name(_p.owner_id))
        conditions += matching(tx, query, searched, conditions, times=(_p.created_at, _p.updated_at))
        sorts = {
            "id": _p.id,
            "created_at": _p.id,
            "name": _p.name,
            "days": _p.days,
            "updated_at": _p.updated_at,
            "user": owner_key(_p.owner_id),
        }
        return page(tx, query, ListSource(table_columns(policies), sorts, _record), conditions)

    @write_transaction
    def add_policy(self, tx: Transaction, policy: Policy, event: Event, now: datetime) -> Policy:
        """Create a policy, ignoring its id and version; Conflict, QuotaExceeded."""
        self._require_quota(tx, "policies", policy.owner_id)
        policy = replace(policy, id=0, version=0)
        _require_free_name(tx, policy)
        policy = _with_defaults(tx, None, policy)
        marks = _Marks(tx, None, policy)
        marks.unmark_others(event, now)
        try:
            identity = tx.insert(_insert, _values(policy, now, event, now))
        except tx.constraint_error as error:
            raise _concurrent() from error
        marks.write_events(event, now)
        return find_policy(tx, identity)

    @write_transaction
    def update_policy(
        self,
        tx: Transaction,
        policy: Policy,
        event: Event,
        now: datetime,
        next_defaults: NextDefaults = NO_NEXT_DEFAULTS,
    ) -> Policy:
        """Update the policy with that id and version; NotFound, Conflict, EditConflict, QuotaExceeded."""
        old = find_policy(tx, policy.id)
        _require_free_name(tx, policy)
        if policy.owner_id != old.owner_id:
            self._require_quota(tx, "policies", policy.owner_id)
        policy = _with_defaults(tx, old, policy)
        marks = _Marks(tx, old, policy)
        marks.unmark_others(event, now)
        values = _values(policy, old.created_at or now, event, now)
        of_version = {"b_id": policy.id, "b_version": policy.version}
        try:
            updated = tx.write(_update, {**of_version, **{f"v_{name}": value for name, value in values.items()}})
        except tx.constraint_error as error:
            raise _concurrent() from error
        if not updated:
            raise EditConflict.of("policy", old.updated_by, old.updated_at)
        marks.mark_next(next_defaults, event, now)
        marks.write_events(event, now)
        return find_policy(tx, policy.id)

    @write_transaction
    def delete_policy(
        self,
        tx: Transaction,
        policy_id: int,
        decide: Callable[[Policy], Event],
        now: datetime,
        next_defaults: NextDefaults = NO_NEXT_DEFAULTS,
    ) -> None:
        """Delete a policy; NotFound, Conflict, and the errors of *decide*."""
        old = find_policy(tx, policy_id)
        event = decide(old)
        tx.write(_delete, {"b_id": policy_id})
        marks = _Marks(tx, old, None)
        marks.mark_next(next_defaults, event, now)
        marks.write_events(event, now)

    @point_read
    def system_settings(self, tx: Transaction) -> SystemPolicySettings:
        """Return what is stored of the default policy beside its files."""
        row = tx.row(_system)
        return SystemPolicySettings() if row is None else SystemPolicySettings(_roles(row[0]), _override(row[1]))

    @write_transaction
    def set_system_settings(self, tx: Transaction, settings: SystemPolicySettings, event: Event, now: datetime) -> None:
        """Set what is stored of the default policy beside its files."""
        parameters = {"b_roles": " ".join(settings.roles), "b_lint_override": _override_text(settings.lint_override)}
        if not tx.write(_update_system, parameters):
            tx.write(_insert_system, parameters)
        write_event(tx, event, now)
