"""Declarations of REST routes: method, path, scope, body and answer.

There is no other way to declare one, and the scope has no default, so no handler can omit its authorization.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from enum import Enum
from typing import Any, Final, TypeAlias, TypeVar

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pikachu.auth.authenticator import ROLE_SCOPES
from pikachu.auth.permissions import require_role_scope, require_staff
from pikachu.core.errors import AuthenticationFailed, NotAuthorized
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Principal, PrincipalKind, Scope
from pikachu.core.optimistic_locking import Versions
from pikachu.http.request import BoundedRequest
from pikachu.http.responses import PROBLEM_JSON, send
from pikachu.web.api.bodies import Nothing, encode
from pikachu.web.api.preconditions import entity_tag
from pikachu.web.api.queries import LIST_NAMES, list_query
from pikachu.web.errors import Problem
from pikachu.web.ids import id_of

B = TypeVar("B")
T = TypeVar("T")

JSON: Final = b"application/json"
BASE: Final = "/api/v1"
#: Values of a flag in a query.
FLAGS: Final = ("true", "false")
NO_CREDENTIALS: Final = "send an API token: Authorization: Bearer TOKEN"


class Access(Enum):
    """Access levels that no single scope expresses."""

    ANYONE = "anyone"
    WHOLE_ACCOUNT = "whole account"
    STAFF = "operate or audit"


@dataclass(frozen=True, slots=True)
class Answer:
    """The response of a handler.

    :param body: a dataclass or mapping for JSON, ``bytes`` as they are, a Resource that writes the response itself, or
        ``None`` for none.
    :param secret: the body contains what is shown once: it is not cached for repetitions.
    """

    status: int
    body: object = None
    content_type: bytes = JSON
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    secret: bool = False

    def written(self) -> Answer:
        """Return the same answer with its body encoded."""
        if self.body is None or isinstance(self.body, bytes | Resource):
            return self
        return replace(self, body=encode(self.body))


class SentAnswer(Resource):
    """A response in progress: Klein renders it and leaves finishing the request to it."""

    isLeaf = True
    _FIELDS: Final[Mapping[bytes, bytes]] = {b"Cache-Control": b"no-store", b"X-Content-Type-Options": b"nosniff"}

    def __init__(self, status: int, content_type: bytes | None, body: bytes, headers: Mapping[bytes, bytes]) -> None:
        Resource.__init__(self)
        self._status = status
        self._content_type = content_type
        self._body = body
        self._headers = {**self._FIELDS, **headers}

    @classmethod
    def answer(cls, answer: Answer) -> Resource:
        """Return the response for a handler's answer."""
        body = answer.written().body
        if isinstance(body, Resource):
            return body
        if isinstance(body, bytes):
            return cls(answer.status, answer.content_type, body, answer.headers)
        return cls(answer.status, None, b"", answer.headers)

    @classmethod
    def problem(cls, problem: Problem) -> SentAnswer:
        """Return the response for a failure (RFC 9457)."""
        body = json.dumps(problem.document(), separators=(",", ":")).encode() + b"\n"
        return cls(problem.status, PROBLEM_JSON, body, problem.headers)

    def render(self, request: BoundedRequest) -> int:
        """Write the response."""
        send(request, self._status, self._content_type, self._body, self._headers)
        return NOT_DONE_YET


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated and decoded request for a route.

    :param route: the matched route.
    :param principal: the requester; ANONYMOUS where anyone may.
    :param path: variable segments of the path.
    :param query: names and values of the query string.
    :param body: an object of the route's ``body``.
    :param present: names of the members that the body contains.
    :param idempotency_key: of the header, or ``None``.
    :param expected: versions that ``If-Match`` allows to be replaced.
    :param origin: the server's origin as the client knows it; empty when that is not known.
    """

    route: Route
    principal: Principal
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: object
    present: frozenset[str] = frozenset()
    idempotency_key: str | None = None
    expected: Versions = None
    origin: str = ""

    @property
    def id(self) -> int:
        """Return the ``id`` of the path.

        :raises NotFound: when no object can have it.
        """
        return id_of(self.path["id"])

    def take(self, kind: type[B]) -> B:
        """Return the body, which is of the type that the route declares."""
        assert isinstance(self.body, kind)  # noqa: S101 - decoded as the route declares
        return self.body

    def list_query(self) -> ListQuery:
        """Return the requested page of a list."""
        return list_query(self.query, self.route.operation.filters, owner=self.route.operation.owner)


Handler: TypeAlias = Callable[[Any, Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Operation:
    """The declaration of a route; decorates its handler, a coroutine method ``(self, call) -> Answer``.

    :param path: below *base*.
    :param scope: scopes that a token must have, all of several, or an Access.
    :param body: dataclass of the request; ``None``: no members, and for GET and DELETE no body at all.
    :param answer: dataclass of the answer; ``None``: there is no JSON.
    :param pending: dataclass of the answer 202.
    :param listed: the answer is a page of those.
    :param filters: of a list: name in the query → name in the store.
    :param sorts: of a list: fields that it can be sorted by; none: it has one page only.
    :param owner: of a list: name of the query parameter with an owner's id (for administrators).
    :param query: other permitted names of the query.
    :param choices: name in the query → its only permitted values.
    :param ids: names in the query whose values are ids.
    :param files: media types of an answer that is no JSON.
    :param statuses: of success.
    :param durable: the registration authority recognises a repeated Idempotency-Key by itself, across restarts.
    :param browsers: a signed-in browser may follow a link to it, without a token.
    :param tagged: the answer has an ``ETag``; a change honours ``If-Match``.
    """

    method: str
    path: str
    _: KW_ONLY
    scope: Scope | tuple[Scope, ...] | Access
    summary: str
    base: str = BASE
    body: type[Any] | None = None
    answer: type[Any] | None = None
    pending: type[Any] | None = None
    listed: bool = False
    filters: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    sorts: tuple[str, ...] = ("id", "created_at")
    query: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (200,)
    durable: bool = False
    browsers: bool = False
    tagged: bool = False

    def __call__(self, handler: Handler) -> Route:
        """Return the route with that handler."""
        return Route(self, handler.__qualname__.replace("API.", "."), handler)

    @property
    def accepted_body(self) -> type[Any] | None:
        """Return the dataclass of the body; ``None``: the operation has no body and ignores one."""
        return Nothing if self.body is None and self.method in ("POST", "PUT", "PATCH") else self.body

    @property
    def conditional(self) -> bool:
        """Return whether it honours ``If-Match``."""
        return self.tagged and self.method in ("PUT", "PATCH", "DELETE")

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Return the scopes that a token must have, as far as single scopes express them."""
        if isinstance(self.scope, Access):
            return ()
        return self.scope if isinstance(self.scope, tuple) else (self.scope,)

    @property
    def query_names(self) -> tuple[str, ...]:
        """Return all permitted names of the query."""
        owner = () if self.owner is None else (self.owner,)
        return (*(LIST_NAMES if self.listed and self.sorts else ()), *self.filters, *owner, *self.query)

    def admit(self, principal: Principal) -> None:
        """Check that the caller may use the route at all.

        :raises AuthenticationFailed: for an anonymous one.
        :raises NotAuthorized: when role or scopes are insufficient.
        """
        if self.scope is Access.ANYONE:
            return
        if principal.kind is PrincipalKind.ANONYMOUS or principal.role is None:
            raise AuthenticationFailed(NO_CREDENTIALS)
        if self.scope is Access.WHOLE_ACCOUNT:
            if not principal.scopes >= ROLE_SCOPES[principal.role]:
                raise NotAuthorized("this needs a token with all scopes of the account")
            return
        if self.scope is Access.STAFF:
            require_staff(principal)
        for scope in self.scopes:
            require_role_scope(principal.role, scope)
            if scope not in principal.scopes:
                raise NotAuthorized(f"this needs a token with the scope {scope.value}")


@dataclass(frozen=True, slots=True)
class Route:
    """An operation with its handler.

    :param name: of class and method, such as ``Users.create``.
    """

    operation: Operation
    name: str
    handler: Handler

    @property
    def method(self) -> str:
        """Return the HTTP method."""
        return self.operation.method

    @property
    def path(self) -> str:
        """Return the whole path."""
        return self.operation.base + self.operation.path


class Routes:
    """Base of a class with routes: one for each kind of object."""

    def routes(self) -> list[Route]:
        """Return the routes declared in the class, bound to this object, in order."""
        return [
            replace(one, handler=_bound(one.handler, self))
            for one in vars(type(self)).values()
            if isinstance(one, Route)
        ]


def _bound(handler: Handler, instance: object) -> Handler:
    return lambda _, call: handler(instance, call)


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a list.

    :param next_cursor: of the page that follows; ``null`` on the last.
    """

    items: tuple[object, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class IncompleteList(Listed):
    """A page of a list that lacks some matches of a text.

    :param unindexed: the number of older objects that are still being indexed.
    """

    unindexed: int


def listed(page: Page[T], show: Callable[[T], object]) -> Answer:
    """Return the answer for a page of a list."""
    return Answer(200, Listed(tuple(show(one) for one in page.items), page.next_cursor))


def created(path: str, body: object, *, secret: bool = False, version: int | None = None) -> Answer:
    """Return 201 with the address of the created object, and its entity tag where it has a *version*."""
    tag = {} if version is None else {b"ETag": entity_tag(version)}
    return Answer(201, body, headers={b"Location": f"{BASE}{path}".encode(), **tag}, secret=secret)


def tagged(body: object, version: int) -> Answer:
    """Return 200 with the entity tag of that version."""
    return Answer(200, body, headers={b"ETag": entity_tag(version)})


NO_CONTENT: Final = Answer(204)
