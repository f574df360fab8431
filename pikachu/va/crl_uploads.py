"""CRLs of CAs above the issuing CAs whose keys are not on this server; administrators upload them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.permissions import require_scope
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.audit import event_by
from pikachu.core.concurrency import start
from pikachu.core.errors import Conflict, MalformedRequest, PikachuError, StoreUnavailable
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.people import SYSTEM, Principal, Scope
from pikachu.core.model.times import utc
from pikachu.va.crl_bundles import CRLBundles
from pikachu.va.crl_files import CRLFolder, PublishedCRL
from pikachu.va.crl_sharing import SharedCRLs
from pikachu.x509.certificate import Certificate, names_match, parse_certificate
from pikachu.x509.crl import parse_crl_summary
from pikachu.x509.crl_verification import decode_crl

log = Logger()


class UploadedCRLs:
    """Accepts uploaded CRLs, and publishes them in the folder of all CRLs.

    :param shared: the CRLs that nodes share; ``None`` on a database with one server.
    """

    def __init__(
        self,
        store: IStore,
        issuers: IssuingCAs,
        folder: CRLFolder,
        bundles: CRLBundles,
        pool: IWorkerPool,
        clock: IClock,
        shared: SharedCRLs | None,
    ) -> None:
        self._store = store
        self._issuers = issuers
        self._folder = folder
        self._bundles = bundles
        self._pool = pool
        self._clock = clock
        self._shared = shared
        self._subscribers: list[Callable[[Principal, bytes, bytes], Awaitable[None]]] = []

    def subscribe(self, subscriber: Callable[[Principal, bytes, bytes], Awaitable[None]]) -> None:
        """Await *subscriber*, with actor, key identifier and DER, for each uploaded CRL."""
        self._subscribers.append(subscriber)

    def cas(self) -> list[Certificate]:
        """Return the CAs above the issuing CAs whose key is not on this server."""
        certificates: dict[bytes, Certificate] = {}
        for issuer in self._issuers.all():
            for der in issuer.chain[1:]:
                certificate = parse_certificate(der)
                if self._issuers.by_key_identifier(certificate.key_identifier) is None:
                    certificates[certificate.key_identifier] = certificate
        return list(certificates.values())

    async def apply_published(self) -> None:
        """Apply the CRLs that an earlier version published."""
        for ca in self.cas():
            try:
                crl = await self._pool.run(self._folder.read, ca)
                if crl is not None:
                    await self._apply(SYSTEM, crl)
            except (OSError, PikachuError) as error:
                log.warn("The CRL of {ca} was not applied: {error}", ca=ca.key_identifier.hex(), error=str(error))

    def upload(self, actor: Principal, data: bytes) -> Deferred[PublishedCRL]:
        """Publish an administrator's upload, with an audit event; fails as :meth:`accept`, or NotAuthorized."""

        async def work() -> PublishedCRL:
            require_scope(actor, Scope.ADMIN)
            published = await self.accept(data)
            await self._apply(actor, published)
            event = event_by(
                actor,
                "upload",
                "CRL",
                published.der_path.stem,
                None,
                number=published.number,
                entries=published.entries,
            )
            await self._store.add_event(event, utc(self._clock.seconds()))
            log.info("CRL {number} was uploaded by {actor}", number=published.number, actor=actor.name)
            return published

        return start(work())

    async def _apply(self, actor: Principal, crl: PublishedCRL) -> None:
        data = await self._pool.run(crl.der_path.read_bytes)
        for subscriber in self._subscribers:
            await subscriber(actor, bytes.fromhex(crl.der_path.stem), data)

    def accept(self, data: bytes) -> Deferred[PublishedCRL]:
        """Publish an uploaded CRL of an offline root or another CA above the issuing CAs.

        :param data: DER or PEM.
        :return: fails with MalformedRequest when it is not a current full CRL of such a CA, with Conflict when a newer
            one is published or the CA's key is on this server, and with StoreUnavailable.
        """

        async def work() -> PublishedCRL:
            der = decode_crl(data)
            published = await self._publish(der)
            if self._shared is not None:
                await self._shared.offer(bytes.fromhex(published.der_path.stem), der)
            return published

        return start(work())

    async def follow(self, key_identifier: bytes, der: bytes) -> None:
        """Publish the CRL of a CA that was uploaded to another node; fails with StoreUnavailable."""
        if any(ca.key_identifier == key_identifier for ca in self.cas()):
            try:
                await self._publish(der)
            except (Conflict, MalformedRequest) as error:
                # A newer one is here, or this one has expired.
                log.debug("An uploaded CRL was not taken: {error}", error=error.public)

    def _publish(self, der: bytes) -> Deferred[PublishedCRL]:
        def publish() -> PublishedCRL:
            subject = parse_crl_summary(der).issuer_der
            candidates = [ca for ca in self.cas() if names_match(ca.subject_der, subject)]
            if not candidates:
                if any(names_match(issuer.certificate.subject_der, subject) for issuer in self._issuers.all()):
                    raise Conflict("this CA's CRL is issued here")
                raise MalformedRequest("no CA above the issuing CAs has made this CRL")
            refusal: PikachuError | None = None
            for ca in candidates:
                try:
                    return self._folder.take_upload(der, ca, utc(self._clock.seconds()), self._bundles.of_upload(ca))
                except MalformedRequest as error:
                    refusal = error
            raise refusal or MalformedRequest("no CA above the issuing CAs has made this CRL")

        def unwritable(failure: Failure) -> Failure:
            error = failure.value
            if isinstance(error, OSError):
                raise StoreUnavailable(f"the CRL can't be written: {error.strerror}", error=str(error)) from error
            return failure

        return self._pool.run(publish).addErrback(unwritable)
