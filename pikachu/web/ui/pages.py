"""Declarations of pages: method, path, audience.

There is no other way to declare one, and the audience has no default, so no page can omit its authorization.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from pikachu.auth.permissions import Audience, require_audience
from pikachu.core.model.account_objects import Session
from pikachu.core.model.people import ANONYMOUS, Account, Principal
from pikachu.core.model.preferences import Preferences
from pikachu.core.model.sign_in import EndedSession
from pikachu.http.request import BoundedRequest
from pikachu.web.browsers import named_origin
from pikachu.web.ids import id_of
from pikachu.web.ui.forms import Form
from pikachu.web.ui.responses import PageReply, own_path


class PasswordNeeded(Exception):
    """The password must be confirmed before this page is shown."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One request for a page.

    :param principal: the requester with all scopes of the account's role, or ANONYMOUS.
    :param path: variable segments of the path.
    :param query: names and values of the query string.
    :param csrf: the CSRF token for this browser's forms.
    :param confirmed: whether the password was confirmed within the last five minutes.
    :param waiting: number of pending approvals, shown to who sees those of others.
    :param preferences: the choices of the account.
    :param cookies: Set-Cookie values for the response.
    :param secret: a text that the redirect to this page brought, which is shown once; empty without one.
    :param pending: the proof of the first step of a sign-in; empty without one.
    :param attempt: the attempt to sign in with a provider; empty without one.
    :param ended: how the session of the browser's cookie has ended; ``None``: it has not, or that is not known.
    :param draft_id: the draft to fill into a form of the page, or ``None``.
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
    secret: str = field(default="", repr=False)
    pending: str = field(default="", repr=False)
    attempt: str = field(default="", repr=False)
    ended: EndedSession | None = None
    draft_id: int | None = None
    preferences: Preferences = field(default_factory=Preferences)

    @property
    def host(self) -> str:
        """Return name and port by which browsers reach these pages; empty when the Host header is invalid."""
        return urlsplit(named_origin(self.request, self.request.named_host)).netloc

    @property
    def origin(self) -> str:
        """Return the origin by which browsers reach these pages."""
        return named_origin(self.request, self.request.named_host) or "https://localhost"

    @property
    def address(self) -> str:
        """Return the peer's IP address."""
        return self.request.address

    @property
    def agent(self) -> str:
        """Return the User-Agent."""
        return (self.request.getHeader(b"User-Agent") or b"").decode("latin-1")

    @property
    def target(self) -> str:
        """Return the requested path and query."""
        return self.request.uri.decode("ascii", "replace")

    @property
    def form_page(self) -> str:
        """Return the path and query of the page that a form stands or stood on, where its entries can be restored."""
        if self.request.method == b"POST":
            return own_path(self.form.text("from_page"), self.request.path.decode("ascii", "replace"))
        return self.target

    @property
    def previous(self) -> str:
        """Return the path and query of the list or object whose page led to this form, or an empty string.

        A submitted form has it in a hidden field, and the first page knows it from the Referer.
        """
        if self.request.method == b"POST":
            text = self.form.text("back")
        else:
            referer = urlsplit((self.request.getHeader(b"Referer") or b"").decode("latin-1"))
            text = f"{referer.path}?{referer.query}" if referer.query else referer.path
        path = own_path(text, "").partition("?")[0]
        here = self.request.path.decode("ascii", "replace")
        return text if path not in ("", "/") and here.startswith(f"{path}/") else ""

    def back_to(self, path: str, otherwise: str = "") -> str:
        """Return the list at *path* with the filters that it had before this form, if that led here.

        :param otherwise: returned if the form was opened elsewhere; by default *path*.
        """
        previous = self.previous
        return previous if previous.partition("?")[0] == path else otherwise or path

    @property
    def id(self) -> int:
        """Return the ``id`` of the path.

        :raises NotFound: when no object can have it.
        """
        return self.number("id")

    def number(self, name: str) -> int:
        """Return a variable segment of the path as an id.

        :raises NotFound: when no object can have it.
        """
        return id_of(self.path[name])

    def require_confirmation(self) -> None:
        """Check that the password was confirmed within the last five minutes.

        :raises PasswordNeeded: it was not; the browser is redirected to the confirmation and back.
        """
        if not self.confirmed:
            raise PasswordNeeded

    def signed_in(self) -> Account:
        """Return the account; only for pages with an audience of users."""
        assert self.account is not None  # noqa: S101 - Audience.USER and Audience.ADMIN ensure it
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
    background: bool = False
    keeps_draft: bool = True
    restricted: bool = False

    @property
    def admits_restricted(self) -> bool:
        """Whether an account may open the page before it has done what is demanded of it at sign-in."""
        return self.restricted or self.audience is Audience.ANYONE

    def admit(self, principal: Principal) -> None:
        """Check that the principal may see the page at all.

        :raises AuthenticationFailed: for an anonymous one.
        :raises NotAuthorized: for a user, where only administrators may.
        """
        require_audience(principal, self.audience)


def page(
    method: str,
    path: str,
    *,
    audience: Audience,
    background: bool = False,
    keeps_draft: bool = True,
    restricted: bool = False,
) -> Callable[[Serve], Page]:
    """Return a decorator that turns a coroutine method ``(self, visit) -> PageReply`` into a page.

    :param background: a script requests it, so it does not count as activity (USR-3, automatic sign-out).
    :param restricted: an account may open it before it has done what is demanded of it at sign-in.
    :param keeps_draft: whether the form's entries are kept when the session has ended; not if they may be secret.
    """

    def declare(serve: Serve) -> Page:
        name = serve.__qualname__.replace("Pages.", ".")
        return Page(method, path, audience, name, serve, background, keeps_draft, restricted)

    return declare


class Pages:
    """Base of a class with pages: one for each kind of object."""

    def pages(self) -> list[Page]:
        """Return the pages declared in the class, bound to this object, in order."""
        return [
            replace(one, serve=_bound(one.serve, self)) for one in vars(type(self)).values() if isinstance(one, Page)
        ]


def _bound(serve: Serve, instance: object) -> Serve:
    return lambda _, visit: serve(instance, visit)
