"""How a page is declared: method, path, who may.

There is no other way to declare one, and who may has no default, so no page can forget it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, TypeAlias

from pikachu.core.errors import AuthenticationFailed, NotAuthorized
from pikachu.core.model.objects import Session
from pikachu.core.model.people import ANONYMOUS, Account, Principal
from pikachu.http.request import BoundedRequest
from pikachu.web.ids import id_of
from pikachu.web.ui.forms import Form
from pikachu.web.ui.responses import PageReply

_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")


class Audience(Enum):
    """Who may see a page."""

    ANYONE = "anyone"
    USER = "user"
    ADMIN = "admin"


class PasswordNeeded(Exception):
    """The password has to be asked for again before this page is shown."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One request for a page.

    :param principal: who asks: all that the account's role has, or ANONYMOUS.
    :param path: the variable parts of the path.
    :param query: names and values after the question mark.
    :param csrf: what a form of this browser carries.
    :param confirmed: whether the password was asked for within the last five minutes.
    :param waiting: how many requests wait for an admin, who is told so on every page.
    :param cookies: Set-Cookie values that go with the reply.
    """

    request: BoundedRequest = field(repr=False)
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Form = field(repr=False)
    principal: Principal = ANONYMOUS
    account: Account | None = None
    session: Session | None = None
    csrf: str = field(default="", repr=False)
    confirmed: bool = False
    waiting: int = 0
    cookies: list[bytes] = field(default_factory=list, repr=False)

    @property
    def host(self) -> str:
        """Name and port that the browser has asked for; empty when it is none that a server can have."""
        text = (self.request.named_host or b"").decode("latin-1")
        return text if _HOST.fullmatch(text) else ""

    @property
    def address(self) -> str:
        """The peer's IP address."""
        return self.request.address

    @property
    def agent(self) -> str:
        """What the browser calls itself."""
        return (self.request.getHeader(b"User-Agent") or b"").decode("latin-1")

    @property
    def target(self) -> str:
        """Path and query that were asked for."""
        return self.request.uri.decode("ascii", "replace")

    @property
    def id(self) -> int:
        """The ``id`` of the path.

        :raises NotFound: when no object can have it.
        """
        return self.number("id")

    def number(self, name: str) -> int:
        """A variable part of the path that is an id.

        :raises NotFound: when no object can have it.
        """
        return id_of(self.path[name])

    def require_confirmation(self) -> None:
        """That the password was asked for within the last five minutes.

        :raises PasswordNeeded: it was not; the browser is led to the question and back.
        """
        if not self.confirmed:
            raise PasswordNeeded

    def signed_in(self) -> Account:
        """The account; only pages for users ask."""
        assert self.account is not None  # noqa: S101 - Who.USER and Who.ADMIN see to it
        return self.account


Serve: TypeAlias = Callable[[Any, PageRequest], Awaitable[PageReply]]


@dataclass(frozen=True, slots=True)
class Page:
    """A declaration; see :func:`page`."""

    method: str
    path: str
    audience: Audience
    name: str
    serve: Serve
    quiet: bool = False

    def admit(self, principal: Principal) -> None:
        """That the visitor may come here at all.

        :raises AuthenticationFailed: for an anonymous one.
        :raises NotAuthorized: for a user, where only admins may.
        """
        if self.audience is Audience.ANYONE:
            return
        if principal.role is None:
            raise AuthenticationFailed("sign in first")
        if self.audience is Audience.ADMIN and not principal.is_admin:
            raise NotAuthorized("this page is for admins only")


def page(method: str, path: str, *, audience: Audience, quiet: bool = False) -> Callable[[Serve], Page]:
    """Decorator that makes a page of a coroutine method ``(self, visit) -> Reply``.

    :param quiet: a script asks for it by itself: that somebody is there it does not show (USR-3, automatic log-out).
    """

    def declare(serve: Serve) -> Page:
        return Page(method, path, audience, serve.__qualname__.replace("Pages.", "."), serve, quiet)

    return declare


class Pages:
    """What has pages: one class for each kind of object."""

    def pages(self) -> list[Page]:
        """The pages declared in the class, bound to this object, in order."""
        return [
            replace(one, serve=_bound(one.serve, self)) for one in vars(type(self)).values() if isinstance(one, Page)
        ]


def _bound(serve: Serve, instance: object) -> Serve:
    return lambda _, visit: serve(instance, visit)
