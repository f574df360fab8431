"""Pages: authorization of every page (UI-1, CRT-7).  A page that is missing from the table fails a test.

A GET is checked by its status, a POST by whether the caller passes authorization: an empty form is wrong, but
unauthorized callers are refused before the form is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from pikachu.auth.authenticator import account_principal
from pikachu.auth.permissions import Audience
from pikachu.core.model.people import SYSTEM
from pikachu.x509.certificate import parse_certificate
from tests.support.deferreds import result_of
from tests.support.ra import stored_request, waiting_request
from tests.support.recovered import recover
from tests.support.stack import build_core
from tests.support.visitor import Pages, Visitor, make_pages

CALLERS = ("nobody", "owner", "other", "admin")
Expected = tuple[int, ...]

ANYONE: Expected = (200, 200, 200, 200)
USERS: Expected = (302, 200, 200, 200)
ADMINS: Expected = (302, 403, 403, 200)
#: An object of alice's: others don't see it.
OWN: Expected = (302, 200, 404, 200)


COUNT = itertools.count(1)


def made(form: str, fields: Mapping[str, str], after: str = "") -> Callable[[Pages, Visitor], str]:
    """Sends a form that makes an object and leads to its page; gives that page's address with *after* behind it."""

    def make(_: Pages, owner: Visitor) -> str:
        response = owner.post(form, {name: value.replace("NEXT", str(next(COUNT))) for name, value in fields.items()})
        assert response.status == 303, response.body
        return response.headers["Location"] + after

    return make


def templates(after: str = "") -> Callable[[Pages, Visitor], str]:
    fields = {"name": "mine", "profile_type": "Device", "content": "[ v3_ext ]\n"}
    return made("/templates/new", fields, after)


def policies(after: str = "") -> Callable[[Pages, Visitor], str]:
    return made("/policies/new", {"name": "policy NEXT", "days": "9", "extensions": "[ v3_ext ]\n"}, after)


def job(after: str = "") -> Callable[[Pages, Visitor], str]:
    fields = {"resource": "keys", "action": "delete", "rows": "page", "page": "1", "confirm": "1"}
    return made("/jobs", fields, after)


def event_path(pages: Pages, owner: Visitor) -> str:
    """An event about what is alice's."""
    pages.stack.issue("event.example.com", owner_id=pages.accounts["alice"].id)
    return f"/events/{result_of(pages.stack.app.store.newest_event())}"


def stored_key(action: str) -> Callable[[Pages, Visitor], str]:
    """The path of a page about a key of alice's."""

    def make(pages: Pages, owner: Visitor) -> str:
        principal = account_principal(pages.accounts["alice"], "192.0.2.1")
        return f"/keys/{result_of(pages.stack.app.keys.generate(principal, 'mine', 'ed25519')).id}{action}"

    return make


def kept_request(list_path: str, action: str) -> Callable[[Pages, Visitor], str]:
    """The same of a stored request."""
    return lambda pages, owner: f"{list_path}/{stored_request(pages).id}{action}"


def own_certificate(action: str) -> Callable[[Pages, Visitor], str]:
    """The same of a certificate."""
    return lambda pages, owner: (
        f"/certificates/{pages.stack.issue(owner_id=pages.accounts['alice'].id).record.id}{action}"
    )


def token(after: str) -> Callable[[Pages, Visitor], str]:
    """A page about a token of alice's."""

    def make(pages: Pages, _: Visitor) -> str:
        making = pages.stack.app.tokens.create(SYSTEM, pages.accounts["alice"].id, f"token {next(COUNT)}")
        return f"/account/tokens/{result_of(making)[0].id}{after}"

    return make


def bound_certificate(pages: Pages, _: Visitor) -> str:
    """The page that asks whether a client certificate shall sign alice in no more."""
    leaf = parse_certificate(pages.stack.issue(owner_id=pages.accounts["alice"].id).der)
    bound = result_of(pages.stack.app.sessions.bind(SYSTEM, pages.accounts["alice"].id, leaf))
    return f"/account/certificates/{bound.id}/unbind"


def user(action: str) -> Callable[[Pages, Visitor], str]:
    """A page about bob."""
    return lambda pages, _: f"/users/{pages.accounts['bob'].id}{action}"


def recovered(path: str) -> Callable[[Pages, Visitor], str]:
    """A page about a recovered revocation."""
    return lambda pages, _: path.format(recover(pages.stack.app, pages.clock, 0x7000 + next(COUNT))[-1])


#: GET pages: what nobody, the owner, another user and an admin get.
TABLE: dict[str, Expected] = {
    "GET /": USERS,
    "GET /login": (200, 303, 303, 303),
    "GET /logout": (303, 200, 200, 200),
    "GET /confirm": USERS,
    "GET /session": USERS,
    "GET /register": (200, 303, 303, 303),
    "GET /account": USERS,
    "GET /account/password": USERS,
    "GET /account/tokens/new": USERS,
    "GET /account/tokens/<id>/end": OWN,
    "GET /account/tokens/<id>/created": OWN,
    "GET /account/certificates/new": USERS,
    "GET /account/certificates/<id>/unbind": OWN,
    "GET /users": ADMINS,
    "GET /users/new": ADMINS,
    "GET /users/<id>": ADMINS,
    "GET /users/<id>/edit": ADMINS,
    "GET /users/<id>/password": ADMINS,
    "GET /users/<id>/password-code": ADMINS,
    "GET /reset": ANYONE,
    "GET /users/<id>/delete": ADMINS,
    "GET /users/<id>/<name>": ADMINS,
    "GET /keys": USERS,
    "GET /generate": USERS,
    "GET /keys/import": USERS,
    "GET /keys/<id>": OWN,
    "GET /keys/<id>/public": OWN,
    "GET /keys/<id>/private": OWN,
    "GET /keys/<id>/download": OWN,
    "GET /keys/<id>/delete": OWN,
    "GET /certificates/<id>/pfx": OWN,
    "GET /csrs": USERS,
    "GET /csrs/upload": USERS,
    "GET /csrs/generate": USERS,
    "GET /csrs/<id>": OWN,
    "GET /csrs/<id>/download": OWN,
    "GET /csrs/<id>/delete": OWN,
    "GET /ra": USERS,
    "GET /ra/csrs/<id>/reject": ADMINS,
    "GET /ra/approvals": USERS,
    "GET /ra/approvals/<id>": OWN,
    "GET /ra/approvals/<id>/approve": ADMINS,
    "GET /ra/approvals/<id>/reject": ADMINS,
    "GET /live/panels": USERS,
    "GET /expiry": USERS,
    "GET /events": USERS,
    "GET /events/<id>": OWN,
    "GET /events/verification": ADMINS,
    "GET /reports": ADMINS,
    "GET /reports/file": ADMINS,
    "GET /users/events": ADMINS,
    "GET /account/events": USERS,
    "GET /jobs": USERS,
    "GET /jobs/<id>": OWN,
    "GET /jobs/<id>/progress": OWN,
    # The job has no file; an admin gets none of another's.
    "GET /jobs/<id>/file": (302, 404, 404, 403),
    "GET /help": ANYONE,
    "GET /help/<name>": ANYONE,
    "GET /chat": USERS,
    "GET /certificates": USERS,
    "GET /certificates/new": USERS,
    "GET /devices": USERS,
    "GET /devices/<id>": OWN,
    "GET /devices/<id>/retire": OWN,
    "GET /devices/<id>/reinstate": OWN,
    "GET /certificates/<id>": OWN,
    "GET /certificates/<id>/download": OWN,
    "GET /certificates/<id>/renew": OWN,
    "GET /certificates/<id>/revoke": OWN,
    "GET /certificates/<id>/release": OWN,
    "GET /certificates/<id>/delete": OWN,
    "GET /va": USERS,
    "GET /va/crl/<ca>": USERS,
    "GET /va/upload": ADMINS,
    "GET /va/recovered": ADMINS,
    "GET /va/recovered/<id>/<name>": ADMINS,
    "GET /va/recovered-all/<name>": ADMINS,
    "GET /ca": USERS,
    "GET /ca/<name>": USERS,
    "GET /templates": USERS,
    "GET /templates/new": USERS,
    "GET /templates/<id>": OWN,
    "GET /templates/<id>/download": OWN,
    "GET /templates/<id>/edit": OWN,
    "GET /templates/<id>/delete": OWN,
    "GET /x509-templates": ADMINS,
    "GET /x509-templates/<name>": ADMINS,
    "GET /policies": USERS,
    "GET /policies/new": USERS,
    "GET /policies/<id>": OWN,
    "GET /policies/<id>/edit": OWN,
    "GET /policies/<id>/delete": OWN,
    "GET /challenge-passwords": USERS,
    "GET /challenge-passwords/new": USERS,
    "GET /challenge-passwords/<id>": OWN,
    "GET /challenge-passwords/<id>/text": (302, 200, 404, 404),
    "GET /challenge-passwords/<id>/delete": OWN,
    "GET /challenge-passwords/<id>/commands": (302, 200, 404, 404),
    "GET /challenge-passwords/delete-expired": USERS,
    "GET /challenge-passwords/delete-expired-system": ADMINS,
    "GET /batches": USERS,
    "GET /batches/new": USERS,
    "GET /batches/<id>": OWN,
    "GET /batches/<id>/passwords": OWN,
    "GET /batches/<id>/scripts": OWN,
    "GET /batches/<id>/labels": OWN,
    "GET /batches/<id>/end": OWN,
    "GET /inspect": USERS,
    "GET /apis": USERS,
    "GET /apis/reference": USERS,
    "GET /config": ADMINS,
    "GET /setup": ADMINS,
    "GET /search": USERS,
    "GET /search/results": USERS,
    "GET /views/<list>/filters": USERS,
    "GET /logs": ADMINS,
    "GET /logs/lines": (302, 403, 403, 404),
}

#: POST pages: who gets past the door.
POSTS: dict[str, Audience] = {
    "POST /login": Audience.ANYONE,
    "POST /login/certificate": Audience.ANYONE,
    "POST /logout": Audience.ANYONE,
    "POST /inspect": Audience.USER,
    "POST /confirm": Audience.USER,
    "POST /session": Audience.USER,
    "POST /register": Audience.ANYONE,
    "POST /account/email": Audience.USER,
    "POST /account/display": Audience.USER,
    "POST /account/password": Audience.USER,
    "POST /account/sessions/<id>/end": Audience.USER,
    "POST /account/tokens": Audience.USER,
    "POST /account/tokens/<id>/end": Audience.USER,
    "POST /account/certificates": Audience.USER,
    "POST /account/certificates/<id>/unbind": Audience.USER,
    "POST /users": Audience.ADMIN,
    "POST /users/<id>/edit": Audience.ADMIN,
    "POST /users/<id>/password": Audience.ADMIN,
    "POST /users/<id>/unlock": Audience.ADMIN,
    "POST /reset": Audience.ANYONE,
    "POST /users/<id>/delete": Audience.ADMIN,
    "POST /users/<id>/<name>": Audience.ADMIN,
    "POST /users/<id>/sessions/<number>/end": Audience.ADMIN,
    "POST /generate": Audience.USER,
    "POST /keys/import": Audience.USER,
    "POST /keys/<id>/private": Audience.USER,
    "POST /keys/<id>/download": Audience.USER,
    "POST /keys/<id>/delete": Audience.USER,
    "POST /certificates/new": Audience.USER,
    "POST /certificates/new/preview": Audience.USER,
    "POST /certificates/<id>/pfx": Audience.USER,
    "POST /csrs/upload": Audience.USER,
    "POST /csrs/generate": Audience.USER,
    "POST /csrs/preview": Audience.USER,
    "POST /csrs/<id>/delete": Audience.USER,
    "POST /ra": Audience.USER,
    "POST /ra/sign": Audience.USER,
    "POST /ra/validity": Audience.ADMIN,
    "POST /ra/csrs/<id>/reject": Audience.ADMIN,
    "POST /ra/approvals/<id>/approve": Audience.ADMIN,
    "POST /ra/approvals/<id>/reject": Audience.ADMIN,
    "POST /templates/new": Audience.USER,
    "POST /templates/<id>/edit": Audience.USER,
    "POST /templates/<id>/delete": Audience.USER,
    "POST /x509-templates/<name>": Audience.ADMIN,
    "POST /policies/new": Audience.USER,
    "POST /policies/<id>/edit": Audience.USER,
    "POST /policies/<id>/delete": Audience.USER,
    "POST /challenge-passwords": Audience.USER,
    "POST /challenge-passwords/<id>/reveal": Audience.USER,
    "POST /challenge-passwords/<id>/delete": Audience.USER,
    "POST /challenge-passwords/delete-expired": Audience.USER,
    "POST /challenge-passwords/delete-expired-system": Audience.ADMIN,
    "POST /batches": Audience.USER,
    "POST /batches/<id>/end": Audience.USER,
    "POST /batches/<id>/resume": Audience.USER,
    "POST /events/verification": Audience.ADMIN,
    "POST /jobs": Audience.USER,
    "POST /jobs/new": Audience.USER,
    "POST /jobs/<id>/cancel": Audience.USER,
    "POST /chat": Audience.USER,
    "POST /setup/<name>/confirm": Audience.ADMIN,
    "POST /setup/<name>/withdraw": Audience.ADMIN,
    "POST /setup/dismiss": Audience.ADMIN,
    "POST /setup/resume": Audience.ADMIN,
    "POST /views/<list>/columns": Audience.USER,
    "POST /views/<list>/filters": Audience.USER,
    "POST /views/<list>/filters/<id>/rename": Audience.USER,
    "POST /views/<list>/filters/<id>/delete": Audience.USER,
    "POST /certificates/<id>/renew": Audience.USER,
    "POST /certificates/<id>/renew/preview": Audience.USER,
    "POST /devices/<id>/challenge-passwords": Audience.USER,
    "POST /devices/<id>/retire": Audience.USER,
    "POST /devices/<id>/reinstate": Audience.USER,
    "POST /certificates/<id>/revoke": Audience.USER,
    "POST /certificates/<id>/release": Audience.USER,
    "POST /certificates/<id>/delete": Audience.USER,
    "POST /va/crl/<ca>": Audience.ADMIN,
    "POST /va/upload": Audience.ADMIN,
    "POST /va/recovered/<id>/<name>": Audience.ADMIN,
    "POST /va/recovered-all/<name>": Audience.ADMIN,
}


def certificate(action: str) -> Callable[[Pages, Visitor], str]:
    """A page about a new certificate of alice's."""

    def made(pages: Pages, _: Visitor) -> str:
        issued = pages.stack.issue(owner_id=pages.accounts["alice"].id)
        return f"/certificates/{issued.record.id}{action}"

    return made


def device(action: str = "") -> Callable[[Pages, Visitor], str]:
    """A page about a new device of alice's."""

    def made(pages: Pages, _: Visitor) -> str:
        issued = pages.stack.issue(owner_id=pages.accounts["alice"].id)
        return f"/devices/{issued.record.device_id}{action}"

    return made


#: GET pages whose answers have no end.
STREAMS: dict[str, Expected] = {"GET /live": USERS}

#: How an object of alice's is made for a page with a variable part: gives the path.
MAKERS: dict[str, Callable[[Pages, Visitor], str]] = {
    **{f"GET /keys/<id>{action}": stored_key(action) for action in ("", "/public", "/private", "/download", "/delete")},
    **{f"GET /csrs/<id>{action}": kept_request("/csrs", action) for action in ("", "/download", "/delete")},
    "GET /certificates/<id>/pfx": own_certificate("/pfx"),
    "GET /events/<id>": event_path,
    "GET /jobs/<id>": job(),
    "GET /jobs/<id>/progress": job("/progress"),
    "GET /jobs/<id>/file": job("/file"),
    "GET /help/<name>": lambda _pages, _owner: "/help/est",
    **{f"GET /account/tokens/<id>{after}": token(after) for after in ("/end", "/created")},
    "GET /account/certificates/<id>/unbind": bound_certificate,
    **{f"GET /users/<id>{action}": user(action) for action in ("", "/edit", "/password", "/password-code", "/delete")},
    "GET /users/<id>/<name>": user("/suspend"),
    "GET /ra/csrs/<id>/reject": lambda pages, _: f"/ra/csrs/{stored_request(pages).id}/reject",
    "GET /ra/approvals/<id>": lambda pages, _: f"/ra/approvals/{waiting_request(pages)}",
    "GET /ra/approvals/<id>/approve": lambda pages, _: f"/ra/approvals/{waiting_request(pages)}/approve",
    "GET /ra/approvals/<id>/reject": lambda pages, _: f"/ra/approvals/{waiting_request(pages)}/reject",
    **{f"GET /certificates/<id>{action}": certificate(action) for action in ("", "/download", "/revoke", "/release")},
    **{f"GET /devices/<id>{action}": device(action) for action in ("", "/retire", "/reinstate")},
    "GET /certificates/<id>/delete": certificate("/delete"),
    "GET /certificates/<id>/renew": certificate("/renew"),
    "GET /va/crl/<ca>": lambda pages, _: "/va/crl/ec",
    "GET /va/recovered/<id>/<name>": recovered("/va/recovered/{}/release"),
    "GET /va/recovered-all/<name>": recovered("/va/recovered-all/keep"),
    "GET /views/<list>/filters": lambda pages, _: "/views/keys/filters",
    "GET /ca/<name>": lambda pages, _: "/ca/root",
    "GET /templates/<id>": templates(),
    "GET /templates/<id>/download": templates("/download"),
    "GET /templates/<id>/edit": templates("/edit"),
    "GET /templates/<id>/delete": templates("/delete"),
    "GET /x509-templates/<name>": lambda pages, owner: "/x509-templates/device.cnf.j2",
    "GET /policies/<id>": policies(),
    "GET /policies/<id>/edit": policies("/edit"),
    "GET /policies/<id>/delete": policies("/delete"),
    "GET /challenge-passwords/<id>": made("/challenge-passwords", {}),
    "GET /challenge-passwords/<id>/text": made("/challenge-passwords", {}, "/text"),
    "GET /challenge-passwords/<id>/delete": made("/challenge-passwords", {}, "/delete"),
    "GET /challenge-passwords/<id>/commands": made("/challenge-passwords", {"subject": "CN=a"}, "/commands"),
    **{
        f"GET /batches/<id>{after}": made("/batches", {"label": "x", "names": "a"}, after)
        for after in ("", "/passwords", "/scripts", "/labels", "/end")
    },
}


@dataclass
class World:
    """The pages and a browser of each caller."""

    pages: Pages
    callers: dict[str, Visitor] = field(default_factory=dict)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    stack = build_core(tmp_path_factory.mktemp("core"))
    pages = make_pages(stack)
    names = {"nobody": None, "owner": "alice", "other": "bob", "admin": "root"}
    yield World(pages, {caller: pages.visitor(name, confirmed=True) for caller, name in names.items()})
    stack.close()


def test_all_pages_stand_in_the_table(world: World) -> None:
    """A new page has to say here who may use it."""
    declared = {f"{page.method} {page.path}": page.audience for page in world.pages.resource.pages}
    assert {name for name in declared if name.startswith("GET")} == {*TABLE, *STREAMS}
    assert {name: who for name, who in declared.items() if name.startswith("POST")} == POSTS


@pytest.mark.parametrize("route", TABLE)
def test_get(world: World, route: str) -> None:
    """Each caller gets the status that the table says."""
    path = route.partition(" ")[2]
    if "<" in path:
        path = MAKERS[route](world.pages, world.callers["owner"])
    found = tuple(world.callers[caller].request("GET", path).status for caller in CALLERS)
    assert found == TABLE[route]


@pytest.mark.parametrize("route", STREAMS)
def test_streams(world: World, route: str) -> None:
    """Event streams follow the same rules."""
    found = []
    for caller in CALLERS:
        connection = world.callers[caller].listen(route.partition(" ")[2])
        found.append(int(connection.received().split()[1]))
        hang_up: Any = connection.transport
        hang_up.loseConnection()
    assert tuple(found) == STREAMS[route]


@pytest.mark.parametrize("route", POSTS)
def test_post(world: World, route: str) -> None:
    """Unauthorized callers are refused, and so are authorized ones without the CSRF field."""
    path = route.partition(" ")[2].replace("<id>", "1").replace("<name>", "x").replace("<number>", "1")
    who = POSTS[route]
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for caller in CALLERS:
        response = world.callers[caller].request("POST", path, b"", headers)
        if who is not Audience.ANYONE and caller == "nobody":
            assert response.status == 303
            assert response.headers["Location"].startswith("/login")
        else:
            assert response.status == 403
