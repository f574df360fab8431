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

from pikachu.errors import Conflict, MalformedRequest
from pikachu.interfaces import IClock
from pikachu.threads import start
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


@dataclass(slots=True)
class _Kept:
    fingerprint: bytes
    until: float
    answer: Answer | None = None
    size: int = 0
    under_way: bool = True
    waiting: list[Deferred[None]] = field(default_factory=list)


class Repetitions:
    """Remembers what was answered to which key."""

    def __init__(self, clock: IClock, maximum: int = MAXIMUM_KEYS, maximum_octets: int = MAXIMUM_ANSWERS) -> None:
        self._clock = clock
        self._maximum = maximum
        self._maximum_octets = maximum_octets
        self._octets = 0
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()

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
            kept = self._find(key)
            if kept is None:
                return await start(self._do(key, fingerprint, work, durable))
            if kept.fingerprint != fingerprint:
                raise HTTPProblem(HTTPStatus.UNPROCESSABLE_ENTITY, "this Idempotency-Key was used for another request")
            if durable:
                return await work()
            if not kept.under_way:
                if kept.answer is None:
                    raise Conflict("this was done before, and what it answered is shown once only")
                return kept.answer
            turn: Deferred[None] = Deferred()
            kept.waiting.append(turn)
            await turn

    def _find(self, key: Key) -> _Kept | None:
        now = self._clock.seconds()
        while self._kept:
            oldest, kept = next(iter(self._kept.items()))
            full = len(self._kept) > self._maximum or self._octets > self._maximum_octets
            if kept.under_way or not (full or kept.until <= now):
                break
            self._forget(oldest)
        found = self._kept.get(key)
        if found is not None and not found.under_way and found.until <= now:
            self._forget(key)
            return None
        return found

    def _forget(self, key: Key) -> None:
        self._octets -= self._kept.pop(key).size

    async def _do(
        self, key: Key, fingerprint: bytes, work: Callable[[], Coroutine[Any, Any, Answer]], durable: bool
    ) -> Answer:
        kept = _Kept(fingerprint, self._clock.seconds() + LIFETIME)
        self._kept[key] = kept
        try:
            answer = await work()
        except BaseException:
            self._kept.pop(key, None)
            raise
        else:
            if not (answer.secret or durable):
                answer = answer.written()
                kept.answer = answer
                kept.size = len(answer.body) if isinstance(answer.body, bytes) else 0
                self._octets += kept.size
            return answer
        finally:
            kept.under_way = False
            waiting, kept.waiting = kept.waiting, []
            for turn in waiting:
                if not turn.called:
                    turn.callback(None)
