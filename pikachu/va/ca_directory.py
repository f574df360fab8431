"""The CAs, their generations and their CRLs, with the access rules for them.

CA certificates and CRLs are public; only administrators may publish a CRL or upload that of an offline root.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pikachu.auth.permissions import require_scope
from pikachu.ca.generations import Generations
from pikachu.ca.infrastructure import ROOT
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.ca.offline import OfflineCAs
from pikachu.core.audit import event_by
from pikachu.core.audit_interfaces import IAuditStore
from pikachu.core.cache import BoundedCache
from pikachu.core.concurrency import start, uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, NotFound, RequestError, StoreUnavailable
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.va.crl_files import DELTA, PublishedCRL
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.x509.certificate import Certificate, names_match, parse_certificate
from pikachu.x509.crl import parse_crl_summary
from pikachu.x509.crl_verification import decode_crl
from pikachu.x509.names import read_name
from pikachu.x509.spki import describe_spki
from pikachu.x509.text.crl import crl_text

log = Logger()
T = TypeVar("T")

#: Maximum number of CRL entries shown decoded.
DECODED_ENTRIES: Final = 100
_MAX_TEXTS: Final = 16


_REVOKED_USES: Final = ("its own CRL and OCSP answers; no certificates, since it was revoked",)


class Generation(StrEnum):
    """The position of a key among the generations of its CA."""

    CURRENT = "current"
    NEXT = "next"
    FORMER = "former"
    ROOT = "root"
    ABOVE = "above"


@dataclass(frozen=True, slots=True)
class CA:
    """An issuing CA or a CA above it: one key with its certificate.

    :ivar name: ``ec``, ``rsa``, ``mldsa`` or ``root``; the key identifier for any other CA above the issuing CAs.
    :ivar address: the segment for this key in URL paths: *name* for the current key, otherwise its key identifier.
    :ivar chain: DER certificates, from this CA to the root.
    :ivar default: whether it issues new certificates when nothing else selects a CA.
    :ivar makes_crls: whether its key is on this server.
    :ivar switch_at: when the next generation becomes the current one.
    :ivar revoked_at: when its certificate was revoked.
    :ivar work: the current uses of its key, as text.
    """

    name: str
    address: str
    generation: Generation
    certificate: Certificate
    chain: tuple[bytes, ...]
    default: bool
    makes_crls: bool
    switch_at: datetime | None
    work: tuple[str, ...]
    revoked_at: datetime | None = None

    @property
    def subject(self) -> str:
        """The subject as RFC 4514 text."""
        return read_name(self.certificate.subject_der).text

    @property
    def issuer(self) -> str:
        """The issuer as RFC 4514 text."""
        return read_name(self.certificate.issuer_der).text

    @property
    def key(self) -> str:
        """The key type."""
        return describe_spki(self.certificate.spki_der).text

    @property
    def key_identifier(self) -> str:
        """The subjectKeyIdentifier in hex."""
        return self.certificate.key_identifier.hex()


@dataclass(frozen=True, slots=True)
class CRLState:
    """A CA and its newest CRL.

    :ivar crl: ``None`` when none has been published yet.
    :ivar responder_until: the end of the OCSP responder that is installed for a CA whose key is elsewhere.
    :ivar parts: its delta CRL (``delta``) and its sharded CRLs (their numbers).
    """

    ca: CA
    crl: PublishedCRL | None
    responder_until: datetime | None = None
    parts: Mapping[str, PublishedCRL] = field(default_factory=dict)

    @property
    def delta(self) -> PublishedCRL | None:
        """The newest delta CRL."""
        return self.parts.get(DELTA)

    @property
    def shards(self) -> dict[str, PublishedCRL]:
        """The newest sharded CRLs by number."""
        return {part: crl for part, crl in self.parts.items() if part != DELTA}


class CADirectory:
    """The directory of all CAs and their CRLs.

    :param root: the root certificate of all issuing CAs, if known.
    :param scep_ca: the name of the issuing CA that SCEP uses; ``None`` when SCEP is off.
    """

    def __init__(
        self,
        *,
        store: IAuditStore,
        issuers: IssuingCAs,
        generations: Generations,
        publisher: CRLPublisher,
        root: Certificate | None,
        pool: IWorkerPool,
        clock: IClock,
        offline: OfflineCAs,
        scep_ca: str | None,
    ) -> None:
        self._store = store
        self._issuers = issuers
        self._generations = generations
        self._publisher = publisher
        self._root = root
        self._pool = pool
        self._clock = clock
        self._offline = offline
        self._scep_ca = scep_ca
        self._known: dict[bytes, PublishedCRL] = {}
        self._texts: BoundedCache[str, str] = BoundedCache(_MAX_TEXTS)

    # --- CAs ------------------------------------------------------------------------------

    def all(self) -> list[CA]:
        """Return every generation of every issuing CA, the default CA first, then the CAs above them."""
        issuing = [self._describe_issuer(issuer) for issuer in self._issuers.all() if issuer.name != ROOT]
        order = list(Generation)
        issuing.sort(key=lambda ca: (not ca.default, ca.name, order.index(ca.generation), ca.certificate.not_before))
        return [*issuing, *self._parents()]

    def one(self, address: str) -> CA:
        """Return the CA of that name (its current key) or key identifier.

        :raises NotFound: when there is none.
        """
        for ca in self.all():
            if address in (ca.address, ca.key_identifier):
                return ca
        raise NotFound("there is no CA of that name")

    def _describe_issuer(self, issuer: IssuingCA) -> CA:
        name = issuer.name
        is_current = self._issuers.current.get(name) is issuer
        is_next = self._issuers.next(name) is issuer
        generation = Generation.CURRENT if is_current else Generation.NEXT if is_next else Generation.FORMER
        switch_at = None
        if is_next:
            files = self._generations.files(name)
            announced = None if files is None else files.announced()
            switch_at = None if announced is None else announced.switch_at
        default = issuer is self._issuers.default
        return CA(
            name,
            name if is_current else issuer.key_identifier.hex(),
            generation,
            issuer.certificate,
            issuer.chain,
            default,
            True,
            switch_at,
            self._uses(name, generation, default=default) if issuer.revoked_at is None else _REVOKED_USES,
            issuer.revoked_at,
        )

    def _uses(self, name: str, generation: Generation, *, default: bool) -> tuple[str, ...]:
        if generation is Generation.NEXT:
            return ("its own CRL and OCSP answers; certificates from the switch on",)
        if generation is Generation.FORMER:
            return ("its own CRL and OCSP answers, until the last of its certificates has expired",)
        policies = "names no CA" if default else f"names the CA {name}"
        uses = [f"certificates under every policy that {policies}"]
        if name == self._scep_ca:
            uses.append("what is enrolled by SCEP, unless the policy names another CA")
        return (*uses, "its own CRL and OCSP answers")

    def _parents(self) -> list[CA]:
        cas: dict[bytes, CA] = {}
        for issuer in self._issuers.all():
            for index, der in enumerate(issuer.chain):
                certificate = parse_certificate(der)
                if index == 0 and issuer.name != ROOT:
                    continue
                identifier = certificate.key_identifier
                has_key = self._issuers.by_key_identifier(identifier) is not None
                is_root = self._root is not None and self._root.key_identifier == identifier
                name = ROOT if is_root else identifier.hex()
                work = ("the certificates of the issuing CAs", "its own CRL" if has_key else "its own CRL, elsewhere")
                cas.setdefault(
                    identifier,
                    CA(
                        name,
                        name,
                        Generation.ROOT if certificate.self_issued else Generation.ABOVE,
                        self._root if is_root and self._root is not None else certificate,
                        issuer.chain[index:],
                        False,
                        has_key,
                        None,
                        work,
                    ),
                )
        return list(cas.values())

    # --- CRLs -----------------------------------------------------------------------------

    def crls(self) -> Deferred[list[CRLState]]:
        """Return every CA with its newest CRL; fails with StoreUnavailable."""

        async def work() -> list[CRLState]:
            return [await self._crl_state(ca) for ca in self.all()]

        return start(work())

    def crl(self, address: str) -> Deferred[CRLState]:
        """Return one CA with its newest CRL; fails with NotFound and StoreUnavailable."""

        async def work() -> CRLState:
            return await self._crl_state(self.one(address))

        return start(work())

    async def _crl_state(self, ca: CA) -> CRLState:
        identifier = ca.certificate.key_identifier
        issuer = self._issuers.by_key_identifier(identifier)
        known = self._known.get(identifier)
        if issuer is not None:
            with suppress(NotFound):
                known = self._publisher.published(issuer)
        try:
            newest = await self._pool.run(self._publisher.folder.newest, ca.certificate, known)
        except OSError as error:
            raise StoreUnavailable(f"the CRL can't be read: {error.strerror}", error=str(error)) from error
        except RequestError as error:
            log.warn("The file of the CRL of {ca} is not a valid CRL: {error}", ca=ca.name, error=error.public)
            newest = None
        if newest is not None:
            self._known[identifier] = newest
        return CRLState(ca, newest, await self._responder_until(identifier), self._parts(issuer))

    def _parts(self, issuer: IssuingCA | None) -> dict[str, PublishedCRL]:
        return {} if issuer is None else self._publisher.parts.published(issuer)

    async def _responder_until(self, key_identifier: bytes) -> datetime | None:
        for ca in self._offline.all():
            if ca.key_identifier == key_identifier:
                responder = await self._offline.responder(ca)
                return None if responder is None else responder.not_after
        return None

    def crl_text(self, address: str) -> Deferred[str]:
        """Return a CA's newest CRL decoded, up to :data:`DECODED_ENTRIES`; fails with NotFound and StoreUnavailable."""

        def read(crl: PublishedCRL) -> str:
            return crl_text(crl.der_path.read_bytes(), DECODED_ENTRIES)

        async def work() -> str:
            state = await self.crl(address)
            etag = "" if state.crl is None else state.crl.etag
            text = self._texts.get(etag)
            if text is None:
                text = await self._read_crl(state, read)
                self._texts.put(etag, text)
            return text

        return start(work())

    def crl_pem(self, state: CRLState, max_size: int) -> Deferred[str | None]:
        """Return the PEM of a CA's newest CRL, or None when it exceeds *max_size* bytes.

        Fails with NotFound and StoreUnavailable.
        """

        def read(crl: PublishedCRL) -> str | None:
            return None if crl.pem_path.stat().st_size > max_size else crl.pem_path.read_text("ascii")

        return self._read_crl(state, read)

    def _read_crl(self, state: CRLState, read: Callable[[PublishedCRL], T]) -> Deferred[T]:
        async def work() -> T:
            if state.crl is None:
                raise NotFound("this CA has published no CRL yet")
            try:
                return await self._pool.run(read, state.crl)
            except OSError as error:
                raise StoreUnavailable(f"the CRL can't be read: {error.strerror}", error=str(error)) from error

        return start(work())

    @uncancelled
    async def make_crl(self, actor: Principal, address: str) -> CRLState:
        """Publish a CRL of a CA now; for administrators.

        Fails with NotFound, with Conflict when the CA's key is not on this server, with SignerUnavailable and
        StoreUnavailable.
        """
        require_scope(actor, Scope.ADMIN)
        ca = self.one(address)
        issuer = self._issuers.by_key_identifier(ca.certificate.key_identifier)
        if issuer is None:
            raise Conflict("the key of this CA is elsewhere; make the CRL there, and upload it here")
        published = await self._publisher.make(issuer)
        event = event_by(
            actor,
            "create",
            "CRL",
            ca.key_identifier,
            None,
            issuer=ca.name,
            number=published.number,
            entries=published.entries,
        )
        await self._store.add_event(event, utc(self._clock.seconds()))
        return CRLState(ca, published, parts=self._parts(issuer))

    @uncancelled
    async def upload_crl(self, actor: Principal, data: bytes, address: str | None = None) -> CRLState:
        """Publish an uploaded CRL of a CA whose key is not on this server; for administrators.

        :param data: DER or PEM.
        :param address: the address of the expected CA; ``None`` accepts any CA.
        :return: fails as :meth:`pikachu.va.crl_publisher.CRLPublisher.upload` does.
        """
        require_scope(actor, Scope.ADMIN)
        expected = None if address is None else self.one(address)
        if expected is not None and expected.makes_crls:
            raise Conflict("this CA's CRL is issued here")
        if expected is not None:
            summary = await self._pool.run(lambda: parse_crl_summary(decode_crl(data)))
            if not names_match(summary.issuer_der, expected.certificate.subject_der):
                raise MalformedRequest("this is another CA's CRL")
        published = await self._publisher.uploads.upload(actor, data)
        ca = self.one(published.der_path.stem)
        self._known[ca.certificate.key_identifier] = published
        return CRLState(ca, published)
