# mypy: allow-untyped-calls
"""Klein dispatch shared by REST and pages: paths that Klein rejects, the time limit, and failures as problems."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TooSlow
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, RequestRedirect

from pikachu.core.errors import Overloaded, PikachuError
from pikachu.core.interfaces import IClock
from pikachu.http.request import BoundedRequest, log_failure
from pikachu.web.errors import HTTPProblem, Problem, outcome_of, problem_of, status_problem, unexpected_problem

log = Logger()

#: Seconds until an answer must begin.
TIME_LIMIT: Final = 60.0


def take_whole_path(request: BoundedRequest) -> bool:
    """Make routes match the whole path, wherever their resource is mounted.

    :returns: whether it is UTF-8; Klein fails on others.
    """
    request.postpath = [*(request.prepath or []), *(request.postpath or [])]
    request.prepath = []
    try:
        b"/".join(request.postpath).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


#: Method, path in Werkzeug's syntax, and name of a route.
RouteKey: TypeAlias = tuple[str, str, str]
Serve: TypeAlias = Callable[[BoundedRequest, Mapping[str, str]], Coroutine[Any, Any, IResource]]
Fail: TypeAlias = Callable[[BoundedRequest, Failure], Any]


class Dispatcher:
    """Dispatches requests to routes through Klein.

    :param routes: what serves each route; it is cancelled after :data:`TIME_LIMIT`.
    :param unrouted: returns the answer to a request without a route.
    :param failed: returns the answer when serving has failed.
    :param strict_slashes: whether a path with another number of slashes at its end is another path.
    """

    def __init__(
        self,
        routes: Mapping[RouteKey, Serve],
        clock: IClock,
        *,
        unrouted: Fail,
        failed: Fail,
        strict_slashes: bool = True,
    ) -> None:
        self.serves = dict(routes)
        self.clock = clock
        self.unrouted = unrouted
        self.failed = failed
        self._resource = _klein_app(tuple(routes), strict_slashes).__get__(self, Dispatcher).resource()

    def render(self, request: BoundedRequest) -> int:
        """Answer the request."""
        return int(self._resource.render(request))


class _Id(BaseConverter):
    """Match an object's id; any other segment in its place gives 404."""

    regex = "[0-9]{1,19}"


@cache
def _klein_app(routes: tuple[RouteKey, ...], strict_slashes: bool) -> Any:
    """Return the Klein app of these routes, to be bound to a dispatcher.

    Compiling hundreds of routes takes half a second, and the servers of a process differ only in what serves them.
    """
    app = Klein()
    app.url_map.converters["id"] = _Id
    # The first matching handler applies: with Exception before it, 404 and 405 would become 500.
    app.handle_errors(HTTPException)(lambda dispatcher, request, failure: dispatcher.unrouted(request, failure))
    app.handle_errors(Exception)(lambda dispatcher, request, failure: dispatcher.failed(request, failure))
    for key in routes:
        method, path, _ = key
        app.route(path, methods=[method], endpoint=f"{method} {path}", strict_slashes=strict_slashes)(_endpoint(key))
    return app


def _endpoint(key: RouteKey) -> Any:
    """Return the function that Klein calls for a route."""

    def answer(dispatcher: Dispatcher, request: BoundedRequest, **path: str) -> Deferred[IResource]:
        work = Deferred.fromCoroutine(dispatcher.serves[key](request, path))
        if not work.called:
            work.addTimeout(TIME_LIMIT, dispatcher.clock)  # type: ignore[arg-type]
        return work

    answer.__name__ = key[2]
    return answer


def unrouted_problem(failure: Failure) -> Problem:
    """Return the problem for a request without a route."""
    error: Any = failure.value
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        headers = {b"Allow": allowed.encode("ascii")}
        return status_problem(HTTPStatus.METHOD_NOT_ALLOWED, f"allowed here: {allowed}", headers)
    if isinstance(error, RequestRedirect) or error.code == HTTPStatus.NOT_FOUND:
        return status_problem(HTTPStatus.NOT_FOUND, "there is nothing at this address")
    return status_problem(error.code or HTTPStatus.BAD_REQUEST, "the request can't be served")


def failure_problem(request: BoundedRequest, failure: Failure) -> Problem:
    """Return the problem for a failed answer; the client of an unexpected failure gets only the id of its log line."""
    error = failure.value
    if isinstance(error, TooSlow | CancelledError):
        error = Overloaded("this server has too much to do; try again soon")
    if isinstance(error, HTTPProblem):
        return status_problem(error.status, error.detail, error.headers)
    if not isinstance(error, PikachuError):
        return unexpected_problem(log_failure(failure, request))
    status = outcome_of(error).status
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem_of(error, log_failure(failure, request))
    if status > HTTPStatus.INTERNAL_SERVER_ERROR:
        path = request.path.decode("ascii", "backslashreplace")
        log.error("{path}: {error} {context}", path=path, error=error.public, context=error.context)
    return problem_of(error)
