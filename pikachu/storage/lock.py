"""The lock of a SQLite database: one server per file, and none during ``pikachu rekey``."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from pikachu.core.errors import ConfigError


def lock_database(path: Path) -> IO[str]:
    """Lock the SQLite database at *path*; the open file holds the lock, also in a forked process.

    :raises ConfigError: when a server holds the lock, or the lock file can't be written.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        file = lock.open("w", encoding="ascii")
    except OSError as error:
        reason = f"{lock} can't be written: {error.strerror}; fix its owner or mode"
        raise ConfigError(f"[PATHS] db_path: {reason}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigError(f"[PATHS] db_path: another server works with {path}; stop it first") from None
    except OSError as error:
        file.close()
        raise ConfigError(f"[PATHS] db_path: {lock} can't be locked: {error.strerror}") from None
    return file
