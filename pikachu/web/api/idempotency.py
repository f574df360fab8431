"""Idempotency-Key: a repeated POST does nothing twice, and gets the answer that the first one got.

Keys are an account's own, live for 24 hours in this process's memory, and the oldest are forgotten first.  Issuing
certificates does not rely on this: the RA stores the key with the request, and knows it after a restart too.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from twisted.internet.defer import Deferred

from pikachu.core.concurrency import start
from pikachu.core.errors import Conflict, MalformedRequest
from pikachu.core.interfaces import IClock
from pikachu.web.api.routes import Answer
from pikachu.web.errors import HTTPProblem

LIFETIME: Final = 86400
MAXIMUM_KEYS: Final = 10_000
MAXIMUM_ANSWERS: Final = 32 * 1024 * 1024
_KEY: Final = re.compile("[!-~]{1,255}")

Key = tuple[int, str]


def checked_key(values: Sequence[bytes]) -> str | None:
    """The key in the header's values.

    :raises MalformedRequest: when there are several, or it is not 1 to 255 visible ASCII characters.
    """
    if not values:
        return None
    text = values[0].decode("latin-1").strip()
    if len(values) > 1 or not _KEY.fullmatch(text):
        raise MalformedRequest("Idempotency-Key is 1 to 255 visible ASCII characters, once")
    return text


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was answered; ``None``: it is not given twice."""

    fingerprint: bytes
    until: float
    answer: Answer | None

    @property
    def size(self) -> int:
        """Octets of the answer."""
        body = None if self.answer is None else self.answer.body
        return len(body) if isinstance(body, bytes) else 0


@dataclass(slots=True)
class _UnderWay:
    fingerprint: bytes
    waiting: list[Deferred[None]] = field(default_factory=list)


class IdempotencyCache:
    """Remembers what was answered to which key."""

    def __init__(self, clock: IClock, maximum: int = MAXIMUM_KEYS, maximum_octets: int = MAXIMUM_ANSWERS) -> None:
        self._clock = clock
        self._maximum = maximum
        self._maximum_octets = maximum_octets
        self._octets = 0
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._under_way: dict[Key, _UnderWay] = {}

    async def once(
        self, key: Key, fingerprint: bytes, work: Callable[[], Coroutine[Any, Any, Answer]], *, durable: bool
    ) -> Answer:
        """Do *work*, unless it was done for that key; while it is under way, wait for it.

        Once begun it goes on when the client hangs up, so that a repetition finds what came of it.  What failed is not
        kept: it may be tried again with the same key.

        :param fingerprint: of the whole request.
        :param durable: *work* recognises the key by itself; only another request with the same key is refused here.
        :raises HTTPProblem: 422, the key was used for another request.
        :raises Conflict: what was answered is shown once only.
        """
        while True:
            under_way = self._under_way.get(key)
            kept = self._find(key)
            known = under_way or kept
            if known is None:
                return await start(self._do(key, fingerprint, work, durable))
            if known.fingerprint != fingerprint:
                raise HTTPProblem(HTTPStatus.UNPROCESSABLE_ENTITY, "this Idempotency-Key was used for another request")
            if durable:
                return await work()
            if under_way is not None:
                turn: Deferred[None] = Deferred()
                under_way.waiting.append(turn)
                await turn
            elif kept is not None:
                if kept.answer is None:
                    raise Conflict("this was done before, and what it answered is shown once only")
                return kept.answer

    def _find(self, key: Key) -> _Kept | None:
        # All live equally long, so the oldest is the first to go.
        now = self._clock.seconds()
        while self._kept and not now < next(iter(self._kept.values())).until <= now + LIFETIME:
            self._forget_oldest()
        return self._kept.get(key)

    def _forget_oldest(self) -> None:
        self._octets -= self._kept.popitem(last=False)[1].size

    async def _do(
        self, key: Key, fingerprint: bytes, work: Callable[[], Coroutine[Any, Any, Answer]], durable: bool
    ) -> Answer:
        under_way = self._under_way[key] = _UnderWay(fingerprint)
        try:
            answer = (await work()).written()
            shown_again = None if answer.secret or durable else answer
            kept = self._kept[key] = _Kept(fingerprint, self._clock.seconds() + LIFETIME, shown_again)
            self._octets += kept.size
            while len(self._kept) > self._maximum or self._octets > self._maximum_octets:
                self._forget_oldest()
            return answer
        finally:
            del self._under_way[key]
            for turn in under_way.waiting:
                if not turn.called:
                    turn.callback(None)
