"""Who may work with a database: one server for a file, and nobody beside ``pikachu rekey``."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from pikachu.core.errors import ConfigError


def lock_database(path: Path) -> IO[str]:
    """The lock of the SQLite database at *path*; it is held by the open file, so also by a forked process.

    :raises ConfigError: when a server holds it, or it can't be written.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        held = lock.open("w", encoding="ascii")
    except OSError as error:
        reason = f"{lock} can't be written: {error.strerror}; mend its owner or mode"
        raise ConfigError(f"[PATHS] db_path: {reason}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise ConfigError(f"[PATHS] db_path: another server works with {path}; stop it first") from None
    except OSError as error:
        held.close()
        raise ConfigError(f"[PATHS] db_path: {lock} can't be locked: {error.strerror}") from None
    return held
