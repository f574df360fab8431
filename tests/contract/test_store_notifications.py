"""Notifications of other processes, and connections that PostgreSQL or the network ends (HA-1)."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, text

from pikachu.core.errors import StoreUnavailable
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.node_interfaces import Notification, Topic
from pikachu.storage.settings import StoreSettings
from tests.support.databases import NOW, Opened, event, opened

pytestmark = pytest.mark.interop


@pytest.fixture
def postgresql_url(new_postgresql: Callable[[], str]) -> str:
    """The URL of an empty PostgreSQL database."""
    return new_postgresql()


def receive(db: Opened) -> list[Notification | None]:
    """Receive into the list, which has the first None already."""
    received: list[Notification | None] = []
    db.store.receive_notifications(received.append)
    wait(db, lambda: received == [None])
    return received


def wait(db: Opened, condition: Callable[[], bool]) -> None:
    """Make the calls of threads until the condition holds."""
    while not condition():
        db.calls.make_one()


def end_sessions(url: str) -> None:
    """End every session of the database, as an operator or a restart does."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    engine.dispose()


OTHER = """
import sys
from datetime import UTC, datetime
from pikachu.cli.session import done
from pikachu.core.node_interfaces import Notification, Topic
from pikachu.storage.notifications import send_notification
from pikachu.storage.store import open_store

store = open_store(sys.argv[1])
store.database.read(lambda tx: send_notification(tx, Notification(Topic.STATUS, "of another process")))
done(store.close())
"""


def test_of_another_process(postgresql_url: str) -> None:
    """It arrives, also after the connection was lost; one's own do not, since one knows."""

    def send() -> None:
        subprocess.run([sys.executable, "-c", OTHER, postgresql_url], check=True)

    with opened(postgresql_url, threads=True) as db:
        received = receive(db)
        record = db.issue()
        db.get(db.store.revoke(record.serial, NOW, RevocationReason.UNSPECIFIED, event("revoke")))
        send()
        wait(db, lambda: len(received) > 1)
        assert received[1:] == [Notification(Topic.STATUS, "of another process")]
        end_sessions(postgresql_url)
        wait(db, lambda: len(received) > 2)
        assert received[2:] == [None], "some may have been missed"
        send()
        wait(db, lambda: len(received) > 3)


def test_of_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A SQLite database has one server, which receives none."""
    with opened(f"sqlite:///{tmp_path_factory.mktemp('db') / 'pikachu.db'}", threads=True) as db:
        received: list[Notification | None] = []
        db.store.receive_notifications(received.append)
        record = db.issue()
        db.get(db.store.revoke(record.serial, NOW, RevocationReason.UNSPECIFIED, event("revoke")))
        assert received == []


def test_a_lost_connection_is_replaced(postgresql_url: str) -> None:
    """An idle connection that PostgreSQL has closed fails no transaction."""
    with opened(postgresql_url, threads=True) as db:
        record = db.issue()
        end_sessions(postgresql_url)
        # A connection that was used within a second is not checked.
        time.sleep(1.1)
        assert db.get(db.store.certificate_by_serial(record.serial)).serial == record.serial
        assert db.issue("second").serial != record.serial


def test_limits(postgresql_url: str) -> None:
    """A statement, a lock that somebody holds, and an idle transaction have an end."""
    engine = create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:"))
    with opened(postgresql_url, threads=True, settings=StoreSettings(busy_seconds=1)) as db:
        record = db.issue()
        with engine.connect() as other:
            # The lock that every write transaction takes.
            other.execute(text(f"SELECT pg_advisory_xact_lock({0x50494B41})"))
            with pytest.raises(StoreUnavailable):
                db.issue("waits")
            assert db.get(db.store.certificate_by_serial(record.serial)).serial == record.serial, "reads go on"
        db.issue("goes on")
    engine.dispose()
