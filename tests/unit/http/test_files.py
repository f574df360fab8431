"""Files that are replaced as a whole."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import NotFound, Overloaded, StoreUnavailable
from pikachu.http.files import Dates, Description, FileLibrary, Joined, OpenFile
from tests.support.deferreds import failure_of, result_of

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def no_dates(data: bytes) -> Dates:
    """Of any content."""
    return Dates(WHEN)


class LaterPool:
    """Does the work when the test says so, and counts it."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def run(self, work: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self.work.append(lambda: result.callback(work(*args, **kwargs)))
        return result


def opened(library: FileLibrary, path: Path) -> Deferred[tuple[OpenFile, Description]]:
    """Open in the background."""
    return Deferred.fromCoroutine(library.open(path))


def descriptors(path: Path) -> int:
    """How often this process has the file open, also when it was replaced."""
    gc.collect()
    found = 0
    for one in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(one).removesuffix(" (deleted)") == str(path)
        except OSError:
            continue
    return found


def test_a_version_is_read_through_once(tmp_path: Path) -> None:
    """The entity tag belongs to the version that is sent; another version has another."""
    path = tmp_path / "a"
    path.write_bytes(b"first")
    pool = LaterPool()
    library = FileLibrary(pool, no_dates)
    waiting = [opened(library, path) for _ in range(3)]
    assert len(pool.work) == 1
    pool.work.pop()()
    for one in waiting:
        file, description = result_of(one)
        assert file.read(0, 5) == b"first"
        assert description.etag == b'"' + hashlib.sha256(b"first").hexdigest().encode() + b'"'
        assert description.dates.made == WHEN
    result_of(opened(library, path))
    other = tmp_path / "b"
    other.write_bytes(b"other")
    other.replace(path)
    later = opened(library, path)
    pool.work.pop()()
    assert result_of(later)[1].digest == hashlib.sha256(b"other").digest()
    assert not pool.work


def test_what_is_open_stays_what_it_was(tmp_path: Path) -> None:
    """And is let go of with the last reader."""
    path = tmp_path / "a"
    path.write_bytes(b"first")
    file = result_of(opened(FileLibrary(ImmediatePool(), no_dates), path))[0]
    (tmp_path / "b").write_bytes(b"other")
    (tmp_path / "b").replace(path)
    assert file.read(0, 5) == b"first"
    assert descriptors(path) == 1
    del file
    assert descriptors(path) == 0


def test_failures(tmp_path: Path) -> None:
    """No file, no access, a file that shrinks, a pool that is full."""
    library = FileLibrary(ImmediatePool(), no_dates)
    failure_of(opened(library, tmp_path / "none"), NotFound)
    failure_of(opened(library, tmp_path / "none" / "below"), NotFound)
    failure_of(opened(library, tmp_path), StoreUnavailable)
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    file = OpenFile(path)
    path.write_bytes(b"0123")
    with pytest.raises(OSError, match="shorter"):
        file.read(0, 10)

    class FullPool:
        """Takes no work."""

        def run(self, work: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
            result: Deferred[Any] = Deferred()
            result.errback(Overloaded("full"))
            return result

    full = FileLibrary(FullPool(), no_dates)
    for _ in range(2):
        failure_of(opened(full, path), Overloaded)
    assert descriptors(path) == 1, "of the file above only"


def test_who_stops_waiting_leaves_the_others_alone(tmp_path: Path) -> None:
    """A client that hangs up while a version is read through."""
    path = tmp_path / "a"
    path.write_bytes(b"first")
    pool = LaterPool()
    library = FileLibrary(pool, no_dates)
    gone, stays = opened(library, path), opened(library, path)
    gone.addErrback(lambda _: None)
    gone.cancel()
    pool.work.pop()()
    assert result_of(stays)[1].digest == hashlib.sha256(b"first").digest()


@given(parts=st.lists(st.binary(max_size=20), max_size=5), start=st.integers(0, 100), size=st.integers(0, 100))
def test_joined(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], start: int, size: int) -> None:
    """Any part of several files is that part of their concatenation."""
    folder = tmp_path_factory.mktemp("joined")
    files = []
    for number, part in enumerate(parts):
        (folder / str(number)).write_bytes(part)
        files.append(OpenFile(folder / str(number)))
    whole = b"".join(parts)
    joined = Joined(files)
    assert joined.size == len(whole)
    assert joined.read(start, start + size) == whole[start : start + size]
