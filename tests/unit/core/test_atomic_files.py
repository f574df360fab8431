"""Atomic file writes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pikachu.core.atomic_files import create_file, exchange_file, replace_file, replace_files


def test_nothing_changes_before_all_is_written(tmp_path: Path) -> None:
    """Also not the first of several files, when there is no room for the last."""
    replace_file(tmp_path / "a", b"former")

    def full() -> list[bytes]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        replace_files(([tmp_path / "a", tmp_path / "b"], lambda: [b"new"]), ([tmp_path / "c"], full))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"former"}


def test_a_large_file_goes_to_the_disk_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit of the database waits for one step at most."""
    sizes: list[int] = []

    def seen(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)

    content = os.urandom(20 << 20)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", seen)
        replace_file(tmp_path / "large", content)
    assert sizes[:3] == [8 << 20, 16 << 20, 20 << 20]
    assert (tmp_path / "large").read_bytes() == content


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_new_file_replaces_none(tmp_path: Path) -> None:
    """An existing file is not replaced; leftovers of a killed run are no obstacle."""
    (tmp_path / ".key.new").write_bytes(b"half")
    create_file(tmp_path / "key", b"first", 0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "key", b"second", 0o600)
    assert files(tmp_path) == {"key": b"first"}


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"next": b"2", "key": b"1"}, {"key": b"2", "previous": b"1"}),
        ({"next": b"2", "key": b"1", "previous": b"1"}, {"key": b"2", "previous": b"1"}),
        ({"key": b"2", "previous": b"1"}, {"key": b"2", "previous": b"1"}),
        ({"next": b"2"}, {"key": b"2"}),
        ({}, {}),
    ],
)
def test_exchange_completes_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    """From each state in which a kill leaves the files, also without hard links."""

    def refused(source: Path, name: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    for _ in range(2):
        exchange_file(tmp_path / "next", tmp_path / "key", tmp_path / "previous")
        assert files(tmp_path) == after
