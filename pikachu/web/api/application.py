# mypy: allow-untyped-calls
"""Serve REST on Klein: route, authenticate, decode the body, and send failures as problem details."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource

from pikachu.accounts.sessions import Sessions
from pikachu.auth.authenticator import Authenticator, account_principal
from pikachu.core.errors import AuthenticationFailed, EditConflict, NotAuthorized, TooLarge
from pikachu.core.interfaces import IClock
from pikachu.core.model.people import ANONYMOUS, Principal
from pikachu.http.client_address import client_certificate
from pikachu.http.request import BoundedRequest
from pikachu.web.api.bodies import decode_body
from pikachu.web.api.idempotency import IdempotencyCache, SharedAnswers, checked_key
from pikachu.web.api.preconditions import if_match
from pikachu.web.api.queries import check_choices, parse_query
from pikachu.web.api.routes import NO_CREDENTIALS, Access, Answer, Call, Operation, Route, SentAnswer
from pikachu.web.browsers import SESSION, check_origin, named_origin, read_cookies
from pikachu.web.dispatch import Dispatcher, failure_problem, take_whole_path, unrouted_problem
from pikachu.web.errors import HTTPProblem, status_problem

MAXIMUM_BODY: Final = 1024 * 1024
# Objects from which an answer is long: a thousand take tens of milliseconds in a thread of the database and here.
LONG_LIST: Final = 100
# A well-formed method that a route lacks gives 405; anything else is refused here.
_METHOD: Final = re.compile(rb"[A-Z]{1,20}")


class RESTResource(Resource):
    """Dispatch REST requests; mounted at the first segment of their paths (``api``, ``requests``).

    :param routes: result of :meth:`pikachu.web.api.routes.Routes.routes`.
    :param shared_answers: answers to idempotency keys that nodes share; ``None`` on a database with one server.
    """

    isLeaf = True

    def __init__(
        self,
        routes: Iterable[Route],
        authenticator: Authenticator,
        sessions: Sessions,
        clock: IClock,
        shared_answers: SharedAnswers | None = None,
    ) -> None:
        Resource.__init__(self)
        self.routes = tuple(routes)
        self._authenticator = authenticator
        self._sessions = sessions
        self._clock = clock
        self._idempotency_cache = IdempotencyCache(clock, shared=shared_answers)
        self._dispatcher = Dispatcher(
            {
                (one.method, one.path.replace("<id>", "<id:id>"), one.name): partial(self._serve, one)
                for one in self.routes
            },
            clock,
            unrouted=_unrouted,
            failed=_failed,
        )

    def render(self, request: BoundedRequest) -> int:
        """Dispatch the request through Klein, after refusing what Klein can't parse."""
        if not take_whole_path(request):
            problem = status_problem(HTTPStatus.BAD_REQUEST, "the path is not UTF-8")
            return SentAnswer.problem(problem).render(request)
        if not _METHOD.fullmatch(request.method):
            problem = status_problem(HTTPStatus.NOT_IMPLEMENTED, "this method is served nowhere here")
            return SentAnswer.problem(problem).render(request)
        request.named_host = request.getHeader(b"Host")
        # Routes don't depend on the Host header, but Klein and Werkzeug fail on some values of it.
        request.requestHeaders.setRawHeaders(b"Host", [b"api"])
        return self._dispatcher.render(request)

    async def _serve(self, route: Route, request: BoundedRequest, path: Mapping[str, str]) -> IResource:
        operation = route.operation
        principal = await self._principal(operation, request)
        operation.admit(principal)
        query = parse_query(request.uri, operation.query_names)
        check_choices(query, operation.choices)
        body: object = None
        present: frozenset[str] = frozenset()
        data = b""
        if operation.accepted_body is not None:
            data = _read_body(request)
            body, present = decode_body(operation.accepted_body, data)
        key = None
        if route.method == "POST":
            key = checked_key(request.requestHeaders.getRawHeaders(b"Idempotency-Key") or [])
        expected = if_match(request.requestHeaders.getRawHeaders(b"If-Match") or []) if operation.conditional else None
        call = Call(
            route, principal, path, query, body, present, key, expected, named_origin(request, request.named_host)
        )

        async def work() -> Answer:
            return (await route.handler(None, call)).written()

        if operation.listed and call.list_query().limit > LONG_LIST:
            turns = request.channel.site.capacity.long_lists
            return SentAnswer.answer(await turns.run(principal.owner_id, work))
        if key is None or principal.owner_id is None:
            return SentAnswer.answer(await work())
        fingerprint = hashlib.sha256(b"%s\n%s\n%s" % (request.method, request.uri, data)).digest()
        account_key = (principal.owner_id, key)
        return SentAnswer.answer(
            await self._idempotency_cache.once(account_key, fingerprint, work, durable=operation.durable)
        )

    async def _principal(self, operation: Operation, request: BoundedRequest) -> Principal:
        """Authenticate by bearer token, else by a TLS client certificate that is bound to an account."""
        if operation.scope is Access.ANYONE:
            return ANONYMOUS
        values = request.requestHeaders.getRawHeaders(b"Authorization") or []
        if not values:
            return await self._ambient_credentials(operation, request)
        scheme, _, token = values[0].decode("latin-1").strip().partition(" ")
        if len(values) > 1 or scheme.lower() != "bearer":
            raise AuthenticationFailed(NO_CREDENTIALS)
        principal = await self._authenticator.token(token.strip(), request.address)
        request.authenticated()
        return principal

    async def _ambient_credentials(self, operation: Operation, request: BoundedRequest) -> Principal:
        """Authenticate by ambient credentials (cookie, client certificate); these need a CSRF check."""
        account = None
        shown = client_certificate(request)
        if shown.der is not None:
            account = await self._authenticator.bound_account(shown.der, request.address, shown.intermediates)
        if account is None and operation.browsers:
            session = await self._sessions.find(read_cookies(request).get(SESSION, ""))
            account = None if session is None else session[1]
            if account is not None and (restriction := self._sessions.restriction(account)) is not None:
                raise NotAuthorized(f"Sign in on the web pages first: this account has to {restriction}.")
        if account is None:
            return ANONYMOUS
        request.authenticated()
        if request.method not in (b"GET", b"HEAD"):
            check_origin(request, request.named_host)
        return account_principal(account, request.address)


def _read_body(request: BoundedRequest) -> bytes:
    """Return the body, which must be declared as JSON when there is one."""
    request.content.seek(0)
    data: bytes = request.content.read(MAXIMUM_BODY + 1)
    if len(data) > MAXIMUM_BODY:
        raise TooLarge(f"a body here has at most {MAXIMUM_BODY // 1024} KiB")
    kinds = request.requestHeaders.getRawHeaders(b"Content-Type") or []
    kind = kinds[0].decode("latin-1") if len(kinds) == 1 else ""
    if data and kind.partition(";")[0].strip().lower() != "application/json":
        raise HTTPProblem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a body here is application/json")
    encoding = request.getHeader(b"Content-Encoding")
    if encoding is not None and encoding.strip().lower() != b"identity":
        raise HTTPProblem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a body here is not compressed")
    return data


def _unrouted(request: Any, failure: Failure) -> Any:
    return SentAnswer.problem(unrouted_problem(failure))


def _failed(request: Any, failure: Failure) -> Any:
    problem = failure_problem(request, failure)
    if isinstance(failure.value, AuthenticationFailed):
        problem = replace(problem, headers={b"WWW-Authenticate": _challenge(request)})
    if isinstance(failure.value, EditConflict):
        detail = f"{problem.detail} GET it again, and repeat your change with its new ETag."
        problem = replace(problem, status=int(HTTPStatus.PRECONDITION_FAILED), detail=detail)
    return SentAnswer.problem(problem)


def _challenge(request: BoundedRequest) -> bytes:
    """Return the ``WWW-Authenticate`` challenge (RFC 6750 section 3)."""
    presented = request.requestHeaders.hasHeader(b"Authorization")
    return b'Bearer realm="pikachu", error="invalid_token"' if presented else b'Bearer realm="pikachu"'
