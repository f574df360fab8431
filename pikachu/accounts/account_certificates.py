"""Revocation of the certificates of an account that is suspended or deleted."""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.ca.issuance import CertificateAuthority
from pikachu.core.concurrency import start, uncancelled
from pikachu.core.errors import UnknownSerial
from pikachu.core.interfaces import IClock, IDelayedCall, IStore
from pikachu.core.model.account_objects import OwnerRevocation
from pikachu.core.model.people import Principal, PrincipalKind

log = Logger()

#: Certificates that are revoked concurrently, each in its own transaction; up to this number, the caller waits.
BATCH: Final = 64
#: The greatest exact count.
MAX_COUNT: Final = 10_000
#: Delay before a failed order is retried, in seconds.
RETRY_SECONDS: Final = 30.0


class Holdings:
    """The certificates of accounts that are valid, or on hold: a release would make those valid again.

    Deleted ones are among them, since a deletion does not revoke.

    An order to revoke them is stored in the transaction of the suspension or deletion, and deleted when done.
    """

    def __init__(self, *, store: IStore, authority: CertificateAuthority, clock: IClock) -> None:
        self._store = store
        self._authority = authority
        self._clock = clock
        self._stopping = False
        self._running: list[Deferred[None]] = []
        self._retries: list[IDelayedCall] = []

    async def count(self, account_id: int) -> int:
        """Return how many certificates of an account can be revoked: exact to 10,000; 10,001 means more."""
        return await self._store.count_revocable(account_id, self._authority.now(), MAX_COUNT + 1)

    async def revoke(self, order: OwnerRevocation) -> None:
        """Carry out a stored order: at once when the account holds few certificates, else in the background.

        A failure is logged and retried: it does not fail the suspension or deletion.
        """
        few = await self.count(order.account_id) <= BATCH
        done = self._begin(order)
        if few:
            await done

    @uncancelled
    async def resume(self) -> None:
        """Resume the orders that an earlier run of the server left."""
        for order in await self._store.owner_revocations():
            self._begin(order)

    @uncancelled
    async def stop(self) -> None:
        """Start nothing more, and wait for writes in progress; the next start resumes the rest."""
        self._stopping = True
        for retry in self._retries:
            if retry.active():
                retry.cancel()
        await DeferredList(self._running)

    def _begin(self, order: OwnerRevocation) -> Deferred[None]:
        self._running = [one for one in self._running if not one.called]
        done = start(self._carry_out(order)).addErrback(self._failed, order)
        self._running.append(done)
        return done

    def _failed(self, failure: Failure, order: OwnerRevocation) -> None:
        log.error(
            "The certificates of account {account} are not all revoked; trying again: {error}",
            account=order.account_id,
            error=failure.getErrorMessage(),
        )
        if not self._stopping:
            self._retries = [one for one in self._retries if one.active()]
            self._retries.append(self._clock.callLater(RETRY_SECONDS, self._begin, order))

    async def _carry_out(self, order: OwnerRevocation) -> None:
        actor = Principal(PrincipalKind.ACCOUNT, order.actor, owner_id=order.actor_id)
        # Certificates that are being signed come first: each is listed below once it is stored, or its serial is
        # revoked before that.
        await self._revoke(await self._store.intended_serials(order.account_id), order, actor)
        after = revoked = 0
        while not self._stopping:
            rows = await self._store.revocable_serials(order.account_id, self._authority.now(), after, BATCH)
            await self._revoke([serial for _, serial in rows], order, actor)
            revoked += len(rows)
            if len(rows) < BATCH:
                await self._store.end_owner_revocation(order.account_id)
                log.info("Revoked {count} certificates of account {account}", count=revoked, account=order.account_id)
                return
            after = rows[-1][0]

    async def _revoke(self, serials: list[int], order: OwnerRevocation, actor: Principal) -> None:
        """Revoke each in its own transaction; concurrent ones are committed together."""
        revoking = [self._authority.revoke(serial, order.reason, actor) for serial in serials]
        for _, result in await DeferredList(revoking, consumeErrors=True):
            # The certificate of an intent may never have been made.
            if isinstance(result, Failure) and not result.check(UnknownSerial):
                result.raiseException()
