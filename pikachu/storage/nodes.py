"""Nodes: the servers that use this database, and their liveness (HA-1).

A node is alive while it holds a lock that its end releases.  In PostgreSQL this is an advisory lock of a separate
session, which ends with the process in any case.  A SQLite database has one server, which holds the lock of the file,
so no other node is alive.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from twisted.internet.defer import Deferred

from sqlalchemy import Connection, and_, bindparam, delete, func, not_, or_, select, text, update

from pikachu.core.errors import ConfigError, StoreUnavailable
from pikachu.core.model.requests import RequestRecord
from pikachu.core.node_interfaces import NODE_PREFIX, Node
from pikachu.storage.database import Database, Transaction
from pikachu.storage.request_rows import REQUEST_COLUMNS, UNISSUED, request_record
from pikachu.storage.schema import nodes, requests
from pikachu.storage.transactions import StoreSection, insert_into, moment, point_read, read_transaction, storable

_FORGOTTEN_AFTER: Final = timedelta(days=30)
# The first number of the advisory locks; the second one is the node's id.
_LOCK_CLASS: Final = 0x504E4F44
_n: Final = nodes.c
_r: Final = requests.c
_insert: Final = insert_into(nodes, "name", "started_at", "seen_at")
_forget: Final = delete(nodes).where(_n.seen_at < bindparam("b_end"))
_touch: Final = update(nodes).where(_n.id == bindparam("b_id")).values(seen_at=bindparam("v_seen_at"))
_all: Final = select(*nodes.columns).order_by(_n.id)
_locked: Final = text(
    "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2"
    " AND classid = :class AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
).bindparams(**{"class": _LOCK_CLASS})
# Servers share this lock; a command that needs a database without servers has it alone.
SERVING_CLASS: Final = 0x504E5356
_serve: Final = text("SELECT pg_try_advisory_lock_shared(:class, 0)").bindparams(**{"class": SERVING_CLASS})
_stop_serving: Final = text("SELECT pg_try_advisory_lock(:class, 0)").bindparams(**{"class": SERVING_CLASS})
_lock: Final = text("SELECT pg_try_advisory_lock(:class, :id)").bindparams(**{"class": _LOCK_CLASS})


class NodeLock:
    """The lock that shows that a node is alive.  Its methods block; one thread at a time calls them.

    :ivar node_id: the id of this process's node.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._session: Connection | None = None
        self.node_id: int | None = None

    def hold(self, node_id: int) -> None:
        """Take the lock, again if its session was lost.

        :raises StoreUnavailable: when the database does not answer, or a lost session still has the lock.
        """
        self.node_id = node_id
        if self._database.url.get_backend_name() != "postgresql":
            return
        if self._session is not None and not self._works(self._session):
            self._session = None
        if self._session is None:
            session = self._database.open_session()
            with self._database.translated():
                may_serve = session.execute(_serve).scalar()
                is_locked = session.execute(_lock, {"id": node_id}).scalar()
            if not may_serve or not is_locked:
                session.close()
                raise StoreUnavailable(
                    "the database does not know yet that an earlier session has ended"
                    if may_serve
                    else "a command such as `pikachu rekey` is at work on it; start again when that has ended"
                )
            self._session = session

    @staticmethod
    def _works(session: Connection) -> bool:
        try:
            session.exec_driver_sql("SELECT 1").scalar()
        except Exception:  # noqa: BLE001 - whatever is wrong with a session, a new one is better
            session.invalidate()
            session.close()
            return False
        return True

    def release(self) -> None:
        """Release the lock by closing its session."""
        if self._session is not None:
            self._session.close()
            self._session = None


@contextmanager
def without_servers(url: str) -> Iterator[None]:
    """Keep servers from starting on a PostgreSQL database.

    :raises ConfigError: when one is running, or the database does not answer.
    """
    database = Database(url, lambda _: None)
    try:
        with database.open_session() as session, database.translated():
            is_alone = session.execute(_stop_serving).scalar()
            # Servers of earlier versions have no lock of their own kind.
            live = [row[0] for row in session.execute(_locked)]
            if live or not is_alone:
                names = [row[1] for row in session.execute(_all) if row[0] in live]
                raise ConfigError(
                    f"[DATABASE] url: servers work with this database ({', '.join(names) or 'or another command'}); "
                    "stop them first"
                )
            yield
    except StoreUnavailable as error:
        raise ConfigError(f"[DATABASE] url: {error.public}") from error
    finally:
        database.close()


def live_processes(tx: Transaction, held: int | None) -> list[str] | None:
    """Return the processes of live nodes; None if only a server knows them and this process is not one."""
    if tx.dialect == "postgresql":
        return [f"{NODE_PREFIX}{row[0]}" for row in tx.query(_locked)]
    return None if held is None else [f"{NODE_PREFIX}{held}"]


def _register(tx: Transaction, name: str, now: datetime) -> Node:
    at = int(now.timestamp())
    tx.write(_forget, {"b_end": at - int(_FORGOTTEN_AFTER.total_seconds())})
    identity = tx.insert(_insert, {"name": storable(name), "started_at": at, "seen_at": at})
    return Node(identity, name, moment(at), moment(at))


class NodeStore(StoreSection):
    """See :class:`pikachu.core.node_interfaces.INodeStore`."""

    database: Database
    _node_lock: NodeLock

    def register_node(self, name: str, now: datetime) -> Node:
        """Register a new node; blocks.  Raises StoreUnavailable."""
        return self.database.write(lambda tx: _register(tx, name, now))[0]

    def hold_node(self, node: Node) -> None:
        """Take the node's lock; blocks.  Raises StoreUnavailable."""
        self._node_lock.hold(node.id)

    def keep_node(self, node: Node, now: datetime) -> Deferred[None]:
        """Take the lock again if it was lost, and record the time."""

        def hold(_: Transaction) -> None:
            self._node_lock.hold(node.id)

        def touch(tx: Transaction) -> None:
            tx.write(_touch, {"b_id": node.id, "v_seen_at": int(now.timestamp())})

        holding = self._read("keep_node", hold)
        return holding.addCallback(lambda _: self._write("keep_node", touch))

    @read_transaction
    def nodes(self, tx: Transaction) -> list[Node]:
        """Return the nodes of the last 30 days."""
        return [Node(row[0], row[1], moment(row[2]), moment(row[3])) for row in tx.rows(_all)]

    @read_transaction
    def node_count(self, tx: Transaction) -> int:
        """Return the number of running servers; 1 where a database has one only."""
        live = live_processes(tx, self._node_lock.node_id)
        return 1 if live is None else max(len(live), 1)

    @point_read
    def is_process_alive(self, tx: Transaction, process: str) -> bool | None:
        """Return whether a process is a live node, or None if unknown."""
        live = live_processes(tx, self._node_lock.node_id)
        return None if live is None or not process.startswith(NODE_PREFIX) else process in live

    @read_transaction
    def orphans(self, tx: Transaction, process: str | None, before: datetime) -> list[RequestRecord]:
        """Return intents without a certificate whose processes will not complete them."""
        live = live_processes(tx, self._node_lock.node_id)
        is_node = _r.process.startswith(NODE_PREFIX)
        # Used for processes whose liveness is unknown.
        is_old = func.coalesce(_r.decided_at, _r.created_at) < int(before.timestamp())
        lost = [and_(not_(is_node), is_old), and_(is_node, is_old if live is None else _r.process.not_in(live))]
        if process is not None and not process.startswith(NODE_PREFIX):
            lost.append(_r.process == process)
        rows = tx.query(select(*REQUEST_COLUMNS).where(UNISSUED, _r.state == "issuing", or_(*lost)).order_by(_r.id))
        return [request_record(row) for row in rows]
