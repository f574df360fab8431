"""Response bodies in files that are replaced atomically: read in pieces, and hashed once per version."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pikachu.core.cache import BoundedCache
from pikachu.core.concurrency import SingleFlight
from pikachu.core.errors import NotFound, StoreUnavailable
from pikachu.core.interfaces import IWorkerPool
from pikachu.http.responses import Content

_MAX_DESCRIPTIONS: Final = 1000
_READ_BYTES: Final = 1024 * 1024
Version = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Dates:
    """The date of a content and of its next update; ``None`` when it has none."""

    made: datetime | None = None
    next: datetime | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """The digest and dates of one version of a file.

    :ivar digest: SHA-256 of the content.
    """

    digest: bytes
    dates: Dates

    @property
    def etag(self) -> bytes:
        """The strong entity tag, with its quotes."""
        return b'"%s"' % self.digest.hex().encode("ascii")


class OpenFile:
    """An open version of a file, unaffected by its replacement.

    :ivar size: size in bytes.
    :raises OSError: when it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._descriptor)
        self.version: Version = (str(path), status.st_ino, status.st_mtime_ns, status.st_size)
        self.size = status.st_size

    def __del__(self) -> None:
        # The last reference closes it: a disconnected client, a cancelled request, the last slice.
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from *start* to before *stop*.

        :raises OSError: when it can't be read, or is shorter.
        """
        pieces = []
        while start < stop:
            piece = os.pread(self._descriptor, stop - start, start)
            if not piece:
                raise OSError("the file is shorter than it was")
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)


class Joined:
    """A concatenation of contents, such as files.

    :ivar size: total size in bytes.
    """

    def __init__(self, parts: Sequence[Content]) -> None:
        self._parts = parts
        self.size = sum(one.size for one in parts)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from *start* to before *stop*.

        :raises OSError: when a file can't be read, or is shorter.
        """
        pieces = []
        begin = 0
        for one in self._parts:
            end = begin + one.size
            first, last = max(start, begin), min(stop, end)
            if first < last:
                pieces.append(one.read(first - begin, last - begin))
            begin = end
        return b"".join(pieces)


class FileLibrary:
    """Opens files, and caches the description of each version.

    :param pool: the pool in which a new version is read.
    :param dates: extracts the dates of a content; called in a worker thread.
    """

    def __init__(self, pool: IWorkerPool, dates: Callable[[bytes], Dates]) -> None:
        self._pool = pool
        self._dates = dates
        self._descriptions: BoundedCache[Version, Description] = BoundedCache(_MAX_DESCRIPTIONS)
        self._flights: SingleFlight[Description] = SingleFlight()

    async def open(self, path: Path) -> tuple[OpenFile, Description]:
        """Open the current version of a file.

        :raises NotFound: when there is none.
        :raises StoreUnavailable: when it can't be read.
        """
        try:
            file = OpenFile(path)
        except FileNotFoundError:
            raise NotFound("nothing here") from None
        except OSError as error:
            raise StoreUnavailable("this file can't be read now", error=str(error)) from error
        description = self._descriptions.get(file.version)
        if description is None:
            description = await self._flights.run(file.version, lambda: self._describe(file))
        return file, description

    async def _describe(self, file: OpenFile) -> Description:
        description = await self._pool.run(self._read_description, file)
        self._descriptions.put(file.version, description)
        return description

    def _read_description(self, file: OpenFile) -> Description:
        try:
            data = b"".join(
                file.read(start, min(start + _READ_BYTES, file.size)) for start in range(0, file.size, _READ_BYTES)
            )
        except OSError as error:
            raise StoreUnavailable("this file can't be read now", error=str(error)) from error
        return Description(hashlib.sha256(data).digest(), self._dates(data))
