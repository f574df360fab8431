"""The content of a backup: a tar stream of regular files, which begins with its description and ends with a manifest.

Only names that :func:`checked_name` accepts are read, nothing but regular files, and the caller chooses where they are
written, so that no archive reaches outside of the folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from pikachu.core.errors import BadBackup

DESCRIPTION: Final = "description.json"
MANIFEST: Final = "manifest.json"
#: The size of the description, the manifest and a piece of a table may not exceed this; they are held in memory.
MAX_HELD_BYTES: Final = 64 << 20
_PIECE_BYTES: Final = 1 << 20
_MAX_MEMBERS: Final = 1_000_000
_MAX_NAME: Final = 4096
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True)
class Digest:
    """The size and SHA-256 of a file in a backup."""

    size: int
    sha256: str


def checked_name(name: str) -> PurePosixPath:
    """Return a relative path below a folder.

    :raises BadBackup: for an absolute one, one with ``..``, and what no backup of ours has.
    """
    path = PurePosixPath(name)
    plain = str(path) == name and not path.is_absolute() and ".." not in path.parts and name != "."
    if not plain or _CONTROL.search(name) or len(name) > _MAX_NAME:
        raise BadBackup("the backup has a file whose name would lead out of the folder; nothing was written")
    return path


class ArchiveWriter:
    """Writes files into a stream, and their manifest at the end."""

    def __init__(self, target: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by finish
        self._digests: dict[str, Digest] = {}

    def add(self, name: str, content: bytes) -> None:
        """Add a file with this content."""
        self._tar.addfile(self._member(name, len(content)), io.BytesIO(content))
        self._digests[name] = Digest(len(content), hashlib.sha256(content).hexdigest())

    def add_file(self, name: str, path: Path) -> None:
        """Add a file from disk; what is appended to it meanwhile is left out.

        :raises OSError: when it can't be read, or has become shorter.
        """
        with path.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            hashing = _HashingReader(stream)
            self._tar.addfile(self._member(name, size), hashing)  # type: ignore[arg-type]  # it calls read only
        self._digests[name] = Digest(size, hashing.hash.hexdigest())

    def finish(self) -> None:
        """Write the manifest and the end of the archive."""
        manifest = {name: [one.size, one.sha256] for name, one in self._digests.items()}
        content = json.dumps(manifest).encode()
        self._tar.addfile(self._member(MANIFEST, len(content)), io.BytesIO(content))
        self._tar.close()

    def _member(self, name: str, size: int) -> tarfile.TarInfo:
        member = tarfile.TarInfo(str(checked_name(name)))
        member.size = size
        member.mode = 0o600
        return member


class _HashingReader:
    """Hashes what is read through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Read and hash."""
        content = self._stream.read(size)
        self.hash.update(content)
        return content


class Member:
    """A file of a backup; read it before the next one."""

    def __init__(self, name: str, size: int, stream: IO[bytes]) -> None:
        self.name = name
        self.size = size
        self._stream = stream
        self._hash = hashlib.sha256()
        self._left = size

    def pieces(self) -> Iterator[bytes]:
        """Yield the content, a MiB at a time.

        :raises BadBackup: when it ends early.
        """
        while self._left:
            try:
                piece = self._stream.read(min(_PIECE_BYTES, self._left))
            except tarfile.TarError:
                piece = b""
            if not piece:
                raise BadBackup("the backup is incomplete: it ends within a file")
            self._hash.update(piece)
            self._left -= len(piece)
            yield piece

    def content(self) -> bytes:
        """Return the whole content.

        :raises BadBackup: when it is too large to be held in memory, or ends early.
        """
        if self.size > MAX_HELD_BYTES:
            raise BadBackup("the backup has a part of a size that no backup of this program has")
        return b"".join(self.pieces())

    def digest(self) -> Digest:
        """Return size and digest, after reading what is left."""
        for _ in self.pieces():
            pass
        return Digest(self.size, self._hash.hexdigest())


def read_archive(source: IO[bytes]) -> Iterator[Member]:
    """Yield the files of a backup, the description first; the manifest is compared at the end.

    :raises BadBackup: for everything that :class:`ArchiveWriter` does not write.
    """
    digests: dict[str, Digest] = {}
    manifest: bytes | None = None
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for entry in tar:
                # Otherwise the library keeps each entry.
                tar.members = []  # type: ignore[attr-defined]  # documented, not declared
                stream = tar.extractfile(entry) if entry.isreg() else None
                if stream is None or len(digests) >= _MAX_MEMBERS:
                    raise BadBackup("the backup has something else than files, which no backup of this program has")
                member = Member(str(checked_name(entry.name)), entry.size, stream)
                if manifest is not None or member.name in digests:
                    raise BadBackup("the backup has a file twice, or after its end")
                if member.name == MANIFEST:
                    manifest = member.content()
                    continue
                if not digests and member.name != DESCRIPTION:
                    raise BadBackup("the backup does not begin with its description")
                yield member
                digests[member.name] = member.digest()
    except tarfile.TarError:
        raise BadBackup("the backup is not what this program writes") from None
    # A tar ends with zeros up to the end of its last record.
    if source.read(tarfile.RECORDSIZE).strip(b"\0") or source.read(1):
        raise BadBackup("the backup has data after its end")
    if manifest is None or _parse_manifest(manifest) != digests:
        raise BadBackup("the backup is incomplete: its files are not those of its manifest")


def _parse_manifest(content: bytes) -> dict[str, Digest]:
    try:
        return {name: Digest(size, sha256) for name, (size, sha256) in json.loads(content).items()}
    except (ValueError, TypeError, AttributeError):
        raise BadBackup("the manifest of the backup can't be read") from None
