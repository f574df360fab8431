"""A REST client in memory: people with tokens, one request at a time through a whole site."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.task import Clock

from pikachu.core.model.people import SYSTEM, Account, AccountState, Role, Scope
from pikachu.http.request import Limits, PathRule, Site
from pikachu.http.tree import Tree
from pikachu.server.rest import api_routes, api_tree
from pikachu.web.api.application import RESTResource
from pikachu.x509.pem import pem
from tests.support.deferreds import result_of
from tests.support.pki import make_csr
from tests.support.stack import Response, Stack, ask

BODY_LIMIT = 2 * 1024 * 1024


def csr_pem(common_name: str = "device.example.com", key_type: str = "p256", **more: Any) -> str:
    """A new request of a new key."""
    return pem("CERTIFICATE REQUEST", make_csr(key_type, common_name, **more)[1])


@dataclass
class REST:
    """The site, and tokens by name.

    :ivar tokens: of accounts made here, one with all scopes for each name.
    """

    stack: Stack
    clock: Clock
    resource: RESTResource
    site: Site
    accounts: dict[str, Account] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    count: Iterator[int] = field(default_factory=itertools.count)

    def add(self, name: str, role: Role = Role.USER) -> Account:
        """An active account with a token of all scopes."""
        account = result_of(
            self.stack.app.accounts.add_user(
                SYSTEM, name, f"{name}@example.com", role, AccountState.ACTIVE, f"password of {name}"
            )
        )
        self.accounts[name] = account
        self.tokens[name] = self.token(name)
        return account

    def token(self, name: str, *scopes: Scope, days: int | None = None) -> str:
        """A further token of that account; without scopes, of all."""
        label = f"token {next(self.count)}"
        _, text = result_of(
            self.stack.app.tokens.create(SYSTEM, self.accounts[name].id, label, frozenset(scopes) or None, days)
        )
        return text

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: str | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Response:
        """One request.

        :param path: below ``/api/v1``, or from the root when it begins with ``//``.
        :param who: the account whose token is sent; or *token* itself.
        :param raw: the body as bytes.
        """
        fields: dict[str, str] = {}
        if who is not None:
            token = self.tokens[who]
        if token is not None:
            fields["Authorization"] = f"Bearer {token}"
        octets = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        if octets:
            fields["Content-Type"] = "application/json"
        fields.update(headers or {})
        target = path[1:] if path.startswith("//") else f"/api/v1{path}"
        return ask(self.site, self.clock, target, method, octets, fields)

    def good(self, method: str, path: str, body: object = None, *, status: int = 200, **more: Any) -> Any:
        """The JSON of an answer that must have that status."""
        response = self.call(method, path, body, **more)
        assert response.status == status, response.body
        return json.loads(response.body) if response.body else None

    def bad(self, status: int, method: str, path: str, body: object = None, **more: Any) -> dict[str, Any]:
        """The problem of an answer that must have that status (RFC 9457)."""
        response = self.call(method, path, body, **more)
        assert response.status == status, response.body
        assert response.headers["Content-Type"] == "application/problem+json"
        problem: dict[str, Any] = json.loads(response.body)
        assert problem["status"] == status
        assert {"type", "title", "detail"} <= problem.keys()
        detail = problem["detail"]
        assert "\n" not in detail
        # A sentence, as on pages: it begins with a capital, unless an identifier is first, and ends with a stop.
        assert not re.match("[a-z]+([ ,;:]|$)", detail), detail
        assert detail[-1] in ".!?:\u2026", detail
        return problem


def open_rest(stack: Stack) -> REST:
    """A site over the REST API of *stack*, without people."""
    resource = api_tree(stack.app, api_routes(stack.app))
    tree = Tree()
    tree.putChild(b"api", resource)
    tree.putChild(b"requests", resource)
    site = Site(tree, stack.clock, Limits(rules=(PathRule(b"/", BODY_LIMIT),)))
    return REST(stack, stack.clock, resource, site)


def make_rest(stack: Stack) -> REST:
    """The same with an admin ``root``, and the users ``alice`` and ``bob``."""
    rest = open_rest(stack)
    rest.add("root", Role.ADMIN)
    rest.add("alice")
    rest.add("bob")
    return rest
