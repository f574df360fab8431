"""Publishes CRLs and revocations to an MQTT broker (MQT-2; docs/mqtt.md, docs/adr/0044).

Revocations are numbered in the database and stay there until the broker has confirmed them; CRLs are published again
with each connection.  So neither an outage of the broker nor the end of this process loses anything.  One node at a
time is connected; another one takes over, and may repeat what was not confirmed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.logger import Logger

from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.ca.leadership import IsLeader
from pikachu.ca.service_certificates import REVOCATION_MESSAGES, ServiceCertificates
from pikachu.core.concurrency import start
from pikachu.core.errors import BrokerUnavailable, IssuerRevoked, PikachuError
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.certificates import StatusChange
from pikachu.core.model.revocation_messages import RevocationMessage
from pikachu.core.model.times import utc
from pikachu.core.revocation_message_interfaces import IBroker
from pikachu.messaging.mqtt.messages import (
    CRLReference,
    Kind,
    base_topic,
    encode_reference,
    prepare_revocation,
)
from pikachu.va.crl_files import PublishedCRL
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.x509.crl import parse_crl_summary
from pikachu.x509.profile import Addresses

log = Logger()

#: Seconds between two looks for what is left to publish, and between attempts after a failure.
TEND_SECONDS: Final = 5.0
# Revocations that are sent before the first of them is confirmed.
_WINDOW: Final = 50
# Seconds between two looks for generations whose certificates have all expired.
_RETIREMENT_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class BrokerPublisherSettings:
    """Settings of the publication.

    :param max_crl_size: bytes; of a larger CRL, and of one that the broker does not accept, its address is published.
    :param public_url: where CRLs are downloaded; without it, larger ones are not published.
    """

    topic_prefix: str
    max_crl_size: int
    public_url: str | None


class BrokerPublisher:
    """Keeps a broker up to date while this node leads.

    :param crls: publishes the CRLs elsewhere, and says when.
    :param pool: reads CRLs.
    :ivar published: how many messages the broker has confirmed, by kind.
    :ivar failed: how often messages could not be published, by kind.
    """

    def __init__(
        self,
        *,
        clock: IClock,
        store: IStore,
        issuers: IssuingCAs,
        credentials: ServiceCertificates,
        crls: CRLPublisher,
        broker: IBroker,
        pool: IWorkerPool,
        settings: BrokerPublisherSettings,
        is_leader: IsLeader,
    ) -> None:
        self._clock = clock
        self._store = store
        self._issuers = issuers
        self._credentials = credentials
        self._crls = crls
        self._broker = broker
        self._pool = pool
        self._settings = settings
        self._is_leader = is_leader
        self._running: Deferred[None] = succeed(None)
        self._is_wanted = False
        self._stopped = False
        # The issuing CAs whose newest CRL the broker lacks.
        self._changed_crls: set[int] = set()
        # Those whose CRL could not be published at the last attempt.
        self._postponed: set[int] = set()
        self._retired: set[int] = set()
        self._retirement_checked = float("-inf")
        # By what could not be published.
        self._problems: dict[str, str] = {}
        self.published: Counter[str] = Counter({kind.value: 0 for kind in Kind})
        self.failed: Counter[str] = Counter({kind.value: 0 for kind in Kind})

    # --- events -------------------------------------------------------------------------------

    def changed(self, _changes: list[StatusChange]) -> None:
        """Publish revocations that were committed here or by another node."""
        self.wake()

    def crl_published(self, issuer: IssuingCA, _crl: PublishedCRL) -> None:
        """Publish a new CRL."""
        self._changed_crls.add(issuer.id)
        self.wake()

    def generation_changed(self, _issuer: IssuingCA) -> None:
        """Publish the CRLs of new generations, and look for retired ones."""
        self._connected()

    def _connected(self) -> None:
        """Publish all CRLs: the broker may have lost what it retained, or may be another one."""
        self._changed_crls.update(issuer.id for issuer in self._issuers.all())
        self._retirement_checked = float("-inf")
        self.wake()

    def wake(self) -> None:
        """Publish what is left, now or once more after the work under way."""
        self._is_wanted = True
        if self._running.called and not self._stopped:
            self._running = start(self._run())

    async def tend(self) -> None:
        """Look for what is left: called every :data:`TEND_SECONDS`."""
        self.wake()

    def stop(self) -> Deferred[None]:
        """Disconnect; fires when nothing is under way.  Never fails."""
        self._stopped = True

        async def work() -> None:
            await self._broker.stop()
            await self._running

        return start(work())

    # --- state --------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether this node is connected with the broker."""
        return self._broker.is_connected

    @property
    def connections(self) -> int:
        """How many connections the broker has accepted."""
        return self._broker.connections

    def outstanding(self) -> Deferred[int]:
        """Return how many numbered revocations no broker has confirmed; fails with StoreUnavailable."""
        return self._store.count_outstanding_revocations()

    def problem(self) -> str | None:
        """Return what is wrong, for people, or None; another node's connection is its own to report."""
        if not self._is_leader():
            return None
        if not self._broker.is_connected:
            return f"{self._broker.problem} Revocations are published when it is back."
        return next(iter(self._problems.values()), None)

    # --- work ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        while self._is_wanted and not self._stopped:
            self._is_wanted = False
            try:
                await self._publish_all()
            except PikachuError as error:
                self._note("the database", error)
            except Exception:  # noqa: BLE001 - the next look tries again
                log.failure("Publishing to the MQTT broker failed")

    async def _publish_all(self) -> None:
        if not self._is_leader():
            await self._broker.stop()
            return
        self._broker.start(self._connected)
        if not self._broker.is_connected:
            return
        while await self._store.number_revocations():
            pass
        await self._clear_retired()
        issuers = [issuer for issuer in self._issuers.all() if issuer.id not in self._retired]
        for issuer in issuers:
            await self._attempt(f"The revocations of {issuer.name}", Kind.REVOKED, self._send_revocations(issuer))
        # One that the broker has ended the connection for must not keep it from the others.
        for issuer in sorted(issuers, key=lambda one: one.id in self._postponed):
            if issuer.id in self._changed_crls and self._broker.is_connected:
                self._postponed.add(issuer.id)
                await self._attempt(f"The CRL of {issuer.name}", Kind.CRL, self._send_crl(issuer))
                if issuer.id not in self._changed_crls:
                    self._postponed.discard(issuer.id)
        self._problems.pop("the database", None)

    async def _attempt(self, what: str, kind: Kind, work: Coroutine[Any, Any, None]) -> None:
        """Publish something; its failure holds up nothing else, and is logged when it is another one."""
        try:
            await work
        except PikachuError as error:
            self.failed[kind.value] += 1
            if self._broker.is_connected or not isinstance(error, BrokerUnavailable):
                self._note(what, error)
        else:
            if self._problems.pop(what, None) is not None:
                log.info("MQTT: {what} could be published again", what=what)

    def _note(self, what: str, error: PikachuError) -> None:
        text = f"{what} can't be published to the MQTT broker: {error.public}"
        if self._problems.get(what) != text and not self._stopped:
            log.error("{problem} {context}", problem=text, context=error.context)
        self._problems[what] = text

    async def _send(self, topic: str, kind: Kind, payloads: Iterable[bytes], *, retain: bool) -> None:
        """Publish messages in order, and wait until all are confirmed.

        :raises BrokerUnavailable: when one is not.
        """
        sent = [self._broker.publish(topic, payload, retain=retain) for payload in payloads]
        try:
            await gatherResults(sent, consumeErrors=True)
        except FirstError as first:
            error = first.subFailure.value
            if isinstance(error, PikachuError):
                raise error from None
            raise
        self.published[kind.value] += len(sent)

    def _base(self, issuer: IssuingCA) -> str:
        return base_topic(self._settings.topic_prefix, issuer.name, issuer.key_identifier)

    # --- revocations --------------------------------------------------------------------------

    async def _send_revocations(self, issuer: IssuingCA) -> None:
        topic = f"{self._base(issuer)}/{Kind.REVOKED}"
        while messages := await self._store.outstanding_revocations(issuer.id, _WINDOW):
            try:
                payloads = [await self._sign(issuer, message) for message in messages]
            except IssuerRevoked:
                # It issues no certificate for its messages any more, and its CRL has them.
                log.warn("MQTT: revocations of {ca}, which is revoked, are only on its CRL", ca=issuer.name)
            else:
                await self._send(topic, Kind.REVOKED, payloads, retain=False)
            await self._store.confirm_revocations(issuer.id, messages[-1].seq)

    async def _sign(self, issuer: IssuingCA, message: RevocationMessage) -> bytes:
        credential = await self._credentials.get(issuer, REVOCATION_MESSAGES)
        signer, now = credential.signer, utc(self._clock.seconds())
        unsigned = prepare_revocation(message, signer.certificate, signer.algorithm, now)
        return unsigned.assemble(await signer.sign(unsigned.to_be_signed))

    # --- CRLs ---------------------------------------------------------------------------------

    async def _send_crl(self, issuer: IssuingCA) -> None:
        crl = self._crls.newest(issuer)
        if crl is None:
            # At the start the broker may be there before the CRLs that were published have been read.
            return
        self._changed_crls.discard(issuer.id)
        base = self._base(issuer)
        try:
            addresses = Addresses.under(self._settings.public_url, issuer.certificate)
            url = None if addresses is None else addresses.crl
            limit = min(self._settings.max_crl_size, self._broker.max_payload(f"{base}/{Kind.CRL}"))
            kind, payload = await self._pool.run(_read_crl, crl.der_path, limit, url)
            # Stored first: a topic that may have a message is cleared one day.
            await self._store.set_retained_topic(issuer.id, base)
            await self._send(f"{base}/{kind}", kind, (payload,), retain=True)
            other = Kind.CRL_REFERENCE if kind is Kind.CRL else Kind.CRL
            await self._send(f"{base}/{other}", other, (b"",), retain=True)
        except PikachuError:
            self._changed_crls.add(issuer.id)
            raise
        except OSError as error:
            self._changed_crls.add(issuer.id)
            raise BrokerUnavailable("the CRL can't be read", error=str(error)) from error

    # --- retired generations ------------------------------------------------------------------

    async def _clear_retired(self) -> None:
        """Clear the topics of generations whose certificates have all expired, and those of a former prefix."""
        now = self._clock.seconds()
        if 0 <= now - self._retirement_checked < _RETIREMENT_SECONDS:
            return
        self._retired = {issuer.id for issuer in self._issuers.all() if await self._is_retired(issuer, int(now))}
        for issuer_id, topic in (await self._store.retained_topics()).items():
            issuer = self._issuers.by_id(issuer_id)
            if issuer is not None and issuer_id not in self._retired and topic == self._base(issuer):
                continue
            await self._send(f"{topic}/{Kind.CRL}", Kind.CRL, (b"",), retain=True)
            await self._send(f"{topic}/{Kind.CRL_REFERENCE}", Kind.CRL_REFERENCE, (b"",), retain=True)
            await self._store.set_retained_topic(issuer_id, "")
            log.info("MQTT: cleared {topic}", topic=topic)
        self._retirement_checked = now

    async def _is_retired(self, issuer: IssuingCA, now: int) -> bool:
        if issuer.certificate.not_after.timestamp() <= now:
            return True
        current = self._issuers.current.get(issuer.name)
        # The root has no other generation; an announced one has issued nothing yet.
        if current is None or current is issuer or self._issuers.next(issuer.name) is issuer:
            return False
        return not await self._store.has_unexpired(issuer.id, now)


def _read_crl(path: Path, limit: int, url: str | None) -> tuple[Kind, bytes]:
    """Return a CRL, or a reference to one of more than *limit* bytes; blocks.

    :raises OSError: it can't be read.
    :raises BrokerUnavailable: it is too large, and there is no address for it.
    """
    data = path.read_bytes()
    if len(data) <= limit:
        return Kind.CRL, data
    if url is None:
        raise BrokerUnavailable(
            f"it has {len(data)} bytes, more than {limit}, which [MQTT] max_crl_size or the broker permits. Set [CA] "
            "public_url, so that its address can be published, or a larger size"
        )
    summary = parse_crl_summary(data)
    digest = hashlib.sha256(data).hexdigest()
    next_update = summary.next_update or summary.this_update
    return Kind.CRL_REFERENCE, encode_reference(CRLReference(url, digest, summary.number or 0, next_update))
