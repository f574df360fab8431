"""How CRLs come to lie in their files."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pikachu.va.crl_files import CRLBundle, CRLFolder, PublishedCRL, is_copy, is_pem
from pikachu.x509.crl import crl_pem

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def published(folder: Path, der: bytes, copies: list[Path]) -> PublishedCRL:
    """*der* published in *folder*, in place of what is there."""
    der_path, pem_path = folder / "ca.crl", folder / "ca.pem"
    there = (0, 0, 0)
    if der_path.exists():
        found = der_path.stat()
        there = found.st_ino, found.st_mtime_ns, found.st_size
    crl = PublishedCRL(1, NOW, NOW, 0, 0, "", der_path, pem_path, 0)
    bundles = [CRLBundle(copy, (pem_path,)) for copy in copies]
    done = CRLFolder(folder).publish(der, crl, lambda: bundles, there)
    assert done is not None
    return done


def test_the_copy_for_brokers_is_the_same_file(tmp_path: Path) -> None:
    """Written once, and not on the disk twice; a reader that has the former open keeps it whole."""
    copy = tmp_path / "broker" / "crl.pem"
    first = published(tmp_path / "crl", b"\x30" * 1000, [copy])
    assert copy.samefile(first.pem_path)
    assert copy.stat().st_mode & 0o777 == 0o644
    with copy.open("rb") as reader:
        second = published(tmp_path / "crl", b"\x31" * 1000, [copy])
        assert reader.read() == crl_pem(b"\x30" * 1000)
    assert copy.samefile(second.pem_path)
    assert copy.read_bytes() == crl_pem(b"\x31" * 1000)
    assert sorted(path.name for path in copy.parent.iterdir()) == ["crl.pem"]


def test_a_copy_on_another_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file can't have another name, it is written again."""

    def refused(source: Path, name: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    copy = tmp_path / "broker" / "crl.pem"
    crl = published(tmp_path / "crl", b"\x30" * 1000, [copy])
    assert not copy.samefile(crl.pem_path)
    assert is_copy(copy, crl.pem_path)


def test_a_small_list_waits_four_times_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each of two files and two folders: no fewer would last through a power cut."""
    synced: list[int] = []
    sync = os.fsync

    def counted(descriptor: int) -> None:
        synced.append(descriptor)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    published(tmp_path / "crl", b"\x30" * 1000, [tmp_path / "broker" / "crl.pem"])
    assert len(synced) == 4


@pytest.mark.parametrize("change", [lambda pem: pem[:-1], lambda pem: pem + b"x", lambda pem: pem[::-1]])
def test_whether_the_pem_is_that_of_the_der(tmp_path: Path, change: object) -> None:
    """A PEM file that was changed externally does not match the DER file."""
    der_path, pem_path = tmp_path / "ca.crl", tmp_path / "ca.pem"
    der_path.write_bytes(os.urandom(100_000))
    assert not is_pem(pem_path, der_path)
    pem = crl_pem(der_path.read_bytes())
    pem_path.write_bytes(pem)
    assert is_pem(pem_path, der_path)
    assert callable(change)
    pem_path.write_bytes(change(pem))
    assert not is_pem(pem_path, der_path)
