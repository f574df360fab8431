"""Pages: authorization of every page for every role (UI-1, CRT-7, ROL-1).

A page that is missing from the table fails a test.

A GET is checked by its status, a POST by whether the caller passes authorization: an empty form is wrong, but
unauthorized callers are refused before the form is read.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pikachu.auth.permissions import AUDIENCE_ROLES, Audience
from pikachu.core.model.people import Role
from tests.support.page_paths import (
    bound_certificate,
    certificate,
    device,
    event_path,
    identity_list,
    job,
    kept_request,
    made,
    notice_rule,
    own_certificate,
    passkey,
    policies,
    recovered,
    stored_key,
    templates,
    token,
    user,
)
from tests.support.ra import stored_request, waiting_request
from tests.support.stack import build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of

CALLERS = ("nobody", "owner", "other", "operator", "auditor", "admin")
Expected = tuple[int, ...]

ANYONE: Expected = (200,) * 6
USERS: Expected = (302, 200, 200, 200, 200, 200)
REQUESTERS: Expected = (302, 200, 200, 200, 403, 200)
OPERATORS: Expected = (302, 403, 403, 200, 403, 200)
STAFF: Expected = (302, 403, 403, 200, 200, 200)
AUDITORS: Expected = (302, 403, 403, 403, 200, 200)
ADMINS: Expected = (302, 403, 403, 403, 403, 200)
#: A certificate, CSR, approval, batch or event about one, of alice's: other users don't see it; and changing it.
OWN: Expected = (302, 200, 404, 200, 200, 200)
CHANGE: Expected = (302, 200, 404, 200, 403, 200)
#: A key, template, policy, challenge password or job on those, of alice's; and changing it or seeing its secrets.
PERSONAL: Expected = (302, 200, 404, 404, 200, 200)
CHANGE_PERSONAL: Expected = (302, 200, 404, 404, 403, 200)


#: GET pages: what nobody, the owner, another user and an admin get.
TABLE: dict[str, Expected] = {
    "GET /": USERS,
    "GET /login": (200, 303, 303, 303, 303, 303),
    "GET /logout": (303, 200, 200, 200, 200, 200),
    # All of them have just given their password.
    "GET /confirm": (302, 303, 303, 303, 303, 303),
    "GET /login/oidc": (404,) * 6,
    "GET /login/oidc/callback": (404,) * 6,
    "GET /confirm/oidc": (302, 404, 404, 404, 404, 404),
    "GET /login/code": (303,) * 6,
    "GET /account/second-factor/new": USERS,
    "GET /account/second-factor/codes": USERS,
    "GET /account/second-factor/remove": USERS,
    "GET /users/<id>/second-factor": ADMINS,
    "GET /account/passkeys/new": USERS,
    "GET /account/passkeys/options": USERS,
    "GET /account/passkeys/<id>/remove": PERSONAL,
    "GET /login/passkey": (200,) * 6,
    "GET /login/code/passkey": (403,) * 6,
    "GET /session": USERS,
    "GET /register": (200, 303, 303, 303, 303, 303),
    "GET /account": USERS,
    "GET /account/password": USERS,
    "GET /account/tokens/new": USERS,
    "GET /account/tokens/<id>/end": PERSONAL,
    "GET /account/tokens/<id>/created": PERSONAL,
    "GET /account/certificates/new": USERS,
    "GET /account/certificates/<id>/unbind": PERSONAL,
    "GET /users": AUDITORS,
    "GET /users/new": ADMINS,
    "GET /users/<id>": AUDITORS,
    "GET /users/<id>/edit": ADMINS,
    "GET /users/<id>/password": ADMINS,
    "GET /users/<id>/password-code": ADMINS,
    "GET /reset": ANYONE,
    "GET /users/<id>/delete": ADMINS,
    "GET /users/<id>/<name>": ADMINS,
    "GET /keys": USERS,
    "GET /generate": REQUESTERS,
    "GET /keys/import": REQUESTERS,
    "GET /keys/<id>": PERSONAL,
    "GET /keys/<id>/public": PERSONAL,
    "GET /keys/<id>/private": CHANGE_PERSONAL,
    "GET /keys/<id>/download": CHANGE_PERSONAL,
    "GET /keys/<id>/delete": CHANGE_PERSONAL,
    # An operator is told that the key is not available.
    "GET /certificates/<id>/pfx": CHANGE,
    "GET /csrs": USERS,
    "GET /csrs/upload": REQUESTERS,
    "GET /csrs/generate": REQUESTERS,
    "GET /csrs/<id>": OWN,
    "GET /csrs/<id>/download": OWN,
    "GET /csrs/<id>/delete": CHANGE,
    "GET /ra": REQUESTERS,
    "GET /ra/csrs/<id>/reject": OPERATORS,
    "GET /ra/approvals": USERS,
    "GET /ra/approvals/<id>": OWN,
    "GET /ra/approvals/<id>/approve": OPERATORS,
    "GET /ra/approvals/<id>/reject": OPERATORS,
    "GET /live/panels": USERS,
    "GET /expiry": USERS,
    "GET /events": USERS,
    "GET /events/<id>": OWN,
    "GET /reports": AUDITORS,
    "GET /reports/file": AUDITORS,
    "GET /events/verification": AUDITORS,
    "GET /events/checkpoint": AUDITORS,
    "GET /users/events": AUDITORS,
    "GET /account/events": USERS,
    "GET /jobs": USERS,
    "GET /jobs/<id>": PERSONAL,
    "GET /jobs/<id>/progress": PERSONAL,
    # The job has no file; who sees another's gets none either.
    "GET /jobs/<id>/file": (302, 404, 404, 404, 403, 403),
    "GET /help": ANYONE,
    # No PDF is made where these tests run.
    "GET /help/pdf": (404, 404, 404, 404, 404, 404),
    "GET /help/<name>": ANYONE,
    "GET /chat": USERS,
    "GET /certificates": USERS,
    "GET /identity-lists": STAFF,
    "GET /housekeeping": ADMINS,
    "GET /notices": AUDITORS,
    "GET /notices/messages": AUDITORS,
    "GET /notices/new": ADMINS,
    "GET /notices/test": ADMINS,
    "GET /notices/<id>": ADMINS,
    "GET /notices/<id>/delete": ADMINS,
    "GET /identity-lists/new": ADMINS,
    "GET /identity-lists/<id>": STAFF,
    "GET /identity-lists/<id>/replace": ADMINS,
    "GET /identity-lists/<id>/delete": ADMINS,
    "GET /devices": USERS,
    "GET /devices/<id>": OWN,
    "GET /certificates/new": REQUESTERS,
    "GET /devices/<id>/retire": CHANGE,
    "GET /devices/<id>/reinstate": CHANGE,
    "GET /certificates/<id>": OWN,
    "GET /certificates/<id>/download": OWN,
    "GET /certificates/<id>/proof": OWN,
    "GET /certificates/<id>/renew": CHANGE,
    "GET /certificates/<id>/revoke": CHANGE,
    "GET /certificates/<id>/release": CHANGE,
    "GET /certificates/<id>/delete": CHANGE,
    "GET /va": USERS,
    "GET /va/crl/<ca>": USERS,
    "GET /va/upload": ADMINS,
    "GET /va/recovered": AUDITORS,
    "GET /va/recovered/<id>/<name>": ADMINS,
    "GET /va/recovered-all/<name>": ADMINS,
    "GET /ca": USERS,
    "GET /ca/<name>": USERS,
    "GET /templates": USERS,
    "GET /templates/new": REQUESTERS,
    "GET /templates/<id>": PERSONAL,
    "GET /templates/<id>/download": PERSONAL,
    "GET /templates/<id>/edit": CHANGE_PERSONAL,
    "GET /templates/<id>/delete": CHANGE_PERSONAL,
    "GET /x509-templates": AUDITORS,
    "GET /x509-templates/<name>": AUDITORS,
    "GET /policies": USERS,
    "GET /policies/new": REQUESTERS,
    "GET /policies/<id>": PERSONAL,
    "GET /policies/<id>/edit": CHANGE_PERSONAL,
    "GET /policies/<id>/delete": CHANGE_PERSONAL,
    "GET /challenge-passwords": USERS,
    "GET /challenge-passwords/new": REQUESTERS,
    "GET /challenge-passwords/<id>": PERSONAL,
    "GET /challenge-passwords/<id>/text": (302, 200, 404, 404, 403, 404),
    "GET /challenge-passwords/<id>/delete": CHANGE_PERSONAL,
    "GET /challenge-passwords/<id>/commands": (302, 200, 404, 404, 403, 404),
    "GET /challenge-passwords/delete-expired": REQUESTERS,
    "GET /challenge-passwords/delete-expired-system": ADMINS,
    "GET /batches": USERS,
    "GET /batches/new": REQUESTERS,
    "GET /batches/<id>": OWN,
    "GET /batches/<id>/labels": (302, 200, 404, 403, 403, 200),
    "GET /batches/<id>/passwords": (302, 200, 404, 403, 403, 200),
    "GET /batches/<id>/scripts": (302, 200, 404, 403, 403, 200),
    "GET /batches/<id>/end": CHANGE,
    "GET /inspect": USERS,
    "GET /apis": USERS,
    "GET /apis/reference": USERS,
    # Without an operation.
    "GET /apis/try": (302, 404, 404, 404, 404, 404),
    "GET /config": AUDITORS,
    "GET /logs": AUDITORS,
    "GET /logs/file": (302, 403, 403, 403, 403, 404),
    "GET /logs/lines": (302, 403, 403, 403, 404, 404),
    "GET /setup": ADMINS,
    "GET /search": USERS,
    "GET /search/results": USERS,
    "GET /views/<list>/filters": USERS,
}

#: POST pages: who gets past the door.
POSTS: dict[str, Audience] = {
    "POST /config/reload": Audience.ADMIN,
    "POST /login": Audience.ANYONE,
    "POST /login/certificate": Audience.ANYONE,
    "POST /logout": Audience.ANYONE,
    "POST /inspect": Audience.USER,
    "POST /confirm": Audience.USER,
    "POST /login/code": Audience.ANYONE,
    "POST /account/second-factor": Audience.USER,
    "POST /account/second-factor/codes": Audience.USER,
    "POST /account/second-factor/remove": Audience.USER,
    "POST /users/<id>/second-factor": Audience.ADMIN,
    "POST /account/passkeys": Audience.USER,
    "POST /account/passkeys/<id>/remove": Audience.USER,
    "POST /login/passkey": Audience.ANYONE,
    "POST /login/code/passkey": Audience.ANYONE,
    "POST /session": Audience.USER,
    "POST /register": Audience.ANYONE,
    "POST /account/email": Audience.USER,
    "POST /account/display": Audience.USER,
    "POST /account/password": Audience.USER,
    "POST /account/sessions/end": Audience.USER,
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
    "POST /users/<id>/sessions/end": Audience.ADMIN,
    "POST /users/<id>/sessions/<number>/end": Audience.ADMIN,
    "POST /generate": Audience.REQUESTER,
    "POST /keys/import": Audience.REQUESTER,
    "POST /keys/<id>/private": Audience.REQUESTER,
    "POST /keys/<id>/download": Audience.REQUESTER,
    "POST /keys/<id>/delete": Audience.REQUESTER,
    "POST /certificates/new": Audience.REQUESTER,
    "POST /certificates/new/preview": Audience.REQUESTER,
    "POST /certificates/<id>/pfx": Audience.REQUESTER,
    "POST /csrs/upload": Audience.REQUESTER,
    "POST /csrs/generate": Audience.REQUESTER,
    "POST /csrs/preview": Audience.REQUESTER,
    "POST /csrs/<id>/delete": Audience.REQUESTER,
    "POST /ra": Audience.REQUESTER,
    "POST /ra/sign": Audience.REQUESTER,
    "POST /ra/validity": Audience.ADMIN,
    "POST /ra/csrs/<id>/reject": Audience.OPERATOR,
    "POST /ra/approvals/<id>/approve": Audience.OPERATOR,
    "POST /ra/approvals/<id>/reject": Audience.OPERATOR,
    "POST /templates/new": Audience.REQUESTER,
    "POST /templates/<id>/edit": Audience.REQUESTER,
    "POST /templates/<id>/delete": Audience.REQUESTER,
    "POST /x509-templates/<name>": Audience.ADMIN,
    "POST /policies/new": Audience.REQUESTER,
    "POST /policies/<id>/edit": Audience.REQUESTER,
    "POST /policies/<id>/delete": Audience.REQUESTER,
    "POST /challenge-passwords": Audience.REQUESTER,
    "POST /challenge-passwords/<id>/reveal": Audience.REQUESTER,
    "POST /challenge-passwords/<id>/delete": Audience.REQUESTER,
    "POST /challenge-passwords/delete-expired": Audience.REQUESTER,
    "POST /challenge-passwords/delete-expired-system": Audience.ADMIN,
    "POST /batches": Audience.REQUESTER,
    "POST /batches/<id>/end": Audience.REQUESTER,
    "POST /batches/<id>/resume": Audience.REQUESTER,
    "POST /events/verification": Audience.AUDITOR,
    "POST /events/verification/consistency": Audience.AUDITOR,
    "POST /housekeeping": Audience.ADMIN,
    "POST /housekeeping/remove": Audience.ADMIN,
    "POST /jobs": Audience.REQUESTER,
    "POST /jobs/new": Audience.REQUESTER,
    "POST /jobs/<id>/cancel": Audience.REQUESTER,
    "POST /chat": Audience.USER,
    "POST /chat/stream": Audience.USER,
    "POST /devices/<id>/challenge-passwords": Audience.REQUESTER,
    "POST /certificates/<id>/renew": Audience.REQUESTER,
    "POST /certificates/<id>/renew/preview": Audience.REQUESTER,
    "POST /certificates/<id>/revoke": Audience.REQUESTER,
    "POST /certificates/<id>/release": Audience.REQUESTER,
    "POST /certificates/<id>/delete": Audience.REQUESTER,
    "POST /setup/<name>/confirm": Audience.ADMIN,
    "POST /setup/<name>/withdraw": Audience.ADMIN,
    "POST /setup/dismiss": Audience.ADMIN,
    "POST /setup/resume": Audience.ADMIN,
    "POST /views/<list>/columns": Audience.USER,
    "POST /views/<list>/filters": Audience.USER,
    "POST /views/<list>/filters/<id>/rename": Audience.USER,
    "POST /views/<list>/filters/<id>/delete": Audience.USER,
    "POST /devices/<id>/retire": Audience.REQUESTER,
    "POST /devices/<id>/reinstate": Audience.REQUESTER,
    "POST /notices": Audience.ADMIN,
    "POST /notices/test": Audience.ADMIN,
    "POST /notices/<id>": Audience.ADMIN,
    "POST /notices/<id>/delete": Audience.ADMIN,
    "POST /identity-lists": Audience.ADMIN,
    "POST /identity-lists/<id>/replace": Audience.ADMIN,
    "POST /identity-lists/<id>/delete": Audience.ADMIN,
    "POST /va/crl/<ca>": Audience.ADMIN,
    "POST /va/upload": Audience.ADMIN,
    "POST /va/recovered/<id>/<name>": Audience.ADMIN,
    "POST /va/recovered-all/<name>": Audience.ADMIN,
}


#: GET pages whose answers have no end.
STREAMS: dict[str, Expected] = {"GET /live": USERS}

#: How an object of alice's is made for a page with a variable part: gives the path.
MAKERS: dict[str, Callable[[Pages, Visitor], str]] = {
    **{f"GET /keys/<id>{action}": stored_key(action) for action in ("", "/public", "/private", "/download", "/delete")},
    **{f"GET /csrs/<id>{action}": kept_request("/csrs", action) for action in ("", "/download", "/delete")},
    "GET /certificates/<id>/pfx": own_certificate("/pfx"),
    "GET /certificates/<id>/proof": own_certificate("/proof"),
    "GET /events/<id>": event_path,
    "GET /jobs/<id>": job(),
    "GET /jobs/<id>/progress": job("/progress"),
    "GET /jobs/<id>/file": job("/file"),
    "GET /help/<name>": lambda _pages, _owner: "/help/est",
    **{f"GET /account/tokens/<id>{after}": token(after) for after in ("/end", "/created")},
    "GET /account/certificates/<id>/unbind": bound_certificate,
    "GET /account/passkeys/<id>/remove": passkey,
    **{
        f"GET /users/<id>{action}": user(action)
        for action in ("", "/edit", "/password", "/password-code", "/second-factor", "/delete")
    },
    "GET /users/<id>/<name>": user("/suspend"),
    "GET /ra/csrs/<id>/reject": lambda pages, _: f"/ra/csrs/{stored_request(pages).id}/reject",
    "GET /ra/approvals/<id>": lambda pages, _: f"/ra/approvals/{waiting_request(pages)}",
    "GET /ra/approvals/<id>/approve": lambda pages, _: f"/ra/approvals/{waiting_request(pages)}/approve",
    "GET /ra/approvals/<id>/reject": lambda pages, _: f"/ra/approvals/{waiting_request(pages)}/reject",
    **{f"GET /certificates/<id>{action}": certificate(action) for action in ("", "/download", "/revoke", "/release")},
    **{f"GET /notices/<id>{action}": notice_rule(action) for action in ("", "/delete")},
    **{f"GET /identity-lists/<id>{action}": identity_list(action) for action in ("", "/replace", "/delete")},
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
    pages.add("olga", Role.OPERATOR)
    pages.add("audrey", Role.AUDITOR)
    names = {"nobody": None, "owner": "alice", "other": "bob", "operator": "olga", "auditor": "audrey", "admin": "root"}
    yield World(pages, {caller: pages.visitor(name, confirmed=True) for caller, name in names.items()})
    stack.close()


ROLES = {
    "owner": Role.USER,
    "other": Role.USER,
    "operator": Role.OPERATOR,
    "auditor": Role.AUDITOR,
    "admin": Role.ADMIN,
}
#: What auditors may send: forms about their own account, and those that change nothing.
AUDITORS_FORMS = re.compile(
    "/(account|session|views|login|logout|confirm|register|reset|inspect|chat|events/verification)(/|$)"
)


def test_auditors_change_nothing(world: World) -> None:
    """ROL-1: no form is for auditors but a few by name, whatever pages there are."""
    for one in world.pages.resource.pages:
        if one.method == "POST" and not AUDITORS_FORMS.match(one.path):
            assert not in_audience_of(one.audience, "auditor"), one.path


@pytest.mark.parametrize("caller", ROLES)
@pytest.mark.parametrize(
    "route", [route for route, expected in TABLE.items() if expected != AUDITORS or "<" not in route]
)
def test_links_lead_to_permitted_pages(world: World, route: str, caller: str) -> None:
    """UI-1, ROL-1: no page shows a link or form that its reader's role can't use."""
    path = route.partition(" ")[2]
    if "<" in path:
        path = MAKERS[route](world.pages, world.callers["owner"])
    response = world.callers[caller].request("GET", path)
    if response.status != 200 or not response.headers["Content-Type"].startswith("text/html"):
        return
    page = html.unescape(response.body.decode())
    found = {("GET", link) for link in re.findall(r'<a [^>]*href="(/[^"?#]*)', page)}
    found |= {("POST", link) for link in re.findall(r'<form method="post" action="(/[^"?#]*)', page)}
    for method, link in found:
        for one in world.pages.resource.pages:
            if one.method == method and re.fullmatch(re.sub("<[a-z]+>", "[^/]+", one.path), link):
                assert in_audience_of(one.audience, caller), f"{method} {link}"
                break


def in_audience_of(audience: Audience, caller: str) -> bool:
    """Return whether the caller's role belongs to *audience*."""
    return audience is Audience.ANYONE or ROLES[caller] in AUDIENCE_ROLES[audience]


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
            refused = caller != "nobody" and not in_audience_of(who, caller)
            assert ("use this page" in text_of(response.body.decode())) == refused
