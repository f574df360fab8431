"""Point reads: those that arrive while others run share a transaction, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sqlalchemy.event import listen

from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import NotFound
from pikachu.core.model.people import AccountState, NewAccount, Role
from pikachu.storage.database import Database, Transaction
from pikachu.storage.driver_errors import DatabaseDefect
from pikachu.storage.migrate import migrate
from pikachu.storage.store import Store
from tests.contract.test_store_commits import CountedPool
from tests.support.databases import NOW, Opened, event, opened
from tests.support.deferreds import failure_of, result_of


def _add(db: Opened, name: str) -> int:
    account = NewAccount(name, f"{name}@example.com", Role.USER, AccountState.ACTIVE, "hash")
    return db.get(db.store.add_account(account, event(), NOW)).id


def _names(found: list[Deferred[Any]]) -> list[str]:
    return [result_of(one).username for one in found]


def test_reads_that_meet_share_a_transaction(tmp_path: Path) -> None:
    """One transaction for all that were asked during the one before; each gets its own row or error."""
    with opened(f"sqlite:///{tmp_path / 'pikachu.db'}") as db:
        ids = [_add(db, f"account-{number}") for number in range(5)]
        pool = CountedPool()
        store = Store(db.url, pool, ImmediatePool())
        transactions: list[object] = []
        listen(store.database.reader, "begin", transactions.append)
        found = [store.account(account_id) for account_id in ids]
        missing = store.account(999)
        while pool.waiting:
            pool.go()
        assert pool.sizes == [1, 5]
        assert len(transactions) == 2
        assert _names(found) == [f"account-{number}" for number in range(5)]
        failure_of(missing, NotFound)
        store.close()


def test_a_read_sees_what_was_committed_before_it(tmp_path: Path) -> None:
    """A read that arrives during a batch is not answered from the snapshot of that batch."""
    with opened(f"sqlite:///{tmp_path / 'pikachu.db'}") as db:
        pool = CountedPool()
        store = Store(db.url, pool, ImmediatePool())
        before = store.account_by_name("late")
        pool.go()
        assert result_of(before) is None
        running = store.account_by_name("other")
        _add(db, "late")
        after = store.account_by_name("late")
        while pool.waiting:
            pool.go()
        assert result_of(running) is None
        assert pool.sizes == [1, 1, 1]
        assert _names([after]) == ["late"]
        store.close()


def test_a_defect_does_not_hurt_the_others(database_url: str) -> None:
    """PostgreSQL ends a transaction whose statement it rejects; the others run again, each in its own."""
    migrate(database_url)
    database = Database(database_url, lambda _: None)

    def wrong(transaction: Transaction) -> None:
        transaction.connection.exec_driver_sql("SELECT * FROM missing_table")

    def right(transaction: Transaction) -> object:
        return transaction.connection.exec_driver_sql("SELECT 1").scalar()

    outcomes = database.read_batch([right, wrong, right]).outcomes
    assert [success for success, _ in outcomes] == [True, False, True]
    assert isinstance(outcomes[1][1], Failure)
    assert isinstance(outcomes[1][1].value, DatabaseDefect)
    assert [value for success, value in outcomes if success] == [1, 1]
    database.close()
