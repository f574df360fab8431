"""The files of a folder that another CA program has written, read without trust in them; everything here blocks.

Symbolic links, devices and pipes are not followed nor opened, and no more is read of a file than the largest of its
kind has.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from pikachu.core.errors import MalformedRequest

#: The name of the database of ``openssl ca``, and of the file with the number of its next CRL.
INDEX: Final = "index.txt"
CRL_NUMBER: Final = "crlnumber"
#: Maximum bytes of each kind of file.
MAX_CERTIFICATES: Final = 1 << 20
MAX_CRL: Final = 64 << 20
MAX_LINE: Final = 64 << 10
_DEPTH: Final = 32

Skip = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A regular file: its path below the folder, its size, and a function that opens it."""

    path: PurePosixPath
    size: int
    open_descriptor: Callable[[], int]

    def open(self) -> BinaryIO:
        """Open the file for reading."""
        return os.fdopen(self.open_descriptor(), "rb")

    def read(self, limit: int) -> bytes | None:
        """Return the content; ``None`` when it is larger than *limit*."""
        with self.open() as stream:
            content = stream.read(limit + 1)
        return content if len(content) <= limit else None

    def beginning(self, count: int) -> bytes:
        """Return the first *count* bytes."""
        with self.open() as stream:
            return stream.read(count)

    def lines(self) -> Iterator[str]:
        """Yield the lines, without their ends.

        :raises MalformedRequest: a line is too long.
        """
        with self.open() as stream:
            while line := stream.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    raise MalformedRequest(f"a line is longer than {MAX_LINE >> 10} KiB")
                yield line.decode("utf-8", "replace").rstrip("\r\n")


def folder_files(folder: Path, skip: Skip) -> Iterator[FolderFile]:
    """Yield the regular files of a folder and of those below, in the order of their names.

    :param skip: called with the path and the reason for what is left out.
    :raises MalformedRequest: when the folder can't be read.
    """

    def failed(error: OSError) -> None:
        skip(os.path.relpath(str(error.filename or folder), folder), str(error.strerror))

    if not folder.is_dir():
        raise MalformedRequest(f"{folder} is not a folder")
    for parent, folders, names, descriptor in os.fwalk(folder, onerror=failed, follow_symlinks=False):
        relative = PurePosixPath(os.path.relpath(parent, folder))
        folders.sort()
        if len(relative.parts) >= _DEPTH and folders:
            skip(str(relative), f"folders more than {_DEPTH} deep are not read")
            folders.clear()
        for name in [*folders]:
            if stat.S_ISLNK(os.lstat(name, dir_fd=descriptor).st_mode):
                skip(str(relative / name), "a symbolic link")
        for name in sorted(names):
            try:
                status = os.lstat(name, dir_fd=descriptor)
            except OSError as error:
                skip(str(relative / name), str(error.strerror))
                continue
            if not stat.S_ISREG(status.st_mode):
                skip(str(relative / name), "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no regular file")
                continue
            yield FolderFile(relative / name, status.st_size, _opener(name, descriptor))


def _opener(name: str, folder: int) -> Callable[[], int]:
    def opened() -> int:
        # The file may have been replaced by a link or a pipe since.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{name} is no regular file any more")
        return descriptor

    return opened
