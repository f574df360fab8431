"""Key rotation of an issuing CA in files (VLT-4): the file layout, creating the next generation, the switch.

A running server adopts a switch in :mod:`pikachu.ca.generations`.

The configured paths always name the generation that signs.  Beside each file there may be one of the same name with
the suffix ``.next`` (the next generation), and others with ``.former-`` and the first digits of a key identifier.
``<certificate>.rotation`` announces the next generation and contains the date of the switch; it is written last, so
that an incomplete generation is never announced.

A switch moves several files.  Before the first move, ``.rotation`` records that the switch has begun and the suffix of
the former files.  Each file is linked to its former name, then replaced by its ``.next``, and ``.rotation`` is removed
last: any process can complete an interrupted switch, whichever step it reached (:func:`complete`).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pikachu.ca.bootstrap import PRIVATE_FILE, PUBLIC_FILE, RootFiles, issuing_certificate, write_new
from pikachu.ca.ca_requests import ca_request
from pikachu.core.atomic_files import exchange_file, replace_file, sync_folder
from pikachu.core.errors import ConfigError
from pikachu.core.model.times import rfc3339
from pikachu.signers.ca_keys import CAKeys
from pikachu.signers.files import CAFiles, FileCA, load_certificates, load_file_ca
from pikachu.x509.certificate import (
    Certificate,
)
from pikachu.x509.keys import (
    PrivateKey,
    public_key_matches,
)
from pikachu.x509.pem import certificates_pem, pem
from pikachu.x509.profile import Addresses
from pikachu.x509.spki import KeyDescription, describe_spki

Warn = Callable[[str], None]

_NEXT: Final = ".next"
_FORMER: Final = ".former-"
_SUFFIX_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Announcement:
    """The content of ``<certificate>.rotation``.

    :param switch_at: when the next generation becomes the current one.
    :param former: the name suffix of the generation being replaced, once the switch has begun.
    """

    switch_at: datetime
    former: str | None = None


@dataclass(frozen=True, slots=True)
class RotationFiles:
    """The files of all generations of one issuing CA.

    :param ca: the files of the current generation.
    """

    ca: CAFiles

    @property
    def announcement(self) -> Path:
        """The announcement; it exists when the next generation is complete."""
        return self._beside(self.ca.certificate, ".rotation")

    @property
    def request(self) -> Path:
        """The PKCS#10 for an offline root."""
        return self._beside(self.ca.certificate, f"{_NEXT}.csr")

    @property
    def links(self) -> Path:
        """The roll-over certificates: the current key certified by the previous one, and vice versa."""
        return self._beside(self.ca.certificate, ".rollover")

    @property
    def next(self) -> CAFiles:
        """The files of the next generation."""
        return self._with(_NEXT)

    @property
    def next_links(self) -> Path:
        """The roll-over certificates of the next generation."""
        return self._beside(self.links, _NEXT)

    def former(self) -> list[CAFiles]:
        """Return the files of former generations, ordered by name."""
        pattern = f"{self.ca.certificate.name}{_FORMER}*"
        certificates = sorted(self.ca.certificate.parent.glob(pattern))
        return [self._with(path.name[len(self.ca.certificate.name) :]) for path in certificates]

    def parts(self) -> list[Path]:
        """Return the files that a switch replaces, the key first."""
        chain = [] if self.ca.chain is None else [self.ca.chain]
        return [self.ca.key, self.ca.certificate, *chain, self.links]

    @staticmethod
    def _beside(path: Path, end: str) -> Path:
        return path.with_name(path.name + end)

    def _with(self, end: str) -> CAFiles:
        ca = self.ca
        return replace(
            ca,
            key=self._beside(ca.key, end),
            certificate=self._beside(ca.certificate, end),
            chain=None if ca.chain is None else self._beside(ca.chain, end),
            reference=None,
        )

    # --- the announcement ---------------------------------------------------------------

    def announced(self) -> Announcement | None:
        """Return the announcement, or None when nothing is announced.

        :raises ConfigError: when the file can't be read.
        """
        try:
            content = json.loads(self.announcement.read_bytes())
            switch_at = datetime.fromisoformat(content["switch_at"])
            former = content.get("former")
            if switch_at.tzinfo is None or not isinstance(former, str | None):
                raise ValueError("not what was written")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{self.announcement} can't be read: {error}; run `pikachu ca rotate` again") from None
        return Announcement(switch_at.astimezone(UTC), former)

    def announce(self, announcement: Announcement) -> None:
        """Write the announcement atomically and fsync it."""
        content = {"switch_at": rfc3339(announcement.switch_at)}
        if announcement.former is not None:
            content["former"] = announcement.former
        try:
            replace_file(self.announcement, json.dumps(content).encode("ascii") + b"\n")
        except OSError as error:
            raise ConfigError(f"{self.announcement} can't be written: {error.strerror}") from None


@contextmanager
def locked(files: RotationFiles, *, wait: bool = True) -> Iterator[bool]:
    """Keep other processes from changing the files of a CA.

    :param wait: wait for other processes; otherwise the block runs without the lock and gets ``False``.
    :raises ConfigError: when the folder can't be opened.
    """
    try:
        handle = os.open(files.ca.certificate.parent, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"{files.ca.certificate.parent} can't be read: {error.strerror}") from None
    try:
        yield _lock(handle, wait=wait)
    finally:
        os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# --- switching ---------------------------------------------------------------------------


def complete(files: RotationFiles, keys: CAKeys, now: datetime, warn: Warn, *, wait: bool = True) -> bool:
    """Complete a switch that is due or was begun; return whether the files were changed.

    :param wait: wait for other processes; otherwise nothing is done while another process holds the lock.
    :raises ConfigError: when it can't be done; a switch that was not begun leaves the files unchanged.
    """
    if not _is_due(files.announced(), now):
        return False
    with locked(files, wait=wait) as is_locked:
        # Another process may have completed it meanwhile.
        announcement = files.announced()
        if not is_locked or announcement is None or not _is_due(announcement, now):
            return False
        if announcement.former is None:
            load_file_ca(files.next, keys, now, warn)
            current = load_certificates(files.ca.certificate, files.ca.setting("CERT"))[0]
            announcement = replace(announcement, former=current.key_identifier.hex()[:_SUFFIX_DIGITS])
            files.announce(announcement)
        try:
            for path in files.parts():
                former = path.with_name(f"{path.name}{_FORMER}{announcement.former}")
                exchange_file(path.with_name(path.name + _NEXT), path, former)
            files.request.unlink(missing_ok=True)
            files.announcement.unlink()
            sync_folder(files.announcement.parent)
        except OSError as error:
            raise ConfigError(
                f"the rotation of {files.ca.name} can't be completed: {error.filename}: {error.strerror}; "
                "fix the owner or mode, and start again"
            ) from None
    return True


def _is_due(announcement: Announcement | None, now: datetime) -> bool:
    return announcement is not None and (announcement.former is not None or announcement.switch_at <= now)


# --- the next generation -----------------------------------------------------------------


def key_name(key: KeyDescription) -> str:
    """Return the key type as ``generate_private_key`` names it."""
    family, _, detail = key.text.partition("/")
    return f"rsa{detail}" if family == "RSA" else (detail or family).lower()


def _write_missing(path: Path, content: Callable[[], bytes]) -> None:
    if not path.exists():
        write_new(path, content(), PRIVATE_FILE)


class Rotation:
    """Creates the next generation of one issuing CA; run again, it resumes where it stopped.

    The next key is where the current one is: in a file, or in the same key source.
    """

    def __init__(self, files: RotationFiles, keys: CAKeys, now: datetime, warn: Warn) -> None:
        self._files = files
        self._keys = keys
        self._now = now
        self._warn = warn

    def current(self) -> Certificate:
        """Return the certificate of the current generation.

        :raises ConfigError: when it can't be read.
        """
        return load_certificates(self._files.ca.certificate, self._files.ca.setting("CERT"))[0]

    def key(self) -> PrivateKey:
        """Return the next key, of the current one's type; generate it if there is none.

        :raises ConfigError: when it can't be written or read.
        :raises SignerUnavailable: when its source does not answer.
        """
        current, following = self._files.ca.key_file, self._files.next.key_file
        # A switch moves the current reference too, so it must be in a file.
        self._keys.write_reference(current, _write_missing)
        if not following.path.exists():
            following = replace(following, reference=self._keys.successor(current))
        algorithm = key_name(describe_spki(self.current().spki_der))
        return self._keys.create(following, algorithm, _write_missing, self._warn)

    def request(self) -> Path:
        """Return the path of the next key's PKCS#10 for an offline root; create it if there is none.

        :raises ConfigError: when it can't be written.
        """
        if not self._files.request.exists():
            request = ca_request(self.key(), self.current().subject_der)
            write_new(self._files.request, pem("CERTIFICATE REQUEST", request).encode("ascii"), PUBLIC_FILE)
        return self._files.request

    def certify(self, root: RootFiles, days: int | None, public_url: str | None) -> None:
        """Issue the next certificate with the root's key on this server.

        :param days: its validity; ``None`` uses that of the current certificate.
        :param public_url: the base of the root's addresses in the certificate; ``None`` puts none in.
        :raises ConfigError: when the root's key can't be used.
        """
        if self._files.next.certificate.exists():
            return
        if root.key is None or not root.key.exists():
            raise ConfigError(
                "[CA] ROOT_KEY_PATH: the root's key is not here; use --csr-only, have the root sign that request, and "
                "come back with --certificate"
            )
        root_key = self._keys.load(root.key_file(), self._warn)
        issuer = load_certificates(root.certificate, "[CA] ROOT_CERT_PATH")[0]
        current = self.current()
        days = days or max(1, (current.not_after - current.not_before).days)
        addresses = Addresses.under(public_url, issuer)
        certificate = issuing_certificate(self.key(), current.subject_der, root_key, issuer, days, self._now, addresses)
        self._put(certificate, [issuer.der])

    def take(self, certificates: list[Certificate]) -> None:
        """Import the certificate that an offline root has issued, and the chain above it, if supplied.

        :raises ConfigError: when the certificate is not for the next key.
        """
        files = self._files.next
        if not files.key.exists():
            raise ConfigError(f"{files.key} does not exist; make it with `pikachu ca rotate {files.name} --csr-only`")
        if not public_key_matches(self.key(), certificates[0].spki_der):
            raise ConfigError(f"the certificate is not for the key {files.key}")
        parents = certificates[1:]
        if files.root is not None:
            parents = [*parents, *load_certificates(files.root, "[CA] ROOT_CERT_PATH")]
        if not files.certificate.exists():
            self._put(certificates[0].der, [one.der for one in parents])

    def _put(self, certificate: bytes, parents: list[bytes]) -> None:
        """Write the chain, then the certificate, whose presence marks the generation as complete."""
        files = self._files.next
        if files.chain is not None:
            files.chain.unlink(missing_ok=True)
            content = certificates_pem(dict.fromkeys((certificate, *parents)))
            write_new(files.chain, content.encode("ascii"), PUBLIC_FILE)
        write_new(files.certificate, certificates_pem([certificate]).encode("ascii"), PUBLIC_FILE)

    def load(self) -> FileCA:
        """Load and check the next generation as at start; an invalid certificate is removed, the key is kept.

        :raises ConfigError: with a one-line reason.
        """
        files = self._files.next
        try:
            return load_file_ca(files, self._keys, self._now, self._warn)
        except ConfigError:
            files.certificate.unlink(missing_ok=True)
            raise

    def announce(self, switch_at: datetime) -> None:
        """Announce the next generation and the date of the switch.

        :raises ConfigError: when a switch has begun.
        """
        with locked(self._files):
            announcement = self._files.announced()
            if announcement is not None and announcement.former is not None:
                raise ConfigError(f"the switch of {self._files.ca.name} has begun; start the server to complete it")
            self._files.announce(Announcement(switch_at))
