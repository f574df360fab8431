"""Housekeeping that administrators start (OPS-6): one run at a time, with its progress and result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.permissions import require_scope
from pikachu.core.errors import Conflict, PikachuError
from pikachu.core.interfaces import IClock
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.operations.housekeeping import Housekeeping, HousekeepingItem

log = Logger()


@dataclass(frozen=True, slots=True)
class HousekeepingRun:
    """A run.

    :param removes: whether it removes what it finds; else it is a dry run.
    :param items: the kinds that are done.
    :param seconds: the duration; ``None`` while it is active.
    :param failure: the reason why it has ended early, or empty.
    """

    actor: str
    begun_at: datetime
    removes: bool
    items: tuple[HousekeepingItem, ...] = ()
    seconds: float | None = None
    failure: str = ""

    @property
    def count(self) -> int:
        """Return the number of objects that were found or removed."""
        return sum(item.old.count for item in self.items)


class HousekeepingRuns:
    """Starts runs for administrators, and has the last one."""

    def __init__(self, *, housekeeping: Housekeeping, clock: IClock) -> None:
        self._housekeeping = housekeeping
        self._clock = clock
        self._last: HousekeepingRun | None = None

    def last(self, actor: Principal) -> HousekeepingRun | None:
        """Return the active run, or the last one since the start of the server.

        :raises NotAuthorized: unless the actor is an administrator.
        """
        require_scope(actor, Scope.ADMIN)
        return self._last

    def begin(self, actor: Principal, *, remove: bool) -> HousekeepingRun:
        """Start a run, and return it; an active one of the same kind is joined.

        :raises NotAuthorized: unless the actor is an administrator.
        :raises Conflict: while a run of the other kind is active.
        """
        require_scope(actor, Scope.ADMIN)
        last = self._last
        if last is not None and last.seconds is None:
            if last.removes != remove:
                raise Conflict("Housekeeping is running. Wait for its end.")
            return last
        begun = self._clock.seconds()
        run = self._last = HousekeepingRun(actor.name, utc(begun), remove)
        work = self._housekeeping.clean if remove else self._housekeeping.plan
        work(actor, self._progress).addErrback(self._failed).addBoth(self._ended, begun)
        return self._last or run

    def _progress(self, item: HousekeepingItem) -> None:
        assert self._last is not None  # noqa: S101 - a run has begun
        self._last = replace(self._last, items=(*self._last.items, item))

    def _failed(self, failure: Failure) -> None:
        assert self._last is not None  # noqa: S101 - a run has begun
        error = failure.value
        if not isinstance(error, PikachuError):
            log.failure("Housekeeping failed", failure)
        public = error.public if isinstance(error, PikachuError) else "Internal error. The log has its cause."
        self._last = replace(self._last, failure=public)

    def _ended(self, _: object, begun: float) -> None:
        assert self._last is not None  # noqa: S101 - a run has begun
        self._last = replace(self._last, seconds=self._clock.seconds() - begun)
