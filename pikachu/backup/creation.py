"""Making a backup while the server is running."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

from pikachu import __version__
from pikachu.backup.archive import DESCRIPTION, ArchiveWriter
from pikachu.backup.encryption import SCRYPT_COST, EncryptingStream
from pikachu.backup.installation import installation, restored_path
from pikachu.config.configuration import Configuration
from pikachu.core.atomic_files import creating_file
from pikachu.core.errors import ConfigError, Conflict
from pikachu.core.model.times import rfc3339
from pikachu.operations.rekey import next_file
from pikachu.storage.copies import copy_sqlite, snapshot, sqlite_revision

#: The version of the archive's form.
FORMAT: Final = 1
FILES: Final = "files/"
SQLITE: Final = "database/sqlite"
TABLES: Final = "database/tables/"
SEQUENCES: Final = "database/sequences.json"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made.

    :param size: of the file, in bytes.
    :param files: how many files it has besides the database.
    """

    path: Path
    size: int
    files: int


class BackupCreation:
    """Makes backups of one installation; its methods block.

    :param report: called with each step, for people.
    :param cost: log2(N) of scrypt.
    """

    def __init__(
        self, config: Configuration, database_url: str, report: Report, now: datetime, cost: int = SCRYPT_COST
    ) -> None:
        self._config = config
        self._url = database_url
        self._report = report
        self._now = now
        self._cost = cost

    def create(self, target: Path, passphrase: bytes) -> Backup:
        """Write a new file; it gets its name when it is complete.

        :raises Conflict: when the file exists, or SECRET_KEY was changed meanwhile.
        :raises ConfigError: when something that the configuration names can't be read.
        :raises StoreUnavailable: when the database does not answer.
        :raises OSError: when the file can't be written.
        """
        if os.path.lexists(target):
            raise Conflict(f"{target} exists, and a backup replaces no file; name another one")
        source = self._config.secret_key_source
        key = source.read_bytes() if isinstance(source, Path) else b""
        try:
            with creating_file(target, 0o600) as stream:
                count = self._write(stream, passphrase, target.parent)
                size = stream.tell()
                if isinstance(source, Path) and (next_file(source).exists() or source.read_bytes() != key):
                    raise Conflict("SECRET_KEY was changed meanwhile; make the backup again")
        except FileExistsError:
            raise Conflict(f"{target} exists, and a backup replaces no file; name another one") from None
        return Backup(target, size, count)

    def _write(self, stream: IO[bytes], passphrase: bytes, folder: Path) -> int:
        encrypted = EncryptingStream(stream, passphrase, self._cost)
        archive = ArchiveWriter(encrypted)  # type: ignore[arg-type]  # it calls write only
        if self._config.database.url is None:
            self._write_sqlite(archive, folder)
        else:
            self._write_postgresql(archive)
        # The files of now: generations that were added since are in no way worse than those of before.
        files = installation(self._config).files
        for name, path in files.items():
            try:
                archive.add_file(FILES + name, path)
            except OSError as error:
                raise ConfigError(f"{path} can't be read: {error.strerror or error}") from None
        archive.finish()
        encrypted.finish()
        self._report(f"{len(files)} files")
        return len(files)

    def _write_sqlite(self, archive: ArchiveWriter, folder: Path) -> None:
        database = self._config.paths.db_path
        if not database.exists():
            raise ConfigError(f"[PATHS] db_path: {database} does not exist; run pikachu init")
        # Beside the backup, not beside the database, whose disk must not fill up.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".pikachu-backup-") as temporary:
            copy = Path(temporary, "database")
            copy_sqlite(database, copy, lambda done, total: self._report(f"database: {_share(done, total)}"))
            self._describe(archive, revision=sqlite_revision(copy))
            archive.add_file(SQLITE, copy)

    def _write_postgresql(self, archive: ArchiveWriter) -> None:
        with snapshot(self._url) as tables:
            described = [asdict(table) for table in tables.tables]
            self._describe(archive, revision=tables.revision, tables=described)
            for table in tables.tables:
                written = 0
                for number, rows in enumerate(tables.rows(table)):
                    archive.add(f"{TABLES}{table.name}/{number:06}", rows)
                    written += len(rows)
                    self._report(f"database: {table.name}, {written >> 20} MiB")
            archive.add(SEQUENCES, json.dumps(tables.sequences()).encode())

    def _describe(self, archive: ArchiveWriter, **database: Any) -> None:
        installed = installation(self._config)
        source = self._config.secret_key_source
        folder = self._config.path.parent
        description = {
            "format": FORMAT,
            "version": __version__,
            "created_at": rfc3339(self._now),
            "node": platform.node(),
            "database": installed.database,
            "secret_key": restored_path(folder, source) if isinstance(source, Path) else None,
            "settings": installed.settings,
            **database,
        }
        archive.add(DESCRIPTION, json.dumps(description).encode())


def _share(done: int, total: int) -> str:
    return f"{100 * done // max(total, 1)} % of {total >> 20} MiB"
