"""Rows of devices: written by the transactions that issue, revoke and delete certificates (see docs/adr/0037)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, case, func, null, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from pikachu.core.errors import NotFound, RetiredDevice
from pikachu.core.model.certificates import Method, RevocationReason
from pikachu.core.model.devices import Device, renewal_times
from pikachu.storage.database import Row, Transaction
from pikachu.storage.device_schema import devices
from pikachu.storage.schema import certificates, challenges
from pikachu.storage.transactions import maybe_moment, moment, row_id, storable
from pikachu.x509.device_names import device_key

_d: Final = devices.c
_c: Final = certificates.c
_FIELDS: Final = tuple(
    column.name for column in devices.columns if column.name not in ("id", "retired_at", "retired_reason")
)
DEVICE_COLUMNS: Final = list(devices.columns)
_in_force: Final = (
    select(_c.id)
    .where(_c.device_id == bindparam("b_device"), _c.revoked_at.is_(None), _c.deleted_at.is_(None))
    .order_by(_c.id.desc())
    .limit(1)
)
CURRENT_CERTIFICATE: Final = (
    select(_c.id)
    .where(_c.device_id == _d.id, _c.revoked_at.is_(None), _c.deleted_at.is_(None))
    .order_by(_c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_by_id: Final = select(*DEVICE_COLUMNS, CURRENT_CERTIFICATE).where(_d.id == bindparam("b_id"))
_retired: Final = select(_d.id).where(
    _d.name_key == bindparam("b_key"), _d.owner_id == bindparam("b_owner"), _d.retired_at.is_not(None)
)
_retired_of_id: Final = select(_d.id).where(_d.id == bindparam("b_id"), _d.retired_at.is_not(None))
_IS_RETIRED: Final = "This device is retired. Put it back in service on its page, or enroll under another name."


def _upsert(insert: Any, *, is_newest: bool) -> Any:
    """Return the statement that adds a certificate to the device of its name, and returns that device.

    :param insert: that of the dialect.
    :param is_newest: whether the certificate is newer than those of the device.
    """
    statement = insert(devices).values({name: bindparam(name) for name in _FIELDS})
    added = statement.excluded
    changes = {"certificates": _d.certificates + added.certificates}
    if is_newest:
        changes |= {
            name: added[name]
            for name in ("name", "policy", "method", "address", "enrolled_at", "not_after", "due_at", "overdue_at")
        }
    else:
        changes["created_at"] = case((_d.created_at < added.created_at, _d.created_at), else_=added.created_at)
    return statement.on_conflict_do_update(index_elements=[_d.name_key, _d.owner_id], set_=changes).returning(
        _d.id, _d.retired_at, _d.retired_reason, _d.overdue_at
    )


_add_newest: Final = {
    "sqlite": _upsert(sqlite.insert, is_newest=True),
    "postgresql": _upsert(postgresql.insert, is_newest=True),
}
_add_older: Final = {
    "sqlite": _upsert(sqlite.insert, is_newest=False),
    "postgresql": _upsert(postgresql.insert, is_newest=False),
}
_times: Final = select(_c.not_before, _c.not_after).where(_c.id == bindparam("b_id"))
_set_times: Final = (
    update(devices)
    .where(_d.id == bindparam("b_id"))
    .values(not_after=bindparam("v_end"), due_at=bindparam("v_due"), overdue_at=bindparam("v_overdue"))
)
_set_ended: Final = update(devices).where(_d.id == bindparam("b_id")).values(due_at=0, overdue_at=0)
_count_deleted: Final = update(devices).where(_d.id == bindparam("b_id")).values(certificates=_d.certificates - 1)
_retirement: Final = (
    select(_c.serial, _d.retired_reason)
    .join(devices, _d.id == _c.device_id)
    .where(_c.id == bindparam("b_id"), _d.retired_at.is_not(None))
)
_device_of: Final = select(_c.device_id).where(_c.id == bindparam("b_id"))
_unassign: Final = update(certificates).where(_c.id == bindparam("b_id")).values(device_id=null())


@dataclass(frozen=True, slots=True)
class Enrollment:
    """An issued certificate, as far as it concerns its device.

    :param name: the name of the device, which is not empty.
    :param is_in_force: whether the certificate is neither revoked nor deleted.
    :param is_listed: whether it is not deleted.
    """

    name: str
    owner_id: int | None
    policy: str
    method: str
    address: str
    at: int
    not_before: int
    not_after: int
    is_in_force: bool = True
    is_listed: bool = True


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """The device of a certificate that was added.

    :ivar retired: when and why it was retired, or ``None``.
    :ivar is_ended: whether it has no certificate that is in force.
    """

    id: int
    retired: tuple[int, int] | None
    is_ended: bool


def add_enrollment(tx: Transaction, enrollment: Enrollment, *, is_newest: bool = True) -> DeviceRow:
    """Add a certificate to the device of its name, which may be new.

    :param is_newest: whether it is newer than the device's others.
    """
    due, overdue = renewal_times(enrollment.not_before, enrollment.not_after) if enrollment.is_in_force else (0, 0)
    values = {
        "name_key": device_key(enrollment.name),
        "owner_id": enrollment.owner_id or 0,
        "name": storable(enrollment.name),
        "policy": enrollment.policy,
        "method": enrollment.method,
        "address": enrollment.address,
        "certificates": int(enrollment.is_listed),
        "created_at": enrollment.at,
        "enrolled_at": enrollment.at,
        "not_after": enrollment.not_after,
        "due_at": due,
        "overdue_at": overdue,
    }
    tx.has_written = True
    row = tx.row((_add_newest if is_newest else _add_older)[tx.dialect], values)
    assert row is not None  # noqa: S101 - each INSERT … RETURNING gives one
    return DeviceRow(row[0], None if row[1] is None else (row[1], row[2]), row[3] == 0)


def require_in_service(tx: Transaction, name: str, owner_id: int | None) -> None:
    """Require that the device of that name and owner is not retired.

    :raises RetiredDevice: when it is.
    """
    if name and tx.row(_retired, {"b_key": device_key(name), "b_owner": owner_id or 0}) is not None:
        raise RetiredDevice(_IS_RETIRED, device=name)


def require_device_in_service(tx: Transaction, device_id: int | None) -> None:
    """Require that the device with that id, if any, is not retired.

    :raises RetiredDevice: when it is.
    """
    if device_id is not None and tx.row(_retired_of_id, {"b_id": device_id}) is not None:
        raise RetiredDevice(_IS_RETIRED, device=device_id)


def retirement_of(tx: Transaction, certificate_id: int) -> tuple[int, RevocationReason] | None:
    """Return the serial number of a certificate and the reason of its device's retirement; None when in service."""
    row = tx.row(_retirement, {"b_id": certificate_id})
    return None if row is None else (int(row[0], 16), RevocationReason(row[1]))


def device_of(tx: Transaction, certificate_id: int) -> int | None:
    """Return the id of the device of a certificate, or None."""
    row = tx.row(_device_of, {"b_id": certificate_id})
    return None if row is None else row[0]


def refresh_device(tx: Transaction, device_id: int) -> None:
    """Recompute the times of a device after the status of one of its certificates has changed."""
    current = tx.row(_in_force, {"b_device": device_id})
    times = None if current is None else tx.row(_times, {"b_id": current[0]})
    if times is None:
        tx.write(_set_ended, {"b_id": device_id})
        return
    due, overdue = renewal_times(times[0], times[1])
    tx.write(_set_times, {"b_id": device_id, "v_end": times[1], "v_due": due, "v_overdue": overdue})


def certificate_changed(tx: Transaction, certificate_id: int, *, is_deleted: bool = False) -> None:
    """Update the device of a certificate that was revoked, released or deleted.

    :param is_deleted: whether it is one less in lists.
    """
    device_id = device_of(tx, certificate_id)
    if device_id is not None:
        if is_deleted:
            tx.write(_count_deleted, {"b_id": device_id})
        refresh_device(tx, device_id)


def leave_device(tx: Transaction, certificate_id: int) -> None:
    """Take a certificate, which is the CA's own, out of its device."""
    device_id = device_of(tx, certificate_id)
    if device_id is not None:
        tx.write(_unassign, {"b_id": certificate_id})
        tx.write(_count_deleted, {"b_id": device_id})
        refresh_device(tx, device_id)


def is_bound_to(device_id: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    """Return the conditions on challenge passwords that are bound to the name of the device with that id."""
    device = select(_d.name_key).where(_d.id == device_id).scalar_subquery()
    owner = select(_d.owner_id).where(_d.id == device_id).scalar_subquery()
    return [
        text("device_key IS NOT NULL"),  # type: ignore[list-item]  # as the partial index says it
        challenges.c.device_key == device,
        func.coalesce(challenges.c.owner_id, 0) == owner,
    ]


def find_device(tx: Transaction, device_id: int) -> Device:
    """Return the device with that id.

    :raises NotFound: when there is none.
    """
    row = tx.row(_by_id, {"b_id": row_id(device_id)})
    if row is None:
        raise NotFound("There is no such device.")
    return device_record(row)


def device_record(row: Row) -> Device:
    """Return the device of a row of ``DEVICE_COLUMNS`` and ``CURRENT_CERTIFICATE``."""
    identity, _, owner_id, name, policy, method, address, count, created_at, enrolled_at, *times = row
    not_after, due_at, overdue_at, retired_at, retired_reason, certificate_id = times
    return Device(
        identity,
        name,
        owner_id or None,
        policy,
        Method(method),
        address,
        count,
        moment(created_at),
        moment(enrolled_at),
        moment(not_after),
        moment(due_at) if due_at else None,
        moment(overdue_at) if overdue_at else None,
        maybe_moment(retired_at),
        None if retired_reason is None else RevocationReason(retired_reason),
        certificate_id,
    )
