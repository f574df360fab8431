"""CRL files: replaced atomically, so that a reader sees the old or the new CRL, complete, and never an older one.

Each issuer has ``<key identifier>.crl`` (DER) and ``<key identifier>.pem`` in one folder, and with ``-delta`` or the
number of a shard before the suffix those of some certificates.  Several processes may
publish there: a lock file serializes them, and a CRL with a higher number is never replaced.  Everything here blocks
and is called in a worker thread.
"""

from __future__ import annotations

import fcntl
import filecmp
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from pikachu.core.atomic_files import replace_files
from pikachu.core.errors import Conflict, MalformedRequest, PikachuError
from pikachu.core.number_parsing import parse_number
from pikachu.x509.certificate import Certificate
from pikachu.x509.crl import CRLSummary, crl_pem_pieces
from pikachu.x509.crl_verification import check_signed

Identity = tuple[int, int, int]

#: The part of file names of delta CRLs; the parts of sharded CRLs are their numbers.
DELTA: Final = "delta"
MAX_SHARDS: Final = 1000

_READ_BYTES: Final = 1 << 20
_LOCK_NAME: Final = ".lock"
_NO_FILE: Final[Identity] = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class CRLSettings:
    """The configuration of CRL publication.

    :param validity: seconds from thisUpdate to nextUpdate.
    :param delay: seconds between a revocation and the CRL that lists it, so that one CRL covers several revocations.
    :param folder: the directory of all issuers' CRLs.
    :param broker_path: ``crl_path``; ``None`` writes no broker file.
    :param delta: seconds that a delta CRL is good, and between full CRLs that only new revocations require; ``None``
        makes no delta CRLs.
    :param shards: among how many CRLs new certificates are divided; 0: they are not.
    :param public_url: the base of addresses on CRLs; ``None`` puts none on them.
    """

    validity: int
    delay: float
    folder: Path
    broker_path: Path | None
    delta: int | None = None
    shards: int = 0
    public_url: str | None = None


@dataclass(frozen=True, slots=True)
class PublishedCRL:
    """A CRL on disk.

    :ivar last_change: the id of the newest status change that it includes; -1 when unknown.
    :ivar etag: SHA-256 of the DER, in hex.
    :ivar size: size of the DER in bytes.
    :ivar identity: identity of the DER file; it changes when the file is replaced.
    :ivar extensions: the values of its extensions by OID.
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
    identity: Identity = _NO_FILE
    extensions: Mapping[str, bytes] = field(default_factory=dict, repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class CRLBundle:
    """A PEM file with the CRLs of all generations of a CA, for programs that read one file.

    :ivar members: the PEM files of those CRLs, in order; missing files are skipped.
    """

    path: Path
    members: tuple[Path, ...]

    def is_current(self) -> bool:
        """Return whether the file contains exactly the members' content.  Blocks."""
        if len(self.members) == 1:
            return is_copy(self.path, self.members[0])
        try:
            with self.path.open("rb") as stream:
                return all(stream.read(len(piece)) == piece for piece in self.pieces()) and not stream.read(1)
        except OSError:
            return False

    def pieces(self, published: Path | None = None, der: bytes = b"") -> Iterator[bytes]:
        """Yield the content in pieces.  Blocks.

        :param published: the member that *der* is about to replace.
        """
        for member in self.members:
            yield from crl_pem_pieces(der) if member == published else _read_pieces(member)


@dataclass(frozen=True, slots=True)
class CRLFolder:
    """The directory in which CRLs are published."""

    path: Path

    def paths(self, key_identifier: bytes, part: str = "") -> tuple[Path, Path]:
        """Return the paths (DER, PEM) of the CRL of an issuer's key.

        :param part: empty for the full CRL, ``delta``, or the number of a shard.
        """
        stem = f"{key_identifier.hex()}-{part}" if part else key_identifier.hex()
        return self.path / f"{stem}.crl", self.path / f"{stem}.pem"

    def look(self, issuer: Certificate, known: PublishedCRL | None, part: str = "") -> tuple[Identity, int]:
        """Return the identity of the file on disk and its CRL number: the database may be an older copy.

        :param known: the CRL published last; the number is 0 if it is still on disk, or if there is no CRL signed by
            *issuer*.
        """
        identity = _NO_FILE
        try:
            identity = _identity_at(self.paths(issuer.key_identifier, part)[0])
            if known is not None and identity == known.identity:
                return identity, 0
            crl = self.read(issuer, part)
        except (OSError, PikachuError):
            return identity, 0
        return identity, 0 if crl is None else crl.number

    def read(self, issuer: Certificate, part: str = "") -> PublishedCRL | None:
        """Return the CRL on disk, or None.

        :raises PikachuError: when it is not one that *issuer* has signed.
        :raises OSError: when it can't be read.
        """
        der_path, pem_path = self.paths(issuer.key_identifier, part)
        try:
            with der_path.open("rb") as stream:
                identity = file_identity(os.fstat(stream.fileno()))
                data = stream.read()
        except FileNotFoundError:
            return None
        return _published(data, check_signed(data, issuer), (der_path, pem_path), identity)

    def read_parts(self, issuer: Certificate) -> tuple[dict[str, PublishedCRL], list[str]]:
        """Return the delta CRL and the sharded CRLs on disk by their parts, and messages about unreadable ones."""
        parts, messages = {}, []
        prefix = f"{issuer.key_identifier.hex()}-"
        for path in sorted(self.path.glob(f"{prefix}*.crl")):
            part = path.stem.removeprefix(prefix)
            if part != DELTA and parse_number(part, MAX_SHARDS) is None:
                continue
            try:
                crl = self.read(issuer, part)
            except (OSError, PikachuError) as error:
                messages.append(f"{path}: {error}")
                continue
            if crl is not None:
                parts[part] = crl
        return parts, messages

    def remove_part(self, key_identifier: bytes, part: str) -> None:
        """Remove the files of a delta CRL or a sharded one.

        :raises OSError: when they can't be removed.
        """
        with self._locked():
            for path in self.paths(key_identifier, part):
                path.unlink(missing_ok=True)

    def newest(self, issuer: Certificate, known: PublishedCRL | None, part: str = "") -> PublishedCRL | None:
        """Return the CRL on disk, or None; the file is not read again while it is still *known*.

        :raises PikachuError: when it is not one that *issuer* has signed.
        :raises OSError: when it can't be read.
        """
        if known is not None and known.identity == _identity_at(known.der_path):
            return known
        return self.read(issuer, part)

    def publish(
        self, der: bytes, crl: PublishedCRL, bundles: Callable[[], Sequence[CRLBundle]], expected: Identity
    ) -> PublishedCRL | None:
        """Replace the files, the DER last.

        :param bundles: returns the bundles that contain this CRL; called once the lock is held.
        :param expected: identity of the file on disk before the CRL's entries were read.
        :return: ``None`` when another CRL is on disk by now: it may have entries that this one lacks, whatever its
            number.
        :raises OSError: and the previous files stay.
        """
        with self._locked():
            if _identity_at(crl.der_path) != expected:
                return None
            _write_all(der, crl.der_path, crl.pem_path, bundles())
            identity = _identity_at(crl.der_path)
        return replace(crl, etag=hashlib.sha256(der).hexdigest(), size=len(der), identity=identity)

    def take_shared(
        self, der: bytes, issuer: Certificate, bundles: Callable[[], Sequence[CRLBundle]], part: str = ""
    ) -> PublishedCRL:
        """Write the CRL that a node has published, unless it or a newer one is on disk; return the one on disk.

        :raises PikachuError: when it is not one that *issuer* has signed.
        :raises OSError: and the previous files stay.
        """
        der_path, pem_path = paths = self.paths(issuer.key_identifier, part)
        crl = _published(der, check_signed(der, issuer), paths, _NO_FILE)
        with self._locked():
            try:
                on_disk = self.read(issuer, part)
            except PikachuError:
                on_disk = None
            if on_disk is not None and (
                on_disk.number > crl.number
                or (
                    on_disk.etag == crl.etag
                    and is_pem(pem_path, der_path)
                    and all(bundle.is_current() for bundle in bundles())
                )
            ):
                return on_disk
            _write_all(der, der_path, pem_path, bundles())
            return replace(crl, identity=_identity_at(der_path))

    def take_upload(
        self, data: bytes, issuer: Certificate, now: datetime, bundles: Sequence[CRLBundle]
    ) -> PublishedCRL:
        """Publish an uploaded CRL of the CA *issuer*.

        :param data: DER; see :func:`decode_crl`.
        :param bundles: the bundles that contain this CRL.
        :raises MalformedRequest: when it is not a current full CRL of that CA.
        :raises Conflict: when a newer CRL is published.
        :raises OSError: and the previous files stay.
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
        with self._locked():
            try:
                published = self.read(issuer)
            except PikachuError:
                published = None
            if published is not None and (summary.number, summary.this_update) < (
                published.number,
                published.this_update,
            ):
                raise Conflict(
                    f"a newer CRL of this CA is published, number {published.number}; this is {summary.number}"
                )
            _write_all(data, der_path, pem_path, bundles)
            return _published(data, summary, paths, _identity_at(der_path))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock against other processes that publish here."""
        self.path.mkdir(parents=True, exist_ok=True)
        # Opened for reading only: that suffices for a lock, also when another user created the file.
        lock = os.open(self.path / _LOCK_NAME, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


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
        summary.extensions,
    )


def file_identity(status: os.stat_result) -> Identity:
    """Return the identity of a file; it changes with each replacement, and files here are never modified in place."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def _identity_at(path: Path) -> Identity:
    try:
        return file_identity(path.stat())
    except FileNotFoundError:
        return _NO_FILE


def is_copy(path: Path, of: Path) -> bool:
    """Return whether *path* has the content of the file *of*."""
    try:
        return path.samefile(of) or filecmp.cmp(path, of, shallow=False)
    except OSError:
        return False


def is_pem(path: Path, der_path: Path) -> bool:
    """Return whether *path* contains the PEM of the CRL at *der_path*."""
    try:
        with path.open("rb") as stream:
            return all(
                stream.read(len(piece)) == piece for piece in crl_pem_pieces(der_path.read_bytes())
            ) and not stream.read(1)
    except OSError:
        return False


def _write_all(der: bytes, der_path: Path, pem_path: Path, bundles: Sequence[CRLBundle]) -> None:
    """Write a CRL to all its files, the DER last.

    :raises OSError: and the previous files stay, unless a rename failed.
    """
    for path in (pem_path, *(bundle.path for bundle in bundles)):
        path.parent.mkdir(parents=True, exist_ok=True)
    # A bundle with this CRL alone can share the file.
    copies = [bundle.path for bundle in bundles if bundle.members == (pem_path,)]
    replace_files(
        ([pem_path, *copies], lambda: crl_pem_pieces(der)),
        *(([bundle.path], partial(bundle.pieces, pem_path, der)) for bundle in bundles if bundle.path not in copies),
        ([der_path], lambda: [der]),
    )


def _read_pieces(path: Path) -> Iterator[bytes]:
    """Yield a file's content in pieces; nothing if it does not exist."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        while piece := stream.read(_READ_BYTES):
            yield piece
