"""Secrets of other systems, in files that only this server can read."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from pikachu.core.errors import NoticeNotDelivered

_MAX_SIZE: Final = 4096


def read_secret(path: Path, setting: str, minimum: int = 1) -> str:
    """Return the first line of a file; blocks.  It is read each time, so that it can be changed without a restart.

    :param setting: for messages.
    :param minimum: its characters.
    :raises NoticeNotDelivered: when it can't be read, others can read it, or it is too short.
    """
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(path.stat().st_mode)
            line = stream.read(_MAX_SIZE).partition(b"\n")[0].strip().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NoticeNotDelivered(f"{setting}: the file can't be read.", error=str(error)) from error
    if mode & 0o077:
        raise NoticeNotDelivered(f"{setting}: others can read the file. Run chmod 600 on it.")
    if len(line) < minimum:
        raise NoticeNotDelivered(f"{setting}: the first line of the file has fewer than {minimum} characters.")
    return line
