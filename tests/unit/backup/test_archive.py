"""The content of a backup: only files with harmless names, all of them, and each once (OPS-3)."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pikachu.backup.archive import DESCRIPTION, MANIFEST, ArchiveWriter, checked_name, read_archive
from pikachu.core.errors import BadBackup


def written(*files: tuple[str, bytes]) -> bytes:
    target = io.BytesIO()
    archive = ArchiveWriter(target)
    for name, content in files:
        archive.add(name, content)
    archive.finish()
    return target.getvalue()


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w|") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = "/etc/passwd"
    return member, content


def read(data: bytes) -> dict[str, bytes]:
    return {member.name: b"".join(member.pieces()) for member in read_archive(io.BytesIO(data))}


def test_round_trip(tmp_path: Path) -> None:
    """Files that nobody reads are digested all the same."""
    large = tmp_path / "large"
    large.write_bytes(bytes(3_000_000))
    target = io.BytesIO()
    archive = ArchiveWriter(target)
    archive.add(DESCRIPTION, b"{}")
    archive.add_file("files/large", large)
    archive.add("files/ä b.pem", b"x")
    archive.finish()
    assert read(target.getvalue()) == {
        DESCRIPTION: b"{}", "files/large": bytes(3_000_000), "files/ä b.pem": b"x",
    }  # fmt: skip
    assert [one.name for one in read_archive(io.BytesIO(target.getvalue()))][-1] == "files/ä b.pem"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/etc/passwd", "../x", "a/../../x", "a/..", "a//b", "./a", "a/./b", "a/", "a\nb", "a\0b", "a\\b",
     "x" * 5000],
)  # fmt: skip
def test_names(name: str) -> None:
    """None leads out of a folder, or is another spelling of one that does not."""
    with pytest.raises(BadBackup):
        checked_name(name)


BEGIN = entry(DESCRIPTION, b"{}")
ARCHIVES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no tar": lambda: b"no tar at all" * 100,
    "no description": lambda: written(("files/a", b"")),
    "no manifest": lambda: tar_of(BEGIN, entry("files/a")),
    "cut": lambda: written((DESCRIPTION, b"{}"), ("files/a", bytes(5000)))[:3000],
    "manifest of something else": lambda: tar_of(BEGIN, entry(MANIFEST, b'{"files/a": [0, ""]}')),
    "manifest is no object": lambda: tar_of(BEGIN, entry(MANIFEST, b"[1]")),
    "manifest is no JSON": lambda: tar_of(BEGIN, entry(MANIFEST, b"x")),
    "file after the manifest": lambda: tar_of(BEGIN, entry(MANIFEST, b"{}"), entry("files/a")),
    "file twice": lambda: tar_of(BEGIN, entry("files/a"), entry("files/a")),
    "symbolic link": lambda: tar_of(BEGIN, entry("files/a", kind=tarfile.SYMTYPE)),
    "hard link": lambda: tar_of(BEGIN, entry("files/a", kind=tarfile.LNKTYPE)),
    "folder": lambda: tar_of(BEGIN, entry("files/a", kind=tarfile.DIRTYPE)),
    "device": lambda: tar_of(BEGIN, entry("files/a", kind=tarfile.CHRTYPE)),
    "pipe": lambda: tar_of(BEGIN, entry("files/a", kind=tarfile.FIFOTYPE)),
    "outside": lambda: tar_of(BEGIN, entry("files/../../a")),
    "absolute": lambda: tar_of(BEGIN, entry("/a")),
    "more behind": lambda: written((DESCRIPTION, b"{}")) + b"x",
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_hostile_archives(kind: str) -> None:
    """One error for whatever is no archive of ours."""
    with pytest.raises(BadBackup):
        read(ARCHIVES[kind]())
