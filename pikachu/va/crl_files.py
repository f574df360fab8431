"""CRLs in files: written so that a reader sees the former or the new one, whole, and never an older one.

Each issuer has ``<key identifier>.crl`` (DER) and ``<key identifier>.pem`` in one folder.  Several processes may
publish there: a lock file makes them take turns, and what is there with a higher number stays.  Everything here
blocks, and is called in a worker thread.
"""

from __future__ import annotations

import errno
import fcntl
import filecmp
import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from pikachu.core.errors import Conflict, MalformedRequest, PikachuError
from pikachu.x509.certificate import Certificate
from pikachu.x509.crl import CRLSummary, crl_pem_pieces, parse_crl_summary
from pikachu.x509.pem_blocks import blocks
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import describe_spki

Identity = tuple[int, int, int]

# What a file grows by before that much of it is put on the disk.
_STEP: Final = 8 << 20
_PIECE: Final = 1 << 20
_LOCK: Final = ".lock"
_PEM_LABEL: Final = "X509 CRL"
_NOTHING: Final[Identity] = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class PublishedCRL:
    """A CRL as it lies in its files.

    :ivar last_change: the newest status change that it knows of; -1 where nobody knows.
    :ivar etag: SHA-256 of the DER, hex.
    :ivar size: of the DER, in octets.
    :ivar identity: of the DER file: changes when another one is put in its place.
    """

    number: int
    this_update: datetime
    next_update: datetime
    entries: int
    last_change: int
    etag: str
    der_path: Path
    pem_path: Path
    size: int
    identity: Identity = _NOTHING


@dataclass(frozen=True, slots=True)
class CRLBundle:
    """A PEM file for programs that read one file: the CRLs of all generations of a CA.

    :ivar members: the PEM files of those CRLs, in order; one that is not there is left out.
    """

    path: Path
    members: tuple[Path, ...]

    def is_current(self) -> bool:
        """Whether the file has just the members' content.  Blocks."""
        if len(self.members) == 1:
            return is_copy(self.path, self.members[0])
        try:
            with self.path.open("rb") as stream:
                return all(stream.read(len(piece)) == piece for piece in self.pieces()) and not stream.read(1)
        except OSError:
            return False

    def pieces(self, published: Path | None = None, der: bytes = b"") -> Iterator[bytes]:
        """The content in pieces.  Blocks.

        :param published: the member in whose place *der* is being published.
        """
        for member in self.members:
            yield from crl_pem_pieces(der) if member == published else _pieces_of(member)


@dataclass(frozen=True, slots=True)
class CRLFolder:
    """Where CRLs are published."""

    path: Path

    def paths(self, key_identifier: bytes) -> tuple[Path, Path]:
        """(DER, PEM) of the CRL of an issuer's key."""
        stem = key_identifier.hex()
        return self.path / f"{stem}.crl", self.path / f"{stem}.pem"

    def look(self, issuer: Certificate, known: PublishedCRL | None) -> tuple[Identity, int]:
        """(which file is there, its number): the database may be an older copy.

        :param known: what was published last; the number is 0 while that is there, and where there is no CRL that
            *issuer* has signed.
        """
        identity = _NOTHING
        try:
            identity = _identity_at(self.paths(issuer.key_identifier)[0])
            if known is not None and identity == known.identity:
                return identity, 0
            found = self.read(issuer)
        except (OSError, PikachuError):
            return identity, 0
        return identity, 0 if found is None else found.number

    def read(self, issuer: Certificate) -> PublishedCRL | None:
        """The CRL that is there.

        :raises PikachuError: when it is not one that *issuer* has signed.
        :raises OSError: when it can't be read.
        """
        der_path, pem_path = self.paths(issuer.key_identifier)
        try:
            with der_path.open("rb") as stream:
                identity = file_identity(os.fstat(stream.fileno()))
                data = stream.read()
        except FileNotFoundError:
            return None
        return _published(data, check_signed(data, issuer), (der_path, pem_path), identity)

    def newest(self, issuer: Certificate, known: PublishedCRL | None) -> PublishedCRL | None:
        """The CRL that is there; it is not read when it is still *known*.

        :raises PikachuError: when it is not one that *issuer* has signed.
        :raises OSError: when it can't be read.
        """
        if known is not None and known.identity == _identity_at(known.der_path):
            return known
        return self.read(issuer)

    def publish(
        self, der: bytes, crl: PublishedCRL, bundles: Callable[[], Sequence[CRLBundle]], seen: Identity
    ) -> PublishedCRL | None:
        """Replace the files, the DER last.

        :param bundles: gives those that hold this CRL too, as they are when the other publishers have finished.
        :param seen: which file was there before the CRL's entries were read.
        :return: ``None`` when another one is there by now: it may have entries that this one lacks, whatever their
            numbers are.
        :raises OSError: and what was there stays.
        """
        with self._turn():
            if _identity_at(crl.der_path) != seen:
                return None
            _place(der, crl.der_path, crl.pem_path, bundles())
            identity = _identity_at(crl.der_path)
        return replace(crl, etag=hashlib.sha256(der).hexdigest(), size=len(der), identity=identity)

    def take_upload(
        self, data: bytes, issuer: Certificate, now: datetime, bundles: Sequence[CRLBundle]
    ) -> PublishedCRL:
        """Publish a CRL that was made elsewhere, by the CA *issuer*.

        :param data: DER; see :func:`decode_crl`.
        :param bundles: which hold this CRL too.
        :raises MalformedRequest: when it is not a full CRL of that CA that is in force.
        :raises Conflict: when a newer one is there.
        :raises OSError: and what was there stays.
        """
        summary = check_signed(data, issuer)
        if summary.number is None or summary.next_update is None:
            raise MalformedRequest("the CRL has no number or no next update; make it with both (RFC 5280)")
        if summary.critical_extensions:
            raise MalformedRequest("this is a delta CRL, or one of some certificates only; upload the full one")
        if summary.authority_key_identifier not in (None, issuer.key_identifier):
            raise MalformedRequest("the CRL names another key of this CA")
        if summary.this_update > now:
            raise MalformedRequest("the CRL is not in force yet; check this machine's clock")
        if summary.next_update <= now:
            raise MalformedRequest(f"the CRL ran out on {summary.next_update:%Y-%m-%d}; make a new one")
        der_path, pem_path = paths = self.paths(issuer.key_identifier)
        with self._turn():
            try:
                there = self.read(issuer)
            except PikachuError:
                there = None
            if there is not None and (summary.number, summary.this_update) < (there.number, there.this_update):
                raise Conflict(f"a newer CRL of this CA is published, number {there.number}; this is {summary.number}")
            _place(data, der_path, pem_path, bundles)
            return _published(data, summary, paths, _identity_at(der_path))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for other processes that publish here."""
        self.path.mkdir(parents=True, exist_ok=True)
        # Reading is enough for a lock, and is allowed too where another user made the file.
        lock = os.open(self.path / _LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def decode_crl(data: bytes) -> bytes:
    """The DER of a CRL in PEM or DER.

    :raises MalformedRequest: when it is neither, or more than one.
    """
    if data[:1] == b"\x30":
        return data
    found = blocks(data, (_PEM_LABEL,))
    if len(found) != 1:
        raise MalformedRequest("this is not one CRL in PEM or DER")
    return found[0].der()


def check_signed(data: bytes, issuer: Certificate) -> CRLSummary:
    """What stands in a DER CRL that *issuer* has signed.

    :raises MalformedRequest: when it is none, or another CA's.
    :raises PikachuError: when the signature does not verify.
    """
    summary = parse_crl_summary(data)
    if summary.issuer_der != issuer.subject_der:
        raise MalformedRequest("this is another CA's CRL")
    key = describe_spki(issuer.spki_der)
    verify_signature(key, summary.algorithm, summary.signature, bytes(summary.tbs), failure=MalformedRequest)
    return summary


def _published(data: bytes, summary: CRLSummary, paths: tuple[Path, Path], identity: Identity) -> PublishedCRL:
    if summary.number is None:
        raise MalformedRequest("the CRL has no number")
    return PublishedCRL(
        summary.number,
        summary.this_update,
        summary.next_update or summary.this_update,
        summary.entries,
        -1,
        hashlib.sha256(data).hexdigest(),
        *paths,
        len(data),
        identity,
    )


def file_identity(found: os.stat_result) -> Identity:
    """What tells a file from the one that stood in its place before; files here are replaced, never written to."""
    return found.st_ino, found.st_mtime_ns, found.st_size


def _identity_at(path: Path) -> Identity:
    try:
        return file_identity(path.stat())
    except FileNotFoundError:
        return _NOTHING


def is_copy(path: Path, of: Path) -> bool:
    """Whether *path* has the content of the file *of*."""
    try:
        return path.samefile(of) or filecmp.cmp(path, of, shallow=False)
    except OSError:
        return False


def is_pem(path: Path, der_path: Path) -> bool:
    """Whether *path* holds the PEM of the CRL at *der_path*."""
    try:
        with path.open("rb") as stream:
            return all(
                stream.read(len(piece)) == piece for piece in crl_pem_pieces(der_path.read_bytes())
            ) and not stream.read(1)
    except OSError:
        return False


def _place(der: bytes, der_path: Path, pem_path: Path, bundles: Sequence[CRLBundle]) -> None:
    """Put a CRL in all its places, the DER last.

    :raises OSError: and what was there stays, unless it was renaming that failed.
    """
    for path in (pem_path, *(bundle.path for bundle in bundles)):
        path.parent.mkdir(parents=True, exist_ok=True)
    # A bundle of this CRL alone can be the same file.
    copies = [bundle.path for bundle in bundles if bundle.members == (pem_path,)]
    replace_files(
        ([pem_path, *copies], lambda: crl_pem_pieces(der)),
        *(([bundle.path], partial(bundle.pieces, pem_path, der)) for bundle in bundles if bundle.path not in copies),
        ([der_path], lambda: [der]),
    )


def _pieces_of(path: Path) -> Iterator[bytes]:
    """A file's content in pieces; nothing where there is no such file."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        while piece := stream.read(_PIECE):
            yield piece


def replace_file(path: Path, content: bytes) -> None:
    """Put *content* at *path*; see :func:`replace_files`."""
    replace_files(([path], lambda: [content]))


def replace_files(*contents: tuple[Sequence[Path], Callable[[], Iterable[bytes]]]) -> None:
    """Put contents at paths; a reader of each sees the former or the new one, whole, also after a power cut.

    All is on the disk before the first path changes; then they change in the order given.

    :param contents: some paths, and what gives the pieces of their common content.  The paths get one file where the
        file system lets them share it.
    :raises OSError: and the former ones stay, unless it was renaming that failed.
    """
    written: list[tuple[Path, Path]] = []
    try:
        for paths, pieces in contents:
            first: Path | None = None
            for path in paths:
                temporary = None if first is None else _linked(first, path)
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
            _sync_folder(folder)
    except BaseException:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)
        raise


def check_replaceable(path: Path) -> None:
    """Check that :func:`replace_files` can put something at *path*, as far as the folder says.

    :raises OSError: when it can't.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", buffering=0) as stream:
        stream.write(bytes(4096))


def _linked(file: Path, path: Path) -> Path | None:
    """Another name of *file*, beside *path*; ``None`` where it can't have one."""
    name = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with suppress(OSError):
        os.link(file, name)
        return name
    return None


def _write(handle: int, pieces: Iterable[bytes]) -> None:
    """Write a new file, close it, and have it on the disk.

    Large ones go there step by step: else the commits of a database on the same disk wait for all of it at once.
    """
    with os.fdopen(handle, "wb", buffering=0) as stream:
        os.fchmod(handle, 0o644)
        waiting = 0
        for piece in pieces:
            view = memoryview(piece)
            while view:
                count = stream.write(view[:_STEP]) or 0
                view = view[count:]
                waiting += count
                if waiting >= _STEP:
                    os.fsync(handle)
                    waiting = 0
        os.fsync(handle)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
