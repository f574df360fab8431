"""Idempotency-Key: a repeated POST has no second effect and returns the first response.

Keys are scoped to an account and live for 24 hours in this process's memory; the least recently used are
evicted first.  Where several nodes use one database, they are in that, too.  Issuance does not rely on this: the RA
stores the key with the request, and recognises it after a restart too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pikachu.core.cache import BoundedCache
from pikachu.core.concurrency import SingleFlight
from pikachu.core.errors import Conflict, MalformedRequest, Overloaded, PikachuError
from pikachu.core.idempotency_interfaces import LIFETIME, MAXIMUM_KEYS, IIdempotencyStore
from pikachu.core.interfaces import IClock
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer
from pikachu.web.api.routes import Answer
from pikachu.web.errors import HTTPProblem

log = Logger()

MAXIMUM_ANSWERS: Final = 32 * 1024 * 1024
# Longer bodies are not stored for other nodes.
_LONGEST_BODY: Final = 64 * 1024
# How often another node's response is looked for, and the time between, seconds.
_LOOKS: Final = 100
_LOOK_SECONDS: Final = 0.25
_OTHER_REQUEST: Final = "this Idempotency-Key was used for another request"
_SHOWN_ONCE: Final = "this was done before, and what it answered is shown once only"
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


class SharedAnswers:
    """The keys and responses that the nodes of one database share.

    :param process: the name of this node in the database.
    :param sealer: makes the fingerprints in the database.  Requests contain passwords, and who reads a plain digest can
        try them as quickly as it is made.
    """

    def __init__(self, store: IIdempotencyStore, clock: IClock, process: str, sealer: Sealer) -> None:
        self._store = store
        self._clock = clock
        self._process = process
        self._sealer = sealer

    async def claim(self, key: Key, fingerprint: bytes) -> Answer | None:
        """Claim the key for this node, and return None; or wait for another node's response, and return that.

        :raises HTTPProblem: 422, the key was used for another request.
        :raises Conflict: the response is shown once only.
        :raises Overloaded: the other node takes too long.

        Fails with StoreUnavailable.
        """
        sealed = self._sealer.digest("idempotency", fingerprint)
        for _ in range(_LOOKS):
            use = await self._store.claim_idempotency_key(_digest(key), sealed, self._process, self._now())
            if use is None:
                return None
            if use.fingerprint != sealed:
                raise HTTPProblem(HTTPStatus.UNPROCESSABLE_ENTITY, _OTHER_REQUEST)
            if use.is_done:
                return _decode(use.answer)
            pause = Deferred[None]()
            self._clock.callLater(_LOOK_SECONDS, pause.callback, None)
            await pause
        raise Overloaded("another server is still at work on the request with this Idempotency-Key")

    async def keep(self, key: Key, answer: Answer) -> None:
        """Store the response for other nodes; a failure leaves the key claimed for a while."""
        try:
            await self._store.complete_idempotency_key(_digest(key), self._process, _encode(answer), self._now())
        except PikachuError as error:
            log.warn("Other nodes don't know the answer to an Idempotency-Key: {error}", error=error.public)

    async def release(self, key: Key) -> None:
        """Give up the claim, since the work has failed."""
        try:
            await self._store.release_idempotency_key(_digest(key), self._process)
        except PikachuError as error:
            log.warn("Other nodes don't know that an Idempotency-Key is free: {error}", error=error.public)

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _digest(key: Key) -> bytes:
    account_id, text = key
    return hashlib.sha256(f"{account_id} {text}".encode("ascii")).digest()


def _encode(answer: Answer) -> bytes | None:
    """Encode a response for the database; None for one that must not be stored, or is too long for it."""
    body = answer.body
    if answer.secret or not (body is None or isinstance(body, bytes)) or len(body or b"") > _LONGEST_BODY:
        return None
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.headers.items()]
    head = [answer.status, answer.content_type.decode("ascii"), headers, body is not None]
    return json.dumps(head).encode("ascii") + b"\n" + (body or b"")


def _decode(stored: bytes | None) -> Answer:
    """Decode a stored response.

    :raises Conflict: when it was not stored.
    """
    if stored is None:
        raise Conflict(_SHOWN_ONCE)
    head, _, body = stored.partition(b"\n")
    status, content_type, headers, has_body = json.loads(head)
    fields = {name.encode("latin-1"): value.encode("latin-1") for name, value in headers}
    return Answer(status, body if has_body else None, content_type.encode("ascii"), fields)


class IdempotencyCache:
    """Caches the response to each key.

    :param shared: with other nodes; ``None`` on a database with one server.
    """

    def __init__(
        self,
        clock: IClock,
        maximum: int = MAXIMUM_KEYS,
        maximum_size: int = MAXIMUM_ANSWERS,
        *,
        shared: SharedAnswers | None = None,
    ) -> None:
        self._clock = clock
        self._shared = shared
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
                raise HTTPProblem(HTTPStatus.UNPROCESSABLE_ENTITY, _OTHER_REQUEST)
            if durable:
                return await work()
            if key in self._flights:
                # A failure is not shared: the repetition tries again.
                await self._flights.run(key, work).addErrback(lambda _: None)
            elif cached is not None:
                if cached.answer is None:
                    raise Conflict(_SHOWN_ONCE)
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
            if self._shared is None or durable:
                answer = (await work()).written()
            else:
                done = await self._shared.claim(key, fingerprint)
                if done is not None:
                    return done
                answer = await self._do_claimed(self._shared, key, work)
        finally:
            del self._running[key]
        repeatable = None if answer.secret or durable else answer
        self._cached.put(key, _CachedAnswer(fingerprint, self._clock.seconds() + LIFETIME, repeatable))
        return answer

    @staticmethod
    async def _do_claimed(shared: SharedAnswers, key: Key, work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        try:
            answer = (await work()).written()
        except Exception:
            await shared.release(key)
            raise
        await shared.keep(key, answer)
        return answer
