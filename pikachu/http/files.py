"""Bodies in files that are replaced as a whole: read in pieces, and looked through once for each version."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred

from pikachu.core.errors import NotFound, StoreUnavailable
from pikachu.core.interfaces import IWorkerPool

_KNOWN: Final = 1000
_PIECE: Final = 1024 * 1024
Version = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Dates:
    """When a content was made, and when the next is promised; ``None`` where it does not say."""

    made: datetime | None = None
    next: datetime | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """What one version of a file is.

    :ivar digest: SHA-256.
    """

    digest: bytes
    dates: Dates

    @property
    def etag(self) -> bytes:
        """A strong entity tag, with its quotes."""
        return b'"%s"' % self.digest.hex().encode("ascii")


class OpenFile:
    """One version of a file, whatever is put in its place while it is read.

    :ivar size: octets.
    :raises OSError: when it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(self._descriptor)
        self.version: Version = (str(path), found.st_ino, found.st_mtime_ns, found.st_size)
        self.size = found.st_size

    def __del__(self) -> None:
        # Whoever reads last lets go of it: a client that hangs up, a request that was cancelled, the last slice.
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, start: int, stop: int) -> bytes:
        """The octets from *start* to before *stop*.

        :raises OSError: also when there are fewer.
        """
        parts = []
        while start < stop:
            part = os.pread(self._descriptor, stop - start, start)
            if not part:
                raise OSError("the file is shorter than it was")
            parts.append(part)
            start += len(part)
        return b"".join(parts)


class Joined:
    """Several contents, one behind the other.

    :ivar size: octets, of all.
    """

    def __init__(self, files: Sequence[OpenFile]) -> None:
        self._files = files
        self.size = sum(one.size for one in files)

    def read(self, start: int, stop: int) -> bytes:
        """The octets from *start* to before *stop*.

        :raises OSError: when there are fewer.
        """
        parts = []
        begin = 0
        for one in self._files:
            end = begin + one.size
            first, last = max(start, begin), min(stop, end)
            if first < last:
                parts.append(one.read(first - begin, last - begin))
            begin = end
        return b"".join(parts)


class FileLibrary:
    """Opens files, and knows of each version what was found in it.

    :param pool: where a version is read through when it is first met.
    :param dates: what a file says of its dates; called in a thread with the whole content.
    """

    def __init__(self, pool: IWorkerPool, dates: Callable[[bytes], Dates]) -> None:
        self._pool = pool
        self._dates = dates
        self._known: OrderedDict[Version, Description] = OrderedDict()
        self._waiting: dict[Version, list[Deferred[Description]]] = {}

    async def open(self, path: Path) -> tuple[OpenFile, Description]:
        """The file as it is now.

        :raises NotFound: when there is none.
        :raises StoreUnavailable: when it can't be read.
        """
        try:
            found = OpenFile(path)
        except FileNotFoundError:
            raise NotFound("nothing here") from None
        except OSError as error:
            raise StoreUnavailable("this file can't be read now", error=str(error)) from error
        known = self._known.get(found.version)
        return found, known if known is not None else await self._describe(found)

    def _describe(self, file: OpenFile) -> Deferred[Description]:
        """Many ask at the same time for what is new; it is read once."""
        turn: Deferred[Description] = Deferred()
        version = file.version
        waiting = self._waiting.setdefault(version, [])
        waiting.append(turn)
        if len(waiting) > 1:
            return turn

        def done(result: object) -> None:
            if isinstance(result, Description):
                self._known[version] = result
                if len(self._known) > _KNOWN:
                    self._known.popitem(last=False)
            for one in self._waiting.pop(version):
                one.callback(result)  # type: ignore[arg-type]  # a Failure goes the other way

        self._pool.run(self._read_through, file).addBoth(done)
        return turn

    def _read_through(self, file: OpenFile) -> Description:
        try:
            data = b"".join(file.read(start, min(start + _PIECE, file.size)) for start in range(0, file.size, _PIECE))
        except OSError as error:
            raise StoreUnavailable("this file can't be read now", error=str(error)) from error
        return Description(hashlib.sha256(data).digest(), self._dates(data))
