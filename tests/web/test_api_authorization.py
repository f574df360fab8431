"""REST: authorization of every route for every role (API-1, ROL-1).

A route that is missing from the table fails a test.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest

from pikachu.core.model.passkeys import NewPasskey
from pikachu.core.model.people import SYSTEM, Role, Scope
from pikachu.core.model.policies import Approval
from pikachu.core.model.times import utc
from pikachu.ra.default_policy import DEFAULT_POLICY_NAME
from tests.support.databases import NOW, event
from tests.support.deferreds import result_of
from tests.support.pki import DAY, make_leaf
from tests.support.recovered import recover, undecided_ids
from tests.support.rest import REST, csr_pem, make_rest
from tests.support.stack import DEFAULT_EXTENSIONS, MAIL_SERVER, build_core

CALLERS = (
    *("nobody", "wrong token", "owner", "other", "admin", "read", "enroll", "revoke", "admin scope only"),
    *("operator", "operator's read", "auditor", "admin's audit"),
)
Statuses = tuple[int, ...]
REQUEST = "[ req ]\nprompt = no\ndistinguished_name = dn\n[ dn ]\nCN = device.example.com\n"


def anyone(status: int = 200) -> Statuses:
    """Everybody, whatever they send."""
    return (status,) * len(CALLERS)


def own(scope: Scope, status: int = 200, *, operator: int | None = None) -> Statuses:
    """An object of issuance of the owner's: other users don't see it, operators handle it, auditors read it.

    :param operator: what an operator gets; like the owner by default.
    """
    single = [status if one is scope else 403 for one in (Scope.READ, Scope.ENROLL, Scope.REVOKE)]
    reads = scope is Scope.READ
    staff = (
        status if operator is None else operator,
        404 if reads else 403,
        status if reads else 403,
        403,
    )
    return (401, 401, status, 404, status, *single, 403, *staff)


def personal(scope: Scope, status: int = 200) -> Statuses:
    """An object of the owner's that operators don't see either."""
    return own(scope, status, operator=404)


def each(scope: Scope, status: int = 200) -> Statuses:
    """Everybody on their own behalf; auditors only read."""
    found = own(scope, status)
    return (*found[:3], status, *found[4:10], status if scope is Scope.READ else 403, *found[11:])


def admins(status: int = 200) -> Statuses:
    """Admins only."""
    return (401, 401, 403, 403, status, 403, 403, 403, status, 403, 403, 403, 403)


def auditors(status: int = 200) -> Statuses:
    """Admins and auditors."""
    return (*admins(status)[:11], status, status)


def operators(status: int = 200) -> Statuses:
    """Admins and operators."""
    return (*admins(status)[:9], status, 403, 403, 403)


def staff() -> Statuses:
    """Admins, operators and auditors, by the scope *operate* or *audit*, which *admin* includes."""
    return (*operators()[:11], 200, 200)


def whole(other: int, status: int, *, auditor: int | None = None) -> Statuses:
    """Tokens with all scopes of their account.

    :param auditor: what an auditor gets; like another user by default.
    """
    return (401, 401, status, other, status, 403, 403, 403, 403, other, 403, other if auditor is None else auditor, 403)


# Changing a policy takes seeing it: both scopes.
OWN_POLICY: Callable[[int], Statuses] = lambda status: (  # noqa: E731
    *(401, 401, status, 404, status, 403, 403, 403, 403),
    *(404, 403, 403, 403),
)

TABLE: dict[str, Statuses] = {
    "POST /api/v1/certificates": each(Scope.ENROLL, 201),
    "POST /api/v1/certificates/preview": each(Scope.ENROLL),
    "GET /api/v1/certificates": each(Scope.READ),
    "GET /api/v1/certificates/<id>": own(Scope.READ),
    "DELETE /api/v1/certificates/<id>": own(Scope.REVOKE, 204),
    "POST /api/v1/certificates/<id>/renewal": own(Scope.ENROLL, 201),
    "POST /api/v1/certificates/<id>/revocation": own(Scope.REVOKE),
    "DELETE /api/v1/certificates/<id>/revocation": own(Scope.REVOKE),
    "POST /api/v1/revocations": own(Scope.REVOKE),
    "GET /api/v1/certificates/<id>/download": own(Scope.READ),
    "GET /api/v1/certificates/<id>/inclusion-proof": own(Scope.READ),
    "GET /api/v1/approvals": each(Scope.READ),
    "GET /api/v1/approvals/<id>": own(Scope.READ),
    "GET /api/v1/approvals/<id>/preview": own(Scope.READ),
    "POST /api/v1/approvals/<id>/approval": operators(),
    "POST /api/v1/approvals/<id>/rejection": operators(),
    "POST /api/v1/csrs": each(Scope.ENROLL, 201),
    "GET /api/v1/csrs": each(Scope.READ),
    "GET /api/v1/csrs/<id>": own(Scope.READ),
    "DELETE /api/v1/csrs/<id>": own(Scope.ENROLL, 204),
    "POST /api/v1/csrs/<id>/rejection": operators(),
    "POST /api/v1/csrs/preview": personal(Scope.READ),
    "POST /api/v1/keys": each(Scope.ENROLL, 201),
    "GET /api/v1/keys": each(Scope.READ),
    "GET /api/v1/keys/<id>": personal(Scope.READ),
    "POST /api/v1/keys/<id>/private-key": whole(404, 200, auditor=403),
    "DELETE /api/v1/keys/<id>": personal(Scope.ENROLL, 204),
    "POST /api/v1/certificates/<id>/pfx": whole(404, 200, auditor=403),
    "GET /requests/<id>/download": own(Scope.READ),
    "POST /api/v1/policies": each(Scope.ENROLL, 201),
    "GET /api/v1/policies": each(Scope.READ),
    "GET /api/v1/policies/<id>": personal(Scope.READ),
    "PUT /api/v1/policies/<id>": OWN_POLICY(200),
    "PATCH /api/v1/policies/<id>": OWN_POLICY(200),
    "DELETE /api/v1/policies/<id>": OWN_POLICY(204),
    "POST /api/v1/templates": each(Scope.ENROLL, 201),
    "POST /api/v1/templates/validation": each(Scope.READ),
    "GET /api/v1/templates": each(Scope.READ),
    "GET /api/v1/templates/<id>": personal(Scope.READ),
    "PUT /api/v1/templates/<id>": OWN_POLICY(200),
    "PATCH /api/v1/templates/<id>": OWN_POLICY(200),
    "DELETE /api/v1/templates/<id>": OWN_POLICY(204),
    "GET /api/v1/x509-templates": auditors(),
    "GET /api/v1/x509-templates/<name>": auditors(),
    # What is made belongs to somebody: both scopes.
    "POST /api/v1/x509-templates/<name>/render": (401, 401, 403, 403, 201, 403, 403, 403, 403, 403, 403, 403, 403),
    "POST /api/v1/challenge-passwords": each(Scope.ENROLL, 201),
    "GET /api/v1/challenge-passwords": each(Scope.READ),
    "GET /api/v1/challenge-passwords/<id>": personal(Scope.READ),
    "GET /api/v1/challenge-passwords/<id>/password": personal(Scope.ENROLL),
    "DELETE /api/v1/challenge-passwords/<id>": personal(Scope.ENROLL, 204),
    "POST /api/v1/challenge-passwords/expired-deletion": each(Scope.ENROLL),
    "POST /api/v1/batches": each(Scope.ENROLL, 201),
    "GET /api/v1/batches": each(Scope.READ),
    "GET /api/v1/batches/<id>": own(Scope.READ),
    "GET /api/v1/batches/<id>/names": own(Scope.READ),
    "GET /api/v1/batches/<id>/labels": (401, 401, 200, 404, 200, *(403,) * 8),
    "GET /api/v1/batches/<id>/passwords": own(Scope.ENROLL, operator=403),
    "POST /api/v1/batches/<id>/end": own(Scope.ENROLL),
    "POST /api/v1/batches/<id>/resumption": own(Scope.ENROLL, 409),
    "POST /api/v1/identity-lists": admins(201),
    "GET /api/v1/identity-lists": staff(),
    "GET /api/v1/identity-lists/<id>": staff(),
    "PUT /api/v1/identity-lists/<id>": admins(),
    "DELETE /api/v1/identity-lists/<id>": admins(204),
    "POST /api/v1/housekeeping": admins(202),
    "GET /api/v1/housekeeping": admins(),
    "POST /api/v1/notice-rules": admins(201),
    "GET /api/v1/notice-rules": auditors(),
    "GET /api/v1/notice-rules/<id>": auditors(),
    "PUT /api/v1/notice-rules/<id>": admins(),
    "DELETE /api/v1/notice-rules/<id>": admins(204),
    "GET /api/v1/notices": auditors(),
    "GET /api/v1/notices/<id>": auditors(404),
    "POST /api/v1/notices/test": admins(),
    "GET /api/v1/devices": each(Scope.READ),
    "GET /api/v1/devices/<id>": own(Scope.READ),
    "POST /api/v1/devices/<id>/retirement": own(Scope.REVOKE),
    "DELETE /api/v1/devices/<id>/retirement": own(Scope.REVOKE, 409),
    "POST /api/v1/users": admins(201),
    "GET /api/v1/users": auditors(),
    "GET /api/v1/users/<id>": personal(Scope.READ),
    "PATCH /api/v1/users/<id>": admins(),
    "DELETE /api/v1/users/<id>": admins(204),
    "POST /api/v1/users/<id>/password": admins(204),
    "POST /api/v1/users/<id>/logout": admins(),
    "POST /api/v1/users/<id>/revocation": admins(),
    "GET /api/v1/users/<id>/lock": auditors(),
    "DELETE /api/v1/users/<id>/lock": admins(204),
    "POST /api/v1/users/<id>/password-reset": admins(),
    "GET /api/v1/users/<id>/second-factors": whole(404, 200, auditor=200),
    "DELETE /api/v1/users/<id>/second-factors": admins(204),
    "DELETE /api/v1/passkeys/<id>": whole(404, 204),
    "GET /api/v1/sessions": whole(200, 200),
    "DELETE /api/v1/sessions/<id>": whole(404, 204),
    "POST /api/v1/account-certificates": whole(201, 201),
    "GET /api/v1/account-certificates": whole(200, 200),
    "GET /api/v1/account-certificates/<id>": whole(404, 200, auditor=200),
    "DELETE /api/v1/account-certificates/<id>": whole(404, 204),
    "POST /api/v1/tokens": whole(201, 201),
    "GET /api/v1/tokens": each(Scope.READ),
    "GET /api/v1/tokens/<id>": personal(Scope.READ),
    "DELETE /api/v1/tokens/<id>": whole(404, 204),
    "GET /api/v1/cas": anyone(),
    "GET /api/v1/cas/<name>": anyone(),
    "GET /api/v1/crls": anyone(),
    "GET /api/v1/crls/<ca>": anyone(),
    "POST /api/v1/crls/<ca>": admins(201),
    "GET /api/v1/recovered-revocations": auditors(),
    "GET /api/v1/recovered-revocations/<id>": auditors(),
    "POST /api/v1/recovered-revocations/<id>/decision": admins(),
    "POST /api/v1/recovered-revocations/decision": admins(),
    "GET /api/v1/statistics/renewals": each(Scope.READ),
    # They read lists, too: both scopes.
    "GET /api/v1/reports/certificates": (401, 401, 403, 403, 200, 403, 403, 403, 403, 403, 403, 200, 403),
    "GET /api/v1/reports/audit": (401, 401, 403, 403, 200, 403, 403, 403, 403, 403, 403, 200, 403),
    "POST /api/v1/audit-verification": auditors(202),
    "GET /api/v1/audit-verification": auditors(),
    "GET /api/v1/audit-checkpoint": auditors(),
    "GET /api/v1/audit-consistency": auditors(),
    "GET /api/v1/status/<serial>": anyone(),
    # The action's own scope, too.
    "POST /api/v1/jobs": (401, 401, 202, 202, 202, 403, 403, 403, 403, 202, 403, 403, 403),
    "GET /api/v1/jobs": each(Scope.READ),
    "GET /api/v1/jobs/<id>": personal(Scope.READ),
    "GET /api/v1/jobs/<id>/results": personal(Scope.READ),
    # The job has no file; an admin gets none of another's.
    "GET /api/v1/jobs/<id>/file": (401, 401, 404, 404, 403, 404, 403, 403, 403, 404, 404, 403, 403),
    "DELETE /api/v1/jobs/<id>": (*OWN_POLICY(200)[:9], 404, 404, 403, 403),
    "GET /api/v1/events": each(Scope.READ),
    "GET /api/v1/events/<id>": own(Scope.READ),
    "GET /api/v1/statistics": each(Scope.READ),
    "POST /api/v1/inspect": each(Scope.READ),
    "GET /api/v1/openapi.json": anyone(),
}


def client_pem(rest: REST) -> str:
    """A new certificate of a CA that is not here, valid when the tests' clock says so."""
    now = utc(rest.clock.seconds())
    leaf = make_leaf(rest.stack.files.root, "client", not_before=now - DAY, not_after=now + DAY)
    return leaf.pem.decode()


@dataclass
class World:
    """One REST for all tests of this module, and new objects of alice's for each call."""

    rest: REST
    callers: dict[str, str | None]
    count: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def policy(self, *, manual: bool = False) -> str:
        """A policy; a manual one is the system's."""
        name = f"policy {next(self.count)}"
        approval = Approval.MANUAL if manual else Approval.AUTOMATIC
        body = {"name": name, "validity_days": 10, "extensions": DEFAULT_EXTENSIONS, "approval": approval}
        who = "root" if manual else "alice"
        self.rest.good("POST", "/policies", {**body, "system": manual}, who=who, status=201)
        return name

    def rule(self) -> dict[str, object]:
        """A new rule of notices."""
        return {"name": f"rule {next(self.count)}", "kind": "crls", "addresses": ["ops@example.com"]}

    def made(self, path: str, body: object) -> int:
        """The id of a new object."""
        return int(self.rest.good("POST", path, body, who="alice", status=201)["id"])

    def key(self) -> int:
        """The id of a new stored key."""
        return self.made("/keys", {"name": f"key {next(self.count)}", "type": "EC"})

    def target(self, route: str) -> str:
        """The route's path with the id of a new object of alice's."""
        rest = self.rest
        path = route.partition(" ")[2].removeprefix("/api/v1")
        number = next(self.count)
        if path.endswith("/pfx"):
            key = self.key()
            made = self.made("/csrs", {"key_id": key, "template": REQUEST})
            text = rest.good("GET", f"/csrs/{made}", who="alice")["pem"]
            new = self.made("/certificates", {"csr": text})
        elif path.startswith("/certificates/"):
            new = self.made("/certificates", {"csr": csr_pem(f"{number}.example.com")})
            if route.startswith("DELETE") and path.endswith("revocation"):
                rest.good("POST", f"/certificates/{new}/revocation", {"reason": "certificateHold"}, who="alice")
        elif path.startswith("/approvals/"):
            body = {"csr": csr_pem(), "policy": self.policy(manual=True)}
            new = rest.good("POST", "/certificates", body, who="alice", status=202)["id"]
        elif path.startswith(("/csrs/", "/requests/")):
            new = self.made("/csrs", {"csr": csr_pem()})
        elif path.startswith("/keys/"):
            new = self.key()
        elif path.startswith("/policies/"):
            name = self.policy()
            items = rest.good("GET", "/policies", who="alice")["items"]
            new = next(one["id"] for one in items if one["name"] == name)
        elif path.startswith("/templates/<id>"):
            new = self.made("/templates", self.body("POST /api/v1/templates"))
        elif path.startswith("/challenge-passwords/<id>"):
            new = self.made("/challenge-passwords", {})
        elif path.startswith("/identity-lists/<id>"):
            body = {"name": f"list {number}", "identities": "a"}
            new = rest.good("POST", "/identity-lists", body, who="root", status=201)["id"]
        elif path.startswith("/notice-rules/<id>"):
            new = rest.good("POST", "/notice-rules", self.rule(), who="root", status=201)["id"]
        elif path.startswith("/devices/<id>"):
            issued = self.made("/certificates", {"csr": csr_pem(f"{number}.example.com")})
            new = rest.good("GET", f"/certificates/{issued}", who="alice")["device_id"]
        elif path.startswith("/batches/<id>"):
            new = self.made("/batches", self.body("POST /api/v1/batches"))
        elif path.startswith("/jobs/"):
            # One that is cancelled has more rows than are done at once; the others end.
            rows = 100 if route.startswith("DELETE") else 1
            job = {"action": "delete", "resource": "keys", "ids": list(range(90_000, 90_000 + rows))}
            new = rest.good("POST", "/jobs", job, who="alice", status=202)["id"]
            rest.clock.pump([1.0] * (3 if rows > 1 else 20))
        elif path.startswith("/recovered-revocations/<id>"):
            new = recover(rest.stack.app, rest.clock, 0x7000 + number)[-1]
        elif path.startswith("/tokens/"):
            new = self.made("/tokens", {"name": f"another token {number}"})
        elif path == "/events/<id>":
            self.made("/csrs", {"csr": csr_pem()})
            new = rest.good("GET", "/events?limit=1", who="alice")["items"][0]["id"]
        elif path.startswith("/account-certificates/"):
            for bound in rest.good("GET", "/account-certificates", who="alice")["items"]:
                rest.call("DELETE", f"/account-certificates/{bound['id']}", who="alice")
            new = self.made("/account-certificates", {"pem": client_pem(rest)})
        elif path.startswith("/sessions/"):
            # Another test has given her passkeys.
            result_of(rest.stack.app.second_factors.reset(SYSTEM, rest.accounts["alice"].id))
            adding = rest.stack.app.sessions.login("alice", "password of alice", "192.0.2.7", "a browser")
            new = result_of(adding)[0].id
            # An admin names whose it is.
            path += f"?user_id={rest.accounts['alice'].id}"
        elif path.startswith("/passkeys/"):
            device = NewPasskey(
                rest.accounts["alice"].id, f"{number}", "ca.example.org", b"%d" % number, b"", 0, b"", number, ()
            )
            passkeys = rest.stack.app.store
            result_of(passkeys.add_passkey(device, 100, event(), NOW))
            new = result_of(passkeys.passkeys_of(rest.accounts["alice"].id))[-1].id
        elif path in ("/users/<id>", "/users/<id>/second-factors") and route.startswith("GET"):
            new = rest.accounts["alice"].id
        elif path.startswith("/users/"):
            new = rest.add(f"user{number}").id
            if path.endswith("/revocation"):
                result_of(rest.stack.app.accounts.suspend(SYSTEM, new))
        else:
            new = 0
        named = "device.cnf.j2" if path.startswith("/x509-templates") else "ec"
        path = path.replace("<id>", str(new)).replace("<name>", named).replace("<ca>", "ec")
        path = path.replace("<serial>", "12ab")
        return f"/{path}" if route.split(" ")[1].startswith("/requests") else path

    def body(self, route: str) -> object:
        """Return a body for the route."""
        number = next(self.count)
        name = f"name{number}"
        policy = {"name": name, "validity_days": 5, "extensions": DEFAULT_EXTENSIONS}
        template = {"name": name, "profile_type": "Device", "content": DEFAULT_EXTENSIONS}
        if route == "POST /api/v1/revocations":
            made = self.made("/certificates", {"csr": csr_pem(f"{number}.example.com")})
            return {"serial": self.rest.good("GET", f"/certificates/{made}", who="alice")["serial"]}
        key = self.key() if route == "POST /api/v1/csrs/preview" else 0
        waiting = len(undecided_ids(self.rest.stack.app))
        bodies: dict[str, object] = {
            "POST /api/v1/recovered-revocations/<id>/decision": {"decision": "keep"},
            "POST /api/v1/recovered-revocations/decision": {"decision": "keep", "count": waiting},
            "POST /api/v1/jobs": {"action": "delete", "resource": "keys", "ids": [90_000]},
            "POST /api/v1/batches": {"label": name, "policy": "System", "names": "a\nb"},
            "POST /api/v1/identity-lists": {"name": name, "identities": "a"},
            "PUT /api/v1/identity-lists/<id>": {"identities": "b"},
            "POST /api/v1/notice-rules": self.rule(),
            "PUT /api/v1/notice-rules/<id>": self.rule(),
            "POST /api/v1/notices/test": {"channel": "mail", "recipient": "ops@example.com"},
            "POST /api/v1/templates": template,
            "POST /api/v1/templates/validation": {"content": DEFAULT_EXTENSIONS},
            "PUT /api/v1/templates/<id>": template,
            "PATCH /api/v1/templates/<id>": {"name": name},
            "POST /api/v1/x509-templates/<name>/render": {"name": name},
            "POST /api/v1/certificates": {"csr": csr_pem(f"{number}.example.com")},
            "POST /api/v1/certificates/preview": {"csr": csr_pem(f"{number}.example.com")},
            "POST /api/v1/csrs": {"csr": csr_pem()},
            "POST /api/v1/csrs/preview": {"key_id": key, "template": REQUEST},
            "POST /api/v1/keys": {"name": name, "type": "EC"},
            "POST /api/v1/certificates/<id>/pfx": {"passphrase": "correct horse"},
            "POST /api/v1/policies": policy,
            "PUT /api/v1/policies/<id>": policy,
            "PATCH /api/v1/policies/<id>": {"validity_days": 6},
            "POST /api/v1/users": {"username": name, "email": "a@example.com", "password": "long enough"},
            "PATCH /api/v1/users/<id>": {"email": "new@example.com"},
            "POST /api/v1/users/<id>/password": {"password": "another one"},
            "POST /api/v1/tokens": {"name": name},
            "POST /api/v1/inspect": {"data": csr_pem()},
            "POST /api/v1/account-certificates": {"pem": client_pem(self.rest)},
        }
        return bodies.get(route, {} if route.startswith("POST") else None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Alice owns, Bob is another, root administers."""
    stack = build_core(tmp_path_factory.mktemp("core"), changes=MAIL_SERVER)
    rest = make_rest(stack)
    rest.add("olga", Role.OPERATOR)
    rest.add("audrey", Role.AUDITOR)
    result_of(stack.app.publisher.begin())
    callers = {
        "nobody": None,
        "wrong token": "pik_" + base64.urlsafe_b64encode(bytes(32)).decode().rstrip("="),
        "owner": rest.tokens["alice"],
        "other": rest.tokens["bob"],
        "admin": rest.tokens["root"],
        "read": rest.token("alice", Scope.READ),
        "enroll": rest.token("alice", Scope.ENROLL),
        "revoke": rest.token("alice", Scope.REVOKE),
        "admin scope only": rest.token("root", Scope.ADMIN),
        "operator": rest.tokens["olga"],
        "operator's read": rest.token("olga", Scope.READ),
        "auditor": rest.tokens["audrey"],
        "admin's audit": rest.token("root", Scope.AUDIT),
    }
    yield World(rest, callers)
    stack.close()


def test_all_routes_stand_in_the_table(world: World) -> None:
    """A new route has to say here who may use it."""
    assert {f"{route.method} {route.path}" for route in world.rest.resource.routes} == set(TABLE)


@pytest.mark.parametrize("route", TABLE)
def test_matrix(world: World, route: str) -> None:
    """API-1: each caller gets the status that the table says, and refusals are problem details."""
    # Wrong tokens are counted, and must not lock these tests out.
    world.rest.clock.advance(120)
    found = {}
    for caller in CALLERS:
        method = route.partition(" ")[0]
        response = world.rest.call(method, world.target(route), world.body(route), token=world.callers[caller])
        found[caller] = response.status
        if response.status >= 400:
            assert response.headers["Content-Type"] == "application/problem+json"
        if response.status == 401:
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert found == dict(zip(CALLERS, TABLE[route], strict=True))


def test_lists_hold_ones_own(world: World) -> None:
    """CRT-7: users see their own, admins all, and an admin's token without that scope what a user would."""
    rest = world.rest
    world.target("GET /api/v1/certificates/<id>")
    world.target("GET /api/v1/csrs/<id>")
    world.target("GET /api/v1/challenge-passwords/<id>")
    world.target("GET /api/v1/templates/<id>")
    world.target("GET /api/v1/approvals/<id>")
    weak = rest.token("root", Scope.READ)

    def everything(path: str, **caller: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while cursor is not None:
            page = rest.good("GET", f"{path}{'&' if '?' in path else '?'}limit=1000&cursor={cursor}", **caller)
            found += page["items"]
            cursor = page["next_cursor"]
        return found

    for path in ("/certificates", "/csrs", "/templates", "/challenge-passwords", "/approvals", "/events"):
        mine = everything(path, who="alice")
        assert mine
        assert {one["owner"] for one in mine} == {"alice"}
        assert {one["id"] for one in mine} <= {one["id"] for one in everything(path, who="root")}
        assert not {one["id"] for one in mine} & {one["id"] for one in everything(path, token=weak)}
        assert everything(f"{path}?owner_id={rest.accounts['alice'].id}", who="root") == mine
        assert everything(f"{path}?owner_id={rest.accounts['bob'].id}", who="alice") == mine


@pytest.mark.parametrize("route", sorted(TABLE))
@pytest.mark.parametrize("name", ["unknown", "LIMIT", "sort[]", "", "cursor "])
def test_unknown_parameters(world: World, route: str, name: str) -> None:
    """Every operation refuses a query parameter that it does not have, by its name, and says which it has."""
    rest = world.rest
    path = route.partition(" ")[2].replace("<id>", "1").replace("<name>", "ec").replace("<ca>", "ec")
    path = f"/{path.replace('<serial>', '12ab')}"
    operation = next(one.operation for one in rest.resource.routes if f"{one.method} {one.path}" == route)
    problem = rest.bad(400, route.partition(" ")[0], f"{path}?{quote(name)}=1", who="root")
    assert repr(name) in problem["detail"]
    assert all(known in problem["detail"] for known in operation.query_names)


def test_tokens_end(world: World) -> None:
    """USR-4, USR-6: tokens that expired, were ended, or whose account was suspended are wrong ones."""
    rest = world.rest
    rest.add("carol")
    short = rest.token("carol", days=1)
    ended = rest.token("carol")
    of_all = {one["name"]: one["id"] for one in rest.good("GET", "/tokens", who="carol")["items"]}
    rest.call("DELETE", f"/tokens/{max(of_all.values())}", who="carol")
    rest.bad(401, "GET", "/certificates", token=ended)
    rest.good("GET", "/certificates", token=short)
    rest.clock.advance(86401)
    answers = [rest.call("GET", "/certificates", token=token).body for token in (short, ended, "pik_x", "\xff" * 10)]
    assert len(set(answers)) == 1
    rest.good("PATCH", f"/users/{rest.accounts['carol'].id}", {"state": "suspended"}, who="root")
    rest.bad(401, "GET", "/certificates", who="carol")
    rest.good("PATCH", f"/users/{rest.accounts['carol'].id}", {"state": "active"}, who="root")
    rest.bad(401, "GET", "/certificates", who="carol")


@pytest.mark.parametrize(
    "value", ["Basic cm9vdDpyb290", "Bearer", "Bearer ", "bearer pik_", "Token x", "", "Bearer a b", "Bearer\tx"]
)
def test_other_credentials(world: World, value: str) -> None:
    """Nothing but a bearer token signs in here."""
    world.rest.clock.advance(120)
    world.rest.bad(401, "GET", "/certificates", headers={"Authorization": value})


def test_guessing_is_slowed(world: World) -> None:
    """Many wrong tokens lock their address for a while, with Retry-After."""
    rest = world.rest
    rest.clock.advance(4000)
    statuses = [rest.call("GET", "/certificates", token=f"pik_{number:043}").status for number in range(40)]
    assert set(statuses) == {401, 429}
    response = rest.call("GET", "/certificates", token="pik_x")
    assert int(response.headers["Retry-After"]) >= 1
    rest.clock.advance(4000)


def test_default_policy_is_everyones(world: World) -> None:
    """POL-2: it is in everybody's list, and changed by admins only."""
    rest = world.rest
    assert rest.good("GET", "/policies", who="bob")["items"][0]["name"] == DEFAULT_POLICY_NAME
    rest.bad(403, "PATCH", "/policies/0", {"validity_days": 3}, who="bob")
    assert rest.good("PATCH", "/policies/0", {"validity_days": 30}, who="root")["validity_days"] == 30
    rest.bad(409, "DELETE", "/policies/0", who="root")


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("name", ["next_default_est", "next_default_scep"])
def test_default_policy_has_no_next_default(world: World, method: str, name: str) -> None:
    """The default policy gives up no mark, so that a choice of the next default is refused."""
    rest = world.rest
    before = rest.good("GET", "/policies/0", who="root")
    change = {"name": before["name"], "validity_days": 77, "extensions": before["extensions"]}
    body = {"PATCH": {"validity_days": 77}, "PUT": change}.get(method)
    rest.bad(409, method, f"/policies/0?{name}=1", body, who="root")
    assert rest.good("GET", "/policies/0", who="root") == before


def test_demoted_admins_tokens_lose_their_scope(world: World) -> None:
    """A token has what both it and its account's role have."""
    rest = world.rest
    rest.add("dave", Role.ADMIN)
    rest.good("GET", "/users", who="dave")
    result_of(rest.stack.app.accounts.update(SYSTEM, rest.accounts["dave"].id, role=Role.USER))
    rest.bad(403, "GET", "/users", who="dave")
