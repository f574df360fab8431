"""Connections to PostgreSQL, none of which waits without a limit.

A server or a network may stop answering without closing a connection.  Therefore everything has a limit of
``busy_seconds``: PostgreSQL ends statements, waits for locks and idle transactions itself; the kernel gives up a peer
that acknowledges nothing; and where something in between acknowledges but no longer forwards, the wait for an answer
ends here a moment later.  A connection that was idle is checked before its use.

This module imports psycopg, which is optional; import it only for PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL, Dialect

T = TypeVar("T")

# An arbitrary number, the same in every version.
_WRITE_LOCK: Final = 0x50494B41
# How much longer than PostgreSQL itself a client waits for an answer, in seconds.
_GRACE_SECONDS: Final = 2.0
# A connection that was used this recently is not checked before its next use.
_FRESH_SECONDS: Final = 1.0
_KEEPALIVE_SECONDS: Final = 5
_LIMITS: Final = (
    "SELECT set_config('statement_timeout', %(limit)s, false), set_config('lock_timeout', %(limit)s, false),"
    " set_config('idle_in_transaction_session_timeout', %(limit)s, false)"
)


class LimitedConnection(psycopg.Connection[Any]):
    """A connection that is closed when an answer takes too long.

    :ivar limit: seconds; ``None`` for no limit.
    """

    limit: float | None = None

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait for an answer.

        :raises psycopg.OperationalError: when it does not come within the limit.
        """
        limited = gen if self.limit is None else self._limited(gen, self.limit)
        return super().wait(limited, *args, **kwargs)

    def _limited(self, answer: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
        end = monotonic() + seconds
        try:
            state = next(answer)
            while True:
                # Nothing is received when the wait was interrupted, as it is several times a second.
                received = yield state
                if not received and monotonic() >= end:
                    # What is sent on it later would only wait again.
                    self.close()
                    raise psycopg.OperationalError(f"no answer within {seconds:g} seconds")
                state = answer.send(received)
        except StopIteration as done:
            result: T = done.value
            return result


def postgresql_engines(
    url: URL, readers: int, busy_seconds: float, *, is_limited: bool = True
) -> tuple[Engine, Engine]:
    """Return the engines (writer, reader).

    :param busy_seconds: the limit of each statement, of each wait for a lock or a connection, and of connecting.
    :param is_limited: whether statements have a limit; those of a migration have none.
    """
    options: dict[str, Any] = {
        "max_overflow": 1,
        "pool_timeout": busy_seconds,
        "hide_parameters": True,
        "connect_args": _connect_arguments(url, busy_seconds),
    }
    writer = create_engine(url, pool_size=1, **options)
    reader = create_engine(url, pool_size=readers, isolation_level="REPEATABLE READ", **options)
    for engine in (writer, reader):
        _limit(engine, busy_seconds if is_limited else None)
        _check_idle(engine)

    @event.listens_for(writer, "begin")
    def lock(connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")

    return writer, reader


def _connect_arguments(url: URL, seconds: float) -> dict[str, Any]:
    """Return the parameters of libpq that limit waiting; those of the URL take precedence."""
    arguments = {
        "application_name": "pikachu",
        "connect_timeout": max(2, round(seconds)),
        "keepalives_idle": _KEEPALIVE_SECONDS,
        "keepalives_interval": _KEEPALIVE_SECONDS,
        "keepalives_count": 2,
        "tcp_user_timeout": round(seconds * 1000),
    }
    return {name: value for name, value in arguments.items() if name not in url.query}


def _limit(engine: Engine, seconds: float | None) -> None:
    @event.listens_for(engine, "do_connect")
    def connect(_: Dialect, __: object, arguments: Any, parameters: Any) -> LimitedConnection:
        return LimitedConnection.connect(*arguments, **parameters)

    @event.listens_for(engine, "connect")
    def connected(connection: LimitedConnection, _: object) -> None:
        if seconds is None:
            return
        connection.limit = seconds + _GRACE_SECONDS
        # Not as startup options, which a pooler between here and PostgreSQL may refuse.
        connection.autocommit = True
        connection.execute(_LIMITS, {"limit": str(round(seconds * 1000))})
        connection.autocommit = False


def _check_idle(engine: Engine) -> None:
    """Check connections that were idle before their use; checking each of them would cost a round trip per read."""

    @event.listens_for(engine, "checkin")
    def returned(_: object, record: Any) -> None:
        record.info["used"] = monotonic()

    @event.listens_for(engine, "checkout")
    def taken(connection: Any, record: Any, _: object) -> None:
        used = record.info.get("used")
        if used is None or monotonic() - used < _FRESH_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error:
            # The pool connects again.
            raise exc.DisconnectionError from None
