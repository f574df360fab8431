"""Old files that housekeeping removes (OPS-6): by their names, and what killed processes left."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from twisted.logger import Logger

from pikachu.core.housekeeping_interfaces import NOTHING_OLD, OldObjects
from pikachu.core.model.times import utc

log = Logger()

#: Names of :mod:`pikachu.core.atomic_files` for files that are being written, and of the folders of unfinished backups.
_UNFINISHED: Final = re.compile(r"\..+\.[0-9a-f]{16}|\..+\.(?:crl|pem|txt)\.[a-z0-9_]{8}|\.pikachu-backup-[a-z0-9_]{8}")
#: Names of folders for temporary files of the whole machine.
_SHARED: Final = re.compile(r"pikachu-(?:import|pdf|verify)-[a-z0-9_]{8}")


class IOldFiles(Protocol):
    """Files of one kind, old and new ones."""

    def paths(self) -> Iterator[Path]:
        """Return the files, and folders that are removed as a whole; blocks."""


@dataclass(frozen=True, slots=True)
class OldFiles:
    """Files in one folder.

    :param pattern: their names, as for :meth:`pathlib.Path.glob`.
    """

    folder: Path
    pattern: str

    def paths(self) -> Iterator[Path]:
        """Return the files; blocks."""
        return (path for path in sorted(self.folder.glob(self.pattern)) if not path.is_dir())


@dataclass(frozen=True, slots=True)
class TemporaryFiles:
    """Remains of killed processes: files that were being written, and unfinished backups.

    :param folders: of this server.
    :param shared: the folder for temporary files of the whole machine.
    """

    folders: tuple[Path, ...]
    shared: Path

    def paths(self) -> Iterator[Path]:
        """Return the files and folders of this process's user; blocks."""
        for folder, names in (*((one, _UNFINISHED) for one in self.folders), (self.shared, _SHARED)):
            if not folder.is_dir():
                continue
            for path in sorted(folder.iterdir()):
                if names.fullmatch(path.name) and path.lstat().st_uid == os.getuid():
                    yield path


def remove_old(files: IOldFiles, before: float, *, remove: bool) -> OldObjects:
    """Find the files that were not written since a time, and remove them if asked to; blocks.

    Links are never followed and never removed.
    """
    found = NOTHING_OLD
    try:
        for path in files.paths():
            written_at = _written_at(path)
            if written_at is None or written_at >= before or (remove and not _removed(path)):
                continue
            found += OldObjects(1, utc(written_at))
    except OSError as error:
        log.warn("Housekeeping can't list files: {error}", error=str(error))
    return found


def _written_at(path: Path) -> float | None:
    """Return when a file, or anything in a folder, was last written; ``None`` for links and what is gone."""
    try:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            return None
        inner = path.rglob("*") if path.is_dir() else ()
        times: list[float] = [one.lstat().st_mtime for one in (path, *inner)]
        return max(times)
    except OSError:
        return None


def _removed(path: Path) -> bool:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        log.warn("Housekeeping can't remove {path}: {error}", path=str(path), error=str(error))
        return False
    return True
