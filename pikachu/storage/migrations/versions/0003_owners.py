"""Deleted accounts stay as owners: give one to what earlier versions left without.

An earlier version deleted an account's row and left its certificates, keys, CSRs and pending requests without an
owner.  Its audit events still name it by its id, which no other account has had since.  Nothing here depends on what
an interrupted run has done, and each statement holds a bounded number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_BATCH: Final = 500
#: Resource types of create events → how what the event names is given back.  Serials are unique; other names are not,
#: but an object and its event are written at one time.
_RETURN: Final = {
    "certificate": sa.text("UPDATE certificates SET owner_id = :owner WHERE owner_id IS NULL AND serial = :name"),
    "key": sa.text("UPDATE keys SET owner_id = :owner WHERE owner_id IS NULL AND name = :name AND created_at = :at"),
    "CSR": sa.text("UPDATE csrs SET owner_id = :owner WHERE owner_id IS NULL AND name = :name AND created_at = :at"),
}


def upgrade() -> None:
    """Restore deleted accounts as tombstones, and what was theirs to them."""
    connection = op.get_bind()
    for account_id in _former_owners(connection):
        _add_tombstone(connection, account_id)
        _return_objects(connection, account_id)
    _return_requests(connection)


def _row(connection: sa.Connection, statement: str, **values: object) -> Any:
    return connection.execute(sa.text(statement), values).first()


def _former_owners(connection: sa.Connection) -> Iterator[int]:
    """The ids that events name as an owner's and no account has, one seek in the index for each owner."""
    last = 0
    while True:
        row = _row(
            connection,
            "SELECT min(owner_id) FROM audit_events WHERE owner_id IS NOT NULL AND owner_id > :last",
            last=last,
        )
        if row[0] is None:
            return
        last = int(row[0])
        if _row(connection, "SELECT 1 FROM accounts WHERE id = :id", id=last) is None:
            yield last


def _add_tombstone(connection: sa.Connection, account_id: int) -> None:
    newest = _row(
        connection,
        "SELECT resource_name FROM audit_events WHERE owner_id = :id AND about_account = 1 ORDER BY id DESC LIMIT 1",
        id=account_id,
    )
    oldest = _row(connection, "SELECT at FROM audit_events WHERE owner_id = :id ORDER BY id LIMIT 1", id=account_id)
    username = f"account-{account_id}" if newest is None else newest[0]
    connection.execute(
        sa.text(
            "INSERT INTO accounts (id, username, name_key, email, role, source, state, password_hash, created_at) "
            "VALUES (:id, :username, :name_key, '', 'user', 'local', 'deleted', NULL, :created_at)"
        ),
        {
            "id": account_id,
            "username": username,
            "name_key": f"{username.casefold()} (deleted {account_id})",
            "created_at": oldest[0],
        },
    )


def _return_objects(connection: sa.Connection, account_id: int) -> None:
    """Give back the objects that the account's create events name."""
    last = 0
    while True:
        events = connection.execute(
            sa.text(
                "SELECT id, resource_type, resource_name, at FROM audit_events "
                "WHERE owner_id = :owner AND id > :last AND type = 'create' "
                "AND resource_type IN ('certificate', 'key', 'CSR') ORDER BY id LIMIT :batch"
            ),
            {"owner": account_id, "last": last, "batch": _BATCH},
        ).all()
        for _, kind, name, at in events:
            values = {"owner": account_id, "name": name, "at": at}
            connection.execute(_RETURN[kind], {one: values[one] for one in _RETURN[kind].compile().params})
        if len(events) < _BATCH:
            return
        last = events[-1][0]


def _return_requests(connection: sa.Connection) -> None:
    """Give back the requests that wait, and what was issued for one that was approved after its requester's account was
    deleted: without an owner, these certificates would enroll for anybody.
    """
    last = 0
    while True:
        found = connection.execute(
            sa.text(
                "SELECT id, principal, created_at, csr_id, certificate_id FROM requests "
                "WHERE (decided_by IS NOT NULL OR state = 'pending') AND owner_id IS NULL AND method <> 'CA' "
                "AND id > :last ORDER BY id LIMIT :batch"
            ),
            {"last": last, "batch": _BATCH},
        ).all()
        for request_id, principal, created_at, csr_id, certificate_id in found:
            owner_id = _owner_of_csr(connection, csr_id)
            if owner_id is None:
                owner_id = _requester(connection, principal, created_at)
            if owner_id is not None:
                returned = sa.text("UPDATE requests SET owner_id = :owner WHERE id = :id")
                connection.execute(returned, {"owner": owner_id, "id": request_id})
                issued = sa.text("UPDATE certificates SET owner_id = :owner WHERE owner_id IS NULL AND id = :id")
                connection.execute(issued, {"owner": owner_id, "id": certificate_id})
        if len(found) < _BATCH:
            return
        last = found[-1][0]


def _owner_of_csr(connection: sa.Connection, csr_id: int | None) -> int | None:
    """The owner of the stored CSR that a request was made of, whoever handed it in."""
    row = _row(connection, "SELECT owner_id FROM csrs WHERE id = :id", id=csr_id)
    return None if row is None else row[0]


def _requester(connection: sa.Connection, principal: str, created_at: int) -> int | None:
    """The account that a request was made for, by the words that it keeps of its requester."""
    kind, _, name = principal.rpartition(" ")
    if kind == "certificate":
        row = _row(connection, "SELECT owner_id FROM certificates WHERE serial = :name", name=name)
    elif kind == "challenge password":
        row = _row(
            connection,
            "SELECT owner_id FROM audit_events WHERE resource_name = :name AND resource_type = 'challenge password' "
            "AND type = 'create' AND at <= :at ORDER BY id DESC LIMIT 1",
            name=name,
            at=created_at,
        )
    else:
        row = _row(
            connection,
            "SELECT accounts.id FROM accounts JOIN audit_events ON audit_events.owner_id = accounts.id "
            "AND audit_events.resource_type = 'user' AND audit_events.type = 'delete' "
            "WHERE accounts.state = 'deleted' AND accounts.username = :name AND audit_events.at >= :at "
            "ORDER BY accounts.id LIMIT 1",
            name=principal,
            at=created_at,
        )
    return None if row is None else row[0]
