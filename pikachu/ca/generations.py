"""The former, current and announced generations of issuing CAs in files (VLT-4).

They are loaded at start; a running server polls the files, since another process may announce a generation or switch
to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from pikachu.ca.bootstrap import PUBLIC_FILE, write_new
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.ca.rotation import RotationFiles, complete
from pikachu.core.concurrency import start
from pikachu.core.errors import ConfigError, PikachuError
from pikachu.core.interfaces import IClock, IIssuanceStore, IWorkerPool
from pikachu.core.model.certificates import Infrastructure
from pikachu.core.model.times import utc
from pikachu.signers.ca_keys import CAKeys
from pikachu.signers.files import CAFiles, FileCA, load_certificates, load_file_ca
from pikachu.signers.key import KeySigner, rsa_decrypter
from pikachu.signers.vault.pki_engine import PKIEngines, PKISigner
from pikachu.x509 import der
from pikachu.x509.certificate import (
    BASIC_CONSTRAINTS,
    CRL_SIGN,
    KEY_CERT_SIGN,
    KEY_USAGE,
    SUBJECT_KEY_IDENTIFIER,
    Certificate,
)
from pikachu.x509.extension import Extension
from pikachu.x509.pem import certificates_pem
from pikachu.x509.profile import Addresses, authority_key_identifier

log = Logger()

Warn: TypeAlias = Callable[[str], None]
_Stamp: TypeAlias = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class _KnownGenerations:
    """The certificates of one issuing CA's generations in service; a scan loads only others."""

    stamp: _Stamp | None
    in_service: frozenset[bytes]


@dataclass(slots=True)
class _Scan:
    """The result of scanning the files of one issuing CA.

    :ivar current: the key identifier of the current generation; ``None`` when nothing has changed.
    :ivar next: the key identifier of the announced generation, if any.
    :ivar loaded: the generations not in service yet, by key identifier.
    :ivar warnings: the warnings from loading the files.
    :ivar error: the reason why the files can't be used, or ``None``.
    """

    stamp: _Stamp | None = None
    current: bytes | None = None
    next: bytes | None = None
    loaded: dict[bytes, IssuingCA] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None


class Generations:
    """Synchronizes the issuing CAs with their files.

    :param files: the files of the current generations, by name.
    :param keys: loads the keys.
    :param pool: the pool for signatures with keys in files.
    :param engines: what builds the certificates of issuing CAs; ``None``: they are built here.
    :param watching: the pool in which a running server reads the files; locks, key derivation and the database block.
    """

    def __init__(
        self,
        files: Mapping[str, CAFiles],
        keys: CAKeys,
        store: IIssuanceStore,
        pool: IWorkerPool,
        watching: IWorkerPool,
        clock: IClock,
        warn: Warn,
        *,
        engines: PKIEngines | None = None,
    ) -> None:
        self._files = {name: RotationFiles(one) for name, one in files.items()}
        self._keys = keys
        self._store = store
        self._pool = pool
        self._watching = watching
        self._clock = clock
        self._warn = warn
        self._engines = engines
        self._stamps: dict[str, _Stamp] = {}
        self._failed: dict[str, str] = {}

    def files(self, name: str) -> RotationFiles | None:
        """Return the files of that issuing CA's generations, or None."""
        return self._files.get(name)

    @property
    def failures(self) -> Mapping[str, str]:
        """Why changed files of an issuing CA can't be used, by its name; the messages contain paths."""
        return dict(self._failed)

    # --- loading ------------------------------------------------------------------------

    def load(self) -> dict[str, IssuingCA]:
        """Complete pending switches and return the current generations by name.

        :raises ConfigError: with a one-line reason.
        """
        current = {}
        for name, files in self._files.items():
            try:
                complete(files, self._keys, utc(self._clock.seconds()), self._warn)
            except ConfigError as error:
                # An incomplete switch leaves files that don't match; loading them reports that.
                self._warn(str(error))
            current[name] = self._issuer(files.ca, self._warn, files.links)
        return current

    def _issuer(self, files: CAFiles, warn: Warn, links: Path | None = None) -> IssuingCA:
        loaded = load_file_ca(files, self._keys, utc(self._clock.seconds()), warn)
        return self._create_issuer(files.name, loaded, links)

    def _create_issuer(self, name: str, loaded: FileCA, links: Path | None) -> IssuingCA:
        now = utc(self._clock.seconds())
        certificate = loaded.certificate
        chain = tuple(one.der for one in loaded.chain)
        record = self._store.register_issuer(name, certificate.key_identifier, certificate.der, now)
        key, engine = loaded.private_key, None
        if self._engines is not None:
            engine = self._engines.engine(name, certificate.der)
        if engine is None:
            signer = KeySigner(key, certificate.der, chain, self._pool)
        else:
            signer = PKISigner(key, certificate.der, chain, self._pool, engine)
        issuer = IssuingCA(record, signer, rsa_decrypter(key, certificate.der, self._pool), engine)
        if links is not None and links.exists():
            rollover = load_certificates(links, str(links))
            issuer.rollover = tuple(one.der for one in rollover if one.not_after > now)
        return issuer

    def add_others(self, issuers: IssuingCAs) -> None:
        """Add unexpired former and announced generations at start.

        A generation that can't be used is logged as a warning and skipped.
        """
        now = utc(self._clock.seconds())
        for name, files in self._files.items():
            for former in files.former():
                try:
                    if load_certificates(former.certificate, str(former.certificate))[0].not_after > now:
                        issuers.add_other(self._issuer(former, self._warn))
                except ConfigError as error:
                    self._warn(f"a former generation of {name} is not in service: {error}")
            try:
                if files.announced() is not None:
                    issuers.add_next(self._issuer(files.next, self._warn, files.next_links))
            except ConfigError as error:
                self._warn(f"the next generation of {name} is not announced: {error}")
            self._stamps[name] = _stamp(files)

    def certificates(self) -> Iterator[tuple[Infrastructure, Certificate]]:
        """Yield the certificates in the files of all generations, expired ones too, with their roles.

        Files that are missing or can't be read are left out: loading them reports that.
        """
        for files in self._files.values():
            former = files.former()
            suffixes = [one.certificate.name.removeprefix(files.ca.certificate.name) for one in former]
            for ca in (files.ca, files.next, *former):
                for certificate in _readable(ca.certificate)[:1]:
                    yield Infrastructure.ISSUING_CA, certificate
            links = [files.links.with_name(files.links.name + suffix) for suffix in suffixes]
            for path in (files.links, files.next_links, *links):
                for certificate in _readable(path):
                    yield Infrastructure.ROLLOVER, certificate

    # --- watching -----------------------------------------------------------------------

    def update(self, issuers: IssuingCAs) -> Deferred[None]:
        """Complete due switches and adopt the changes of other processes; *issuers* notifies its subscribers.

        Fails with Overloaded.
        """
        return start(self._update(issuers))

    async def _update(self, issuers: IssuingCAs) -> None:
        for name, files in self._files.items():
            in_service = frozenset(issuer.certificate.der for issuer in issuers.all())
            scan = await self._watching.run(self._scan, files, _KnownGenerations(self._stamps.get(name), in_service))
            for warning in scan.warnings:
                self._warn(warning)
            if scan.error is not None:
                # The next scans will fail alike, so the warning is logged once.
                if self._failed.get(name) != scan.error:
                    self._failed[name] = scan.error
                    self._warn(scan.error)
                continue
            self._failed.pop(name, None)
            if scan.stamp is not None and scan.current is not None:
                self._adopt(name, scan.current, scan, issuers)
                self._stamps[name] = scan.stamp

    def _scan(self, files: RotationFiles, known: _KnownGenerations) -> _Scan:
        """Read the files in a worker thread, without waiting for another process's lock: the next scan is soon."""
        scan = _Scan()
        stamp = known.stamp
        try:
            complete(files, self._keys, utc(self._clock.seconds()), scan.warnings.append, wait=False)
            # Before the files are read, so that later changes trigger another scan.
            stamp = _stamp(files)
            announced = files.announced()
            if stamp == known.stamp or (announced is not None and announced.former is not None):
                # Nothing has changed, or another process is about to replace the files.
                return scan
            self._scan_former(files, known, scan)
            scan.current = self._load_unknown(files.ca, known, scan, files.links)
            if announced is not None:
                scan.next = self._load_unknown(files.next, known, scan, files.next_links)
            scan.stamp = stamp
        except (PikachuError, ConfigError) as error:
            # Files that were replaced during the scan don't match; the next scan reads them again.
            if stamp == _stamp(files):
                scan.error = error.public if isinstance(error, PikachuError) else str(error)
        return scan

    def _scan_former(self, files: RotationFiles, known: _KnownGenerations, scan: _Scan) -> None:
        """Load former generations: two switches between two scans leave one that was never in service here."""
        now = utc(self._clock.seconds())
        for former in files.former():
            try:
                if load_certificates(former.certificate, str(former.certificate))[0].not_after > now:
                    self._load_unknown(former, known, scan)
            except ConfigError as error:
                scan.warnings.append(f"a former generation of {former.name} is not in service: {error}")

    def _load_unknown(self, files: CAFiles, known: _KnownGenerations, scan: _Scan, links: Path | None = None) -> bytes:
        """Return the key identifier of the generation in *files*; load it unless it is in service."""
        certificate = load_certificates(files.certificate, files.setting("CERT"))[0]
        identifier = certificate.key_identifier
        if certificate.der not in known.in_service and identifier not in scan.loaded:
            scan.loaded[identifier] = self._issuer(files, scan.warnings.append, links)
        return identifier

    @staticmethod
    def _adopt(name: str, current: bytes, scan: _Scan, issuers: IssuingCAs) -> None:
        for identifier, issuer in scan.loaded.items():
            if issuers.by_key_identifier(identifier) is not None:
                issuers.renew(issuer)
                log.info("The generation {ski} of {name} has a new certificate", ski=identifier.hex(), name=name)
            elif identifier not in (current, scan.next):
                issuers.add_other(issuer)
                log.info("The former generation {ski} of {name} is in service", ski=identifier.hex(), name=name)
        promoted = issuers.by_key_identifier(current) or scan.loaded[current]
        if promoted is not issuers.named(name):
            issuers.switch_to(promoted)
            log.info("The generation {ski} of {name} signs now", ski=current.hex(), name=name)
        if scan.next is None:
            if issuers.withdraw_next(name):
                log.info("The next generation of {name} is announced no more", name=name)
            return
        following = issuers.by_key_identifier(scan.next) or scan.loaded[scan.next]
        if following not in (issuers.next(name), promoted):
            issuers.add_next(following)
            log.info("The generation {ski} of {name} is announced", ski=scan.next.hex(), name=name)

    # --- engines ------------------------------------------------------------------------

    def install(self, name: str, ca: FileCA, public_url: str | None) -> Deferred[bool]:
        """Bring one generation into the engine that is to build its certificates, if there is one.

        :param public_url: the base of the addresses in its certificates; ``None`` leaves the engine's own.
        """
        if self._engines is None:
            return succeed(False)
        addresses = Addresses.under(public_url, ca.certificate)
        return self._engines.install(name, ca.private_key, [one.der for one in ca.chain], addresses)

    # --- roll-over certificates ---------------------------------------------------------

    def link(
        self, authority: CertificateAuthority, name: str, next_ca: FileCA, public_url: str | None
    ) -> Deferred[None]:
        """Issue the roll-over certificates, by which the old and the new key certify each other.

        A client that trusts one generation can then verify the other (RFC 4210 section 4.4, RFC 7030 section 4.1.3).
        They are self-issued, so path lengths do not count them.  A revoked generation vouches for no other, and no
        other for it.

        :param public_url: the base of the addresses in them; ``None`` puts none in.
        """

        async def work() -> None:
            files = self._files[name]
            if files.next_links.exists():
                return
            # Not announced yet: the server does that once all files of the generation exist.
            old, new = authority.issuers.named(name), self._create_issuer(name, next_ca, None)
            if old.revoked_at is not None:
                return
            pairs = ((old, new), (new, old))
            certificates = [await _link(authority, signing, about, public_url) for signing, about in pairs]
            write_new(files.next_links, certificates_pem(certificates).encode("ascii"), PUBLIC_FILE)

        return start(work())


async def _link(
    authority: CertificateAuthority, signing: IssuingCA, subject_ca: IssuingCA, public_url: str | None
) -> bytes:
    """Return the key of *subject_ca* certified by *signing*, issued like every certificate."""
    certificate = subject_ca.certificate
    addresses = Addresses.under(public_url, signing.certificate)
    extensions = (
        Extension(BASIC_CONSTRAINTS, True, der.sequence(der.boolean(True), der.integer(0))),
        Extension(KEY_USAGE, True, der.named_bits((KEY_CERT_SIGN, CRL_SIGN))),
        Extension(SUBJECT_KEY_IDENTIFIER, False, der.octet_string(certificate.key_identifier)),
        authority_key_identifier(signing.certificate),
        *(() if addresses is None else addresses.extensions()),
    )
    days = max(1, (certificate.not_after - authority.now()).days)
    record = await authority.issue_service(
        signing, certificate.subject_der, subject_ca.key, extensions, days, Infrastructure.ROLLOVER
    )
    return record.der


def _readable(path: Path) -> list[Certificate]:
    with suppress(ConfigError):
        return load_certificates(path, "")
    return []


def _stamp(files: RotationFiles) -> _Stamp:
    """Return a stamp that changes when the current certificate or the announcement does."""
    return tuple(_file_stamp(path) for path in (files.ca.certificate, files.announcement))


def _file_stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
