"""Idempotency-Key: a repeated POST has no second effect and returns the first response.

Keys are scoped to an account and live for 24 hours in this process's memory; the least recently used are
evicted first.  Issuance does not rely on this: the RA stores the key with the request, and recognises it after a
restart too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from pikachu.core.cache import BoundedCache
from pikachu.core.concurrency import SingleFlight
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
    """Return the key in the header's values.

    :raises MalformedRequest: when there are several, or it is not 1 to 255 visible ASCII characters.
    """
    if not values:
        return None
    text = values[0].decode("latin-1").strip()
    if len(values) > 1 or not _KEY.fullmatch(text):
        raise MalformedRequest("Idempotency-Key is 1 to 255 visible ASCII characters, once")
    return text


@dataclass(frozen=True, slots=True)
class _CachedAnswer:
    """A cached response; ``None`` marks one that must not be repeated."""

    fingerprint: bytes
    until: float
    answer: Answer | None

    @property
    def size(self) -> int:
        """Return the size of the response in bytes."""
        body = None if self.answer is None else self.answer.body
        return len(body) if isinstance(body, bytes) else 0


class IdempotencyCache:
    """Caches the response to each key."""

    def __init__(self, clock: IClock, maximum: int = MAXIMUM_KEYS, maximum_size: int = MAXIMUM_ANSWERS) -> None:
        self._clock = clock
        self._cached: BoundedCache[Key, _CachedAnswer] = BoundedCache(
            maximum, size=maximum_size, measure=lambda _, answer: answer.size
        )
        self._running: dict[Key, bytes] = {}
        self._flights: SingleFlight[Answer] = SingleFlight()

    async def once(
        self, key: Key, fingerprint: bytes, work: Callable[[], Coroutine[Any, Any, Answer]], *, durable: bool
    ) -> Answer:
        """Run *work* once for each key; a concurrent repetition waits for its result.

        *work* continues when the client disconnects, so that a repetition finds its result.  Failures are not
        cached: the same key may be tried again.

        :param fingerprint: of the whole request.
        :param durable: *work* recognises the key by itself; only another request with the same key is refused here.
        :raises HTTPProblem: 422, the key was used for another request.
        :raises Conflict: the response is shown once only.
        """
        while True:
            cached = self._find(key)
            previous = self._running.get(key) or (None if cached is None else cached.fingerprint)
            if previous is None:
                return await self._flights.run(key, lambda: self._do(key, fingerprint, work, durable))
            if previous != fingerprint:
                raise HTTPProblem(HTTPStatus.UNPROCESSABLE_ENTITY, "this Idempotency-Key was used for another request")
            if durable:
                return await work()
            if key in self._flights:
                # A failure is not shared: the repetition tries again.
                await self._flights.run(key, work).addErrback(lambda _: None)
            elif cached is not None:
                if cached.answer is None:
                    raise Conflict("this was done before, and what it answered is shown once only")
                return cached.answer

    def _find(self, key: Key) -> _CachedAnswer | None:
        cached = self._cached.get(key)
        now = self._clock.seconds()
        # An answer from the future predates a clock that was set back.
        return cached if cached is not None and now < cached.until <= now + LIFETIME else None

    async def _do(
        self, key: Key, fingerprint: bytes, work: Callable[[], Coroutine[Any, Any, Answer]], durable: bool
    ) -> Answer:
        self._running[key] = fingerprint
        try:
            answer = (await work()).written()
        finally:
            del self._running[key]
        repeatable = None if answer.secret or durable else answer
        self._cached.put(key, _CachedAnswer(fingerprint, self._clock.seconds() + LIFETIME, repeatable))
        return answer
