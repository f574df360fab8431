# mypy: allow-untyped-calls
"""Resources whose methods are coroutines, for protocols that need twisted.web's raw requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TooSlow
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pikachu.core.errors import Overloaded, PikachuError
from pikachu.http.request import BoundedRequest
from pikachu.http.responses import not_allowed, text_error

Answer: TypeAlias = Callable[[BoundedRequest], Awaitable[None]]
Refusal: TypeAlias = Callable[[BoundedRequest, PikachuError], None]


class ProtocolResource(Resource):
    """A leaf resource that answers with coroutines.

    A :class:`pikachu.core.errors.PikachuError` raised by the coroutine is passed to :meth:`refuse`.  Any other error is
    logged with an id, which is sent to the client.  When the client disconnects, the coroutine is cancelled; issuance
    shields itself (:func:`pikachu.core.concurrency.shield`).

    :cvar methods: HTTP method → name of the coroutine method, such as ``{b"GET": "answer_get"}``.  HEAD is served by
        the coroutine of GET.
    :cvar time_limit: seconds after which the coroutine is cancelled and the client gets the error Overloaded.
    """

    isLeaf = True
    methods: ClassVar[Mapping[bytes, str]] = {}
    time_limit: ClassVar[float] = 60.0

    def refuse(self, request: BoundedRequest, error: PikachuError) -> None:
        """Send *error* in the form of the protocol."""
        raise NotImplementedError

    def render(self, request: BoundedRequest) -> int:
        """Start the coroutine of the request's method."""
        method = b"GET" if request.method == b"HEAD" and b"HEAD" not in self.methods else request.method
        name = self.methods.get(method)
        if name is None:
            allowed = set(self.methods) | ({b"HEAD"} if b"GET" in self.methods else set())
            not_allowed(request, allowed)
            return NOT_DONE_YET
        serve(request, getattr(self, name), self.refuse, self.time_limit)
        return NOT_DONE_YET


def serve(request: BoundedRequest, answer: Answer, refuse: Refusal, time_limit: float) -> Deferred[None]:
    """Run *answer* for *request*, and send a response for its errors.

    :return: fires when the coroutine has ended; never fails.
    """

    async def run() -> None:
        await answer(request)

    work = Deferred.fromCoroutine(run())

    def failed(reason: Failure) -> None:
        error = reason.value
        if isinstance(error, TooSlow | CancelledError) and not request.gone:
            error = Overloaded("this server has too much to do; try again soon")
        if request.gone:
            if not isinstance(error, PikachuError | CancelledError):
                request.processingFailed(reason)
        elif isinstance(error, PikachuError):
            try:
                refuse(request, error)
            except Exception:  # noqa: BLE001 - the refusal itself may fail
                request.processingFailed(Failure())
        else:
            request.processingFailed(reason)

    def unanswered(_: None) -> None:
        if not (request.gone or request.startedWriting or request.producer):
            request.processingFailed(Failure(RuntimeError("the resource gave no answer")))

    if not work.called:
        work.addTimeout(time_limit, request.site.clock)  # type: ignore[arg-type]
        request.notifyFinish().addErrback(lambda _: work.cancel())
    return work.addCallbacks(unanswered, failed)


class NotFoundResource(Resource):
    """404 for every path and method."""

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)

    def render(self, request: BoundedRequest) -> int:
        """Send one line of text."""
        text_error(request, 404, "nothing here")
        return NOT_DONE_YET
