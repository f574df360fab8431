"""The generations of issuing CAs in files: those before, the current one, and the one to come (VLT-4).

Loaded at start; a running server looks again and again, since another process may have announced a generation or
switched to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pikachu.ca.bootstrap import PUBLIC_FILE, write_new
from pikachu.ca.issuance import CertificateAuthority, IssuanceRequest, IssuingCA, IssuingCAs
from pikachu.ca.rotation import RotationFiles, complete
from pikachu.core.concurrency import start
from pikachu.core.errors import ConfigError, PikachuError
from pikachu.core.interfaces import IClock, IIssuanceStore, IWorkerPool
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.policies import Policy
from pikachu.core.model.requests import NewRequest
from pikachu.core.model.times import utc
from pikachu.signers.files import CAFiles, FileCA, load_certificates, load_file_ca
from pikachu.signers.key import KeySigner, rsa_decrypter
from pikachu.x509 import der
from pikachu.x509.certificate import BASIC_CONSTRAINTS, CRL_SIGN, KEY_CERT_SIGN, KEY_USAGE, SUBJECT_KEY_IDENTIFIER
from pikachu.x509.extension import Extension
from pikachu.x509.names import parse_name
from pikachu.x509.pem import certificates_pem
from pikachu.x509.profile import authority_key_identifier

log = Logger()

Warn: TypeAlias = Callable[[str], None]
_Stamp: TypeAlias = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is in service of one issuing CA: a scan loads what is not."""

    stamp: _Stamp | None
    in_service: frozenset[bytes]


@dataclass(slots=True)
class _Scan:
    """What the files of one issuing CA hold.

    :ivar current: the key identifier of the current generation; ``None`` when nothing has changed.
    :ivar next: the key identifier of the announced one, where there is one.
    :ivar loaded: the generations that are not in service yet, by key identifier.
    :ivar warnings: what the files' reader has to tell.
    :ivar error: why the files can't be used.
    """

    stamp: _Stamp | None = None
    current: bytes | None = None
    next: bytes | None = None
    loaded: dict[bytes, IssuingCA] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None


class Generations:
    """Keeps the issuing CAs in step with their files.

    :param files: of the current generations, by name.
    :param permissions: of key files: ``refuse`` or ``warn``.
    :param pool: where signatures are made.
    :param watching: where a running server reads the files: locks, key derivation and the database block there.
    """

    def __init__(
        self,
        files: Mapping[str, CAFiles],
        permissions: str,
        store: IIssuanceStore,
        pool: IWorkerPool,
        watching: IWorkerPool,
        clock: IClock,
        warn: Warn,
    ) -> None:
        self._files = {name: RotationFiles(one) for name, one in files.items()}
        self._permissions = permissions
        self._store = store
        self._pool = pool
        self._watching = watching
        self._clock = clock
        self._warn = warn
        self._stamps: dict[str, _Stamp] = {}
        self._failed: dict[str, str] = {}

    def files(self, name: str) -> RotationFiles | None:
        """Where the generations of that issuing CA lie."""
        return self._files.get(name)

    # --- loading ------------------------------------------------------------------------

    def load(self) -> dict[str, IssuingCA]:
        """The current ones, after switches that are due or were begun were completed.

        :raises ConfigError: one line.
        """
        found = {}
        for name, files in self._files.items():
            try:
                complete(files, self._permissions, utc(self._clock.seconds()), self._warn)
            except ConfigError as error:
                # What was begun leaves files that don't belong together; that is told when they are loaded.
                self._warn(str(error))
            found[name] = self._issuer(files.ca, self._warn, files.links)
        return found

    def _issuer(self, files: CAFiles, warn: Warn, links: Path | None = None) -> IssuingCA:
        loaded = load_file_ca(files, self._permissions, utc(self._clock.seconds()), warn)
        return self._of(files.name, loaded, links)

    def _of(self, name: str, loaded: FileCA, links: Path | None) -> IssuingCA:
        now = utc(self._clock.seconds())
        certificate = loaded.certificate
        chain = tuple(one.der for one in loaded.chain)
        record = self._store.register_issuer(name, certificate.key_identifier, certificate.der, now)
        issuer = IssuingCA(
            record,
            KeySigner(loaded.private_key, certificate.der, chain, self._pool),
            rsa_decrypter(loaded.private_key, certificate.der, self._pool),
        )
        if links is not None and links.exists():
            found = load_certificates(links, str(links))
            issuer.rollover = tuple(one.der for one in found if one.not_after > now)
        return issuer

    def add_others(self, issuers: IssuingCAs) -> None:
        """At start: former generations, until their own end, and those that are announced.

        One that can't be used is warned of, and the rest is in service.
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

    # --- watching -----------------------------------------------------------------------

    def update(self, issuers: IssuingCAs) -> Deferred[None]:
        """Switch where that is due, and take over what another process has changed; *issuers* tells its subscribers.

        Fails with Overloaded.
        """
        return start(self._update(issuers))

    async def _update(self, issuers: IssuingCAs) -> None:
        for name, files in self._files.items():
            in_service = frozenset(issuer.key_identifier for issuer in issuers.all())
            scan = await self._watching.run(self._scan, files, _Known(self._stamps.get(name), in_service))
            for warning in scan.warnings:
                self._warn(warning)
            if scan.error is not None:
                # It will fail again at the next look: told once.
                if self._failed.get(name) != scan.error:
                    self._failed[name] = scan.error
                    self._warn(scan.error)
                continue
            self._failed.pop(name, None)
            if scan.stamp is not None and scan.current is not None:
                self._take_over(name, scan.current, scan, issuers)
                self._stamps[name] = scan.stamp

    def _scan(self, files: RotationFiles, known: _Known) -> _Scan:
        """Read the files, in a thread.  Nobody waits for the lock of another process: the next look comes soon."""
        scan = _Scan()
        stamp = known.stamp
        try:
            complete(files, self._permissions, utc(self._clock.seconds()), scan.warnings.append, wait=False)
            # Before the files are read: what changes after that is looked at again.
            stamp = _stamp(files)
            announced = files.announced()
            if stamp == known.stamp or (announced is not None and announced.former is not None):
                # Nothing is new, or another process is about to replace the files.
                return scan
            self._scan_former(files, known, scan)
            scan.current = self._load_unknown(files.ca, known, scan, files.links)
            if announced is not None:
                scan.next = self._load_unknown(files.next, known, scan, files.next_links)
            scan.stamp = stamp
        except (PikachuError, ConfigError) as error:
            # Files that were replaced while they were read don't belong together.
            if stamp == _stamp(files):
                scan.error = error.public if isinstance(error, PikachuError) else str(error)
        return scan

    def _scan_former(self, files: RotationFiles, known: _Known, scan: _Scan) -> None:
        """Two switches between two looks leave a former generation that was never in service here."""
        now = utc(self._clock.seconds())
        for former in files.former():
            try:
                if load_certificates(former.certificate, str(former.certificate))[0].not_after > now:
                    self._load_unknown(former, known, scan)
            except ConfigError as error:
                scan.warnings.append(f"a former generation of {former.name} is not in service: {error}")

    def _load_unknown(self, files: CAFiles, known: _Known, scan: _Scan, links: Path | None = None) -> bytes:
        """The key identifier of the generation in *files*, which is loaded unless it is in service."""
        identifier = load_certificates(files.certificate, files.setting("CERT"))[0].key_identifier
        if identifier not in known.in_service and identifier not in scan.loaded:
            scan.loaded[identifier] = self._issuer(files, scan.warnings.append, links)
        return identifier

    @staticmethod
    def _take_over(name: str, current: bytes, scan: _Scan, issuers: IssuingCAs) -> None:
        for identifier, issuer in scan.loaded.items():
            if identifier not in (current, scan.next):
                issuers.add_other(issuer)
                log.info("The former generation {ski} of {name} is in service", ski=identifier.hex(), name=name)
        promoted = issuers.by_key_identifier(current) or scan.loaded[current]
        if promoted is not issuers.named(name):
            issuers.switch_to(promoted)
            log.info("The generation {ski} of {name} signs now", ski=current.hex(), name=name)
        if scan.next is None:
            return
        following = issuers.by_key_identifier(scan.next) or scan.loaded[scan.next]
        if following not in (issuers.next(name), promoted):
            issuers.add_next(following)
            log.info("The generation {ski} of {name} is announced", ski=scan.next.hex(), name=name)

    # --- roll-over certificates ---------------------------------------------------------

    def link(self, authority: CertificateAuthority, name: str, coming: FileCA) -> Deferred[None]:
        """Make the certificates with which old and new key vouch for each other (RFC 4210 section 4.4, RFC 7030
        section 4.1.3): who trusts one generation alone comes to trust the other.

        They have the CA's own name as issuer and subject, so its path length does not count them.
        """

        async def work() -> None:
            files = self._files[name]
            if files.next_links.exists():
                return
            # Not announced yet: that is for the server to do, when all files of the generation are there.
            old, new = authority.issuers.named(name), self._of(name, coming, None)
            made = [await _link(authority, signing, about) for signing, about in ((old, new), (new, old))]
            write_new(files.next_links, certificates_pem(made).encode("ascii"), PUBLIC_FILE)

        return start(work())


async def _link(authority: CertificateAuthority, signing: IssuingCA, about: IssuingCA) -> bytes:
    """The key of *about* certified by *signing*; it goes the way of every certificate."""
    own = about.certificate
    extensions = (
        Extension(BASIC_CONSTRAINTS, True, der.sequence(der.boolean(True), der.integer(0))),
        Extension(KEY_USAGE, True, der.named_bits((KEY_CERT_SIGN, CRL_SIGN))),
        Extension(SUBJECT_KEY_IDENTIFIER, False, der.octet_string(own.key_identifier)),
        authority_key_identifier(signing.certificate),
    )
    days = max(1, (own.not_after - authority.now()).days)
    policy = Policy(0, "CA", days, "")
    subject = parse_name(own.subject_der)
    request = NewRequest(
        method=Method.CA,
        csr=b"",
        subject=subject.text,
        key_type=about.key.text,
        key_id=about.key.key_id,
        policy=policy.name,
        issuer=signing.name,
        principal=SYSTEM.name,
        owner_id=None,
        created_at=authority.now(),
    )
    # Internal: path lengths don't count self-issued certificates (RFC 5280 section 4.2.1.9).
    order = IssuanceRequest(signing, policy, subject, about.key, extensions, days, False, b"", internal=True)
    told = {"subject": subject.text, "for": "rotation"}
    return (await authority.issue(request, order, told)).der


def _stamp(files: RotationFiles) -> _Stamp:
    """Changes when the current certificate or the announcement does."""
    return tuple(_one_stamp(path) for path in (files.ca.certificate, files.announcement))


def _one_stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
