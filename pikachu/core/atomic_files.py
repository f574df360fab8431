"""Atomic file writes: a reader sees the old or the new content, complete, also after a power failure.

Everything here blocks.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

# Number of bytes written between two fsyncs.
_SYNC_BYTES: Final = 8 << 20
#: Errors of file systems without hard links.
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)


def create_file(path: Path, content: bytes, mode: int) -> None:
    """Create and fsync a file atomically; an existing file is never replaced.

    :raises OSError: FileExistsError when it exists, others when it can't be written.
    """
    # O_EXCL refuses an existing file.
    discard_temporary(path)
    temporary = _temporary(path)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        _link_new(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def creating_file(path: Path, mode: int) -> Iterator[IO[bytes]]:
    """Open a new file for writing that is fsynced and gets its name at the end of the block, or is removed.

    :raises OSError: FileExistsError when *path* exists, others when it can't be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _link_new(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_new_file(path: Path, pieces: Iterable[bytes], mode: int) -> None:
    """Write and fsync a new file in a folder that is not in use yet.

    :raises OSError: FileExistsError when *path* exists, also as a link; others when it can't be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.writelines(pieces)
        stream.flush()
        os.fsync(stream.fileno())


def name_folder(folder: Path, path: Path) -> None:
    """Give a folder its name; what *path* names must be missing, or an empty folder.

    :raises OSError: when it can't be renamed.
    """
    folder.rename(path)
    sync_folder(path.parent)


def discard_temporary(path: Path) -> None:
    """Remove the temporary file that a killed :func:`create_file` of *path* left."""
    _temporary(path).unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _link_new(temporary: Path, path: Path) -> None:
    """Link a file to its final name, failing if the name exists; rename it on file systems without links."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS or path.exists():
            raise
        temporary.rename(path)


def exchange_file(next_path: Path, path: Path, previous_path: Path) -> None:
    """Replace *path* with *next_path*, and keep its previous content as *previous_path*.

    Idempotent: a call after an interruption completes what is left, and nothing happens without *next_path*.

    :raises OSError: when a file can't be linked or renamed.
    """
    if not next_path.exists():
        return
    if path.exists() and not previous_path.exists():
        _link_or_copy(path, previous_path)
    next_path.replace(path)
    sync_folder(path.parent)


def _link_or_copy(path: Path, name: Path) -> None:
    try:
        os.link(path, name)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # The copy gets its name only when it is complete.
        create_file(name, path.read_bytes(), path.stat().st_mode & 0o777)


def rewrite_file(path: Path, content: bytes) -> None:
    """Replace the content of an existing file atomically; it keeps its mode and, if permitted, its owner.

    :raises OSError: and the previous content stays.
    """
    status = path.stat()
    edited = path.with_name(f".{path.name}.edited")
    edited.unlink(missing_ok=True)
    create_file(edited, content, stat.S_IMODE(status.st_mode))
    with suppress(PermissionError):
        os.chown(edited, status.st_uid, status.st_gid)
    edited.replace(path)
    sync_folder(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Write *content* to *path* atomically; see :func:`replace_files`."""
    replace_files(([path], lambda: [content]))


def replace_files(*contents: tuple[Sequence[Path], Callable[[], Iterable[bytes]]]) -> None:
    """Replace files atomically: a reader of each sees the old or the new content, complete, also after a power failure.

    All contents are fsynced before the first path changes; the paths then change in argument order.

    :param contents: pairs of paths and a function that yields their common content.  The paths are hard links to one
        file if the file system allows it.
    :raises OSError: and the previous files stay, unless a rename failed.
    """
    written: list[tuple[Path, Path]] = []
    try:
        for paths, pieces in contents:
            first: Path | None = None
            for path in paths:
                temporary = None if first is None else _link(first, path)
                if temporary is None:
                    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
                    temporary = Path(name)
                    written.append((temporary, path))
                    _write(handle, pieces())
                else:
                    written.append((temporary, path))
                first = first or temporary
        for temporary, path in written:
            temporary.replace(path)
        for folder in dict.fromkeys(path.parent for _, path in written):
            sync_folder(folder)
    except BaseException:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)
        raise


def check_replaceable(path: Path) -> None:
    """Check that :func:`replace_files` can write to *path*, as far as the directory shows.

    :raises OSError: when it can't.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", buffering=0) as stream:
        stream.write(bytes(4096))


def _link(file: Path, path: Path) -> Path | None:
    """Return a hard link to *file* beside *path*, or None where links are not possible."""
    name = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with suppress(OSError):
        os.link(file, name)
        return name
    return None


def _write(handle: int, pieces: Iterable[bytes]) -> None:
    """Write, fsync and close a new file.

    Large files are fsynced in steps: otherwise the commits of a database on the same disk wait for all of it at once.
    """
    with os.fdopen(handle, "wb", buffering=0) as stream:
        os.fchmod(handle, 0o644)
        unsynced = 0
        for piece in pieces:
            view = memoryview(piece)
            while view:
                count = stream.write(view[:_SYNC_BYTES]) or 0
                view = view[count:]
                unsynced += count
                if unsynced >= _SYNC_BYTES:
                    os.fsync(handle)
                    unsynced = 0
        os.fsync(handle)


def sync_folder(path: Path) -> None:
    """Fsync the names in a folder."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
