"""Verification of a backup, and its restoration into a new folder and an empty database.

All is restored, or nothing: files are written into a hidden folder beside the named one, which gets its name at the
end; tables are loaded in one transaction, which is committed before.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pikachu.backup.archive import Member, checked_name, read_archive
from pikachu.backup.creation import FILES, FORMAT, SEQUENCES, SQLITE, TABLES, Report
from pikachu.backup.encryption import DecryptingStream
from pikachu.backup.installation import CONFIG_NAME
from pikachu.config.configuration import Configuration
from pikachu.config.editing import set_key
from pikachu.config.loading import load
from pikachu.core.atomic_files import name_folder, sync_folder, write_new_file
from pikachu.core.errors import BadBackup, ConfigError, Conflict, SecretKeyChanged
from pikachu.core.model.events import Event
from pikachu.core.sealing import Sealer
from pikachu.storage.copies import (
    PostgreSQLLoader,
    SQLiteLoader,
    TableDescription,
    check_sqlite,
    known_revision,
    leave_wal,
    prepare_restored,
)
from pikachu.storage.store import Store, open_store

T = TypeVar("T")

# The copy of a PostgreSQL database that is verified.
_VERIFIED: Final = ".verified.sqlite"
_REPORT_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Description:
    """The first part of a backup, which describes the rest.

    :param revision: the version of its schema.
    :param database: the relative path of a SQLite database; ``None`` for PostgreSQL.
    :param settings: section, key and value of the settings that are set in the restored ``config.ini``.
    :param tables: those of PostgreSQL.
    """

    version: str
    created_at: str
    node: str
    revision: str
    database: str | None
    settings: tuple[tuple[str, str, str], ...]
    tables: tuple[TableDescription, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """A backup whose digests, database and audit log were verified.

    :param files: how many files it has besides the database.
    :param events: the events of its audit log.
    """

    description: Description
    files: int
    events: int


class Loader(Protocol):
    """Loads tables into a database."""

    def load(self, table: str, rows: bytes) -> None:
        """Append rows to a table."""

    def finish(self, sequences: Mapping[str, int]) -> None:
        """Complete the database."""


class BackupRestoration:
    """Verifies and restores one backup; its methods block.

    :param environ: the variables that the configuration in the backup names.
    :param secret_key: reads SECRET_KEY of a configuration.
    :param report: called with each step, for people.
    """

    def __init__(
        self,
        source: Path,
        passphrase: bytes,
        environ: Mapping[str, str],
        secret_key: Callable[[Configuration], bytes],
        report: Report,
        now: datetime,
    ) -> None:
        self._source = source
        self._passphrase = passphrase
        self._environ = environ
        self._secret_key = secret_key
        self._report = report
        self._now = now

    def verify(self, work_folder: Path | None = None) -> Verified:
        """Decrypt the backup, compare its digests, and verify the database and its audit log in a temporary folder.

        Of the files only config.ini and the secret key are written there.

        :param work_folder: where the temporary folder is made; ``None`` for the system's place.
        :raises BadBackup: when something is wrong with it.
        :raises Conflict: when the audit log was changed, or the schema is newer than this program's.
        """
        with tempfile.TemporaryDirectory(dir=work_folder, prefix="pikachu-verify-") as temporary:
            folder = Path(temporary)
            description, files = self._extract(folder, only_needed=True)
            config = load(folder / CONFIG_NAME, self._environ)
            return Verified(description, files, self._verify_database(config, _database(folder, description)))

    def restore(self, into: Path, event: Event, database_url: str | None = None) -> Verified:
        """Restore into a folder that is empty or missing, and into an empty PostgreSQL database.

        :param event: recorded in the restored audit log.
        :param database_url: of a PostgreSQL database in place of the configured one, with ``${NAME}`` for variables.
        :raises BadBackup: as :meth:`verify` does; nothing was changed.
        :raises Conflict: when the folder or the database is not empty, and as :meth:`verify` does.
        :raises ConfigError: when the configuration in the backup can't be loaded.
        :raises OSError: when the folder can't be written.
        """
        into = into.absolute()
        _check_empty(into)
        folder = Path(tempfile.mkdtemp(dir=into.parent, prefix=f".{into.name}.restoring-"))
        try:
            description, files = self._extract(folder)
            database = _database(folder, description)
            if database_url is not None:
                if description.database is not None:
                    raise Conflict("the backup has a SQLite database, which is restored into the folder")
                set_key(folder / CONFIG_NAME, "DATABASE", "url", database_url)
            config = load(folder / CONFIG_NAME, self._environ)
            events = self._verify_database(config, database)
            if description.database is not None:
                prepare_restored(_sqlite_url(database))
                self._record(config, _sqlite_url(database), event)
                leave_wal(database)
            else:
                database.unlink()
                self._load_postgresql(config, event)
            _sync(folder)
            name_folder(folder, into)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Verified(description, files, events)

    def _members(self) -> Iterator[Member]:
        """Yield the files of the backup."""
        with self._source.open("rb") as stream:
            total = os.fstat(stream.fileno()).st_size
            decrypting = DecryptingStream(stream, self._passphrase)
            shown = 0
            for member in read_archive(decrypting):  # type: ignore[arg-type]  # it calls read only
                yield member
                if stream.tell() - shown >= _REPORT_BYTES:
                    shown = stream.tell()
                    self._report(f"{100 * shown // total} % of {total >> 20} MiB")

    def _extract(self, folder: Path, *, only_needed: bool = False) -> tuple[Description, int]:
        """Write the files and the database into *folder*; return their number.

        :param only_needed: write of the files only those that the verification of the database needs.
        """
        files = 0
        members = self._members()
        description, needed = _describe(next(members))
        with ExitStack() as stack:
            loader: Loader | None = None
            if description.database is None:
                database = _database(folder, description)
                begun = SQLiteLoader.begun(database, description.revision, description.tables)
                loader = stack.enter_context(begun)
            for member in members:
                if member.name.startswith(FILES):
                    files += 1
                    name = member.name.removeprefix(FILES)
                    if not only_needed or name in needed:
                        _write(folder, name, member)
                elif member.name == SQLITE and description.database is not None:
                    _write(folder, description.database, member)
                else:
                    _load(loader, member)
        if not (folder / CONFIG_NAME).is_file() or not _database(folder, description).is_file():
            raise BadBackup("the backup has no configuration or no database")
        for section, key, value in description.settings:
            set_key(folder / CONFIG_NAME, section, key, value)
        return description, files

    def _load_postgresql(self, config: Configuration, event: Event) -> None:
        """Load the tables into the configured database, which must be empty."""
        if config.database.url is None:
            raise ConfigError("[DATABASE] url is not set; name an empty database with --database-url")
        url = config.database.url.reveal()
        members = self._members()
        description, _ = _describe(next(members))
        with PostgreSQLLoader.begun(url, description.revision, description.tables) as loader:
            for member in members:
                if not member.name.startswith(FILES):
                    _load(loader, member)
        self._record(config, url, event)

    def _verify_database(self, config: Configuration, path: Path) -> int:
        """Migrate the database, open it with SECRET_KEY and verify its audit log; return the number of its events."""
        self._report("verifying the database and its audit log")
        check_sqlite(path)
        with self._opened(config, _sqlite_url(path)) as store:
            return _result(store.verify_events())

    def _record(self, config: Configuration, url: str, event: Event) -> None:
        with self._opened(config, url) as store:
            _result(store.add_event(event, self._now))

    @contextmanager
    def _opened(self, config: Configuration, url: str) -> Iterator[Store]:
        store = open_store(url)
        try:
            try:
                store.unlock(Sealer(self._secret_key(config)), self._now)
            except SecretKeyChanged:
                raise BadBackup(
                    "the database in the backup does not open with its SECRET_KEY; where config.ini takes that from a "
                    "variable, set the variable"
                ) from None
            yield store
        finally:
            _result(store.close())


def _describe(member: Member) -> tuple[Description, frozenset[str]]:
    """Parse the description of a backup; return also the names of the files that its database needs.

    :raises Conflict: when it was made by a newer version.
    """
    try:
        content = json.loads(member.content())
        version = str(content["version"])
        if content["format"] != FORMAT or not known_revision(content["revision"]):
            raise Conflict(f"the backup is of Pikachu CA {version}, which is newer; install that version")
        description = Description(
            version=version,
            created_at=str(content["created_at"]),
            node=str(content["node"]),
            revision=content["revision"],
            database=None if content["database"] is None else str(checked_name(content["database"])),
            settings=tuple(
                (str(section), str(key), str(checked_name(value))) for section, key, value in content["settings"]
            ),
            tables=tuple(
                TableDescription(one["name"], tuple((str(name), str(kind)) for name, kind in one["columns"]))
                for one in content.get("tables", ())
            ),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BadBackup("the description in the backup can't be read") from None
    return description, frozenset({CONFIG_NAME, str(content.get("secret_key"))})


def _load(loader: Loader | None, member: Member) -> None:
    """Load a part of the database."""
    table, _, number = member.name.removeprefix(TABLES).partition("/")
    if loader is not None and member.name == SEQUENCES:
        try:
            sequences = {str(name): int(value) for name, value in json.loads(member.content()).items()}
        except (ValueError, TypeError, AttributeError):
            raise BadBackup("the sequences in the backup can't be read") from None
        loader.finish(sequences)
    elif loader is not None and member.name.startswith(TABLES) and number:
        loader.load(table, member.content())
    else:
        raise BadBackup(f"the backup has a part {member.name!r}, which no backup of this program has")


def _write(folder: Path, name: str, member: Member) -> None:
    """Write a file, mode 0600, in folders of mode 0700."""
    path = folder / checked_name(name)
    for parent in reversed(path.relative_to(folder).parents[:-1]):
        # With parents=True those above would get the umask's mode.
        (folder / parent).mkdir(mode=0o700, exist_ok=True)
    write_new_file(path, member.pieces(), 0o600)


def _sync(folder: Path) -> None:
    """Fsync the names in a folder and those below it."""
    for path, _, _ in os.walk(folder):
        sync_folder(Path(path))


def _check_empty(folder: Path) -> None:
    """Check that a folder is missing or empty.

    :raises Conflict: when it is not.
    """
    if not os.path.lexists(folder):
        if not folder.parent.is_dir():
            raise Conflict(f"{folder.parent} does not exist; make it first")
        return
    if folder.is_symlink() or not folder.is_dir():
        raise Conflict(f"{folder} is not a folder; name another one")
    if any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty, and a restoration replaces nothing; name another folder")


def _database(folder: Path, description: Description) -> Path:
    """Return the SQLite file of the restored, or of the verified, database."""
    return folder / (description.database or _VERIFIED)


def _sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def _result(promise: Deferred[T]) -> T:
    """Return the result of a Deferred of a store without threads, which has fired."""
    results: list[T | Failure] = []
    promise.addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result
