"""A browser in memory: cookies, forms and their hidden fields, one page at a time through a whole site."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from twisted.internet.task import Clock

from pikachu.core.model.people import SYSTEM, Account, AccountState, Role
from pikachu.http.request import Limits, PathRule, Site
from pikachu.http.tree import Tree
from pikachu.server.pages import ui_tree
from pikachu.server.rest import api_routes
from pikachu.web.ui.application import UIResource
from tests.support.connections import Plain
from tests.support.deferreds import result_of
from tests.support.stack import Response, Stack, ask

BODY_LIMIT = 2 * 1024 * 1024


@dataclass
class Pages:
    """The site of one stack's pages, and accounts by name; their passwords are ``password of NAME``."""

    stack: Stack
    clock: Clock
    resource: UIResource
    site: Site
    accounts: dict[str, Account] = field(default_factory=dict)

    def add(self, name: str, role: Role = Role.USER, state: AccountState = AccountState.ACTIVE) -> Account:
        """An account."""
        adding = self.stack.app.accounts.add_user(
            SYSTEM, name, f"{name}@example.com", role, state, f"password of {name}"
        )
        self.accounts[name] = result_of(adding)
        return self.accounts[name]

    def visitor(self, name: str | None = None, *, confirmed: bool = False) -> Visitor:
        """A browser, signed in as *name*.

        :param confirmed: the password was given again since, so that secrets are shown.
        """
        visitor = Visitor(self)
        if name is not None:
            visitor.sign_in(name)
            if confirmed:
                visitor.confirm(name)
        return visitor


@dataclass
class Visitor:
    """One browser."""

    pages: Pages
    cookies: dict[str, str] = field(default_factory=dict)

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Response:
        """One request with the cookies; those that come back are kept."""
        fields = dict(headers or {})
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        response = ask(self.pages.site, self.pages.clock, path, method, body, fields)
        top = response.raw.partition(b"\r\n\r\n")[0].decode("latin-1")
        for name, value, rest in re.findall(r"(?im)^set-cookie: ([^=]+)=([^;\r]*)([^\r]*)", top):
            assert "Secure" in rest
            assert "HttpOnly" in rest
            if "Max-Age=0" in rest:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return response

    def listen(self, path: str, connection: Plain | None = None) -> Plain:
        """A connection on which an answer without an end has begun."""
        connection = connection or Plain(self.pages.site, self.pages.clock)
        fields = {"Host": "ca.example.org", "Accept": "text/html"}
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        connection.deliver("\r\n".join(lines).encode("ascii"))
        return connection

    def get(self, path: str, *, status: int = 200) -> str:
        """The text of a page that must have that status; redirections are not followed."""
        response = self.request("GET", path)
        assert response.status == status, (response.status, response.headers.get("Location"), response.body[-2000:])
        return response.body.decode()

    def post(
        self, path: str, fields: Mapping[str, str] | None = None, *, page: str | None = None, csrf: str | None = None
    ) -> Response:
        """Send a form, with the hidden field of the page that it stands on.

        :param page: the page with the form; by default ``/help`` or, if not signed in, ``/login``.
        """
        token = self.csrf(page) if csrf is None else csrf
        body = urlencode({**self._version(path, fields or {}), **(fields or {}), "csrf": token}).encode()
        return self.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})

    def post_pairs(self, path: str, fields: Sequence[tuple[str, str]]) -> Response:
        """Send a form in which a field may occur several times."""
        body = urlencode([*fields, ("csrf", self.csrf())]).encode()
        return self.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})

    def _version(self, path: str, fields: Mapping[str, str]) -> dict[str, str]:
        """The hidden field of a form that changes an object, unless *fields* have it."""
        if "version" in fields or not path.endswith(("/edit", "/delete", "/replace", "/ra/validity")):
            return {}
        page = self.request("GET", "/ra" if path == "/ra/validity" else path).body.decode()
        # Another form may stand before it.
        form = page.partition(f'action="{path}"')[2] or page
        found = re.search(r'name="version" value="([0-9]+)"', form)
        return {} if found is None else {"version": found[1]}

    def csrf(self, page: str | None = None) -> str:
        """The hidden field of the forms of this browser's pages: one for all."""
        # The dashboard would do, but asks the most of the database.
        text = self.get(page or "/help")
        if page is None and 'action="/logout"' not in text:
            text = self.get("/login")
        found = re.search(r'name="csrf" value="([^"]*)"', text)
        assert found, text
        return html.unescape(found[1])

    def sign_in(self, name: str, password: str | None = None) -> Response:
        """Fill the form of ``/login``."""
        password = f"password of {name}" if password is None else password
        return self.post("/login", {"username": name, "password": password})

    def follow(self, response: Response) -> str:
        """The page that a 303 leads to."""
        assert response.status == 303, (response.status, response.body[-2000:])
        return self.get(response.headers["Location"])

    def confirm(self, name: str) -> None:
        """Give the password again."""
        response = self.post("/confirm", {"password": f"password of {name}", "next": "/"}, page="/confirm")
        assert response.status == 303


def asks_again(response: Response) -> bool:
    """Whether the confirmation page is shown again, since the word was not typed."""
    page = response.body.decode()
    return response.status == 409 and "Type the word" in text_of(page) and 'name="confirm"' in page


def make_pages(stack: Stack) -> Pages:
    """The pages over *stack*, with alice, bob and the admin root."""
    resource, static = ui_tree(stack.app, api_routes(stack.app))
    tree = Tree(resource)
    tree.putChild(b"static", static)
    limits = Limits(rules=(PathRule(b"/", BODY_LIMIT),))
    pages = Pages(stack, stack.clock, resource, stack.site(tree, limits=limits))
    pages.add("alice")
    pages.add("bob")
    pages.add("root", Role.ADMIN)
    return pages


def text_of(page: str) -> str:
    """Return the text of a page's main part, without tags."""
    main = page.partition("<main")[2].partition(">")[2]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", main))).strip()
