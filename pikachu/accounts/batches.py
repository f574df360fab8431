"""Enrollment batches: challenge passwords for a list of names, created in the background (ENR-1)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.accounts.batch_names import read_batch_names
from pikachu.accounts.challenge_passwords import MAX_VALIDITY, checked_label
from pikachu.accounts.visibility import get_own_account
from pikachu.auth.authenticator import new_challenge
from pikachu.auth.permissions import Sphere, can_change, get_visible, require_changeable, require_scope, scope_to_owner
from pikachu.core.audit import event_by
from pikachu.core.concurrency import SingleFlight, uncancelled
from pikachu.core.errors import (
    MalformedRequest,
    NotAuthorized,
    NotFound,
    PikachuError,
    RequestError,
    Unavailable,
    errors_of,
)
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.batches import EnrollmentBatch, NewBatch
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import BoundNames, ChallengePassword, NewChallengePassword, Principal, Scope
from pikachu.core.model.times import rfc3339, utc
from pikachu.core.owners import require_usable
from pikachu.core.sealing import Sealer, challenge_row
from pikachu.ra.policies import PolicyResolver, require_role

log = Logger()

DEFAULT_VALIDITY: Final = timedelta(days=7)
#: Challenge passwords per transaction, so that issuance waits for one no longer than for a signature.
CHUNK: Final = 100
_KIND: Final = "batch"


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """A batch to create.

    :param policy: the name of the policy under which the names are enrolled.
    :param names: the list of names in CSV, as :func:`read_batch_names` reads it, with *attributes*.
    :param owner_id: the future owner of the certificates; ``None``: the actor.  Others for admins only.
    :param validity: the lifetime of the challenge passwords.
    """

    label: str
    policy: str
    names: str
    attributes: str = ""
    owner_id: int | None = None
    validity: timedelta = DEFAULT_VALIDITY


@dataclass(frozen=True, slots=True)
class BatchPassword:
    """A challenge password of a batch.

    :param text: empty for one that was used, is reserved or has expired.
    """

    challenge: ChallengePassword
    text: str


PasswordPages: TypeAlias = Callable[[ListQuery], Awaitable[Page[BatchPassword]]]


class EnrollmentBatches:
    """Creates, lists and ends batches, and creates their challenge passwords.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized where role or scope are
    insufficient, and with StoreUnavailable.  They run to their end even when their Deferred is cancelled.

    :param pool: reads lists of names, and opens sealed passwords.
    :param chunk: challenge passwords per transaction.
    """

    def __init__(
        self,
        *,
        store: IStore,
        sealer: Sealer,
        clock: IClock,
        policies: PolicyResolver,
        pool: IWorkerPool,
        chunk: int = CHUNK,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._policies = policies
        self._pool = pool
        self._chunk = chunk
        self._filling: SingleFlight[None] = SingleFlight()

    @uncancelled
    async def create(self, actor: Principal, order: BatchOrder) -> EnrollmentBatch:
        """Store a batch, and begin to create its challenge passwords.

        Fails with NotFound (owner, policy), MalformedRequest, Conflict when the owner is not active, and QuotaExceeded.
        """
        require_scope(actor, Scope.ENROLL)
        owner_id = actor.owner_id if order.owner_id is None else order.owner_id
        label = checked_label(order.label)
        if not label:
            raise MalformedRequest("Enter a label.", field="label")
        if not timedelta(seconds=1) <= order.validity <= MAX_VALIDITY:
            raise MalformedRequest("Enter a validity of one second to 366 days.", field="validity")
        role = actor.role
        if owner_id is not None:
            account = await get_own_account(actor, self._store, owner_id)
            require_usable(account, "enrollment batches")
            role = account.role
        with errors_of("policy"):
            policy = await self._policies.choose(Method.API, None, actor, order.policy)
        if not policy.system and (policy.owner_id is None or policy.owner_id != owner_id):
            raise NotFound(
                f"There is no policy named {order.policy!r} that the owner of the batch may use.", field="policy"
            )
        require_role(policy, role)
        with errors_of("names"):
            names = await self._pool.run(read_batch_names, order.names, order.attributes)
        now = self._now()
        expires_at = now + order.validity
        event = event_by(
            actor,
            "create",
            _KIND,
            label,
            owner_id,
            policy=policy.name,
            names=len(names),
            expires_at=rfc3339(expires_at),
        )
        submitted = json.dumps([order.names, order.attributes])
        new = NewBatch(label, policy.name, owner_id, expires_at, len(names), submitted)
        batch = await self._store.add_batch(new, event, now)
        self.fill().addErrback(_log_failure)
        return batch

    @uncancelled
    async def get(self, actor: Principal, batch_id: int) -> EnrollmentBatch:
        """Return one of one's own, or any for who sees all.  Fails with NotFound."""
        require_scope(actor, Scope.READ)
        return await get_visible(actor, self._store.batch(batch_id), _KIND, Sphere.ISSUANCE)

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[EnrollmentBatch]:
        """Return a page of one's own; for who sees all of those of ``query.owner_id``, or of all."""
        return await self._store.batches(scope_to_owner(actor, query, Sphere.ISSUANCE), self._now())

    @uncancelled
    async def end(self, actor: Principal, batch_id: int) -> EnrollmentBatch:
        """Let the unused challenge passwords of a batch expire.  Fails with NotFound, and Conflict if it was ended."""

        def decide(batch: EnrollmentBatch) -> Event:
            require_changeable(actor, batch, _KIND, Sphere.ISSUANCE)
            details = {"enrolled": batch.enrolled, "names": batch.total}
            return event_by(actor, "end", _KIND, batch.label, batch.owner_id, **details)

        require_scope(actor, Scope.ENROLL)
        return await self._store.end_batch(batch_id, decide, self._now())

    @uncancelled
    async def resume(self, actor: Principal, batch_id: int) -> None:
        """Create the missing challenge passwords of a batch.  Fails with NotFound, Conflict unless it has stopped."""
        require_scope(actor, Scope.ENROLL)
        batch = await get_visible(actor, self._store.batch(batch_id), _KIND, Sphere.ISSUANCE)
        require_changeable(actor, batch, _KIND, Sphere.ISSUANCE)
        event = event_by(actor, "update", _KIND, batch.label, batch.owner_id, resumed=True)
        await self._store.continue_batch(batch_id, event, self._now())
        self.fill().addErrback(_log_failure)

    @uncancelled
    async def names(self, actor: Principal, batch_id: int, query: ListQuery) -> Page[ChallengePassword]:
        """List the names of a batch with the state of their passwords; filters ``enrolled`` and ``status``."""
        require_scope(actor, Scope.READ)
        batch = await get_visible(actor, self._store.batch(batch_id), _KIND, Sphere.ISSUANCE)
        filters = {**query.filters, "batch": str(batch.id)}
        return await self._store.challenges(replace(query, owner_id=None, filters=filters), self._now())

    @uncancelled
    async def passwords(self, actor: Principal, batch_id: int) -> PasswordPages:
        """Return a function that returns pages of the batch's passwords with their texts, the oldest first.

        That an admin looks at another's is recorded, once.  Fails with NotFound, and with NotAuthorized for operators
        who don't own the batch.
        """
        require_scope(actor, Scope.ENROLL)
        batch = await get_visible(actor, self._store.batch(batch_id), _KIND, Sphere.ISSUANCE)
        if not can_change(actor, batch.owner_id):
            raise NotAuthorized("Only the owner of a batch and administrators can see its challenge passwords.")
        if batch.owner_id != actor.owner_id:
            event = event_by(actor, "view", _KIND, batch.label, batch.owner_id)
            await self._store.add_event(event, self._now())
        only = {"batch": str(batch.id)}

        async def page(query: ListQuery) -> Page[BatchPassword]:
            found = await self._store.challenges(replace(query, owner_id=None, filters=only), self._now())
            texts = await self._pool.run(self._texts, found.items, self._now())
            items = tuple(map(BatchPassword, found.items, texts))
            return Page(items, found.next_cursor, previous_cursor=found.previous_cursor, total=found.total)

        return page

    def _texts(self, challenges: Sequence[ChallengePassword], now: datetime) -> tuple[str, ...]:
        """Return the texts of those that can be used; called in the pool."""
        return tuple(self._text(one) if _is_available(one, now) else "" for one in challenges)

    def _text(self, challenge: ChallengePassword) -> str:
        row = challenge_row(challenge.id, challenge.prefix)
        return self._sealer.open("challenge", challenge.sealed, row).decode()

    # --- creating the challenge passwords ---------------------------------------------------

    def fill(self) -> Deferred[None]:
        """Create the challenge passwords that batches lack, also those of an earlier process.

        Several processes may do so at the same time.  Fails with Unavailable and Overloaded, after which it continues
        with the next call.
        """
        return self._filling.run(b"", self._fill_all)

    async def _fill_all(self) -> None:
        while unfinished := await self._store.unfinished_batches():
            for batch, submitted in unfinished:
                try:
                    await self._fill(batch, submitted)
                except Unavailable:
                    raise
                except RequestError as error:
                    log.warn("The batch {label} has stopped: {error}", label=batch.label, error=error.public)
                    await self._store.stop_batch(batch.id, error.public)

    async def _fill(self, batch: EnrollmentBatch, submitted: str) -> None:
        names = await self._pool.run(read_batch_names, *json.loads(submitted))
        for position in range(batch.created, len(names), self._chunk):
            chunk = [self._challenge(batch, one) for one in names[position : position + self._chunk]]
            if not await self._store.fill_batch(batch.id, position, chunk, self._now()):
                return

    def _challenge(self, batch: EnrollmentBatch, names: BoundNames) -> NewChallengePassword:
        text, lookup = new_challenge(self._sealer)
        prefix = text[:8]

        def seal(row_id: int) -> bytes:
            return self._sealer.seal("challenge", text.encode(), challenge_row(row_id, prefix))

        return NewChallengePassword(
            lookup,
            prefix,
            seal,
            batch.owner_id,
            batch.expires_at,
            batch.label,
            names,
            batch.policy,
            batch.id,
        )

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _is_available(challenge: ChallengePassword, now: datetime) -> bool:
    return challenge.consumed_at is None and challenge.reserved_by is None and challenge.expires_at > now


def _log_failure(failure: Failure) -> None:
    if failure.check(PikachuError):
        log.warn("Challenge passwords of batches are created later: {error}", error=failure.getErrorMessage())
    else:
        log.failure("Creating challenge passwords of batches failed", failure)
