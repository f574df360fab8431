"""Agreement of this CA with certificate engines: lost certificates are found, revocations passed on.

An engine picks serial numbers, so a certificate that was signed just before a process or a connection died is known to
nobody here.  It is found among the engine's certificates that no row has, by key, subject and time of its intent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twisted.logger import Logger

from pikachu.ca.issuance import ABANDONED_AFTER, CertificateAuthority, check_built
from pikachu.ca.issuers import IssuingCA
from pikachu.core.cache import BoundedCache
from pikachu.core.engine_interfaces import ICertificateEngine
from pikachu.core.errors import Conflict, IssuanceFailed, NotFound, PikachuError
from pikachu.core.interfaces import IStore
from pikachu.core.model.certificates import RevocationReason, format_serial
from pikachu.core.model.events import Event
from pikachu.core.model.requests import RequestRecord, RequestState
from pikachu.x509.built import intended_like, is_of_intent

log = Logger()

#: Seconds between two runs.
RECOVERY_SECONDS: Final = 10.0
# Serial numbers that one query compares.
_COMPARED: Final = 500
# Certificates of a mount that are nobody's intents; each is read once.
_FOREIGN: Final = 100_000


class EngineRecovery:
    """Recovers certificates and passes on revocations; each step may be repeated.

    A run that is broken off begins anew: what it has completed is known, and what it has read is remembered.
    """

    def __init__(self, authority: CertificateAuthority, store: IStore) -> None:
        self._authority = authority
        self._store = store
        self._foreign: BoundedCache[tuple[str, int], bool] = BoundedCache(_FOREIGN)
        self._revoked: dict[str, frozenset[int]] = {}
        self._passed_on = 0
        self._is_checked = False

    @property
    def is_needed(self) -> bool:
        """Whether an issuing CA has an engine."""
        return bool(self._authority.issuers.engines())

    def _generations(self) -> dict[str, list[IssuingCA]]:
        """Return the generations of each issuing CA that have an engine, the current one first; they share it."""
        generations: dict[str, list[IssuingCA]] = {}
        for issuer in self._authority.issuers.all():
            if issuer.engine is not None:
                generations.setdefault(issuer.name, []).append(issuer)
        return generations

    async def run(self) -> None:
        """Find the certificates of uncertain intents, then pass on revocations; at first, check the engines too.

        :raises PikachuError: the engine or the database does not answer, or the engine can't be used as it is; the next
            run goes on.
        """
        await self._authority.find_uncertain()
        for name, generations in self._generations().items():
            await self._recover(name, generations)
        await self._pass_on()
        if not self._is_checked:
            for engine in self._authority.issuers.engines():
                await engine.check()
            self._is_checked = True

    # --- certificates -------------------------------------------------------------------

    async def _recover(self, name: str, generations: list[IssuingCA]) -> None:
        requests = await self._uncertain(name)
        engine = generations[0].engine
        if not requests or engine is None:
            return
        began = self._authority.now()
        intended = dict(await self._store.intended(list(requests)))
        after: int | None = None
        while intended and (page := await engine.serials(after)):
            for serial in await self._unknown(name, page):
                certificate = await engine.certificate(serial)
                found = None if certificate is None else _intent_of(certificate, intended, generations)
                if certificate is None or found is None:
                    self._foreign.put((name, serial), True)
                    continue
                request_id, issuer = found
                try:
                    await self._complete(requests[request_id], certificate, intended[request_id], issuer)
                except (Conflict, IssuanceFailed) as error:
                    log.error("A certificate of the engine is not stored: {error}", error=error.public)
                    self._foreign.put((name, serial), True)
                else:
                    del intended[request_id]
            after = page[-1]
        for request_id, request in requests.items():
            if request_id not in intended:
                self._authority.uncertain.discard(request_id)
            elif (request.decided_at or request.created_at) + ABANDONED_AFTER < began:
                # The engine would have answered a request of that time before the first page was read.
                await self._authority.abandon(request)
                self._authority.uncertain.discard(request_id)

    async def _uncertain(self, name: str) -> dict[int, RequestRecord]:
        found = {}
        for request_id in sorted(self._authority.uncertain):
            try:
                request = await self._store.request(request_id)
            except NotFound:
                request = None
            if request is None or request.state is not RequestState.ISSUING:
                self._authority.uncertain.discard(request_id)
            elif request.issuer == name and not self._authority.is_signing(request_id):
                found[request_id] = request
        return found

    async def _unknown(self, name: str, page: Sequence[int]) -> list[int]:
        unread = [serial for serial in page if not self._foreign.get((name, serial))]
        unknown: list[int] = []
        for start in range(0, len(unread), _COMPARED):
            some = unread[start : start + _COMPARED]
            known = await self._store.known_serials(some)
            unknown += [serial for serial in some if serial not in known]
        return unknown

    async def _complete(self, request: RequestRecord, certificate: bytes, tbs: bytes, issuer: IssuingCA) -> None:
        serial = format_serial(await self._authority.adopt(request.id, certificate, tbs, issuer))
        details = {
            "serial": serial,
            "subject": request.subject,
            "issuer": issuer.name,
            "issued_via": request.method.value,
            "recovered": True,
        }
        event = Event("create", "certificate", serial, request.principal, details, request.owner_id)
        await self._store.complete(request.id, certificate, request.method, event, self._authority.now())
        log.warn("Recovered {serial} for {subject} from the engine", serial=serial, subject=request.subject)

    # --- revocations --------------------------------------------------------------------

    async def _pass_on(self) -> None:
        """Revoke in the engines what is revoked here for good; holds are this CA's only."""
        engines = {
            issuer.id: (name, issuer.engine)
            for name, generations in self._generations().items()
            for issuer in generations
            if issuer.engine is not None
        }
        while engines and (changes := await self._store.changes_since(self._passed_on)):
            for change in changes:
                if change.issuer_id in engines:
                    await self._revoke(*engines[change.issuer_id], change.serial)
                self._passed_on = change.id

    async def _revoke(self, name: str, engine: ICertificateEngine, serial: int) -> None:
        if name not in self._revoked:
            self._revoked[name] = await engine.revoked_serials()
        if serial in self._revoked[name]:
            return
        try:
            record = await self._store.certificate_by_serial(serial, deleted=True)
        except NotFound:
            return
        is_final = record.revoked_at is not None and record.reason is not RevocationReason.CERTIFICATE_HOLD
        if not is_final or not record.der or record.not_after < self._authority.now():
            return
        if not await engine.revoke(record.der):
            log.error("The engine of {name} does not revoke {serial}", name=name, serial=format_serial(serial))


def _intent_of(
    certificate: bytes, intended: dict[int, bytes], generations: list[IssuingCA]
) -> tuple[int, IssuingCA] | None:
    """Return the request for which a certificate was made, and the generation that has issued it, or None."""
    for request_id, tbs in intended.items():
        try:
            built, wanted = intended_like(certificate, tbs)
        except PikachuError:
            return None
        if not is_of_intent(built, wanted):
            continue
        # A switch may have followed.
        issuer = next((one for one in generations if one.key_identifier == wanted.authority_key_identifier), None)
        if issuer is not None and check_built(certificate, tbs, issuer) is not None:
            return request_id, issuer
    return None
