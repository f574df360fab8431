"""Trying operations of REST from the reference, as the signed-in user (API-2).

Only operations that read and answer JSON without secrets can be tried: following a link must change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.model.people import Scope
from pikachu.core.number_parsing import parse_number
from pikachu.web.api.queries import check_choices
from pikachu.web.api.routes import Access, Call, Operation, Route
from pikachu.web.ui.pages import PageRequest

#: Before the names of path variables in a query string.
PATH: Final = "path-"
_READING: Final = frozenset({Scope.READ, Scope.AUDIT})
_MAX_LIMIT: Final = 100
_DEFAULT_LIMIT: Final = "10"
_MAX_TEXT: Final = 200


@dataclass(frozen=True, slots=True)
class Trial:
    """An answer.

    :param text: its JSON, indented.
    """

    status: int
    text: str = field(repr=False)


def can_be_tried(operation: Operation) -> bool:
    """Return whether the operation reads, and answers JSON without secrets."""
    reads = isinstance(operation.scope, Access) or _READING.issuperset(operation.scopes)
    return operation.method == "GET" and operation.answer is not None and not operation.files and reads


class Trials:
    """The operations that can be tried, by name."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: Mapping[str, Route] = {one.name: one for one in routes if can_be_tried(one.operation)}

    @property
    def names(self) -> frozenset[str]:
        """Return the names of all."""
        return frozenset(self._routes)

    def route(self, name: str) -> Route:
        """Return the operation of that name.

        :raises NotFound: there is none that can be tried.
        """
        if name not in self._routes:
            raise NotFound("There is no such operation to try.")
        return self._routes[name]

    async def run(self, visit: PageRequest, route: Route) -> Trial:
        """Call an operation with the parameters of the page's query string.

        Fails as the operation does, and with MalformedRequest for a missing or wrong parameter.
        """
        operation = route.operation
        operation.admit(visit.principal)
        values = {name: text[:_MAX_TEXT] for name, text in visit.query.items() if text}
        query = {name: values[name] for name in operation.query_names if name in values}
        if "limit" in operation.query_names:
            limit = parse_number(query.setdefault("limit", _DEFAULT_LIMIT))
            if limit is None or not 1 <= limit <= _MAX_LIMIT:
                raise MalformedRequest(f"Enter a limit from 1 to {_MAX_LIMIT} here; programs may use more.")
        check_choices(query, operation.choices)
        path = {}
        for part in route.path.split("/"):
            if part.startswith("<"):
                name = part.strip("<>")
                if not values.get(PATH + name):
                    raise MalformedRequest(f"Enter a value for {name}.")
                path[name] = values[PATH + name]
        answer = (
            await route.handler(None, Call(route, visit.principal, path, query, None, origin=visit.origin))
        ).written()
        body = answer.body if isinstance(answer.body, bytes) else b""
        return Trial(answer.status, json.dumps(json.loads(body), indent=2, ensure_ascii=False) if body else "")
