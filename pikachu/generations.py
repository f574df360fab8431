"""The generations of issuing CAs in files: those before, the current one, and the one to come (VLT-4).

Loaded at start; a running server looks again and again, since another process may have announced a generation or
switched to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from twisted.internet.defer import Deferred

from pikachu.authority import CertificateAuthority, IssuingCA, IssuingCAs, Order
from pikachu.errors import ConfigError
from pikachu.founding import PUBLIC_FILE, write_new
from pikachu.interfaces import IClock, IIssuanceStore, IWorkerPool
from pikachu.model import SYSTEM, Method, NewRequest, Policy, utc
from pikachu.rotation import RotationFiles, complete
from pikachu.signers.files import CAFiles, FileCA, load_certificates, load_file_ca
from pikachu.signers.key import KeySigner, rsa_decrypter
from pikachu.threads import start
from pikachu.x509 import der
from pikachu.x509.certificate import (
    BASIC_CONSTRAINTS,
    CRL_SIGN,
    KEY_CERT_SIGN,
    KEY_USAGE,
    SUBJECT_KEY_IDENTIFIER,
)
from pikachu.x509.extension import Extension
from pikachu.x509.names import parse_name
from pikachu.x509.pem import certificates_pem
from pikachu.x509.profile import authority_key_identifier

Warn: TypeAlias = Callable[[str], None]
_Stamp: TypeAlias = tuple[tuple[int, int] | None, ...]


class Generations:
    """Keeps the issuing CAs in step with their files.

    :param files: of the current generations, by name.
    :param permissions: of key files: ``refuse`` or ``warn``.
    """

    def __init__(
        self,
        files: Mapping[str, CAFiles],
        permissions: str,
        store: IIssuanceStore,
        pool: IWorkerPool,
        clock: IClock,
        warn: Warn,
    ) -> None:
        self._files = {name: RotationFiles(one) for name, one in files.items()}
        self._permissions = permissions
        self._store = store
        self._pool = pool
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
            found[name] = self._issuer(files.ca, files.links)
        return found

    def _issuer(self, files: CAFiles, links: Path | None = None) -> IssuingCA:
        loaded = load_file_ca(files, self._permissions, utc(self._clock.seconds()), self._warn)
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
                        issuers.add_other(self._issuer(former))
                except ConfigError as error:
                    self._warn(f"a former generation of {name} is not in service: {error}")
            try:
                if files.announced() is not None:
                    issuers.announce(self._issuer(files.next, files.next_links))
            except ConfigError as error:
                self._warn(f"the next generation of {name} is not announced: {error}")
            self._stamps[name] = _stamp(files)

    # --- watching -----------------------------------------------------------------------

    def look(self, issuers: IssuingCAs) -> list[IssuingCA]:
        """Switch where that is due, and take over what another process has changed.  Blocks for milliseconds.

        :return: the generations that were announced or became the current ones.
        """
        changed = []
        for name, files in self._files.items():
            try:
                complete(files, self._permissions, utc(self._clock.seconds()), self._warn)
                stamp = _stamp(files)
                if stamp != self._stamps.get(name):
                    changed += self._take_over(name, files, issuers)
                    self._stamps[name] = stamp
                self._failed.pop(name, None)
            except ConfigError as error:
                # It will fail again in half a second: told once.
                if self._failed.get(name) != str(error):
                    self._failed[name] = str(error)
                    self._warn(str(error))
        return changed

    def _take_over(self, name: str, files: RotationFiles, issuers: IssuingCAs) -> list[IssuingCA]:
        current = load_certificates(files.ca.certificate, files.ca.setting("CERT"))[0]
        changed = []
        if current.key_identifier != issuers.named(name).key_identifier:
            promoted = issuers.by_key_identifier(current.key_identifier) or self._issuer(files.ca, files.links)
            issuers.promote(promoted)
            changed.append(promoted)
        if files.announced() is not None and issuers.coming(name) is None:
            coming = self._issuer(files.next, files.next_links)
            issuers.announce(coming)
            changed.append(coming)
        return changed

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
            old, new = authority.issuers.named(name), self._of(name, coming, None)
            authority.issuers.announce(new)
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
    order = Order(signing, policy, subject, about.key, extensions, days, False, b"", internal=True)
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
