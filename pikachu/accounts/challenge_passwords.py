"""Challenge passwords: one-time passwords for devices (CHP-1).

Clients are authenticated by them in :mod:`pikachu.auth.authenticator`; the transactions of an issuance reserve and
consume them (:mod:`pikachu.storage.challenge_passwords`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pikachu.accounts.visibility import get_own_account
from pikachu.auth.authenticator import new_challenge
from pikachu.auth.permissions import get_visible, require_changeable, require_scope, scope_to_owner
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, errors_of
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import BoundNames, ChallengePassword, NewChallengePassword, Principal, Scope
from pikachu.core.model.times import rfc3339, utc
from pikachu.core.owners import require_usable
from pikachu.core.sealing import Sealer, challenge_row
from pikachu.x509.bound_names import read_bound_names

MAX_VALIDITY: Final = timedelta(days=366)
DEFAULT_VALIDITY: Final = timedelta(minutes=60)
MAX_LABEL: Final = 100
_KIND: Final = "challenge password"


@dataclass(frozen=True, slots=True)
class Purpose:
    """The purpose of a new challenge password.

    :param label: chosen by its owner, at most a hundred printable characters.
    :param subject: the only subject that can be enrolled with it, as people type it; ``None``: any.
    :param sans: the only subject alternative names, with or without a prefix.
    """

    label: str = ""
    subject: str | None = None
    sans: Sequence[str] = ()


ANY_PURPOSE: Final = Purpose()


class ChallengePasswords:
    """Creates, lists, reveals and deletes challenge passwords.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized where role or scope are
    insufficient, and with StoreUnavailable.  They run to their end even when their Deferred is cancelled.

    :param validity: the lifetime where the request names none.
    """

    def __init__(self, *, store: IStore, sealer: Sealer, clock: IClock, validity: timedelta = DEFAULT_VALIDITY) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._validity = validity

    @uncancelled
    async def create(
        self,
        actor: Principal,
        owner_id: int | None = None,
        validity: timedelta | None = None,
        purpose: Purpose = ANY_PURPOSE,
    ) -> tuple[ChallengePassword, str]:
        """Create a one-time password; return it and its text: 128 random bits as 32 upper-case hexadecimal digits.

        :param owner_id: owner of the objects that are enrolled with it; ``None``: the actor.  Others for admins only.
        :param validity: one second to 366 days; ``None``: the configured lifetime.

        Fails with NotFound, MalformedRequest, BadCSR for names that nobody may have, and Conflict when the owner is not
        active.
        """
        require_scope(actor, Scope.ENROLL)
        owner_id = actor.owner_id if owner_id is None else owner_id
        lifetime = self._validity if validity is None else validity
        if not timedelta(seconds=1) <= lifetime <= MAX_VALIDITY:
            raise MalformedRequest("a challenge password is valid for one second to 366 days", field="validity")
        label = checked_label(purpose.label)
        with errors_of("sans" if purpose.sans else "subject"):
            names = read_bound_names(purpose.subject, purpose.sans)
        if owner_id is not None:
            require_usable(await get_own_account(actor, self._store, owner_id), "challenge passwords")
        text, lookup = new_challenge(self._sealer)
        prefix, now = text[:8], self._now()

        def seal(row_id: int) -> bytes:
            return self._sealer.seal("challenge", text.encode(), challenge_row(row_id, prefix))

        expires_at = now + lifetime
        details = {"expires_at": rfc3339(expires_at), **purpose_details(label, names)}
        event = event_by(actor, "create", _KIND, prefix, owner_id, **details)
        challenge = NewChallengePassword(lookup, prefix, seal, owner_id, expires_at, label, names)
        return await self._store.add_challenge(challenge, event, now), text

    @uncancelled
    async def reveal(self, actor: Principal, challenge_id: int) -> str:
        """Return the text, for the owner and admins; an admin's look at another's is recorded.  Fails with NotFound."""
        challenge = await self._get(actor, challenge_id, Scope.ENROLL)
        require_changeable(actor, challenge, _KIND)
        text = self._sealer.open("challenge", challenge.sealed, challenge_row(challenge.id, challenge.prefix)).decode()
        if challenge.owner_id != actor.owner_id:
            details = purpose_details(challenge.label, challenge.names)
            event = event_by(actor, "view", _KIND, challenge.prefix, challenge.owner_id, **details)
            await self._store.add_event(event, self._now())
        return text

    @uncancelled
    async def get(self, actor: Principal, challenge_id: int) -> ChallengePassword:
        """Return one of one's own, or any for admins.  Fails with NotFound."""
        return await self._get(actor, challenge_id, Scope.READ)

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[ChallengePassword]:
        """Return a page of one's own; for admins of those of ``query.owner_id``, or of all."""
        return await self._store.challenges(scope_to_owner(actor, query), self._now())

    @uncancelled
    async def delete(self, actor: Principal, challenge_id: int) -> None:
        """Delete a challenge password.  Fails with NotFound, and Conflict while a request reserves it."""

        def decide(challenge: ChallengePassword) -> Event:
            require_changeable(actor, challenge, _KIND)
            if challenge.reserved_by is not None and challenge.consumed_at is None:
                raise Conflict("a request that waits holds this challenge password; reject the request first")
            details = purpose_details(challenge.label, challenge.names)
            return event_by(actor, "delete", _KIND, challenge.prefix, challenge.owner_id, **details)

        require_scope(actor, Scope.ENROLL)
        await self._store.delete_challenge(challenge_id, decide, self._now())

    @uncancelled
    async def delete_expired(self, actor: Principal, *, everybody: bool = False) -> int:
        """Delete one's own that have expired, or with *everybody* (admins only) all; return their number."""
        require_scope(actor, Scope.ADMIN if everybody else Scope.ENROLL)
        # No account has the id 0, and the program itself owns nothing.
        owner_id = None if everybody else actor.owner_id or 0
        event = event_by(actor, "delete", _KIND, "all expired", owner_id)
        return await self._store.delete_expired_challenges(owner_id, event, self._now())

    async def _get(self, actor: Principal, challenge_id: int, scope: Scope) -> ChallengePassword:
        require_scope(actor, scope)
        return await get_visible(actor, self._store.challenge(challenge_id), _KIND)

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def checked_label(label: str) -> str:
    """Return a label without spaces around it.

    :raises MalformedRequest: it is too long or has characters that can't be shown.
    """
    text = label.strip()
    if len(text) > MAX_LABEL or not text.isprintable():
        raise MalformedRequest(f"Enter a label of at most {MAX_LABEL} printable characters.", field="label")
    return text


def purpose_details(label: str, names: BoundNames | None) -> dict[str, object]:
    """Return the details of events about a challenge password that is for one purpose."""
    details: dict[str, object] = {"label": label} if label else {}
    if names is not None:
        details |= {"subject": names.subject, "sans": list(names.sans)}
    return details
