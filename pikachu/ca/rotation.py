"""Changing the key of an issuing CA that lies in files (VLT-4): what lies where, making the next one, switching.

The configured paths always name the generation that signs.  Beside each of its files there may be another of the
same name with ``.next`` at its end (the generation to come), and others with ``.former-`` and the beginning of a key
identifier.  ``<certificate>.rotation`` announces the next one and holds the date of the switch; it is written last,
so that what was made half-way is announced to nobody.

A switch moves several files.  Before the first is moved, ``.rotation`` tells that the switch has begun and under
which name the former files are kept.  Each file is linked to that name, then replaced by its ``.next``, and
``.rotation`` goes last: whoever finds a switch that was begun can complete it, whatever was done (:func:`complete`).
"""

from __future__ import annotations

import errno
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
from pikachu.core.errors import ConfigError
from pikachu.core.model.times import rfc3339
from pikachu.signers.files import CAFiles, FileCA, load_certificates, load_file_ca, load_key
from pikachu.signers.key import sign_now
from pikachu.x509 import der
from pikachu.x509.certificate import (
    BASIC_CONSTRAINTS,
    CRL_SIGN,
    DIGITAL_SIGNATURE,
    KEY_CERT_SIGN,
    KEY_USAGE,
    Certificate,
    assemble,
)
from pikachu.x509.csr import EXTENSION_REQUEST
from pikachu.x509.extension import Extension, encode_extensions
from pikachu.x509.keys import (
    PrivateKey,
    describe_private_key,
    generate_private_key,
    private_key_pem,
    public_key_matches,
)
from pikachu.x509.pem import certificates_pem, pem
from pikachu.x509.signature import signature_algorithm
from pikachu.x509.spki import KeyDescription, describe_spki

Warn = Callable[[str], None]

_NEXT: Final = ".next"
_FORMER: Final = ".former-"
_MARK: Final = 16


@dataclass(frozen=True, slots=True)
class Announcement:
    """What ``<certificate>.rotation`` says.

    :param switch_at: when the next generation becomes the current one.
    :param former: the mark of the generation that is being replaced, once the switch has begun.
    """

    switch_at: datetime
    former: str | None = None


@dataclass(frozen=True, slots=True)
class RotationFiles:
    """Where the generations of one issuing CA lie.

    :param ca: the files of the current one.
    """

    ca: CAFiles

    @property
    def announcement(self) -> Path:
        """Is there when a next generation is complete."""
        return self._beside(self.ca.certificate, ".rotation")

    @property
    def request(self) -> Path:
        """The PKCS#10 for an offline root."""
        return self._beside(self.ca.certificate, f"{_NEXT}.csr")

    @property
    def links(self) -> Path:
        """Roll-over certificates: of the current key by the one before, and the other way round."""
        return self._beside(self.ca.certificate, ".rollover")

    @property
    def next(self) -> CAFiles:
        """The generation to come."""
        return self._with(_NEXT)

    @property
    def next_links(self) -> Path:
        """Its roll-over certificates."""
        return self._beside(self.links, _NEXT)

    def former(self) -> list[CAFiles]:
        """Those before, in the order of their names."""
        pattern = f"{self.ca.certificate.name}{_FORMER}*"
        found = sorted(self.ca.certificate.parent.glob(pattern))
        return [self._with(path.name[len(self.ca.certificate.name) :]) for path in found]

    def parts(self) -> list[Path]:
        """The files that a switch replaces, the key first."""
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
        )

    # --- the announcement ---------------------------------------------------------------

    def announced(self) -> Announcement | None:
        """What is announced.

        :raises ConfigError: when the file can't be read.
        """
        try:
            found = json.loads(self.announcement.read_bytes())
            moment = datetime.fromisoformat(found["switch_at"])
            former = found.get("former")
            if moment.tzinfo is None or not isinstance(former, str | None):
                raise ValueError("not what was written")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{self.announcement} can't be read: {error}; run `pikachu ca rotate` again") from None
        return Announcement(moment.astimezone(UTC), former)

    def announce(self, announcement: Announcement) -> None:
        """Write it, whole and on the disk."""
        content = {"switch_at": rfc3339(announcement.switch_at)}
        if announcement.former is not None:
            content["former"] = announcement.former
        temporary = self.announcement.with_name(f".{self.announcement.name}.new")
        try:
            with temporary.open("w", encoding="ascii") as stream:
                stream.write(json.dumps(content) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self.announcement)
            _sync(self.announcement.parent)
        except OSError as error:
            raise ConfigError(f"{self.announcement} can't be written: {error.strerror}") from None


@contextmanager
def locked(files: RotationFiles, *, wait: bool = True) -> Iterator[bool]:
    """Keep other processes from changing the files of a CA.

    :param wait: until another process has finished; without it the block runs all the same, and gets ``False``.
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


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- switching ---------------------------------------------------------------------------


def complete(files: RotationFiles, permissions: str, now: datetime, warn: Warn, *, wait: bool = True) -> bool:
    """Switch when that is due or was begun; return whether the files were changed.

    :param wait: until another process has finished; without it nothing is done while one is at work.
    :raises ConfigError: when it can't be done; what was not begun is left as it is.
    """
    if not _is_due(files.announced(), now):
        return False
    with locked(files, wait=wait) as mine:
        # Another process may have done it meanwhile.
        found = files.announced()
        if not mine or found is None or not _is_due(found, now):
            return False
        if found.former is None:
            load_file_ca(files.next, permissions, now, warn)
            current = load_certificates(files.ca.certificate, files.ca.setting("CERT"))[0]
            found = replace(found, former=current.key_identifier.hex()[:_MARK])
            files.announce(found)
        try:
            for path in files.parts():
                _replace(path, f"{_FORMER}{found.former}")
            files.request.unlink(missing_ok=True)
            files.announcement.unlink()
            _sync(files.announcement.parent)
        except OSError as error:
            raise ConfigError(
                f"the rotation of {files.ca.name} can't be completed: {error.filename}: {error.strerror}; "
                "mend the owner or mode, and start again"
            ) from None
    return True


def _is_due(announcement: Announcement | None, now: datetime) -> bool:
    return announcement is not None and (announcement.former is not None or announcement.switch_at <= now)


def _replace(path: Path, former: str) -> None:
    """Keep a file under its former name, and put the next one in its place; done twice it changes nothing."""
    coming, kept = path.with_name(path.name + _NEXT), path.with_name(path.name + former)
    if not coming.exists():
        return
    if path.exists() and not kept.exists():
        _link(path, kept)
    coming.replace(path)
    _sync(path.parent)


def _link(path: Path, kept: Path) -> None:
    try:
        os.link(path, kept)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        # A file system without links: the copy gets its name only when it is whole.
        write_new(kept, path.read_bytes(), path.stat().st_mode & 0o777)


# --- the next generation -----------------------------------------------------------------


def key_name(key: KeyDescription) -> str:
    """What ``generate_private_key`` calls a key of that kind."""
    family, _, detail = key.text.partition("/")
    return f"rsa{detail}" if family == "RSA" else (detail or family).lower()


class Rotation:
    """Makes the next generation of one issuing CA; run again, it goes on where it ended.

    :param permissions: of key files: ``refuse`` or ``warn``.
    """

    def __init__(self, files: RotationFiles, permissions: str, now: datetime, warn: Warn) -> None:
        self._files = files
        self._permissions = permissions
        self._now = now
        self._warn = warn

    def current(self) -> Certificate:
        """The certificate of the generation that signs.

        :raises ConfigError: when it can't be read.
        """
        return load_certificates(self._files.ca.certificate, self._files.ca.setting("CERT"))[0]

    def key(self) -> PrivateKey:
        """The next key, of the same kind as the current one; made when there is none.

        :raises ConfigError: when it can't be written or read.
        """
        coming = self._files.next
        if not coming.key.exists():
            made = generate_private_key(key_name(describe_spki(self.current().spki_der)))
            write_new(coming.key, private_key_pem(made, coming.passphrase).encode("ascii"), PRIVATE_FILE)
        return load_key(coming.key, coming.setting("KEY"), coming.passphrase, self._permissions, self._warn)

    def request(self) -> Path:
        """The PKCS#10 of the next key, for a root that is kept elsewhere.

        :raises ConfigError: when it can't be written.
        """
        if not self._files.request.exists():
            made = ca_request(self.key(), self.current().subject_der)
            write_new(self._files.request, pem("CERTIFICATE REQUEST", made).encode("ascii"), PUBLIC_FILE)
        return self._files.request

    def certify(self, root: RootFiles, days: int | None, crl_base: str | None) -> None:
        """Have the root's key, which is here, sign the next certificate.

        :param days: its validity; ``None``: as long as the current one's.
        :param crl_base: where the root's CRL is served, as ``[CA] public_url`` names it.
        :raises ConfigError: when the root's key can't be used.
        """
        if self._files.next.certificate.exists():
            return
        if root.key is None or not root.key.exists():
            raise ConfigError(
                "[CA] ROOT_KEY_PATH: the root's key is not here; use --csr-only, have the root sign that request, and "
                "come back with --certificate"
            )
        root_key = load_key(root.key, "[CA] ROOT_KEY_PATH", root.passphrase, self._permissions, self._warn)
        issuer = load_certificates(root.certificate, "[CA] ROOT_CERT_PATH")[0]
        current = self.current()
        url = None if crl_base is None else f"{crl_base.rstrip('/')}/crl/{issuer.key_identifier.hex()}.crl"
        days = days or max(1, (current.not_after - current.not_before).days)
        made = issuing_certificate(self.key(), current.subject_der, root_key, issuer, days, self._now, url)
        self._put(made, [issuer.der])

    def take(self, certificates: list[Certificate]) -> None:
        """Take the certificate that an offline root has signed, and those above it where they came along.

        :raises ConfigError: when it is not for the next key.
        """
        coming = self._files.next
        if not coming.key.exists():
            raise ConfigError(f"{coming.key} does not exist; make it with `pikachu ca rotate {coming.name} --csr-only`")
        if not public_key_matches(self.key(), certificates[0].spki_der):
            raise ConfigError(f"the certificate is not for the key {coming.key}")
        above = certificates[1:]
        if coming.root is not None:
            above = [*above, *load_certificates(coming.root, "[CA] ROOT_CERT_PATH")]
        if not coming.certificate.exists():
            self._put(certificates[0].der, [one.der for one in above])

    def _put(self, certificate: bytes, above: list[bytes]) -> None:
        """The chain first: a certificate tells that the generation has all it needs."""
        coming = self._files.next
        if coming.chain is not None:
            coming.chain.unlink(missing_ok=True)
            content = certificates_pem(dict.fromkeys((certificate, *above)))
            write_new(coming.chain, content.encode("ascii"), PUBLIC_FILE)
        write_new(coming.certificate, certificates_pem([certificate]).encode("ascii"), PUBLIC_FILE)

    def load(self) -> FileCA:
        """The next generation, checked as at a start; what does not pass is removed, the key is kept.

        :raises ConfigError: one line that says what is wrong.
        """
        coming = self._files.next
        try:
            return load_file_ca(coming, self._permissions, self._now, self._warn)
        except ConfigError:
            coming.certificate.unlink(missing_ok=True)
            raise

    def announce(self, switch_at: datetime) -> None:
        """Tell everybody of the next generation and of the date.

        :raises ConfigError: when a switch has begun.
        """
        with locked(self._files):
            found = self._files.announced()
            if found is not None and found.former is not None:
                raise ConfigError(f"the switch of {self._files.ca.name} has begun; start the server to complete it")
            self._files.announce(Announcement(switch_at))


def ca_request(key: PrivateKey, subject_der: bytes) -> bytes:
    """The DER PKCS#10 of an issuing CA: basicConstraints with pathlen 0 and keyUsage are asked for (RFC 2986)."""
    described = describe_private_key(key)
    algorithm = signature_algorithm(described).der
    wanted = encode_extensions(
        (
            Extension(BASIC_CONSTRAINTS, True, der.sequence(der.boolean(True), der.integer(0))),
            Extension(KEY_USAGE, True, der.named_bits((DIGITAL_SIGNATURE, KEY_CERT_SIGN, CRL_SIGN))),
        )
    )
    attributes = der.explicit(0, der.sequence(der.oid(EXTENSION_REQUEST), der.set_of([wanted])))
    info = der.sequence(der.integer(0), subject_der, described.spki, attributes)
    return assemble(info, algorithm, sign_now(key, info))
