"""Group commit, crashes, several processes, and the schema's versions."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.event import listen

import pikachu.storage.migrate as migrations
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import ConfigError, IssuanceFailed, NotFound, Overloaded, StoreUnavailable
from pikachu.core.interfaces import Begun
from pikachu.core.model.certificates import RevocationReason, StatusChange
from pikachu.core.model.list_queries import ListQuery
from pikachu.storage.database import Batch, Database
from pikachu.storage.migrate import HEAD, VERSIONS, SchemaState, migrate, schema_state
from pikachu.storage.schema import metadata
from pikachu.storage.settings import StoreSettings
from pikachu.storage.store import Store, open_store
from pikachu.storage.transactions import Batches
from tests.support.databases import NOW, SEALER, event, execute, opened

P = ParamSpec("P")
T = TypeVar("T")


class CountedPool:
    """A writer that starts on demand and records the number of writes in each batch."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.waiting: list[Callable[[], None]] = []

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Keep the work for :meth:`go`."""
        (works,) = args
        assert isinstance(works, list)
        self.sizes.append(len(works))
        result: Deferred[T] = Deferred()
        self.waiting.append(lambda: result.callback(work(*args, **kwargs)))
        return result

    def go(self) -> None:
        """Do what waits."""
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()


@pytest.mark.parametrize(("options", "level"), [({}, 2), ({"fsync": True}, 2), ({"fsync": False}, 0)])
def test_commits_wait_for_the_disk(tmp_path: Path, options: dict[str, Any], level: int) -> None:
    """Unless a test asks for less: FULL (2) syncs the log of each commit, OFF (0) nothing."""
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    migrate(url)
    store = open_store(url, **options)
    with store.database.writer.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == level
    store.close()


def test_writes_that_meet_are_committed_together(tmp_path: Path) -> None:
    """One commit for all that arrived during the one before, and at most 64."""
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    migrate(url)
    pool = CountedPool()
    store = Store(url, ImmediatePool(), pool)
    store.unlock(SEALER, NOW)
    results: list[object] = []
    for index in range(100):
        store.add_event(event("create", f"thing {index}"), NOW).addBoth(results.append)
    while pool.waiting:
        pool.go()
    assert pool.sizes == [1, 64, 35]
    assert results == [None] * 100
    checked: list[object] = []
    store.verify_events().addBoth(checked.append)
    assert checked == [100]
    store.close()


def test_a_commit_begins_while_the_results_of_the_one_before_are_used(tmp_path: Path) -> None:
    """Half of what follows a batch, such as certificates after their intents, does not wait for the other half."""
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    migrate(url)
    pool = CountedPool()
    store = Store(url, ImmediatePool(), pool)
    store.unlock(SEALER, NOW)
    results: list[object] = []
    started: list[int] = []

    def follow(_: None, index: int) -> None:
        store.add_event(event("create", f"second {index}"), NOW).addBoth(results.append)
        started.append(len(pool.sizes))

    store.add_event(event(), NOW)
    for index in range(40):
        store.add_event(event("create", f"first {index}"), NOW).addCallback(follow, index)
    while pool.waiting:
        pool.go()
    assert pool.sizes == [1, 40, 20, 20]
    assert started == [2] * 20 + [3] * 20
    assert results == [None] * 40
    store.close()


class BusyReactor:
    """Turns of a reactor that take as long as the test says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Callable[[], object]] = []

    def later(self, call: Callable[[], object]) -> None:
        """Call at the end of the next turn."""
        self.calls.append(call)

    def turn(self, seconds: float) -> None:
        """Take so long, then make the calls of this turn."""
        self.now += seconds
        calls, self.calls = self.calls, []
        for call in calls:
            call()


@pytest.mark.parametrize(
    ("turns", "sizes"),
    [
        pytest.param([(0, 0.0)], [1], id="idle"),
        pytest.param([(0, 0.001), (0, 0.0)], [1], id="one long turn"),
        pytest.param([(2, 0.0), (1, 0.0), (0, 0.0)], [4], id="others come"),
        pytest.param([(1, 0.001), (0, 0.0), (9, 0.0)], [2], id="others come later"),
        pytest.param([(3, 0.0)], [4], id="enough"),
        pytest.param([(40, 0.0)], [41], id="all that came in one turn"),
        pytest.param([(0, 0.002)] * 2, [], id="busy"),
        pytest.param([(0, 0.002)] * 3, [1], id="busy for too long"),
    ],
)
def test_a_batch_gathers_while_the_reactor_is_busy(turns: list[tuple[int, float]], sizes: list[int]) -> None:
    """Many small batches cost a busy reactor more than one, which waits for it for some milliseconds at most."""
    pool, reactor = CountedPool(), BusyReactor()
    batches = Batches("writes", pool, lambda works: Batch(), queue=100, later=reactor.later, clock=lambda: reactor.now)
    batches.add(lambda _: None)
    for more, seconds in turns:
        for _ in range(more):
            batches.add(lambda _: None)
        reactor.turn(seconds)
    assert pool.sizes == sizes


def test_results_are_used_in_short_turns() -> None:
    """A batch of signatures does not hold up whoever connects meanwhile; idle is who has handed out all."""
    pool, reactor = CountedPool(), BusyReactor()
    batches = Batches(
        "writes",
        pool,
        lambda works: Batch([(True, None)] * len(works)),
        queue=100,
        later=reactor.later,
        clock=lambda: reactor.now,
    )
    used: list[float] = []

    def use(_: None) -> None:
        reactor.now += 0.0015
        used.append(reactor.now)

    for _ in range(5):
        batches.add(lambda _: None).addCallback(use)
    for _ in range(2):
        reactor.turn(0.0)
    idle = batches.idle()
    pool.go()
    found = [(len(used), idle.called)]
    for _ in range(2):
        reactor.turn(0.0)
        found.append((len(used), idle.called))
    assert pool.sizes == [5]
    assert found == [(2, False), (4, False), (5, True)]


def test_overload_keeps_order_bound_and_short_turns() -> None:
    """Results are used in the order of their commits, wait within the bound, and cost one moment a turn."""
    pool, reactor = CountedPool(), BusyReactor()
    batches = Batches(
        "writes",
        pool,
        lambda works: Batch([(True, None)] * len(works)),
        queue=100,
        later=reactor.later,
        clock=lambda: reactor.now,
    )
    used: list[int] = []
    refused, added = [], itertools.count()

    def use(number: int) -> None:
        reactor.now += 0.0015
        used.append(number)

    def add(count: int) -> None:
        for number in itertools.islice(added, count):
            batches.add(lambda _: None).addCallbacks(
                lambda _, number=number: use(number), lambda _, number=number: refused.append(number)
            )

    longest, most = 0.0, 0
    for _ in range(200):
        add(5)
        pool.go()
        before = len(used)
        reactor.turn(0.0)
        longest = max(longest, (len(used) - before) * 0.0015)
        most = max(most, next(added) - len(used) - len(refused))
        refused.append(-1)
    assert used == sorted(used)
    assert longest < 0.004
    assert refused.count(-1) < len(refused)
    assert most <= 100 + 64


def test_one_bad_write_does_not_hurt_the_others(database_url: str) -> None:
    """A write that fails after it wrote something takes nobody with it, and leaves nothing."""
    with opened(database_url) as db:
        first, intent = db.begin("first")
        pool = CountedPool()
        store = Store(database_url, ImmediatePool(), pool)
        store.unlock(SEALER, NOW)
        changes: list[StatusChange] = []
        store.subscribe(changes.extend)
        results: list[object] = []
        good = [db.request(f"device-{index}") for index in range(4)]
        twice = db.request("twice")
        store.add_event(event(), NOW).addBoth(results.append)
        for request in good[:2]:
            store.begin(request, db.intent(request), NOW).addBoth(results.append)
        store.begin(twice, db.intent(twice, serial=intent.serial), NOW).addBoth(results.append)
        store.revoke(intent.serial, NOW, RevocationReason.SUPERSEDED, event("revoke")).addBoth(results.append)
        for request in good[2:]:
            store.begin(request, db.intent(request), NOW).addBoth(results.append)
        while pool.waiting:
            pool.go()
        assert pool.sizes == [1, 6]
        failed = [one for one in results if isinstance(one, Failure)]
        assert [type(one.value) for one in failed] == [IssuanceFailed]
        assert sum(isinstance(one, Begun) for one in results) == 4
        assert [change.serial for change in changes] == [intent.serial]
        assert len(db.get(db.store.requests(ListQuery())).items) == 5
        assert db.get(db.store.verify_events()) == 2
        assert first
        store.close()


def test_refusals_do_not_cost_the_others_their_batch(tmp_path: Path) -> None:
    """A statement refused before its first write fails alone: a batch of refusals is one transaction."""
    with opened(f"sqlite:///{tmp_path / 'pikachu.db'}") as db:
        pool = CountedPool()
        store = Store(db.url, ImmediatePool(), pool)
        store.unlock(SEALER, NOW)
        transactions: list[object] = []
        listen(store.database.writer, "begin", transactions.append)
        results: list[object] = []
        store.add_event(event(), NOW).addBoth(results.append)
        for _ in range(10):
            request = db.request(challenge_id=5)
            store.begin(request, db.intent(request), NOW).addBoth(results.append)
        while pool.waiting:
            pool.go()
        assert pool.sizes == [1, 10]
        assert len(transactions) == 2
        assert sum(isinstance(one, Failure) for one in results) == 10
        store.close()


def test_bounded_queue(tmp_path: Path) -> None:
    """More writes than may wait fail with Overloaded at once."""
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    migrate(url)
    pool = CountedPool()
    store = Store(url, ImmediatePool(), pool, queue=2)
    store.unlock(SEALER, NOW)
    results: list[object] = []
    for _ in range(4):
        store.add_event(event(), NOW).addBoth(results.append)
    assert [type(one.value) for one in results if isinstance(one, Failure)] == [Overloaded]
    while pool.waiting:
        pool.go()
    assert results.count(None) == 3
    store.close()


def test_cancelled_wait_does_not_stop_the_write(tmp_path: Path) -> None:
    """A client that hangs up takes back nothing, and breaks nothing."""
    with opened(f"sqlite:///{tmp_path / 'pikachu.db'}", threads=True) as db:
        waiting = db.store.add_event(event(), NOW)
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        assert db.get(db.store.add_event(event(), NOW)) is None
        assert db.get(db.store.verify_events()) == 2


def test_crash_between_begin_and_complete(database_url: str) -> None:
    """A process that dies after the intent leaves an orphan that the next start finds."""
    script = (
        "import os, sys\n"
        "from tests.support.databases import opened\n"
        "with opened(sys.argv[1]) as db:\n"
        "    db.begin('lost', intent={'serial': 0xabc, 'process': 'server'})\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, database_url], check=False).returncode == 9
    with opened(database_url) as db:
        (orphan,) = db.get(db.store.orphans("server", NOW))
        assert orphan.serial == 0xABC
        record, changed = db.get(db.store.revoke(0xABC, NOW, RevocationReason.UNSPECIFIED, event("revoke")))
        assert (record.common_name, changed) == ("lost", True)


PROCESS = """
import sys
from pikachu.core.model.certificates import RevocationReason
from tests.support.databases import NOW, event, opened
with opened(sys.argv[1]) as db:
    sys.stdin.readline()
    for index in range(30):
        record = db.issue(f"{sys.argv[2]}-{index}")
        db.get(db.store.revoke(record.serial, NOW, RevocationReason.SUPERSEDED, event("revoke")))
"""


def test_two_processes_write_by_turns(database_url: str) -> None:
    """HA-1: the audit chain stays whole, and each sees the other's revocations in order."""
    with opened(database_url) as db:
        issuer = db.issuer.id
        started = [
            subprocess.Popen([sys.executable, "-c", PROCESS, database_url, name], stdin=subprocess.PIPE)
            for name in ("a", "b")
        ]
        for process in started:
            process.communicate(b"go\n", timeout=120)
            assert process.returncode == 0
        assert db.get(db.store.verify_events()) == 120
        changes = db.get(db.store.changes_since(0))
        assert len(changes) == 60
        assert [one.id for one in changes] == sorted(one.id for one in changes)
        entries = db.get(db.store.crl_entries(issuer, 0))
        assert entries is not None
        assert entries[1] == 60


def test_locked_database_is_unavailable(tmp_path: Path) -> None:
    """Somebody else's transaction that does not end: 503, and all well afterwards."""
    path = tmp_path / "pikachu.db"
    with opened(f"sqlite:///{path}", settings=StoreSettings(busy_seconds=0.1)) as db:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable) as caught:
            db.get(db.store.add_event(event(), NOW))
        assert "sql" not in caught.value.public.lower()
        assert db.store.latest_change() == 0
        other.execute("ROLLBACK")
        other.close()
        db.get(db.store.add_event(event(), NOW))
        assert db.get(db.store.verify_events()) == 1


def test_full_disk_is_unavailable(tmp_path: Path) -> None:
    """Nothing of a write that does not fit stays, and reading goes on."""
    with opened(f"sqlite:///{tmp_path / 'pikachu.db'}") as db:
        with db.store.database.writer.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 8}")
        request = db.request(csr=bytes(1 << 20))
        with pytest.raises(StoreUnavailable):
            db.get(db.store.begin(request, db.intent(request), NOW))
        assert db.get(db.store.requests(ListQuery())).items == ()


def test_write_that_failed_is_told(tmp_path: Path) -> None:
    """RUN-8: the check's own small row may fit where a certificate doesn't; what failed is told once."""
    with opened(f"sqlite:///{tmp_path / 'pikachu.db'}") as db:
        db.get(db.store.check_write())
        with db.store.database.writer.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        db.get(db.store.check_write())
        request = db.request(csr=bytes(1 << 20))
        with pytest.raises(StoreUnavailable):
            db.get(db.store.begin(request, db.intent(request), NOW))
        with pytest.raises(StoreUnavailable):
            db.get(db.store.check_write())
        db.get(db.store.check_write())


def test_probe_takes_new_pages(new_postgresql: Callable[[], str]) -> None:
    """RUN-8: what the check writes is stored at its size; compressed, it would fit into any page."""
    with opened(new_postgresql()) as db:

        def written() -> int:
            with db.store.database.reader.connect() as connection:
                size: int = connection.exec_driver_sql(
                    "SELECT pg_table_size('service_credentials') - pg_relation_size('service_credentials')"
                ).scalar_one()
                return size

        before = written()
        db.get(db.store.check_write())
        assert written() - before >= 1 << 14


def test_lost_connection_is_made_anew(new_postgresql: Callable[[], str]) -> None:
    """PostgreSQL restarted or the network was away: one failure, then all is well."""
    with opened(new_postgresql()) as db:
        db.get(db.store.add_event(event(), NOW))
        with db.store.database.reader.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            ).all()
        with pytest.raises(StoreUnavailable):
            db.get(db.store.add_event(event(), NOW))
        db.get(db.store.add_event(event(), NOW))
        assert db.get(db.store.verify_events()) == 2


def test_empty_database_becomes_the_head(database_url: str) -> None:
    """INIT-1: made once; made again changes nothing; the tables are those that the program works with."""
    if database_url.startswith("postgresql"):
        # Databases of the fixture have the tables already.
        execute(database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    assert schema_state(database_url) is SchemaState.EMPTY
    with pytest.raises(ConfigError, match="pikachu init"):
        open_store(database_url)
    assert migrate(database_url) is SchemaState.EMPTY
    assert migrate(database_url) is SchemaState.CURRENT
    assert schema_state(database_url) is SchemaState.CURRENT
    database = Database(database_url, lambda _: None)
    with database.reader.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migrations.VERSION_TABLE})
        differences = compare_metadata(context, metadata)
    database.close()
    # The search index of each database is no part of the common tables.
    named = [str(getattr(one[1], "name", one)) for one in differences if isinstance(one, tuple)]
    assert [name for name in named if not name.startswith(("certificate_search", "certificates_search"))] == []


def test_migrations_end_in_the_head() -> None:
    """The versions that the program knows are those that there are migrations to."""
    configuration = Config()
    folder = Path(migrations.__file__).parent / "migrations"
    configuration.set_main_option("script_location", str(folder))
    script = ScriptDirectory.from_config(configuration)
    assert script.get_heads() == [HEAD]
    assert sorted(one.revision for one in script.walk_revisions()) == sorted(VERSIONS)


def test_start_with_a_current_database_does_not_import_alembic(tmp_path: Path) -> None:
    """A start costs nothing that it does not need."""
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    migrate(url)
    script = (
        "import sys; from pikachu.storage.store import open_store; open_store(sys.argv[1]).close();"
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script, url], check=False).returncode == 0


def test_foreign_and_newer_databases_are_refused(tmp_path: Path) -> None:
    """By name, and without touching them."""
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection, connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    text = tmp_path / "text.db"
    text.write_bytes(b"this is not a database, but longer than a header " * 100)
    newer = tmp_path / "newer.db"
    migrate(f"sqlite:///{newer}")
    with closing(sqlite3.connect(newer)) as connection, connection:
        connection.execute(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")
    connection.close()
    for path, words in ((foreign, "something else"), (text, "can't be opened"), (newer, "newer Pikachu")):
        before = path.read_bytes()
        for refused in (schema_state, migrate, open_store):
            with pytest.raises(ConfigError, match=words) as caught:
                refused(f"sqlite:///{path}")
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)
        assert path.read_bytes() == before
    with pytest.raises(ConfigError, match="can't be made"):
        migrate(f"sqlite:///{tmp_path / 'missing' / 'pikachu.db'}")
    for url in ("mysql://host/name", "nonsense"):
        with pytest.raises(ConfigError):
            open_store(url)


def test_database_file_is_ours_alone(tmp_path: Path) -> None:
    """INIT-3: it holds sealed keys."""
    path = tmp_path / "pikachu.db"
    old = os.umask(0)
    try:
        migrate(f"sqlite:///{path}")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600


def test_unreachable_server_is_one_line_without_the_password() -> None:
    """RUN-4: the line names the setting and the error, and holds no secret."""
    with pytest.raises(ConfigError) as caught:
        open_store("postgresql://somebody:secret@127.0.0.1:1/pikachu")
    assert "[DATABASE] url" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_slow_transactions_are_logged(database_url: str) -> None:
    """A slow transaction is logged with its method's name, without values; a fast one is not logged."""
    for limit, expected in ((0.0, ["certificates", "add_event", "events"]), (60.0, [])):
        with opened(database_url, settings=StoreSettings(slow_seconds=limit)) as db, capturedLogs() as logged:
            db.get(db.store.certificates(ListQuery(q="secret text"), NOW))
            db.get(db.store.add_event(event(), NOW))
            db.get(db.store.events(ListQuery()))
            lines = [str(formatEvent(entry)) for entry in logged if "seconds" in entry]
        assert [line.split()[3] for line in lines] == expected
        assert all(line.startswith("The database transaction ") and line.endswith(" s.") for line in lines)
        assert not any("secret text" in str(entry) for entry in logged)


def test_slow_failures_are_logged(tmp_path: Path) -> None:
    """A transaction that fails is timed like one that succeeds."""
    url = f"sqlite:///{tmp_path / 'pikachu.db'}"
    with opened(url, settings=StoreSettings(slow_seconds=0)) as db, capturedLogs() as logged:
        with pytest.raises(NotFound):
            db.get(db.store.delete_key(7, lambda key, use: event(), NOW))
        assert [entry["name"] for entry in logged if "seconds" in entry] == ["delete_key"]
