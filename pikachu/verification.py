"""Looking through the whole audit chain (AUD-3) for an admin: one look at a time, which may take minutes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.permissions import require_scope
from pikachu.errors import Conflict, PikachuError
from pikachu.interfaces import IClock, IStore
from pikachu.model import Principal, Scope, utc

log = Logger()


@dataclass(frozen=True, slots=True)
class Look:
    """A look through the chain.

    :param looked_at: events so far.
    :param seconds: how long it took; ``None`` while it goes on.
    :param wrong: what is wrong with the chain; empty when nothing is.
    :param failure: why it was not looked through to the end; empty when it was.
    """

    actor: str
    begun_at: datetime
    looked_at: int = 0
    seconds: float | None = None
    wrong: str = ""
    failure: str = ""


class ChainVerification:
    """Begins looks, and keeps what the last one has found."""

    def __init__(self, store: IStore, clock: IClock) -> None:
        self._store = store
        self._clock = clock
        self._last: Look | None = None

    def last(self, actor: Principal) -> Look | None:
        """The look that goes on, or the last one since the server began.

        :raises NotAuthorized: for all but admins.
        """
        require_scope(actor, Scope.ADMIN)
        return self._last

    def begin(self, actor: Principal) -> bool:
        """Look through the chain, unless somebody does already; whether a look has begun.

        :raises NotAuthorized: for all but admins.
        """
        require_scope(actor, Scope.ADMIN)
        if self._last is not None and self._last.seconds is None:
            return False
        begun = self._clock.seconds()
        self._last = Look(actor.name, utc(begun))
        self._store.verify_events(self._progress).addCallbacks(self._intact, self._broken).addBoth(self._ended, begun)
        return True

    def _progress(self, looked_at: int) -> None:
        """Called in another thread: one assignment, which no reader sees half done."""
        if self._last is not None:
            self._last = replace(self._last, looked_at=looked_at)

    def _intact(self, count: int) -> None:
        self._progress(count)

    def _broken(self, failure: Failure) -> None:
        assert self._last is not None  # noqa: S101 - a look has begun
        error = failure.value
        if isinstance(error, Conflict):
            log.critical("{error}", error=error.public)
            self._last = replace(self._last, wrong=error.public)
            return
        if not isinstance(error, PikachuError):
            log.failure("looking through the audit chain", failure)
        public = error.public if isinstance(error, PikachuError) else "an internal error; see the log"
        self._last = replace(self._last, failure=public)

    def _ended(self, _: object, begun: float) -> None:
        assert self._last is not None  # noqa: S101 - a look has begun
        self._last = replace(self._last, seconds=self._clock.seconds() - begun)
        log.info("The audit chain was looked through: {count} events", count=self._last.looked_at)
